import mmap
import platform
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from sensord import memory
from sensord.compiled import compiled
from sensord.detection.devices import Devices
from sensord.memory import in_large_pages, prefetch


def flags(address: int) -> set[str]:
    """What the system knows about the memory at an address."""
    inside = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if line[0].islower() or line[0].isdigit():
            first, last = (int(end, 16) for end in line.split()[0].split("-"))
            inside = first <= address < last
        elif inside and line.startswith("VmFlags"):
            return set(line.split()[1:])
    raise AssertionError(f"nothing lies at {address:x}")


@pytest.mark.skipif(not hasattr(mmap, "MADV_HUGEPAGE"), reason="this system has no large pages")
def test_devices_lie_in_large_pages_however_they_grew() -> None:
    devices = Devices(channels=8, state_size=64)
    devices.find([f"pump-{number}" for number in range(20_000)])
    middle = devices.state.lines.first + 10_000 * devices.state.lines.row
    assert "hg" in flags(middle)


def test_pages_that_an_array_shares_with_others_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int, int]] = []
    monkeypatch.setattr(memory, "ADVISE", lambda *what: asked.append(what))
    in_large_pages(np.zeros(0, np.uint8))
    in_large_pages(np.zeros(10, np.uint8))
    assert asked == []
    whole = np.zeros(4 * mmap.PAGESIZE, np.uint8)
    in_large_pages(whole[1:])
    [(first, length, _)] = asked
    assert first % mmap.PAGESIZE == length % mmap.PAGESIZE == 0
    assert whole[1:].ctypes.data <= first < first + length <= whole.ctypes.data + len(whole)


def test_a_device_s_lines_are_where_its_columns_are() -> None:
    devices = Devices(channels=3, state_size=10)
    devices.find(["pump-1", "pump-2"])
    lines, second = devices.state.lines, 1
    row = lines.first + second * lines.row
    columns: list[NDArray[Any]] = [
        devices.ring_at, devices.ring_observed, devices.ring_expected, devices.ring_ratio,
    ]  # fmt: skip
    for (begin, size), column in zip(lines.ring, columns, strict=True):
        assert row + begin + 5 * size == column[second, 5:].ctypes.data
        assert begin >= lines.always
    assert row <= devices.last_at[second:].ctypes.data < row + lines.always


@pytest.mark.skipif(platform.machine() not in {"x86_64", "aarch64"}, reason="another processor's instruction")
def test_memory_is_asked_for_in_time() -> None:
    @compiled
    def touch(first: int, lines: int) -> None:
        for line in range(lines):
            prefetch(first + 64 * line)

    array = np.zeros(1_000, np.uint8)
    touch(array.ctypes.data, 10)
    [code] = touch.inspect_asm().values()  # type: ignore[attr-defined]
    assert "prefetch" in code or "prfm" in code
