"""Where settings demand signatures the daemon scores with nothing else, whatever the registry says."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from sensord.errors import EXIT_NEEDS_A_PERSON, EXIT_UNREACHABLE, BundleInvalid, BundleUntrusted
from sensord.model.bundle import Packed
from sensord.model.signature import SigningKey, TrustedKeys
from sensord.readings import Partition
from sensord.store.progress import Progress
from tests.builders import START, packed
from tests.daemon.world import TOPIC, Daemon, World, world
from tests.end_to_end.plant import Plant

FIRST, NEXT = packed(), packed(seed=7)  # the first is what every world begins with


@dataclass
class Guarded:
    """A world whose daemons demand signatures, and whose first bundle has one."""

    world: World
    own: SigningKey
    other: SigningKey
    trusted: TrustedKeys

    def daemon(self) -> Daemon:
        made = self.world.daemon(max_records=30)
        made.loop._models.trusted = self.trusted
        return made

    def sign(self, bundle: Packed, key: SigningKey) -> None:
        self.world.registry.sign("pumps", bundle.bundle_id, key.sign(bundle.manifest))


@pytest.fixture
def guarded(store_url: str, tmp_path: Path) -> Iterator[Guarded]:
    own, other = SigningKey.make(tmp_path / "own"), SigningKey.make(tmp_path / "other")
    with world(store_url) as made:
        made.send_day()
        here = Guarded(made, own, other, TrustedKeys.read([tmp_path / "own.pub"]))
        here.sign(FIRST, own)
        yield here


def in_use(daemon: Daemon) -> set[str]:
    return {shard.fleet.bundle.id for shard in daemon.loop.shards.values()}


def test_a_signed_bundle_is_scored_with_and_swapped_to(guarded: Guarded) -> None:
    daemon = guarded.daemon()
    daemon.turn(4)
    guarded.world.publish(NEXT, promote=False)
    guarded.sign(NEXT, guarded.own)
    guarded.world.publish(NEXT)
    daemon.finish()
    assert in_use(daemon) == {NEXT.bundle_id}


@pytest.mark.parametrize("by", ["nobody", "other"])
def test_an_unsigned_or_wrongly_signed_bundle_is_refused_and_the_old_one_stays_until_it_is_signed(
    guarded: Guarded, by: str, capsys: pytest.CaptureFixture[str]
) -> None:
    daemon = guarded.daemon()
    daemon.turn(4)
    guarded.world.publish(NEXT, promote=False)
    if by == "other":
        guarded.sign(NEXT, guarded.other)
    guarded.world.publish(NEXT)
    daemon.turn(20)
    assert in_use(daemon) == {FIRST.bundle_id}
    said = capsys.readouterr().out
    assert said.count("bundle refused, the old one stays") == 1  # once, however often it is asked for
    for word in (NEXT.bundle_id, guarded.own.id, "sensord model sign"):
        assert word in said

    guarded.sign(NEXT, guarded.own)
    guarded.world.send_day(first=200)
    daemon.finish()
    assert in_use(daemon) == {NEXT.bundle_id}


def test_what_was_never_read_waits_until_the_bundle_is_signed(
    guarded: Guarded, capsys: pytest.CaptureFixture[str]
) -> None:
    guarded.world.publish(NEXT)
    daemon = guarded.daemon()
    daemon.turn(20)
    assert not daemon.loop.ready
    assert not in_use(daemon)
    assert all(offset is None for _, offset, _ in guarded.world.progress().values()), "nothing is taken in"
    said = capsys.readouterr().out
    assert said.count("bundle refused") == 1
    assert f"bundle {NEXT.bundle_id} has no signature" in said
    guarded.sign(NEXT, guarded.own)
    daemon.finish()
    assert in_use(daemon) == {NEXT.bundle_id}


def test_a_bad_bundle_keeps_new_partitions_waiting_and_the_others_going(guarded: Guarded) -> None:
    guarded.daemon().finish()
    guarded.world.publish(NEXT)
    daemon = guarded.daemon()
    guarded.world.send_day(first=200)
    guarded.world.log.grow(TOPIC, 3)
    daemon.turn(60)
    assert in_use(daemon) == {FIRST.bundle_id}
    assert not daemon.loop.ready
    assert {number: offset for number, (_, offset, _) in guarded.world.progress().items()} == {
        **{number: guarded.world.log.bounds(Partition(TOPIC, number)).end for number in (0, 1)},
        2: None,
    }


def test_a_state_whose_bundle_is_not_signed_is_not_replayed(guarded: Guarded) -> None:
    daemon = guarded.world.daemon(max_records=30)  # demands nothing
    guarded.world.publish(NEXT)
    daemon.turn(12)
    daemon.kill()
    guarded.world.registry.promote("pumps", FIRST.bundle_id, guarded.world.clock.now(), "ann")
    with pytest.raises(BundleUntrusted, match=NEXT.bundle_id):
        guarded.daemon().turn()


def test_a_signed_bundle_in_the_place_of_another_is_refused(guarded: Guarded) -> None:
    """Who can write to the registry can't bring back an old bundle under a new one's name."""
    guarded.world.registry.publish("pumps", "pumps-new", FIRST.manifest, FIRST.weights, FIRST.sha256, START, "ann")
    guarded.world.registry.sign("pumps", "pumps-new", guarded.own.sign(FIRST.manifest))
    guarded.world.registry.promote("pumps", "pumps-new", guarded.world.clock.now(), "ann")
    with pytest.raises(BundleInvalid, match=f"published as bundle pumps-new of fleet 'pumps' is {FIRST.bundle_id}"):
        guarded.daemon().loop._models.current("pumps")


def test_a_bundle_of_another_fleet_is_refused(guarded: Guarded) -> None:
    valves = packed(fleet="valves")
    content = valves.manifest, valves.weights, valves.sha256
    guarded.world.registry.publish("pumps", valves.bundle_id, *content, START, "ann", guarded.own.sign(valves.manifest))
    guarded.world.registry.promote("pumps", valves.bundle_id, guarded.world.clock.now(), "ann")
    with pytest.raises(BundleInvalid, match="of fleet 'valves'"):
        guarded.daemon().loop._models.current("pumps")


def test_the_command_ends_with_78_and_the_remedy_where_nothing_was_read_yet(tmp_path: Path) -> None:
    SigningKey.make(tmp_path / "own")
    plant = Plant(tmp_path, "127.0.0.1:1", f"sqlite:///{tmp_path / 'sensord.db'}", "sensors.pumps")
    plant.sensord("db", "upgrade")
    FIRST.write(tmp_path / "bundle")
    plant.sensord("model", "import", tmp_path / "bundle", "--promote")
    settings = plant.settings.read_text().replace("start_timeout_s = 20", "start_timeout_s = 1")
    plant.settings.write_text(f'{settings}[model]\ntrusted_keys = ["{tmp_path / "own.pub"}"]\n')
    said = plant.sensord("run", code=EXIT_NEEDS_A_PERSON)
    assert f"sensord model sign {FIRST.bundle_id} --key FILE" in said
    assert "Traceback" not in said

    # Once there is state its own bundle decides, and the way to Kafka is tried.
    Progress(plant.engine).claim("pumps", Partition("sensors.pumps", 0), "somebody", "", START)
    with plant.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE partition_progress SET model_id = 'pumps-0'")
    assert "sensord model sign" not in plant.sensord("run", code=EXIT_UNREACHABLE)
    plant.close()
