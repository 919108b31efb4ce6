"""The page of differences: both lists, pictures of the strongest where there are many, and nothing but itself."""

from dataclasses import replace
from uuid import UUID

import pytest

from sensord.cli.differences.comparison import Comparison, Side, compared
from sensord.cli.differences.page import page
from sensord.detection.alerts import Alert, Severity, Status
from tests.cli.rows import NOON, alert

SECOND = 1_000_000
HOSTILE = "pump-<3>"


def one(number: int, model: str, device: str = "pump-1", peak: float = 4.0) -> Alert:
    """Ten seconds, `number` minutes from noon on."""
    at = NOON + number * 60 * SECOND
    name = UUID(int=number * 2 + (model == "b"))
    told = alert(name, device, Status.CLOSED, Severity.WARNING, at)
    return replace(told, model_id=model, run="replay", closed_at=at + 10 * SECOND, score_peak=peak)


def comparison(first: list[Alert], second: list[Alert] | None) -> Comparison:
    sides = [Side(name, "replay", tuple(some), 2.0) for name, some in (("a", first), ("b", second or []))]
    return compared("pumps", sides[0], None if second is None else sides[1], 1.0, "20 readings of 2 devices")


def cards(html: str) -> list[str]:
    return html.split("<section")[1:]


def test_what_is_outdated_and_what_is_new_stand_side_by_side() -> None:
    html = page(comparison([one(0, "a"), one(5, "a")], [one(0, "b"), one(9, "b", HOSTILE)]))
    assert "outdated: 1" in html
    assert "new: 1" in html
    assert len(cards(html)) == html.count("<svg") == html.count('href="#alert-') == 2
    assert "pump-&lt;3&gt;" in html
    assert HOSTILE not in html
    assert "http" not in html.replace("http://www.w3.org", "")


def test_each_bundle_has_a_row_of_its_alerts_in_a_picture() -> None:
    [card] = cards(page(comparison([one(0, "a")], [])))
    assert card.count(">first<") == card.count(">second<") == 1
    assert "var(--fault)" in card
    assert "var(--alert)" not in card


def test_of_many_alerts_the_strongest_of_each_change_have_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sensord.cli.differences.page.PICTURES", 3)
    outdated = [one(0, "a")]
    new = [one(10 + number, "b", peak=4.0 + number) for number in range(6)]
    html = page(comparison(outdated, new))
    assert "Evidence of 3 of them" in html
    assert [f'id="alert-{each.id}"' in html for each in [*outdated, *new]] == [True, *[False] * 4, True, True]
    assert html.count('href="#alert-') == 3


def test_a_single_bundle_shows_all_its_alerts() -> None:
    html = page(comparison([one(0, "a"), one(5, "a")], None))
    assert "a: 2 alerts on 20 readings of 2 devices" in html
    assert len(cards(html)) == 2
    assert "outdated" not in html.split("</p>", 1)[1]
