"""At least once, in order, under one key, through whatever a sink does; and nobody sees its address."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from sqlalchemy import Engine
from structlog.testing import capture_logs

from sensord.clock import ManualClock
from sensord.detection.alerts import Severity
from sensord.notify.dispatch import LOOK_EVERY_S, MOST_RETRY_S, Dispatcher
from sensord.notify.sinks import Sink, build, signature
from sensord.settings import SinkSettings
from sensord.store.database import open_engine, upgrade
from sensord.store.incidents import take_events
from sensord.store.notices import Outcome, Wanted, enlist, list_deliveries
from sensord.store.schema import deliveries, instant
from tests.conftest import MakeTopic
from tests.notify.receiver import Receiver, receiver
from tests.notify.rows import NOISE, Plant
from tests.store.rows import NOW, SECOND

KEY = "canary-key-1"
OPS = Wanted("ops")


@pytest.fixture
def engine(store_url: str) -> Iterator[Engine]:
    opened = open_engine(store_url)
    upgrade(opened)
    yield opened
    opened.dispose()


@pytest.fixture
def hook() -> Iterator[Receiver]:
    with receiver() as made:
        yield made


@dataclass
class Site:
    """A plant, one sink, and time that passes when it is told to."""

    engine: Engine
    sink: Sink
    wanted: Wanted = OPS
    group_wait_s: float = 0.0
    plant: Plant = field(init=False)
    clock: ManualClock = field(init=False)

    def __post_init__(self) -> None:
        self.plant, self.clock = Plant(self.engine), ManualClock(NOW / SECOND)
        enlist(self.engine, self.wanted.sink)
        self.begin()

    def begin(self) -> None:
        """The process starts."""
        self.dispatcher = Dispatcher(
            self.engine, self.wanted, self.sink, self.group_wait_s, self.clock, lambda s: False, jitter=lambda: 0.5
        )

    def tell(self) -> float:
        """One turn; returns how long it wants to wait."""
        while take_events(self.engine, instant(self.clock.now()), timedelta(days=1)):
            pass
        return self.dispatcher.turn()

    def outcomes(self) -> list[str]:
        return [row.outcome.value for row in list_deliveries(self.engine, [self.wanted], 100)][::-1]


def webhook(hook: Receiver, **more: object) -> Sink:
    return build("ops", SinkSettings.model_validate({"kind": "webhook", "url": hook.url, "timeout_s": 0.5} | more))


@pytest.fixture
def site(engine: Engine, hook: Receiver) -> Site:
    return Site(engine, webhook(hook, secret=KEY))


def bodies(hook: Receiver) -> list[dict]:  # type: ignore[type-arg]
    return [json.loads(one.body) for one in hook.got]


def test_a_webhook_gets_alertmanager_s_body_and_can_tell_who_sent_it(site: Site, hook: Receiver) -> None:
    site.plant.opens("pump-1", NOISE)
    assert site.tell() == LOOK_EVERY_S
    [got], [body] = hook.got, bodies(hook)
    assert (body["version"], body["status"], body["receiver"]) == ("4", "firing", "ops")
    [alert] = body["alerts"]
    assert (alert["status"], alert["labels"]["device"], alert["labels"]["fleet"]) == ("firing", "pump-1", "pumps")
    assert alert["endsAt"].startswith("0001-01-01T00:00:00")
    assert "vibration 9 mm/s, expected 1 (90%)" in alert["annotations"]["description"]
    assert body["commonAnnotations"]["summary"] == "[warning] pumps: pump-1, anomaly"
    stamp = got.headers["X-Sensord-Timestamp"]
    assert got.headers["X-Sensord-Signature"] == signature(KEY.encode(), stamp, got.body)
    assert signature(b"another", stamp, got.body) != got.headers["X-Sensord-Signature"]


def test_an_hour_of_outage_loses_nothing_and_keeps_the_order(site: Site, hook: Receiver) -> None:
    begun = site.clock.monotonic()
    waits: list[float] = []
    failures: list[int | str] = [503, "reset", 500, "hang"]
    site.plant.opens("pump-1")
    site.plant.opens("pump-2", NOISE)
    while site.clock.monotonic() < begun + 3_600:
        hook.plan[:] = [failures[len(waits) % len(failures)]]
        waits.append(site.tell())
        site.clock.advance(waits[-1])
    assert waits[:4] == [1.0, 2.0, 4.0, 8.0]
    assert max(waits) == MOST_RETRY_S
    site.plant.closes("pump-1")
    hook.got.clear()
    hook.plan.clear()
    site.begin()
    assert site.tell() == LOOK_EVERY_S
    assert hook.keys == ["sensord-notice-1", "sensord-notice-2", "sensord-notice-3"]
    assert [body["sensord"]["notice"] for body in bodies(hook)] == ["opened", "opened", "resolved"]
    assert site.outcomes() == ["delivered"] * 3


def test_a_death_between_sending_and_marking_sends_the_same_key_again(site: Site, hook: Receiver) -> None:
    site.plant.opens("pump-1")
    site.tell()
    with site.engine.begin() as connection:  # as if it had died before it could write this down
        connection.execute(deliveries.delete())
    site.begin()
    site.tell()
    assert hook.keys == ["sensord-notice-1", "sensord-notice-1"]
    site.tell()
    assert len(hook.got) == 2


def test_what_is_refused_is_written_down_and_keeps_nothing_waiting(site: Site, hook: Receiver) -> None:
    site.plant.opens("pump-1")
    site.plant.opens("pump-2", NOISE)
    hook.plan[:] = [400]
    assert site.tell() == LOOK_EVERY_S
    assert site.outcomes() == ["refused", "delivered"]
    assert list_deliveries(site.engine, [site.wanted], 9)[-1].detail == "400: ok"


def test_who_asks_for_time_gets_it(site: Site, hook: Receiver) -> None:
    site.plant.opens("pump-1")
    hook.plan[:], hook.retry_after = [429], "120"
    assert site.tell() == 120.0
    assert site.outcomes() == ["waiting"]


def test_the_first_notice_waits_for_others_with_the_same_cause(engine: Engine, hook: Receiver) -> None:
    site = Site(engine, webhook(hook), group_wait_s=10.0)
    site.plant.opens("pump-1")
    site.tell()
    assert hook.got == []
    site.plant.opens("pump-2")
    site.clock.advance(11)
    site.tell()
    [body] = bodies(hook)
    assert body["commonAnnotations"]["summary"] == "[warning] pumps: pump-1, pump-2, anomaly"


@pytest.mark.parametrize(
    ("wanted", "notices"),
    [
        (Wanted("ops", least_severity=Severity.CRITICAL), ["escalated", "resolved"]),
        (Wanted("ops", resolved=False), ["opened", "escalated"]),
        (Wanted("ops", fleets=("fans",)), []),
        (Wanted("ops", fleets=("fans", "pumps")), ["opened", "escalated", "resolved"]),
    ],
    ids=["critical", "not resolved", "another fleet", "these fleets"],
)
def test_a_sink_is_told_what_it_asks_for(engine: Engine, hook: Receiver, wanted: Wanted, notices: list[str]) -> None:
    site = Site(engine, webhook(hook), wanted)
    site.plant.opens("pump-1")
    site.tell()
    site.plant.escalates("pump-1")
    site.plant.closes("pump-1")
    site.tell()
    assert [body["sensord"]["notice"] for body in bodies(hook)] == notices


def test_a_new_sink_is_not_told_what_was_before_it(site: Site, hook: Receiver) -> None:
    site.plant.opens("pump-1")
    site.tell()
    other = Site(site.engine, site.sink, Wanted("other"))
    other.tell()
    assert len(hook.got) == 1


def test_nobody_reads_the_address_or_the_key(site: Site, hook: Receiver) -> None:
    hook.plan[:] = ["reset", 500, 400]
    site.plant.opens("pump-1")
    with capture_logs() as lines:
        for _ in range(3):
            site.tell()
    said = json.dumps(lines, default=str) + str(list_deliveries(site.engine, [site.wanted], 9))
    assert len(lines) == 3
    assert "s3cret" not in said
    assert KEY not in said


# --- the other sinks -------------------------------------------------------------------------------------------------


def test_an_alertmanager_is_reminded_of_what_goes_on_and_told_what_is_over(engine: Engine, hook: Receiver) -> None:
    settings = {"kind": "alertmanager", "url": hook.url, "resend_s": 60}
    site = Site(engine, build("am", SinkSettings.model_validate(settings)), Wanted("am"))
    site.plant.opens("pump-1")
    for _ in range(4):
        site.tell()
        site.clock.advance(30)
    assert {one.path for one in hook.got} == {"/hook/s3cret-token/api/v2/alerts"}
    assert len(hook.got) == 3  # the notice, and two reminders
    first, *_, last = (json.loads(one.body)[0] for one in hook.got)
    assert first["labels"] == last["labels"]
    assert first.keys() == {"labels", "annotations", "startsAt", "endsAt"}
    assert first["endsAt"] < last["endsAt"]
    site.plant.closes("pump-1")
    site.tell()
    over = json.loads(hook.got[-1].body)[0]
    assert over["labels"] == first["labels"]
    assert over["endsAt"] < first["endsAt"]
    site.clock.advance(61)
    site.tell()
    assert json.loads(hook.got[-1].body)[0] == over  # nothing is open: it isn't reminded of anything


@pytest.mark.kafka
def test_a_topic_gets_the_same_body_under_the_incident_s_key(engine: Engine, kafka: str, topic: MakeTopic) -> None:
    from sensord.settings import KafkaSettings
    from sensord.stream.publisher import open_writer
    from sensord.stream.ranges import read_range

    name, settings = topic(), KafkaSettings(bootstrap_servers=kafka)
    with open_writer(settings, name) as write:
        site = Site(engine, build("log", SinkSettings.model_validate({"kind": "kafka", "topic": name}), write))
        site.plant.opens("pump-1")
        site.tell()
    [record] = [record for _, records in read_range(settings, name) for record in records]
    assert record.key == b"pumps/1"
    assert json.loads(record.value or b"")["sensord"]["key"] == "sensord-notice-1"
    assert dict(record.headers) == {"idempotency-key": b"sensord-notice-1"}  # type: ignore[attr-defined]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # apprise's own imports
def test_apprise_gets_a_title_and_a_line_a_device(engine: Engine, hook: Receiver) -> None:
    url = hook.url.replace("http://", "json://")
    site = Site(engine, build("people", SinkSettings.model_validate({"kind": "apprise", "url": url})))
    site.plant.opens("pump-1")
    site.tell()
    [body] = bodies(hook)
    assert body["title"] == "[warning] pumps: pump-1, anomaly"
    assert body["message"].startswith("pump-1: anomaly, 1.3 times its limit since 2025-11-24 16:00:00 UTC.")
    hook.plan[:] = [500]
    site.plant.closes("pump-1")
    assert site.tell() > LOOK_EVERY_S / 2
    assert site.outcomes()[-1] == Outcome.WAITING.value
