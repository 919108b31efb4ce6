"""`sensord inspect`: what messages look like, and the settings that read them."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import msgspec
import numpy as np

from sensord.cli.context import settings_of
from sensord.cli.output import Column, write_table
from sensord.errors import HistoryUnusable
from sensord.readings import Partition, RawRecord, Record
from sensord.settings import FleetSettings, Settings
from sensord.stream.decoders import Decoded
from sensord.stream.formats.decoder import decoder_of, read_through
from sensord.stream.formats.guess import Guess, guess
from sensord.stream.ranges import latest
from sensord.texts import figure

PLAIN = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class Seen:
    """A channel of the sample. share: of its readings that have it."""

    channel: str
    share: float
    least: float
    greatest: float


COLUMNS = (
    Column[Seen]("channel", lambda row: row.channel),
    Column[Seen]("in", lambda row: f"{row.share:.0%}", right=True),
    Column[Seen]("least", lambda row: figure(row.least), right=True),
    Column[Seen]("greatest", lambda row: figure(row.greatest), right=True),
)


@click.command("inspect")
@click.argument("source")
@click.option("--sample", type=click.IntRange(1, 100_000), default=500, show_default=True, help="Records to look at.")
@click.option("--fleet", default="NAME", show_default=True, help="What to call the fleet in the settings.")
@click.pass_context
def inspect(ctx: click.Context, source: str, sample: int, fleet: str) -> None:
    """Look at the latest records of a topic, or the lines of a FILE, guess their format, and print settings to paste.

    The settings are on stdout, what there is to say of them on stderr. A guess by names and magnitudes: look at it.
    """
    settings = settings_of(ctx)
    records = _records(settings, source, sample)
    if not records:
        raise HistoryUnusable(f"{source} holds no record")
    found = guess(records)
    if found is None:
        first = records[0].value or b""
        raise HistoryUnusable(
            f"{source}: no format that sensord knows reads any of {len(records)} records, such as {first[:200]!a}"
        )
    proposed = found.fleet(source if not Path(source).exists() else "TOPIC")
    click.echo(_toml(fleet, proposed, found))
    _tell(found, read_through(decoder_of(proposed, tuple(found.channels)), Partition(source, 0), records))


def _records(settings: Settings, source: str, sample: int) -> Sequence[RawRecord]:
    path = Path(source)
    if path.is_file():
        stamp = int(path.stat().st_mtime * 1_000)
        lines = [line for line in path.read_bytes().splitlines() if line.strip()][:sample]
        return [Record(number, stamp, None, line) for number, line in enumerate(lines)]
    return latest(settings.kafka, source, sample)


def _tell(found: Guess, decoded: Decoded) -> None:
    readings = decoded.readings
    click.echo(
        f"\n{found.read} of {found.of} records read, {len(readings)} readings of {found.devices} devices", err=True
    )
    for doubt in found.doubts:
        click.echo(f"not sure: {doubt}", err=True)
    for letter in decoded.dead_letters[:3]:
        click.echo(f"refused: {letter.reason}: {letter.detail}", err=True)
    values = readings.values
    known = ~np.isnan(values)
    rows = [
        Seen(name, known[:, n].mean(), float(np.nanmin(values[:, n])), float(np.nanmax(values[:, n])))
        for n, name in enumerate(found.channels)
        if known[:, n].any()
    ]
    write_table(rows, COLUMNS)


def _toml(name: str, fleet: FleetSettings, found: Guess) -> str:
    lines = [f"[fleets.{name}]", f"topics = {_value(fleet.topics)}"]
    if fleet.decoder != "json":
        lines.append(f'decoder = "{fleet.decoder}"')
    lines.append(f"channels = {_value(tuple(found.channels))}")
    if fleet.align_s:
        lines.append(f"align_s = {fleet.align_s:g}")
    if found.mapping:
        lines += [
            "",
            f"[fleets.{name}.mapping]",
            *(f"{_key(key)} = {_value(value)}" for key, value in found.mapping.items()),
        ]
    return "\n".join(lines)


def _key(name: str) -> str:
    return name if PLAIN.fullmatch(name) else _value(name)


def _value(value: object) -> str:
    """As TOML, which spells strings and arrays of them as JSON does."""
    assert not isinstance(value, Mapping)  # noqa: S101
    return msgspec.json.encode(value).decode()
