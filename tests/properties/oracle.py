"""What has to be in the tables: one plain loop over the journal, without daemons, replays, snapshots or a database.

It keeps one `Fleet` a partition from a cold start to the end, and judges by itself which readings are late.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from uuid import UUID

import msgspec
import numpy as np

from sensord.detection.alerts import Alert, AlertChange, Run
from sensord.detection.chronicle import Origin
from sensord.detection.fleet import Fleet, Limits
from sensord.detection.reorder import Reorder
from sensord.model.bundle import Bundle
from sensord.readings import DeadLetter, Partition, RawRecord, Readings
from sensord.store.schema import ALERT_VERSION, instant
from sensord.stream.decoders.json import JsonDecoder
from tests.properties.journal import Accepted, Amendment, Commit, Entry, GapAccepted, Stored

FLEET = "pumps"
PERSON = "ann"
TIMES = ("opened_at", "last_seen_at", "closed_at")
GROUNDS = ("top_channels", "evidence")
FIRST = ("opened_at", "score_first", "first_offset")  # an alert keeps these as it opened
ANSWERS = ("acknowledged_by", "acknowledged_at", "feedback", "feedback_by", "feedback_at", "feedback_comment")
Row = dict[str, object]


@dataclass(frozen=True, slots=True)
class Terms:
    """What a fleet's settings say. most_devices: of a partition. lateness: microseconds that readings may be late."""

    limits: Limits
    most_devices: int
    lateness: int


@dataclass(frozen=True, slots=True)
class Seen:
    """A device's first and last reading, event time: microseconds."""

    first: int
    last: int


@dataclass
class Expected:
    """Rows by their columns, but for those of the wall clock and numbers that the database gives."""

    alerts: dict[UUID, Row] = field(default_factory=dict)
    alert_events: list[Row] = field(default_factory=list)
    dead_letters: list[Row] = field(default_factory=list)
    gaps: list[Row] = field(default_factory=list)
    pages: dict[tuple[int, int], bytes] = field(default_factory=dict)
    shadow_pages: dict[tuple[int, int], bytes] = field(default_factory=dict)
    devices: dict[str, tuple[Partition, Seen]] = field(default_factory=dict)

    @property
    def device_rows(self) -> list[Row]:
        return [_device_row(name, partition, seen) for name, (partition, seen) in self.devices.items()]

    # --- what a transaction writes -----------------------------------------------------------------------------------

    def change(self, change: AlertChange) -> None:
        """An alert as a commit brings it: its events in order, and the figures that move."""
        alert = change.alert
        row = _alert_row(alert)
        known = self.alerts.get(alert.id)
        assert (known is None) == change.is_new, f"opened twice, or not at all: {change}"
        if known is not None:
            row |= {name: known[name] for name in FIRST}
            row |= {name: known[name] for name in ("accepted_by", "accepted_at")}
            row |= {name: known[name] for name in GROUNDS if row[name] is None}
        self.alerts[alert.id] = row
        for event in change.events if alert.run == Run.LIVE else ():
            at = {"opened": alert.opened_at, "closed": alert.closed_at}.get(event) or alert.last_seen_at
            self._happened(alert.id, event, at)

    def snapshot(self, partition: Partition, pages: Mapping[int, bytes], page_count: int) -> None:
        """Pages that have changed; those that no device needs any more go."""
        self.pages = _with(self.pages, partition, pages, page_count)

    def shadow_snapshot(self, partition: Partition, pages: Mapping[int, bytes], page_count: int) -> None:
        """The same of what is scored beside."""
        self.shadow_pages = _with(self.shadow_pages, partition, pages, page_count)

    def see(self, partition: Partition, device_id: str, seen: Seen) -> None:
        """A device that a snapshot holds; what was told of it before stands."""
        _, known = self.devices.get(device_id, (partition, seen))
        widened = Seen(min(known.first, seen.first), max(known.last, seen.last))
        self.devices[device_id] = partition, widened

    def close_open(self, partition: Partition) -> None:
        """A gap was accepted: nobody will see the end of what is open."""
        for alert_id, row in self.alerts.items():
            if row["partition"] == partition.number and row["status"] == "open":
                row |= {"status": "closed", "closed_at": row["last_seen_at"], "close_reason": "gap"}
                if row["run"] == Run.LIVE:
                    self._event(alert_id, "closed", row["closed_at"])

    def accept(self, alert_id: UUID, at: int) -> None:
        """A person calls an alert normal."""
        self.alerts[alert_id] |= {"accepted_by": PERSON, "accepted_at": instant(at)}
        self._event(alert_id, "accepted", instant(at), PERSON)

    def _happened(self, alert_id: UUID, event: str, at: int) -> None:
        self._event(alert_id, event, instant(at))

    def _event(self, alert_id: UUID, event: str, at: object, by: str | None = None) -> None:
        severity = self.alerts[alert_id]["severity"]
        row = {"alert_id": alert_id, "event": event, "at": at, "severity": severity, "by": by, "comment": None}
        self.alert_events.append(row)


