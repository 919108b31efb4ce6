"""Time stamps in recorded files: ISO texts, or numbers whose unit is clear or named."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum

import numpy as np

from sensord.clock import MICROSECONDS
from sensord.readings import Integers

EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001  # naive is UTC here
MICROSECOND = timedelta(microseconds=1)
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
EARLIEST_MS, LATEST_MS = 946_684_800_000, 4_102_444_800_000  # 2000 to 2100, as in messages
EXACT = 1 << 53  # microseconds that a float64 holds exactly


class TimeUnit(StrEnum):
    """What a number in the time column counts, from the epoch; a cycle (a flight, a batch) is taken for a second."""

    CYCLES = "cycles"
    S = "s"
    MS = "ms"
    US = "us"


WORTH = {TimeUnit.CYCLES: MICROSECONDS, TimeUnit.S: MICROSECONDS, TimeUnit.MS: 1_000, TimeUnit.US: 1}


class StampError(ValueError):
    """One of the texts is no time stamp; row counts from 0, the message says why and what would mend it."""

    def __init__(self, row: int, reason: str) -> None:
        super().__init__(reason)
        self.row = row


def stamps(texts: Sequence[str], unit: TimeUnit | None) -> Integers:
    """Microseconds UTC of each text: (n,) int64.

    Without a unit a text is ISO 8601 (a blank for the T is fine; without an offset it is UTC), or whole milliseconds
    since the epoch of the years 2000 to 2100; any other number is refused. With a unit it is a number. Raises
    StampError.
    """
    found = np.empty(len(texts), np.int64)
    for row, text in enumerate(texts):
        try:
            found[row] = _told(text.strip()) if unit is None else _counted(text.strip(), unit)
        except ValueError as error:
            raise StampError(row, str(error)) from None
    return found


def _told(text: str) -> int:
    if text[4:5] != "-" and NUMBER.fullmatch(text):
        number = float(text)
        if number.is_integer() and EARLIEST_MS <= number < LATEST_MS:
            return int(number) * 1_000
        raise ValueError("is a number whose unit isn't clear; name it with --time-unit cycles, s, ms or us")
    try:
        stamp = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError("is no time stamp; ISO 8601 like 2026-11-23T12:00:00Z is understood") from None
    if stamp.tzinfo is not None:
        stamp = stamp.astimezone(UTC).replace(tzinfo=None)
    return (stamp - EPOCH) // MICROSECOND


def _counted(text: str, unit: TimeUnit) -> int:
    if not NUMBER.fullmatch(text):
        raise ValueError(f"is no number, the unit of time was given as {unit}")
    number = float(text) * WORTH[unit]
    if abs(number) > EXACT:
        raise ValueError(f"lies beyond the year 2255 in {unit}; is that the unit?")
    return round(number)
