"""Promises of the comparison: alerts are the same one to one, the longest together first, whatever the order."""

from dataclasses import replace
from uuid import UUID, uuid5

from hypothesis import given
from hypothesis import strategies as st

from sensord.detection.alerts import Alert, Kind, Severity, Status
from sensord.detection.chronicle import ALERT_NAMESPACE
from sensord.detection.differences import Differences, compare, end_of, slack_us
from tests.cli.rows import alert as any_alert

SECOND = 1_000_000


def alert(side: str, first: int, last: int | None, device: str = "a", kind: Kind = Kind.ANOMALY) -> Alert:
    """From one second to another, both whole; open, and last seen a second after its opening, without a last."""
    name = uuid5(ALERT_NAMESPACE, f"{side} {first} {last} {device} {kind}")
    status = Status.OPEN if last is None else Status.CLOSED
    closed_at = None if last is None else last * SECOND
    return replace(any_alert(name, device, status, Severity.WARNING, first * SECOND), closed_at=closed_at, kind=kind)


def spans(differences: Differences) -> tuple[list[tuple[int, int]], list[int], list[int]]:
    """Seconds of opening: of the pairs, the outdated, the new."""
    same = [(one.opened_at // SECOND, other.opened_at // SECOND) for one, other in differences.same]
    outdated, new = ([each.opened_at // SECOND for each in some] for some in (differences.outdated, differences.new))
    return same, outdated, new


def test_alerts_that_overlap_are_the_same_and_others_are_not() -> None:
    first = [alert("first", 0, 10), alert("first", 100, 110)]
    second = [alert("second", 8, 20), alert("second", 200, 210)]
    assert spans(compare(first, second)) == ([(0, 8)], [100], [200])


def test_devices_have_nothing_to_do_with_each_other() -> None:
    assert spans(compare([alert("first", 0, 10)], [alert("second", 0, 10, device="b")])) == ([], [0], [0])


def test_a_silence_is_no_other_alert() -> None:
    silent, other = alert("first", 0, 10, kind=Kind.SILENT), alert("second", 0, 10, kind=Kind.SPIKE)
    assert spans(compare([silent], [other])) == ([], [0], [0])
    assert spans(compare([silent], [alert("second", 5, 10, kind=Kind.SILENT)])) == ([(0, 5)], [], [])


def test_what_is_called_by_another_kind_is_still_the_same() -> None:
    assert spans(compare([alert("first", 0, 9, kind=Kind.SPIKE)], [alert("second", 0, 9)])) == ([(0, 0)], [], [])


def test_the_longest_together_go_together_and_each_once() -> None:
    first = [alert("first", 0, 30), alert("first", 32, 40)]
    second = [alert("second", 25, 60), alert("second", 2, 20)]
    assert spans(compare(first, second)) == ([(0, 2), (32, 25)], [], [])


def test_a_small_gap_is_forgiven_a_larger_one_is_not() -> None:
    first, second = [alert("first", 0, 10)], [alert("second", 15, 20)]
    assert spans(compare(first, second, slack_us(1.0))) == ([(0, 15)], [], [])
    assert spans(compare(first, second, slack_us(0.9))) == ([], [0], [15])


def test_an_open_alert_lasts_until_it_was_last_seen() -> None:
    one = alert("first", 0, None)
    assert end_of(one) == SECOND
    assert spans(compare([one], [alert("second", 1, 5)])) == ([(0, 1)], [], [])
    assert spans(compare([one], [alert("second", 2, 5)])) == ([], [0], [2])


Spans = list[tuple[int, int, str, Kind]]
SOME = st.lists(
    st.tuples(
        st.integers(0, 60), st.integers(0, 20), st.sampled_from("ab"), st.sampled_from([Kind.ANOMALY, Kind.SILENT])
    ),
    max_size=12,
    unique=True,
)


def made(side: str, some: Spans) -> list[Alert]:
    return [alert(side, first, first + length, device, kind) for first, length, device, kind in some]


@given(SOME, SOME, st.integers(0, 5), st.randoms())
def test_every_alert_is_told_once_whatever_the_order(ours: Spans, theirs: Spans, slack: int, random: object) -> None:
    first, second = made("first", ours), made("second", theirs)
    found = compare(first, second, slack * SECOND)

    def ids(some: object) -> list[UUID]:
        return sorted(each.id for each in some)  # type: ignore[attr-defined]

    assert ids([*(one for one, _ in found.same), *found.outdated]) == ids(first)
    assert ids([*(other for _, other in found.same), *found.new]) == ids(second)
    for one, other in found.same:
        assert one.device_id == other.device_id
        assert min(end_of(one), end_of(other)) - max(one.opened_at, other.opened_at) >= -slack * SECOND
    random.shuffle(first)  # type: ignore[attr-defined]
    random.shuffle(second)  # type: ignore[attr-defined]
    assert compare(first, second, slack * SECOND) == found


@given(SOME, SOME, st.integers(0, 5))
def test_the_other_way_round_is_the_mirror_image(ours: Spans, theirs: Spans, slack: int) -> None:
    first, second = made("first", ours), made("second", theirs)
    found, back = (compare(*both, slack * SECOND) for both in ((first, second), (second, first)))
    assert (back.outdated, back.new) == (found.new, found.outdated)
    assert {(other, one) for one, other in back.same} == set(found.same)


@given(SOME, SOME, st.integers(0, 5))
def test_no_two_that_are_left_could_have_been_the_same(ours: Spans, theirs: Spans, slack: int) -> None:
    found = compare(made("first", ours), made("second", theirs), slack * SECOND)
    assert not compare(found.outdated, found.new, slack * SECOND).same


@given(SOME)
def test_a_bundle_differs_in_nothing_from_itself(some: Spans) -> None:
    found = compare(made("first", some), made("second", some))
    assert not found.outdated
    assert not found.new
