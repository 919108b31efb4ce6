"""Keep what this version writes, for the tests of the versions after it: `python -m tests.upgrades.keep NAME`.

A folder beside this file: `database.sql`, as a daemon leaves it that is killed in the midst of an alert, with a bundle
from this version's trainer; `log.jsonl`, all that there was to read; `alerts.json`, what this version would have come
to. Run it at every release, before its number rises.
"""

import json
import sqlite3
import sys
from collections.abc import Iterable
from contextlib import closing, redirect_stdout
from datetime import datetime
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory

import zstandard
from sqlalchemy import Engine

from sensord.cli.main import run
from sensord.clock import MICROSECONDS
from sensord.store.alerts import AlertFilter, list_alerts
from sensord.store.database import open_engine
from tests.builders import START
from tests.daemon.world import TOPIC, World

HERE = Path(__file__).parent
DEVICES, HEALTHY, READINGS, PERIOD_S = 4, 1_000, 1_400, 10
COMPARED = (
    "id",
    "device_id",
    "kind",
    "status",
    "severity",
    "opened_at",
    "closed_at",
    "readings",
    "score_peak",
)


def main(name: str) -> None:
    """Make the folder of a version."""
    kept = HERE / name
    kept.mkdir(exist_ok=True)
    with TemporaryDirectory() as folder:
        messages, url = _learnt(Path(folder)), f"sqlite:///{folder}/sensord.db"
        world = World(open_engine(url), first=None)
        [made] = world.registry.list("pumps")
        world.registry.promote("pumps", made.bundle_id, world.clock.now(), "ann", force=True)
        send(world, messages)
        _read_into_an_alert(world)
        with closing(sqlite3.connect(f"{folder}/sensord.db")) as connection:
            dump = "\n".join(connection.iterdump())
        world.daemon().finish()
        alerts = told(world.engine)
        world.engine.dispose()
    packer = zstandard.ZstdCompressor(level=19)
    (kept / "database.sql.zst").write_bytes(packer.compress(dump.encode()))
    lines = "".join(f"{json.dumps(message)}\n" for message in messages)
    (kept / "log.jsonl.zst").write_bytes(packer.compress(lines.encode()))
    (kept / "alerts.json").write_text(json.dumps(alerts, indent=1) + "\n")
    print(f"{kept}: {len(messages)} readings, {len(alerts)} alerts", file=sys.stderr)  # noqa: T201


def send(world: World, messages: Iterable[dict[str, object]]) -> None:
    """All that there is to read; a record's own time stamp is that of its reading."""
    for message in messages:
        device = int(str(message["device_id"]).partition("-")[2])
        at_s = datetime.fromisoformat(str(message["timestamp"])).timestamp()
        world.send_raw(device, json.dumps(message).encode(), at_s - START / MICROSECONDS)


def told(engine: Engine) -> list[dict[str, str]]:
    """The live run's alerts, as far as they have to be the same in every version."""
    rows = list_alerts(engine, AlertFilter())
    return sorted(({name: str(getattr(row, name)) for name in COMPARED} for row in rows), key=lambda row: row["id"])


def _learnt(folder: Path) -> list[dict[str, object]]:
    """Simulate, train, publish; returns what comes after the history, in the order of time."""
    file = folder / "pumps.jsonl"
    _sensord(folder, "simulate", "--devices", str(DEVICES), "--readings", str(READINGS), "--healthy", str(HEALTHY),
             "--period-s", str(PERIOD_S), "--faults", "4", "--out", str(file))  # fmt: skip
    _sensord(folder, "db", "upgrade")
    messages = [json.loads(line) for line in file.read_text().splitlines()]
    live = messages[DEVICES * HEALTHY :]
    _sensord(folder, "train", str(file), "--fleet", "pumps", "--until", str(live[0]["timestamp"]))
    return live


def _sensord(folder: Path, *arguments: str) -> None:
    with redirect_stdout(StringIO()):
        settings = folder / "sensord.toml"
        settings.write_text(f"store.url = 'sqlite:///{folder}/sensord.db'\n[fleets.pumps]\ntopics = ['{TOPIC}']\n")
        if code := run(["--config", str(settings), *arguments]):
            sys.exit(code)


def _read_into_an_alert(world: World) -> None:
    """Read until an alert is open, and something was committed since the last snapshot; then be killed."""
    daemon = world.daemon()
    for _ in range(2_000):
        daemon.turn()
        places = [(committed or 0, state or 0) for _, committed, state in world.progress().values()]
        stored, behind = all(state for _, state in places), any(committed > state for committed, state in places)
        if stored and behind and any(row.status == "open" for row in list_alerts(world.engine, AlertFilter())):
            daemon.kill()
            return
    sys.exit("no alert was ever open between two snapshots")


if __name__ == "__main__":
    main(sys.argv[1])
