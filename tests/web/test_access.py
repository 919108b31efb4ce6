"""Who has no token reads nothing and answers nothing, whatever is sent; who has one is told apart and slowed down."""

import re
from pathlib import Path

import pytest
from sqlalchemy import select
from starlette.testclient import TestClient

from sensord.clock import ManualClock
from sensord.store.alerts import Feedback, show
from sensord.store.schema import alert_events
from sensord.web.access import NOBODY, SESSION_S, TRIES, TRIES_S, Access, TooMany, Wrong
from sensord.web.app import COOKIE, LARGEST, build
from tests.web.site import TOKEN, Stage, staged

HERE = "http://localhost"
PAGES = ("/", "/alerts", "/alerts/{id}", "/devices/pumps/pump-1", "/models", "/status")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(1_000_000)


@pytest.fixture
def access(clock: ManualClock) -> Access:
    return Access(TOKEN, False, clock)


def word(page: str) -> str:
    [found] = re.findall(r'name="word" value="([0-9a-f]{64})"', page)
    return str(found)


# --- sessions --------------------------------------------------------------------------------------------------------


def test_a_session_says_who_it_is_until_it_runs_out(access: Access, clock: ManualClock) -> None:
    cookie = access.log_in(" Jörg ", TOKEN, "here")
    assert access.visitor(cookie).name == "Jörg"
    clock.advance(SESSION_S - 1)
    assert access.visitor(cookie).is_known
    clock.advance(2)
    assert access.visitor(cookie) is NOBODY


def test_a_session_that_was_tampered_with_is_nobody_s(access: Access) -> None:
    cookie = access.log_in("ann", TOKEN, "here")
    for damaged in (cookie[:-1], "Y" + cookie, cookie.replace(".", "..", 1), "", ".", "..", "a.b.c", "ä.9.ü", None):
        assert access.visitor(damaged) is NOBODY


def test_another_token_ends_all_sessions(access: Access, clock: ManualClock) -> None:
    cookie = access.log_in("ann", TOKEN, "here")
    assert Access("another-token-of-it", False, clock).visitor(cookie) is NOBODY
    assert Access(None, False, clock).visitor(cookie) is NOBODY


def test_without_a_token_nobody_can_forge_a_session(clock: ManualClock) -> None:
    closed = Access(None, False, clock)
    assert closed.visitor(Access("", False, clock)._session("ann")) is NOBODY
    with pytest.raises(Wrong):
        closed.log_in("ann", "", "here")


def test_who_guesses_is_slowed_down_and_nobody_else_is(access: Access, clock: ManualClock) -> None:
    for _ in range(TRIES):
        with pytest.raises(Wrong):
            access.log_in("eve", "wrong", "there")
    with pytest.raises(TooMany):
        access.log_in("eve", TOKEN, "there")
    access.log_in("ann", TOKEN, "here")
    clock.advance(TRIES_S + 1)
    access.log_in("eve", TOKEN, "there")


# --- reading ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PAGES)
def test_a_stranger_is_asked_for_the_token_and_comes_back_to_where_he_was(
    stage: Stage, stranger: TestClient, path: str
) -> None:
    path = path.format(id=stage.drift)
    asked = stranger.get(path)
    assert (asked.status_code, asked.text) == (303, "")
    form = stranger.get(asked.headers["location"])
    assert f'name="then" value="{path}"' in form.text
    wrong = stranger.post("/login", data={"name": "eve", "token": "guess", "then": path})
    assert wrong.status_code == 403
    assert "this is not the token" in wrong.text
    entered = stranger.post("/login", data={"name": "ann", "token": TOKEN, "then": path})
    assert (entered.status_code, entered.headers["location"]) == (303, path)
    kept = entered.headers["set-cookie"]
    assert all(said in kept for said in ("HttpOnly", "SameSite=lax", "Path=/"))
    assert "Secure" not in kept
    assert stranger.get(path).status_code == 200
    assert stranger.post("/logout").status_code == 303
    assert stranger.get(path).status_code == 303


def test_behind_https_the_cookie_stays_there(stranger: TestClient) -> None:
    proxied = {"x-forwarded-proto": "https"}
    entered = stranger.post("/login", data={"name": "ann", "token": TOKEN}, headers=proxied)
    assert "Secure" in entered.headers["set-cookie"]


@pytest.mark.parametrize("then", ["https://evil.example/", "//evil.example", "/\\evil.example", "javascript:x", "/\n"])
def test_logging_in_leads_nowhere_else(stranger: TestClient, then: str) -> None:
    entered = stranger.post("/login", data={"name": "ann", "token": TOKEN, "then": then})
    assert entered.headers["location"] == "/"


