"""The broker goes away, and the group with it."""

import time

from kafka import OffsetAndMetadata, TopicPartition

from tests.faults.scenarios.membership import last
from tests.faults.scenarios.scenario import Scenario
from tests.faults.servers import Broker
from tests.faults.stage import Stage
from tests.faults.trial import Stuck, Trial

FROZEN_S = 45.0  # longer than an inspection of the log, and the request that it waits for
BLACK_S = 15.0
BRIEF_S = 3.0
DELAY_S = 0.2
CORRUPTIONS = 3
RECOVERY_S = (
    45.0  # a client that lost its broker waits up to 5 s between attempts, and the group its session's time-out
)


def restarted(stage: Stage, trial: Trial) -> None:
    """The broker is killed and started again."""
    broker = broker_of(stage)
    trial.start()
    trial.wait_share(0.3)
    broker.kill()
    broker.start()
    trial.fault_over()
    trial.finish()


def frozen(stage: Stage, trial: Trial) -> None:
    """The broker hangs without closing a connection."""
    trial.start()
    trial.wait_share(0.3)
    broker_of(stage).freeze()
    with trial.outage():
        time.sleep(FROZEN_S)
    broker_of(stage).thaw()
    trial.fault_over()
    trial.finish()


def cut(stage: Stage, trial: Trial) -> None:
    """The network to the broker is cut, and ends new connections for a while, at which a poll may raise."""
    _through_proxy(stage, trial)
    trial.supervised = True
    trial.start()
    trial.wait_share(0.3)
    broker_of(stage).proxy.cut(refuse=True)
    time.sleep(BRIEF_S)
    broker_of(stage).proxy.mend()
    trial.fault_over()
    trial.finish()


def black_hole(stage: Stage, trial: Trial) -> None:
    """The network to the broker swallows everything for a while."""
    _through_proxy(stage, trial)
    trial.start()
    trial.wait_share(0.3)
    broker_of(stage).proxy.black_hole()
    with trial.outage():
        time.sleep(BLACK_S)
    broker_of(stage).proxy.mend()
    trial.fault_over()
    trial.finish()


def delayed(stage: Stage, trial: Trial) -> None:
    """The network to the broker takes 200 ms each way, for half of the topic."""
    _through_proxy(stage, trial)
    trial.start()
    trial.wait_share(0.1)
    broker_of(stage).proxy.delay_s = DELAY_S
    trial.wait_share(0.5)
    broker_of(stage).proxy.mend()
    trial.finish()


def corrupted(stage: Stage, trial: Trial) -> None:
    """What the broker sends is changed on the way: each daemon ends rather than believe it, and starts again."""
    _through_proxy(stage, trial)
    proxy = broker_of(stage).proxy
    proxy.corrupted, trial.supervised = 0, True
    trial.start()
    trial.wait_share(0.3)
    proxy.corrupting = True
    trial.wait(lambda: len(trial.daemons) > CORRUPTIONS, f"{CORRUPTIONS} daemons had ended")
    proxy.mend()
    if proxy.corrupted < CORRUPTIONS:
        raise Stuck(f"only {proxy.corrupted} answers were corrupted")
    trial.fault_over()
    trial.finish()


def group_deleted(stage: Stage, trial: Trial) -> None:
    """The group is deleted between two daemons: its generation starts anew, and its offsets are gone."""
    first = trial.start()
    trial.wait_share(0.3)
    first.stop()
    with stage.admin() as admin:
        admin.delete_groups([trial.group])
    trial.fault_over()
    trial.start()
    trial.finish()


def group_offsets_forged(stage: Stage, trial: Trial) -> None:
    """Somebody sets the group's offsets, which are a hint for monitors and nothing else, to the topic's end."""
    first = trial.start()
    trial.wait_share(0.3)
    first.stop()
    offsets = {TopicPartition(trial.topic, n): OffsetAndMetadata(end, "", -1) for n, end in trial.ends.items()}
    with stage.admin() as admin:
        admin.alter_group_offsets(trial.group, offsets)
    trial.fault_over()
    trial.start()
    trial.finish()


def broker_of(stage: Stage) -> Broker:
    """The broker that may be killed."""
    if stage.broker is None:
        raise LookupError("this scenario needs a broker of its own")
    return stage.broker


def _through_proxy(stage: Stage, trial: Trial) -> None:
    last(trial, 15)
    trial.kafka = broker_of(stage).proxy.address


SCENARIOS = (
    Scenario("broker-restart", "kill -9 of the broker", restarted, recovery_s=RECOVERY_S, needs_broker=True),
    Scenario(
        "broker-freeze",
        f"broker hangs for {FROZEN_S:.0f} s",
        frozen,
        recovery_s=RECOVERY_S,
        tells_ready=True,
        needs_broker=True,
    ),
    Scenario("broker-cut", "TCP cut, refused for 3 s", cut, recovery_s=RECOVERY_S, needs_broker=True),
    Scenario(
        "broker-black-hole", f"TCP black hole for {BLACK_S:.0f} s", black_hole, recovery_s=RECOVERY_S, needs_broker=True
    ),
    Scenario("broker-delay", "200 ms each way", delayed, needs_broker=True),
    Scenario(
        "broker-corrupts",
        f"fetched readings changed on the way x{CORRUPTIONS}",
        corrupted,
        recovery_s=RECOVERY_S,
        needs_broker=True,
    ),
    Scenario("group-deleted", "the group is deleted", group_deleted),
    Scenario("group-offsets-forged", "the group's offsets are set to the end", group_offsets_forged),
)
