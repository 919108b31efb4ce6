"""A fleet's model beside the baselines, event by event. For benchmarks: whoever simulates gives readings and truth."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from sensord.clock import MICROSECONDS
from sensord.detection.baselines import Expectation
from sensord.model.network import Network
from sensord.trainer.calibrate import calibrate
from sensord.trainer.compare.long_gap import UNTRAINED
from sensord.trainer.events import GRACE_READINGS, Matching, Span, match
from sensord.trainer.history import History
from sensord.trainer.job import TrainOptions, assemble, fit_network
from sensord.trainer.offline import Recorded, replay
from sensord.trainer.threshold import AlarmBudget


@dataclass(frozen=True, slots=True)
class Events:
    """Faults planted and found; alerts, and how many of them are false."""

    faults: int
    found: int
    alerts: int
    false: int

    @classmethod
    def of(cls, matching: Matching, alerts: int) -> "Events":
        return cls(len(matching.alerts_of), matching.found, alerts, len(matching.false))

    @property
    def precision(self) -> float:
        """Of the alerts; 0 where there is none."""
        return (self.alerts - self.false) / self.alerts if self.alerts else 0.0

    @property
    def recall(self) -> float:
        """Of the faults; 0 where there is none."""
        return self.found / self.faults if self.faults else 0.0

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        both = self.precision + self.recall
        return 2 * self.precision * self.recall / both if both else 0.0


def compare_fleet(
    history: History,
    live: Sequence[Recorded],
    faults: Sequence[Span],
    options: TrainOptions,
    report: Callable[[str, int, int], None] = lambda stage, done, of: None,
) -> Mapping[str, Events]:
    """Train on history, score live readings, hold the alerts against the faults.

    By name: the trained model, the same trunk as it is drawn, and every baseline.
    """
    trained = fit_network(history, options.fit, lambda done, of: report("fit", done, of))
    drawn = fit_network(history, replace(options.fit, steps=0), lambda done, of: None)
    tried: dict[str, tuple[Network, Expectation]] = {str(each): (trained, each) for each in Expectation}
    tried[UNTRAINED] = drawn, Expectation.MODEL
    found = {}
    for number, (name, (network, expectation)) in enumerate(tried.items(), start=1):
        found[name] = _judge(network, expectation, history, live, faults, options)
        report("judge", number, len(tried))
    return found


def _judge(
    network: Network,
    expectation: Expectation,
    history: History,
    live: Sequence[Recorded],
    faults: Sequence[Span],
    options: TrainOptions,
) -> Events:
    rule = AlarmBudget(options.alarm_budget, history.period_s)
    calibration = calibrate(network, history.values, options.tuning, rule, expectation)
    bundle = assemble(network, history, options, calibration, {}).bundle
    alerts = [
        Span(alert.device_id, alert.opened_at, alert.last_seen_at)
        for alert in replay(bundle, live, options.max_gap_s).alerts
    ]
    return Events.of(match(faults, alerts, round(GRACE_READINGS * history.period_s * MICROSECONDS)), len(alerts))
