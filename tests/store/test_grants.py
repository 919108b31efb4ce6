"""deploy/postgres: every role can do its work on a real PostgreSQL, and not a statement more."""

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from sqlalchemy import make_url, text
from sqlalchemy.exc import ProgrammingError
from starlette.testclient import TestClient

from sensord.detection.alerts import Reason, Severity, Status
from sensord.errors import EXIT_NEEDS_A_PERSON, AccessRefused, Unreachable
from sensord.store import Engine
from sensord.store.alerts import (
    AlertFilter,
    Episode,
    Feedback,
    accept,
    acknowledge,
    drifting,
    episodes,
    feedback,
    history,
    list_alerts,
)
from sensord.store.database import check, connect_within, open_engine, upgrade
from sensord.store.dead_letters import list_dead_letters
from sensord.store.devices import DeviceSeen, first_seen, list_devices
from sensord.store.incidents import list_incidents, take_events
from sensord.store.notices import Outcome, Wanted, delivered, enlist, list_deliveries, waiting
from sensord.store.progress import Progress, Snapshot
from sensord.store.registry import Registry
from sensord.store.runs import alerts_of, keep
from sensord.store.schema import instant, metadata
from sensord.store.server import DAEMON, missing_rights
from sensord.store.suppression import add_window, remove_window
from sensord.store.windows import WindowKind, WindowTime, list_windows, times
from sensord.web.app import build
from tests.builders import packed
from tests.daemon.world import World
from tests.store.rows import NOW, P0, SECOND, alert, checkpoint, letter, moved, opened
from tests.web.site import TOKEN, filled

DEPLOY = Path(__file__).parents[2] / "deploy" / "postgres"
ROLES = ("owner", "daemon", "trainer", "notifier", "operator", "reader")
NO_RIGHT = "42501"
TABLES = sorted(metadata.tables)
HOUR = instant(NOW), instant(NOW + 3_600 * SECOND)
PEOPLE_S = ("acknowledged_by", "feedback", "feedback_by", "feedback_comment", "accepted_by", "accepted_at")


@dataclass
class Roles:
    """One database, and an engine for a user of each role."""

    engines: dict[str, Engine]

    def __getitem__(self, role: str) -> Engine:
        return self.engines[role]


def run_script(engine: Engine, name: str) -> None:
    """As psql would, a percent sign as it stands."""
    alone = engine.execution_options(isolation_level="AUTOCOMMIT")
    with alone.connect() as connection, closing(connection.connection.cursor()) as cursor:
        cursor.execute((DEPLOY / name).read_text())


@pytest.fixture
def roles(postgres_url: str) -> Iterator[Roles]:
    """As the comments of the scripts say: roles, then the schema by its owner, then grants; the scripts run twice."""
    admin = open_engine(postgres_url)
    run_script(admin, "roles.sql")
    run_script(admin, "roles.sql")
    names = {role: f"test_{role}_{uuid4().hex[:8]}" for role in ROLES}
    with admin.begin() as connection:
        for role, name in names.items():
            connection.exec_driver_sql(f"CREATE USER {name} IN ROLE sensord_{role}")
        connection.exec_driver_sql(f"ALTER USER {names['owner']} SET role = 'sensord_owner'")
    url = make_url(postgres_url)
    engines = {role: open_engine(url.set(username=name).render_as_string(False)) for role, name in names.items()}
    upgrade(engines["owner"])
    run_script(engines["owner"], "grants.sql")
    run_script(engines["owner"], "grants.sql")
    yield Roles(engines | {"admin": admin})
    for engine in engines.values():
        engine.dispose()
    with admin.begin() as connection:
        for name in names.values():
            connection.exec_driver_sql(f"DROP OWNED BY {name} CASCADE")
            connection.exec_driver_sql(f"DROP USER {name}")
    admin.dispose()


