"""Shards move to the bundles that the registry names, and back where one does harm. Used by `loop`."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor, Future
from typing import TypeAlias

from sensord.clock import Clock
from sensord.daemon.journal import journal
from sensord.daemon.models import Models, Wanted
from sensord.daemon.probation import Probation
from sensord.daemon.shard import Progressed, Shard
from sensord.detection.alerts import BESIDE_EPISODES, AlertChange, Run
from sensord.detection.fleet import Outcome
from sensord.store.progress import Checkpoint

AT_ONCE = 2_048  # devices that move in one turn, or one partition: the stream stands still for it
Bundles: TypeAlias = Mapping[tuple[str, str], Wanted]  # by fleet, and the id of the bundle that scores


class Swaps:
    """Which bundles are wanted by now, and who has yet to move.

    lookout: a thread on which bundles are loaded and verified beside the stream. owner: as moves name this process.
    on_swap: told the fleet of each partition that has moved.
    """

    def __init__(
        self,
        models: Models,
        probation: Probation,
        lookout: Executor,
        owner: str,
        clock: Clock,
        on_swap: Callable[[str], None],
    ) -> None:
        self._models, self._probation, self._lookout = models, probation, lookout
        self._owner, self._clock, self._on_swap = owner, clock, on_swap
        self._looking: Future[Bundles] | None = None
        self._wanted: Bundles = {}

    # --- what happens meanwhile --------------------------------------------------------------------------------------

    def observed(self, shard: Shard, progressed: Progressed) -> None:
        """A shard took readings in."""
        seen = progressed.observation
        self._probation.observed(shard.name, shard.fleet.bundle.id, len(seen.outcome), seen.count(Outcome.RESET))

    def committed(self, checkpoints: Iterable[Checkpoint]) -> None:
        """These are in the database."""
        for checkpoint in checkpoints:
            for model_id, opened in Counter(_opened(checkpoint.alerts)).items():
                self._probation.opened(checkpoint.fleet, model_id, opened)

    # --- what is wanted ----------------------------------------------------------------------------------------------

    def look(self, shards: Iterable[Shard]) -> None:
        """Ask the registry, and load and verify what is new there, beside the stream."""
        if self._looking is None:
            scoring = {(shard.name, shard.fleet.bundle.id): shard.fleet.bundle for shard in shards}
            self._looking = self._lookout.submit(
                lambda: {(name, used): self._models.wanted(name, bundle) for (name, used), bundle in scoring.items()}
            )

    def forget(self) -> None:
        """What was found may be outdated."""
        self._looking, self._wanted = None, {}

    def roll_back(self, shards: Sequence[Shard]) -> None:
        """Have the registry name the bundle of before again where one does harm, for all daemons; all move back as to
        any other. Raises StoreUnavailable."""
        for trial, reason in self._probation.harmful(self._clock.monotonic(), devices_of(shards)):
            self._models.condemn(trial.fleet, trial.new, self._clock.now(), self._owner, reason)
            self._probation.end(trial)
            self.forget()
            self.look(shards)

    def move(self, shards: Sequence[Shard]) -> None:
        """Have shards scored by what was promoted, and beside it by what is on trial. Raises StoreUnavailable.

        To be followed by a commit, which is a snapshot then, so that a replay from any snapshot uses that snapshot's
        bundles. Not all move at once: the stream stands still for it.
        """
        if self._looking is not None and self._looking.done():
            looking, self._looking = self._looking, None
            self._wanted = looking.result()
        moved = 0
        for shard in shards:
            wanted = self._wanted.get((shard.name, shard.fleet.bundle.id))
            fits = not moved or moved + len(shard.fleet.devices) <= AT_ONCE
            if wanted is not None and fits and not shard.replaying and shard.saving is None:
                moved += len(shard.fleet.devices) * self._move(shard, wanted)
        in_use = {shard.fleet.bundle.id for shard in shards} | {shard.shadow_id for shard in shards if shard.shadow_id}
        in_use |= {one.id for wanted in self._wanted.values() for one in (wanted.current, wanted.shadow) if one}
        self._models.keep_only(in_use)

    def _move(self, shard: Shard, wanted: Wanted) -> int:
        """Have a shard scored by what is wanted; returns how many times its devices had to be warmed."""
        old, new, told = shard.fleet.bundle.id, wanted.current.id, journal(shard.name, shard.partition)
        moves = 0
        if new != old:
            told.info("swapping", offset=shard.position, old=old, new=new)
            shard.swap(wanted.current)
            self._probation.begin(shard.name, old, new, self._clock.monotonic())
            self._on_swap(shard.name)
            moves += 1
        beside = wanted.shadow and wanted.shadow.id
        if beside != shard.shadow_id:
            told.info("shadow", offset=shard.position, old=shard.shadow_id, new=beside)
            shard.score_beside(wanted.shadow)
            moves += beside is not None
        return moves


def devices_of(shards: Iterable[Shard]) -> Counter[str]:
    """How many devices they hold, by fleet."""
    devices = Counter[str]()
    for shard in shards:
        devices[shard.name] += len(shard.fleet.devices)
    return devices


def _opened(changes: Sequence[AlertChange]) -> list[str]:
    """The bundle of each episode that was opened."""
    alerts = [change.alert for change in changes if "opened" in change.events]
    return [alert.model_id for alert in alerts if alert.run == Run.LIVE and alert.kind not in BESIDE_EPISODES]
