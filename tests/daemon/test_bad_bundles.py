"""Whatever a bundle lacks, the daemon refuses it, says why, counts it, and goes on as before."""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace

import msgspec
import numpy as np
import pytest
from safetensors.numpy import load, save

from sensord.model.bundle import Packed
from sensord.store.schema import bundles, instant
from tests.builders import honest, packed
from tests.daemon.world import World, world

GOOD = packed(seed=7)


@pytest.fixture
def here(sqlite_url: str) -> Iterator[World]:
    with world(sqlite_url) as made:
        yield made


def changed(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Packed:
    """A bundle whose maker was honest but mistaken about one tensor."""
    tensors = {key: array.copy() for key, array in load(GOOD.weights).items()}
    tensors[name] = change(tensors[name])
    return honest(msgspec.json.decode(GOOD.manifest), save(tensors))


def claiming(**fields: object) -> Packed:
    """A bundle whose manifest says something else of the same weights."""
    return honest(msgspec.json.decode(GOOD.manifest) | fields, GOOD.weights)


def spoilt(array: np.ndarray) -> np.ndarray:
    array.flat[-1] = np.nan
    return array


def other_units() -> Packed:
    manifest = msgspec.json.decode(GOOD.manifest)
    channels = [channel | {"unit": "F"} for channel in manifest["channels"]]
    return honest(manifest | {"channels": channels}, GOOD.weights)


BAD: dict[str, tuple[Callable[[], Packed], str]] = {
    "NaN weights": (lambda: changed("profiles.head", spoilt), "aren't finite"),
    "infinite network": (lambda: changed("network.cell.lstm.bias_ih_l0", lambda a: a * np.inf), "aren't finite"),
    "wrong shape": (lambda: changed("profiles.mean", lambda a: a[:, :1]), "profiles.mean"),
    "wrong type": (lambda: changed("profiles.scale", lambda a: a.astype(np.float64)), "float64"),
    "threshold of zero": (lambda: changed("profiles.threshold", lambda a: a * 0), "not positive"),
    "wrong hash": (lambda: replace(GOOD, weights=GOOD.weights[:-1] + b"\x00\x00"), "SHA-256"),
    "cut short": (lambda: replace(GOOD, weights=GOOD.weights[:-8]), "SHA-256"),
    "another manifest": (lambda: replace(GOOD, manifest=packed(seed=9).manifest), "SHA-256"),
    "no manifest": (lambda: replace(GOOD, manifest=b"{}"), "manifest"),
    "other channels": (lambda: packed(channels=("heat", "flow")), "other channels or units"),
    "one channel more": (lambda: packed(channels=("heat", "noise", "flow")), "other channels or units"),
    "channels in another order": (lambda: packed(channels=("noise", "heat")), "other channels or units"),
    "other units": (other_units, "other channels or units"),
    "another fleet's": (lambda: packed(fleet="motors"), "is .* of fleet 'motors'"),
    "a cell that nobody has": (lambda: claiming(cell="rnn"), "cell"),
    "a format to come": (lambda: claiming(format_version=99), "99"),
}


@pytest.mark.parametrize("stage", ["current", "shadow"])
@pytest.mark.parametrize("what", BAD)
def test_a_bad_bundle_is_refused_and_all_goes_on(
    here: World, capsys: pytest.CaptureFixture[str], what: str, stage: str
) -> None:
    make, reason = BAD[what]
    here.send_day(seconds=60)
    daemon = here.daemon(max_records=30)
    daemon.turn(4)
    before = {shard.fleet.bundle.id for shard in daemon.loop.shards.values()}
    stored(here, make(), stage)
    daemon.turn(8)
    here.send_day(seconds=60, first=60)
    daemon.finish()
    assert {shard.fleet.bundle.id for shard in daemon.loop.shards.values()} == before
    assert {shard.shadow for shard in daemon.loop.shards.values()} == {None}
    assert daemon.loop._metrics.registry.get_sample_value("sensord_refused_bundles_total", {"fleet": "pumps"}) == 1
    told = [line for line in capsys.readouterr().out.splitlines() if "bundle refused" in line]
    assert len(told) == 1, "once"
    assert re.search(reason, told[0]), told


def stored(here: World, bad: Packed, stage: str) -> None:
    """Put it into the registry, whatever that thinks of it."""
    with here.engine.begin() as connection:
        connection.execute(
            bundles.insert(),
            {
                "fleet": "pumps",
                "bundle_id": bad.bundle_id,
                "stage": "candidate",
                "manifest": bad.manifest.decode(),
                "weights": bad.weights,
                "sha256": bad.sha256,
                "created_at": instant(here.clock.now()),
            },
        )
    move = here.registry.promote if stage == "current" else here.registry.shadow
    move("pumps", bad.bundle_id, here.clock.now(), "ann")