def _with(
    known: Mapping[tuple[int, int], bytes], partition: Partition, pages: Mapping[int, bytes], page_count: int
) -> dict[tuple[int, int], bytes]:
    """Stored pages, with some of a partition written anew, and without those beyond its page count."""
    kept = {key: data for key, data in known.items() if key[0] != partition.number or key[1] < page_count}
    return kept | {(partition.number, page): data for page, data in pages.items()}


def expect(entries: Iterable[Entry], model: Callable[[str], Bundle], terms: Terms) -> Expected:
    """Walk the journal. model: a bundle by its id. Raises AssertionError where the journal itself makes no sense."""
    expected = Expected()
    lines: dict[Partition, _Line] = {}
    for entry in entries:
        match entry:
            case Commit(partition=partition):
                if partition not in lines:
                    lines[partition] = _Line(entry, model, terms)
                lines[partition].follow(entry, expected)
            case Stored(partition=partition, offset=offset):
                lines[partition].store(offset, expected)
            case GapAccepted(partition=partition):
                lines.pop(partition, None)
                expected.close_open(partition)
                expected.snapshot(partition, {}, 0)
                expected.shadow_snapshot(partition, {}, 0)
                expected.gaps.append(_gap_row(entry))
            case Accepted(alert_id=alert_id, at=at):
                expected.accept(alert_id, at)
    for partition, line in lines.items():
        _check_end(partition, line, expected, terms)
    return expected


def _check_end(partition: Partition, line: "_Line", expected: Expected, terms: Terms) -> None:
    """The last snapshot has made room, and of who is forgotten nothing is left open."""
    assert len(line.seen) <= terms.most_devices, f"{partition}: too many devices: {sorted(line.seen)}"
    for row in expected.alerts.values():
        if row["partition"] == partition.number and row["status"] == "open":
            assert row["device_id"] in line.seen, f"left open, its device is forgotten: {row}"