def denied(engine: Engine, statement: str) -> bool:
    """Whether the server refuses a statement for want of a right; anything else that goes wrong is an error."""
    try:
        with engine.connect() as connection:
            connection.exec_driver_sql(statement)
    except ProgrammingError as error:
        if getattr(error.orig, "sqlstate", None) != NO_RIGHT:
            raise
        return True
    return False


# --- the work of each ------------------------------------------------------------------------------------------------


def test_the_daemon_claims_commits_and_accepts_a_gap(roles: Roles) -> None:
    engine = roles["daemon"]
    check(engine)
    progress, one = Progress(engine), alert()
    mine = progress.claim("pumps", P0, "first", "T1", NOW)
    full = checkpoint(
        mine,
        100,
        alerts=[opened(one)],
        dead_letters=[letter()],
        snapshot=Snapshot("pumps-1", {0: b"state"}, page_count=1),
        devices=[DeviceSeen("pump-7", NOW, NOW)],
    )
    progress.commit([full], NOW)
    after = {"epoch": full.epoch_after, "previous_offset": 100, "devices": full.devices}
    progress.commit([checkpoint(mine, 200, alerts=[moved(one, "escalated")], **after)], NOW)
    assert progress.accepted("pumps") == set()
    mine = progress.claim("pumps", P0, "second", "T1", NOW)
    assert mine.pages == {0: b"state"}
    progress.accept_gap(mine, 200, 500, "T2", "retention overrun", NOW)
    assert [line.event for line in history(engine, one.id)] == ["opened", "escalated", "closed"]
    assert progress.claim("pumps", P0, "third", "T2", NOW).pages == {}


def test_whoever_reads_serves_the_page_and_whoever_answers_takes_answers(roles: Roles) -> None:
    stage = filled(roles["owner"])
    paths = ("/", "/alerts?suppressed=1", f"/alerts/{stage.drift}", "/devices/pumps/pump-1", "/models", "/status")
    bearer = {"authorization": f"Bearer {TOKEN}"}
    for role, status in (("reader", 403), ("operator", 200)):
        check(roles[role])
        with TestClient(build(replace(stage.site, engine=roles[role]))) as client:
            assert [client.get(path, headers=bearer).status_code for path in paths] == [200] * len(paths)
            assert '"curves">{"at":[' in client.get(paths[3], headers=bearer).text
            answered = client.post(f"/alerts/{stage.drift}/feedback", data={"verdict": "false_alarm"}, headers=bearer)
            assert answered.status_code == status
    assert answered.json()["by"] == "a program"


def test_doctor_finds_what_the_daemon_would_lack(roles: Roles) -> None:
    assert missing_rights(roles["daemon"]) == []
    lacking = missing_rights(roles["reader"])
    assert "INSERT on alerts" in lacking
    assert "UPDATE on state_pages" in lacking
    assert "SELECT on alerts" not in lacking


def test_doctor_misses_no_right_that_the_script_gives(roles: Roles) -> None:
    with roles["admin"].connect() as connection:
        granted = connection.execute(
            text(
                "SELECT DISTINCT privilege_type, table_name FROM information_schema.column_privileges "
                "WHERE grantee = 'sensord_daemon' UNION SELECT privilege_type, table_name "
                "FROM information_schema.table_privileges WHERE grantee = 'sensord_daemon'"
            )
        ).all()
    assert {f"{right} on {table}" for right, table in granted} == {
        f"{right} on {table}" for table, rights in DAEMON for right in rights
    }


def test_a_whole_day_of_the_daemon_needs_no_other_right(roles: Roles) -> None:
    """Start, snapshots, a swap, an accepted alert, a kill and a replay; publishing is the trainer's."""
    here = World(roles["owner"])
    here.send_day()
    here.engine = roles["daemon"]
    daemon = here.daemon(max_records=30)
    daemon.turn(9)
    here.engine = roles["trainer"]
    here.publish(packed(seed=7))
    here.engine = roles["daemon"]
    daemon.turn(12)
    daemon.kill()
    here.daemon().finish()
    assert len(here.rows("alerts")) == 2


