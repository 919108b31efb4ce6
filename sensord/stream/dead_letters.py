"""What is done with a record that can't become a reading: the reasons, the limits, and how one is written down.

Made by `decoders`, stored by `store`; the reasons label a metric.
"""

from collections.abc import Sequence
from enum import StrEnum

from sensord.readings import DeadLetter, Partition, RawRecord

VALUE_LIMIT = 64 << 10  # bytes of a record's value
KEY_LIMIT = 256  # bytes of a record's key
DEVICE_ID_LIMIT = 256  # characters
PAYLOAD_LIMIT = 8 << 10  # bytes of a refused payload that are kept
DETAIL_LIMIT = 300  # characters
LETTERS_LIMIT = 100  # of one record: an array of 64 KiB can hold 32,000 bad readings


class Reason(StrEnum):
    """Why a record, or one reading of it, was refused."""

    MALFORMED = "malformed"
    OVERSIZED = "oversized"
    KEY_TOO_LONG = "key_too_long"
    TOMBSTONE = "tombstone"
    BAD_DEVICE_ID = "bad_device_id"
    UNKNOWN_CHANNEL = "unknown_channel"
    NO_VALUES = "no_values"
    NOT_FINITE = "not_finite"
    BAD_TIME = "bad_time"
    FUTURE = "future"


class Refusal(Exception):  # it ends in a dead letter, not in an error
    """Raised and caught inside decoding: the reading at hand can't be used."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


def dead_letter(
    partition: Partition, record: RawRecord, refusal: Refusal, position: int = 0, payload: bytes | None = None
) -> DeadLetter:
    """Write a refusal down. payload: the refused reading where it is only a part of the record's value."""
    came = payload if payload is not None else record.value or b""
    return DeadLetter(
        partition=partition,
        offset=record.offset,
        position=position,
        reason=refusal.reason.value,
        detail=_printable(refusal.detail),
        key=None if record.key is None else record.key[:KEY_LIMIT],
        payload=came[:PAYLOAD_LIMIT],
        timestamp_ms=record.timestamp,
    )


def check_device_id(device_id: str) -> None:
    """Raises Refusal unless it is 1 to 256 printable characters: PostgreSQL stores no NUL, people read no controls."""
    if not device_id:
        raise Refusal(Reason.BAD_DEVICE_ID, "the device id is empty")
    if len(device_id) > DEVICE_ID_LIMIT:
        raise Refusal(Reason.BAD_DEVICE_ID, f"the device id has {len(device_id)} characters, {DEVICE_ID_LIMIT} at most")
    if not device_id.isprintable():
        raise Refusal(Reason.BAD_DEVICE_ID, f"the device id has unprintable characters: {device_id!a}")


def are_device_ids(names: Sequence[str]) -> bool:
    """Whether all of them pass `check_device_id`; many times faster than to ask one by one."""
    sizes = set(map(len, names))
    return not sizes or (min(sizes) > 0 and max(sizes) <= DEVICE_ID_LIMIT and "".join(names).isprintable())


def _printable(detail: str) -> str:
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in detail[:DETAIL_LIMIT])