class _Line:
    """One partition from a cold start on. seen: the devices that it knows, those first that came first. said: how many
    readings it has of each."""

    def __init__(self, first: Commit, model: Callable[[str], Bundle], terms: Terms) -> None:
        assert first.model_id is not None, f"a start without a snapshot: {first}"
        self._model = model
        self._topic_id = first.topic_id
        bundle = model(first.model_id)
        self._fleet = Fleet(bundle, Origin(FLEET, first.partition, first.topic_id), terms.limits)
        self._shadow: Fleet | None = None
        self._last_words: list[AlertChange] = []
        self._reorder = Reorder(first.partition, len(bundle.channels), terms.lateness)
        self.seen: dict[str, Seen] = {}
        self.said: Counter[str] = Counter()
        self._kept: dict[int, tuple[Mapping[int, bytes], Mapping[int, bytes], Mapping[str, Seen]]] = {}  # by offset

    def follow(self, commit: Commit, expected: Expected) -> None:
        assert commit.topic_id == self._topic_id, f"readings of a recreated topic on top of the old one's: {commit}"
        at = 0
        for amendment in sorted(commit.amendments, key=lambda one: one.offset):
            records = [record for record in commit.records if record.offset < amendment.offset]
            self._observe(commit.partition, records[at:], expected)
            at = len(records)
            self._amend(amendment, expected)
        self._observe(commit.partition, commit.records[at:], expected)
        for change in self._last_words:
            expected.change(change)
        self._last_words.clear()
        for fleet in self._fleets:
            for change in fleet.changes():
                expected.change(change)
            fleet.settle()
            fleet.devices.touch(np.arange(len(fleet.devices)))  # all, whatever a daemon thinks has changed
        shadow = self._shadow.pages() if self._shadow else {}
        self._kept[commit.next] = self._fleet.pages() | self._reorder.pages(), shadow, dict(self.seen)
        if commit.model_id is not None:
            assert commit.model_id == self._fleet.bundle.id, f"a model that nobody swapped to: {commit}"
            assert commit.shadow_id == (self._shadow and self._shadow.bundle.id), f"another shadow: {commit}"
            self.store(commit.next, expected)

    @property
    def _fleets(self) -> list[Fleet]:
        return [self._fleet] if self._shadow is None else [self._fleet, self._shadow]

    def store(self, offset: int, expected: Expected) -> None:
        """A snapshot of the state at a committed offset."""
        pages, shadow, seen = self._kept[offset]
        partition = self._fleet.origin.partition
        expected.snapshot(partition, pages, self._fleet.devices.page_count)
        expected.shadow_snapshot(partition, shadow, self._shadow.devices.page_count if self._shadow else 0)
        for device_id, times in seen.items():
            expected.see(self._fleet.origin.partition, device_id, times)

    def _observe(self, partition: Partition, records: Sequence[RawRecord], expected: Expected) -> None:
        if not records:
            return
        decoded = JsonDecoder(self._fleet.bundle.channels).decode(partition, records)
        timely = self._timely(self._in_turn(decoded.readings))
        for fleet in self._fleets:
            fleet.observe(timely)
        expected.dead_letters += map(_dead_letter_row, decoded.dead_letters)

    def _in_turn(self, readings: Readings) -> Readings:
        """By event time, as far as they may be late; one by one, so that nothing hangs on how the log was polled."""
        each = [self._reorder.take(readings.pick(np.array([row]))) for row in range(len(readings))]
        return Readings.join(each) if each else readings

    def _timely(self, readings: Readings) -> Readings:
        rows = [row for row in range(len(readings)) if self._is_news(readings.device_ids[row], int(readings.at[row]))]
        return readings.pick(np.array(rows, np.int64))

    def _is_news(self, device_id: str, at: int) -> bool:
        known = self.seen.get(device_id)
        if known is not None and at <= known.last:
            return False
        self.seen[device_id] = Seen(at if known is None else known.first, at)
        self.said[device_id] += 1
        return True

    def _amend(self, amendment: Amendment, expected: Expected) -> None:
        self._fleet.accept(amendment.accepted)
        self._evict(amendment, expected)
        if amendment.model_id != self._fleet.bundle.id:
            self._fleet = self._fleet.under(self._model(amendment.model_id))
        if amendment.shadow_id != (self._shadow and self._shadow.bundle.id):
            self._last_words += self._shadow.withdraw() if self._shadow else []
            named = amendment.shadow_id
            self._shadow = None if named is None else self._fleet.beside(self._model(named), Run.SHADOW)

    def _evict(self, amendment: Amendment, expected: Expected) -> None:
        """As many as the daemon forgot; which, this judges by itself."""
        surplus = len(amendment.evicted)
        longest_ago = sorted(self.seen, key=lambda each: (self.seen[each].last, self.said[each]))[:surplus]
        assert set(longest_ago) == amendment.evicted, f"{longest_ago} were not seen for longest: {amendment}"
        for device_id in longest_ago:
            expected.see(self._fleet.origin.partition, device_id, self.seen.pop(device_id))
            del self.said[device_id]
        for fleet in self._fleets:
            fleet.evict(len(self.seen))


# --- rows ------------------------------------------------------------------------------------------------------------


def _alert_row(alert: Alert) -> Row:
    row = asdict(alert)
    for name in TIMES:
        row[name] = None if row[name] is None else instant(row[name])
    for name in GROUNDS:
        value = getattr(alert, name)
        row[name] = None if value is None else msgspec.json.decode(msgspec.json.encode(value))
    answers = dict.fromkeys((*ANSWERS, "accepted_by", "accepted_at", "suppressed_window", "suppressed_like"))
    return row | answers | {"schema_version": ALERT_VERSION}


def _dead_letter_row(letter: DeadLetter) -> Row:
    row = asdict(letter)
    row["record_offset"] = row.pop("offset")
    place = {"fleet": FLEET, "topic": letter.partition.topic, "partition": letter.partition.number}
    return row | place


def _gap_row(gap: GapAccepted) -> Row:
    place = {"fleet": FLEET, "topic": gap.partition.topic, "partition": gap.partition.number}
    return place | {"from_offset": gap.start, "to_offset": gap.end, "reason": gap.reason}


def _device_row(device_id: str, partition: Partition, seen: Seen) -> Row:
    times = {"first_seen": instant(seen.first), "last_seen": instant(seen.last)}
    return {"fleet": FLEET, "device_id": device_id, "topic": partition.topic, **times}
