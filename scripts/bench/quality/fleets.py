"""Simulated fleets for the quality benchmarks, cut into history and what comes after it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from sensord.detection.alerts import Alert
from sensord.model.bundle import Bundle, pack, unpack
from sensord.model.network import Network
from sensord.simulate import FleetPlan, simulate
from sensord.trainer.calibrate import calibrate
from sensord.trainer.history import History
from sensord.trainer.job import TrainOptions, describe, with_events
from sensord.trainer.offline import Recorded, replay
from sensord.trainer.threshold import AlarmBudget


@dataclass(frozen=True, slots=True)
class Split:
    """Devices with history and what they did later; the live part of strangers has no history."""

    history: History
    live: tuple[Recorded, ...]


def healthy_pumps(plan: FleetPlan, history_readings: int) -> Split:
    """Pumps without a fault: the first readings of each are its history, the others come after."""
    simulated = simulate(replace(plan, faults=0, healthy_readings=plan.readings))
    whole = [
        Recorded(name, simulated.at[:, i], simulated.values[:, i].astype(np.float32))
        for i, name in enumerate(simulated.device_ids)
    ]
    names = tuple(channel.name for channel in simulated.channels)
    history = History(names, tuple(rows(each, slice(0, history_readings)) for each in whole))
    return Split(history, tuple(rows(each, slice(history_readings, None)) for each in whole))


def rows(recorded: Recorded, some: slice) -> Recorded:
    """Some readings of a device."""
    return Recorded(recorded.device_id, recorded.at[some], recorded.values[some])


def alerts_of(network: Network, history: History, options: TrainOptions, live: Sequence[Recorded]) -> list[Alert]:
    """What a bundle calibrated on the history, as `sensord train` does it, raises on live readings."""
    return replay(calibrated(network, history, options), live, options.max_gap_s).alerts


def calibrated(network: Network, history: History, options: TrainOptions) -> Bundle:
    """A bundle with all thresholds, as `sensord train` sets them."""
    rule = AlarmBudget(options.alarm_budget, history.period_s)
    calibration = calibrate(network, history.values, options.tuning, rule)
    profiles = with_events(network, history, options, calibration.profiles, rule)
    return unpack(pack(describe(network, history, options, {}), network, profiles))
