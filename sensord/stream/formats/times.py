"""When a point was measured, whatever way it is written. Used by `points`."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

import msgspec

from sensord.stream.dead_letters import Reason, Refusal

_Time = Annotated[datetime, msgspec.Meta(tz=True)]
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
EARLIEST, LATEST = 946_684_800_000_000, 4_102_444_800_000_000  # 2000 and 2100, microseconds
NANOSECONDS = {"s": 1_000_000_000, "ms": 1_000_000, "us": 1_000, "ns": 1}  # of each unit


def microseconds(written: object, unit: str) -> int:
    """Since 1970, UTC. written: RFC 3339 with an offset, a number of `unit` (s, ms, us, ns), or a time by itself, as
    Avro has it. Raises Refusal.

    A number that is no time between 2000 and 2100 in that unit is refused, not tried in another.
    """
    if isinstance(written, str):
        return _of_text(written, unit)
    if isinstance(written, datetime):
        return _of_text(written.isoformat(), unit)
    if isinstance(written, bool) or not isinstance(written, int | float):
        raise Refusal(Reason.BAD_TIME, f"the time is a {type(written).__name__}, neither RFC 3339 nor a number")
    return _of_number(written, unit)


def _of_text(written: str, unit: str) -> int:
    if written.strip().lstrip("-").replace(".", "", 1).isdigit():
        return _of_number(float(written) if "." in written else int(written), unit)
    try:
        at = (msgspec.convert(written, _Time) - EPOCH) // timedelta(microseconds=1)
    except (ValueError, RecursionError) as error:
        raise Refusal(Reason.BAD_TIME, f"the time is neither RFC 3339 with an offset nor a number: {error}") from None
    if not EARLIEST <= at < LATEST:
        raise Refusal(Reason.BAD_TIME, f"the time {written} is outside the years 2000 to 2100")
    return at


def _of_number(written: float, unit: str) -> int:
    try:
        exact = written * NANOSECONDS[unit] if isinstance(written, int) else round(written * NANOSECONDS[unit])
    except (OverflowError, ValueError):
        raise Refusal(Reason.BAD_TIME, "the time is no finite number") from None
    at = int(exact // 1_000)
    if not EARLIEST <= at < LATEST:
        looks = [name for name, size in NANOSECONDS.items() if EARLIEST <= written * size // 1_000 < LATEST]
        shown = str(written) if abs(written) < 10**24 else "of very many digits"
        hint = f"; it looks like {looks[0]}: set mapping.time_unit" if looks else ""
        raise Refusal(Reason.BAD_TIME, f"the time {shown} is in {unit} no time of 2000 to 2100{hint}")
    return at
