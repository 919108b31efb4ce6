"""Alerts held against the truth: what is found, what is false."""

import math

import pytest

from sensord.trainer.events import EventRates, Matching, Span, delays, match

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


def test_event_rates_are_shares_of_alerts_and_of_faults() -> None:
    rates = EventRates(faults=4, found=3, alerts=6, false=2)
    assert (rates.precision, rates.recall) == (4 / 6, 3 / 4)
    assert rates.f1 == pytest.approx(2 * (2 / 3) * (3 / 4) / (2 / 3 + 3 / 4))


def test_event_rates_without_faults_or_alerts_are_unknown_and_finding_nothing_is_0() -> None:
    assert math.isnan(EventRates(0, 0, 2, 2).recall)
    assert math.isnan(EventRates(0, 0, 2, 2).f1)
    assert math.isnan(EventRates(2, 0, 0, 0).precision)
    assert EventRates(2, 0, 0, 0).f1 == 0


def test_delay_is_to_the_first_alert_and_0_where_that_was_open_already() -> None:
    faults = [FAULT, Span("pump-1", 300, 400), Span("pump-1", 900, 999)]
    alerts = [alert(150, 350), alert(120, 130)]
    assert delays(faults, alerts, match(faults, alerts, grace_us=0)) == [20, 0]
