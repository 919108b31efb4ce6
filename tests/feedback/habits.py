"""A simulated fleet whose pumps fail, and of which some have a harmless habit that history hasn't seen."""

from dataclasses import dataclass, field
from functools import cached_property
from uuid import UUID

import numpy as np

from sensord.clock import MICROSECONDS
from sensord.detection.chronicle import Origin
from sensord.detection.fleet import Fleet, Limits
from sensord.model.bundle import Bundle
from sensord.readings import Integers, Partition, Readings
from sensord.simulate import FleetPlan, Simulation, simulate
from sensord.store import Engine
from sensord.store.alerts import AlertFilter, AlertRow, Feedback, feedback, list_alerts
from sensord.store.progress import Checkpoint, Progress
from sensord.store.schema import instant, microseconds
from sensord.trainer.events import GRACE_READINGS, Span, match
from sensord.trainer.fit import FitOptions
from sensord.trainer.history import History
from sensord.trainer.job import TrainOptions, train
from sensord.trainer.offline import Recorded

PUMPS = Partition("sensors.pumps", 0)
EVERY, LASTS = 300, 60  # readings between two rinses, and how long one takes
APART = 150  # readings between a rinse and a fault
AT_ONCE = 20  # readings of each device between two commits
# How a pump rinses itself, in standard deviations of its channels: harmless, and no pump did it in the history.
RINSE = {"flow": 2.5, "pressure": -2.0, "current": 1.0}


@dataclass(frozen=True)
class Habits:
    """Readings of a fleet, half of whose devices rinse themselves; rinses: where, faults: what is really wrong."""

    plan: FleetPlan
    strengths: tuple[float, float] = (0.9, 1.15)
    rinses: list[Span] = field(default_factory=list)

    @cached_property
    def simulation(self) -> Simulation:
        return simulate(self.plan)

    @cached_property
    def faults(self) -> list[Span]:
        return [Span(each.device_id, each.start_at, each.end_at) for each in self.simulation.truth]

    @property
    def live(self) -> slice:
        return slice(self.plan.healthy_readings, None)

    def history(self) -> History:
        found, healthy = self.simulation, slice(0, self.plan.healthy_readings)
        devices = tuple(
            Recorded(name, found.at[healthy, i], found.values[healthy, i].astype(np.float32))
            for i, name in enumerate(found.device_ids)
        )
        return History(tuple(channel.name for channel in found.channels), devices)

    @cached_property
    def values(self) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        """(readings, devices, channels), with the rinses of every other device."""
        found, rng = self.simulation, np.random.default_rng(self.plan.seed)
        values = found.values.astype(np.float32)
        names = [channel.name for channel in found.channels]
        spread = values[: self.plan.healthy_readings].std(axis=0)  # (devices, channels)
        for device in range(0, self.plan.devices, 2):
            first = self.plan.healthy_readings + int(rng.integers(100, EVERY))
            for start in range(first, self.plan.readings - LASTS, EVERY):
                rows = slice(start, start + LASTS + int(rng.integers(-8, 9)))
                if self._near_a_fault(device, rows, found.at):
                    continue
                strength = rng.uniform(*self.strengths)
                for name, by in RINSE.items():
                    column = names.index(name)
                    values[rows, device, column] += np.float32(strength * by * spread[device, column])
                at = found.at[rows, device]
                self.rinses.append(Span(found.device_ids[device], int(at[0]), int(at[-1])))
        return values

    def _near_a_fault(self, device: int, rows: slice, at: Integers) -> bool:
        margin = round(APART * self.plan.period_s * MICROSECONDS)
        first, last = int(at[rows][0, device]) - margin, int(at[rows][-1, device]) + margin
        name = self.simulation.device_ids[device]
        return any(each.device_id == name and each.start_at <= last and each.end_at >= first for each in self.faults)


@dataclass
class Watch:
    """A fleet that is watched as the daemon does it, a commit after every few readings of each device."""

    habits: Habits
    engine: Engine
    bundle: Bundle
    said: dict[str, UUID] = field(default_factory=dict)  # by device: what was called a false alarm

    def run(self, answers: bool) -> None:
        """Through all live readings. answers: a person calls each device's first alert about a rinse a false alarm."""
        habits, found, values = self.habits, self.habits.simulation, self.habits.values
        fleet = Fleet(self.bundle, Origin("pumps", PUMPS, "topic-id"), Limits())
        progress = Progress(self.engine)
        mine, offset = progress.claim("pumps", PUMPS, "test", "topic-id", 0), 0
        before: int | None = None
        for start in range(habits.live.start, len(values), AT_ONCE):
            at, some = found.at[start : start + AT_ONCE], values[start : start + AT_ONCE]
            order = np.argsort(at, axis=None, kind="stable")
            names = [found.device_ids[device] for device in order % len(found.device_ids)]
            flat = some.reshape(-1, some.shape[2])[order]
            offsets = offset + np.arange(len(order))
            fleet.observe(Readings(PUMPS, names, at.ravel()[order], flat, offsets))
            offset += len(order)
            now = int(at.max())
            changes = fleet.changes()
            progress.commit([Checkpoint("pumps", PUMPS, mine.epoch, mine.owner, before, offset, changes, ())], now)
            fleet.settle()
            before = offset
            if answers:
                self._answer(now)

    def _answer(self, now: int) -> None:
        for row in self.alerts(shown=True):
            if row.device_id not in self.said and row.closed_at is not None and self.of_rinses([row]):
                feedback(self.engine, str(row.id), Feedback.FALSE_ALARM, "ann", now, "it rinses itself")
                self.said[row.device_id] = row.id

    def undo(self, now: int) -> None:
        for alert_id in self.said.values():
            feedback(self.engine, str(alert_id), None, "ann", now)

    def alerts(self, shown: bool) -> list[AlertRow]:
        """By opening."""
        filters = AlertFilter(run="live", shown_at=instant(0) if shown else None)
        return list_alerts(self.engine, filters)[::-1]

    def of_rinses(self, rows: list[AlertRow]) -> list[AlertRow]:
        """Alerts that go with a rinse and with no fault."""
        of_faults = {number for numbers in self._matched(rows, self.habits.faults) for number in numbers}
        of_rinses = {number for numbers in self._matched(rows, self.habits.rinses) for number in numbers}
        return [rows[number] for number in sorted(of_rinses - of_faults)]

    def found(self, rows: list[AlertRow]) -> int:
        """Of how many faults these alerts tell."""
        return sum(bool(numbers) for numbers in self._matched(rows, self.habits.faults))

    def _matched(self, rows: list[AlertRow], spans: list[Span]) -> tuple[tuple[int, ...], ...]:
        mine = [Span(row.device_id, microseconds(row.opened_at), microseconds(row.last_seen_at)) for row in rows]
        grace = round(GRACE_READINGS * self.habits.plan.period_s * MICROSECONDS)
        return match(spans, mine, grace).alerts_of


def learned(habits: Habits, steps: int = 20) -> Bundle:
    return train(habits.history(), TrainOptions("pumps", fit=FitOptions(steps=steps, hidden=8))).bundle