def test_who_may_write_as_the_daemon_may_keep_a_backtest_s_alerts(roles: Roles) -> None:
    one = alert(run="replay")
    keep(roles["daemon"], [one], NOW)
    keep(roles["daemon"], [replace(one, last_offset=99)], NOW)
    for role in ("reader", "operator"):
        [row] = alerts_of(roles[role], "pumps", "replay", one.model_id).opened
        assert Registry(roles[role]).moves("pumps") == []
        assert row.last_offset == 99


def test_the_daemon_suppresses_what_people_have_called_for(roles: Roles) -> None:
    progress, one, two = Progress(roles["daemon"]), alert(), alert()
    mine = progress.claim("pumps", P0, "first", "T1", NOW)
    progress.commit([checkpoint(mine, alerts=[opened(one)])], NOW)
    feedback(roles["operator"], str(one.id), Feedback.FALSE_ALARM, "ann", NOW)
    add_window(roles["operator"], "pumps", None, *HOUR, WindowKind.MAINTENANCE, None, "ann", NOW)
    progress.commit([checkpoint(mine, 200, previous_offset=100, alerts=[opened(two)])], NOW)
    assert history(roles["reader"], two.id) == []
    worse = replace(two, score_peak=90.0, last_seen_at=NOW + 7_200 * SECOND)
    progress.commit([checkpoint(mine, 300, previous_offset=200, alerts=[moved(worse)])], NOW)
    assert [line.event for line in history(roles["reader"], two.id)] == ["opened"]


def test_the_trainer_publishes_signs_promotes_and_rolls_back(roles: Roles) -> None:
    check(roles["trainer"])
    registry = Registry(roles["trainer"])
    for seed in (1, 2):
        one = packed(seed=seed)
        registry.publish("pumps", one.bundle_id, one.manifest, one.weights, one.sha256, NOW, "ann", b"{}")
        registry.sign("pumps", one.bundle_id, b"{}")
        registry.promote("pumps", one.bundle_id, NOW, "ann")
    registry.rollback("pumps", NOW, "ann")
    assert len(registry.list()) == 2


def test_the_trainer_sees_when_alerts_and_windows_were(roles: Roles) -> None:
    progress, one = Progress(roles["daemon"]), alert()
    progress.commit([checkpoint(progress.claim("pumps", P0, "first", "T1", NOW), alerts=[opened(one)])], NOW)
    add_window(roles["operator"], "pumps", None, *HOUR, WindowKind.EXCLUDE, None, "ann", NOW)
    assert episodes(roles["trainer"], "pumps") == [Episode("pump-7", instant(NOW), instant(NOW), real=False)]
    assert times(roles["trainer"], "pumps") == [WindowTime(None, *HOUR)]
    assert drifting(roles["trainer"], "pumps", 0) == set()
    assert first_seen(roles["trainer"], "pumps") == {}


def test_the_notifier_takes_events_and_writes_down_what_was_told(roles: Roles) -> None:
    progress, one = Progress(roles["daemon"]), alert()
    claim = progress.claim("pumps", P0, "first", "T1", NOW)
    check(roles["notifier"])
    enlist(roles["notifier"], "ops")
    progress.commit([checkpoint(claim, alerts=[opened(one)])], NOW)
    assert take_events(roles["notifier"], instant(NOW), timedelta(days=1)) == 1
    critical, second = replace(one, severity=Severity.CRITICAL), {"previous_offset": 100, "epoch": claim.epoch}
    progress.commit([checkpoint(claim, 200, alerts=[moved(critical, "escalated")], **second)], NOW)
    over = replace(critical, status=Status.CLOSED, closed_at=NOW, close_reason=Reason.CLEARED)
    progress.commit([checkpoint(claim, 300, alerts=[moved(over, "closed")], **second | {"previous_offset": 200})], NOW)
    assert take_events(roles["notifier"], instant(NOW), timedelta(days=1)) == 2
    told = waiting(roles["notifier"], Wanted("ops"), instant(NOW), 9)
    assert [notice.notice.value for notice in told] == ["opened", "escalated", "resolved"]
    delivered(roles["notifier"], "ops", told[0].sequence, Outcome.DELIVERED, "", instant(NOW))
    for role in ("reader", "operator"):
        assert len(list_incidents(roles[role])) == 1
        assert len(list_deliveries(roles[role], [Wanted("ops")], 9)) == 3
    for column in ("event", "at", "severity", "by"):
        assert denied(roles["notifier"], f"UPDATE alert_events SET {column} = {column}"), column
    assert denied(roles["notifier"], "UPDATE alerts SET status = status")


