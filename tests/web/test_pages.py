"""Every page says what the store says, needs nothing from elsewhere, and takes nothing that was sent for its own."""

import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import quote

import pytest
from sqlalchemy import text
from starlette.testclient import TestClient

from sensord.web.app import SECURITY
from sensord.web.pages import HERE, device_url
from tests.cli.rows import HOSTILE
from tests.web.site import SCRIPT, Stage

VENDORED = {  # uPlot 1.6.32, as npm's package has them
    "uplot.js": "19c8d4c6ad88929a79f4ae49d6f7161566dfd0ba3d15cc495e974f787eb78f1f",
    "uplot.css": "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04",
    "uplot_license.txt": "8f989229699b4fe2f1a0432d0e9edc338a8a911e250e2d1b01ecd770a5f5b1bd",
}
PAGES = (
    "/", "/alerts", "/alerts/{drift}", "/alerts/{over}", "/alerts/{hostile}", "/devices/pumps/pump-1",
    "/devices/pumps/pump-3", device_url("pumps", SCRIPT), device_url("pumps", HOSTILE), "/models", "/status",
    "/login", "/nowhere", "/alerts/zzz", "/devices/pumps/no-such-pump", "/devices/fans/pump-1", "/models/pumps/nothing",
)  # fmt: skip


