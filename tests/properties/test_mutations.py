"""The simulation can fail: each guard that is taken out of the daemon, it finds missing.

Settling before the commit isn't among them, for it does no harm: whose commit failed claims anew, and the claim says
that the database stands elsewhere.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime

import numpy as np
import pytest
import torch
from sqlalchemy import Connection, select
from sqlalchemy.exc import IntegrityError

from sensord.daemon import loop, shard
from sensord.daemon.loop import FleetRules, Loop
from sensord.daemon.shard import Shard, StateCopy
from sensord.detection import fleet
from sensord.detection.alerts import Run
from sensord.detection.devices import Devices, Page
from sensord.detection.fleet import Fleet, Observation
from sensord.detection.reorder import Reorder
from sensord.model.bundle import Bundle
from sensord.model.network import Stepper
from sensord.model.steps import ELSEWHERE, weights_of
from sensord.readings import Floats, Readings
from sensord.store import progress
from sensord.store.devices import DeviceSeen
from sensord.store.progress import Checkpoint, Claim, LaterSnapshot, Progress
from sensord.store.schema import partition_progress
from sensord.stream.decoders import Decoded
from tests.properties.machine import explore

EXAMPLES = 300
SEED = 1
Mutation = Callable[[pytest.MonkeyPatch], None]


def row_count_unchecked(patch: pytest.MonkeyPatch) -> None:
    advance = progress._advance
    patch.setattr(progress, "_advance", lambda *given: advance(*given) or True)


def previous_offset_unchecked(patch: pytest.MonkeyPatch) -> None:
    advance = progress._advance

    def mutated(connection: Connection, mark: Checkpoint, now: datetime) -> bool:
        p = partition_progress.c
        stored = connection.scalar(select(p.next_offset).where(p.partition == mark.partition.number))
        return advance(connection, replace(mark, previous_offset=stored), now)

    patch.setattr(progress, "_advance", mutated)


def fence_unchecked(patch: pytest.MonkeyPatch) -> None:
    """Neither the epoch nor the owner; one alone is hard to get past while the other stands."""
    advance = progress._advance

    def mutated(connection: Connection, mark: Checkpoint, now: datetime) -> bool:
        p = partition_progress.c
        stored = connection.execute(select(p.epoch, p.owner).where(p.partition == mark.partition.number)).one()
        return advance(connection, replace(mark, epoch=stored.epoch, owner=stored.owner), now)

    patch.setattr(progress, "_advance", mutated)


def snapshots_leave_the_epoch(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Checkpoint, "epoch_after", property(lambda mark: mark.epoch))


def replay_skipped(patch: pytest.MonkeyPatch) -> None:
    adopt = Loop._adopt

    def mutated(self: Loop, claim: Claim, rules: FleetRules) -> Shard:
        return adopt(
            self, claim if claim.state_offset is None else replace(claim, state_offset=claim.next_offset), rules
        )

    patch.setattr(Loop, "_adopt", mutated)


def late_readings_accepted(patch: pytest.MonkeyPatch) -> None:
    observe = Fleet.observe

    def mutated(self: Fleet, readings: Readings) -> Observation:
        slots = self._find(readings.device_ids)
        np.minimum.at(self.devices.last_at, slots, readings.at - 1)
        return observe(self, readings)

    patch.setattr(Fleet, "observe", mutated)


def always_still_ours(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Shard, "still_ours", lambda mine, claim: True)


def replayed_dead_letters_written_again(patch: pytest.MonkeyPatch) -> None:
    def mutated(self: Shard, decoded: Decoded) -> Decoded:
        return Decoded(decoded.readings.since(self.live_from), decoded.dead_letters)

    patch.setattr(Shard, "_live_part", mutated)


def swaps_committed_without_snapshot(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Shard, "_unfounded", property(lambda mine: mine.state_offset is None))


def snapshots_unfenced(patch: pytest.MonkeyPatch) -> None:
    """One that is written beside the commits asks only whether the partition is still its owner's row to move."""
    store = Progress.store

    def mutated(self: Progress, snapshot: LaterSnapshot) -> None:
        p = partition_progress.c
        with self._engine.connect() as connection:
            stands = connection.execute(
                select(p.epoch, p.owner, p.state_offset).where(p.partition == snapshot.partition.number)
            ).one()
        stolen = replace(snapshot, epoch=stands.epoch, owner=stands.owner, previous_state_offset=stands.state_offset)
        store(self, stolen)

    patch.setattr(Progress, "store", mutated)


