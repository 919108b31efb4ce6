"""Silent devices are told, once, and no clock and no outage of a site makes a false one."""

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest

from sensord.clock import MICROSECONDS
from sensord.detection.alerts import Alert, Kind, Reason, Severity, Status
from sensord.detection.fleet import Fleet
from sensord.detection.intake import WITNESS
from sensord.readings import Readings
from tests.builders import START, bundle, fleet, readings

Row = tuple[str, float]


def silent(one: Fleet) -> list[Alert]:
    return [change.alert for change in one.changes() if change.alert.kind is Kind.SILENT]


def watch(**limits: float) -> Fleet:
    return fleet(bundle(), **{"max_gap_s": 10.0, "silent_periods": 20.0, **limits})


def stream(rows: Sequence[Row]) -> Readings:
    return readings(np.zeros((len(rows), 2)), [name for name, _ in rows], seconds=[second for _, second in rows])


def steady(name: str, start: int, stop: int, shift: float = 0) -> list[Row]:
    return [(name, second + shift) for second in range(start, stop)]


def mixed(*parts: list[Row]) -> list[Row]:
    """In order of when each row was sent: a shifted clock is sent at its own second."""
    return sorted((row for part in parts for row in part), key=lambda row: row[1])


def test_a_device_that_says_nothing_while_others_go_on_is_silent() -> None:
    one = watch()
    one.observe(stream(mixed(steady("pump-1", 0, 100), steady("pump-2", 0, 50))))
    [alert] = silent(one)
    assert (alert.device_id, alert.status, alert.severity) == ("pump-2", Status.OPEN, Severity.WARNING)
    assert alert.opened_at == START + 49 * MICROSECONDS
    assert (alert.threshold, alert.readings, alert.top_channels) == (20.0, 0, ())


def test_it_closes_when_the_device_speaks_again() -> None:
    one = watch()
    one.observe(stream(mixed(steady("pump-1", 0, 100), steady("pump-2", 0, 50), steady("pump-2", 90, 100))))
    [alert] = silent(one)
    assert (alert.status, alert.close_reason) == (Status.CLOSED, Reason.RETURNED)
    assert alert.closed_at == START + 90 * MICROSECONDS


def test_a_pause_shorter_than_that_is_no_news() -> None:
    one = watch()
    one.observe(stream(mixed(steady("pump-1", 0, 100), steady("pump-2", 0, 50), steady("pump-2", 69, 100))))
    assert silent(one) == []


def test_silence_that_lasts_is_given_up_once() -> None:
    one = watch(max_episode_s=100)
    one.observe(stream(mixed(steady("pump-1", 0, 400), steady("pump-2", 0, 50))))
    [alert] = silent(one)
    assert (alert.status, alert.close_reason) == (Status.CLOSED, Reason.NEW_NORMAL)


def test_when_a_whole_site_comes_back_nobody_is_called_silent() -> None:
    names = [f"pump-{n}" for n in range(30)]
    before = [steady(name, 0, 50) for name in names]
    after = [steady(name, 4_000 + n // 3, 4_100) for n, name in enumerate(names)]  # one after another
    one = watch()
    one.observe(stream(mixed(*before, *after)))
    assert silent(one) == []


def test_a_clock_that_is_ahead_silences_nobody() -> None:
    one = watch(max_future_s=60)
    rows = [
        (name, second + (50 if name == "pump-0" else 0))
        for second in range(200)
        for name in ("pump-0", "pump-1", "pump-2")
    ]
    one.observe(stream(rows))
    assert silent(one) == []


def test_a_clock_that_is_behind_is_no_silence() -> None:
    rows = [(name, second - (500 if name == "pump-2" else 0)) for second in range(200) for name in ("pump-1", "pump-2")]
    one = watch()
    one.observe(stream(rows))
    assert silent(one) == []


def test_without_a_witness_there_is_no_time() -> None:
    one = watch()
    one.observe(stream(mixed(steady("pump-1", 0, WITNESS - 1), [("pump-2", 0)])))
    assert silent(one) == []


def test_a_person_may_retire_a_silent_device() -> None:
    one = watch()
    one.observe(stream(mixed(steady("pump-1", 0, 100), steady("pump-2", 0, 50))))
    [alert] = silent(one)
    one.settle()
    assert one.accept({alert.id}) == {alert.id}
    one.observe(stream(steady("pump-1", 100, 300)))
    [closed] = silent(one)
    assert (closed.id, closed.close_reason) == (alert.id, Reason.ACCEPTED)


@pytest.mark.parametrize("seed", range(8))
def test_who_is_not_looked_at_can_not_have_fallen_silent(seed: int) -> None:
    """The watch looks through all devices only when one may be due: nothing else comes of looking each time."""
    rng = np.random.default_rng(seed)
    away = {f"pump-{n}": (rng.integers(0, 300), rng.integers(5, 150)) for n in range(12)}
    rows = mixed(
        *(
            [row for row in steady(name, int(rng.integers(0, 80)), 400) if not begin <= row[1] < begin + length]
            for name, (begin, length) in away.items()
        )
    )
    lazy, eager = (watch(max_episode_s=40.0) for _ in range(2))
    cuts = np.sort(rng.integers(0, len(rows), 60)).tolist()
    for first, last in pairwise(np.unique([0, *cuts, len(rows)]).tolist()):
        lazy.observe(stream(rows[first:last]))
        eager.observe(stream(rows[first:last]))
        eager._watch_anew()
    assert silent(lazy) == silent(eager)
    reasons = Counter(alert.close_reason for alert in silent(lazy))
    assert reasons[Reason.RETURNED]
    assert reasons[Reason.NEW_NORMAL]
