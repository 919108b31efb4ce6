"""Zombies, and daemons that come and go."""

from kafka import KafkaConsumer
from kafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from sqlalchemy import func, select

from sensord.store.schema import alerts
from tests.faults.scenarios.scenario import Scenario
from tests.faults.stage import Stage
from tests.faults.trial import Stuck, Trial

TAKEOVER_S = (
    45.0  # the session's time-out, the database's for an idle transaction, and what the successor's start takes
)
STORM = 8
HOUR_S = 3_600.0
DRAIN_LIMIT_S = 15.0
LONG_S = 30.0


def zombie_idle(stage: Stage, trial: Trial) -> None:
    """Frozen with readings in hand; thawed when another has taken over, it must not write them."""
    _taken_over("after-poll:30:freeze", trial)


def zombie_in_transaction(stage: Stage, trial: Trial) -> None:
    """Frozen while it holds the row locks of a commit; the database lets go of them for it."""
    _taken_over("after-fence:10:freeze", trial)


def _taken_over(failpoint: str, trial: Trial) -> None:
    zombie = trial.start(failpoint)
    trial.wait_frozen(zombie)
    trial.fault_over()
    trial.start()
    trial.wait_progress()
    zombie.thaw()
    trial.finish()


def scaled(stage: Stage, trial: Trial) -> None:
    """One daemon, three, one, two."""
    last(trial, LONG_S)
    trial.start()
    trial.wait_share(0.1)
    others = [trial.start(), trial.start()]
    trial.wait(lambda: trial.owners() == 3, "three daemons shared the topic")
    trial.wait_progress()
    for each in others:
        each.stop()
    trial.fault_over()
    trial.wait(lambda: trial.owners() == 1, "one daemon had it all again")
    trial.start()
    trial.finish()


def shared_for_a_while(stage: Stage, trial: Trial) -> None:
    """One daemon, two, one: the short form of `scaled`."""
    last(trial, LONG_S / 2)
    trial.start()
    trial.wait_share(0.1)
    other = trial.start()
    trial.wait(lambda: trial.owners() == 2, "two daemons shared the topic")
    other.stop()
    trial.fault_over()
    trial.finish()


def storm(stage: Stage, trial: Trial) -> None:
    """Members that join and leave the group as fast as they can, and never do any work."""
    last(trial, LONG_S)
    trial.start()
    trial.wait_share(0.1)
    for _ in range(STORM):
        member = KafkaConsumer(
            trial.topic,
            bootstrap_servers=trial.kafka,
            group_id=trial.group,
            enable_auto_commit=False,
            partition_assignment_strategy=[StickyPartitionAssignor],
            session_timeout_ms=6_000,
        )
        member.poll(timeout_ms=1_000)
        member.close(autocommit=False)
    trial.fault_over()
    trial.finish()


def asked_to_stop(stage: Stage, trial: Trial) -> None:
    """SIGTERM in the middle of work: it drains in time, and nothing is read twice."""
    daemon = trial.start()
    trial.wait_share(0.3)
    seconds = daemon.stop()
    if seconds > DRAIN_LIMIT_S:
        raise Stuck(f"the drain took {seconds:.1f} s")
    trial.fault_over()
    trial.start()
    trial.finish()


def clocks_differ(stage: Stage, trial: Trial) -> None:
    """Each daemon's wall clock is an hour off, ahead and behind: they share, take over and give back all the same.

    Event time comes with the readings, and a reading is ahead of its time by its record's stamp: neither is the
    daemon's to tell. What a wrong clock could spoil is who owns a partition, and when to commit.
    """
    last(trial, LONG_S)
    trial.clock_off_s = HOUR_S
    ahead = trial.start()
    trial.wait_share(0.2)
    trial.clock_off_s = -HOUR_S
    trial.start()
    trial.wait(lambda: trial.owners() == 2, "two daemons shared the topic")
    trial.wait_progress()
    ahead.kill()
    trial.fault_over()
    trial.wait(lambda: trial.owners() == 1, "the one that is behind had it all")
    trial.wait_progress()
    trial.clock_off_s = HOUR_S
    trial.start()
    trial.finish()
    _must_have_been_off(trial)


def _must_have_been_off(trial: Trial) -> None:
    """An alert's `detected_at` is the daemon's clock."""
    with trial.engine.connect() as connection:
        first, last = connection.execute(select(func.min(alerts.c.detected_at), func.max(alerts.c.detected_at))).one()
    if (last - first).total_seconds() < 1.5 * HOUR_S:
        raise Stuck(f"clocks two hours apart detected from {first} to {last}")


def last(trial: Trial, seconds: float) -> None:
    """Have one daemon take about so long for the topic, so that there is work left for those who come later."""
    trial.rate = trial.total / seconds


SCENARIOS = (
    Scenario("zombie-idle", "frozen with readings in hand, thawed later", zombie_idle, recovery_s=TAKEOVER_S),
    Scenario(
        "zombie-in-transaction", "frozen inside a commit, thawed later", zombie_in_transaction, recovery_s=TAKEOVER_S
    ),
    Scenario("scale-1-3-1-2", "one daemon, three, one, two", scaled),
    Scenario("scale-1-2-1", "one daemon, two, one", shared_for_a_while),
    Scenario("rebalance-storm", f"{STORM} members join and leave", storm),
    Scenario("clocks-differ", "wall clocks 1 h ahead and 1 h behind", clocks_differ),
    Scenario("sigterm-under-load", "SIGTERM in the middle of work", asked_to_stop),
)
