"""At least once, in order, under one key, through whatever a sink does; and nobody sees its address."""

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from sqlalchemy import Engine
from structlog.testing import capture_logs

from sensord.clock import ManualClock
from sensord.detection.alerts import Severity
from sensord.errors import Unreachable
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
    return build("ops", SinkSettings.model_validate({"kind": "webhook", "url": hook.url, "timeout_s": 1.5} | more))


@pytest.fixture
def site(engine: Engine, hook: Receiver) -> Site:
    return Site(engine, webhook(hook, secret=KEY))


def bodies(hook: Receiver) -> list[dict]:  # type: ignore[type-arg]
    return [json.loads(one.body) for one in hook.got]


def numbers(hook: Receiver) -> list[int]:
    return [int(key.split("-")[2]) for key in hook.keys]


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
    assert numbers(hook) == [1, 2, 3]
    assert [body["sensord"]["notice"] for body in bodies(hook)] == ["opened", "opened", "resolved"]
    assert site.outcomes() == ["delivered"] * 3


def test_a_death_between_sending_and_marking_sends_the_same_key_again(site: Site, hook: Receiver) -> None:
    site.plant.opens("pump-1")
    site.tell()
    with site.engine.begin() as connection:  # as if it had died before it could write this down
        connection.execute(deliveries.delete())
    site.begin()
    site.tell()
    assert numbers(hook) == [1, 1]
    assert len(set(hook.keys)) == 1
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


def test_nobody_reads_the_address_in_what_the_receiver_answers(engine: Engine, hook: Receiver) -> None:
    settings = {"kind": "webhook", "url": hook.url.replace("//", "//ann:hunter-2-canary@") + "?token=q%2Bcanary"}
    site = Site(engine, build("ops", SinkSettings.model_validate(settings)))
    hook.plan[:] = [400]
    hook.says = b"no such path: /hook/s3cret-token for ann:hunter-2-canary, token q%2Bcanary or q+canary"
    site.plant.opens("pump-1")
    with capture_logs() as lines:
        site.tell()
    detail = list_deliveries(site.engine, [site.wanted], 9)[0].detail
    assert detail == "400: no such path: /hook/*** for ann:***, token *** or ***"
    assert "canary" not in str(lines)


@pytest.mark.parametrize(("asked", "pause_s"), [("²", 1.0), ("-5", 1.0), ("9" * 400, 3_600.0), ("0", 1.0)])
def test_whatever_a_receiver_asks_for_it_is_tried_again_within_the_hour(
    site: Site, hook: Receiver, asked: str, pause_s: float
) -> None:
    site.plant.opens("pump-1")
    hook.plan[:], hook.retry_after = [429], asked
    assert site.tell() == pause_s


def test_an_answer_that_only_drips_keeps_a_sink_no_longer_than_its_limit(site: Site, hook: Receiver) -> None:
    site.plant.opens("pump-1")
    hook.plan[:] = ["drip"]
    begun = time.monotonic()
    assert site.tell() == 1.0
    assert time.monotonic() - begun < 5  # it would drip for 10


