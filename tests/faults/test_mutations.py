"""Each mutation still finds the guard that it takes out."""

from dataclasses import replace

import pytest

from tests.faults.mutations import MUTATIONS, NotApplicable, check


@pytest.mark.parametrize("name", MUTATIONS)
def test_its_guard_is_still_there(name: str) -> None:
    check(name)


def test_one_whose_guard_is_gone_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    (where, _, new), *_ = MUTATIONS["seek"].edits
    monkeypatch.setitem(MUTATIONS, "seek", replace(MUTATIONS["seek"], edits=((where, "no such text", new),)))
    with pytest.raises(NotApplicable, match="'no such text' 0 times"):
        check("seek")
