"""The demo's processes: commands that run to their end, the daemon, the broker. None of them outlives the demo."""

import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from sensord.cli.demo.stage import SCRIPTS, Stage
from sensord.errors import EXIT_OK, SensordError

SENSORD = (sys.executable, "-m", "sensord")
DRAINED_WITHIN_S = 20.0  # the daemon itself takes 15 at most
LOG_SHOWN = 30  # lines


class StepFailed(SensordError):
    """A step of the demo went wrong; says which, and shows what its process printed."""


def command(stage: Stage, *words: str) -> str:
    """Run `sensord WORDS` to its end, in the folder; its progress bars show on a terminal.

    Returns what it printed. Raises StepFailed.
    """
    return _run(stage, [*SENSORD, *words], f"sensord {shlex.join(words)}")


def script(stage: Stage, name: str, *words: str) -> str:
    """Run `scripts/NAME WORDS` as `command` does."""
    return _run(stage, [str(SCRIPTS / name), *words], f"scripts/{name} {shlex.join(words)}")


def _run(stage: Stage, words: Sequence[str], shown: str) -> str:
    """What is printed on stderr is returned too where nobody sees it there."""
    seen = sys.stderr.isatty()
    done = subprocess.run(
        words,
        cwd=stage.folder,
        env=stage.environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=None if seen else subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        raise StepFailed(f"{shown} ended with {done.returncode}\n{done.stdout}".rstrip())
    return done.stdout


class Daemon:
    """`sensord run` as a process; stopped, if need be killed, at the end of the block."""

    def __init__(self, stage: Stage) -> None:
        self._log = stage.path(stage.daemon_log)
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [*_follows_us(), *SENSORD, "run"],
                cwd=stage.folder,
                env=stage.environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the demo, which then stops its processes in order
            )

    def __enter__(self) -> "Daemon":
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            _end(self._process, DRAINED_WITHIN_S)

    @property
    def pid(self) -> int:
        return self._process.pid

    def must_live(self) -> None:
        """Raises StepFailed where the daemon has ended, with the tail of its log."""
        if (code := self._process.poll()) is not None:
            raise self.failed(f"the daemon ended with {code}")

    def drain(self) -> float:
        """SIGTERM; returns how many seconds it took to end. Raises StepFailed unless it ends in time and with 0."""
        self.must_live()
        began = time.monotonic()
        self._process.send_signal(signal.SIGTERM)
        try:
            code = self._process.wait(DRAINED_WITHIN_S)
        except subprocess.TimeoutExpired:
            raise self.failed(f"the daemon did not end within {DRAINED_WITHIN_S:.0f} s of SIGTERM") from None
        if code != EXIT_OK:
            raise self.failed(f"the daemon ended with {code} after SIGTERM")
        return time.monotonic() - began

    def failed(self, what: str) -> StepFailed:
        """The error to raise, with the tail of the daemon's log."""
        return StepFailed(f"{what}; the end of {self._log}:\n{_tail(self._log)}")


@contextmanager
def embedded_broker(stage: Stage) -> Iterator[str]:
    """The embedded Kafka-protocol broker; yields HOST:PORT. Raises StepFailed."""
    log = stage.path(stage.broker_log)
    with (
        log.open("wb") as output,
        subprocess.Popen(
            [str(SCRIPTS / "services"), "run", "embedded"],
            stdin=subprocess.PIPE,  # it serves until this closes, also when the demo is killed
            stdout=subprocess.PIPE,
            stderr=output,
            start_new_session=True,
        ) as process,
    ):
        try:
            address = process.stdout.readline().decode().strip() if process.stdout else ""
            if not address:
                raise StepFailed(f"the embedded broker did not start:\n{_tail(log)}")
            yield address
        finally:
            _end(process, DRAINED_WITHIN_S)


def _end(process: "subprocess.Popen[bytes]", timeout_s: float) -> None:
    process.terminate()
    try:
        process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _follows_us() -> list[str]:
    """Have a process terminated when this one is killed, where util-linux is there to arrange that."""
    return ["setpriv", "--pdeathsig=TERM"] if shutil.which("setpriv") else []


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-LOG_SHOWN:])
