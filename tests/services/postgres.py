"""PostgreSQL: Debian's own programs, a cluster in a temporary folder, nothing that outlives the block."""

import os
import pwd
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.services.process import Server, ServerUnavailable, as_user, free_port, must_run, running, temporary_folder

SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "off",
    "synchronous_commit": "on",
    "full_page_writes": "off",
    "shared_buffers": "64MB",
}


@contextmanager
def postgresql() -> Iterator[Server]:
    """A server that trusts user `postgres` on loopback; the address is the URL of its database `postgres`.

    Raises ServerUnavailable where the programs are missing and can't be installed.
    """
    user = unprivileged_user()
    with temporary_folder(user) as folder:
        data, port = initialised(folder, user), free_port()
        with serving(data, port, user) as pid:
            yield Server(f"postgresql+psycopg://postgres@127.0.0.1:{port}/postgres", pid)


def initialised(folder: Path, user: str | None) -> Path:
    """Prepare an empty cluster in a folder of that user's; returns its data folder."""
    data = folder / "data"
    initdb = ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"]
    must_run(["setpriv", *as_user(user), str(fetched() / "initdb"), *initdb, "-D", str(data)])
    return data


@contextmanager
def serving(data: Path, port: int, user: str | None) -> Iterator[int]:
    """Run the server of a data folder until the block ends; yields its process id."""
    programs = fetched()
    options = [word for name, value in SETTINGS.items() for word in ("-c", f"{name}={value}")]
    is_ready = [str(programs / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port)]
    with running(
        [str(programs / "postgres"), "-D", str(data), "-p", str(port), *options],
        data.with_name("server.log"),
        lambda: subprocess.run(is_ready, check=False).returncode == 0,
        stop_signal=signal.SIGINT,  # "fast": clients are sent away, not waited for
        user=user,
    ) as pid:
        yield pid


def fetched() -> Path:
    """The folder of PostgreSQL's programs, installed where it is missing and this process may."""
    found = _find_programs()
    if found is None and os.geteuid() == 0 and shutil.which("apt-get"):
        _install()
        found = _find_programs()
    if found is None:
        raise ServerUnavailable("PostgreSQL's server isn't installed (Debian: apt-get install postgresql)")
    return found


def _find_programs() -> Path | None:
    """The folder of initdb and postgres; Debian keeps them out of PATH, one folder a version."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    if debian:
        return debian[-1].parent
    on_path = shutil.which("initdb")
    return Path(on_path).resolve().parent if on_path else None


def _install() -> None:
    """Install Debian's package without the cluster that it would start."""
    override = Path("/etc/postgresql-common/createcluster.conf")
    if not override.exists():
        override.parent.mkdir(parents=True, exist_ok=True)
        override.write_text("create_main_cluster = false\n")
    apt = ["apt-get", "-qq", "-o", "Dpkg::Options::=--force-confold"]
    try:
        must_run([*apt, "update"])
        must_run(["env", "DEBIAN_FRONTEND=noninteractive", *apt, "install", "--no-install-recommends", "postgresql"])
    except RuntimeError as error:
        raise ServerUnavailable(f"PostgreSQL can't be installed: {error}") from error


def unprivileged_user() -> str | None:
    """Who to run as: PostgreSQL refuses root. None: as we are."""
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in known else "nobody"
