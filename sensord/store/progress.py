"""Claim, commit, snapshot: the database's offset is the truth, fenced by an epoch. Used by `daemon` alone."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, Engine, Table, and_, case, delete, func, select, update

from sensord.detection.alerts import AlertChange, Reason, Run
from sensord.errors import PartitionLost
from sensord.readings import DeadLetter, Partition
from sensord.store import alerts, dead_letters, devices
from sensord.store.database import AS_SENT, insert_into, reading, row_as, writing
from sensord.store.devices import DeviceSeen
from sensord.store.schema import gaps, instant, microseconds, partition_progress, shadow_pages, state_pages

PAGES_AT_ONCE = 16  # written or read by one statement: some 50 MB, or a million devices would outlast its time limit


@dataclass(frozen=True, slots=True)
class Claim:
    """A partition taken over.

    epoch, owner: the fence; the epoch is one more than it was before. next_offset: alerts are final below it; None
    where the partition was never read. state_offset: the offset the pages belong to (<= next_offset); None where no
    snapshot exists. topic_id: the topic's id when it was first claimed ("" where the broker can't tell). model_id: the
    bundle that made the pages. pages: page number -> bytes. committed_at: wall time of the latest commit, microseconds;
    None where there was none. shadow: None where no other bundle is scored beside.
    """

    fleet: str
    partition: Partition
    epoch: int
    owner: str
    next_offset: int | None
    state_offset: int | None
    topic_id: str
    model_id: str | None
    pages: dict[int, bytes]
    committed_at: int | None = None
    shadow: "StoredShadow | None" = None


@dataclass(frozen=True, slots=True)
class StoredShadow:
    """The bundle that is scored beside, and its pages, of the same offset as the others."""

    model_id: str
    pages: dict[int, bytes]


@dataclass(frozen=True, slots=True)
class Shadow:
    """The same of it as a snapshot has of the bundle that counts. begins: no state of it is stored, nor any that a
    shadow of before may have left is of use."""

    model_id: str
    pages: dict[int, bytes]
    page_count: int | None = None
    begins: bool = False


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The dirty pages of one partition at the checkpoint's next_offset, and the bundle that made them.

    page_count: stored pages from this number on hold nothing any more; None: none has become empty. shadow: None where
    no other bundle is scored beside; what one of before has left is closed and deleted.
    """

    model_id: str
    pages: dict[int, bytes]
    page_count: int | None = None
    shadow: Shadow | None = None


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """All that one partition commits at once.

    previous_offset: the next_offset this owner holds as committed (None: never committed). next_offset: the new one.
    """

    fleet: str
    partition: Partition
    epoch: int
    owner: str
    previous_offset: int | None
    next_offset: int
    alerts: Sequence[AlertChange]
    dead_letters: Sequence[DeadLetter]
    snapshot: Snapshot | None = None
    devices: Sequence[DeviceSeen] = ()

    @property
    def epoch_after(self) -> int:
        """The epoch once this is committed. A snapshot raises it: one that moves no offset must not look like none."""
        return self.epoch if self.snapshot is None else self.epoch + 1


@dataclass(frozen=True, slots=True)
class LaterSnapshot:
    """The dirty pages of one partition at an offset that was committed before, by a transaction of its own.

    previous_state_offset: what this owner holds as the stored state's offset. state_offset: the new one, not beyond
    the committed next_offset. The bundles are those of the stored pages, and none of these has become empty.
    shadow_pages: None where there is no shadow.
    """

    fleet: str
    partition: Partition
    epoch: int
    owner: str
    previous_state_offset: int | None
    state_offset: int
    pages: dict[int, bytes]
    devices: Sequence[DeviceSeen] = ()
    shadow_pages: dict[int, bytes] | None = None

    @property
    def size(self) -> int:
        """Bytes of its pages."""
        return sum(map(len, (*self.pages.values(), *(self.shadow_pages or {}).values())))


@dataclass(frozen=True, slots=True)
class Committed:
    """What a commit has to tell. conflicts: new alerts whose row was there already; on live data that is a bug."""

    conflicts: int


