"""When the loop acts: pacing on a clock that is passed in."""

import pytest

from sensord.daemon.policy import Backoff, Timer


def test_a_timer_is_due_at_once_and_then_an_interval_after_each_reset() -> None:
    timer = Timer(interval_s=30)
    assert timer.due(now=-1e9)
    timer.reset(now=100)
    assert not timer.due(now=129.9)
    assert timer.due(now=130)
    assert timer.due(now=131), "it stays due until somebody acts"


def test_a_timer_that_acted_late_owes_nothing() -> None:
    timer = Timer(interval_s=1)
    timer.reset(now=0)
    timer.reset(now=500)
    assert not timer.due(now=500.9)


def test_retries_wait_twice_as_long_each_time_up_to_a_limit() -> None:
    backoff = Backoff(first_s=0.25, most_s=5)
    assert [backoff.fail(now=0) for _ in range(7)] == [0.25, 0.5, 1, 2, 4, 5, 5]


def test_a_retry_is_due_when_its_wait_is_over() -> None:
    backoff = Backoff(first_s=2, most_s=5)
    assert backoff.due(now=0)
    backoff.fail(now=10)
    assert not backoff.due(now=11.9)
    assert backoff.due(now=12)


@pytest.mark.parametrize("failures", [1, 10])
def test_success_forgets_the_failures(failures: int) -> None:
    backoff = Backoff(first_s=0.25, most_s=5)
    for _ in range(failures):
        backoff.fail(now=0)
    backoff.succeed()
    assert backoff.due(now=0)
    assert backoff.fail(now=0) == 0.25
