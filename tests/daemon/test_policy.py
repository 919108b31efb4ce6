"""When the loop acts: pacing on a clock that is passed in."""

import pytest

from sensord.daemon.policy import SAMPLE, Backoff, Quality, Standstill, Timer
from sensord.readings import Partition


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


def test_more_than_half_bad_of_a_thousand_spoil_the_stream() -> None:
    quality = Quality()
    assert not quality.spoilt_by(bad=0, of=SAMPLE // 2)
    assert not quality.spoilt_by(bad=SAMPLE // 2, of=SAMPLE // 2), "half is not more than half"
    assert quality.spoilt_by(bad=1, of=1)


def test_a_few_readings_say_nothing_of_a_stream() -> None:
    assert not Quality().spoilt_by(bad=SAMPLE - 1, of=SAMPLE - 1)


def test_a_good_night_does_not_excuse_a_bad_morning() -> None:
    quality = Quality()
    for _ in range(100):
        assert not quality.spoilt_by(bad=0, of=SAMPLE)
    assert quality.spoilt_by(bad=SAMPLE, of=SAMPLE)


HERE = Partition("readings", 0)


def test_a_partition_that_is_read_no_more_while_its_log_grows_stands_still() -> None:
    watch = Standstill(limit_s=120)
    assert [watch.look(HERE, 100, 200 + now, now) for now in range(0, 151, 30)] == [False] * 4 + [True, True]


def test_an_idle_partition_and_a_busy_one_do_not_stand_still() -> None:
    watch = Standstill(limit_s=120)
    assert not any(watch.look(HERE, 100, 100, now) for now in range(0, 1_000, 30))
    assert not any(watch.look(HERE, 100 + now, 10_000, now) for now in range(0, 1_000, 30))


def test_nothing_new_behind_a_transaction_is_no_standstill() -> None:
    watch = Standstill(limit_s=120)
    assert not any(watch.look(HERE, 100, 101, now) for now in range(0, 1_000, 30))


def test_time_in_which_nobody_could_read_does_not_count() -> None:
    watch = Standstill(limit_s=120)
    watch.look(HERE, 100, 200, 0)
    watch.forget()
    assert not watch.look(HERE, 100, 300, 500)
