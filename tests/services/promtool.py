"""promtool, which knows what Prometheus understands: out of Debian's package, without the server that it brings."""

import fcntl
import shutil
from pathlib import Path

from tests.services.process import ServerUnavailable, must_run

FOLDER = Path(__file__).parents[2] / ".cache" / "promtool"
PROGRAM = FOLDER / "usr" / "bin" / "promtool"


def fetched() -> Path:
    """The program, on PATH or unpacked once from Debian's archive. Raises ServerUnavailable."""
    if on_path := shutil.which("promtool"):
        return Path(on_path)
    FOLDER.parent.mkdir(exist_ok=True)
    with FOLDER.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two test runs may start at once
        if not PROGRAM.exists():
            _fetch()
    return PROGRAM


def _fetch() -> None:
    if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        raise ServerUnavailable("promtool isn't installed (Debian: apt-get install prometheus)")
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    try:
        must_run(["apt-get", "-qq", "update"])
        must_run(["sh", "-c", f"cd {FOLDER} && apt-get -qq -o APT::Sandbox::User=root download prometheus"])
        [package] = FOLDER.glob("prometheus_*.deb")
        must_run(["dpkg-deb", "-x", str(package), str(FOLDER)])
        package.unlink()
    except (RuntimeError, ValueError) as error:
        raise ServerUnavailable(f"promtool can't be fetched: {error}") from error