class Page(HTMLParser):
    """What a browser would find."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data + " "


def path_of(path: str, stage: Stage) -> str:
    return path.format(drift=stage.drift, over=stage.over, hostile=stage.hostile)


@pytest.mark.parametrize("path", PAGES)
def test_a_page_loads_nothing_from_elsewhere_and_runs_nothing_of_what_was_sent(
    stage: Stage, ann: TestClient, path: str
) -> None:
    answer = ann.get(path_of(path, stage))
    assert {name: answer.headers[name] for name in SECURITY} == SECURITY
    assert "unsafe" not in answer.headers["content-security-policy"]
    page = Page(answer.text)
    for tag, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on") or name == "style"], (tag, attributes)
        for name in ("src", "href", "action", "formaction"):
            assert re.match(r"[/#?]|data:,$|$", attributes.get(name) or "/"), (tag, attributes)
        if tag == "script":
            assert attributes.get("src") or attributes.get("type") == "application/json"
    assert "<script>alert" not in answer.text
    assert "\u202e" not in answer.text
    assert "\x1b" not in answer.text


@pytest.mark.parametrize("path", PAGES)
def test_whoever_hears_a_page_finds_his_way(stage: Stage, ann: TestClient, path: str) -> None:
    page = Page(ann.get(path_of(path, stage)).text)
    tags = [tag for tag, _ in page.tags]
    assert ("html", {"lang": "en"}) in page.tags
    assert [tags.count(one) for one in ("main", "h1", "nav", "title")] == [1, 1, 1, 1]
    labelled = {attributes.get("for") for tag, attributes in page.tags if tag == "label"}
    inside = re.findall(r"<label[^>]*>[^<]+<(?:input|select)[^>]*name=\"(\w+)\"", ann.get(path_of(path, stage)).text)
    inside += re.findall(r"<label[^>]*><input[^>]*name=\"(\w+)\"[^>]*>[^<]+", ann.get(path_of(path, stage)).text)
    for tag, attributes in page.tags:
        if tag in ("input", "select") and attributes.get("type") != "hidden":
            assert attributes.get("id") in labelled - {None} or attributes.get("name") in inside, attributes
        if tag == "th":
            assert attributes.get("scope") == "col"
        if tag in ("meter", "nav"):
            assert attributes.get("aria-label")
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_the_fleets_page_puts_those_in_trouble_first(ann: TestClient) -> None:
    page = Page(ann.get("/").text)
    assert "1 critical 2 warning 2 ok" in page.text
    listed = [
        attributes["href"] for tag, attributes in page.tags if tag == "a" and "row" in (attributes.get("class") or "")
    ]
    assert listed[0] == device_url("pumps", SCRIPT)
    assert listed[-1] == "/devices/pumps/pump-3"
    found = Page(ann.get("/", params={"device": "pump-?"}).text).text
    assert "pump-1" in found
    assert "script" not in found
    assert "No device of this fleet is called fan-*" in Page(ann.get("/", params={"device": "fan-*"}).text).text


@pytest.mark.parametrize(
    ("asked", "devices"),
    [
        ({}, [SCRIPT, HOSTILE, "pump-1", "pump-2"]),
        ({"open": "1"}, [SCRIPT, HOSTILE, "pump-1"]),
        ({"severity": "critical"}, [SCRIPT]),
        ({"kind": "drift"}, ["pump-1"]),
        ({"device": "pump-?"}, ["pump-1", "pump-2"]),
        ({"since": "24h", "fleet": "pumps"}, [SCRIPT, HOSTILE, "pump-1"]),
        ({"fleet": "fans"}, []),
        ({"run": "replay"}, []),
        ({"severity": "none", "kind": "x", "page": "-1", "since": "never"}, [SCRIPT, HOSTILE, "pump-1", "pump-2"]),
        ({"page": "2"}, []),
    ],
)
def test_alerts_are_those_that_were_asked_for(ann: TestClient, asked: dict[str, str], devices: list[str]) -> None:
    page = Page(ann.get("/alerts", params=asked).text)
    links = [str(attributes.get("href")) for tag, attributes in page.tags if tag == "a"]
    assert [link for link in links if link.startswith("/devices/")] == [device_url("pumps", name) for name in devices]


def test_alerts_come_in_pages(stage: Stage, ann: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sensord.web.pages.AT_ONCE", 3)
    first = ann.get("/alerts", params={"fleet": "pumps"})
    assert 'rel="next" href="/alerts?fleet=pumps&amp;page=2"' in first.text
    assert 'rel="prev"' not in first.text
    second = ann.get("/alerts?fleet=pumps&page=2")
    assert second.text.count('class="row"') == 1
    assert 'rel="prev" href="/alerts?fleet=pumps&amp;page=1"' in second.text


def test_an_alert_tells_its_story_why_and_where_it_goes(stage: Stage, ann: TestClient) -> None:
    page = Page(ann.get(f"/alerts/{stage.drift}").text)
    assert "up to 1.333 times its limit, because of temperature at 90.5 °C where 71.25 was expected" in page.text
    assert (
        "heat will reach 95 about 2025-11-24 17:00:00 (in 60 min 00 s), nine in ten between 2025-11-24 16:30:00"
        in page.text
    )
    assert "sensors.pumps[0], 40 to 40" in page.text
    curves = json.loads(re.findall(r'id="curves">(.*?)</script>', ann.get(f"/alerts/{stage.drift}").text)[0])
    assert [(channel["name"], channel["limits"]) for channel in curves["channels"]] == [
        ("score", [1.0]), ("heat", [95.0]), ("load", []),
    ]  # fmt: skip
    assert len(curves["at"]) == 32
    [span] = curves["spans"]
    assert (span["until"], span["severity"]) == (None, "warning")


def test_an_alert_knows_its_neighbours(stage: Stage, ann: TestClient) -> None:
    told = Page(ann.get(f"/alerts/{stage.over}").text)
    assert "No alert before" in told.text
    assert "From 2025-11-23 14:00:00 to 2025-11-23 15:00:00 (60 min 00 s)" in told.text
    with stage.engine.begin() as connection:
        connection.execute(text("UPDATE alerts SET device_id = 'pump-2' WHERE kind = 'drift'"))
    page = ann.get(f"/alerts/{stage.over}").text
    assert f'href="/alerts/{stage.drift}">After: drift' in page
    assert f'href="/alerts/{stage.over}">Before: anomaly' in ann.get(f"/alerts/{stage.drift}").text


def test_a_device_shows_its_last_readings_as_its_state_has_them(stage: Stage, ann: TestClient) -> None:
    html = ann.get("/devices/pumps/pump-1").text
    curves = json.loads(re.findall(r'id="curves">(.*?)</script>', html)[0])
    assert [channel["name"] for channel in curves["channels"]] == ["score", "heat", "noise"]
    assert len(curves["at"]) == 32
    assert all(value is not None and value < 1 for value in curves["channels"][0]["observed"][-10:])
    assert "It never alerted" not in Page(html).text
    assert "No state of it is stored yet" in Page(ann.get("/devices/pumps/pump-3").text).text


def test_a_state_that_cannot_be_read_is_said_so(stage: Stage, ann: TestClient) -> None:
    with stage.engine.begin() as connection:
        connection.execute(text("UPDATE state_pages SET data = substr(data, 1, 4000)"))
    answer = ann.get("/devices/pumps/pump-1")
    assert answer.status_code == 200
    assert "state page 0" in Page(answer.text).text


@pytest.mark.parametrize("name", [".", "..", "a//b", "/etc", "a/b", "?x=1", "a%2Fb", SCRIPT, HOSTILE, "pümp ☃"])
def test_a_device_s_address_leads_to_it_whatever_it_is_called(stage: Stage, ann: TestClient, name: str) -> None:
    with stage.engine.begin() as connection:
        connection.execute(text("DELETE FROM devices WHERE device_id <> 'pump-3'"))
        connection.execute(text("UPDATE devices SET device_id = :name"), {"name": name})
    url = device_url("pumps", name)
    assert ann.build_request("GET", url).url.raw_path.decode().startswith("/devices/pumps/")
    assert ann.get(url).status_code == 200


def test_bundles_are_shown_with_what_the_gate_and_people_say(stage: Stage, ann: TestClient) -> None:
    with stage.engine.begin() as connection:
        bundle = connection.execute(text("SELECT bundle_id FROM bundles")).scalar_one()
        verdict = {
            "objections": "",
            "checks": [{"name": "budget", "passed": True, "told": "fine", "figures": {"a": 1.5}}],
        }
        connection.execute(text("UPDATE bundles SET verdict = :v"), {"v": json.dumps(verdict)})
        connection.execute(text("UPDATE alerts SET model_id = :b, feedback = 'real'"), {"b": bundle})
    listed = Page(ann.get("/models").text)
    assert f"{bundle} current" in listed.text
    assert "passed 4 4 0 0" in listed.text
    shown = Page(ann.get(f"/models/pumps/{quote(bundle)}").text)
    assert "budget passed fine a 1.5" in shown.text
    assert "trunk" in shown.text


def test_two_bundles_are_compared(stage: Stage, ann: TestClient) -> None:
    from sensord.store.registry import Registry
    from tests.builders import packed
    from tests.store.rows import NOW

    other = packed(seed=5)
    Registry(stage.engine).publish("pumps", other.bundle_id, other.manifest, other.weights, other.sha256, NOW, "test")
    html = ann.get(f"/models/pumps/{other.bundle_id}").text
    assert "What it says of itself, beside pumps-" in html
    assert "<option selected>pumps-" in html


def test_status_says_how_things_stand_and_that_kafka_is_away(ann: TestClient) -> None:
    assert "Kafka at nowhere: no answer" in Page(ann.get("/status").text).text


@pytest.mark.parametrize(
    ("path", "status", "says"),
    [
        ("/nowhere", 404, "no such page"),
        ("/alerts/zzz", 404, "is no alert's id"),
        ("/alerts/0123", 404, "no alert's id begins with"),
        ("/devices/pumps/none", 404, "has no device none"),
        ("/models/pumps/none", 404, "has no bundle none"),
        ("/alerts?device=%00", 400, "There is a NUL"),
        ("/devices/pumps/a%00b", 400, "There is a NUL"),
        ("/?device=" + "a*" * 4, 404, "3 stars at most"),
    ],
)
def test_what_is_not_there_is_said_by_name(ann: TestClient, path: str, status: int, says: str) -> None:
    answer = ann.get(path)
    assert answer.status_code == status
    assert says in Page(answer.text).text


def test_a_database_that_is_away_is_said_and_comes_back(stage: Stage, ann: TestClient, tmp_path: Path) -> None:
    file = tmp_path / "sensord.db"
    stage.engine.dispose()
    file.rename(tmp_path / "away")
    file.mkdir()
    answer = ann.get("/alerts")
    assert answer.status_code == 503
    assert "The database is away" in Page(answer.text).text
    assert str(tmp_path) not in answer.text
    file.rmdir()
    (tmp_path / "away").rename(file)
    assert ann.get("/alerts").status_code == 200


def test_a_fault_of_our_own_shows_nothing_of_it(stage: Stage, ann: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("canary of the inside")

    monkeypatch.setattr("sensord.web.pages.health_counts", fails)
    client = TestClient(ann.app, raise_server_exceptions=False, cookies=ann.cookies)
    answer = client.get("/")
    assert answer.status_code == 500
    assert "canary" not in answer.text
    assert "Something broke" in answer.text


def test_what_is_vendored_is_what_was_published() -> None:
    for name, sha256 in VENDORED.items():
        assert hashlib.sha256((HERE / "static" / name).read_bytes()).hexdigest() == sha256


def test_files_are_kept_for_as_long_as_they_are_these(ann: TestClient) -> None:
    page = ann.get("/").text
    for url in re.findall(r'(?:href|src)="(/static/[^"]+)"', page):
        answer = ann.get(url)
        assert answer.status_code == 200
        assert "immutable" in answer.headers["cache-control"]
    assert ann.get("/static/page.js").headers.get("cache-control") is None
    assert [ann.get(f"/static/{name}").status_code for name in ("nothing.js", "..%2fapp.py")] == [404, 404]
    assert ann.get("/").headers["cache-control"] == "no-store"
