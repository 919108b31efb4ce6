"""JSON and MessagePack: documents, and paths into them. Parsers for mapped, telegraf, thingsboard and umh messages."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from sensord.readings import RawRecord
from sensord.stream.dead_letters import Reason, Refusal
from sensord.stream.formats.points import Parser, Point, each

UNREADABLE = (ValueError, RecursionError)
KEY, RECORD = "@key", "@record"  # in place of a path: the record's key, the record's time stamp
Document = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Places:
    """Where documents say what: paths, with full stops between names; "" for nowhere. good: qualities with which values
    count, all others make them null."""

    device: str = "device_id"
    time: str = "timestamp"
    values: str = "values"
    channel: str = ""
    value: str = ""
    quality: str = ""
    good: tuple[str, ...] = ()


def mapped(places: Places, packed: bool = False) -> Parser:
    """A document, or an array of them. packed: MessagePack, not JSON."""

    def parse(record: RawRecord, value: bytes) -> Iterator[Point]:
        found = _unpacked(value) if packed else _json(value)
        parts = found if isinstance(found, list) else [found]
        yield from each(parts, lambda one: point(document_of(one), places), _encoded)

    return parse


def telegraf(tag: str) -> Parser:
    """Telegraf's JSON: a metric, or a batch of them. tag: the one that names the device."""

    def parse(record: RawRecord, value: bytes) -> Iterator[Point]:
        found = document_of(_json(value))
        metrics = found.get("metrics", [found])
        if not isinstance(metrics, list):
            raise Refusal(Reason.MALFORMED, "metrics is not an array")
        yield from each(metrics, lambda metric: _metric(document_of(metric), tag), _encoded)

    return parse


def thingsboard() -> Parser:
    """ThingsBoard's telemetry: of a device whose name is the record's key (plain values, values with a time, an array
    of either), or of a gateway (devices by name, an array each)."""

    def parse(record: RawRecord, value: bytes) -> Iterator[Point]:
        found = _json(value)
        if isinstance(found, dict) and found and all(isinstance(each, list) for each in found.values()):
            for device, parts in found.items():
                yield from _telemetry(str(device), _array(parts))
        else:
            yield from _telemetry(None, found if isinstance(found, list) else [found])

    return parse


def umh() -> Parser:
    """The United Manufacturing Hub's messages: `timestamp_ms` and values by name; one called `value` is of the channel
    that the last part of the record's key names, and the device is what comes before."""

    def parse(record: RawRecord, value: bytes) -> Iterator[Point]:
        found = dict(document_of(_json(value)))
        time = found.pop("timestamp_ms", None)
        device, channel = _topic(record)
        values = {channel if name == "value" else name: each for name, each in found.items()}
        yield Point(device, time, values, value)

    return parse


def _topic(record: RawRecord) -> tuple[str, str]:
    """Device and channel of a key such as umh.v1.acme.berlin.line3.pump7._historian.temperature."""
    try:
        parts = [part for part in (record.key or b"").decode().split(".") if part]
    except UnicodeDecodeError:
        raise Refusal(Reason.BAD_DEVICE_ID, "the record's key is not UTF-8") from None
    if len(parts) < 2:
        raise Refusal(Reason.BAD_DEVICE_ID, "the record's key names no device and channel, with a full stop between")
    ends = next((place for place, part in enumerate(parts) if part.startswith("_")), len(parts) - 1)
    return ".".join(parts[:ends]), parts[-1]


def _metric(metric: Document, tag: str) -> Point:
    tags, fields = document_of(metric.get("tags", {})), document_of(metric.get("fields", {}))
    numbers = {name: value for name, value in fields.items() if not isinstance(value, str)}
    return Point(_name(tags.get(tag), f"tags.{tag}"), metric.get("timestamp"), numbers, _encoded(metric))


def _telemetry(device: str | None, parts: Sequence[object]) -> Iterator[Point]:
    def read(one: object) -> Point:
        part = document_of(one)
        timed = "ts" in part and "values" in part
        values = document_of(part["values"]) if timed else part
        return Point(device, part["ts"] if timed else None, values, _encoded(part))

    return each(parts, read, _encoded)


def point(document: Document, places: Places) -> Point:
    """What a document says of one device. Raises Refusal."""
    device = None if places.device == KEY else _name(at(document, places.device), places.device)
    time = None if places.time == RECORD else at(document, places.time)
    if places.channel:
        channel = at(document, places.channel)
        if not isinstance(channel, str):
            raise Refusal(Reason.MALFORMED, f"{places.channel} names no channel")
        values: Document = {channel: at(document, places.value)}
    else:
        values = document_of(at(document, places.values) if places.values else _without(document, places))
    if places.quality and str(at(document, places.quality)) not in places.good:
        values = dict.fromkeys(values)
    return Point(device, time, values, _encoded(document))


def _without(document: Document, places: Places) -> Document:
    """The values of a document that are simply its other members: neither device nor time, nor what is no number."""
    own = {path.split(".")[0] for path in (places.device, places.time, places.quality) if path}
    return {
        name: each
        for name, each in document.items()
        if name not in own and (each is None or isinstance(each, int | float))
    }


def at(document: object, path: str) -> object:
    """What stands at a path; None where nothing does. A name with full stops in it is found, too."""
    if path == "" or document is None:
        return None
    if not isinstance(document, Mapping):
        return None
    if path in document:
        return document[path]
    first, _, rest = path.partition(".")
    return at(document.get(first), rest) if rest else None


def _name(found: object, path: str) -> str | None:
    if found is None or isinstance(found, str):
        return found
    if isinstance(found, int) and not isinstance(found, bool) and abs(found) < 1 << 64:
        return str(found)
    raise Refusal(Reason.BAD_DEVICE_ID, f"{path} is a {type(found).__name__}, not a name")


def _json(value: bytes) -> object:
    try:
        return msgspec.json.decode(value)
    except UNREADABLE as error:
        if _is_python_s_json(value):
            raise Refusal(Reason.NOT_FINITE, "NaN or Infinity, which JSON has not") from None
        raise Refusal(Reason.MALFORMED, f"not JSON: {error}") from None


def _is_python_s_json(value: bytes) -> bool:
    try:
        json.loads(value.decode())
    except UNREADABLE:
        return False
    return True


def _unpacked(value: bytes) -> object:
    try:
        return msgspec.msgpack.decode(value)
    except UNREADABLE as error:
        raise Refusal(Reason.MALFORMED, f"not MessagePack: {error}") from None


def document_of(found: object) -> Document:
    """A document, if it is one. Raises Refusal."""
    if isinstance(found, dict) and all(isinstance(name, str) for name in found):
        return found
    raise Refusal(Reason.MALFORMED, f"an object is expected, this is a {type(found).__name__}")


def _array(found: object) -> Sequence[object]:
    assert isinstance(found, list)  # noqa: S101  # its caller has looked
    return found


def _encoded(document: object) -> bytes:
    try:
        return msgspec.json.encode(document)
    except (TypeError, ValueError, OverflowError):
        return repr(document).encode()
