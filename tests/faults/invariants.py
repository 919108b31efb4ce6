"""What must hold after every fault: I1 to I8. Used by `suite`; each check returns what is wrong."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from sqlalchemy import Engine, select

from sensord.store.schema import alert_events, alerts, dead_letters, devices, gaps, partition_progress, state_pages
from tests.faults.ledger import Entry
from tests.faults.trial import Outage, Readiness
from tests.faults.workload import Injected

WALL_CLOCK = {"detected_at", "updated_at"}
SHOWN = 3  # differences that are told

Row = tuple[object, ...]
K = TypeVar("K")


@dataclass(frozen=True, slots=True)
class Gap:
    """Readings given up, as a row of `gaps` says."""

    partition: int
    from_offset: int | None
    to_offset: int


@dataclass(frozen=True, slots=True)
class Tables:
    """What daemons left in a database. alerts: by id, without wall-clock columns, as are the others."""

    alerts: dict[str, Row]
    events: Counter[Row]
    dead_letters: Counter[Injected]
    state: dict[Row, Row]
    gaps: list[Gap]

    @classmethod
    def of(cls, engine: Engine) -> "Tables":
        columns = [column for column in alerts.c if column.name not in WALL_CLOCK]
        d, e, g, p, s, v = dead_letters.c, alert_events.c, gaps.c, partition_progress.c, state_pages.c, devices.c
        with engine.connect() as connection:

            def rows(*columns: object) -> Iterator[Row]:
                return (tuple(row) for row in connection.execute(select(*columns)))  # type: ignore[call-overload]

            pages = {("page", *row[:3]): row[3:] for row in rows(s.topic, s.partition, s.page, s.data)}
            offsets = {
                ("offsets", *row[:2]): row[2:]
                for row in rows(p.topic, p.partition, p.next_offset, p.state_offset, p.model_id)
            }
            seen = {
                ("device", *row[:3]): row[3:]
                for row in rows(v.topic, v.partition, v.device_id, v.first_seen, v.last_seen)
            }
            return cls(
                alerts={str(row[0]): row for row in rows(*columns)},
                events=Counter(rows(e.alert_id, e.event)),
                dead_letters=Counter(Injected(*row) for row in rows(d.partition, d.record_offset, d.reason)),  # type: ignore[arg-type]
                state=pages | offsets | seen,
                gaps=[Gap(*row) for row in rows(g.partition, g.from_offset, g.to_offset)],  # type: ignore[arg-type]
            )


@dataclass(slots=True)
class Expected:
    """What a scenario should leave. Where readings are really lost, only some of it can be told beforehand.

    tables: the oracle's. untold: partitions of which alerts and state can't be told. gaps: exactly these.
    devices_vary: which snapshots saw a device, and so what its row of `devices` says, is chance.
    """

    tables: Tables
    injected: list[Injected]
    ends: dict[int, int]
    gaps: list[Gap] = field(default_factory=list)
    untold: frozenset[int] = frozenset()
    devices_vary: bool = False


def alerts_equal(found: Tables, expected: Expected) -> list[str]:
    """I1: the alerts table is the oracle's, row for row, and so is the list of what happened to each."""
    wanted = expected.tables
    ours = {key: row for key, row in found.alerts.items() if _partition(row) not in expected.untold}
    theirs = {key: row for key, row in wanted.alerts.items() if _partition(row) not in expected.untold}
    problems = _differences("alert", ours, theirs)
    mine = Counter({row: n for row, n in found.events.items() if str(row[0]) in ours})
    happened = Counter({row: n for row, n in wanted.events.items() if str(row[0]) in theirs})
    problems += [f"event {row} {n} times too often" for row, n in (mine - happened).items()][:SHOWN]
    problems += [f"event {row} {n} times too few" for row, n in (happened - mine).items()][:SHOWN]
    return problems


def chain_is_whole(ledger: Iterable[Entry], found: Tables, expected: Expected) -> list[str]:
    """I2: each partition's commits are one chain from its beginning to its end, but for accepted gaps."""
    problems = []
    accepted = {(gap.partition, gap.from_offset, gap.to_offset) for gap in found.gaps}
    commits: dict[int, list[Entry]] = defaultdict(list)
    for entry in ledger:
        if entry.kind == "commit" and entry.partition is not None:
            commits[entry.partition].append(entry)
    for partition, chain in sorted(commits.items()):
        at: int | None = None
        for link in chain:
            if link.from_offset != at:
                problems.append(f"partition {partition}: {at} is followed by {link.from_offset}-{link.to_offset}")
            backwards = (link.to_offset or 0) < (link.from_offset or 0)
            if backwards and (partition, link.from_offset, link.to_offset) not in accepted:
                problems.append(f"partition {partition}: back from {link.from_offset} to {link.to_offset}")
            at = link.to_offset
        if at != expected.ends.get(partition):
            problems.append(f"partition {partition}: ends at {at}, not {expected.ends.get(partition)}")
    missing = expected.ends.keys() - commits.keys()
    return problems[:SHOWN] + [f"partition {partition}: no commit" for partition in sorted(missing)]


