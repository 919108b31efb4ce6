"""What a device costs as fleets grow: time per reading, memory, and the time to snapshot and to adopt them all.

\b
Fleets of each size are filled in one process; then, round by round, each takes the same number of readings, in turn:
in order   devices report one after another, always in the same order, as devices with a fixed period do
at random  every round in another order
A reading is decoded from its record and scored: all that the daemon does with it, fetching aside; what of that is
scoring is told too. Time is the process's own, so that what else runs on the machine matters less. Memory is what the
process grew by, names included. Snapshot and adoption go through PostgreSQL; the stream pauses for a copy alone, and a
thread of its own writes it.
"""

import gc
import json
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, astuple, dataclass, field
from importlib import metadata
from pathlib import Path

import click
import msgspec
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scripts.bench.daemon import database
from scripts.bench.surroundings import machine
from scripts.bench.workload import START_S, Workload, bundle, instant
from sensord.cli.recordings import progress_bars
from sensord.clock import MICROSECONDS
from sensord.daemon.shard import Shard
from sensord.detection.align import Align
from sensord.detection.chronicle import Origin
from sensord.detection.devices import RING
from sensord.detection.fleet import Fleet, Limits, make_ready
from sensord.detection.reorder import Reorder
from sensord.model.bundle import Bundle, unpack
from sensord.readings import Integers, Partition, Readings, Record
from sensord.store.database import open_engine, upgrade
from sensord.store.progress import Progress
from sensord.stream.decoders import NoGlossary
from sensord.stream.decoders.json import JsonDecoder
from tests.services import ServerUnavailable, postgresql

HERE = Partition("bench", 0)
BATCH = 5_000  # readings, as the daemon polls them
FILL = 50_000
LARGE = 10_000  # devices whose memory is more than the model's
ORDERS = ("in order", "at random")
PACKAGES = ("sensord", "numpy", "numba", "sqlalchemy", "psycopg")


