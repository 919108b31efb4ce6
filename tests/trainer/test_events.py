"""Alerts held against the truth: what is found, what is false."""

from sensord.trainer.events import Matching, Span, match

FAULT = Span("pump-1", 100, 200)


def alert(start_at: int, end_at: int, device_id: str = "pump-1") -> Span:
    return Span(device_id, start_at, end_at)


def test_an_alert_within_a_fault_finds_it() -> None:
    assert match([FAULT], [alert(120, 180)], grace_us=0) == Matching(((0,),), ())


def test_both_ends_of_a_fault_belong_to_it() -> None:
    assert match([FAULT], [alert(0, 100), alert(200, 300)], grace_us=0).alerts_of == ((0, 1),)


def test_an_alert_that_ends_before_the_fault_is_false() -> None:
    assert match([FAULT], [alert(0, 99)], grace_us=50) == Matching(((),), (0,))


def test_an_alert_may_open_within_the_grace_after_the_fault_and_not_later() -> None:
    assert match([FAULT], [alert(230, 240), alert(231, 240)], grace_us=30) == Matching(((0,),), (1,))


def test_another_devices_alert_is_false() -> None:
    assert match([FAULT], [alert(120, 180, "pump-2")], grace_us=0) == Matching(((),), (0,))


def test_several_alerts_find_a_fault_once_and_are_told_by_opening() -> None:
    matching = match([FAULT], [alert(150, 160), alert(110, 120)], grace_us=0)
    assert matching.alerts_of == ((1, 0),)
    assert matching.found == 1


def test_one_alert_over_two_faults_finds_both() -> None:
    matching = match([FAULT, Span("pump-1", 300, 400)], [alert(150, 350)], grace_us=0)
    assert matching.found == 2
    assert matching.false == ()


def test_nothing_matched_with_nothing_finds_nothing() -> None:
    assert match([], [], grace_us=0) == Matching((), ())