def state_equal(found: Tables, expected: Expected) -> list[str]:
    """I3: state pages, their offsets and the devices are the oracle's, byte for byte."""

    def told(state: dict[Row, Row]) -> dict[Row, Row]:
        kinds = {"page", "offsets"} | (set() if expected.devices_vary else {"device"})
        return {key: row for key, row in state.items() if key[2] not in expected.untold and key[0] in kinds}

    return _differences("state", told(found.state), told(expected.tables.state))


def dead_letters_exact(found: Tables, expected: Expected) -> list[str]:
    """I4: each bad message is a dead letter, once, for its own reason; and nothing else is."""
    wanted = Counter(expected.injected)
    problems = [f"{letter} {n} times too often" for letter, n in (found.dead_letters - wanted).items()]
    problems += [f"{letter} is missing" for letter in wanted - found.dead_letters]
    return problems[:SHOWN]


def fence_held(ledger: Iterable[Entry]) -> list[str]:
    """I5: who wrote owned the partition, under the last epoch claimed, and moved its offset in that transaction."""
    problems = []
    holders: dict[tuple[str, int | None], tuple[str, int | None]] = {}  # process and epoch
    fenced: set[str] = set()
    writes: list[Entry] = []
    for entry in ledger:
        if entry.kind == "claim":
            holders[entry.topic, entry.partition] = entry.writer, entry.epoch_after
        elif entry.kind == "commit":
            fenced.add(entry.xid)
            holder = holders.get((entry.topic, entry.partition))
            if holder != (entry.writer, entry.epoch):
                problems.append(
                    f"{entry.writer} committed partition {entry.partition} in epoch {entry.epoch}, held by {holder}"
                )
            holders[entry.topic, entry.partition] = entry.writer, entry.epoch_after
        elif entry.writer.startswith("sensord/"):
            writes.append(entry)
    unfenced = [write for write in writes if write.xid not in fenced]
    return [*problems, *(f"{write.writer} wrote to {write.topic} and moved no offset" for write in unfenced)][:SHOWN]


def readiness_told(told: Sequence[Readiness], outages: Sequence[Outage]) -> list[str]:
    """I8, of one daemon: unready in each outage, ready after it, and at the end."""
    problems = []
    for outage in outages:
        before = [each for each in told if each.at < outage.begun_at]
        within = [each for each in told if outage.begun_at <= each.at <= outage.over_at]
        if all(each.ready for each in before[-1:] + within):
            problems.append(f"it was not unready in an outage of {outage.over_at - outage.begun_at:.0f} s")
    if not told or not told[-1].ready:
        problems.append("it was not ready at the end")
    return problems


def gaps_exact(found: Tables, expected: Expected) -> list[str]:
    """I7: a gap is recorded exactly where readings were lost."""
    ours, theirs = Counter(found.gaps), Counter(expected.gaps)
    return [f"{gap} was not lost" for gap in ours - theirs] + [f"{gap} is not recorded" for gap in theirs - ours]


def _partition(alert: Row) -> object:
    kept = [column.name for column in alerts.c if column.name not in WALL_CLOCK]
    return alert[kept.index("partition")]


def _differences(kind: str, mine: Mapping[K, Row], wanted: Mapping[K, Row]) -> list[str]:
    more, fewer = mine.keys() - wanted.keys(), wanted.keys() - mine.keys()
    other = [key for key in mine.keys() & wanted.keys() if mine[key] != wanted[key]]
    counts = ((len(more), "too many"), (len(fewer), "missing"), (len(other), "differ"))
    summary = ", ".join(f"{n} {what}" for n, what in counts if n)
    if not summary:
        return []
    examples = [f"{key}: {_first_difference(mine[key], wanted[key])}" for key in other[:SHOWN]]
    return [f"{kind}s: {summary} of {len(wanted)}", *examples]


def _first_difference(mine: Row, wanted: Row) -> str:
    pair = next((a, b) for a, b in zip(mine, wanted, strict=True) if a != b)
    return " is not ".join(repr(each)[:40] for each in pair)
