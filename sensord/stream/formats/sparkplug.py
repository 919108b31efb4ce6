"""Sparkplug B as a bridge brings it from MQTT: records under the MQTT topic as key, protobuf or JSON as value.

An edge node says once, in births, what its metrics are called and of what type they are; what comes later may name them
by numbers alone. So what births said is part of the partition's state, as a page beside the others, and all of a node
has to come in one partition. Field numbers and data types: Eclipse's Sparkplug specification 3.0, chapter 6.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import msgspec

from sensord.detection.pages import seal, unseal
from sensord.errors import SettingsInvalid, StateUnreadable
from sensord.readings import Partition, RawRecord, Readings
from sensord.stream.dead_letters import Reason, Refusal
from sensord.stream.decoders import GLOSSARY_PAGE, Decoded
from sensord.stream.formats.points import Parser, Point, PointDecoder, Terms

NAMESPACE = "spBv1.0"
BIRTHS, DATA, SILENT = ("NBIRTH", "DBIRTH"), ("NDATA", "DDATA"), ("NDEATH", "DDEATH", "NCMD", "DCMD", "STATE")
QUALITY = "Quality"  # the property, and the values with which a metric counts: OPC's good
SIGNED = {1: 8, 2: 16, 3: 32, 4: 64}  # bits of Int8 to Int64, which travel as unsigned
NUMBERS = ("int_value", "long_value", "float_value", "double_value", "boolean_value", "string_value")
MAGIC = b"SNSDBRTH"
FORMAT = 1
TOLD = 5  # numbers of metrics that a dead letter names


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric of a payload, as it came. type: 0 where it doesn't say."""

    name: str | None
    alias: int | None
    timestamp: int | None
    type: int
    is_null: bool
    value: object
    quality: object


@dataclass(frozen=True, slots=True)
class Payload:
    """What a record holds. timestamp: milliseconds."""

    timestamp: int | None
    metrics: tuple[Metric, ...]


@dataclass(frozen=True, slots=True)
class Address:
    """What an MQTT topic says. node: group/node; device: "" where it is the node itself."""

    kind: str
    node: str
    device: str

    @classmethod
    def of(cls, key: bytes | None) -> "Address":
        """Raises Refusal."""
        try:
            parts = (key or b"").decode().split("/")
        except UnicodeDecodeError:
            parts = []
        parts = parts[parts.index(NAMESPACE) + 1 :] if NAMESPACE in parts else []
        if parts[:1] == ["STATE"]:
            return cls("STATE", "", "")
        if len(parts) in (3, 4) and all(parts) and parts[1] in (*BIRTHS, *DATA, *SILENT):
            return cls(parts[1], f"{parts[0]}/{parts[2]}", parts[3] if len(parts) == 4 else "")
        raise Refusal(Reason.BAD_DEVICE_ID, f"the record's key is no MQTT topic of {NAMESPACE}")

    @property
    def name(self) -> str:
        """What we call the device."""
        return f"{self.node}/{self.device}" if self.device else self.node


class Born(msgspec.Struct, frozen=True, array_like=True):
    """A metric of a birth. alias: None where it has none; type: 0 where it isn't told."""

    device: str
    name: str
    alias: int | None
    type: int


@dataclass(frozen=True, slots=True)
class Node:
    """What an edge node's births said last."""

    metrics: tuple[Born, ...] = ()
    by_alias: Mapping[int, Born] = field(init=False)
    by_name: Mapping[tuple[str, str], Born] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "by_alias", {each.alias: each for each in self.metrics if each.alias is not None})
        object.__setattr__(self, "by_name", {(each.device, each.name): each for each in self.metrics})

    def born(self, address: Address, payload: Payload) -> "Node":
        """After a birth: a node's ends all that was before, a device's replaces its own."""
        kept = () if address.kind == "NBIRTH" else tuple(e for e in self.metrics if e.device != address.device)
        new = (Born(address.device, m.name, m.alias, m.type) for m in payload.metrics if m.name is not None)
        return Node((*kept, *new))


