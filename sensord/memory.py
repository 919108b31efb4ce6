"""What processor and system are told about memory that is read and written in no order. Used by `detection`."""

import ctypes
import mmap
from collections.abc import Callable
from typing import Any, cast

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic
from numpy.typing import NDArray

_BYTE, _INT = ir.IntType(8), ir.IntType(32)


def _advise() -> Callable[[int, int, int], int] | None:
    """The C library's madvise(address, length, advice); None where it has none, or no large pages."""
    if not hasattr(mmap, "MADV_HUGEPAGE"):
        return None
    advise = ctypes.CDLL(None).madvise
    advise.argtypes, advise.restype = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int), ctypes.c_int
    return advise


ADVISE = _advise()


def in_large_pages(array: NDArray[np.generic]) -> None:
    """Ask for an array to lie in large pages, as far as it is filled from here on.

    Small ones are more than the processor can remember the places of. Where the system won't, all goes on without.
    """
    first = -(-array.ctypes.data // mmap.PAGESIZE) * mmap.PAGESIZE
    last = (array.ctypes.data + array.nbytes) // mmap.PAGESIZE * mmap.PAGESIZE
    if ADVISE is not None and last > first:
        ADVISE(first, last - first, mmap.MADV_HUGEPAGE)


def _prefetch(_typing: object, _address: types.Type) -> object:
    def generate(context: Any, builder: ir.IRBuilder, _signature: object, arguments: list[ir.Value]) -> object:
        pointer = builder.inttoptr(arguments[0], _BYTE.as_pointer())
        kind = ir.FunctionType(ir.VoidType(), [_BYTE.as_pointer(), _INT, _INT, _INT])
        instruction = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")  # type: ignore[no-untyped-call]
        builder.call(instruction, [pointer, _INT(1), _INT(3), _INT(1)])  # to write; into every cache; it is data
        return context.get_dummy_value()

    return types.void(types.intp), generate


prefetch = cast(Callable[[int], None], intrinsic(_prefetch))
"""For compiled code: have the processor bring the line of memory at an address, to write there soon. Nothing waits."""
