"""Where settings demand signatures the daemon scores with nothing else, whatever the registry says."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from sensord.errors import EXIT_NEEDS_A_PERSON, BundleInvalid, BundleUntrusted
from sensord.model.bundle import Packed
from sensord.model.signature import SigningKey, TrustedKeys
from tests.builders import START, packed
from tests.daemon.world import Daemon, World, world
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


def test_a_daemon_does_not_start_on_an_unsigned_bundle(guarded: Guarded) -> None:
    guarded.world.publish(NEXT)
    daemon = guarded.daemon()
    with pytest.raises(BundleUntrusted, match=f"bundle {NEXT.bundle_id} has no signature"):
        daemon.turn()


def test_a_state_whose_bundle_is_not_signed_is_not_replayed(guarded: Guarded) -> None:
    daemon = guarded.world.daemon(max_records=30)  # demands nothing
    guarded.world.publish(NEXT)
    daemon.turn(12)
    daemon.kill()
    guarded.world.registry.promote("pumps", FIRST.bundle_id, guarded.world.clock.now())
    with pytest.raises(BundleUntrusted, match=NEXT.bundle_id):
        guarded.daemon().turn()


def test_a_signed_bundle_in_the_place_of_another_is_refused(guarded: Guarded) -> None:
    """Who can write to the registry can't bring back an old bundle under a new one's name."""
    guarded.world.registry.publish("pumps", "pumps-new", FIRST.manifest, FIRST.weights, FIRST.sha256, START)
    guarded.world.registry.sign("pumps", "pumps-new", guarded.own.sign(FIRST.manifest))
    guarded.world.registry.promote("pumps", "pumps-new", guarded.world.clock.now())
    with pytest.raises(BundleInvalid, match=f"published as bundle pumps-new of fleet 'pumps' is {FIRST.bundle_id}"):
        guarded.daemon().turn()


def test_a_bundle_of_another_fleet_is_refused(guarded: Guarded) -> None:
    valves = packed(fleet="valves")
    content = valves.manifest, valves.weights, valves.sha256
    guarded.world.registry.publish("pumps", valves.bundle_id, *content, START, guarded.own.sign(valves.manifest))
    guarded.world.registry.promote("pumps", valves.bundle_id, guarded.world.clock.now())
    with pytest.raises(BundleInvalid, match="of fleet 'valves'"):
        guarded.daemon().turn()


def test_the_command_ends_with_78_and_the_remedy(tmp_path: Path) -> None:
    SigningKey.make(tmp_path / "own")
    plant = Plant(tmp_path, "127.0.0.1:1", f"sqlite:///{tmp_path / 'sensord.db'}", "sensors.pumps")
    plant.sensord("db", "upgrade")
    FIRST.write(tmp_path / "bundle")
    plant.sensord("model", "import", tmp_path / "bundle", "--promote")
    plant.settings.write_text(plant.settings.read_text() + f'[model]\ntrusted_keys = ["{tmp_path / "own.pub"}"]\n')
    said = plant.sensord("run", code=EXIT_NEEDS_A_PERSON)
    assert f"sensord model sign {FIRST.bundle_id} --key FILE" in said
    assert "Traceback" not in said
    plant.close()
