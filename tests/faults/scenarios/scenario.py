"""What a scenario is. Each is a function that plays a fault in a trial and says what must be left of it."""

from collections.abc import Callable
from dataclasses import dataclass

from tests.faults.invariants import Expected
from tests.faults.stage import Stage, Topic
from tests.faults.trial import Trial

RECOVERY_S = 20.0
MEMORY_MB = 480.0
IDLE_CPU = 0.5  # of a core

Play = Callable[[Stage, Trial], Expected | None]
Prepare = Callable[[Stage], Topic]


@dataclass(frozen=True, slots=True)
class Scenario:
    """play: makes the fault and sees recovery through; what it returns is expected, None: what the oracle left.

    topic: the topic it plays on, the stage's own when absent. recovery_s: the most from the fault's end to the first
    commit. idle_cpu: the most of a core that daemons may use in an outage. tells_ready: they must be unready in every
    outage, and ready again. only_named: takes so long that it is played only by its name. needs_broker: kills or
    freezes the broker, or goes through its proxy.
    """

    name: str
    what: str
    play: Play
    topic: Prepare | None = None
    recovery_s: float = RECOVERY_S
    memory_mb: float = MEMORY_MB
    idle_cpu: float = IDLE_CPU
    tells_ready: bool = False
    only_named: bool = False
    needs_broker: bool = False