def test_people_read_and_those_who_may_answer(roles: Roles) -> None:
    progress, one = Progress(roles["daemon"]), alert()
    progress.commit([checkpoint(progress.claim("pumps", P0, "first", "T1", NOW), alerts=[opened(one)])], NOW)
    name = str(one.id)
    acknowledge(roles["operator"], name, "ann", NOW)
    feedback(roles["operator"], name, Feedback.REAL, "ann", NOW, "bearing")
    accept(roles["operator"], name, "ann", NOW)
    window, _ = add_window(roles["operator"], "pumps", "pump-?", *HOUR, WindowKind.MAINTENANCE, None, "ann", NOW)
    feedback(roles["operator"], name, Feedback.FALSE_ALARM, "ann", NOW)
    feedback(roles["operator"], name, None, "ann", NOW)
    assert remove_window(roles["operator"], window.id, NOW) == 1
    feedback(roles["operator"], name, Feedback.REAL, "ann", NOW, "bearing")
    for role in ("reader", "operator"):
        check(roles[role])
        [row] = list_alerts(roles[role], AlertFilter())
        assert (row.feedback, row.accepted_by) == (Feedback.REAL, "ann")
        assert [list_devices(roles[role]), list_dead_letters(roles[role]), list_windows(roles[role])] == [[], [], []]
        assert Registry(roles[role]).list() == []
    assert progress.accepted("pumps") == {one.id}


# --- and no more -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", [role for role in ROLES if role != "owner"])
def test_nobody_but_the_owner_drops_truncates_or_alters_anything(roles: Roles, role: str) -> None:
    statements = [f"{verb} {table}" for table in TABLES for verb in ("DROP TABLE", "TRUNCATE")]
    statements += [f"ALTER TABLE {table} ADD COLUMN spare text" for table in TABLES]
    statements += ["CREATE TABLE spare (a int)", "DROP SCHEMA public CASCADE", "DELETE FROM sensord_schema"]
    assert [statement for statement in statements if not denied(roles[role], statement)] == []


@pytest.mark.parametrize("role", [role for role in ROLES if role != "owner"])
def test_nobody_but_the_owner_deletes_but_the_daemon_state_and_the_operator_windows(roles: Roles, role: str) -> None:
    allowed = {table for table in TABLES if not denied(roles[role], f"DELETE FROM {table}")}
    assert allowed == {"daemon": {"state_pages", "shadow_pages"}, "operator": {"windows"}}.get(role, set())


def test_the_daemon_can_t_change_what_people_said_nor_where_an_alert_began(roles: Roles) -> None:
    for column in (*PEOPLE_S, "id", "opened_at", "score_first", "first_offset"):
        assert denied(roles["daemon"], f"UPDATE alerts SET {column} = {column}"), column
    assert denied(roles["daemon"], "UPDATE alert_events SET event = event")
    assert denied(roles["daemon"], "UPDATE dead_letters SET detail = detail")


def test_the_daemon_rolls_back_what_does_harm(roles: Roles) -> None:
    trainer = Registry(roles["trainer"])
    for seed in (1, 2):
        one = packed(seed=seed)
        trainer.publish("pumps", one.bundle_id, one.manifest, one.weights, one.sha256, NOW, "ann", b"{}")
        trainer.promote("pumps", one.bundle_id, NOW, "ann")
    before = Registry(roles["daemon"]).condemn("pumps", one.bundle_id, NOW, "daemon", "its states are not finite")
    assert trainer.current_id("pumps") == before == packed(seed=1).bundle_id


