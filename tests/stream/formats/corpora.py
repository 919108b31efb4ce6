"""One corpus for each format: what its own documentation shows, and what must become of it.

Influx: InfluxDB's "line protocol reference". Telegraf: the JSON serializer's README. ThingsBoard: "MQTT Device API" and
"MQTT Gateway API", telemetry. UMH: "Payload formats", time series. The values are changed where a document's own would
all be the same.
"""

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

CORPORA: dict[str, Corpus] = {
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