class _Births(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The page."""

    format: int
    nodes: dict[str, tuple[Born, ...]]


@dataclass(frozen=True, slots=True)
class Births:
    """What all edge nodes of a partition said of their metrics. Implements Glossary."""

    channels: tuple[str, ...]
    terms: Terms
    max_future_s: float
    good: tuple[str, ...]
    nodes: Mapping[str, Node] = field(default_factory=dict)
    stored: bool = False  # there is a page to be replaced

    def read(self, decoded: Decoded) -> tuple[Decoded, "Births"]:
        """Raises nothing: what can't be read is a dead letter."""
        nodes = dict(self.nodes)
        decoder = PointDecoder(self.channels, parser(nodes, self.good), self.terms, self.max_future_s)
        found = decoder.decode(decoded.readings.partition, decoded.unread)
        return found, Births(self.channels, self.terms, self.max_future_s, self.good, nodes, self.stored)

    def pages(self) -> dict[int, bytes]:
        births = _Births(FORMAT, {name: node.metrics for name, node in self.nodes.items()})
        return {GLOSSARY_PAGE: seal(MAGIC, msgspec.json.encode(births))} if self.nodes or self.stored else {}

    def load(self, page: bytes) -> "Births":
        try:
            found = msgspec.json.decode(unseal(MAGIC, page, "the page of births", least=2), type=_Births)
        except (ValueError, RecursionError) as error:
            raise StateUnreadable(f"the page of births can't be read: {error}") from error
        if found.format != FORMAT:
            raise StateUnreadable(f"the page of births has format {found.format}; this version reads {FORMAT}")
        nodes = {name: Node(metrics) for name, metrics in found.nodes.items()}
        return Births(self.channels, self.terms, self.max_future_s, self.good, nodes, True)


class SparkplugDecoder:
    """Leaves records as they are: only what was before them says what they mean. Implements Decoder."""

    def __init__(self, channels: Sequence[str], terms: Terms, max_future_s: float, good: tuple[str, ...]) -> None:
        _payload_type()  # now, rather than in the midst of the stream
        self._births = Births(tuple(channels), terms, max_future_s, good)

    def decode(self, partition: Partition, records: Sequence[RawRecord]) -> Decoded:
        return Decoded(Readings.none(partition, len(self._births.channels)), [], unread=tuple(records))

    def glossary(self) -> Births:
        return self._births


def parser(nodes: dict[str, Node], good: tuple[str, ...]) -> Parser:
    """Points of records, in their order; nodes is kept up to date by their births."""

    def parse(record: RawRecord, value: bytes) -> Iterator[Point]:
        address = Address.of(record.key)
        if address.kind in SILENT:
            yield Point(address.name, None, {}, value)  # of nothing that is ours
            return
        payload = _payload(value)
        node = nodes.get(address.node, Node())
        if address.kind in BIRTHS:
            node = nodes[address.node] = node.born(address, payload)
        yield from _points(address, payload, node, good, value)

    return parse


def _points(address: Address, payload: Payload, node: Node, good: tuple[str, ...], value: bytes) -> Iterator[Point]:
    """A point for each time that the payload's metrics have, the earliest first."""
    values: dict[int | None, dict[str, object]] = {}
    nameless: list[int] = []
    for metric in payload.metrics:
        born = node.by_alias.get(metric.alias) if metric.name is None and metric.alias is not None else None
        name = metric.name if born is None else born.name
        if name is None:
            nameless.append(-1 if metric.alias is None else metric.alias)
            continue
        born = born or node.by_name.get((address.device, name))
        written = _value(metric, metric.type or (0 if born is None else born.type), good)
        if written is not None:  # null says nothing: what isn't said needs no reading
            at = payload.timestamp if metric.timestamp is None else metric.timestamp
            values.setdefault(at, {})[name] = written
    for at in sorted(values, key=lambda each: -1 if each is None else each):
        yield Point(address.name, at, values[at], value)
    if nameless:
        numbers = ", ".join(map(str, nameless[:TOLD])) + (", ..." if len(nameless) > TOLD else "")
        told = f"no birth of {address.node!a} that was read names its metrics {numbers}: have it send a rebirth"
        yield Point(address.name, None, {}, value, Refusal(Reason.UNKNOWN_CHANNEL, told))
    elif not values:
        yield Point(address.name, None, {}, value)


def _value(metric: Metric, kind: int, good: tuple[str, ...]) -> object:
    """What a metric says, None where it says nothing, or nothing good."""
    if metric.is_null or (metric.quality is not None and str(metric.quality) not in good):
        return None
    bits, value = SIGNED.get(kind), metric.value
    if bits is not None and isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        value &= (1 << bits) - 1
        return value - (1 << bits) if value >> (bits - 1) else value
    return value


# --- bytes -----------------------------------------------------------------------------------------------------------


def _payload(value: bytes) -> Payload:
    """Raises Refusal."""
    if value[:1] == b"{":  # which no payload in protobuf begins with
        try:
            told = msgspec.json.decode(value, type=_JsonPayload, strict=False)  # 64 bits may come as text
        except (ValueError, RecursionError) as error:
            raise Refusal(Reason.MALFORMED, f"no Sparkplug payload: {error}") from None
        return Payload(told.timestamp, tuple(each.metric() for each in told.metrics))
    from google.protobuf.message import DecodeError  # noqa: PLC0415  # an extra, which is there by now

    found = _payload_type()()
    try:
        found.ParseFromString(value)
        return Payload(_said(found, "timestamp"), tuple(_metric(each) for each in found.metrics))
    except (DecodeError, ValueError) as error:  # a ValueError: text that is no UTF-8
        raise Refusal(Reason.MALFORMED, f"no Sparkplug payload: {type(error).__name__}") from None


class _JsonMetric(msgspec.Struct, frozen=True, rename="camel"):
    """As Sparkplug's tools write it (dataType, value, properties by name), or protobuf's own JSON (datatype, intValue
    and so on, properties as keys and values)."""

    name: str | None = None
    alias: int | None = None
    timestamp: int | None = None
    data_type: int | str | None = None
    datatype: int | None = None
    is_null: bool = False
    value: object = None
    int_value: int | None = None
    long_value: int | None = None
    float_value: float | None = None
    double_value: float | None = None
    boolean_value: bool | None = None
    string_value: str | None = None
    properties: dict[str, object] | None = None

    def metric(self) -> Metric:
        kind = self.data_type if self.data_type is not None else self.datatype
        number = _TYPES.get(kind, OTHER) if isinstance(kind, str) else kind or 0
        value = next((each for name in NUMBERS if (each := getattr(self, name)) is not None), self.value)
        return Metric(self.name, self.alias, self.timestamp, number, self.is_null, value, self._quality())

    def _quality(self) -> object:
        told = self.properties or {}
        keys, values = told.get("keys"), told.get("values")
        if isinstance(keys, list) and isinstance(values, list):
            told = {str(key): value for key, value in zip(keys, values, strict=False)}
        quality = told.get(QUALITY)
        if not isinstance(quality, dict):
            return quality
        return next((quality[name] for name in ("value", "intValue", "longValue") if name in quality), None)


class _JsonPayload(msgspec.Struct, frozen=True):
    timestamp: int | None = None
    metrics: tuple[_JsonMetric, ...] = ()


OTHER = 99  # a type whose values are taken as they are
_TYPES = {name: number for number, name in enumerate(("Int8", "Int16", "Int32", "Int64"), start=1)}


def _metric(message: Any) -> Metric:
    value = next((getattr(message, name) for name in NUMBERS if message.HasField(name)), None)
    name, alias, timestamp = (_said(message, name) for name in ("name", "alias", "timestamp"))
    return Metric(name, alias, timestamp, message.datatype, message.is_null, value, _quality(message.properties))


def _quality(properties: Any) -> object:
    for key, value in zip(properties.keys, properties.values, strict=False):
        if key == QUALITY:
            return next((getattr(value, name) for name in NUMBERS if value.HasField(name)), None)
    return None


def _said(message: Any, name: str) -> Any:
    return getattr(message, name) if message.HasField(name) else None


@cache
def _payload_type() -> Any:
    """The message's class, of those fields alone that are read; the others are passed over. Raises SettingsInvalid."""
    try:
        from google.protobuf import descriptor_pb2, descriptor_pool, message_factory  # noqa: PLC0415  # an extra
    except ImportError as error:
        raise SettingsInvalid("decoder sparkplug needs protobuf: pip install 'sensord[sparkplug]'") from error
    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="sensord/sparkplug.proto", package="sensord", syntax="proto2")
    for message, fields in _FIELDS.items():
        made = file.message_type.add(name=message)
        for name, (number, written) in fields.items():
            kind = written.removeprefix("repeated ")
            label = kinds.LABEL_OPTIONAL if kind == written else kinds.LABEL_REPEATED
            if kind in _FIELDS:
                made.field.add(
                    name=name, number=number, label=label, type=kinds.TYPE_MESSAGE, type_name=f".sensord.{kind}"
                )
            else:
                made.field.add(name=name, number=number, label=label, type=getattr(kinds, f"TYPE_{kind.upper()}"))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("sensord.Payload"))


_FIELDS: Mapping[str, Mapping[str, tuple[int, str]]] = {
    "Payload": {"timestamp": (1, "uint64"), "metrics": (2, "repeated Metric"), "seq": (3, "uint64")},
    "Metric": {
        "name": (1, "string"),
        "alias": (2, "uint64"),
        "timestamp": (3, "uint64"),
        "datatype": (4, "uint32"),
        "is_null": (7, "bool"),
        "properties": (9, "PropertySet"),
        "int_value": (10, "uint32"),
        "long_value": (11, "uint64"),
        "float_value": (12, "float"),
        "double_value": (13, "double"),
        "boolean_value": (14, "bool"),
        "string_value": (15, "string"),
    },
    "PropertySet": {"keys": (1, "repeated string"), "values": (2, "repeated PropertyValue")},
    "PropertyValue": {
        "type": (1, "uint32"),
        "is_null": (2, "bool"),
        "int_value": (3, "uint32"),
        "long_value": (4, "uint64"),
        "float_value": (5, "float"),
        "double_value": (6, "double"),
        "boolean_value": (7, "bool"),
        "string_value": (8, "string"),
    },
}
