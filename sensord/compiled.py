"""What runs for every reading, compiled to machine code when it is first called. Used by `model` and `detection`.

A compiled function computes each device by itself, in the order that is written, in float32: its result doesn't depend
on what else is in a batch, so that replays are exact on the same kind of processor.
"""

import hashlib
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
import numpy as np
from numba.core import config
from numpy.typing import NDArray

F = TypeVar("F", bound=Callable[..., object])
Floats = NDArray[np.float32]
D = TypeVar("D", bound=np.generic)

HOUSE = Path(__file__).parent
ROOMS = ("", "model", "detection", "detection/channels", "stream/decoders", "trainer")  # where compiled functions live

F32 = np.float32

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
    Never where others may write: what is kept there is run.
    """
    digest = hashlib.sha256(numba.__version__.encode())
    for source in sorted(path for room in ROOMS for path in (HOUSE / room).glob("*.py")):
        digest.update(source.read_bytes())
    for candidate in candidates:
        folder = candidate / f"compiled-{digest.hexdigest()[:12]}"
        with suppress(OSError):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if os.access(folder, os.W_OK) and _is_ours_alone(folder):
                return folder
    return None


def _is_ours_alone(folder: Path) -> bool:
    found = folder.stat()
    return found.st_uid == os.getuid() and not found.st_mode & 0o022


def _user_cache() -> Path:
    with suppress(RuntimeError):  # a user without a home
        return Path.home() / ".cache" / "sensord"
    return HOUSE / "__pycache__"


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
