"""One corpus for each format: what its own documentation shows, and what must become of it.

Influx: InfluxDB's "line protocol reference". Telegraf: the JSON serializer's README. ThingsBoard: "MQTT Device API" and
"MQTT Gateway API", telemetry. Sparkplug: the specification's "Sparkplug B Devices", written by protobuf's wire format
alone. UMH: "Payload formats", time series. The values are changed where a document's own would all be the same.
"""

import struct
from dataclasses import dataclass, field
from typing import Any

from sensord.settings import FleetSettings

NAN = float("nan")
NOON = 1_795_435_200  # 2026-11-23T12:00:00Z, seconds
Reading = tuple[str, int, tuple[float, ...]]  # device, microseconds, values


@dataclass(frozen=True)
class Corpus:
    """Settings of a fleet, records (key, value), and the readings that they hold, by device, time and channels."""

    settings: dict[str, Any]
    channels: tuple[str, ...]
    records: tuple[tuple[bytes | None, bytes], ...]
    readings: tuple[Reading, ...]
    skipped: int = 0
    refused: tuple[tuple[str, str], ...] = ()  # reason, words of the detail
    more: dict[str, Any] = field(default_factory=dict)

    @property
    def fleet(self) -> FleetSettings:
        return FleetSettings.model_validate({"topics": ["t"], **self.settings})


INFLUX = b"""\
# a comment
weather,location=us-midwest temperature=82 1795435200000000000
weather,location=us-midwest temperature=82.5,wind_direction=270i,gusts=3u 1795435201000000000

"my weather",location=us\\,midwest,na\\=me=x temperature=-1e2,raining=t,note="a \\"b\\", c=d
and more" 1795435202000000000
weather,location=us-midwest humidity=30 1795435203000000000
weather,location=us-midwest temperature=warm 1795435204000000000
weather,location=us-midwest
weather temperature=1 1795435205000000000
weather,location=us-midwest temperature=1 1795435206
"""
TELEGRAF_ONE = (
    b'{"fields": {"field_1": 30, "field_2": 4, "field_N": 59, "n_images": 660, "version": "26.1"}, "name": "docker", '
    b'"tags": {"host": "raynor"}, "timestamp": 1795435200}'
)
TELEGRAF_BATCH = (
    b'{"metrics": [{"fields": {"field_1": 30, "field_2": null}, "name": "docker", "tags": {"host": "raynor"}, '
    b'"timestamp": 1795435201}, {"fields": {"field_2": 4}, "name": "docker", "tags": {"host": "kerrigan"}, '
    b'"timestamp": 1795435202}, {"fields": {"other": 4}, "name": "cpu", "tags": {"host": "kerrigan"}, '
    b'"timestamp": 1795435202}, {"fields": {"field_1": 1}, "name": "docker", "timestamp": 1795435202000}]}'
)
THINGSBOARD = (
    (b"pump-1", b'{"ts":1795435200512, "values":{"key1":"ignored", "temperature":42.2, "humidity":true}}'),
    (b"pump-1", b'[{"ts":1795435201000,"values":{"temperature":1}},{"ts":1795435202000,"values":{"humidity":2}}]'),
    (b"pump-2", b'{"temperature":7, "humidity":70}'),
    (
        None,
        b'{"Device A": [{"ts": 1795435203000, "values": {"temperature": 42, "humidity": 80}}, {"ts": 1795435204000, '
        b'"values": {"temperature": 43}}], "Device B": [{"ts": 1795435203000, "values": {"temperature": 44}}]}',
    ),
)
UMH_KEY = b"umh.v1.enterprise.site.area.line.machine1._historian."
MACHINE = "umh.v1.enterprise.site.area.line.machine1"


def field_of(number: int, value: object) -> bytes:
    """One field of a protobuf message, by the wire format alone: bytes and text by length, float and double by width
    (a tuple of format and number), integers and truths as varints."""
    if isinstance(value, tuple):
        form, figure = value
        return varint(number << 3 | {"<f": 5, "<d": 1}[form]) + struct.pack(form, figure)
    if isinstance(value, str | bytes):
        told = value.encode() if isinstance(value, str) else value
        return varint(number << 3 | 2) + varint(len(told)) + told
    assert isinstance(value, int)
    return varint(number << 3) + varint(int(value))