def test_the_daemon_can_t_publish_nor_change_what_a_bundle_holds_or_replaced(roles: Roles) -> None:
    assert denied(roles["daemon"], "INSERT INTO bundles (fleet) VALUES ('pumps')")
    for column in ("manifest", "weights", "sha256", "signature", "bundle_id", "replaced", "promoted_at"):
        assert denied(roles["daemon"], f"UPDATE bundles SET {column} = {column}"), column
    assert denied(roles["daemon"], "UPDATE bundle_moves SET why = 'none'")


def test_the_trainer_sees_no_whole_alert_and_can_t_change_a_bundle_s_content(roles: Roles) -> None:
    for table in set(TABLES) - {"bundles", "bundle_moves"}:
        assert denied(roles["trainer"], f"SELECT * FROM {table}"), table
    for column in ("evidence", "top_channels", "acknowledged_by", "feedback_comment"):
        assert denied(roles["trainer"], f"SELECT {column} FROM alerts"), column
    for column in ("manifest", "weights", "sha256", "bundle_id"):
        assert denied(roles["trainer"], f"UPDATE bundles SET {column} = {column}"), column
    assert denied(roles["trainer"], "UPDATE bundle_moves SET why = 'none'")  # what was done stays done


def test_a_reader_writes_nothing_and_an_operator_only_answers(roles: Roles) -> None:
    for table in TABLES:
        column = metadata.tables[table].columns.keys()[0]
        assert denied(roles["reader"], f"UPDATE {table} SET {column} = {column}")
        assert denied(roles["reader"], f"INSERT INTO {table} DEFAULT VALUES")
        assert denied(roles["operator"], f"UPDATE {table} SET {column} = {column}")
    for column in ("status", "score_peak", "severity", "closed_at"):
        assert denied(roles["operator"], f"UPDATE alerts SET {column} = {column}")


def test_a_user_without_a_role_does_not_even_connect(roles: Roles) -> None:
    name = f"test_stranger_{uuid4().hex[:8]}"
    admin = roles["admin"]
    with admin.begin() as connection:
        connection.exec_driver_sql(f"CREATE USER {name}")
    stranger = open_engine(admin.url.set(username=name).render_as_string(hide_password=False))
    with pytest.raises(Unreachable, match=f"{name}@.*permission denied for database"):
        connect_within(stranger, 0.1)
    stranger.dispose()
    with admin.begin() as connection:
        connection.exec_driver_sql(f"DROP USER {name}")


# --- how it is said --------------------------------------------------------------------------------------------------


Act = Callable[[Roles], object]


@pytest.mark.parametrize(
    "act",
    [
        lambda roles: acknowledge(roles["reader"], str(UUID(int=1)), "ann", NOW),
        lambda roles: Registry(roles["daemon"]).publish("pumps", "b", b"{}", b"", "", NOW, "ann"),
        lambda roles: Progress(roles["trainer"]).claim("pumps", P0, "me", "", NOW),
        lambda roles: list_alerts(roles["trainer"], AlertFilter()),
    ],
    ids=["reader acknowledges", "daemon publishes", "trainer claims", "trainer lists"],
)
def test_a_right_that_is_missing_is_named_with_the_user_and_the_remedy(roles: Roles, act: Act) -> None:
    progress = Progress(roles["daemon"])
    claim = progress.claim("pumps", P0, "first", "T1", NOW)
    progress.commit([checkpoint(claim, alerts=[opened(alert(id=UUID(int=1)))])], NOW)
    with pytest.raises(
        AccessRefused, match=r"permission denied for table \w+; .*deploy/postgres/grants\.sql"
    ) as caught:
        act(roles)
    assert "test_" in str(caught.value)
    assert caught.value.exit_code == EXIT_NEEDS_A_PERSON
