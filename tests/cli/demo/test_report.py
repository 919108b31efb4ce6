"""The demo's report: every verdict is shown, and the page needs nothing but itself."""

import re
from collections.abc import Sequence
from datetime import timedelta

import msgspec
import numpy as np
import pytest

from sensord.cli.demo.findings import Findings, Track
from sensord.cli.demo.report import page
from sensord.cli.demo.truth import PlantedFault, Truth
from sensord.clock import MICROSECONDS
from sensord.detection.alerts import Alert
from sensord.store.alerts import AlertRow
from sensord.store.schema import ALERT_VERSION, instant
from sensord.trainer.offline import Recorded, replay
from tests.builders import START, bundle

BUMP = slice(200, 260)  # readings, a second apart, at which a device departs from what is expected
HOSTILE = "pump-<3>"


def recorded(device_id: str, departs: bool) -> Recorded:
    values = np.zeros((400, 2), np.float32)
    if departs:
        values[BUMP] = 9
    return Recorded(device_id, START + np.arange(400) * MICROSECONDS, values)


def fault(device_id: str) -> PlantedFault:
    first, last = (instant(START + row * MICROSECONDS) for row in (BUMP.start, BUMP.stop - 1))
    return PlantedFault(device_id, "bearing_wear", first, last, ("heat",))


def row(alert: Alert) -> AlertRow:
    """As the table would give it back."""
    fields = {name: getattr(alert, name) for name in Alert.__dataclass_fields__}
    times = {name: fields[name] and instant(fields[name]) for name in ("opened_at", "last_seen_at", "closed_at")}
    absent = dict.fromkeys(AlertRow.__dataclass_fields__)
    now = instant(START)
    stamps = {"detected_at": now, "updated_at": now, "schema_version": ALERT_VERSION}
    return msgspec.convert(absent | fields | times | stamps, AlertRow)


def findings(departing: Sequence[str], faulty: Sequence[str]) -> Findings:
    """Devices of which some depart from what is expected and some are faulty."""
    model = bundle()
    devices = [recorded(name, name in departing) for name in dict.fromkeys((*departing, *faulty, "pump-9"))]
    replayed = replay(model, devices, 300.0)
    tracks = {each.device_id: Track(each, seen) for each, seen in zip(devices, replayed.observations, strict=True)}
    faults = tuple(map(fault, faulty))
    truth = Truth(len(devices), 400 * len(devices), instant(START), {"heat": "K", "noise": "K"}, faults)
    return Findings(truth, tuple(map(row, replayed.alerts)), model, tracks, 400 * len(devices))


@pytest.fixture(scope="module")
def all_verdicts() -> Findings:
    """pump-1 is found, pump-2 alerts without a fault, pump-<3> is missed, pump-9 is calm."""
    return findings(departing=["pump-1", "pump-2"], faulty=["pump-1", HOSTILE])


@pytest.fixture(scope="module")
def html(all_verdicts: Findings) -> str:
    return page(all_verdicts, ["A fact."])


def test_last_line_counts_faults_false_alerts_and_readings(all_verdicts: Findings) -> None:
    assert all_verdicts.line == "demo: found 1 of 2 faults, 1 false alerts, 1600 readings"


def test_delay_is_from_the_faults_beginning_to_the_alerts(all_verdicts: Findings) -> None:
    found, missed = all_verdicts.truth.faults
    assert all_verdicts.delay(found) == all_verdicts.alerts[0].opened_at - found.start_at < timedelta(seconds=5)
    assert all_verdicts.delay(missed) is None


def test_every_device_with_a_fault_or_an_alert_has_a_card_with_a_picture(html: str) -> None:
    cards = html.split('<section class="card" id="')[1:]
    assert [card.split('"')[0] for card in cards] == ["pump-1", "pump-2", "pump-&lt;3&gt;"]
    assert all(card.count("<svg") == 1 for card in cards)


def test_found_missed_and_false_are_named(html: str) -> None:
    assert "bearing wear: found" in html
    assert "bearing wear: missed" in html
    assert "though nothing was wrong" in html


def test_a_fleet_without_faults_and_alerts_has_a_page() -> None:
    assert "0 of 0" in page(findings([], []), [])


def test_device_names_are_escaped(html: str) -> None:
    assert HOSTILE not in html


def test_page_asks_for_nothing_from_elsewhere(html: str) -> None:
    assert not re.findall(r'\b(?:src|href)="(?!#)|url\((?!#)|@import|<script|<link', html)


def test_ids_are_unique_and_references_lead_to_them(html: str) -> None:
    ids = re.findall(r'\bid="([^"]+)"', html)
    referenced = re.findall(r'(?:href="#|url\(#)([^")]+)', html)
    assert len(ids) == len(set(ids))
    assert referenced
    assert set(referenced) <= set(ids)


def test_pictures_take_their_colours_from_the_page(html: str) -> None:
    pictures = "".join(re.findall(r"<svg.*?</svg>", html, re.DOTALL))
    assert set(re.findall(r"#[0-9a-f]{6}\b", pictures)) == set()