def varint(value: int) -> bytes:
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes([*found, value])


def metric(*fields: tuple[int, object]) -> bytes:
    return b"".join(field_of(number, value) for number, value in fields)


def payload(second: int, *metrics: bytes, seq: int = 0) -> bytes:
    told = b"".join(field_of(2, each) for each in metrics)
    return field_of(1, (NOON + second) * 1_000) + told + field_of(3, seq)


NAME, ALIAS, TIME, TYPE, HISTORICAL, NULL, PROPERTIES, INT, LONG, FLOAT, DOUBLE, TRUTH, TEXT = (
    1, 2, 3, 4, 5, 7, 9, 10, 11, 12, 13, 14, 15,
)  # fmt: skip
BAD = field_of(1, "Quality") + field_of(2, field_of(1, 3) + field_of(3, 0))
NODE, DEVICE = b"spBv1.0/Sparkplug B Devices/%s/Raspberry Pi", b"spBv1.0/Sparkplug B Devices/%s/Raspberry Pi/Pibrella"
PIBRELLA = "Sparkplug B Devices/Raspberry Pi/Pibrella"
SPARKPLUG = (
    (DEVICE % b"DDATA", payload(0, metric((ALIAS, 3), (FLOAT, ("<f", 12.5))))),  # before any birth
    (
        NODE % b"NBIRTH",
        payload(
            1,
            metric((NAME, "bdSeq"), (TYPE, 4), (LONG, 0)),
            metric((NAME, "Node Control/Rebirth"), (TYPE, 11), (TRUTH, 0)),
            metric((NAME, "Properties/OS"), (TYPE, 12), (TEXT, "Raspbian")),
            metric((NAME, "temperature"), (ALIAS, 1), (TYPE, 9), (FLOAT, ("<f", 40.5))),
        ),
    ),
    (
        DEVICE % b"DBIRTH",
        payload(
            2,
            metric((NAME, "Inputs/A"), (ALIAS, 2), (TYPE, 11), (TRUTH, 1)),
            metric((NAME, "temperature"), (ALIAS, 3), (TYPE, 9), (FLOAT, ("<f", 20.5))),
            metric((NAME, "level"), (ALIAS, 4), (TYPE, 2), (INT, 2**32 - 7)),
            metric((NAME, "Leds/Green"), (ALIAS, 5), (TYPE, 11), (TRUTH, 0)),
        ),
    ),
    (DEVICE % b"DDATA", payload(3, metric((ALIAS, 3), (DOUBLE, ("<d", 21.25))), metric((ALIAS, 4), (INT, 2**16 - 9)))),
    (DEVICE % b"DDATA", payload(4, metric((ALIAS, 3), (NULL, 1)), metric((ALIAS, 4), (INT, 9)))),
    (DEVICE % b"DDATA", payload(5, metric((ALIAS, 3), (PROPERTIES, BAD), (FLOAT, ("<f", -1.0))))),
    (
        DEVICE % b"DDATA",
        payload(
            9,
            metric((ALIAS, 3), (TIME, (NOON + 7) * 1_000), (HISTORICAL, 1), (FLOAT, ("<f", 22.0))),
            metric((ALIAS, 3), (TIME, (NOON + 6) * 1_000), (HISTORICAL, 1), (FLOAT, ("<f", 21.5))),
            metric((ALIAS, 2), (TRUTH, 0)),
        ),
    ),
    (DEVICE % b"DDATA", payload(10, metric((ALIAS, 5), (TRUTH, 1)))),  # nothing of ours
    (DEVICE % b"DDATA", payload(11, metric((NAME, "level"), (INT, 2**32 - 1)))),  # its type is the birth's
    (NODE % b"NDATA", payload(12, metric((ALIAS, 1), (FLOAT, ("<f", 41.0))))),
    (
        DEVICE % b"DDATA",
        b'{"timestamp": %d, "metrics": [{"alias": 3, "dataType": "Float", "value": 23.5}, {"name": "level", '
        b'"dataType": "Int16", "value": -3, "properties": {"Quality": {"type": "Int32", "value": 192}}}], "seq": 7}'
        % ((NOON + 13) * 1_000),
    ),
    (
        DEVICE % b"DDATA",  # protobuf's own JSON
        b'{"timestamp": "%d", "metrics": [{"alias": "4", "intValue": 65531}, {"alias": "3", "datatype": 9, '
        b'"floatValue": 24.5, "properties": {"keys": ["Quality"], "values": [{"type": 3, "intValue": 500}]}}]}'
        % ((NOON + 14) * 1_000),
    ),
    (DEVICE % b"DDEATH", payload(14)),
    (NODE % b"NBIRTH", payload(15, metric((NAME, "temperature"), (ALIAS, 3), (TYPE, 9), (FLOAT, ("<f", 42.0))))),
    (NODE % b"NDATA", payload(16, metric((ALIAS, 3), (FLOAT, ("<f", 43.0))), metric((ALIAS, 4), (INT, 1)))),
    (b"spBv1.0/STATE/scada", b"ONLINE"),
    (b"plain/topic", payload(17)),
)