@dataclass(frozen=True, slots=True)
class Standing:
    """Who holds a partition, and what was last committed of it: the same as long as nobody else wrote."""

    fleet: str
    partition: Partition
    epoch: int
    owner: str
    next_offset: int | None
    state_offset: int | None
    committed_at: int | None


@dataclass(frozen=True, slots=True)
class PartitionProgress:
    """How far one partition is, as its row reads."""

    fleet: str
    topic: str
    partition: int
    topic_id: str
    epoch: int
    owner: str
    next_offset: int | None
    state_offset: int | None
    model_id: str | None
    claimed_at: datetime
    committed_at: datetime | None


class Progress:
    """Partitions' progress in one database. Every method is one transaction, and raises StoreUnavailable.

    After StoreUnavailable the outcome of a commit is unknown: claim again, which waits for the old transaction to end.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def claim(self, fleet: str, partition: Partition, owner: str, topic_id: str, at: int) -> Claim:
        """Take a partition over: from here on its former owner's commits fail. at: wall time, microseconds.

        Waits for a transaction that holds the partition. The claim's topic_id is that of the topic that was read: the
        given one is stored only where none was known, or nothing was ever read.
        """
        with writing(self._engine) as connection:
            taken, shadow_id = _take(connection, fleet, partition, owner, topic_id, instant(at))
            pages = _pages(connection, state_pages, fleet, partition)
            if shadow_id is None:
                return replace(taken, pages=pages)
            shadow = StoredShadow(shadow_id, _pages(connection, shadow_pages, fleet, partition))
            return replace(taken, pages=pages, shadow=shadow)

    def commit(self, checkpoints: Sequence[Checkpoint], at: int) -> Committed:
        """Write all checkpoints or, where any of them is fenced off, nothing. at: wall time, microseconds.

        1. Move every partition's offset, on condition that it is still ours and stands where we left it.
        2. Any that didn't move: raise PartitionLost naming them all; nothing is written.
        3. Write alerts, dead letters, devices and state pages.
        4. Only then COMMIT.
        """
        if not checkpoints:
            return Committed(conflicts=0)
        now = instant(at)
        with writing(self._engine) as connection:
            lost = [mark.partition for mark in _in_order(checkpoints) if not _advance(connection, mark, now)]
            if lost:
                raise PartitionLost(tuple(lost))
            for mark in _in_order(checkpoints):
                _close_shadow(connection, mark, now)
            conflicts = alerts.write(connection, [change for mark in checkpoints for change in mark.alerts], now)
            for mark in checkpoints:
                dead_letters.write(connection, mark.fleet, mark.dead_letters, now)
            for mark in _in_order(checkpoints):
                devices.write(connection, mark.fleet, mark.partition, mark.devices)
            _write_snapshots(connection, checkpoints)
        return Committed(conflicts)

    def store(self, snapshot: LaterSnapshot) -> None:
        """Write a snapshot while commits of the same partition go on. Raises PartitionLost, and writes nothing then.

        The fence comes last: it takes the row that those commits need, and this is long.
        """
        fleet, partition = snapshot.fleet, snapshot.partition
        with writing(self._engine) as connection:
            devices.write(connection, fleet, partition, snapshot.devices)
            _write_pages(connection, state_pages, [(fleet, partition, snapshot.pages)])
            moves = {"state_offset": snapshot.state_offset}
            if snapshot.shadow_pages is not None:
                _write_pages(connection, shadow_pages, [(fleet, partition, snapshot.shadow_pages)])
                moves["shadow_offset"] = snapshot.state_offset
            p = partition_progress.c
            moved = connection.execute(
                update(partition_progress)
                .where(_held(fleet, partition, snapshot.epoch, snapshot.owner))
                .where(p.state_offset.is_not_distinct_from(snapshot.previous_state_offset))
                .where(p.next_offset >= snapshot.state_offset)
                .values(moves)
            )
            if moved.rowcount == 0:
                raise PartitionLost((partition,))

    def accept_gap(
        self, claim: Claim, from_offset: int | None, to_offset: int, topic_id: str, reason: str, at: int
    ) -> Claim:
        """Give up the readings between two offsets: record the gap, drop the state, close what it left open.

        Returns the claim as it stands then. Raises PartitionLost.
        """
        now = instant(at)
        fleet, partition = claim.fleet, claim.partition
        with writing(self._engine) as connection:
            moved = connection.execute(
                update(partition_progress)
                .where(_held(fleet, partition, claim.epoch, claim.owner))
                .values(
                    next_offset=to_offset,
                    state_offset=None,
                    model_id=None,
                    shadow_id=None,
                    shadow_offset=None,
                    topic_id=topic_id,
                    committed_at=now,
                )
            )
            if moved.rowcount == 0:
                raise PartitionLost((partition,))
            for pages in (state_pages, shadow_pages):
                connection.execute(delete(pages).where(_of(pages, fleet, partition)))
            alerts.close_open(connection, fleet, partition, (Run.LIVE, Run.SHADOW), Reason.GAP, now)
            connection.execute(
                gaps.insert(),
                {
                    "fleet": fleet,
                    "topic": partition.topic,
                    "partition": partition.number,
                    "from_offset": from_offset,
                    "to_offset": to_offset,
                    "reason": reason,
                    "recorded_at": now,
                },
            )
        return Claim(fleet, partition, claim.epoch, claim.owner, to_offset, None, topic_id, None, {}, at)

    def accepted(self, fleet: str) -> set[UUID]:
        """Open alerts that people have called normal, for the daemon to close."""
        return alerts.accepted(self._engine, fleet)

    def standings(self) -> set[Standing]:
        """How every partition stands now."""
        p = partition_progress.c
        columns = (p.fleet, p.topic, p.partition, p.epoch, p.owner, p.next_offset, p.state_offset, p.committed_at)
        with reading(self._engine) as connection:
            rows = connection.execute(select(*columns)).all()
        return {
            Standing(fleet, Partition(topic, number), epoch, owner, next_offset, state_offset, at and microseconds(at))
            for fleet, topic, number, epoch, owner, next_offset, state_offset, at in rows
        }

    def partitions(self) -> list[PartitionProgress]:
        """Every partition's progress, by fleet, topic and number."""
        with reading(self._engine) as connection:
            rows = connection.execute(select(partition_progress).order_by(*partition_progress.primary_key))
            return [row_as(PartitionProgress, row) for row in rows]


