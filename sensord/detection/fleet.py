"""The devices of one fleet on one partition: readings in, alert changes and state pages out.

`daemon` holds one for each partition it owns, `score` and `evaluate` one for all. Everything here is a pure function
of the readings in their order, so replaying them from a snapshot gives the same state and the same alerts, bit for bit.
"""

from collections import deque
from collections.abc import Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from enum import IntEnum
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from sensord.clock import MICROSECONDS
from sensord.compiled import plain
from sensord.detection import devices, drift, episodes, intake, silence
from sensord.detection.alerts import AlertChange, Reason
from sensord.detection.channels.bank import constants_of
from sensord.detection.chronicle import Chronicle, Origin
from sensord.detection.devices import RING, Devices
from sensord.detection.drift import DRIFTED, GOES_ON, OUTLASTED, WENT_BACK
from sensord.detection.episodes import CLOSED, ESCALATED, OPENED, OVERDUE
from sensord.detection.forecast import Bounds, Forecast, Level, forecast
from sensord.detection.intake import AGAIN, BROKEN, GAP
from sensord.detection.scorer import Flags, Norms, Pace, shares
from sensord.detection.silence import Absence, Patience, Silence
from sensord.model.bundle import Bundle
from sensord.model.network import INPUT_LIMIT, WAVE, Stepper
from sensord.model.steps import ELSEWHERE, weights_of
from sensord.readings import Floats, Integers, Partition, Readings, waves

HANDS = 4  # threads that warm devices
FOREVER = 1 << 60  # microseconds
EVIDENCE_AGAIN = RING // 2  # readings into an episode when its evidence is taken again, now with what came after


