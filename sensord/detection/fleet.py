"""The devices of one fleet on one partition: readings in, alert changes and state pages out.

`daemon` holds one for each partition it owns, `score` and `evaluate` one for all. Everything here is a pure function
of the readings in their order, so replaying them from a snapshot gives the same state and the same alerts, bit for bit.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from uuid import UUID, uuid5

import numpy as np
from numpy.typing import NDArray

from sensord.clock import MICROSECONDS
from sensord.detection import episodes
from sensord.detection.alerts import Alert, AlertChange, ChannelShare, Evidence, Kind, Severity, Status
from sensord.detection.devices import NEVER, RING, Devices
from sensord.detection.episodes import Instant
from sensord.detection.scorer import Flags, Memory, Scored, Scorer, restart, shares
from sensord.model.bundle import Bundle
from sensord.model.network import WAVE, Stepper
from sensord.readings import Floats, Integers, Partition, Readings, waves

ALERT_NAMESPACE = UUID("6d0b7a52-4b8e-5f0e-9a55-0d9f9f0c7c11")
EVIDENCE_AGAIN = RING // 2  # readings into an episode when its evidence is taken again, now with what came after


class Outcome(IntEnum):
    """What became of a reading."""

    SCORED = 0
    WARM_UP = 1
    LATE = 2
    RESET = 3


@dataclass(frozen=True, slots=True)
class Observation:
    """What a batch of readings gave, row by row; NaN where a reading was not scored.

    outcome (n,): `Outcome`s. score, limit (n,). alarmed (n,). expected (n, channels), channel units.
    """

    outcome: NDArray[np.uint8]
    score: Floats
    limit: Floats
    alarmed: Flags
    expected: Floats

    @classmethod
    def blank(cls, rows: int, channels: int) -> "Observation":
        unknown = np.full(rows, np.nan, np.float32)
        expected = np.full((rows, channels), np.nan, np.float32)
        late = np.full(rows, Outcome.LATE, np.uint8)
        return cls(late, unknown, unknown.copy(), np.zeros(rows, np.bool_), expected)

    @classmethod
    def join(cls, parts: "Sequence[Observation]") -> "Observation":
        """One after another."""
        return cls(
            np.concatenate([part.outcome for part in parts]),
            np.concatenate([part.score for part in parts]),
            np.concatenate([part.limit for part in parts]),
            np.concatenate([part.alarmed for part in parts]),
            np.concatenate([part.expected for part in parts]),
        )

    def rows(self, first: int, last: int) -> "Observation":
        """A run of rows, as views."""
        rows = slice(first, last)
        return Observation(
            self.outcome[rows], self.score[rows], self.limit[rows], self.alarmed[rows], self.expected[rows]
        )

    def count(self, outcome: Outcome) -> int:
        """How many readings came to this."""
        return int((self.outcome == outcome).sum())


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a fleet's readings come from; it names its alerts. topic_id is "" where the broker has none."""

    fleet: str
    partition: Partition
    topic_id: str
    run: str = "live"


