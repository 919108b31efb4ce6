"""Topics that change, lose readings, or hold what nobody should read."""

import time
from collections import Counter
from dataclasses import replace
from functools import partial

from kafka import KafkaProducer, TopicPartition

from sensord.errors import EXIT_NEEDS_A_PERSON
from sensord.store.schema import alerts
from tests.faults.invariants import WALL_CLOCK, Expected, Gap, Row, Tables
from tests.faults.scenarios.kafka import broker_of
from tests.faults.scenarios.scenario import Scenario
from tests.faults.stage import GOLDEN_RATE, Stage, Topic
from tests.faults.trial import SIGKILLED, Stuck, Trial
from tests.faults.workload import FAULT, POISON, Message, crowd, reading

SMALL = 12_000  # readings of a topic that only one scenario reads
DEVICES = 100
EXPIRED = 500
CUT_OFF = 300
FLOOD = 4_000
IN_TRANSACTION = 400
NEW_AT_ONCE = 50  # in one record
CROWDING = 25  # new devices for each reading of those that stay, at most: these speak before too many are new ones
MOST_DEVICES = 1_000  # of a partition
CROWD_S = 1_800.0
NEW_PARTITIONS_S = 60.0  # the client asks for metadata every 30 s


def small_topic(stage: Stage) -> Topic:
    """A topic of the scenario's own, which it may change."""
    topic = stage.create_topic(stage.workload.partitions)
    stage.write(topic, stage.workload.scaled(SMALL, DEVICES).messages())
    return topic


# --- partitions are added --------------------------------------------------------------------------------------------


def first_half(stage: Stage) -> Topic:
    """A topic that has had the first of `_halves`."""
    topic = stage.create_topic(stage.workload.partitions)
    stage.write(topic, _halves(stage)[0])
    return topic


