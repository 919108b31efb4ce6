"""How each data set is judged: which readings are history, what is a fault, how thresholds are set.

Used by `cli` and by the benchmarks; each protocol reads its files and returns a trial for `judging`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from sensord.errors import HistoryUnusable, RecordingUnreadable
from sensord.readings import Floats
from sensord.stream.files import FileOptions, TimeUnit, read_tables
from sensord.stream.tables import Table
from sensord.trainer.evaluation.cases import Case, Fault, faults_from_flags
from sensord.trainer.evaluation.judging import Exposure, Trial
from sensord.trainer.evaluation.labels import Label, for_devices
from sensord.trainer.events import Span
from sensord.trainer.history import History, Needs, check, join
from sensord.trainer.offline import Recorded
from sensord.trainer.threshold import DAY_S, AlarmBudget, RowShare, ThresholdRule

SKAB_HISTORY = 400  # first rows of each file, taken as healthy
SKAB_SHARE = 0.025  # of healthy readings that may lie beyond a threshold
SKAB_LABELS = ("anomaly", "changepoint")  # columns that are no channels; the first is the label

TURBOFAN_HEALTHY = 0.3  # of an engine's life, its history
TURBOFAN_CHANNELS = (*(f"setting{n}" for n in (1, 2, 3)), *(f"s{n}" for n in range(1, 22)))
TURBOFAN_COLUMNS = ("unit", "cycle", *TURBOFAN_CHANNELS)
TURBOFAN_BUDGET = 1e-4  # false alarms a flight: over a life of some 200 flights, of one engine in 50
TURBOFAN_NEEDS = Needs(per_device=1, in_all=300)
FLIGHTS = 10_000


# --- SKAB ------------------------------------------------------------------------------------------------------------


def skab(files: Sequence[Path]) -> Trial:
    """Each file is a device, its first `SKAB_HISTORY` rows its history, all later rows are judged by the column
    `anomaly`. Thresholds let `SKAB_SHARE` of healthy readings lie beyond. Raises RecordingUnreadable."""
    cases, common = [], None
    for table in read_tables(files):
        channels, values, label = _without(table, SKAB_LABELS)
        if common not in (None, channels):
            raise RecordingUnreadable(f"{table.path}: channels {', '.join(channels)} differ from the other files'")
        if len(table) <= SKAB_HISTORY:
            raise RecordingUnreadable(f"{table.path}: {len(table)} rows; the first {SKAB_HISTORY} are history alone")
        common = channels
        recorded = Recorded(table.device_id, table.at, values)
        cases.append(Case(recorded, SKAB_HISTORY, faults_from_flags(table.device_id, table.at, label > 0)))
    history = History(common or (), tuple(case.head for case in cases))
    return Trial("skab", history, tuple(cases), RowShare(SKAB_SHARE), asked_share=SKAB_SHARE)


def _without(table: Table, labels: Sequence[str]) -> tuple[tuple[str, ...], Floats, Floats]:
    """A table's channels and their values without the label columns, and the first of these. Raises
    RecordingUnreadable."""
    if labels[0] not in table.channels:
        raise RecordingUnreadable(f"{table.path}: no column {labels[0]!r}, so there is nothing to judge by")
    keep = [i for i, name in enumerate(table.channels) if name not in labels]
    label = table.values[:, table.channels.index(labels[0])]
    return tuple(table.channels[i] for i in keep), table.values[:, keep], label


# --- turbofans -------------------------------------------------------------------------------------------------------


def cmapss(file: Path) -> Trial:
    """NASA's turbofans run to failure (train_FD001.txt): each engine is a device, its healthy first 30 % its history.

    Nobody labelled when an engine begins to wear, so the second half of life is taken for the fault: an alert in the
    first is false. A cycle is a flight, and the alarm budget is counted in flights. Raises RecordingUnreadable,
    HistoryUnusable.
    """
    options = FileOptions("unit", "cycle", TimeUnit.CYCLES, TURBOFAN_CHANNELS, column_names=TURBOFAN_COLUMNS)
    whole = join(read_tables([file], options), TURBOFAN_CHANNELS)
    cases = []
    for device in whole.devices:
        at, middle = device.at, len(device.at) // 2
        worn = Fault(Span(device.device_id, int(at[middle]), int(at[-1])), "second half of life")
        cases.append(Case(device, round(TURBOFAN_HEALTHY * len(at)), (worn,)))
    channels, kept, notes = moving(whole.channels, cases)
    history = check(History(channels, tuple(case.head for case in kept), notes), TURBOFAN_NEEDS)
    return Trial(
        "cmapss",
        history,
        kept,
        AlarmBudget(TURBOFAN_BUDGET * DAY_S / history.period_s, history.period_s),
        asked=TURBOFAN_BUDGET * FLIGHTS,
        exposure=Exposure(f"{FLIGHTS:,} flights", FLIGHTS * history.period_s, "flights", FLIGHTS),
        runs_to_failure=True,
        notes=history.notes,
    )


# --- any recording ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Healthy:
    """Which readings of a device are its history: the first rows, or a share of all, or those before a time (µs)."""

    rows: int | None = None
    share: float | None = None
    until: int | None = None

    def of(self, device: Recorded) -> int:
        """How many."""
        if self.rows is not None:
            return min(self.rows, len(device.at))
        if self.until is not None:
            return int(np.searchsorted(device.at, self.until))
        return round((self.share or 0.0) * len(device.at))


@dataclass(frozen=True, slots=True)
class Budget:
    """What thresholds keep to: false alarms per device and day, or a share of healthy readings beyond."""

    per_device_day: float | None = None
    row_share: float | None = None

    def rule(self, period_s: float) -> ThresholdRule:
        if self.per_device_day is not None:
            return AlarmBudget(self.per_device_day, period_s)
        return RowShare(self.row_share or RowShare().share)


def recording(
    files: Sequence[Path],
    options: FileOptions,
    labels: Sequence[Label] | str,
    healthy: Healthy,
    budget: Budget,
    max_gap_s: float = 300.0,
) -> Trial:
    """Any labelled recording. labels: intervals, or the name of the column that isn't 0 where a reading is faulty.

    Raises RecordingUnreadable, HistoryUnusable.
    """
    column = labels if isinstance(labels, str) else None
    chosen = options.channels
    if column is not None and chosen is not None:
        options = replace(options, channels=(*chosen, column))
    tables = list(read_tables(files, options))
    names = tuple(dict.fromkeys(name for table in tables for name in table.channels))
    if column is not None and column not in names:
        raise RecordingUnreadable(f"no column {column!r} in {tables[0].path}; it has {', '.join(names)}")
    whole = join(tables, options.channels)
    if isinstance(labels, str):
        devices, faults = _by_column(whole, labels)
    else:
        devices, faults = list(whole.devices), for_devices(labels, [device.device_id for device in whole.devices])
    cases = [Case(device, healthy.of(device), tuple(faults.get(device.device_id, ()))) for device in devices]
    channels = tuple(name for name in whole.channels if name != column)
    judged = [case for case in cases if 0 < case.history < len(case.recorded.at)]
    left_out = [case.recorded.device_id for case in cases if case not in judged]
    channels, kept, notes = moving(channels, judged)
    if left_out:
        notes += (f"devices left out, as nothing of them is history or nothing is left to judge: {len(left_out)}",)
    history = check(History(channels, tuple(case.head for case in kept), notes))
    enough = {device.device_id for device in history.devices}
    return Trial(
        "recording",
        history,
        tuple(case for case in kept if case.recorded.device_id in enough),
        budget.rule(history.period_s),
        asked=budget.per_device_day,
        asked_share=budget.row_share if budget.per_device_day is None else None,
        max_gap_s=max_gap_s,
        notes=history.notes,
    )


def _by_column(whole: History, column: str) -> tuple[list[Recorded], Mapping[str, Sequence[Fault]]]:
    place = whole.channels.index(column)
    devices = [
        Recorded(device.device_id, device.at, np.delete(device.values, place, axis=1)) for device in whole.devices
    ]
    flagged = {device.device_id: np.nan_to_num(device.values[:, place]) != 0 for device in whole.devices}
    return devices, {
        device.device_id: faults_from_flags(device.device_id, device.at, flagged[device.device_id])
        for device in devices
    }


# --- parts -----------------------------------------------------------------------------------------------------------


def moving(
    channels: tuple[str, ...], cases: Sequence[Case]
) -> tuple[tuple[str, ...], tuple[Case, ...], tuple[str, ...]]:
    """Without the channels that are constant over the history of all cases; a note says which. Raises
    HistoryUnusable."""
    if not cases:
        raise HistoryUnusable("no device has both history and readings to judge")
    moves = np.zeros(len(channels), np.bool_)
    for case in cases:
        known = np.isfinite(case.head.values)
        low = np.where(known, case.head.values, np.inf).min(axis=0)
        high = np.where(known, case.head.values, -np.inf).max(axis=0)
        moves |= high > low
    still = [channel for channel, moved in zip(channels, moves, strict=True) if not moved]
    notes = (f"channels left out, constant in all history: {', '.join(still)}",) if still else ()
    return tuple(np.array(channels)[moves].tolist()), tuple(_narrowed(cases, moves)), notes


def _narrowed(cases: Iterable[Case], keep: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> Iterable[Case]:
    for case in cases:
        device = case.recorded
        yield replace(case, recorded=Recorded(device.device_id, device.at, device.values[:, keep]))
