"""The database goes away, in every way in which one can."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import LiteralString

import psycopg
from sqlalchemy import NullPool, create_engine
from sqlalchemy.engine import make_url

from sensord.errors import EXIT_FAILURE, EXIT_NEEDS_A_PERSON
from sensord.store.database import open_engine, upgrade
from tests.faults.scenarios.membership import last
from tests.faults.scenarios.scenario import Scenario
from tests.faults.stage import Stage, model, promote
from tests.faults.trial import Daemon, Stuck, Trial

DOWN_S = 15.0
BRIEF_S = 3.0
DELAY_S = 0.2
SLOW_COMMITS = 3
TERMINATIONS = 5
CUTS = 20
CUT_SHARE = 0.15  # of all COMMITs


def restarted(stage: Stage, trial: Trial) -> None:
    """PostgreSQL crashes and recovers."""
    trial.start()
    trial.wait_share(0.3)
    stage.postgres.kill()
    stage.postgres.start()
    trial.fault_over()
    trial.finish()


def terminated(stage: Stage, trial: Trial) -> None:
    """The daemon's connections are ended by an administrator, again and again."""
    last(trial, 15)
    trial.start()
    for round_number in range(1, TERMINATIONS + 1):
        trial.wait_share(round_number / (TERMINATIONS + 2))
        _terminate(stage, trial)
        trial.fault_over()
    trial.finish()


def down_for_a_while(stage: Stage, trial: Trial) -> None:
    """The database is away for longer than many polls; the daemon stays, and stays in its group."""
    trial.start()
    trial.wait_share(0.3)
    stage.postgres.stop()
    with trial.outage():
        time.sleep(DOWN_S)
    stage.postgres.start()
    trial.fault_over()
    trial.finish()


def cut(stage: Stage, trial: Trial) -> None:
    """The network to the database is cut, and refuses connections for a while."""
    _through_proxy(stage, trial)
    trial.start()
    trial.wait_share(0.3)
    stage.postgres.proxy.cut(refuse=True)
    with trial.outage():
        time.sleep(BRIEF_S)
    stage.postgres.proxy.mend()
    trial.fault_over()
    trial.finish()


def black_hole(stage: Stage, trial: Trial) -> None:
    """The network to the database swallows everything for a while."""
    _through_proxy(stage, trial)
    trial.start()
    trial.wait_share(0.3)
    stage.postgres.proxy.black_hole()
    with trial.outage():
        time.sleep(DOWN_S)
    stage.postgres.proxy.mend()
    trial.fault_over()
    trial.finish()


def delayed(stage: Stage, trial: Trial) -> None:
    """The network to the database takes 200 ms each way; a commit, seconds. They go through all the same."""
    _through_proxy(stage, trial)
    trial.start()
    trial.wait_share(0.1)
    stage.postgres.proxy.delay_s = DELAY_S
    for _ in range(SLOW_COMMITS):
        trial.wait_progress()
    stage.postgres.proxy.mend()
    trial.finish()


def outcome_unknown(stage: Stage, trial: Trial) -> None:
    """COMMITs whose answer never comes: half of them were applied, half never arrived."""
    last(trial, 15)
    _through_proxy(stage, trial)
    proxy = stage.postgres.proxy
    proxy.cuts = {"before": 0, "after": 0}
    trial.start()
    trial.wait_share(0.1)
    proxy.cut_commits = CUT_SHARE
    trial.wait(lambda: sum(proxy.cuts.values()) >= CUTS, f"{CUTS} COMMITs were cut")
    proxy.mend()
    trial.fault_over()
    trial.finish()


def failover_loses_commits(stage: Stage, trial: Trial) -> None:
    """A standby takes over that had not got the last commits: its rows are older than what the daemon remembers.

    The epoch is the same, so only the previous offset can tell.
    """
    last(trial, 15)
    daemon = trial.start()
    trial.wait_share(0.2)
    name = _database(trial)
    with _between_transactions(stage, trial, daemon):
        stage.sql(f"CREATE DATABASE {name}_standby TEMPLATE {name}")
    trial.wait_share(0.5)
    with _between_transactions(stage, trial, daemon):
        stage.sql(f"DROP DATABASE {name}", f"ALTER DATABASE {name}_standby RENAME TO {name}")
    trial.fault_over()
    trial.finish()


