"""Arrays in files are arrays like any other."""

import errno
import os
import tempfile
from pathlib import Path

import numpy as np
import pytest

from sensord import spill
from sensord.errors import SpillFull

MANY = spill.SMALL // 4 + 1  # float32: more than is kept in memory


@pytest.mark.parametrize("length", [0, 3, MANY])
def test_rows_can_be_written_and_keep_what_was_written(length: int) -> None:
    first, rest = spill.rows([5, length], (2,), np.float32)
    assert (first.shape, rest.shape) == ((5, 2), (length, 2))
    first[:], rest[:] = 1, 2
    assert (first == 1).all()
    assert (rest == 2).all()


@pytest.mark.parametrize("pieces", [[], [0], [3, 4], [MANY, 5, MANY]])
def test_what_is_joined_comes_in_order_and_can_be_sorted_in_place(pieces: list[int]) -> None:
    arrays = [np.full(length, -number, np.float32) for number, length in enumerate(pieces)]
    whole = spill.joined(iter(arrays), np.float32)
    np.testing.assert_array_equal(whole, np.concatenate([*arrays, np.empty(0, np.float32)]))
    whole.sort()
    assert (np.diff(whole) >= 0).all()


def test_large_arrays_take_no_anonymous_memory_and_leave_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = anonymous_kb()
    large = spill.empty((16 << 20,), np.float32)
    large[:] = 1
    assert anonymous_kb() - before < 16 << 10  # of 64 MiB
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_named_with_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(SpillFull, match=rf"{tmp_path}: no room for .* set TMPDIR"):
        spill.empty((MANY,), np.float32)


def anonymous_kb() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon:"))
