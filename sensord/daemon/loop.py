"""The main loop: claim -> adopt -> replay -> live. Built and run by `cli`.

Restart, failover, zombie and unknown commit are one code path: whatever happened, a partition is claimed, what the
database says is believed, and the log is replayed from the snapshot. Nothing is flushed on the way out of a rebalance.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import structlog

from sensord.clock import Clock
from sensord.daemon.at_once import AtOnce
from sensord.daemon.journal import journal, tell_alerts
from sensord.daemon.losses import Place, lost_offsets
from sensord.daemon.models import Models
from sensord.daemon.owner import Owner
from sensord.daemon.policy import Backoff, Pace, Quality, Standstill, Timer
from sensord.daemon.probation import Probation
from sensord.daemon.shard import Progressed, Saving, Shard, StateCopy
from sensord.daemon.stock import take_stock, tell_lag
from sensord.daemon.swaps import Swaps
from sensord.daemon.watchdog import Watchdog
from sensord.detection.alerts import Run
from sensord.detection.align import ALIGN_PAGE, Align
from sensord.detection.chronicle import Origin
from sensord.detection.fleet import Fleet, Limits
from sensord.detection.reorder import REORDER_PAGE, Reorder
from sensord.errors import BundleAwaited, OffsetsLost, PartitionLost, SensordError, StoreUnavailable, Unreachable
from sensord.metrics import Metrics
from sensord.model.bundle import Bundle
from sensord.readings import Partition, RawRecord, parts
from sensord.store.progress import Checkpoint, Claim, Progress
from sensord.stream.decoders import GLOSSARY_PAGE, Decoded, Decoder
from sensord.stream.source import Batch, Bounds, Source

log = structlog.get_logger()

ACCEPT_GAP = "to go on without what is lost, run once with --accept-gap"
ADOPTING_S = 5.0  # then it polls, or the group and the watchdog would give up who adopts many
CROWDED = 1.1  # times the devices that a partition may have: no commit without making room
OVERCROWDED = 2.0  # times: nothing more is taken in before there is room
PART_BYTES = 128 << 10  # taken in at a time where room is short: one poll may bring tens of thousands of new devices
LEAST_BYTES = 32  # of a reading


@dataclass(frozen=True, slots=True)
class FleetRules:
    """What the loop has to know of a fleet."""

    name: str
    limits: Limits
    max_devices: int  # of a partition
    decoder: Callable[[tuple[str, ...]], Decoder]  # from the bundle's channels
    lateness: int = 0  # microseconds
    span: int = 0  # microseconds; see align


@dataclass(frozen=True, slots=True)
class Rules:
    """Settings of the loop. fleets: by topic. owner: this process, as claims name it."""

    fleets: Mapping[str, FleetRules]
    owner: Owner
    pace: Pace = field(default_factory=Pace)
    poll_timeout_s: float = 0.3
    accept_gap: bool = False
    accept_bad: bool = False
    probation_s: float = 0.0  # see probation
    device: str = "cpu"
    part_bytes: int = PART_BYTES


@dataclass(frozen=True, slots=True)
class Fresh:
    """Records of one partition that were polled, and what they hold; not yet observed."""

    shard: Shard
    records: Sequence[RawRecord]
    decoded: Decoded

    def parts(self, most_bytes: int) -> Iterator[tuple[Decoded, int]]:
        """What they hold by parts of about so many bytes of records; with each the offset after it."""
        rest = self.decoded
        for part in parts(self.records, most_bytes):
            end = part[-1].offset + 1
            whole = end > self.records[-1].offset
            yield rest if whole else rest.before(end), end
            rest = rest if whole else rest.since(end)


class Loop:
    """One daemon's work, a turn at a time, on one thread.

    feeder: another one, which observes readings meanwhile. saver: a third, which writes snapshots; without one they
    are written in between.
    """

    def __init__(
        self,
        source: Source,
        progress: Progress,
        models: Models,
        rules: Rules,
        clock: Clock,
        watchdog: Watchdog,
        metrics: Metrics,
        feeder: Executor | None = None,
        saver: Executor | None = None,
    ) -> None:
        self._source, self._progress, self._models = source, progress, models
        self._rules, self._clock, self._watchdog, self._metrics = rules, clock, watchdog, metrics
        self.shards: dict[Partition, Shard] = {}
        self._unclaimed: dict[Partition, Shard | None] = {}  # assigned, not adopted; with what we held of it
        self._parked: dict[Partition, Shard] = {}  # departed; an eager rebalance gives most of them back
        self._commit = Timer(rules.pace.commit_interval_s)
        self._snapshot = Timer(rules.pace.snapshot_interval_s)
        self._retry = Backoff(rules.pace.retry_first_s, rules.pace.retry_most_s)
        self._inspection = Timer(rules.pace.inspection_interval_s)
        self._standstill = Standstill(rules.pace.standstill_s)
        self._feeder = feeder or ThreadPoolExecutor(1, "feeder")
        self._saver = saver or AtOnce()
        probation = Probation(rules.probation_s)
        self._swaps = Swaps(models, probation, self._saver, str(rules.owner), clock, metrics.swapped)
        self._newest: dict[Partition, int] = {}  # time stamps of the latest records taken in, milliseconds
        self._feeding: Future[list[tuple[Shard, list[Progressed]]]] | None = None
        self._log_answers = True  # when it was last asked, or since it last brought something
        self._store_answers = True  # when it was last needed
        self._joined = False
        self.obstacles = self._obstacles()  # why it isn't ready; for other threads, replaced as a whole

    @property
    def ready(self) -> bool:
        """Every assigned partition is adopted and read, and the broker answers."""
        return not self._obstacles()

    def _obstacles(self) -> tuple[str, ...]:
        """What is in the way of being ready."""
        found = list[str]()
        if not self._joined:
            found.append("not a member of the consumer group yet")
        if not self._log_answers:
            found.append("Kafka does not answer")
        if not self._store_answers:
            found.append("the database does not answer")
        if self._unclaimed:
            found.append(f"assigned, but not adopted yet: {_listed(self._unclaimed)}; the log says why")
        if held := [partition for partition, shard in self.shards.items() if shard.held]:
            found.append(
                f"held, since most of their readings are bad: {_listed(held)}; see `sensord dead-letters list`"
            )
        return tuple(found)

    # --- the loop ----------------------------------------------------------------------------------------------------

    def run(self, stop_requested: Callable[[], bool]) -> bool:
        """Turn until asked to stop, then drain. True if everything was committed."""
        while not stop_requested():
            self.turn()
        return self.drain()

    def turn(self) -> None:
        """Take what one poll brings, and commit and snapshot when due. Raises SourceFailed, OffsetsLost, ..."""
        batch = self._source.poll(self._rules.poll_timeout_s if self._feeding is None else 0)
        self._log_answers |= bool(batch.records)
        self._joined = self._joined or bool(self._source.member)
        self._metrics.polled(self._clock.now(), sum(map(len, batch.records.values())))
        fresh = self._decode(batch)
        self._end_feeding()  # what follows must not see a partition between two states
        self._follow_assignment(batch)
        fed = self._follows_on(fresh)
        if self._unclaimed or self._overcrowded() or self._commit.due(self._clock.monotonic()):
            self._end_saving()
            adopted = self._adopt_unclaimed()
            self._make_room()
            self._save_when_due()
            fed = [one for one in fed if one.shard.partition in self.shards.keys() - adopted]
        self._begin_feeding(fed)
        self._newest.update({one.shard.partition: one.records[-1].timestamp for one in fed})
        self._inspect_when_due()
        self.obstacles = self._obstacles()
        self._watchdog.tick()

    # --- readings ----------------------------------------------------------------------------------------------------

    def _decode(self, batch: Batch) -> list[Fresh]:
        """What a batch holds of partitions that we have; meanwhile what came before may still be observed."""
        found = [(self.shards[p], records) for p, records in batch.records.items() if p in self.shards]
        fresh = [Fresh(shard, records, shard.decode(records)) for shard, records in found if not shard.held]
        for one in fresh:
            self._metrics.left_out(one.shard.name, one.decoded.skipped)
        return fresh

    def _follows_on(self, fresh: Sequence[Fresh]) -> list[Fresh]:
        """What follows on from a shard's state.

        Of a partition that is yet to be adopted nothing does: what was polled before isn't where its state ends. Nor
        does what comes after readings that found no room, and a shard that is held takes nothing in.
        """
        full = self._overcrowded()
        found = [one for one in fresh if self.shards.get(one.shard.partition) is one.shard]
        return [one for one in found if not one.shard.held and one.shard not in full]

    def _begin_feeding(self, fed: Sequence[Fresh]) -> None:
        """Have readings observed on a thread of its own, so that the next poll need not wait for it.

        Until `_end_feeding` all shards belong to that thread. It is there for what is compiled: that needs no lock of
        Python's, which the client holds almost all the time.
        """
        if fed:
            self._feeding = self._feeder.submit(lambda: [(one.shard, self._feed(one)) for one in fed])

    def _feed(self, fresh: Fresh) -> list[Progressed]:
        """Take readings in as long as there is room for their devices, and the shard isn't held."""
        shard, told = fresh.shard, list[Progressed]()
        with self._metrics.score_seconds.labels(shard.name).time():
            for part, end in fresh.parts(max(self._rules.part_bytes, self._room(shard) * LEAST_BYTES)):
                if (progressed := shard.feed(part, end)) is None:
                    break
                told.append(progressed)
                if self._crowded(shard, OVERCROWDED):
                    break
        return told

    def _end_feeding(self) -> None:
        """Wait for what is being observed, and act on what came of it."""
        if self._feeding is None:
            return
        feeding, self._feeding = self._feeding, None
        for shard, told in feeding.result():
            for progressed in told:
                self._metrics.progressed(shard.name, progressed)
                self._metrics.left_out(shard.name, progressed.left_out)
                self._swaps.observed(shard, progressed)
            if shard.held:
                self._hold(shard)

    def _hold(self, shard: Shard) -> None:
        self._source.hold(shard.partition)
        journal(shard.name, shard.partition).error(
            "held: most of the latest readings are bad, so none of these is taken in",
            offset=shard.position,
            model=shard.fleet.bundle.id,
            remedy="see `sensord dead-letters list`; mend the producer or promote a bundle with its channels, then "
            "restart; to make dead letters of all that is bad, run once with --accept-bad",
        )

    def look_for_bundles(self) -> None:
        """Ask the registry now, not only at the next snapshot."""
        self._swaps.forget()
        self._swaps.look(self.shards.values())

    def drain(self) -> bool:
        """Commit everything with its state and leave. What can't be committed, the next owner replays; then False."""
        self._end_feeding()
        self._wait_for_saver()
        self._end_saving()
        self._swaps.forget()
        self._save(boundary=True)
        self._begin_saving()
        self._wait_for_saver()
        self._end_saving()
        left = [str(partition) for partition, held in self._unclaimed.items() if held is not None]
        log.info("drained", partitions=list(map(str, self.shards)), left_to_replay=left)
        self._source.close()
        return not left

    # --- partitions come and go --------------------------------------------------------------------------------------

    def _follow_assignment(self, batch: Batch) -> None:
        for partition in batch.departed:
            held = self.shards.pop(partition, None) or self._unclaimed.pop(partition, None)
            self._unclaimed.pop(partition, None)
            if held is not None:
                self._parked[partition] = held
        for partition in batch.arrived:
            self._unclaimed[partition] = self._parked.pop(partition, None)
        if batch.arrived or batch.departed:
            if batch.arrived:
                self._parked.clear()  # whatever didn't come back with this assignment is somebody else's
            self._metrics.rebalanced()
            log.info("assignment", arrived=list(map(str, batch.arrived)), departed=list(map(str, batch.departed)))

    def _adopt_unclaimed(self) -> Set[Partition]:
        """Claim and load what is assigned to us; returns what of it is read anew from where its state ends."""
        adopted = set[Partition]()
        if not self._unclaimed or not self._retry.due(began := self._clock.monotonic()):
            return adopted
        awaited: BundleAwaited | None = None
        self._wait_for_saver()  # a claim tells what became of a snapshot, and none may be half written where it writes
        try:
            for partition, held in list(self._unclaimed.items()):
                try:
                    self.shards[partition] = self._claim(partition, held)
                except BundleAwaited as error:  # the others needn't wait for it
                    awaited = error
                    continue
                del self._unclaimed[partition]
                self._source.start(partition, self.shards[partition].position)
                self._swaps.forget()  # whoever had it may know of later moves
                adopted.add(partition)
                if self._clock.monotonic() - began > ADOPTING_S:
                    break
        except StoreUnavailable as error:
            self._lose_store(error)
        except (Unreachable, PartitionLost) as error:
            self._claim_later(error)
        else:
            self._store_answers = True
            if awaited is None:
                self._retry.succeed()
            else:
                self._claim_later(awaited)
            self._source.resume()
        return adopted

    def _claim_later(self, error: SensordError) -> None:
        wait_s = self._retry.fail(self._clock.monotonic())
        self._metrics.claim_failed()
        log.warning("claim failed", cause=str(error), retry_in_s=wait_s)

    def _claim(self, partition: Partition, held: Shard | None) -> Shard:
        rules = self._rules.fleets[partition.topic]
        topic_id = self._source.topic_id(partition.topic)
        owner = str(replace(self._rules.owner, member=self._source.member))
        claim = self._progress.claim(rules.name, partition, owner, topic_id, self._clock.now())
        bridged = self._bridge_gaps(claim, topic_id)
        if held is not None and bridged is claim and held.still_ours(claim):
            held.resume(claim)
            journal(rules.name, partition).info("kept", epoch=claim.epoch, offset=held.position)
            return held
        return self._adopt(bridged, rules)

    def _adopt(self, claim: Claim, rules: FleetRules) -> Shard:
        bundle = self._models.named(rules.name, claim.model_id) if claim.model_id else self._models.first(rules.name)
        fleet = self._fleet(bundle, rules, claim)
        align = Align(claim.partition, len(bundle.channels), rules.span)
        reorder = Reorder(claim.partition, len(bundle.channels), rules.lateness)
        pages = dict(claim.pages)
        if held := pages.pop(ALIGN_PAGE, None):
            align.load(held)
        if waiting := pages.pop(REORDER_PAGE, None):
            reorder.load(waiting)
        decoder = rules.decoder(bundle.channels)
        glossary = decoder.glossary()
        if said := pages.pop(GLOSSARY_PAGE, None):
            glossary = glossary.load(said)
        fleet.load(pages)
        fleet.devices.settle()
        shadow = self._shadow(claim, rules, bundle)
        beginning = self._source.bounds([claim.partition])[claim.partition].beginning
        live_from = beginning if claim.next_offset is None else claim.next_offset
        position = live_from if claim.state_offset is None else claim.state_offset
        shard = Shard(
            name=rules.name,
            partition=claim.partition,
            epoch=claim.epoch,
            owner=claim.owner,
            committed=claim.next_offset,
            committed_at=claim.committed_at,
            state_offset=claim.state_offset,
            position=position,
            live_from=live_from,
            fleet=fleet,
            align=align,
            reorder=reorder,
            decoder=decoder,
            glossary=glossary,
            stored_model=claim.model_id,
            shadow=shadow,
            stored_shadow=None if claim.shadow is None else claim.shadow.model_id,
            quality=None if self._rules.accept_bad else Quality(),
        )
        if claim.state_offset is None:  # write where a replay can start, before there is anything to replay
            checkpoint = shard.checkpoint()
            self._progress.commit([checkpoint], now := self._clock.now())
            shard.settle(checkpoint, now)
        journal(rules.name, claim.partition).info(
            "adopted",
            epoch=claim.epoch,
            state_offset=position,
            offset=live_from,
            devices=len(fleet.devices),
            model=bundle.id,
            shadow=shard.shadow_id,
        )
        return shard

    def _fleet(self, bundle: Bundle, rules: FleetRules, claim: Claim, run: Run = Run.LIVE) -> Fleet:
        origin = Origin(rules.name, claim.partition, claim.topic_id, run.value)
        return Fleet(bundle, origin, rules.limits, self._rules.device)

    def _shadow(self, claim: Claim, rules: FleetRules, scoring: Bundle) -> Fleet | None:
        """What was scored beside, as it was stored; None where there was nothing, or its bundle is no good any more."""
        if claim.shadow is None:
            return None
        bundle = self._models.beside(rules.name, claim.shadow.model_id, scoring)
        if bundle is None:
            return None
        shadow = self._fleet(bundle, rules, claim, Run.SHADOW)
        shadow.load(claim.shadow.pages)
        shadow.devices.settle()
        return shadow

    def _bridge_gaps(self, claim: Claim, topic_id: str) -> Claim:
        """Make sure that the log still holds all we need. Raises OffsetsLost unless a person has accepted the gap."""
        if claim.next_offset is None:
            return claim
        start = claim.next_offset if claim.state_offset is None else claim.state_offset
        place = Place(claim.partition, claim.topic_id, start, claim.next_offset)
        loss = lost_offsets(place, topic_id, self._source.bounds([claim.partition])[claim.partition])
        if loss is None:
            return claim
        if not self._rules.accept_gap:
            raise OffsetsLost(f"{loss.reason}; {ACCEPT_GAP}")
        journal(claim.fleet, claim.partition).warning("gap accepted", reason=loss.reason, offset=loss.go_on_at)
        self._metrics.bridged(claim.fleet)
        now = self._clock.now()
        return self._progress.accept_gap(claim, claim.next_offset, loss.go_on_at, topic_id, loss.reason, now)

    # --- the log under us ---------------------------------------------------------------------------------------------

    def _inspect_when_due(self) -> None:
        """Look whether log and database still are as we left them, and whether we read. Raises OffsetsLost."""
        now = self._clock.monotonic()
        if not self._inspection.due(now):
            return
        self._inspection.reset(now)
        self._end_feeding()  # what is in hand needs no log any more
        if not self.ready:
            self._standstill.forget()
        self._inspect_store()
        self._inspect_log(now)

    def _inspect_store(self) -> None:
        """What was read to its end commits nothing, and would not notice that a failover lost its latest commit."""
        try:
            standings = self._progress.standings()
        except StoreUnavailable as error:
            self._lose_store(error)
            return
        lost = tuple(partition for partition, shard in self.shards.items() if not shard.stands(standings))
        if lost:
            self._forget(PartitionLost(lost))

    def _inspect_log(self, now: float) -> None:
        shards = [shard for shard in self.shards.values() if not shard.held]
        try:
            topic_ids = {topic: self._source.topic_id(topic) for topic in {shard.partition.topic for shard in shards}}
            bounds = self._source.bounds([shard.partition for shard in shards]) if shards else {}
        except Unreachable as error:
            self._log_answers = False
            log.warning("the log could not be inspected", cause=str(error))
            return
        self._log_answers = True
        for shard in shards:
            self._inspect(shard, topic_ids[shard.partition.topic], bounds[shard.partition], now)

    def _inspect(self, shard: Shard, topic_id: str, bounds: Bounds, now: float) -> None:
        partition = shard.partition
        place = Place(partition, shard.fleet.origin.topic_id, shard.position, shard.position)
        loss = lost_offsets(place, topic_id, bounds)
        if loss is not None and not self._rules.accept_gap:
            raise OffsetsLost(f"{loss.reason}; {ACCEPT_GAP}")
        if loss is not None:
            self._save()
            self.shards.pop(partition, None)
            self._unclaimed[partition] = None  # the claim bridges the gap
            return
        position = self._source.position(partition)
        if position is not None and self._standstill.look(partition, position, bounds.end, now):
            journal(shard.name, partition).critical("standstill", offset=position, end=bounds.end)
            self._watchdog.give_up()

    # --- commits and snapshots ---------------------------------------------------------------------------------------

    def _save_when_due(self) -> None:
        now = self._clock.monotonic()
        if not self._commit.due(now):
            return
        wanted = self._snapshot.due(now) or any(self._crowded(shard, CROWDED) for shard in self.shards.values())
        boundary = wanted and not any(shard.saving for shard in self.shards.values())
        if boundary:
            self._swaps.look(self.shards.values())
        self._save(boundary)
        self._commit.reset(now)
        tell_lag(self.shards.values(), self._source, self._newest, self._clock.now(), self._metrics)
        if boundary:
            self._begin_saving()
            self._snapshot.reset(now)
            take_stock(self.shards.values(), self._metrics)

    def _save(self, boundary: bool = False) -> None:
        """Commit what there is; a fenced partition is forgotten and the rest goes through without it.

        boundary: between two snapshots, where what no reading does may be done.
        """
        try:
            if boundary:
                self._take_up_acceptances()
                self._evict_surplus()
            self._swap_models()
            while checkpoints := [shard.checkpoint() for shard in self.shards.values() if shard.worth_saving]:
                try:
                    self._commit_all(checkpoints)
                    return
                except PartitionLost as error:
                    self._forget(error)
        except StoreUnavailable as error:
            self._lose_store(error)

    def _commit_all(self, checkpoints: list[Checkpoint]) -> None:
        with self._metrics.commit_seconds.time():
            committed = self._progress.commit(checkpoints, now := self._clock.now())
        for checkpoint in checkpoints:
            self.shards[checkpoint.partition].settle(checkpoint, now)
        self._metrics.saved(now)
        self._source.hint({checkpoint.partition: checkpoint.next_offset for checkpoint in checkpoints})
        self._metrics.committed(checkpoints, committed.conflicts)
        for checkpoint in checkpoints:
            tell_alerts(checkpoint.fleet, checkpoint.partition, checkpoint.alerts)
        self._swaps.committed(checkpoints)

    def _begin_saving(self) -> None:
        """Have snapshots written of copies, while the stream goes on."""
        for shard in self.shards.values():
            if shard.worth_a_snapshot:
                copy = shard.copy()
                numbers = tuple(copy.pages), tuple(copy.shadow or ())
                shard.saving = Saving(copy.state_offset, *numbers, self._saver.submit(self._store, copy))

    def _store(self, copy: StateCopy) -> None:
        with self._metrics.snapshot_seconds.time():
            snapshot = copy.sealed()
            self._progress.store(snapshot)
        self._metrics.stored(self._clock.now(), snapshot.size)

    def _end_saving(self) -> None:
        """See what became of snapshots."""
        for shard in list(self.shards.values()):
            try:
                shard.end_saving()
            except PartitionLost as error:
                self._forget(error)
            except StoreUnavailable as error:
                self._lose_store(error)
                return

    def _wait_for_saver(self) -> None:
        self._saver.submit(lambda: None).result()  # it does one thing after another

    def _take_up_acceptances(self) -> None:
        """Close what people have called normal; only here, so that the snapshot that a replay starts at has it."""
        for fleet in {shard.name for shard in self.shards.values()}:
            wanted = self._progress.accepted(fleet)
            for shard in self.shards.values() if wanted else ():
                if shard.name == fleet and not shard.replaying and (closed := shard.accept(wanted)):
                    journal(fleet, shard.partition).info("accepted", alerts=sorted(each.hex for each in closed))

    def _overcrowded(self) -> list[Shard]:
        """Those of so many devices that they can't wait for the next commit."""
        return [shard for shard in self.shards.values() if self._crowded(shard, OVERCROWDED)]

    def _make_room(self) -> None:
        """Have those that are overcrowded forget devices, and read on from where they had stopped."""
        if full := self._overcrowded():
            self._wait_for_saver()  # its snapshot would be of devices that are gone
            self._end_saving()
            self._save(boundary=True)
            for shard in full:
                if self.shards.get(shard.partition) is shard and not shard.held:
                    self._source.start(shard.partition, shard.position)

    def _crowded(self, shard: Shard, times: float) -> bool:
        """More devices than so many times what it may have, and it is able to forget some."""
        return not shard.replaying and len(shard.fleet.devices) > times * self._most_devices(shard)

    def _room(self, shard: Shard) -> int:
        """How many devices may come before it is overcrowded."""
        return int(OVERCROWDED * self._most_devices(shard)) - len(shard.fleet.devices)

    def _most_devices(self, shard: Shard) -> int:
        return self._rules.fleets[shard.partition.topic].max_devices

    def _evict_surplus(self) -> None:
        """Make room; only here, so that a replay from any snapshot has the devices that were there."""
        for shard in self.shards.values():
            if not shard.replaying and (gone := shard.evict(self._most_devices(shard))):
                self._metrics.evicted(shard.name, gone)
                kept = len(shard.fleet.devices)
                journal(shard.name, shard.partition).warning("devices evicted", gone=gone, kept=kept)

    def _swap_models(self) -> None:
        """Move to newly promoted bundles, and away from what does harm."""
        shards = list(self.shards.values())
        self._swaps.roll_back(shards)
        self._swaps.move(shards)

    # --- trouble -----------------------------------------------------------------------------------------------------

    def _forget(self, lost: PartitionLost) -> None:
        """Somebody else has claimed these. If they stay assigned to us, claim them again, from the snapshot."""
        for partition in [mine for mine in self.shards if mine in lost.partitions]:
            del self.shards[partition]
            self._unclaimed[partition] = None
        self._retry.fail(self._clock.monotonic())
        self._metrics.fenced(len(lost.partitions))
        log.warning("fenced", partitions=list(map(str, lost.partitions)))

    def _lose_store(self, error: StoreUnavailable) -> None:
        """The database is away, and what it last did is unknown: read no more, and claim everything again."""
        self._store_answers = False
        self._source.pause()
        self._unclaimed.update(self.shards)
        self.shards.clear()
        wait_s = self._retry.fail(self._clock.monotonic())
        self._metrics.store_failed()
        log.error("database unavailable", cause=str(error), retry_in_s=wait_s)


def _listed(partitions: Iterable[Partition]) -> str:
    return ", ".join(map(str, partitions))