@pytest.mark.parametrize("settings", [{"public": True}, {"token": None, "loopback": True}], ids=["public", "at home"])
def test_where_it_may_be_read_by_whoever_comes_it_is(tmp_path: Path, settings: dict) -> None:  # type: ignore[type-arg]
    with (
        staged(tmp_path, **settings) as stage,
        TestClient(build(stage.site), HERE, follow_redirects=False) as client,
    ):
        for path in PAGES:
            assert client.get(path.format(id=stage.drift)).status_code == 200
        assert "I look at it" not in client.get(f"/alerts/{stage.drift}").text


def test_a_page_for_this_machine_alone_answers_to_its_names_alone(tmp_path: Path) -> None:
    with (
        staged(tmp_path, token=None, loopback=True) as stage,
        TestClient(build(stage.site), HERE) as client,
    ):
        assert client.get("/", headers={"host": "localhost:8080"}).status_code == 200
        assert client.get("/", headers={"host": "evil.example"}).status_code == 400


# --- answering -------------------------------------------------------------------------------------------------------


def test_ann_answers_and_it_is_hers(stage: Stage, ann: TestClient) -> None:
    page = f"/alerts/{stage.drift}"
    said = {"word": word(ann.get(page).text), "comment": "the bearing again"}
    for answer, more in (("ack", {}), ("feedback", {"verdict": "real"}), ("accept", {})):
        taken = ann.post(f"{page}/{answer}", data=said | more)
        assert (taken.status_code, taken.headers["location"]) == (303, page)
    row = show(stage.engine, str(stage.drift))
    assert (row.acknowledged_by, row.feedback, row.feedback_by, row.accepted_by) == ("ann", Feedback.REAL, "ann", "ann")
    assert row.feedback_comment == "the bearing again"
    assert "called real by ann" in ann.get(page).text
    ann.post(f"{page}/feedback", data=said | {"verdict": "none"})
    assert show(stage.engine, str(stage.drift)).feedback is None


def test_another_site_s_form_is_not_taken(stage: Stage, ann: TestClient) -> None:
    page = f"/alerts/{stage.drift}"
    for said in ({}, {"word": "0" * 64}, {"word": "ä"}):
        refused = ann.post(f"{page}/feedback", data=said | {"verdict": "false_alarm"})
        assert refused.status_code == 403
        assert "Go back" in refused.text
    assert show(stage.engine, str(stage.drift)).feedback is None


def test_a_stranger_s_answer_is_not_taken(stage: Stage, stranger: TestClient) -> None:
    page = f"/alerts/{stage.drift}"
    assert stranger.post(f"{page}/ack", data={"word": "0" * 64}).status_code == 303
    stranger.cookies.set(COOKIE, "eW91.99999999999." + "0" * 64)
    assert stranger.post(f"{page}/ack", data={"word": "0" * 64}).status_code == 303
    with stage.engine.connect() as connection:
        events = connection.scalars(select(alert_events.c.event).where(alert_events.c.alert_id == stage.drift)).all()
    assert events == ["opened"]


def test_a_program_answers_with_the_token_alone(stage: Stage, stranger: TestClient) -> None:
    page, bearer = f"/alerts/{stage.drift}", {"authorization": f"Bearer {TOKEN}"}
    taken = stranger.post(f"{page}/feedback", data={"verdict": "false_alarm", "by": "the crew"}, headers=bearer)
    assert taken.json() == {"id": str(stage.drift), "answer": "feedback", "by": "the crew"}
    assert show(stage.engine, str(stage.drift)).feedback_by == "the crew"
    assert stranger.get("/alerts", headers=bearer).status_code == 200
    wrong = {"authorization": "Bearer guess"}
    assert [stranger.get("/", headers=wrong).status_code for _ in range(TRIES + 1)] == [401] * TRIES + [429]


@pytest.mark.parametrize(
    ("path", "status"),
    [("{id}/shrug", 404), ("{id}/feedback", 404), ("00000000/ack", 404), ("{over}/accept", 404), ("{id}/ack", 303)],
    ids=["shrug", "feedback", "nobody", "accept", "ack"],
)
def test_answers_that_make_no_sense_are_refused(stage: Stage, ann: TestClient, path: str, status: int) -> None:
    said = {"word": word(ann.get(f"/alerts/{stage.drift}").text)}
    answered = ann.post("/alerts/" + path.format(id=stage.drift, over=stage.over), data=said)
    assert answered.status_code == status


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"x" * (LARGEST + 1), 413), (b"\xff\xfe", 400), (b"a=1&" * 60, 400), (b"comment=%00", 400)],
    ids=["large", "no text", "many fields", "nul"],
)
def test_what_is_no_form_is_refused(stage: Stage, ann: TestClient, body: bytes, status: int) -> None:
    assert ann.post(f"/alerts/{stage.drift}/ack", content=body).status_code == status


def test_where_there_is_no_token_it_is_said_how_to_set_one(tmp_path: Path) -> None:
    with (
        staged(tmp_path, token=None, loopback=True) as stage,
        TestClient(build(stage.site), HERE) as client,
    ):
        answered = client.post(f"/alerts/{stage.drift}/ack")
        assert answered.status_code == 403
        assert "Set web.token" in answered.text