def test_a_fault_of_our_own_ends_no_sink_s_thread(site: Site, hook: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    site.plant.opens("pump-1")
    turn, faults = Dispatcher.turn, [RuntimeError("a bug")]

    def fails_once(self: Dispatcher) -> float:
        if faults:
            raise faults.pop()
        return turn(self)

    while take_events(site.engine, instant(site.clock.now()), timedelta(days=1)):
        pass
    monkeypatch.setattr(Dispatcher, "turn", fails_once)
    pauses: list[float] = []

    def wait(seconds: float) -> bool:
        pauses.append(seconds)
        return len(pauses) == 2

    site.dispatcher.wait = wait
    site.dispatcher.run()
    assert pauses == [1.0, LOOK_EVERY_S]
    assert numbers(hook) == [1]


def test_a_body_holds_the_worst_and_says_how_many_it_leaves_out(site: Site, hook: Receiver) -> None:
    for number in range(103):
        site.plant.opens(f"pump-{number}", score_peak=3.0 + number)
    site.tell()
    [body] = bodies(hook)
    assert (len(body["alerts"]), body["truncatedAlerts"], body["sensord"]["devices"]) == (100, 3, 103)
    assert body["alerts"][0]["labels"]["device"] == "pump-102"


def test_keys_of_two_databases_differ(site: Site, hook: Receiver, sqlite_url: str) -> None:
    other_engine = open_engine(sqlite_url + "-other")
    upgrade(other_engine)
    other = Site(other_engine, site.sink)
    other.clock.advance(1)
    for one in (site, other):
        one.plant.opens("pump-1")
        one.tell()
    assert numbers(hook) == [1, 1]
    assert len(set(hook.keys)) == 2
    other_engine.dispose()


def test_what_waits_is_told_to_the_metrics(site: Site, hook: Receiver) -> None:
    def figure(name: str, **labels: str) -> float | None:
        return site.dispatcher.metrics.registry.get_sample_value(f"sensord_{name}", {"sink": "ops", **labels})

    site.plant.opens("pump-1")
    site.plant.opens("pump-2", NOISE)
    hook.plan[:] = [503]
    site.tell()
    assert (figure("notices_waiting"), figure("notice_wait_seconds")) == (2, 0)
    hook.plan[:] = [503]
    site.clock.advance(60)
    site.tell()
    assert (figure("notices_waiting"), figure("notice_wait_seconds")) == (2, 60)
    site.tell()
    assert (figure("notices_waiting"), figure("notice_wait_seconds")) == (0, 0)
    assert figure("notices_total", outcome="not_taken") == 2
    assert figure("notices_total", outcome="delivered") == 2


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
    from sensord.stream.publisher import Writer
    from sensord.stream.ranges import read_range

    name, settings = topic(), KafkaSettings(bootstrap_servers=kafka)
    with Writer(settings, name) as writer:
        site = Site(engine, build("log", SinkSettings.model_validate({"kind": "kafka", "topic": name}), writer.write))
        site.plant.opens("pump-1")
        site.tell()
    [record] = [record for _, records in read_range(settings, name) for record in records]
    assert record.key == b"pumps/1"
    key = json.loads(record.value or b"")["sensord"]["key"]
    assert key.startswith("sensord-notice-1-")
    assert dict(record.headers) == {"idempotency-key": key.encode()}  # type: ignore[attr-defined]


@pytest.mark.kafka
def test_what_a_topic_does_not_take_is_refused(engine: Engine, kafka: str, topic: MakeTopic) -> None:
    from sensord.settings import KafkaSettings
    from sensord.stream.publisher import Writer

    name = topic(configs={"max.message.bytes": "100"})
    with Writer(KafkaSettings(bootstrap_servers=kafka), name) as writer:
        site = Site(engine, build("log", SinkSettings.model_validate({"kind": "kafka", "topic": name}), writer.write))
        site.plant.opens("pump-1")
        assert site.tell() == LOOK_EVERY_S
    assert site.outcomes() == ["refused"]
    assert "bytes are too many" in list_deliveries(site.engine, [site.wanted], 9)[0].detail


@pytest.mark.kafka
def test_a_topic_that_is_away_is_tried_again_and_then_told(engine: Engine, kafka: str, topic: MakeTopic) -> None:
    from sensord.settings import KafkaSettings
    from sensord.stream.publisher import Writer
    from sensord.stream.ranges import read_range

    name, there = topic(), KafkaSettings(bootstrap_servers=kafka)
    ways = [KafkaSettings(bootstrap_servers="127.0.0.1:1"), there]

    def write(key: bytes, value: bytes, headers: Sequence[tuple[str, bytes]]) -> None:
        with Writer(ways[0], name, timeout_s=2) as writer:
            writer.write(key, value, headers)

    site = Site(engine, build("log", SinkSettings.model_validate({"kind": "kafka", "topic": name}), write))
    site.plant.opens("pump-1")
    site.plant.closes("pump-1")
    assert [site.tell(), site.tell()] == [1.0, 2.0]
    assert site.outcomes() == ["waiting"] * 2
    ways.pop(0)
    assert site.tell() == LOOK_EVERY_S
    records = [record for _, some in read_range(there, name) for record in some]
    assert [json.loads(record.value or b"")["sensord"]["notice"] for record in records] == ["opened", "resolved"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # apprise's own imports
@pytest.mark.parametrize("kind", ["webhook", "alertmanager", "kafka", "apprise"])
def test_an_hour_of_outage_loses_nothing_at_any_sink(engine: Engine, hook: Receiver, kind: str) -> None:
    """Kafka's double fails as the writer does, whose own test is with the real one."""
    away, written = [True], list[bytes]()

    def write(key: bytes, value: bytes, headers: Sequence[tuple[str, bytes]]) -> None:
        if away[0]:
            raise Unreachable("nobody acknowledges")
        written.append(value)

    url = hook.url.replace("http://", "json://") if kind == "apprise" else hook.url
    where = {"topic": "alerts"} if kind == "kafka" else {"url": url}
    site = Site(engine, build("ops", SinkSettings.model_validate({"kind": kind, "timeout_s": 1.5, **where}), write))
    site.plant.opens("pump-1")
    site.plant.opens("pump-2", NOISE)
    begun, waits = site.clock.monotonic(), list[float]()
    while site.clock.monotonic() < begun + 3_600:
        hook.plan[:] = [503]
        waits.append(site.tell())
        site.clock.advance(waits[-1])
    assert (waits[0], max(waits)) == (1.0, MOST_RETRY_S)
    assert site.outcomes() == ["waiting"] * 2
    site.plant.closes("pump-1")
    away.clear()
    away.append(False)
    hook.plan.clear()
    hook.got.clear()
    site.begin()
    site.tell()
    assert site.outcomes() == ["delivered"] * 3
    told = [value.decode() for value in written] or [one.body.decode() for one in hook.got]
    order = [next(name for name in ("pump-1", "pump-2") if name in text) for text in told[:3]]
    assert order == ["pump-1", "pump-2", "pump-1"]


def test_what_has_become_critical_is_no_longer_a_warning_to_an_alertmanager(engine: Engine, hook: Receiver) -> None:
    site = Site(engine, build("am", SinkSettings.model_validate({"kind": "alertmanager", "url": hook.url})))
    site.plant.opens("pump-1")
    site.tell()
    site.plant.escalates("pump-1")
    site.tell()
    [first], [goes_on, ends] = json.loads(hook.got[0].body), json.loads(hook.got[-1].body)
    now = instant(site.clock.now()).isoformat()
    assert goes_on["labels"] == first["labels"] | {"severity": "critical"}
    assert goes_on["endsAt"] > now
    assert (ends["labels"], ends["endsAt"]) == (first["labels"], now)


def test_an_alertmanager_gets_thousands_of_alerts_in_parts(engine: Engine, hook: Receiver) -> None:
    site = Site(engine, build("am", SinkSettings.model_validate({"kind": "alertmanager", "url": hook.url})))
    for number in range(230):
        site.plant.opens(f"pump-{number}")
    site.tell()
    assert [len(json.loads(one.body)) for one in hook.got[:3]] == [100, 100, 30]


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