CORPORA: dict[str, Corpus] = {
    "sparkplug": Corpus(
        {"decoder": "sparkplug", "mapping": {"rename": {"Inputs/A": "running"}}},
        ("temperature", "level", "running"),
        SPARKPLUG,
        (
            ("Sparkplug B Devices/Raspberry Pi", (NOON + 1) * 1_000_000, (40.5, NAN, NAN)),
            (PIBRELLA, (NOON + 2) * 1_000_000, (20.5, -7.0, 1.0)),
            (PIBRELLA, (NOON + 3) * 1_000_000, (21.25, -9.0, NAN)),
            (PIBRELLA, (NOON + 4) * 1_000_000, (NAN, 9.0, NAN)),
            (PIBRELLA, (NOON + 6) * 1_000_000, (21.5, NAN, NAN)),
            (PIBRELLA, (NOON + 7) * 1_000_000, (22.0, NAN, NAN)),
            (PIBRELLA, (NOON + 9) * 1_000_000, (NAN, NAN, 0.0)),
            (PIBRELLA, (NOON + 11) * 1_000_000, (NAN, -1.0, NAN)),
            ("Sparkplug B Devices/Raspberry Pi", (NOON + 12) * 1_000_000, (41.0, NAN, NAN)),
            (PIBRELLA, (NOON + 13) * 1_000_000, (23.5, -3.0, NAN)),
            (PIBRELLA, (NOON + 14) * 1_000_000, (NAN, -5.0, NAN)),
            ("Sparkplug B Devices/Raspberry Pi", (NOON + 15) * 1_000_000, (42.0, NAN, NAN)),
            ("Sparkplug B Devices/Raspberry Pi", (NOON + 16) * 1_000_000, (43.0, NAN, NAN)),
        ),
        skipped=4,
        refused=(
            ("unknown_channel", "names its metrics 3: have it send a rebirth"),
            ("unknown_channel", "names its metrics 4"),
            ("bad_device_id", "is no MQTT topic of spBv1.0"),
        ),
    ),
    "influx": Corpus(
        {"decoder": "influx", "mapping": {"device": "location", "rename": {"wind_direction": "wind"}}},
        ("temperature", "wind", "raining"),
        ((None, INFLUX),),
        (
            ("us-midwest", NOON * 1_000_000, (82.0, NAN, NAN)),
            ("us-midwest", (NOON + 1) * 1_000_000, (82.5, 270.0, NAN)),
            ("us,midwest", (NOON + 2) * 1_000_000, (-100.0, NAN, 1.0)),
        ),
        skipped=1,
        refused=(
            ("malformed", "'temperature' is 'warm'"),
            ("malformed", "has 1 parts"),
            ("bad_device_id", "neither the message nor"),
            ("bad_time", "it looks like s: set mapping.time_unit"),
        ),
    ),
    "telegraf": Corpus(
        {"decoder": "telegraf"},
        ("field_1", "field_2"),
        ((None, TELEGRAF_ONE), (None, TELEGRAF_BATCH)),
        (
            ("raynor", NOON * 1_000_000, (30.0, 4.0)),
            ("raynor", (NOON + 1) * 1_000_000, (30.0, NAN)),
            ("kerrigan", (NOON + 2) * 1_000_000, (NAN, 4.0)),
        ),
        skipped=1,
        refused=(("bad_device_id", "neither the message nor"),),
    ),
    "thingsboard": Corpus(
        {"decoder": "thingsboard"},
        ("temperature", "humidity"),
        THINGSBOARD,
        (
            ("pump-1", NOON * 1_000_000 + 512_000, (42.2, 1.0)),
            ("pump-1", (NOON + 1) * 1_000_000, (1.0, NAN)),
            ("pump-1", (NOON + 2) * 1_000_000, (NAN, 2.0)),
            ("pump-2", NOON * 1_000_000, (7.0, 70.0)),
            ("Device A", (NOON + 3) * 1_000_000, (42.0, 80.0)),
            ("Device A", (NOON + 4) * 1_000_000, (43.0, NAN)),
            ("Device B", (NOON + 3) * 1_000_000, (44.0, NAN)),
        ),
    ),
    "umh": Corpus(
        {"decoder": "umh", "align_s": 1},
        ("temperature", "pressure"),
        (
            (UMH_KEY + b"temperature", b'{"timestamp_ms": 1795435200000, "value": 52.3}'),
            (UMH_KEY + b"pressure", b'{"timestamp_ms": 1795435200100, "value": 5}'),
            (UMH_KEY + b"axis", b'{"timestamp_ms": 1795435201000, "temperature": 1, "pressure": 2, "x": 3}'),
            (UMH_KEY + b"vibration", b'{"timestamp_ms": 1795435202000, "value": 1}'),
            (b"nothing", b'{"timestamp_ms": 1795435203000, "value": 1}'),
        ),
        (
            (MACHINE, NOON * 1_000_000, (52.3, NAN)),
            (MACHINE, NOON * 1_000_000 + 100_000, (NAN, 5.0)),
            (MACHINE, (NOON + 1) * 1_000_000, (1.0, 2.0)),
        ),
        skipped=1,
        refused=(("bad_device_id", "names no device and channel"),),
    ),
    "mapped, wide": Corpus(
        {
            "decoder": "mapped",
            "mapping": {
                "device": "asset.id",
                "time": "meta.at",
                "time_unit": "s",
                "values": "",
                "quality": "q",
                "rename": {"tempC": "temperature"},
            },
        },
        ("temperature", "pressure"),
        (
            (None, b'{"asset": {"id": 7}, "meta": {"at": 1795435200.5}, "tempC": 71.5, "pressure": null, "q": "good"}'),
            (None, b'[{"asset": {"id": "p"}, "meta": {"at": "2026-11-23T12:00:01Z"}, "pressure": 2, "q": 192}, 5]'),
            (None, b'{"asset": {"id": "p"}, "meta": {"at": 1795435200}, "tempC": 71.5, "q": "bad"}'),
        ),
        (
            ("7", NOON * 1_000_000 + 500_000, (71.5, NAN)),
            ("p", (NOON + 1) * 1_000_000, (NAN, 2.0)),
        ),
        refused=(("malformed", "an object is expected, this is a int"), ("no_values", "no channel has a value")),
    ),
    "mapped, long": Corpus(
        {
            "decoder": "mapped",
            "align_s": 2,
            "mapping": {"device": "@key", "time": "@record", "channel": "tag", "value": "v", "unknown": "refuse"},
        },
        ("temperature", "pressure"),
        (
            (b"pump-1", b'{"tag": "temperature", "v": 71.5}'),
            (b"pump-1", b'{"tag": "pressure", "v": 5}'),
            (b"pump-1", b'{"tag": "speed", "v": 5}'),
        ),
        (("pump-1", NOON * 1_000_000, (71.5, NAN)), ("pump-1", NOON * 1_000_000, (NAN, 5.0))),
        refused=(("unknown_channel", "'speed'"),),
    ),
    "msgpack": Corpus(
        {"decoder": "msgpack"},
        ("temperature",),
        (
            (
                None,
                b"\x83\xa9device_id\xa6pump-7\xa9timestamp\xb42026-11-23T12:00:00Z\xa6values\x81\xabtemperature"
                b"\xcb\x40\x51\xcc\xcc\xcc\xcc\xcc\xcd",
            ),
            (None, b"\xc1"),
        ),
        (("pump-7", NOON * 1_000_000, (71.2,)),),
        refused=(("malformed", "not MessagePack"),),
    ),
}
