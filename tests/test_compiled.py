"""Compiled code is made once, kept where nobody else may write, and never made anew in the middle of work."""

import os
from pathlib import Path

import numpy as np
import pytest
from llvmlite import binding

from sensord import compiled
from sensord.detection import intake
from sensord.model.bundle import Packed, unpack
from sensord.readings import Readings
from tests.builders import fleet, packed, readings


def test_what_is_compiled_is_kept_where_only_its_owner_may_write(tmp_path: Path) -> None:
    folder = compiled._cache_folder((tmp_path / "kept",))
    assert folder is not None
    assert folder.parent == tmp_path / "kept"
    assert folder.stat().st_mode & 0o077 == 0


def test_what_others_could_have_written_is_not_run(tmp_path: Path) -> None:
    folder = compiled._cache_folder((tmp_path / "kept",))
    assert folder is not None
    folder.chmod(0o777)
    assert compiled._cache_folder((tmp_path / "kept",)) is None


def test_a_changed_source_is_compiled_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    house = tmp_path / "house"
    for room in compiled.ROOMS:
        (house / room).mkdir(parents=True, exist_ok=True)
    source = house / "detection" / "episodes.py"
    monkeypatch.setattr(compiled, "HOUSE", house)
    source.write_text("OPEN = 2\n")
    before = compiled._cache_folder((tmp_path,))
    assert compiled._cache_folder((tmp_path,)) == before
    source.write_text("OPEN = 3\n")
    assert compiled._cache_folder((tmp_path,)) != before


def test_the_next_place_is_taken_where_the_first_cannot_be_written(tmp_path: Path) -> None:
    blocked = tmp_path / "a file"
    blocked.write_text("")
    taken = compiled._cache_folder((blocked, tmp_path / "home"))
    assert taken is not None
    assert taken.parent == tmp_path / "home"
    assert compiled._cache_folder((blocked,)) is None


def test_what_was_made_before_and_cannot_be_added_to_is_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in an image whose root is read-only: numba takes machine code from nowhere that it can't write to."""
    image, home = tmp_path / "image", tmp_path / "home"
    made = compiled._cache_folder((image,))
    assert made is not None
    (made / "take.nbc").write_bytes(b"code")
    made.chmod(0o755)
    monkeypatch.setattr(os, "access", lambda path, mode: image not in Path(path).parents)
    taken = compiled._cache_folder((image, home))
    assert taken is not None
    assert (taken.parent, (taken / "take.nbc").read_bytes()) == (home, b"code")
    assert [each.name for each in home.iterdir()] == [taken.name], "nothing is left of the copying"
    (taken / "take.nbc").write_bytes(b"newer")
    assert compiled._cache_folder((image, home)) == taken
    assert (taken / "take.nbc").read_bytes() == b"newer"


def test_what_others_could_have_written_is_not_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image, home = tmp_path / "image", tmp_path / "home"
    made = compiled._cache_folder((image,))
    assert made is not None
    (made / "take.nbc").write_bytes(b"code")
    made.chmod(0o777)
    monkeypatch.setattr(os, "access", lambda path, mode: image not in Path(path).parents)
    taken = compiled._cache_folder((image, home))
    assert taken is not None
    assert list(taken.iterdir()) == []


def test_code_is_for_a_level_of_processors_where_this_one_is_of_it() -> None:
    features = binding.get_host_cpu_features()
    if compiled._is_of_level(features) and "NUMBA_CPU_NAME" not in os.environ:
        [_, name, more] = intake.take.targetctx.codegen().magic_tuple()  # type: ignore[attr-defined]
        assert (name, more) == (compiled.LEVEL, "")
    assert not compiled._is_of_level(dict(features) | {"avx2": False})
    assert not compiled._is_of_level({"neon": True})


def test_arrays_of_any_make_run_the_same_code() -> None:
    """What comes from a database, a bundle or a slice is protected or in pieces; nothing may wait for the compiler."""
    one = packed()
    loaded = unpack(Packed(one.bundle_id, bytes(one.manifest), bytes(one.weights), one.sha256))
    values = np.zeros((4, 2), np.float32)
    fleet().observe(readings(values))
    known = len(intake.take.signatures)  # type: ignore[attr-defined]
    whole = readings(np.zeros((8, 2), np.float32), first=9)
    protected = Readings(
        whole.partition, whole.device_ids[::2], whole.at[::2], whole.values[::2], whole.offsets[::2], whole.offsets[::2]
    )
    for column in (protected.at, protected.values, protected.offsets):
        column.flags.writeable = False
    fleet(loaded).observe(protected)
    assert len(intake.take.signatures) == known  # type: ignore[attr-defined]


def test_nothing_is_kept_where_nothing_can_be_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert compiled._cache_folder((tmp_path,)) is None