class Fleet:
    """Device states of one partition under one bundle."""

    def __init__(self, bundle: Bundle, origin: Origin, max_gap_s: float, device: str = "cpu") -> None:
        self.bundle = bundle
        self.origin = origin
        self._device = device
        self._max_gap = round(max_gap_s * MICROSECONDS)
        self._tuning = bundle.manifest.tuning
        self._scorer = Scorer(Stepper(bundle.network, device), bundle.profiles, self._tuning)
        self._profile_rows = {name: row for row, name in enumerate(bundle.profiles.device_ids, start=1)}
        self._profile = np.zeros(0, np.int32)  # of each slot
        self._changes = _Changes()
        self.devices = Devices(len(bundle.channels), bundle.network.state_size)

    # --- readings ----------------------------------------------------------------------------------------------------

    def observe(self, readings: Readings) -> Observation:
        """Take readings in, in order; late and repeated ones change nothing."""
        seen = Observation.blank(len(readings), len(self.bundle.channels))
        slots = self._find(readings.device_ids)
        positions = readings.positions
        for wave in waves(slots):
            for rows in np.split(wave, range(WAVE, len(wave), WAVE)):
                instant = Instant(slots[rows], readings.at[rows], readings.offsets[rows], positions[rows])
                self._observe_wave(rows, instant, readings.values[rows], seen)
        return seen

    def _find(self, device_ids: list[str]) -> Integers:
        slots = self.devices.find(device_ids)
        known, now = len(self._profile), len(self.devices)
        if now > known:
            new = [self._profile_rows.get(name, 0) for name in self.devices.ids[known:]]
            self._profile = np.r_[self._profile, np.array(new, np.int32)]
        return slots

    def _observe_wave(self, rows: Integers, wave: Instant, values: Floats, seen: Observation) -> None:
        timely = wave.at > self.devices.last_at[wave.slots]
        if not timely.all():
            rows, values = rows[timely], values[timely]
            wave = Instant(wave.slots[timely], wave.at[timely], wave.offsets[timely], wave.positions[timely])
        if not len(rows):
            return
        self._restart_after_gaps(wave)
        scored = self._score(wave.slots, values)
        self._remember(wave, values, scored)
        self._follow_episodes(wave, values, scored)
        self.devices.touch(wave.slots)

        outcome = np.where(np.isnan(scored.score), Outcome.WARM_UP, Outcome.SCORED)
        seen.outcome[rows] = np.where(scored.broken, Outcome.RESET, outcome)
        seen.score[rows], seen.limit[rows] = scored.score, scored.limit
        seen.alarmed[rows], seen.expected[rows] = scored.alarmed, scored.expected

    def _score(self, slots: Integers, values: Floats) -> Scored:
        memory = self._gather(slots)
        scored = self._scorer.score(values, self._profile[slots], memory)
        self._scatter(slots, memory)
        return scored

    def _restart_after_gaps(self, wave: Instant) -> None:
        last = self.devices.last_at[wave.slots]
        gap = (last != NEVER) & (wave.at - np.maximum(last, 0) > self._max_gap)
        if not gap.any():
            return
        slots = wave.slots[gap]
        for slot in episodes.break_off(self.devices, slots).tolist():
            self._changes.add(self._alert(slot, closed_at=int(self.devices.last_at[slot]), reason="gap"), "closed")
        memory = self._gather(slots)
        restart(memory, np.ones(len(slots), np.bool_))
        self._scatter(slots, memory)

    def _gather(self, slots: Integers) -> Memory:
        d = self.devices
        return Memory(
            recurrent=d.recurrent[slots],
            expected=d.expected[slots],
            smoothed=d.smoothed[slots],
            baseline=d.baseline[slots],
            peak=d.peak[slots],
            warm=d.warm[slots],
            settled=d.settled[slots],
            alarmed=d.alarmed[slots],
            slack=d.slack[slots],
        )

    def _scatter(self, slots: Integers, memory: Memory) -> None:
        d = self.devices
        d.recurrent[slots], d.expected[slots] = memory.recurrent, memory.expected
        d.smoothed[slots], d.baseline[slots] = memory.smoothed, memory.baseline
        d.peak[slots], d.warm[slots] = memory.peak, memory.warm
        d.settled[slots], d.alarmed[slots] = memory.settled, memory.alarmed
        d.slack[slots] = memory.slack

    def _remember(self, wave: Instant, values: Floats, scored: Scored) -> None:
        d, slots = self.devices, wave.slots
        place = d.seen[slots] % RING
        d.ring_at[slots, place] = wave.at
        d.ring_observed[slots, place] = values
        d.ring_expected[slots, place] = scored.expected
        d.first_at[slots] = np.where(d.seen[slots] == 0, wave.at, d.first_at[slots])
        d.last_at[slots] = wave.at
        d.seen[slots] += 1

    # --- episodes and alerts -----------------------------------------------------------------------------------------

    def _follow_episodes(self, wave: Instant, values: Floats, scored: Scored) -> None:
        broken = wave.slots[scored.broken]
        for slot in episodes.break_off(self.devices, broken).tolist() if len(broken) else ():
            self._changes.add(self._alert(slot, closed_at=int(self.devices.last_at[slot]), reason="reset"), "closed")
        moves = episodes.advance(self.devices, wave, scored, self._tuning)
        row_of = {slot: row for row, slot in enumerate(wave.slots.tolist())} if len(moves.opened) else {}
        for slot in moves.opened.tolist():
            shares = self._explain(slot, values[row_of[slot]], scored, row_of[slot])
            self._changes.add(self._alert(slot, shares=shares, evidence=self._evidence(slot)), "opened")
        for slot in moves.escalated.tolist():
            self._changes.add(self._alert(slot), "escalated")
        for slot in moves.closed.tolist():
            at = int(self.devices.last_at[slot])
            self._changes.add(self._alert(slot, closed_at=at, reason="cleared"), "closed")
        again = moves.moved[self.devices.readings[moves.moved] == EVIDENCE_AGAIN]
        for slot in again.tolist():
            self._changes.add(self._alert(slot, evidence=self._evidence(slot)))
        self._changes.moved.update(moves.moved.tolist())

    def _explain(self, slot: int, observed: Floats, scored: Scored, row: int) -> tuple[ChannelShare, ...]:
        """Each channel's share in the squared distance, largest first."""
        profiles, profile = self._scorer.profiles, self._profile[slot : slot + 1]
        channels = self.bundle.manifest.channels
        hidden = self.bundle.network.shape.hidden
        feedback = profiles.head[profile, :, hidden : hidden + len(channels)]
        share = shares(scored.deviation[row : row + 1], profiles.precision[profile], feedback)[0]
        expected = scored.expected[row]
        return tuple(
            ChannelShare(channels[i].name, channels[i].unit, _known(observed[i]), _known(expected[i]), float(share[i]))
            for i in np.argsort(-share, kind="stable").tolist()
        )

    def _evidence(self, slot: int) -> Evidence:
        d = self.devices
        seen = int(d.seen[slot])
        places = np.arange(max(0, seen - RING), seen) % RING
        return Evidence(
            self.bundle.channels,
            tuple(d.ring_at[slot, places].tolist()),
            tuple(tuple(map(_known, row)) for row in d.ring_observed[slot, places]),
            tuple(tuple(map(_known, row)) for row in d.ring_expected[slot, places]),
        )

    def _alert(
        self,
        slot: int,
        closed_at: int | None = None,
        reason: str | None = None,
        shares: tuple[ChannelShare, ...] | None = None,
        evidence: Evidence | None = None,
    ) -> Alert:
        d, origin = self.devices, self.origin
        return Alert(
            id=self._alert_id(slot, Kind.ANOMALY),
            fleet=origin.fleet,
            device_id=d.ids[slot],
            kind=Kind.ANOMALY,
            status=Status.OPEN if closed_at is None else Status.CLOSED,
            severity=Severity.CRITICAL if d.critical[slot] else Severity.WARNING,
            opened_at=int(d.opened_at[slot]),
            last_seen_at=int(d.last_seen_at[slot]),
            closed_at=closed_at,
            score_first=float(d.score_first[slot]),
            score_peak=float(d.score_peak[slot]),
            score_last=float(d.score_last[slot]),
            threshold=float(d.threshold[slot]),
            readings=int(d.readings[slot]),
            top_channels=shares,
            evidence=evidence,
            model_id=self.bundle.id,
            run=origin.run,
            topic=origin.partition.topic,
            partition=origin.partition.number,
            first_offset=int(d.first_offset[slot]),
            last_offset=int(d.last_offset[slot]),
            close_reason=reason,
        )

    def _alert_id(self, slot: int, kind: Kind) -> UUID:
        """One id for one opening.

        Device and position are in it because a record may carry many readings, the time because a truncated log gives
        its offsets out again.
        """
        origin, d = self.origin, self.devices
        place = (
            origin.partition.number,
            int(d.first_offset[slot]),
            int(d.first_position[slot]),
            int(d.opened_at[slot]),
        )
        parts = (origin.fleet, origin.run, origin.partition.topic, origin.topic_id, *place, d.ids[slot], kind.value)
        return uuid5(ALERT_NAMESPACE, "/".join(map(str, parts)))

    # --- another bundle ----------------------------------------------------------------------------------------------

    def under(self, bundle: Bundle) -> "Fleet":
        """These devices under another bundle of the same channels, warmed from each device's last readings.

        Open episodes go on; the first reading after the swap is scored as if the bundle had been there all along.
        """
        new = Fleet(bundle, self.origin, self._max_gap / MICROSECONDS, self._device)
        new._find(self.devices.ids)
        new.devices.take_over(self.devices)
        new._changes = self._changes
        slots = np.arange(len(self.devices))
        old_scale, new_scale = self._scale(slots), new._scale(slots)
        new.devices.baseline[slots] = self.devices.baseline[slots] * (old_scale / new_scale)
        new.devices.settled[slots] = self.devices.settled[slots]
        for wave in np.split(slots, range(WAVE, len(slots), WAVE)):
            new._warm(wave)
        new.devices.alarmed[slots] = self.devices.alarmed[slots]  # the next reading is the first that it judges
        return new

    def _scale(self, slots: Integers) -> Floats:
        return self.bundle.profiles.scale[self._profile[slots]]

    def _warm(self, slots: Integers) -> None:
        """Score the ring's readings from a fresh state, raising nothing."""
        d = self.devices
        for back in range(RING, 0, -1):
            known = d.seen[slots] >= back
            place = (d.seen[slots] - back) % RING
            if known.any():
                self._score(slots[known], d.ring_observed[slots[known], place[known]])

    # --- checkpoints -------------------------------------------------------------------------------------------------

    def changes(self) -> list[AlertChange]:
        """What alerts a commit has to write; the same again until `settle`."""
        moved = [slot for slot in sorted(self._changes.moved) if self.devices.phase[slot] >= episodes.OPEN]
        for slot in moved:
            self._changes.add(self._alert(slot))
        self._changes.moved.clear()
        return self._changes.listed()

    def settle(self) -> None:
        """The changes are committed (or were, before a replay)."""
        self._changes = _Changes()

    def pages(self) -> dict[int, bytes]:
        """State pages changed since the last snapshot; `devices.settle` when they are stored."""
        return self.devices.dirty_pages()

    def load(self, pages: Mapping[int, bytes]) -> None:
        """Take over stored state. Raises StateUnreadable."""
        self.devices.load(pages)
        self._find([])


class _Changes:
    """Alert changes since the last commit, merged by alert."""

    def __init__(self) -> None:
        self.moved: set[int] = set()  # slots whose open episode only went on
        self._by_id: dict[UUID, AlertChange] = {}

    def add(self, alert: Alert, *events: str) -> None:
        earlier = self._by_id.get(alert.id)
        if earlier is None:
            self._by_id[alert.id] = AlertChange(alert, "opened" in events, events)
            return
        self._by_id[alert.id] = AlertChange(alert.keeping(earlier.alert), earlier.is_new, earlier.events + events)

    def listed(self) -> list[AlertChange]:
        return list(self._by_id.values())


def _known(value: np.float32) -> float | None:
    return None if np.isnan(value) else float(value)