class Outcome(IntEnum):
    """What became of a reading."""

    SCORED = int(intake.SCORED)
    WARM_UP = int(intake.WARM_UP)
    LATE = int(intake.LATE)
    RESET = int(intake.RESET)


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
    bounds: what channels should stay between; horizon_s: a drift that reaches one of these within it is critical.
    """

    max_gap_s: float = 300.0
    max_episode_s: float = 86_400.0
    silent_periods: float = 0.0
    max_future_s: float = 0.0
    bounds: Mapping[str, Bounds] = field(default_factory=dict)
    horizon_s: float = 604_800.0

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
        channels = len(bundle.channels)
        self._model = _model(bundle, limits, device)
        self._desk = intake.Desk.for_one(channels, self._model)
        self._stepper = Stepper(bundle.network, device) if self._model.weights.kind == ELSEWHERE else None
        self._profile_rows = {name: row for row, name in enumerate(bundle.profiles.device_ids, start=1)}
        self._profile = np.zeros(0, np.int32)  # of each slot
        self.devices = Devices(channels, bundle.network.state_size)
        patience = limits.patience(bundle.manifest.period_s)
        self._watch = silence.Watch(self.devices, patience) if patience else None
        silent_s = patience.silent / MICROSECONDS if patience else 0.0
        self._chronicle = Chronicle(bundle, origin, self.devices, silent_s)

    # --- readings ----------------------------------------------------------------------------------------------------

    def observe(self, readings: Readings) -> Observation:
        """Take readings in, in order; late and repeated ones change nothing."""
        n, channels = len(readings), len(self.bundle.channels)
        seen = Observation.blank(n, channels)
        slots, at, offsets = self._find(readings.device_ids), plain(readings.at), plain(readings.offsets)
        batch = intake.Batch(slots, at, offsets, plain(readings.positions), plain(readings.values), self._profile)
        before = self.devices.last_at[slots]
        witness = np.zeros(n, np.bool_)
        told = (seen.outcome, seen.score, seen.limit, seen.alarmed, seen.kind, seen.in_episode, seen.expected)
        elsewhere = self._stepper is not None
        out = intake.Outcome(*told, witness, np.zeros((n if elsewhere else 0, channels), np.float32))
        for wave in waves(slots) if elsewhere else [np.arange(n)]:
            self._take(wave, batch, out)
        if self._watch is not None:
            accepted = seen.outcome != Outcome.LATE
            followed = silence.Batch(slots, batch.at, before, accepted, witness & accepted)
            for each in self._watch.follow(followed):
                self._tell_silence(each, int(batch.offsets[each.row]), int(batch.positions[each.row]))
        return seen

    def _find(self, device_ids: list[str]) -> Integers:
        slots = self.devices.find(device_ids)
        known, now = len(self._profile), len(self.devices)
        if now > known:
            new = [self._profile_rows.get(name, 0) for name in self.devices.ids[known:]]
            self._profile = np.r_[self._profile, np.array(new, np.int32)]
        return slots

    def _take(self, rows: Integers, batch: intake.Batch, out: intake.Outcome) -> None:
        """Take rows in, stopping wherever alerts have something to tell. Where torch steps the network: one wave."""
        place, state = 0, self.devices.state
        while place < len(rows):
            place, did = intake.take(rows, place, batch, state, self._model, self._desk, out)
            if did:
                self._tell(rows[place if did == GAP else place - 1], did, batch, out)
        if self._stepper is None:
            return
        for part in np.split(rows, range(WAVE, len(rows), WAVE)):
            after = self._stepper.step(_seen(out.inputs[part]), state.memory.recurrent[batch.slots[part]])
            place = 0
            while place < len(part):
                place, did = intake.stepped(part, place, batch, after, state, self._model, self._desk, out)
                if did:
                    self._tell(part[place - 1], did, batch, out)

    # --- episodes and alerts -----------------------------------------------------------------------------------------

    def _tell(self, row: int, did: int, batch: intake.Batch, out: intake.Outcome) -> None:
        """Write down what a reading did to its device, of which everything still is as the reading left it."""
        slot = int(batch.slots[row])
        if did & GAP:
            self._chronicle.closed(slot, Reason.GAP)
        if did & OPENED:
            self._chronicle.opened(slot, batch.values[row], out.expected[row], self._blame(slot))
        if did & ESCALATED:
            self._chronicle.escalated(slot)
        if did & CLOSED:
            self._chronicle.closed(slot, Reason.CLEARED)
        if did & AGAIN:
            self._chronicle.seen_again(slot)
        if did & (DRIFTED | WENT_BACK | OUTLASTED | GOES_ON):
            self._tell_drift(slot, did, batch.values[row], out.expected[row])
        if did & BROKEN:
            self._chronicle.closed(slot, Reason.RESET)
        elif did & OVERDUE:
            self._take_for_normal(slot, Reason.NEW_NORMAL)

    def _blame(self, slot: int) -> NDArray[np.float64]:
        """Each channel's share in what has just opened an episode, by the detector that named it: (channels,), sums to
        1."""
        place = int(episodes.PLACES[self.devices.kind[slot]])
        if place >= 0:
            return self._desk.verdicts.shares(place)
        profiles, profile = self.bundle.profiles, self._profile[slot : slot + 1]
        hidden, channels = self.bundle.network.shape.hidden, len(self.bundle.channels)
        feedback = profiles.head[profile, :, hidden : hidden + channels]
        return np.asarray(shares(self._desk.room.deviation[None], profiles.precision[profile], feedback)[0])

    def _tell_drift(self, slot: int, did: int, observed: Floats, expected: Floats) -> None:
        if did & DRIFTED:
            profile, levels = self._profile[slot], self.devices.state.drifts
            gone = (levels.drift_level[slot] - levels.drift_origin[slot]) * self.bundle.profiles.scale[profile]
            share = drift.shares(levels, slot, self._model.wander.usual[profile])
            ahead, _ = self._look_ahead(slot)
            self._chronicle.drifted(slot, observed, expected - gone, share, self._drift_limit(slot), ahead)
        if did & GOES_ON:
            self._chronicle.drift_goes_on(slot, self._drift_limit(slot), *self._look_ahead(slot))
        if did & WENT_BACK:
            self._end_drift(slot, Reason.STEADY)
        if did & OUTLASTED:
            self._end_drift(slot, Reason.NEW_NORMAL)

    def _look_ahead(self, slot: int) -> tuple[Forecast | None, bool]:
        """Which limit a drifting device will reach, and whether it becomes critical by that."""
        devices, bounds = self.devices, self._limits.bounds
        if not bounds:
            return None, False
        profile, seen, now = self._profile[slot], int(devices.seen[slot]), int(devices.last_at[slot])
        scale = self.bundle.profiles.scale[profile].astype(np.float64)
        usual = self._model.wander.usual[profile] * scale
        gone = (devices.baseline[slot] - devices.drift_origin[slot]) * scale
        ahead = (devices.baseline[slot] - devices.drift_level[slot]) * scale
        shown = means(devices.ring_observed[slot, : min(seen, RING)])
        columns = zip(self.bundle.channels, shown.tolist(), gone.tolist(), ahead.tolist(), usual.tolist(), strict=True)
        period = (now - int(devices.first_at[slot])) / max(seen - 1, 1)
        found = forecast([Level(*each) for each in columns if each[1] == each[1]], bounds, drift.SPAN, now, period)
        near = found is not None and found.at - now <= _us(self._limits.horizon_s)
        escalated = near and not devices.drift_critical[slot]
        devices.drift_critical[slot] |= near
        return found, bool(escalated)

    def _drift_limit(self, slot: int) -> float:
        """0 where the bundle knows none: it has another one's drift to close."""
        limit = self._model.wander.limit
        return float(limit[self._profile[slot]]) if len(limit) else 0.0

    def _end_drift(self, slot: int, reason: Reason) -> None:
        """Close a drift, and unless it has gone back by itself let its level be the device's from here on."""
        self._chronicle.drift_over(slot, self._drift_limit(slot), reason)
        if reason is not Reason.STEADY:
            drift.settle(self.devices.state.drifts, slot)

    def _drifting(self, slots: Integers) -> list[int]:
        """Those of them whose drift is open."""
        return [int(slot) for slot in slots[self.devices.drift_phase[slots] == drift.OPEN]]

    def _take_for_normal(self, slot: int, reason: Reason) -> None:
        """Close the open episode, and let what the device shows now be its level."""
        devices = self.devices
        self._chronicle.closed(slot, reason)
        episodes.rest(devices.state.episodes, slot, self._model.rules)
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
        for slot in self._drifting(np.arange(len(devices))):
            if (named := self._chronicle.id_of_drift(slot)) in alert_ids:
                self._end_drift(slot, Reason.ACCEPTED)
                devices.touch(np.array([slot]))
                done.add(named)
        return done

    def evict(self, most: int) -> int:
        """Forget the devices that have not been seen for longest, by event time, until `most` are left; returns how
        many went. Of those last seen together, who has said least goes first: what speaks once is more often a mistyped
        name than a machine. What was open of them is closed. At a snapshot alone, as `accept`.
        """
        devices, surplus = self.devices, len(self.devices) - most
        if surplus <= 0:
            return 0
        order = np.lexsort((devices.seen[: len(devices)], devices.last_at[: len(devices)]))
        self._close(order[:surplus], Reason.EVICTED)
        devices.keep(np.sort(order[surplus:]))
        self._profile = np.zeros(0, np.int32)
        self._find([])
        self._watch_anew()
        return surplus

    def withdraw(self) -> list[AlertChange]:
        """Close all that is open, since nobody will observe on; returns what a commit has to write."""
        self._close(np.arange(len(self.devices)), Reason.WITHDRAWN)
        return self.changes()

    def _close(self, slots: Integers, reason: Reason) -> None:
        """Close what is open of these devices, which no reading has ended."""
        devices = self.devices
        self._chronicle.pending()  # or what only went on would be written after its end
        for slot in slots[devices.phase[slots] >= episodes.OPEN].tolist():
            self._chronicle.closed(slot, reason)
        for slot in slots[devices.absence[slots] == Absence.SILENT].tolist():
            self._end_silence(slot, reason)
        for slot in self._drifting(slots):
            self._end_drift(slot, reason)
        self._chronicle.pending()  # while slots are still whose they were

    # --- silent devices ----------------------------------------------------------------------------------------------

    def _watch_anew(self) -> None:
        """The devices are others than the watch knows."""
        if self._watch is not None:
            self._watch.refresh()

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
        for slot in self._drifting(np.arange(len(self.devices))):
            self._end_drift(slot, Reason.REPLACED)
        new = self._warmed(bundle, self.origin)
        new._chronicle.take_over(self._chronicle)
        return new

    def beside(self, bundle: Bundle, run: str) -> "Fleet":
        """A second fleet of these devices under another bundle of the same channels, warmed in the same way, that is to
        be told the same readings from here on. Nothing is open in it: what its alerts say is its own."""
        new = self._warmed(bundle, replace(self.origin, run=run))
        slots = np.arange(len(self.devices))
        silent = new.devices.absence[slots] == Absence.SILENT
        new.devices.absence[slots[silent]] = Absence.SPEAKS
        new.devices.drift_phase[slots] = drift.STEADY
        new._watch_anew()
        for slot in np.flatnonzero(new.devices.phase[slots] != episodes.CALM).tolist():
            episodes.break_off(new.devices.state.episodes, slot)
        new.devices.take_moved()
        return new

    def _warmed(self, bundle: Bundle, origin: Origin) -> "Fleet":
        """These devices' presence, episodes and last readings under another bundle."""
        new = Fleet(bundle, origin, self._limits, self._device)
        new.devices.reserve(len(self.devices))
        new._find(self.devices.ids)
        new.devices.take_over(self.devices)
        new._watch_anew()
        slots = np.arange(len(self.devices))
        rescale = self._scale(slots) / new._scale(slots)
        carried = self.devices.baseline[slots] * rescale
        new._warm(slots, carried)
        anew = slots[new._knows_better(slots, carried)]
        new._warm(anew, np.zeros_like(carried[anew]))
        new.devices.settled[slots] = self.devices.settled[slots]
        new.devices.alarmed[slots] = self.devices.alarmed[slots]  # the next reading is the first that it judges
        new.devices.accepting[slots] = self.devices.accepting[slots]
        new.devices.course[slots] = self.devices.course[slots] * rescale
        return new

    def _scale(self, slots: Integers) -> Floats:
        return self.bundle.profiles.scale[self._profile[slots]]

    def _knows_better(self, slots: Integers, carried: Floats) -> Flags:
        """Devices whose last readings are nearer to what this bundle expects than to what they had got used to under
        another one: it was learnt from what they have become. (n,).

        What they had got used to is of no account where it is no farther off than the usual score: no score changes by
        more than that (triangle inequality).
        """
        profiles, rows, smoothed = self.bundle.profiles, self._profile[slots], self.devices.smoothed[slots]
        off, from_habit, habit = (
            np.einsum("ni,nij,nj->n", u, profiles.precision[rows], u) for u in (smoothed, smoothed - carried, carried)
        )
        return np.asarray((off < from_habit) & (habit > profiles.usual[rows] ** 2))

    def _warm(self, slots: Integers, level: Floats) -> None:
        """Score the ring's readings from a fresh state, raising nothing. level (n, channels): a baseline to begin
        with, scaled."""
        self.devices.begin_anew(slots)
        self.devices.baseline[slots] = self.devices.smoothed[slots] = level
        self.devices.settled[slots] = True
        waves = np.split(slots, range(WAVE, len(slots), WAVE))
        if self._stepper is None:
            with ThreadPoolExecutor(HANDS, "warm") as hands:  # the stream stands still meanwhile
                deque(hands.map(self._warm_wave, waves), maxlen=0)
        else:
            for wave in waves:
                self._warm_wave(wave)

    def _warm_wave(self, slots: Integers) -> None:
        state, channels = self.devices.state, len(self.bundle.channels)
        desk = intake.Desk.for_one(channels, self._model)  # of this thread
        nowhere = np.full((0 if self._stepper is None else len(slots), channels), np.nan, np.float32)
        for back in range(RING, 0, -1):
            inputs = nowhere.copy()
            intake.warm(slots, back, self._profile, state, self._model, desk, inputs)
            if self._stepper is not None:
                self._step_warm(slots, inputs)

    def _step_warm(self, slots: Integers, inputs: Floats) -> None:
        had = ~np.isnan(inputs[:, 0])
        slots, inputs, state = slots[had], inputs[had], self.devices.state
        if self._stepper is not None and len(slots):
            after = self._stepper.step(_seen(inputs), state.memory.recurrent[slots])
            intake.warmed(slots, inputs, after, self._profile, state, self._model, self._desk)

    def census(self) -> dict[str, int]:
        """How many devices there are, and in how many what is open."""
        slots, state = slice(0, len(self.devices)), self.devices
        return {
            "devices": len(self.devices),
            "open_alerts": int((state.phase[slots] >= episodes.OPEN).sum()),
            "silent_devices": int((state.absence[slots] == Absence.SILENT).sum()),
            "drifting_devices": int((state.drift_phase[slots] == drift.OPEN).sum()),
        }

    # --- checkpoints -------------------------------------------------------------------------------------------------

    def changes(self) -> list[AlertChange]:
        """What alerts a commit has to write; the same again until `settle`."""
        return self._chronicle.pending()

    def settle(self) -> None:
        """The changes are committed (or were, before a replay)."""
        self._chronicle.settle()

    def pages(self) -> dict[int, bytes]:
        """State pages changed since the last snapshot; `devices.settle` when they are stored."""
        return {number: page.sealed() for number, page in self.devices.dirty_pages().items()}

    def load(self, pages: Mapping[int, bytes]) -> None:
        """Take over stored state. Raises StateUnreadable."""
        self.devices.load(pages)
        self._find([])
        self._watch_anew()