def failed_snapshots_taken_for_stored(patch: pytest.MonkeyPatch) -> None:
    """Their pages are not written again."""
    patch.setattr(Devices, "unsettle", lambda devices, numbers: None)


def lost_offsets_unnoticed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(loop, "lost_offsets", lambda *given: None)


def first_seen_forgotten(patch: pytest.MonkeyPatch) -> None:
    told = shard._devices_seen

    def mutated(pages: Iterable[Page]) -> tuple[DeviceSeen, ...]:
        return tuple(replace(device, first_seen_at=device.last_seen_at) for device in told(pages))

    patch.setattr(shard, "_devices_seen", mutated)


def scores_that_depend_on_the_batch(patch: pytest.MonkeyPatch) -> None:
    """The network stepped by torch, as many devices at once as there happen to be."""

    def mutated(self: Stepper, x: Floats, state: Floats) -> Floats:
        with torch.inference_mode():
            after = self.network.cell.step(torch.from_numpy(x), torch.from_numpy(state))
        return np.asarray(after.numpy(), np.float32)

    patch.setattr(Stepper, "step", mutated)
    patch.setattr(fleet, "weights_of", lambda cell: weights_of(cell)._replace(kind=ELSEWHERE))


def room_made_without_snapshot(patch: pytest.MonkeyPatch) -> None:
    """Whenever it commits; nor does it take a snapshot because a partition is crowded."""
    save = Loop._save

    def mutated(self: Loop, boundary: bool = False) -> None:
        self._evict_surplus()
        for mine in self.shards.values():
            mine.amended = False
        save(self, boundary)

    patch.setattr(Loop, "_save", mutated)
    patch.setattr(Loop, "_crowded", lambda loop, mine, times: False)


def what_found_no_room_skipped(patch: pytest.MonkeyPatch) -> None:
    """Once there is room, the stream goes on with what was polled next."""

    def mutated(self: Loop) -> None:
        if self._overcrowded():
            self._wait_for_saver()
            self._end_saving()
            self._save(boundary=True)

    patch.setattr(Loop, "_make_room", mutated)


def waiting_readings_not_stored(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Reorder, "pages", lambda reorder: {})


def shadows_not_stored(patch: pytest.MonkeyPatch) -> None:
    copy = Shard.copy

    def mutated(self: Shard) -> StateCopy:
        copied = copy(self)
        return replace(copied, shadow=None if copied.shadow is None else {})

    patch.setattr(Shard, "copy", mutated)


def shadows_left_open(patch: pytest.MonkeyPatch) -> None:
    """What a shadow that goes has open stays so."""

    def mutated(self: Shard, bundle: Bundle | None) -> None:
        self.amended = True
        self.shadow = None if bundle is None else self.fleet.beside(bundle, Run.SHADOW)

    patch.setattr(Shard, "score_beside", mutated)
    patch.setattr(progress, "_close_shadow", lambda *given: None)


SOON: list[Mutation] = [
    row_count_unchecked,
    fence_unchecked,
    replay_skipped,
    late_readings_accepted,
    replayed_dead_letters_written_again,
    lost_offsets_unnoticed,
    first_seen_forgotten,
    room_made_without_snapshot,
    what_found_no_room_skipped,
]
LATE: list[Mutation] = [
    always_still_ours,
    previous_offset_unchecked,
    snapshots_leave_the_epoch,
    swaps_committed_without_snapshot,
    scores_that_depend_on_the_batch,
    waiting_readings_not_stored,
    snapshots_unfenced,
    failed_snapshots_taken_for_stored,
    shadows_not_stored,
    shadows_left_open,
]


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("mutate", SOON, ids=lambda mutation: mutation.__name__)
def test_the_simulation_finds(mutate: Mutation, monkeypatch: pytest.MonkeyPatch) -> None:
    mutate(monkeypatch)
    with pytest.raises((AssertionError, IntegrityError)):
        explore(EXAMPLES, seed_=SEED)


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(1_200)
@pytest.mark.parametrize("mutate", LATE, ids=lambda mutation: mutation.__name__)
def test_the_simulation_finds_in_the_end(mutate: Mutation, monkeypatch: pytest.MonkeyPatch) -> None:
    """What only a rare order of events shows; each guard has a test of its own besides."""
    mutate(monkeypatch)
    with pytest.raises((AssertionError, IntegrityError)):
        explore(20 * EXAMPLES, seed_=SEED)
