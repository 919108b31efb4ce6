"""Arrays that may be larger than memory, in temporary files whose pages the system drops and brings back as it needs.

Used by `stream` and `trainer`, which compute on them as on any others. The files have no name: they are gone with their
last array, however the process ends. Anonymous memory grows with none of this.
"""

import mmap
import os
import tempfile
from collections.abc import Iterable, Sequence
from itertools import accumulate
from math import prod
from typing import IO, Generic, TypeVar
from weakref import finalize

import numpy as np
from numpy.typing import NDArray

from sensord.errors import SpillFull

D = TypeVar("D", bound=np.generic)

SMALL = 1 << 20  # bytes; what is smaller isn't worth a file


def empty(shape: tuple[int, ...], dtype: type[D]) -> NDArray[D]:
    """An array with whatever is in it. Raises SpillFull."""
    size = prod(shape) * np.dtype(dtype).itemsize
    if size < SMALL:
        return np.empty(shape, dtype)
    with _file(size) as file:
        try:
            os.posix_fallocate(file.fileno(), 0, size)  # or a full disk would end the process at some later write
        except OSError as error:
            raise _full(size) from error
        return np.frombuffer(mmap.mmap(file.fileno(), size), dtype).reshape(shape)


def rows(lengths: Sequence[int], width: tuple[int, ...], dtype: type[D]) -> list[NDArray[D]]:
    """One array, (length, *width), for each length; all in one file. Raises SpillFull."""
    whole = empty((sum(lengths), *width), dtype)
    return np.split(whole, list(accumulate(lengths))[:-1]) if lengths else []


def joined(arrays: Iterable[NDArray[D]], dtype: type[D]) -> NDArray[D]:
    """One-dimensional arrays one after another, each let go of before the next is asked for. Raises SpillFull."""
    column = Column(dtype)
    for array in arrays:
        column.append(array)
    return column.array()


class Column(Generic[D]):
    """A one-dimensional array that grows at its end."""

    def __init__(self, dtype: type[D]) -> None:
        self._dtype = dtype
        self._size = 0
        self._file = _file(0)
        finalize(self, self._file.close)

    def append(self, array: NDArray[D]) -> None:
        """Raises SpillFull."""
        plain = np.ascontiguousarray(array, self._dtype)
        try:
            self._file.write(plain.tobytes())
        except OSError as error:
            raise _full(plain.nbytes) from error
        self._size += plain.nbytes

    def array(self) -> NDArray[D]:
        """All of it; nothing can be appended any more. Raises SpillFull."""
        with self._file as file:
            try:
                file.flush()
            except OSError as error:
                raise _full(self._size) from error
            if self._size < SMALL:
                file.seek(0)
                return np.frombuffer(bytearray(file.read()), self._dtype)
            return np.frombuffer(mmap.mmap(file.fileno(), self._size), self._dtype)


def _file(size: int) -> IO[bytes]:
    try:
        return tempfile.TemporaryFile(prefix="sensord-")
    except OSError as error:
        raise _full(size) from error


def _full(size: int) -> SpillFull:
    folder = tempfile.gettempdir()
    return SpillFull(f"{folder}: no room for {size:,} bytes of history; free some, or set TMPDIR to a folder with more")