def means(values: Floats) -> NDArray[np.float64]:
    """Each channel's mean over those readings (n, channels) that have it; NaN where none has."""
    had = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(had, values, 0).sum(0, np.float64) / had.sum(0))


def make_ready(bundle: Bundle) -> None:
    """Have everything compiled, or read from where it is kept, before anybody waits for it: a minute at worst."""
    nowhere = Partition("", 0)
    one = Fleet(bundle, Origin("", nowhere, ""), Limits(silent_periods=1.0))
    zero = np.zeros(1, np.int64)
    one.observe(Readings(nowhere, [""], zero, bundle.profiles.mean[:1], zero))
    one.under(bundle)


def _seen(inputs: Floats) -> Floats:
    """Readings as the network is to see them; zeros for those that it isn't to see at all."""
    limit = np.float32(INPUT_LIMIT)
    return np.asarray(np.clip(np.nan_to_num(inputs), -limit, limit))


def _model(bundle: Bundle, limits: Limits, device: str) -> intake.Model:
    """A bundle as compiled code reads it. The network is stepped by torch on any device but the processor."""
    weights = weights_of(bundle.network.cell)
    return intake.Model(
        Norms.of(bundle.profiles),
        constants_of(bundle.profiles.events, len(bundle.channels)),
        drift.wander_of(bundle.profiles.events, len(bundle.channels)),
        weights if device == "cpu" else weights._replace(kind=ELSEWHERE),
        Pace.of(bundle.manifest.tuning),
        episodes.Rules.of(bundle.manifest.tuning, _us(limits.max_episode_s)),
        _us(limits.max_gap_s),
        devices.PAGE,
        EVIDENCE_AGAIN,
    )
