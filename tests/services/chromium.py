"""Chromium, for tests that look at the page: Debian's package, with all that it needs."""

import fcntl
import os
import shutil
from pathlib import Path

from tests.services.process import ServerUnavailable, must_run

LOCK = Path(__file__).parents[2] / ".cache" / "chromium.lock"


def fetched() -> Path:
    """The program, on PATH or installed where that is allowed. Raises ServerUnavailable."""
    LOCK.parent.mkdir(exist_ok=True)
    with LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two test runs may start at once
        if not shutil.which("chromium"):
            _install()
    return Path(shutil.which("chromium") or "")


def _install() -> None:
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise ServerUnavailable("Chromium isn't installed (Debian: apt-get install chromium)")
    try:
        must_run(["apt-get", "-qq", "update"])
        must_run(["apt-get", "-qq", "-y", "install", "--no-install-recommends", "chromium", "fonts-dejavu-core"])
    except RuntimeError as error:
        raise ServerUnavailable(f"Chromium can't be installed: {error}") from error