def _halves(stage: Stage) -> tuple[list[Message], list[Message]]:
    messages = stage.workload.scaled(SMALL, DEVICES).messages()
    return messages[: len(messages) // 2], messages[len(messages) // 2 :]


def partitions_added(stage: Stage, trial: Trial) -> Expected:
    """Four partitions become six while the daemon runs; half of the devices move."""
    topic, partitions = stage.topics[trial.topic], stage.workload.partitions + 2
    trial.start()
    trial.wait_share(0.5)
    with stage.admin() as admin:
        admin.create_partitions({topic.name: partitions})
    _, rest = _halves(stage)
    stage.write(topic, [replace(each, partition=number % partitions) for number, each in enumerate(rest)])
    trial.finish(NEW_PARTITIONS_S)
    return Expected(stage.golden(topic), topic.written.injected, topic.written.ends, devices_vary=True)


# --- readings are lost -----------------------------------------------------------------------------------------------


def retention_overrun(stage: Stage, trial: Trial) -> Expected:
    """Readings expire before the daemon has read them: it stops with 78, and goes on only when told to."""
    topic = stage.topics[trial.topic]
    golden = stage.golden(topic)
    first = trial.start()
    trial.wait_share(0.3)
    first.stop()
    committed = trial.committed()[0]
    lost = range(committed, committed + EXPIRED)
    with stage.admin() as admin:
        admin.delete_records({TopicPartition(topic.name, 0): lost.stop})
    refused = trial.start()
    trial.wait_ended(refused, EXIT_NEEDS_A_PERSON)
    _must_say(refused.log, topic.name, str(committed), str(lost.stop), "--accept-gap")
    trial.fault_over()
    trial.start("", "--accept-gap")
    trial.finish()
    kept = [each for each in topic.written.injected if each.partition != 0 or each.offset not in lost]
    return Expected(golden, kept, topic.written.ends, [Gap(0, lost.start, lost.stop)], untold=frozenset({0}))


def truncated(running: bool, stage: Stage, trial: Trial) -> Expected:
    """The broker crashes and comes back without the last readings of a partition, which the daemon had committed.

    What is written there later has offsets that were in use before; the daemon says so before it reads any of it.
    """
    topic = stage.topics[trial.topic]
    first = trial.start()
    trial.wait_all()
    if not running:
        first.stop()
    committed = trial.committed()[0]
    end = broker_of(stage).crash_losing(topic.name, 0, committed - CUT_OFF)
    topic.written.ends[0] = end
    if running:  # whether its claim or its client notices first is chance, and the client knows no bounds
        trial.wait_ended(first, EXIT_NEEDS_A_PERSON)
        _must_say(first.log, topic.name, str(committed), "--accept-gap")
    refused = trial.start()
    trial.wait_ended(refused, EXIT_NEEDS_A_PERSON)
    _must_say(refused.log, f"{topic.name}[0]", str(committed), str(end), "truncated", "--accept-gap")
    trial.fault_over()
    trial.wait_log(trial.start("", "--accept-gap"), "gap accepted")
    stage.write(topic, _halves(stage)[1])
    trial.finish()
    gaps = [Gap(0, committed, end)]
    return Expected(stage.golden(topic), topic.written.injected, topic.written.ends, gaps, untold=frozenset({0}))


def topic_recreated(stage: Stage, trial: Trial) -> Expected:
    """A topic of the same name takes the place of the one that was read: nothing of it follows on."""
    topic = stage.topics[trial.topic]
    first = trial.start()
    trial.wait_share(0.3)
    first.stop()
    before, committed = Tables.of(trial.engine), trial.committed()
    stage.recreate(topic)
    stage.write(topic, stage.workload.scaled(SMALL, DEVICES).messages())
    refused = trial.start()
    trial.wait_ended(refused, EXIT_NEEDS_A_PERSON)
    _must_say(refused.log, topic.name, "recreated", "--accept-gap")
    trial.fault_over()
    trial.start("", "--accept-gap")
    trial.finish()
    golden = stage.golden(topic)
    given_up = _closed_by_gap(before, Tables.of(trial.engine))
    tables = replace(
        golden,
        alerts=before.alerts | given_up | golden.alerts,
        events=before.events + golden.events + Counter({(row[0], "closed"): 1 for row in given_up.values()}),
    )
    injected = [*before.dead_letters.elements(), *topic.written.injected]
    gaps = [Gap(partition, offset, 0) for partition, offset in committed.items()]
    return Expected(tables, injected, topic.written.ends, gaps)


def _closed_by_gap(before: Tables, after: Tables) -> dict[str, Row]:
    """What was open when the topic went; found closed for that reason and otherwise as it was."""
    names = [column.name for column in alerts.c if column.name not in WALL_CLOCK]
    status, reason, closed_at = (names.index(name) for name in ("status", "close_reason", "closed_at"))
    last_seen = names.index("last_seen_at")
    closed = {}
    for key, row in before.alerts.items():
        if row[status] == "open":
            wanted = list(row)
            wanted[status], wanted[reason], wanted[closed_at] = "closed", "gap", row[last_seen]
            closed[key] = tuple(wanted)
    return closed


def _must_say(log: str, *words: str) -> None:
    if missing := [word for word in words if word not in log]:
        raise Stuck(f"the log does not say {', '.join(missing)}: {log[-500:]}")


# --- what nobody should read -----------------------------------------------------------------------------------------


def flooded_topic(stage: Stage) -> Topic:
    """In its middle, two messages of five are poison."""
    topic = stage.create_topic(stage.workload.partitions)
    messages = stage.workload.scaled(SMALL, DEVICES).messages()
    middle = len(messages) // 3
    flooded: list[Message] = messages[:middle]
    for number, message in enumerate(messages[middle:]):
        flooded.append(message)
        if number % 3 and number < FLOOD * 3 // 2:
            value, reason = POISON[number % len(POISON)]
            flooded.append(Message(message.partition, value, reason))
    stage.write(topic, flooded)
    return topic


def killed_in_the_flood(stage: Stage, trial: Trial) -> None:
    """Killed in the middle of a flood of poison; each message is a dead letter once."""
    daemon = trial.start()
    trial.wait_share(0.5)
    daemon.kill()
    trial.fault_over()
    trial.start()
    trial.finish()


def crowded_topic(devices: int, stage: Stage) -> Topic:
    """Among the readings of some devices, readings of very many that speak once; state is kept of few."""
    topic = stage.create_topic(stage.workload.partitions)
    topic.fleet_settings, topic.patience_s = f"max_devices = {MOST_DEVICES}", CROWD_S
    topic.commit_interval_s = 1.0  # each time, all that is kept is written anew
    readings = max(SMALL, devices // CROWDING)
    messages = stage.workload.scaled(readings, DEVICES).messages()
    crowds, seconds = devices // NEW_AT_ONCE, readings // DEVICES
    places = [number * len(messages) // crowds for number in range(crowds)]
    mixed: list[Message] = []
    for number, (begin, end) in enumerate(zip(places, [*places[1:], len(messages)], strict=True)):
        new = crowd(DEVICES + number * NEW_AT_ONCE, NEW_AT_ONCE, begin * seconds // len(messages))
        mixed += [Message(number % stage.workload.partitions, new), *messages[begin:end]]
    stage.write(topic, mixed)
    return topic


def killed_in_the_crowd(stage: Stage, trial: Trial) -> Expected:
    """Killed among very many devices that come once: state stays small, and none that stays suffers."""
    topic = stage.topics[trial.topic]
    trial.rate = GOLDEN_RATE
    began = time.monotonic()
    daemon = trial.start()
    trial.wait_share(0.5)
    daemon.kill()
    trial.fault_over()
    trial.start()
    trial.finish()
    trial.notes.append(f"read and taken over in {time.monotonic() - began:.0f} s")
    _must_say(daemon.log, "devices evicted")
    return Expected(stage.golden(topic), topic.written.injected, topic.written.ends, devices_vary=True)


def transactional_topic(stage: Stage) -> Topic:
    """Written in transactions; every other one says that all devices are failing, holds poison, and is aborted."""
    topic = stage.create_topic(stage.workload.partitions)
    messages = stage.workload.scaled(SMALL, DEVICES).messages()
    producer = KafkaProducer(bootstrap_servers=stage.kafka, transactional_id=f"{topic.name}-writer", linger_ms=20)
    producer.init_transactions()
    try:
        for first in range(0, len(messages), IN_TRANSACTION):
            chunk = messages[first : first + IN_TRANSACTION]
            producer.begin_transaction()
            sent = [(m, producer.send(topic.name, m.value, m.key, partition=m.partition)) for m in chunk]
            producer.commit_transaction()
            for message, future in sent:
                topic.written.note(message, future.get(timeout=30).offset)
            producer.begin_transaction()
            for device in range(DEVICES):
                second = first // DEVICES
                partition = device % stage.workload.partitions
                producer.send(topic.name, reading(device, second, FAULT, FAULT), partition=partition)
                producer.send(topic.name, b"poison", partition=partition)
            producer.flush()
            producer.abort_transaction()
    finally:
        producer.close()
    return topic


def killed_among_aborted(stage: Stage, trial: Trial) -> None:
    """Killed on a topic full of aborted transactions, whose offsets have holes; nothing aborted is read."""
    trial.wait_ended(trial.start("before-commit:8"), SIGKILLED)
    trial.fault_over()
    trial.start()
    trial.finish()


SCENARIOS = (
    Scenario("partitions-added", "4 partitions become 6", partitions_added, first_half),
    Scenario("retention-overrun", f"{EXPIRED} readings expire unread", retention_overrun, small_topic),
    Scenario(
        "log-truncated",
        "a log's end is lost between two daemons",
        partial(truncated, False),
        first_half,
        needs_broker=True,
    ),
    Scenario(
        "log-truncated-live",
        "a log's end is lost under a daemon",
        partial(truncated, True),
        first_half,
        needs_broker=True,
    ),
    Scenario("topic-recreated", "another topic of the same name", topic_recreated, small_topic),
    Scenario("poison-flood", f"{FLOOD} poison messages, kill -9 among them", killed_in_the_flood, flooded_topic),
    Scenario(
        "new-devices",
        "100,000 devices come once, kill -9 among them",
        killed_in_the_crowd,
        partial(crowded_topic, 100_000),
    ),
    Scenario(
        "new-devices-million",
        "1,000,000 devices come once, kill -9 among them",
        killed_in_the_crowd,
        partial(crowded_topic, 1_000_000),
        only_named=True,
    ),
    Scenario("aborted-transactions", "kill -9 among aborted transactions", killed_among_aborted, transactional_topic),
)
