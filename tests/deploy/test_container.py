"""The Dockerfile is clean and asks for no more than it needs; what is built from it starts at once, and writes nowhere.

The build itself takes minutes and 15 GB of disk; it wants Debian's buildah, mmdebstrap, podman and runc, and root.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from sensord import __version__
from tests.conftest import missing
from tests.daemon.test_health import LIMIT_S, served
from tests.services.process import free_port

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "container"
FILE = FOLDER / "Dockerfile"
TEXT = FILE.read_text(encoding="utf-8")


def lines(text: str) -> list[str]:
    """Instructions, one a line, without comments."""
    plain = "".join(line for line in text.splitlines(keepends=True) if not line.startswith("#"))
    return [line.strip() for line in plain.replace("\\\n", " ").splitlines() if line.strip()]


LAST = lines(TEXT[TEXT.rindex("\nFROM ") :])  # the stage that is shipped


def told(name: str) -> list[str]:
    return [line.partition(" ")[2] for line in LAST if line.startswith(f"{name} ")]


def is_clean(text: str) -> bool:
    hadolint = [str(Path(sys.executable).with_name("hadolint")), "-"]
    return subprocess.run(hadolint, input=text, text=True, capture_output=True, timeout=60, check=False).returncode == 0


# --- the file --------------------------------------------------------------------------------------------------------


def test_hadolint_finds_nothing() -> None:
    assert is_clean(TEXT)


@pytest.mark.parametrize(("good", "bad"), [("USER 10001:10001", "USER root"), ("WORKDIR /", "WORKDIR ")])
def test_hadolint_would_find_something(good: str, bad: str) -> None:
    assert not is_clean(TEXT.replace(good, bad))


def test_it_runs_as_a_user_whose_number_is_fixed_and_not_root_s() -> None:
    assert told("USER") == ["10001:10001"]
    assert "useradd --uid 10001" in " ".join(told("RUN"))


def test_it_is_sensord_that_runs() -> None:
    assert (told("ENTRYPOINT"), told("CMD")) == (['["sensord"]'], ['["run"]'])


def test_whose_main_loop_hangs_is_unhealthy(monkeypatch: pytest.MonkeyPatch) -> None:
    [check] = told("HEALTHCHECK")
    words = json.loads(check.partition("CMD ")[2])
    assert words[0] == "python"
    with served() as asked:
        monkeypatch.setenv("SENSORD_HTTP__PORT", str(asked.port))

        def health() -> int:
            return subprocess.run([sys.executable, *words[1:]], capture_output=True, timeout=30, check=False).returncode

        assert health() == 0
        asked.health.watchdog.start()
        asked.clock.advance(2 * LIMIT_S)
        assert health() != 0


def test_what_is_copied_is_not_ignored() -> None:
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    let_through = [line.removeprefix("!") for line in ignored if line.startswith("!")]
    copied = [word for line in lines(TEXT) if line.startswith("COPY ") for word in line.split()[1:-1]]
    sources = [word for word in copied if not word.startswith(("--", "/"))]
    assert "sensord" in sources
    assert [path for path in sources if not any(f"{path}/".startswith(f"{each}/") for each in let_through)] == []


@pytest.mark.long
def test_what_is_compiled_for_an_image_is_what_is_run(tmp_path: Path) -> None:
    """The build's own step works; that it is all that a daemon compiles, the built image tells."""
    done = subprocess.run(
        [sys.executable, FOLDER / "precompile.py"],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_what_is_installed_first_is_what_the_project_needs() -> None:
    done = subprocess.run(
        [sys.executable, FOLDER / "requirements.py", ROOT / "pyproject.toml"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "torch>=2.13" in done.stdout.splitlines()


@pytest.mark.parametrize("builder", ["buildah", "podman", "docker"])
def test_whichever_builder_is_there_is_asked(tmp_path: Path, builder: str) -> None:
    program = tmp_path / builder
    program.write_text('#!/bin/sh\necho "$0" "$@"\n')
    program.chmod(0o755)
    done = built_with(tmp_path, "--build-arg", "BASE=other")
    assert done.returncode == 0, done.stderr
    words = done.stdout.split()
    assert words[:2] == [str(program), "build"]
    assert {f"sensord:{__version__}", f"VERSION={__version__}", "BASE=other"} <= set(words)
    assert ("--format docker" in done.stdout) == (builder != "docker"), "without it the health check is left out"


def test_it_is_told_where_no_builder_is(tmp_path: Path) -> None:
    done = built_with(tmp_path)
    assert done.returncode == 1
    assert "buildah, podman or docker is needed (Debian: apt-get install buildah)" in done.stderr


def built_with(programs: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """What scripts/image does where there is nothing else than these programs and a shell's."""
    for name in ("bash", "dirname", "git", "sed"):
        (programs / name).symlink_to(str(shutil.which(name)))
    command = [str(ROOT / "scripts" / "image"), *arguments]
    return subprocess.run(command, env={"PATH": str(programs)}, capture_output=True, text=True, check=False)


# --- the image -------------------------------------------------------------------------------------------------------

BUILDERS = ("buildah", "mmdebstrap", "podman", "runc")
PYTHON = "python3,python3-venv,python3-pip,ca-certificates"
OURS_TO_LEND = ("/etc/pip.conf", "/etc/ssl/certs/ca-certificates.crt")  # how this machine reaches PyPI, where it's said
PYPI = "https://pypi.org/simple"
CONTAINED = ["--network=host", "--read-only", "--tmpfs=/tmp", "--cap-drop=all", "--security-opt=no-new-privileges"]
PLAIN = ["--no-healthcheck", "--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024"]  # as far as no systemd is there
READY_WITHIN_S = 20.0  # what had to be compiled would take longer


@dataclass(frozen=True, slots=True)
class Image:
    """The image, in a storage of its own. folder: what its containers find at /var/lib/sensord."""

    environ: Mapping[str, str]
    folder: Path

    def podman(self, *words: str) -> str:
        done = subprocess.run(
            ["podman", "--runtime=runc", "--cgroup-manager=cgroupfs", *words],
            env=self.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout

    def run(self, *command: str, options: Sequence[str] = ()) -> str:
        """Run a command in a container that may do nothing; returns what it says."""
        return self.podman("run", "--rm", *self._contained, *options, "sensord:test", *command)

    def start(self, name: str, options: Sequence[str]) -> None:
        """Start the daemon, which goes on until it is stopped."""
        self.podman("run", "--detach", f"--name={name}", *self._contained, *options, "sensord:test")

    @property
    def _contained(self) -> Sequence[str]:
        return [*CONTAINED, *PLAIN, f"--volume={self.folder}:/var/lib/sensord"]


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    """Built by the very Dockerfile, on a Debian that is made here; with torch for CUDA, since PyPI has no other."""
    if lacking := [program for program in BUILDERS if shutil.which(program) is None]:
        missing(f"{', '.join(lacking)} isn't installed (Debian: apt-get install {' '.join(BUILDERS)})")
    if os.geteuid() != 0:
        missing("only root can build an image here")
    folder = tmp_path_factory.mktemp("containers")
    storage = folder / "storage.conf"
    storage.write_text(f'[storage]\ndriver = "overlay"\ngraphroot = "{folder}/kept"\nrunroot = "{folder}/running"\n')
    mine = {"CONTAINERS_STORAGE_CONF": str(storage), "BUILDAH_ISOLATION": "chroot", "IMAGE": "sensord:test"}
    environ = os.environ | mine | {"TMPDIR": str(folder)}

    def must(*words: str) -> str:
        done = subprocess.run(words, cwd=ROOT, env=environ, stdout=subprocess.PIPE, text=True, check=True)
        return done.stdout.strip()

    base = str(folder / "base.tar")
    must("mmdebstrap", "--quiet", "--variant=minbase", f"--include={PYTHON}", "bookworm", base)
    container = must("buildah", "from", "scratch")
    must("buildah", "add", container, base, "/")
    for file in filter(os.path.exists, OURS_TO_LEND):
        must("buildah", "copy", container, file, file)
    must("buildah", "commit", "--rm", container, "localhost/debian")
    os.unlink(base)
    must("scripts/image", "--build-arg", "BASE=localhost/debian", "--build-arg", f"TORCH_INDEX={PYPI}")
    work = folder / "work"
    work.mkdir()
    os.chown(work, 10001, 10001)
    built = Image(environ, work)
    yield built
    built.podman("rm", "--force", "--all")
    built.podman("system", "reset", "--force")


@pytest.mark.long
@pytest.mark.timeout(2400)
def test_what_is_built_runs_without_rights_and_with_nothing_left_to_compile(image: Image, embedded_broker: str) -> None:
    """From nothing to a daemon that reads: each step in a container whose root can't be written to."""
    assert __version__ in image.run("version")
    assert image.run(options=["--entrypoint=id"]).startswith("uid=10001(sensord) gid=10001(sensord)")
    [told] = json.loads(image.podman("inspect", "sensord:test"))
    assert told["Labels"]["org.opencontainers.image.version"] == __version__

    port = free_port()
    settings = {
        "FLEETS": '{"pumps": {"topics": ["sensors.pumps"]}}',
        "KAFKA__BOOTSTRAP_SERVERS": embedded_broker,
        "TRAINER__STEPS": "1",
        "HTTP__PORT": str(port),
    }
    options = [f"--env=SENSORD_{name}={value}" for name, value in settings.items()] + ["--env=NUMBA_DEBUG_CACHE=1"]
    image.run("check-config", options=options)
    image.run("db", "upgrade", options=options)
    image.run("simulate", "--devices=2", "--readings=700", "--healthy=700", "--faults=0", "--out=p.jsonl")
    learnt = image.run("train", "p.jsonl", "--promote", "--force", options=options)
    image.run("replay", "p.jsonl", "--topic=sensors.pumps", "--partitions=1", options=options)
    started = time.monotonic()
    image.start("daemon", options)
    while (answer := asked(port)) != "ready":
        assert time.monotonic() - started < READY_WITHIN_S, answer
        time.sleep(0.1)
    image.podman("exec", "daemon", *told["Healthcheck"]["Test"][1:])
    image.podman("stop", "--time=30", "daemon")
    assert image.podman("wait", "daemon").split()[-1] == "0", "it drained"
    for output in (learnt, image.podman("logs", "daemon")):
        assert "data loaded" in output
        assert "data saved" not in output


def asked(port: int) -> str:
    """What /readyz says; nothing as long as nobody listens."""
    try:
        with urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
            return str(answer.read().decode()).strip()
    except HTTPError as refused:
        with refused:
            return refused.read().decode()
    except OSError as error:
        return str(error)
