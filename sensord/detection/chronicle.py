"""Alerts as people will read them: written from a device's episode or silence, and merged until they are committed.

Used by `fleet`, which decides when. An alert's id follows from where and when it opened, so a replay writes the same.
"""

from dataclasses import dataclass, replace
from uuid import UUID, uuid5

import numpy as np
from numpy.typing import NDArray

from sensord.detection import episodes
from sensord.detection.alerts import Alert, AlertChange, ChannelShare, Evidence, Kind, Reason, Run, Severity, Status
from sensord.detection.devices import RING, Devices
from sensord.detection.episodes import KINDS
from sensord.detection.forecast import Forecast
from sensord.model.bundle import Bundle
from sensord.readings import Floats, Partition

ALERT_NAMESPACE = UUID("6d0b7a52-4b8e-5f0e-9a55-0d9f9f0c7c11")


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a fleet's readings come from; it names its alerts. topic_id is "" where the broker has none.

    naming: what stands for the run in its alerts' ids, where several bundles are scored in one run; "": the run itself.
    """

    fleet: str
    partition: Partition
    topic_id: str
    run: str = Run.LIVE.value
    naming: str = ""


class Chronicle:
    """The alerts of one fleet's devices on one partition, and what of them a commit has yet to write.

    silent_s: seconds without a reading after which a device is silent.
    """

    def __init__(self, bundle: Bundle, origin: Origin, devices: Devices, silent_s: float) -> None:
        self._bundle = bundle
        self._origin = origin
        self._devices = devices
        self._silent_s = silent_s
        self._pending: dict[UUID, AlertChange] = {}

    # --- episodes ----------------------------------------------------------------------------------------------------

    def opened(self, slot: int, observed: Floats, expected: Floats, share: NDArray[np.float64]) -> None:
        """An episode opened at a reading: observed, expected, and each channel's share in it, (channels,) each."""
        shares = self._explained(observed, expected, share)
        self._add(self._episode(slot, shares=shares, evidence=self._evidence(slot)), "opened")

    def escalated(self, slot: int) -> None:
        """An episode became critical."""
        self._add(self._episode(slot), "escalated")

    def seen_again(self, slot: int) -> None:
        """Take an episode's evidence again, now with what came after its opening."""
        self._add(self._episode(slot, evidence=self._evidence(slot)))

    def closed(self, slot: int, reason: Reason) -> None:
        """An episode is over, as of the device's latest reading."""
        self._add(self._episode(slot, closed_at=int(self._devices.last_at[slot]), reason=reason), "closed")

    def id_of(self, slot: int) -> UUID:
        """The id of the device's open episode."""
        d = self._devices
        place = int(d.first_offset[slot]), int(d.first_position[slot]), int(d.opened_at[slot])
        return self._id(slot, KINDS[d.first_kind[slot]], *place)

    # --- silences ----------------------------------------------------------------------------------------------------

    def fell_silent(self, slot: int, since: int, elapsed_s: float) -> None:
        """A device last spoke at `since`; its partition has gone on for so long without it."""
        self._add(self._silence(slot, since, elapsed_s), "opened")

    def silence_over(
        self, slot: int, since: int, elapsed_s: float, closed_at: int, reason: Reason, offset: int | None = None
    ) -> None:
        """A silence came to its end, at a record if it has an offset."""
        alert = self._silence(slot, since, elapsed_s)
        closed = replace(alert, status=Status.CLOSED, closed_at=closed_at, close_reason=reason)
        self._add(closed if offset is None else replace(closed, last_offset=offset), "closed")

    def id_of_silence(self, slot: int, since: int) -> UUID:
        offset, position = int(self._devices.absent_offset[slot]), int(self._devices.absent_position[slot])
        return self._id(slot, Kind.SILENT, offset, position, since)

    # --- drifts ------------------------------------------------------------------------------------------------------

    def drifted(
        self,
        slot: int,
        observed: Floats,
        expected: Floats,
        share: NDArray[np.float64],
        limit: float,
        ahead: Forecast | None,
    ) -> None:
        """A device's level has gone too far, at a reading: observed, expected, and each channel's share, (channels,)
        each. limit: how many times farther than usual is too far. ahead: which limit it will reach, and when."""
        shares = self._explained(observed, expected, share)
        self._add(replace(self._drift(slot, limit, shares, self._evidence(slot)), forecast=ahead), "opened")

    def drift_goes_on(self, slot: int, limit: float, ahead: Forecast | None, escalated: bool) -> None:
        """A drift is still open. escalated: it has become critical."""
        alert = replace(self._drift(slot, limit), forecast=ahead)
        self._add(alert, *(("escalated",) if escalated else ()))

    def drift_over(self, slot: int, limit: float, reason: Reason) -> None:
        """A drift is over, as of the device's latest reading."""
        closed_at = int(self._devices.last_at[slot])
        over = replace(self._drift(slot, limit), status=Status.CLOSED, closed_at=closed_at, close_reason=reason)
        self._add(over, "closed")

    def id_of_drift(self, slot: int) -> UUID:
        d = self._devices
        place = int(d.drift_offset[slot]), int(d.drift_position[slot]), int(d.drift_at[slot])
        return self._id(slot, Kind.DRIFT, *place)

    def _drift(
        self,
        slot: int,
        limit: float,
        shares: tuple[ChannelShare, ...] | None = None,
        evidence: Evidence | None = None,
    ) -> Alert:
        """The device's drift, open. Its scores and threshold are multiples of how far its level went in health."""
        d = self._devices
        peak = float(d.drift_peak[slot])
        return replace(
            self._episode(slot, shares=shares, evidence=evidence),
            id=self.id_of_drift(slot),
            kind=Kind.DRIFT,
            severity=Severity.CRITICAL if d.drift_critical[slot] else Severity.WARNING,
            opened_at=int(d.drift_at[slot]),
            last_seen_at=int(d.last_at[slot]),
            score_first=peak,
            score_peak=peak,
            score_last=peak,
            threshold=limit,
            readings=0,
            first_offset=int(d.drift_offset[slot]),
            last_offset=int(d.drift_offset[slot]),
        )

    # --- commits -----------------------------------------------------------------------------------------------------

    def pending(self) -> list[AlertChange]:
        """What a commit has to write; the same again until `settle`."""
        for slot in self._devices.take_moved().tolist():
            if self._devices.phase[slot] >= episodes.OPEN:
                self._add(self._episode(slot))
        return list(self._pending.values())

    def settle(self) -> None:
        """What was pending is committed."""
        self._devices.take_moved()
        self._pending = {}

    def take_over(self, other: "Chronicle") -> None:
        """Go on with what another bundle's left to commit; its devices have the same slots."""
        other.pending()  # what went on under the other bundle names that one, whenever it is committed
        self._pending = other._pending

    def _add(self, alert: Alert, *events: str) -> None:
        earlier = self._pending.get(alert.id)
        if earlier is None:
            self._pending[alert.id] = AlertChange(alert, "opened" in events, events)
            return
        self._pending[alert.id] = AlertChange(alert.keeping(earlier.alert), earlier.is_new, earlier.events + events)

    # --- rows --------------------------------------------------------------------------------------------------------

    def _episode(
        self,
        slot: int,
        closed_at: int | None = None,
        reason: Reason | None = None,
        shares: tuple[ChannelShare, ...] | None = None,
        evidence: Evidence | None = None,
    ) -> Alert:
        """The device's episode as it stands."""
        d, origin = self._devices, self._origin
        return Alert(
            id=self.id_of(slot),
            fleet=origin.fleet,
            device_id=d.ids[slot],
            kind=KINDS[d.kind[slot]],
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
            model_id=self._bundle.id,
            run=origin.run,
            topic=origin.partition.topic,
            partition=origin.partition.number,
            first_offset=int(d.first_offset[slot]),
            last_offset=int(d.last_offset[slot]),
            close_reason=reason,
        )

    def _silence(self, slot: int, since: int, elapsed_s: float) -> Alert:
        """The device's silence, open. Its scores and threshold are seconds."""
        offset = int(self._devices.absent_offset[slot])
        return replace(
            self._episode(slot, shares=(), evidence=Evidence(self._bundle.channels, (), (), ())),
            id=self.id_of_silence(slot, since),
            kind=Kind.SILENT,
            severity=Severity.WARNING,
            opened_at=since,
            last_seen_at=since,
            score_first=self._silent_s,
            score_peak=elapsed_s,
            score_last=elapsed_s,
            threshold=self._silent_s,
            readings=0,
            first_offset=offset,
            last_offset=offset,
        )

    def _id(self, slot: int, kind: Kind, offset: int, position: int, opened_at: int) -> UUID:
        """One id for one opening.

        Device and position are in it because a record may carry many readings, the time because a truncated log gives
        its offsets out again, the kind as it was at the opening.
        """
        origin = self._origin
        place = (origin.partition.number, offset, position, opened_at)
        parts = (origin.fleet, origin.naming or origin.run, origin.partition.topic, origin.topic_id, *place)
        return uuid5(ALERT_NAMESPACE, "/".join(map(str, (*parts, self._devices.ids[slot], kind.value))))

    def _explained(self, observed: Floats, expected: Floats, share: NDArray[np.float64]) -> tuple[ChannelShare, ...]:
        """Channels with their shares, largest first."""
        channels = self._bundle.manifest.channels
        return tuple(
            ChannelShare(channels[i].name, channels[i].unit, _known(observed[i]), _known(expected[i]), float(share[i]))
            for i in np.argsort(-share, kind="stable").tolist()
        )

    def _evidence(self, slot: int) -> Evidence:
        d = self._devices
        seen = int(d.seen[slot])
        places = np.arange(max(0, seen - RING), seen) % RING
        return Evidence(
            self._bundle.channels,
            tuple(d.ring_at[slot, places].tolist()),
            tuple(tuple(map(_known, row)) for row in d.ring_observed[slot, places]),
            tuple(tuple(map(_known, row)) for row in d.ring_expected[slot, places]),
            tuple(map(_known, d.ring_ratio[slot, places])),
        )


def _known(value: np.float32) -> float | None:
    return None if np.isnan(value) else float(value)
