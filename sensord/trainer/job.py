"""The trainer's job: history in, bundle out. Built by `cli`; the same history and options give the same bytes."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import msgspec
import torch

from sensord.detection.baselines import BASELINES, Expectation
from sensord.model.bundle import Bundle, Packed, Profiles, pack, unpack
from sensord.model.manifest import FORMAT_VERSION, Channel, HistoryRange, Manifest, Tuning
from sensord.model.network import Network
from sensord.readings import Floats
from sensord.trainer.calibrate import calibrate, held_out_error
from sensord.trainer.event_channels import learn_events
from sensord.trainer.fit import FitOptions, baseline_trunk, fit_trunk
from sensord.trainer.history import History
from sensord.trainer.holes import pieces
from sensord.trainer.offline import watch
from sensord.trainer.ranks import ALONE, Ranks
from sensord.trainer.scaler import device_scaler, fleet_scaler
from sensord.trainer.threshold import DAY_S, HELD_OUT, AlarmBudget, ThresholdRule

SHORTEST_PIECE = 2  # readings: one to see, one to expect

Report = Callable[[str, int, int], None]  # (stage, done, of)


@dataclass(frozen=True, slots=True)
class TrainOptions:
    """What to make of a history. alarm_budget: false alarms per device and day. units: by channel."""

    fleet: str
    alarm_budget: float = 0.05
    max_gap_s: float = 300.0
    units: Mapping[str, str] = field(default_factory=dict)
    fit: FitOptions = field(default_factory=FitOptions)
    tuning: Tuning = field(default_factory=Tuning)


@dataclass(frozen=True, slots=True)
class Trained:
    """A bundle ready to publish, and the same one ready to score. trial: profiles of the first part of the history."""

    packed: Packed
    bundle: Bundle
    trial: Profiles


def train(
    history: History,
    options: TrainOptions,
    report: Report = lambda stage, done, of: None,
    ranks: Ranks = ALONE,
) -> Trained:
    """Fit, calibrate, evaluate beside the baselines, and pack. Of several ranks the leader does it, and the others
    `lend_a_hand`. Raises HistoryUnusable, RankLost, SpillFull.
    """
    networks = trunks(history, options.fit, lambda done, of: report("fit", done, of), ranks)
    rule = AlarmBudget(options.alarm_budget, history.period_s)
    network = networks[Expectation.MODEL]
    calibration = calibrate(network, history.values, options.tuning, rule, breaks=history.breaks)
    metrics = {f"held_out_error_{Expectation.MODEL}": calibration.held_out_error}
    for number, baseline in enumerate(BASELINES, start=1):
        report("calibrate", number, len(Expectation))
        metrics[f"held_out_error_{baseline}"] = held_out_error(
            networks[baseline], history.values, options.tuning, baseline, history.breaks
        )
    report("calibrate", len(Expectation), len(Expectation))
    metrics |= {"threshold_factor": calibration.factor, "held_out_beyond": calibration.held_out_beyond}
    profiles = with_events(network, history, options, calibration.profiles, rule)
    draft = unpack(pack(describe(network, history, options, metrics), network, profiles))
    alerts = watch(draft, history.devices, options.max_gap_s, lambda done, of: report("evaluate", done, of))
    device_days = history.readings * history.period_s / DAY_S
    metrics |= {"alerts_on_history": len(alerts), "device_days": device_days}
    metrics |= {f"left_out_{cause}": count for cause, count in history.left_out.items()}
    packed = pack(describe(network, history, options, metrics), network, profiles)
    return Trained(packed, unpack(packed), calibration.trial)


def trial_of(trained: Trained, history: History, options: TrainOptions) -> Bundle:
    """What was learned, but for the last part of the history, which it can be judged by. Never stored."""
    rule = AlarmBudget(options.alarm_budget, history.period_s)
    earlier, _ = history.split(1 - HELD_OUT)
    profiles = with_events(trained.bundle.network, earlier, options, trained.trial, rule)
    return Bundle(msgspec.structs.replace(trained.bundle.manifest, bundle_id="trial"), trained.bundle.network, profiles)


def lend_a_hand(history: History, options: TrainOptions, ranks: Ranks) -> None:
    """A rank's part that doesn't lead: it fits along. Raises RankLost, SpillFull."""
    fit_network(history, options.fit, lambda done, of: None, ranks)


def with_events(
    network: Network, history: History, options: TrainOptions, profiles: Profiles, rule: ThresholdRule
) -> Profiles:
    """Profiles with the event channels' constants beside them."""
    learnt = learn_events(network, profiles, options.tuning, history.devices, rule, history.breaks)
    return replace(profiles, events=learnt)


def fit_network(
    history: History, options: FitOptions, progress: Callable[[int, int], None], ranks: Ranks = ALONE
) -> Network:
    """The trunk, fitted on the first part of every device's history, scaled by its own scaler.

    The last part is left for `calibrate`, which asks of each channel whether the state foresees it better than the last
    reading does.
    """
    torch.set_num_threads(1)  # a fixed number, or the same seed gives other weights
    fleet = fleet_scaler(list(history.values.values()))
    scaled = [device_scaler(values, fleet).apply(values) for values in history.values.values()]
    return fit_trunk(list(_first_pieces(history, scaled)), options, progress, ranks)


def _first_pieces(history: History, scaled: Sequence[Floats]) -> Iterator[Floats]:
    """The first part of every device's history, in as many pieces as its holes leave; nothing is learned across one."""
    for device, values in zip(history.devices, scaled, strict=True):
        kept = round((1 - HELD_OUT) * len(values))
        rows = list(pieces(kept, history.breaks.get(device.device_id, ())))
        yield from (values[piece] for piece in rows if len(rows) == 1 or piece.stop - piece.start >= SHORTEST_PIECE)


def trunks(
    history: History, options: FitOptions, progress: Callable[[int, int], None], ranks: Ranks = ALONE
) -> dict[Expectation, Network]:
    """What each expectation's head looks at. Only the model's is fitted."""
    fitted, channels = fit_network(history, options, progress, ranks), len(history.channels)
    return {Expectation.MODEL: fitted} | {each: baseline_trunk(each, channels, options) for each in BASELINES}


def describe(network: Network, history: History, options: TrainOptions, metrics: Mapping[str, float]) -> Manifest:
    """The manifest of a bundle that has no id yet."""
    first, last = history.first_at, history.last_at
    return Manifest(
        format_version=FORMAT_VERSION,
        bundle_id="",
        fleet=options.fleet,
        channels=tuple(Channel(name, options.units.get(name, "")) for name in history.channels),
        hidden=network.shape.hidden,
        cell=network.shape.cell,
        period_s=history.period_s,
        tuning=options.tuning,
        history=HistoryRange(len(history.devices), history.readings, first, last),
        metrics={name: float(value) for name, value in metrics.items()},
        weights_sha256="",
    )
