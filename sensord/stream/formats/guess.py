"""What format a few messages have. A guess for people to look at: used by `sensord inspect`."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Literal

import msgspec

from sensord.readings import RawRecord
from sensord.settings import FleetSettings, MappingSettings
from sensord.stream.dead_letters import Refusal
from sensord.stream.formats.decoder import parser_of
from sensord.stream.formats.documents import KEY, RECORD, at
from sensord.stream.formats.points import Parser, Point, fit, number
from sensord.stream.formats.times import microseconds

DEVICES = (
    "device_id",
    "deviceId",
    "device",
    "asset_id",
    "assetId",
    "asset",
    "machine",
    "sensor_id",
    "sensorId",
    "id",
    "tags.host",
)
TIMES = ("timestamp", "ts", "time", "timestamp_ms", "datetime", "date", "at", "t")
VALUES = ("values", "fields", "data", "measurements", "payload", "readings")
CHANNELS = ("channel", "tag", "metric", "signal", "measurement", "variable", "name", "key")
VALUE = ("value", "val", "v")
UNITS: tuple[Literal["s", "ms", "us", "ns"], ...] = ("ms", "s", "us", "ns")
NEARLY = 0.75  # of what the best one reads
SPARKPLUG = b"spBv1.0/"
HOSTS = re.compile(rb"^[^ ,]+,([^ ]+) ")  # the tags of a line


@dataclass(frozen=True, slots=True)
class Guess:
    """Settings of a fleet that read the messages. channels: that appear, the most frequent first, with the share of
    points that have each. read: records that hold a reading, of how many."""

    decoder: str
    mapping: Mapping[str, object]
    channels: Mapping[str, float]
    devices: int
    read: int
    of: int
    long: bool = False
    doubts: tuple[str, ...] = field(default=())

    def fleet(self, topic: str) -> FleetSettings:
        """As they would be set."""
        settings: dict[str, object] = {"topics": (topic,), "decoder": self.decoder, "channels": tuple(self.channels)}
        settings |= {"mapping": self.mapping} if self.mapping else {}
        return FleetSettings.model_validate(settings | ({"align_s": 1.0} if self.long else {}))


def guess(records: Sequence[RawRecord]) -> Guess | None:
    """The settings that read most of these records; None where none reads any. A format with a name of its own is taken
    before a mapping that happens to read a little more."""
    found = [_tried(records, decoder, mapping) for decoder, mapping in _candidates(records)]
    best = max(found, key=lambda one: (one.read, -len(one.mapping)), default=None)
    if best is None or not best.read:
        return None
    nearly = [one for one in found if one.decoder != "mapped" and one.read >= NEARLY * best.read]
    return max([*nearly, best], key=lambda one: (one.decoder != "mapped", one.read, -len(one.mapping)))


def _candidates(records: Sequence[RawRecord]) -> Iterator[tuple[str, dict[str, object]]]:
    """Formats, those with a name first: of equals the first is taken."""
    if any(SPARKPLUG in (record.key or b"") for record in records):
        yield "sparkplug", {}
    for packed in (False, True):
        documents = list(_documents(records, packed))
        if not documents:
            continue
        decoder = "msgpack" if packed else "mapped"
        if not packed:
            yield from _named(documents)
        if any("values" in one and ("device_id" in one or "timestamp" in one) for one in documents):
            yield ("msgpack" if packed else "json"), {}
        yield from ((decoder, mapping) for mapping in _mappings(documents))
    for tag in _tags(records):
        for unit in ("auto", "ms", "s", "us"):
            line: dict[str, object] = {"device": tag}
            if unit != "auto":
                line["time_unit"] = unit
            yield "influx", line


def _named(documents: Sequence[Mapping[str, object]]) -> Iterator[tuple[str, dict[str, object]]]:
    first = documents[0]
    metrics = first.get("metrics")
    metric = metrics[0] if isinstance(metrics, list) and metrics and isinstance(metrics[0], dict) else first
    if "fields" in metric and "tags" in metric:
        tags = metric["tags"]
        others = [tag for tag in tags if tag != "host"] if isinstance(tags, dict) else []
        yield "telegraf", {}
        for tag in others:
            named: dict[str, object] = {"device": tag}
            yield "telegraf", named
    if "timestamp_ms" in first:
        yield "umh", {}
    if ("ts" in first and "values" in first) or all(isinstance(value, list) for value in first.values()):
        yield "thingsboard", {}


def _mappings(documents: Sequence[Mapping[str, object]]) -> Iterator[dict[str, object]]:
    """Where a document may say what, by the names that people use."""
    first = documents[0]
    devices = [path for path in DEVICES if at(first, path) is not None] or [KEY]
    times = [path for path in TIMES if at(first, path) is not None] or [RECORD]
    wheres: list[dict[str, object]] = [{"values": path} for path in VALUES if isinstance(at(first, path), Mapping)]
    pairs = [(c, v) for c, v in product(CHANNELS, VALUE) if isinstance(first.get(c), str) and _is_number(first.get(v))]
    wheres += [{"channel": channel, "value": value} for channel, value in pairs]
    wheres.append({"values": ""})
    for where in wheres:
        for unit in UNITS:
            yield {"device": devices[0], "time": times[0], **where} | ({} if unit == "ms" else {"time_unit": unit})


def _tried(records: Sequence[RawRecord], decoder: str, mapping: dict[str, object]) -> Guess:
    settings = MappingSettings.model_validate(mapping)
    parse, unit = parser_of(decoder, settings)
    channels, devices, read, points = Counter[str](), set[str](), 0, 0
    for record in records:
        good = [point for point in _points(record, parse) if _is_reading(point, record, unit)]
        read += bool(good)
        points += len(good)
        for point in good:
            channels.update(name for name, value in point.values.items() if _is_number(value))
            devices.add(point.device if point.device is not None else (record.key or b"").decode(errors="replace"))
    long = bool(settings.channel) or (decoder == "umh" and len(channels) > 1 and sum(channels.values()) < 2 * points)
    shares = {name: count / points for name, count in channels.most_common()}
    return Guess(
        decoder, mapping, shares, len(devices), read, len(records), long, _doubts(shares, devices, read, records)
    )


def _doubts(shares: Mapping[str, float], devices: set[str], read: int, records: Sequence[RawRecord]) -> tuple[str, ...]:
    found = []
    if read < len(records):
        found.append(f"{len(records) - read} of {len(records)} records can't be read so")
    if len(devices) == 1 and len(records) > 1:
        found.append(f"all are of one device, {min(devices)!a}: is that its name?")
    if len(devices) == len(records) > 1:
        found.append("each is of another device: is that a device's name?")
    if len(shares) > 64:
        found.append(f"{len(shares)} channels: name those that matter")
    return tuple(found)


def _points(record: RawRecord, parse: Parser) -> list[Point]:
    try:
        return list(parse(record, fit(record)))
    except Refusal:
        return []


def _is_reading(point: Point, record: RawRecord, unit: str) -> bool:
    if point.wrong is not None or (point.device is None and record.key is None):
        return False
    try:
        if point.time is not None:
            microseconds(point.time, unit)
    except Refusal:
        return False
    return any(_is_number(value) for value in point.values.values())


def _is_number(value: object) -> bool:
    try:
        return number("", value) is not None
    except Refusal:
        return False


def _documents(records: Sequence[RawRecord], packed: bool) -> Iterator[Mapping[str, object]]:
    decode = msgspec.msgpack.decode if packed else msgspec.json.decode
    for record in records:
        try:
            found = decode(record.value or b"")
        except (ValueError, RecursionError):
            continue
        one = found[0] if isinstance(found, list) and found else found
        if isinstance(one, dict) and one and all(isinstance(name, str) for name in one):
            yield one


def _tags(records: Sequence[RawRecord]) -> list[str]:
    """Tags of the first line that has some, host before others."""
    for record in records:
        for line in (record.value or b"").splitlines():
            if match := HOSTS.match(line):
                tags = [pair.partition(b"=")[0].decode(errors="replace") for pair in match[1].split(b",")]
                return sorted(tags, key=lambda tag: tag != "host")
    return []
