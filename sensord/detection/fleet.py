"""The devices of one fleet on one partition: readings in, alert changes and state pages out.

`daemon` holds one for each partition it owns, `score` and `evaluate` one for all. Everything here is a pure function
of the readings in their order, so replaying them from a snapshot gives the same state and the same alerts, bit for bit.
"""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from enum import IntEnum
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from sensord.clock import MICROSECONDS
from sensord.detection import episodes, silence
from sensord.detection.alerts import AlertChange, Reason
from sensord.detection.channels.bank import Bank, Verdict
from sensord.detection.channels.contract import Seen
from sensord.detection.chronicle import Chronicle, Origin
from sensord.detection.devices import NEVER, RING, Devices
from sensord.detection.episodes import ANOMALY, CODE, KINDS, Called, Instant
from sensord.detection.scorer import RESIDUAL_LIMIT, Flags, Memory, Scored, Scorer, restart, shares
from sensord.detection.silence import WITNESS, Absence, Patience, Silence
from sensord.model.bundle import Bundle
from sensord.model.network import WAVE, Stepper
from sensord.readings import Floats, Integers, Readings, waves

FOREVER = 1 << 60  # microseconds
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

    outcome (n,): `Outcome`s. score, limit (n,): the score's, whatever event channels say. alarmed (n,): some detector
    calls the reading anomalous. kind (n,): that detector's code (`episodes.KINDS`). in_episode (n,): part of a run of
    anomalous readings, the calm ones that it bridges too. expected (n, channels), channel units.
    """

    outcome: NDArray[np.uint8]
    score: Floats
    limit: Floats
    alarmed: Flags
    kind: NDArray[np.uint8]
    in_episode: Flags
    expected: Floats

    @classmethod
    def blank(cls, rows: int, channels: int) -> "Observation":
        unknown = np.full(rows, np.nan, np.float32)
        expected = np.full((rows, channels), np.nan, np.float32)
        late = np.full(rows, Outcome.LATE, np.uint8)
        calm, unnamed = np.zeros(rows, np.bool_), np.zeros(rows, np.uint8)
        return cls(late, unknown, unknown.copy(), calm, unnamed, calm.copy(), expected)

    @classmethod
    def join(cls, parts: "Sequence[Observation]") -> "Observation":
        """One after another."""
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in cls.__slots__))

    def rows(self, first: int, last: int) -> "Observation":
        """A run of rows, as views."""
        return Observation(*(getattr(self, name)[first:last] for name in self.__slots__))

    def count(self, outcome: Outcome) -> int:
        """How many readings came to this."""
        return int((self.outcome == outcome).sum())


@dataclass(frozen=True, slots=True)
class Limits:
    """How much time may pass, seconds of event time.

    max_gap_s: silence after which a device starts afresh. max_episode_s: after it an open episode is the new normal.
    silent_periods: sampling periods without a reading after which a device is silent; 0: never. max_future_s: how far a
    clock may be ahead. No silence is shorter than max_gap_s or max_future_s, or one fast clock would silence the rest.
    """

    max_gap_s: float = 300.0
    max_episode_s: float = 86_400.0
    silent_periods: float = 0.0
    max_future_s: float = 0.0

    def patience(self, period_s: float) -> Patience | None:
        """For silent devices at one reading every period_s; None where silence is no news."""
        silent_s = max(self.silent_periods * period_s, self.max_gap_s, self.max_future_s)
        return Patience(_us(silent_s), _us(self.max_episode_s)) if self.silent_periods else None


def _us(seconds: float) -> int:
    return min(round(seconds * MICROSECONDS), FOREVER)


class Fleet:
    """Device states of one partition under one bundle."""

    def __init__(self, bundle: Bundle, origin: Origin, limits: Limits, device: str = "cpu") -> None:
        self.bundle = bundle
        self.origin = origin
        self._device = device
        self._limits = limits
        self._max_gap = _us(limits.max_gap_s)
        self._patience = limits.patience(bundle.manifest.period_s)
        self._tuning = bundle.manifest.tuning
        self._scorer = Scorer(Stepper(bundle.network, device), bundle.profiles, self._tuning)
        self._bank = Bank(bundle.profiles.events, len(bundle.channels))
        self._profile_rows = {name: row for row, name in enumerate(bundle.profiles.device_ids, start=1)}
        self._profile = np.zeros(0, np.int32)  # of each slot
        self.devices = Devices(len(bundle.channels), bundle.network.state_size)
        silent_s = self._patience.silent / MICROSECONDS if self._patience else 0.0
        self._chronicle = Chronicle(bundle, origin, self.devices, silent_s)

    # --- readings ----------------------------------------------------------------------------------------------------

    def observe(self, readings: Readings) -> Observation:
        """Take readings in, in order; late and repeated ones change nothing."""
        seen = Observation.blank(len(readings), len(self.bundle.channels))
        slots = self._find(readings.device_ids)
        positions = readings.positions
        shown, before = silence.latest_witnessed(self.devices), self.devices.last_at[slots]
        witness = np.zeros(len(readings), np.bool_)
        for wave in waves(slots):
            for rows in np.split(wave, range(WAVE, len(wave), WAVE)):
                instant = Instant(slots[rows], readings.at[rows], readings.offsets[rows], positions[rows])
                self._observe_wave(rows, instant, readings.values[rows], seen)
                witness[rows] = self.devices.steady[slots[rows]] >= WITNESS
        if self._patience is not None:
            accepted = seen.outcome != Outcome.LATE
            batch = silence.Batch(slots, readings.at, before, accepted, witness & accepted)
            for each in silence.follow(self.devices, batch, shown, self._patience):
                self._tell_silence(each, int(readings.offsets[each.row]), int(positions[each.row]))
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
        called, verdicts = self._call(wave, values, scored)
        self._remember(wave, values, scored)
        self._follow_episodes(wave, values, scored, called, verdicts)
        self.devices.touch(wave.slots)

        outcome = np.where(np.isnan(scored.score), Outcome.WARM_UP, Outcome.SCORED)
        seen.outcome[rows] = np.where(scored.broken, Outcome.RESET, outcome)
        seen.score[rows], seen.limit[rows] = scored.score, scored.limit
        seen.alarmed[rows], seen.kind[rows], seen.expected[rows] = called.anomalous, called.kind, scored.expected
        seen.in_episode[rows] = self.devices.phase[wave.slots] != episodes.CALM

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
        self.devices.steady[slots] = 0
        for slot in episodes.break_off(self.devices, slots).tolist():
            self._chronicle.closed(slot, Reason.GAP)
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
            course=d.course[slots],
            warm=d.warm[slots],
            settled=d.settled[slots],
            alarmed=d.alarmed[slots],
            slack=d.slack[slots],
        )

    def _scatter(self, slots: Integers, memory: Memory) -> None:
        d = self.devices
        d.recurrent[slots], d.expected[slots] = memory.recurrent, memory.expected
        d.smoothed[slots], d.baseline[slots] = memory.smoothed, memory.baseline
        d.peak[slots], d.course[slots] = memory.peak, memory.course
        d.warm[slots], d.settled[slots] = memory.warm, memory.settled
        d.alarmed[slots], d.slack[slots] = memory.alarmed, memory.slack

    def _remember(self, wave: Instant, values: Floats, scored: Scored) -> None:
        d, slots = self.devices, wave.slots
        place = d.seen[slots] % RING
        d.ring_at[slots, place] = wave.at
        d.ring_observed[slots, place] = values
        d.ring_expected[slots, place] = scored.expected
        d.first_at[slots] = np.where(d.seen[slots] == 0, wave.at, d.first_at[slots])
        d.last_at[slots] = wave.at
        d.seen[slots] += 1
        d.steady[slots] = np.minimum(d.steady[slots] + 1, WITNESS)
        witnesses = d.steady[slots] >= WITNESS
        d.witnessed_at[slots] = np.where(witnesses, wave.at, d.witnessed_at[slots])

    # --- episodes and alerts -----------------------------------------------------------------------------------------

    def _call(self, wave: Instant, values: Floats, scored: Scored) -> tuple[Called, list[Verdict]]:
        """What the score and the event channels say of a wave."""
        profiles, slots = self.bundle.profiles, wave.slots
        rows = self._profile[slots]
        mean, scale = profiles.mean[rows], profiles.scale[rows]
        z = np.clip((values - mean) / scale, -RESIDUAL_LIMIT, RESIDUAL_LIMIT)
        error = np.clip((values - scored.expected) / scale, -RESIDUAL_LIMIT, RESIDUAL_LIMIT)
        frozen = scored.alarmed | (self.devices.phase[slots] >= episodes.OPEN)
        judged = ~np.isnan(scored.score)
        states = {each.name: self.devices.events(each.name)[slots] for each in self._bank.active}
        verdicts = self._bank.judge(Seen(wave.at, z, error, judged, frozen), rows, states)
        accepting = self.devices.accepting[slots]
        if accepting.any():
            self._bank.accept(verdicts, states, accepting)
            self.devices.accepting[slots] = False

        called = Called.nothing(len(slots))
        called.score[:, ANOMALY], called.limit[:, ANOMALY] = scored.score, scored.limit
        called.calls[:, ANOMALY] = scored.alarmed
        for each, verdict in zip(self._bank.active, verdicts, strict=True):
            self.devices.events(each.name)[slots] = states[each.name]
            code = CODE[each.kind]
            called.score[:, code], called.limit[:, code] = verdict.highest, verdict.limit
            called.calls[:, code] = verdict.flagged & ~accepting
        return called, verdicts

    def _follow_episodes(
        self, wave: Instant, values: Floats, scored: Scored, called: Called, verdicts: Sequence[Verdict]
    ) -> None:
        devices = self.devices
        broken = wave.slots[scored.broken]
        for slot in episodes.break_off(devices, broken).tolist() if len(broken) else ():
            self._chronicle.closed(slot, Reason.RESET)
        moves = episodes.advance(devices, wave, called, self._tuning, _us(self._limits.max_episode_s))
        row_of = {slot: row for row, slot in enumerate(wave.slots.tolist())} if len(moves.opened) else {}
        for slot in moves.opened.tolist():
            row = row_of[slot]
            share = self._blame(slot, row, scored, verdicts)
            self._chronicle.opened(slot, values[row], scored.expected[row], share)
        for slot in moves.escalated.tolist():
            self._chronicle.escalated(slot)
        for slot in moves.closed.tolist():
            self._chronicle.closed(slot, Reason.CLEARED)
        again = moves.moved[devices.readings[moves.moved] == EVIDENCE_AGAIN]
        for slot in again.tolist():
            self._chronicle.seen_again(slot)
        self._chronicle.went_on(moves.moved.tolist())
        for slot in moves.overdue.tolist():
            self._take_for_normal(slot, Reason.NEW_NORMAL)

    def _blame(self, slot: int, row: int, scored: Scored, verdicts: Sequence[Verdict]) -> NDArray[np.float64]:
        """Each channel's share in what opened an episode, by the detector that named it: (channels,), sums to 1."""
        kind = KINDS[self.devices.kind[slot]]
        for each, verdict in zip(self._bank.active, verdicts, strict=True):
            if each.kind is kind:
                return verdict.shares(row)
        profiles, profile = self.bundle.profiles, self._profile[slot : slot + 1]
        hidden, channels = self.bundle.network.shape.hidden, len(self.bundle.channels)
        feedback = profiles.head[profile, :, hidden : hidden + channels]
        return np.asarray(shares(scored.deviation[row : row + 1], profiles.precision[profile], feedback)[0])

    def _take_for_normal(self, slot: int, reason: Reason) -> None:
        """Close the open episode, and let what the device shows now be its level."""
        devices = self.devices
        self._chronicle.closed(slot, reason)
        episodes.rest(devices, np.array([slot]), self._tuning)
        devices.baseline[slot] = devices.smoothed[slot]
        devices.course[slot] = 0
        devices.peak[slot] = 0
        devices.alarmed[slot] = False
        devices.accepting[slot] = True  # its next reading tells the event channels what is normal

    def accept(self, alert_ids: Set[UUID]) -> set[UUID]:
        """Take for normal what these alerts show, where they are open here; returns those that were closed.

        To be called at a snapshot alone: what a person says isn't in the log, so a replay finds it in the state.
        """
        devices = self.devices
        done = set()
        for slot in np.flatnonzero(devices.phase[: len(devices)] >= episodes.OPEN).tolist():
            if (named := self._chronicle.id_of(slot)) in alert_ids:
                self._take_for_normal(slot, Reason.ACCEPTED)
                devices.touch(np.array([slot]))
                done.add(named)
        for slot in np.flatnonzero(devices.absence[: len(devices)] == Absence.SILENT).tolist():
            if (named := self._chronicle.id_of_silence(slot, int(devices.last_at[slot]))) in alert_ids:
                self._end_silence(slot, Reason.ACCEPTED)
                devices.absence[slot] = Absence.GIVEN_UP
                devices.touch(np.array([slot]))
                done.add(named)
        return done

    def evict(self, most: int) -> int:
        """Forget the devices that have not been seen for longest, by event time, until `most` are left; returns how
        many went. What was open of them is closed. At a snapshot alone, as `accept`.
        """
        devices, surplus = self.devices, len(self.devices) - most
        if surplus <= 0:
            return 0
        self._chronicle.pending()  # or what only went on would be written after its end
        order = np.argsort(devices.last_at[: len(devices)], kind="stable")
        for slot in order[:surplus].tolist():
            if devices.phase[slot] >= episodes.OPEN:
                self._chronicle.closed(slot, Reason.EVICTED)
            if devices.absence[slot] == Absence.SILENT:
                self._end_silence(slot, Reason.EVICTED)
        self._chronicle.pending()  # while slots are still whose they were
        devices.keep(np.sort(order[surplus:]))
        self._profile = np.zeros(0, np.int32)
        self._find([])
        return surplus

    # --- silent devices ----------------------------------------------------------------------------------------------

    def _end_silence(self, slot: int, reason: Reason) -> None:
        """Close a silence that no reading has ended."""
        since, now = int(self.devices.last_at[slot]), silence.latest_witnessed(self.devices)
        elapsed_s = (now - int(self.devices.heard_at[slot])) / MICROSECONDS
        self._chronicle.silence_over(slot, since, elapsed_s, max(now, since), reason)

    def _tell_silence(self, told: Silence, offset: int, position: int) -> None:
        devices, slot = self.devices, told.slot
        devices.touch(np.array([slot]))
        if told.reason is None:
            devices.absent_offset[slot], devices.absent_position[slot] = offset, position
            self._chronicle.fell_silent(slot, told.since, told.elapsed_s)
            return
        self._chronicle.silence_over(slot, told.since, told.elapsed_s, told.closed_at, told.reason, offset)

    # --- another bundle ----------------------------------------------------------------------------------------------

    def under(self, bundle: Bundle) -> "Fleet":
        """These devices under another bundle of the same channels, warmed from each device's last readings.

        Open episodes go on; the first reading after the swap is scored as if the bundle had been there all along.
        """
        new = Fleet(bundle, self.origin, self._limits, self._device)
        new._find(self.devices.ids)
        new.devices.take_over(self.devices)
        new._chronicle.take_over(self._chronicle)
        slots = np.arange(len(self.devices))
        rescale = self._scale(slots) / new._scale(slots)
        new.devices.baseline[slots] = self.devices.baseline[slots] * rescale
        new.devices.settled[slots] = self.devices.settled[slots]
        for wave in np.split(slots, range(WAVE, len(slots), WAVE)):
            new._warm(wave)
        new.devices.alarmed[slots] = self.devices.alarmed[slots]  # the next reading is the first that it judges
        new.devices.accepting[slots] = self.devices.accepting[slots]
        new.devices.course[slots] = self.devices.course[slots] * rescale
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
                rows, ring = slots[known], place[known]
                values, nowhere = d.ring_observed[rows, ring], np.zeros(len(rows), np.int64)
                scored = self._score(rows, values)
                self._call(Instant(rows, d.ring_at[rows, ring], nowhere, nowhere), values, scored)

    # --- checkpoints -------------------------------------------------------------------------------------------------

    def changes(self) -> list[AlertChange]:
        """What alerts a commit has to write; the same again until `settle`."""
        return self._chronicle.pending()

    def settle(self) -> None:
        """The changes are committed (or were, before a replay)."""
        self._chronicle.settle()

    def pages(self) -> dict[int, bytes]:
        """State pages changed since the last snapshot; `devices.settle` when they are stored."""
        return self.devices.dirty_pages()

    def load(self, pages: Mapping[int, bytes]) -> None:
        """Take over stored state. Raises StateUnreadable."""
        self.devices.load(pages)
        self._find([])