def _take(
    connection: Connection, fleet: str, partition: Partition, owner: str, topic_id: str, now: datetime
) -> tuple[Claim, str | None]:
    """Raise the epoch, or insert the row with the first one, in one statement; without the pages. With the claim the
    bundle of the shadow whose pages go with it."""
    table = partition_progress
    insert = insert_into(connection, table).values(
        **_key(fleet, partition), topic_id=topic_id, epoch=1, owner=owner, claimed_at=now
    )
    read, given = case((table.c.next_offset.is_not(None), func.nullif(table.c.topic_id, ""))), insert.excluded.topic_id
    statement = insert.on_conflict_do_update(
        index_elements=list(table.primary_key),
        set_={
            "epoch": table.c.epoch + 1,
            "owner": owner,
            "claimed_at": now,
            "topic_id": func.coalesce(read, func.nullif(given, ""), table.c.topic_id),
        },
    )
    row = connection.execute(
        statement.returning(
            table.c.epoch,
            table.c.next_offset,
            table.c.state_offset,
            table.c.topic_id,
            table.c.model_id,
            table.c.committed_at,
            table.c.shadow_id,
            table.c.shadow_offset,
        )
    ).one()
    stands = row.next_offset, row.state_offset, row.topic_id, row.model_id
    committed_at = None if row.committed_at is None else microseconds(row.committed_at)
    whole = row.state_offset is not None and row.shadow_offset == row.state_offset
    return Claim(fleet, partition, row.epoch, owner, *stands, {}, committed_at), row.shadow_id if whole else None


def _pages(connection: Connection, table: Table, fleet: str, partition: Partition) -> dict[int, bytes]:
    page, found = table.c.page, dict[int, bytes]()
    wanted = select(page, table.c.data).where(_of(table, fleet, partition)).order_by(page)
    wanted = wanted.execution_options(**{AS_SENT: True})
    while True:
        beyond = wanted.where(page > max(found)) if found else wanted
        rows = connection.execute(beyond.limit(PAGES_AT_ONCE)).all()
        found |= {row.page: row.data for row in rows}
        if len(rows) < PAGES_AT_ONCE:
            return found


