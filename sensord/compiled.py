"""What runs for every reading, compiled to machine code when it is first called. Used by `model` and `detection`.

A compiled function computes each device by itself, in the order that is written, in float32: its result doesn't depend
on what else is in a batch, so that replays are exact on the same kind of processor.
"""

import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar, cast

import numba
import numpy as np
from llvmlite import binding
from numba.core import config
from numpy.typing import NDArray

F = TypeVar("F", bound=Callable[..., object])
Floats = NDArray[np.float32]
D = TypeVar("D", bound=np.generic)

HOUSE = Path(__file__).parent
ROOMS = ("", "model", "detection", "detection/channels", "stream/decoders", "trainer")  # where compiled functions live

F32 = np.float32

# What compiled code is for: a level of processors (x86-64 psABI), not the very one that compiles. So it can be made in
# one place and run in another, where an image is built and where it runs. It is no slower than code for the very one.
LEVEL = "x86-64-v3"
_FEATURES_OF_LEVEL = ("avx", "avx2", "bmi", "bmi2", "f16c", "fma", "lzcnt", "movbe")

# Compiled code makes no arrays: all that it reads and writes belongs to its caller. So numba need not count who holds
# them, which cost as much as the rest of a reading.
_PLAINLY: dict[str, Any] = {"error_model": "numpy", "_nrt": False}


def compiled(function: F) -> F:
    """Compile a function at its first call, for the types that it is called with; kept on disk where that is possible.

    Division by zero gives infinity or NaN, as numpy's does. Other threads go on meanwhile.
    """
    return cast(F, numba.njit(cache=_CAN_CACHE, nogil=True, **_PLAINLY)(function))


def inlined(function: F) -> F:
    """As `compiled`, but put into whatever calls it: a call with many arrays costs more than most of what is called."""
    return cast(F, numba.njit(cache=_CAN_CACHE, inline="always", **_PLAINLY)(function))


def plain(array: NDArray[D]) -> NDArray[D]:
    """The array as compiled code expects them: in one piece, and not protected against writing.

    Any other kind would be compiled for anew, in the middle of work.
    """
    return np.require(array, requirements=["C", "W"])


def _cache_folder(candidates: Iterable[Path]) -> Path | None:
    """Where machine code is kept between runs; None where nothing can be written.

    A folder for each state of the sources: numba looks at the file of a function, and not at those that it calls into.
    Never where others may write: what is kept there is run. What was made before and can't be added to, as in an image
    whose root is read-only, is copied to the next place: numba keeps machine code where it can write, or not at all.
    """
    digest = hashlib.sha256(numba.__version__.encode())
    for source in sorted(path for room in ROOMS for path in (HOUSE / room).glob("*.py")):
        digest.update(source.read_bytes())
    made_before: Path | None = None
    for candidate in candidates:
        folder = candidate / f"compiled-{digest.hexdigest()[:12]}"
        with suppress(OSError):
            if made_before and not folder.exists():
                _copy(made_before, folder)
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not _nobody_else_writes(folder):
                continue
            if os.access(folder, os.W_OK):
                return folder
            made_before = folder
    return None


def _copy(made_before: Path, folder: Path) -> None:
    """Whole or not at all: several processes may start at once, and the first one's is as good as any."""
    folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with suppress(OSError), TemporaryDirectory(dir=folder.parent) as draft:
        shutil.copytree(made_before, Path(draft) / "whole").rename(folder)


def _nobody_else_writes(folder: Path) -> bool:
    """Nobody but this user and root, who could do anything anyhow."""
    found = folder.stat()
    return found.st_uid in (0, os.getuid()) and not found.st_mode & 0o022


def _user_cache() -> Path:
    with suppress(RuntimeError):  # a user without a home
        return Path.home() / ".cache" / "sensord"
    return HOUSE / "__pycache__"


def _is_of_level(features: Mapping[str, bool]) -> bool:
    return all(features.get(feature) for feature in _FEATURES_OF_LEVEL)


if config.CPU_NAME is None and _is_of_level(binding.get_host_cpu_features()):  # type: ignore[attr-defined]
    config.CPU_NAME, config.CPU_FEATURES = LEVEL, ""  # type: ignore[attr-defined]

# where compiled code is kept; None: nowhere, and each process compiles for itself
FOLDER = _cache_folder((HOUSE / "__pycache__", _user_cache()))
_CAN_CACHE = FOLDER is not None
if FOLDER is not None:
    config.CACHE_DIR = str(FOLDER)  # type: ignore[attr-defined]


@inlined
def copy(source: Floats, to: Floats) -> None:
    """to = source, one by one: numba's own copies between arrays would make a third one if they overlapped."""
    for j in range(len(to)):
        to[j] = source[j]
