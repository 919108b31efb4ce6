"""Whatever bytes come, readers of foreign bytes read them or say why not, by a named error and in flat memory.

A few seconds each; `scripts/fuzz` runs as long as one likes.
"""

import pytest

from tests.fuzz.running import run
from tests.fuzz.targets import TARGETS, Target

SECONDS = 4.0
GROWTH_MB = 32.0


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_only_named_errors_come_out_and_memory_stays_flat(target: Target) -> None:
    outcome = run(target, 200_000, seconds=SECONDS)
    assert outcome.unnamed == []
    assert outcome.grown_mb < GROWTH_MB, outcome
    assert outcome.inputs >= 1_000, outcome
    assert outcome.errors["read"] > 0, "nothing gets through any more: the inputs are too bad to find anything"


def test_what_no_target_may_raise_is_reported_with_its_seed() -> None:
    def fails(_: object) -> None:
        raise IndexError("found")

    outcome = run(Target("broken", fails, ()), 5)
    assert outcome.unnamed[0] == "0:broken:0 input 0: IndexError: found"


def test_memory_that_grows_is_noticed() -> None:
    kept: list[bytearray] = []
    outcome = run(Target("leaking", lambda _: kept.append(bytearray(8_000)), ()), 20_000)
    assert outcome.grown_mb > GROWTH_MB