def _advance(connection: Connection, mark: Checkpoint, now: datetime) -> bool:
    """Move a partition's offset; False where its epoch or its offset isn't what this owner holds."""
    moved: dict[str, object] = {"next_offset": mark.next_offset, "committed_at": now}
    if mark.snapshot is not None:
        moved |= {"state_offset": mark.next_offset, "model_id": mark.snapshot.model_id, "epoch": mark.epoch_after}
        shadow = mark.snapshot.shadow
        moved |= {"shadow_id": shadow and shadow.model_id, "shadow_offset": mark.next_offset if shadow else None}
    result = connection.execute(
        update(partition_progress)
        .where(
            _held(mark.fleet, mark.partition, mark.epoch, mark.owner),
            partition_progress.c.next_offset.is_not_distinct_from(mark.previous_offset),
        )
        .values(moved)
    )
    return result.rowcount == 1


def _in_order(checkpoints: Sequence[Checkpoint]) -> list[Checkpoint]:
    """The one order in which every process locks partitions, so that no two of them lock each other out."""
    return sorted(checkpoints, key=lambda mark: (mark.fleet, mark.partition))


def _close_shadow(connection: Connection, mark: Checkpoint, now: datetime) -> None:
    """Close what a shadow of before has left open, where there is none any more or another begins."""
    if mark.snapshot is not None and (mark.snapshot.shadow is None or mark.snapshot.shadow.begins):
        alerts.close_open(connection, mark.fleet, mark.partition, (Run.SHADOW,), Reason.WITHDRAWN, now)


def _write_snapshots(connection: Connection, checkpoints: Sequence[Checkpoint]) -> None:
    taken = [(mark.fleet, mark.partition, mark.snapshot) for mark in checkpoints if mark.snapshot is not None]
    for fleet, partition, snapshot in taken:
        _delete_pages(connection, state_pages, fleet, partition, snapshot.page_count)
        shadow = snapshot.shadow
        kept = 0 if shadow is None or shadow.begins else shadow.page_count
        _delete_pages(connection, shadow_pages, fleet, partition, kept)
    _write_pages(connection, state_pages, [(fleet, partition, snapshot.pages) for fleet, partition, snapshot in taken])
    beside = [(fleet, partition, one.shadow.pages) for fleet, partition, one in taken if one.shadow is not None]
    _write_pages(connection, shadow_pages, beside)


def _delete_pages(connection: Connection, table: Table, fleet: str, partition: Partition, first: int | None) -> None:
    """Pages from a number on, where there is one."""
    if first is not None:
        connection.execute(delete(table).where(_of(table, fleet, partition), table.c.page >= first))


def _write_pages(connection: Connection, table: Table, of: Sequence[tuple[str, Partition, dict[int, bytes]]]) -> None:
    rows = [
        {**_key(fleet, partition), "page": number, "data": data}
        for fleet, partition, pages in of
        for number, data in sorted(pages.items())  # as whoever else may write them, in the same order
    ]
    insert = insert_into(connection, table)
    write = insert.on_conflict_do_update(index_elements=list(table.primary_key), set_={"data": insert.excluded.data})
    for first in range(0, len(rows), PAGES_AT_ONCE):
        connection.execute(write, rows[first : first + PAGES_AT_ONCE])


def _key(fleet: str, partition: Partition) -> dict[str, object]:
    return {"fleet": fleet, "topic": partition.topic, "partition": partition.number}


def _held(fleet: str, partition: Partition, epoch: int, owner: str) -> ColumnElement[bool]:
    """Nobody has claimed the partition since.

    The epoch alone doesn't tell: a standby that never received the latest claims gives their epochs out again.
    """
    table = partition_progress
    return and_(_of(table, fleet, partition), table.c.epoch == epoch, table.c.owner == owner)


def _of(table: Table, fleet: str, partition: Partition) -> ColumnElement[bool]:
    return and_(*(table.c[name] == value for name, value in _key(fleet, partition).items()))
