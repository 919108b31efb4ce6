"""Confirmed alerts: what people called real. Nothing is learned from it, but a candidate has to find it again.

Kept aside by `history` before it cuts its holes; played through the candidate by `gate`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sensord import spill
from sensord.trainer.events import Span
from sensord.trainer.holes import MARGIN, Cause, Holes, runs
from sensord.trainer.offline import LEAD_IN, Recorded


@dataclass(frozen=True, slots=True, eq=False)
class Confirmed:
    """Alerts, and their devices' readings around them, uncut.

    devices: each once, with `LEAD_IN` readings before each alert and `MARGIN` after it, as far as there are any; what
    lies between two alerts and near neither is missing, as to a daemon that did not get it.
    """

    devices: tuple[Recorded, ...] = ()
    alerts: tuple[Span, ...] = ()


NONE_CONFIRMED = Confirmed()


def confirmed(devices: Sequence[Recorded], holes: Holes) -> Confirmed:
    """What holes tell of alerts that were called real, where readings lie in them. Copies, so that the whole can be let
    go. Raises SpillFull.
    """
    alerts, chosen, kept = list[Span](), list[Recorded](), list[list[slice]]()
    for device in devices:
        spans, rows = _around(device, holes)
        if spans:
            alerts += spans
            chosen.append(device)
            kept.append(rows)
    if not alerts:
        return NONE_CONFIRMED
    lengths = [sum(part.stop - part.start for part in rows) for rows in kept]
    at, values = spill.rows(lengths, (), np.int64), spill.rows(lengths, chosen[0].values.shape[1:], np.float32)
    for device, rows, stamps, measured in zip(chosen, kept, at, values, strict=True):
        np.concatenate([device.at[part] for part in rows], out=stamps)
        np.concatenate([device.values[part] for part in rows], out=measured)
    names = [device.device_id for device in chosen]
    return Confirmed(tuple(Recorded(*each) for each in zip(names, at, values, strict=True)), tuple(alerts))


def _around(device: Recorded, holes: Holes) -> tuple[list[Span], list[slice]]:
    """A device's alerts that were called real, and the rows around them; where these overlap they are one stretch."""
    spans, kept = list[Span](), np.zeros(len(device.at), np.bool_)
    for hole in holes.concerning(device.device_id):
        rows = hole.around(device, LEAD_IN, MARGIN)
        if hole.cause is Cause.REAL and rows.start < rows.stop:
            spans.append(Span(device.device_id, hole.since, hole.until))
            kept[rows] = True
    return spans, runs(kept)
