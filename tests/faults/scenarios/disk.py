"""The database's disk is full."""

import pwd
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path

from sqlalchemy.engine import make_url

from tests.faults.scenarios.membership import last
from tests.faults.scenarios.scenario import Scenario
from tests.faults.stage import Stage
from tests.faults.trial import Trial

DISK_MB = 64
FULL_S = 10.0
SAID = "No space left on device"
TABLESPACE = "faults_small_disk"
REFUSES = f"""
CREATE FUNCTION test_disk_full() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '{SAID}' USING ERRCODE = 'disk_full';
END $$;
CREATE TRIGGER test_disk_full BEFORE INSERT OR UPDATE ON partition_progress
    FOR EACH ROW EXECUTE FUNCTION test_disk_full();
"""
RELENTS = "DROP TRIGGER test_disk_full ON partition_progress; DROP FUNCTION test_disk_full();"

Filled = Callable[[], AbstractContextManager[None]]


def full(stage: Stage, trial: Trial) -> None:
    """The database's disk fills up; the daemon waits, and goes on by itself once there is room."""
    last(trial, 15)
    with _disk(stage, trial) as filled:
        daemon = trial.start()
        trial.wait_share(0.3)
        with filled():
            trial.wait_log(daemon, SAID)
            with trial.outage():
                time.sleep(FULL_S)
        trial.fault_over()
        trial.finish()


@contextmanager
def _disk(stage: Stage, trial: Trial) -> Iterator[Filled]:
    """Put the trial's database on a small disk of its own; where none can be mounted, a trigger says what a full one
    would."""
    place = stage.postgres.data.with_name("small-disk")
    if not _mounted(place, stage.postgres.user):
        trial.notes.append("no disk could be mounted: a trigger raised disk_full instead")
        yield partial(_pretended, trial)
        return
    database = make_url(trial.store).database
    try:
        stage.sql(
            f"CREATE TABLESPACE {TABLESPACE} LOCATION '{place}'",
            f"ALTER DATABASE {database} SET TABLESPACE {TABLESPACE}",
        )
        yield partial(_filled, place / "filler")
    finally:
        trial.stop_all()
        stage.sql(f"ALTER DATABASE {database} SET TABLESPACE pg_default", f"DROP TABLESPACE IF EXISTS {TABLESPACE}")
        subprocess.run(["umount", str(place)], check=True)


def _mounted(place: Path, user: str | None) -> bool:
    if user is None:  # only root mounts
        return False
    owner = pwd.getpwnam(user)
    options = f"size={DISK_MB}m,mode=700,uid={owner.pw_uid},gid={owner.pw_gid}"
    place.mkdir(exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
    return subprocess.run(mount, check=False, stderr=subprocess.DEVNULL).returncode == 0


@contextmanager
def _filled(filler: Path) -> Iterator[None]:
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4 << 10))
        except OSError:
            pass  # that is what it is for
    try:
        yield
    finally:
        filler.unlink()


@contextmanager
def _pretended(trial: Trial) -> Iterator[None]:
    with trial.engine.begin() as connection:
        connection.exec_driver_sql(REFUSES)
    try:
        yield
    finally:
        with trial.engine.begin() as connection:
            connection.exec_driver_sql(RELENTS)


SCENARIOS = (Scenario("database-disk-full", f"no space left for {FULL_S:.0f} s", full, tells_ready=True),)