@dataclass(frozen=True, slots=True)
class Stored:
    """Seconds for all devices. pause: how long the stream waits for a snapshot. snapshot: until it is in the database.
    adopt: to claim and load it again."""

    pause: float
    snapshot: float
    adopt: float


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one size. us_per_reading, and of that us_of_scoring: by order, median of the rounds. stored_s: None without a
    database."""

    devices: int
    bytes_per_device: int
    us_per_reading: dict[str, float]
    us_of_scoring: dict[str, float]
    stored_s: Stored | None


@dataclass(frozen=True, slots=True)
class Took:
    """Microseconds a reading, of one round."""

    decoding: float
    scoring: float

    @property
    def both(self) -> float:
        return self.decoding + self.scoring


@dataclass(slots=True)
class Filled:
    """A fleet whose devices all have been seen. rounds: by order, what each took."""

    fleet: Fleet
    bytes_per_device: int
    seconds: int = 1
    rounds: dict[str, list[Took]] = field(default_factory=lambda: {order: [] for order in ORDERS})

    def __len__(self) -> int:
        return len(self.fleet.devices)

    def median(self, what: Callable[[Took], float]) -> dict[str, float]:
        return {order: statistics.median(map(what, rounds)) for order, rounds in self.rounds.items()}


@click.command(help=__doc__)
@click.option("--devices", default="100,1000,10000,100000,1000000", show_default=True, help="Sizes, by commas.")
@click.option("--readings", type=click.IntRange(min=BATCH), default=100_000, show_default=True, help="A round.")
@click.option("--channels", type=click.IntRange(min=1), default=8, show_default=True)
@click.option("--hidden", type=click.IntRange(min=1), default=32, show_default=True, help="Width of the LSTM.")
@click.option("--rounds", type=click.IntRange(min=1), default=5, show_default=True)
@click.option("--store/--no-store", default=True, help="Time snapshots and adoption on a PostgreSQL of its own.")
@click.option("--plot", type=click.Path(dir_okay=False, path_type=Path), help="Draw the figures into a PNG file.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on the last line.")
def main(
    devices: str, readings: int, channels: int, hidden: int, rounds: int, store: bool, plot: Path | None, as_json: bool
) -> None:
    sizes = sorted({int(size) for size in devices.split(",")})
    model = unpack(bundle(Workload(1, 1, channels, hidden, 1)))
    make_ready(model)
    rng = np.random.default_rng(0)
    with progress_bars() as report:
        filled = []
        for number, size in enumerate(sizes):
            report("fill", number, len(sizes))
            filled.append(fill(model, size))
        report("fill", len(sizes), len(sizes))
        gc.collect()
        gc.freeze()  # as the daemon does: nothing of this is ever let go of
        for number in range(rounds):
            report("measure", number, rounds)
            for one in filled:
                for order in ORDERS:
                    one.rounds[order].append(measure(one, order, readings, rng))
        report("measure", rounds, rounds)
        times = stored(filled) if store else [None] * len(filled)
    found = [
        Figures(len(one), one.bytes_per_device, one.median(lambda t: t.both), one.median(lambda t: t.scoring), took)
        for one, took in zip(filled, times, strict=True)
    ]
    if plot is not None:
        draw(found, plot)
    click.echo(
        json.dumps(told(found, channels, hidden, readings, rounds)) if as_json else text(found, channels, hidden)
    )


def fill(model: Bundle, size: int) -> Filled:
    """A fleet of so many devices, each with one reading."""
    before = _resident()
    fleet = Fleet(model, Origin("bench", HERE, ""), Limits(silent_periods=20))
    for first in range(0, size, FILL):
        names = [_name(slot) for slot in range(first, min(first + FILL, size))]
        at, values = (
            np.full(len(names), START_S * MICROSECONDS),
            np.zeros((len(names), len(model.channels)), np.float32),
        )
        fleet.observe(Readings(HERE, names, at, values, np.arange(len(names))))
    return Filled(fleet, (_resident() - before) // size)


def measure(one: Filled, order: str, readings: int, rng: np.random.Generator) -> Took:
    """What a reading takes of this process's time."""
    size, decoding, scoring = len(one), 0.0, 0.0
    decoder = JsonDecoder(one.fleet.bundle.channels)
    shuffled = order == "at random"
    passes = [rng.permutation(size) if shuffled else np.arange(size) for _ in range(-(-readings // size))]
    slots = np.concatenate(passes)[:readings]
    seconds = one.seconds + np.arange(readings) // size
    one.seconds += len(passes)
    for first in range(0, readings, BATCH):
        rows = slice(first, first + BATCH)
        records = _records(slots[rows], seconds[rows], one.fleet.bundle.channels, rng)
        began = time.process_time()
        decoded = decoder.decode(HERE, records)
        begun = time.process_time()
        one.fleet.observe(decoded.readings)
        scoring += time.process_time() - begun
        decoding += begun - began
    one.fleet.changes()
    one.fleet.settle()
    return Took(decoding / readings * 1e6, scoring / readings * 1e6)


def _records(slots: Integers, seconds: Integers, channels: Sequence[str], rng: np.random.Generator) -> list[Record]:
    """As a topic holds them."""
    values = rng.normal(0, 1, (len(slots), len(channels))).round(3).tolist()
    records = list[Record]()
    for slot, second, row in zip(slots.tolist(), seconds.tolist(), values, strict=True):
        at = START_S + second
        reading = {"device_id": _name(slot), "timestamp": instant(at), "values": dict(zip(channels, row, strict=True))}
        records.append(Record(len(records), at * 1_000, None, msgspec.json.encode(reading)))
    return records


def _name(slot: int) -> str:
    return f"device-{slot:07}"


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4_096


# --- the database ----------------------------------------------------------------------------------------------------


def stored(filled: list[Filled]) -> list[Stored | None]:
    """What a snapshot of all devices takes, and to claim and load them again; of each fleet."""
    try:
        with postgresql() as server:
            return [_stored(one.fleet, server.address) for one in filled]
    except ServerUnavailable as error:
        click.echo(f"scale: no PostgreSQL, so no snapshots: {error}", err=True)
        return [None] * len(filled)


def _stored(fleet: Fleet, server: str) -> Stored:
    with database(server) as url, _progress(url) as progress:
        shard = _adopted(fleet, progress)
        fleet.devices.touch(np.arange(len(fleet.devices)))
        began = time.perf_counter()
        copy = shard.copy()
        copied = time.perf_counter()
        progress.store(copy.sealed())
        done = time.perf_counter()
        del copy
        again = time.perf_counter()
        claim = progress.claim("bench", HERE, "second", "", START_S * MICROSECONDS)
        heir = Fleet(fleet.bundle, fleet.origin, Limits(silent_periods=20))
        heir.load(claim.pages)
        adopted = time.perf_counter()
        if len(heir.devices) != len(fleet.devices):
            raise click.ClickException(f"{len(heir.devices)} devices came back, not {len(fleet.devices)}")
        return Stored(copied - began, done - began, adopted - again)


def _adopted(fleet: Fleet, progress: Progress) -> Shard:
    """As the daemon holds a partition of which one record is committed, and not yet a state after it."""
    at = START_S * MICROSECONDS
    claim = progress.claim("bench", HERE, "first", "", at)
    fleet.devices.settle()
    channels = fleet.bundle.channels
    shard = Shard(
        name="bench",
        partition=HERE,
        epoch=claim.epoch,
        owner=claim.owner,
        committed=None,
        committed_at=None,
        state_offset=None,
        position=0,
        live_from=0,
        fleet=fleet,
        align=Align(HERE, len(channels), 0),
        reorder=Reorder(HERE, len(channels), 0),
        decoder=JsonDecoder(channels),
        glossary=NoGlossary(),
        stored_model=None,
    )
    for shard.position in (0, 1):
        mark = shard.checkpoint()
        progress.commit([mark], at)
        shard.settle(mark, at)
    return shard


@contextmanager
def _progress(url: str) -> Iterator[Progress]:
    engine = open_engine(url)
    try:
        upgrade(engine)
        yield Progress(engine)
    finally:
        engine.dispose()


# --- what is shown ---------------------------------------------------------------------------------------------------


def told(found: list[Figures], channels: int, hidden: int, readings: int, rounds: int) -> dict[str, object]:
    """All figures for programs."""
    return {
        "sizes": [asdict(one) for one in found],
        "largest_to_smallest": _ratios([one.us_per_reading for one in found]),
        "largest_to_smallest_scoring": _ratios([one.us_of_scoring for one in found]),
        "workload": {"channels": channels, "hidden": hidden, "ring": RING, "readings": readings, "rounds": rounds},
        "machine": machine(),
        "versions": {name: metadata.version(name) for name in PACKAGES},
    }


def _ratios(times: list[dict[str, float]]) -> dict[str, float]:
    return {order: times[-1][order] / times[0][order] for order in ORDERS}


def text(found: list[Figures], channels: int, hidden: int) -> str:
    """The figures for people."""
    widths = {"devices": 10, "in order": 11, "(scoring)": 11, "at random": 11, "(scoring) ": 11, "bytes each": 12}
    widths |= {"pause s": 9, "snapshot s": 12, "adopt s": 9}
    lines = ["".join(f"{name:>{width}}" for name, width in widths.items())]
    for one in found:
        times_us = [f"{each[order]:.2f} us" for order in ORDERS for each in (one.us_per_reading, one.us_of_scoring)]
        times = astuple(one.stored_s) if one.stored_s else ()
        pause, snapshot, adopt = [f"{value:.2f}" for value in times] or "---"
        lines.append(
            f"{one.devices:>10,}" + "".join(f"{each:>11}" for each in times_us) + f"{one.bytes_per_device:>12,}"
            f"{pause:>9}{snapshot:>12}{adopt:>9}"
        )
    costs = (_ratios([one.us_per_reading for one in found]), _ratios([one.us_of_scoring for one in found]))
    whole, scoring = (" and ".join(f"{ratios[order]:.2f} ({order})" for order in ORDERS) for ratios in costs)
    lines += [
        "",
        f"a reading of {found[-1].devices:,} devices costs that of {found[0].devices:,} times {whole};",
        f"scoring alone {scoring}",
        f"{channels} channels, hidden {hidden}, the last {RING} readings of each device; bytes of small fleets are "
        "mostly the model's",
        ", ".join(f"{name} {value}" for name, value in machine().items()),
    ]
    return "\n".join(lines)


def draw(found: list[Figures], file: Path) -> None:
    """Time per reading and bytes per device over the number of devices, as PNG."""
    figure = Figure(figsize=(8.0, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    sizes = [one.devices for one in found]
    for order, mark in zip(ORDERS, "os", strict=True):
        [drawn] = left.plot(sizes, [one.us_per_reading[order] for one in found], marker=mark, label=order)
        left.plot(
            sizes, [one.us_of_scoring[order] for one in found], ":", color=drawn.get_color(), label="scoring alone"
        )
    left.legend(frameon=False)
    large = [one for one in found if one.devices >= LARGE] or found
    right.plot([one.devices for one in large], [one.bytes_per_device / 1024 for one in large], marker="o")
    _frame(left, "microseconds a reading")
    _frame(right, "KiB a device")
    figure.savefig(file, dpi=150)


def _frame(axes: Axes, what: str) -> None:
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.set_xlabel("devices")
    axes.set_title(what, loc="left", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.set_ylim(bottom=0)


if __name__ == "__main__":
    main(prog_name="scripts/bench/scale")
