"""A fleet whose channels come one by one is scored as if they came together, and replayed exactly, kill after kill."""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from sensord.clock import MICROSECONDS
from sensord.readings import Partition
from sensord.settings import FleetSettings
from sensord.store.alerts import AlertFilter, list_alerts
from sensord.stream.formats.decoder import decoder_of
from tests.builders import START
from tests.daemon.test_loop import TABLES
from tests.daemon.world import TOPIC, Daemon, World, world

LONG = FleetSettings.model_validate(
    {
        "topics": [TOPIC],
        "decoder": "mapped",
        "align_s": 0.5,
        "mapping": {"device": "device", "time": "at", "channel": "tag", "value": "value"},
    }
)


class LongWorld(World):
    """Sends each reading as a message for each channel."""

    def send(self, device: int, second: float, heat: float, noise: float = 0.0) -> None:
        at = round(START / 1_000 + second * 1_000)
        for number, (tag, value) in enumerate((("heat", heat), ("noise", noise), ("other", 1.0))):
            message = {"device": f"pump-{device}", "at": at + 10 * number, "tag": tag, "value": value}
            self.send_raw(device, json.dumps(message).encode(), second)

    def long_daemon(self, max_records: int = 50) -> Daemon:
        span = round(LONG.align_s * MICROSECONDS)
        return self.daemon(max_records=max_records, decoder=partial(decoder_of, LONG), span=span)


@pytest.fixture
def here(store_url: str) -> Iterator[LongWorld]:
    with world(store_url) as made:
        yield LongWorld(made.engine)


def found(here: World) -> list[tuple[object, ...]]:
    rows = list_alerts(here.engine, AlertFilter())
    return sorted((row.device_id, row.opened_at, row.closed_at, row.readings, row.score_peak) for row in rows)


def test_channel_by_channel_comes_to_the_alerts_of_whole_readings(here: LongWorld, tmp_path: Path) -> None:
    with world(f"sqlite:///{tmp_path / 'wide.db'}") as wide:
        wide.send_day()
        wide.daemon().finish()
        expected = found(wide)
    here.send_day()
    here.long_daemon().finish()
    assert found(here) == expected != []


@pytest.mark.parametrize("turns", [5, 8, 11])
def test_a_killed_daemon_leaves_no_trace(here: LongWorld, tmp_path: Path, turns: int) -> None:
    with world(f"sqlite:///{tmp_path / 'golden.db'}") as made:
        golden = LongWorld(made.engine)
        golden.send_day()
        golden.long_daemon(max_records=5_000).finish()
        tables = {name: golden.rows(name) for name in TABLES}
    here.send_day()
    for _ in range(8):
        daemon = here.long_daemon(max_records=70)
        daemon.turn(turns)
        daemon.kill()
    here.long_daemon().finish()
    assert {name: here.rows(name) for name in TABLES} == tables


def test_what_is_nothing_of_ours_is_counted(here: LongWorld) -> None:
    here.send_day(seconds=10)
    daemon = here.long_daemon()
    daemon.finish()
    counted = daemon.loop._metrics.registry.get_sample_value("sensord_skipped_total", {"fleet": "pumps"})
    assert counted == 6 * 10


# --- messages that mean nothing without those before them ------------------------------------------------------------

NODES = FleetSettings.model_validate({"topics": [TOPIC], "decoder": "sparkplug"})


class NodeWorld(World):
    """Each device is an edge node's, whose births alone name its metrics; now and then a node is born anew, and then
    numbers them otherwise."""

    def send(self, device: int, second: float, heat: float, noise: float = 0.0) -> None:
        swapped = second >= 60
        if second in (0, 60):
            names = ("noise", "heat") if swapped else ("heat", "noise")
            self.tell(device, "NBIRTH", second, [])
            self.tell(device, "DBIRTH", second, [{"name": name, "alias": n} for n, name in enumerate(names)])
        values = (noise, heat) if swapped else (heat, noise)
        self.tell(device, "DDATA", second, [{"alias": n, "value": value} for n, value in enumerate(values)])

    def tell(self, device: int, kind: str, second: float, metrics: list[dict[str, object]]) -> None:
        stamp = START // 1_000 + round(second * 1_000)
        key = f"spBv1.0/plant/{kind}/pump-{device}" + ("" if kind == "NBIRTH" else "/p")
        value = json.dumps({"timestamp": stamp, "metrics": metrics}).encode()
        self.log.append(Partition(TOPIC, device % self.partitions), value, key.encode(), stamp)

    def node_daemon(self, max_records: int = 50) -> Daemon:
        return self.daemon(max_records=max_records, decoder=partial(decoder_of, NODES))


def test_what_births_said_survives_every_kill(store_url: str, tmp_path: Path) -> None:
    with world(f"sqlite:///{tmp_path / 'golden.db'}") as made:
        golden = NodeWorld(made.engine)
        golden.send_day()
        golden.node_daemon(max_records=5_000).finish()
        tables = {name: golden.rows(name) for name in TABLES}
        assert len(found(golden)) >= 2
    with world(store_url) as made:
        here = NodeWorld(made.engine)
        here.send_day()
        for turns in (5, 8, 3, 11, 6, 4, 9, 7):
            daemon = here.node_daemon(max_records=70)
            daemon.turn(turns)
            daemon.kill()
        here.node_daemon().finish()
        assert {name: here.rows(name) for name in TABLES} == tables


def test_where_most_is_unreadable_what_was_said_waits_too(store_url: str) -> None:
    """A partition that is held takes no birth in: else what comes before it would be read with it after a restart."""
    with world(store_url) as made:
        here = NodeWorld(made.engine, partitions=1)
        for second in range(1, 1_400):
            here.tell(0, "DDATA", second / 10, [{"alias": 0, "value": 1.0}])
        here.tell(0, "DBIRTH", 200, [{"name": "heat", "alias": 0}])
        daemon = here.node_daemon(max_records=5_000)
        daemon.turn(6)
        [shard] = daemon.loop.shards.values()
        assert shard.held
        assert shard.glossary.pages() == {}