def asked_to_stop_while_down(stage: Stage, trial: Trial) -> None:
    """SIGTERM while the database is away: it ends in time, and says that something is left to replay."""
    daemon = trial.start()
    trial.wait_share(0.3)
    stage.postgres.stop()
    trial.wait_log(daemon, "database unavailable")
    daemon.stop(EXIT_FAILURE)
    stage.postgres.start()
    trial.fault_over()
    trial.start()
    trial.finish()


def second_on_one_file(stage: Stage, trial: Trial) -> None:
    """A second daemon on an SQLite file is refused at once; the first one goes on and finds what PostgreSQL's do."""
    last(trial, 15)
    trial.store = f"sqlite:///{trial.folder / 'sensord.db'}"
    engine = open_engine(trial.store)
    upgrade(engine)
    engine.dispose()
    promote(trial.store, model())
    trial.engine = create_engine(trial.store, poolclass=NullPool)
    first = trial.start()
    trial.wait_log(first, "running")
    trial.wait_ended(trial.start(), EXIT_NEEDS_A_PERSON)
    trial.finish()


def _through_proxy(stage: Stage, trial: Trial) -> None:
    trial.store = trial.store.replace(f":{stage.postgres.port}/", f":{stage.postgres.proxy.port}/")


def _database(trial: Trial) -> str:
    return make_url(trial.store).database or ""


def _terminate(stage: Stage, trial: Trial) -> None:
    _ask(stage, "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = %s", _database(trial))


@contextmanager
def _between_transactions(stage: Stage, trial: Trial, daemon: Daemon) -> Iterator[None]:
    """Freeze a daemon when it has no transaction open, and end its connections; its pool opens new ones by itself."""
    for _ in range(1_000):
        daemon.freeze()
        if not _busy(stage, trial):
            break
        daemon.thaw()
        time.sleep(0.01)
    else:
        raise Stuck("the daemon was never between two transactions")
    try:
        _terminate(stage, trial)
        trial.wait(lambda: not _connected(stage, trial), "its connections were gone")
        yield
    finally:
        daemon.thaw()


def _busy(stage: Stage, trial: Trial) -> int:
    question = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND state <> 'idle'"
    return _ask(stage, question, _database(trial))


def _connected(stage: Stage, trial: Trial) -> int:
    return _ask(stage, "SELECT count(*) FROM pg_stat_activity WHERE datname = %s", _database(trial))


def _ask(stage: Stage, question: LiteralString, database: str) -> int:
    with psycopg.connect(stage.url("postgres"), autocommit=True) as admin:
        found = admin.execute(question, [database]).fetchone()
        return int(found[0]) if found else 0


SCENARIOS = (
    Scenario("database-restart", "PostgreSQL crashes and recovers", restarted),
    Scenario("database-terminate", f"pg_terminate_backend x{TERMINATIONS}", terminated),
    Scenario("database-down", f"PostgreSQL away for {DOWN_S:.0f} s", down_for_a_while, tells_ready=True),
    Scenario("database-cut", "TCP cut, refused for 3 s", cut, tells_ready=True),
    Scenario("database-black-hole", f"TCP black hole for {DOWN_S:.0f} s", black_hole),
    Scenario("database-delay", "200 ms each way", delayed),
    Scenario("commit-unknown", f"COMMIT's answer lost x{CUTS}", outcome_unknown),
    Scenario("failover-loses-commits", "a standby without the last commits", failover_loses_commits),
    Scenario("sigterm-while-down", "SIGTERM during an outage", asked_to_stop_while_down),
    Scenario("sqlite-second-daemon", "two daemons, one SQLite file", second_on_one_file),
)
