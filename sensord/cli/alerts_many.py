"""`sensord alerts stats|export|tail`: many alerts at once, counted, written out, followed."""

import sys
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import click
import msgspec

from sensord.cli.alert_filters import filter_options
from sensord.cli.context import engine_of, settings_of
from sensord.cli.options import OneOf
from sensord.cli.output import Column, Format, format_option, limit_option, write, write_all
from sensord.detection.alerts import Severity
from sensord.store import Engine
from sensord.store.alert_queries import (
    LATE,
    AlertCount,
    By,
    Happening,
    count_alerts,
    happenings,
    last_sequence,
    stream_alerts,
)
from sensord.store.alerts import AlertFilter, AlertRow
from sensord.texts import figure, printable, time_text

COUNTS = (
    Column[AlertCount]("alerts of", lambda row: row.name),
    Column[AlertCount]("alerts", lambda row: str(row.alerts), right=True),
    Column[AlertCount]("open", lambda row: str(row.open), right=True),
    Column[AlertCount]("critical", lambda row: str(row.critical), right=True),
    Column[AlertCount]("real", lambda row: str(row.real), right=True),
    Column[AlertCount]("false", lambda row: str(row.false_alarms), right=True),
    Column[AlertCount]("unanswered", lambda row: str(row.unanswered), right=True),
    Column[AlertCount]("worst, x limit", lambda row: figure(row.worst), right=True),
    Column[AlertCount]("last opened (UTC)", lambda row: time_text(row.last_at)),
)


@click.command("stats")
@click.option("--by", type=OneOf(tuple(By)), default=By.DEVICE.value, show_default=True, help="What to count by.")
@filter_options
@limit_option(20)
@format_option()
@click.pass_context
def stats(ctx: click.Context, by: By, filters: AlertFilter, limit: int, form: Format) -> None:
    """Count alerts by device, channel, kind, fleet, bundle or day, and what people said of them."""
    with engine_of(settings_of(ctx).store) as engine:
        rows = count_alerts(engine, filters, by, limit + 1)
    write(rows, AlertCount, form, COUNTS, limit=limit)


@click.command("export")
@filter_options
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write this file, not stdout.")
@format_option(Format.JSONL, Format.CSV)
@click.pass_context
def export(ctx: click.Context, filters: AlertFilter, out: Path | None, form: Format) -> None:
    """Write alerts with everything that is known of them, the first opened first, however many there are."""
    with engine_of(settings_of(ctx).store) as engine:
        rows = stream_alerts(engine, filters)
        if out is None:
            write_all(rows, AlertRow, form, sys.stdout)
            return
        with out.open("w", encoding="utf-8", newline="") as file:
            written = write_all(rows, AlertRow, form, file)
    click.echo(f"{out}: {written} alerts", err=True)


@click.command("tail")
@filter_options
@click.option("--last", type=click.IntRange(min=0), default=10, show_default=True, help="Begin with so many events.")
@click.option("--every-s", type=click.FloatRange(min=0.1), default=1.0, show_default=True, help="How often to look.")
@format_option(Format.TABLE, Format.JSONL)
@click.pass_context
def tail(ctx: click.Context, filters: AlertFilter, last: int, every_s: float, form: Format) -> None:
    """Show what happens to alerts as it happens: opened, escalated, closed, and what people say. Ends with Ctrl-C."""
    with engine_of(settings_of(ctx).store) as engine:
        for one in _following(engine, filters, last, every_s):
            click.echo(msgspec.json.encode(one).decode() if form is Format.JSONL else _line(one))


def _following(engine: Engine, filters: AlertFilter, last: int, every_s: float) -> Iterator[Happening]:
    """The last few events, then each that comes."""
    newest = last_sequence(engine)
    found = happenings(engine, filters, newest, set())
    yield from found[max(len(found) - last, 0) :]
    seen = {one.event.sequence for one in found}
    while True:
        time.sleep(every_s)
        for one in happenings(engine, filters, newest, seen):
            yield one
            seen.add(one.event.sequence)
            newest = max(newest, one.event.sequence)
        seen = {number for number in seen if number > newest - LATE}


def _line(one: Happening) -> str:
    event = one.event
    urgent = event.event in ("opened", "escalated")
    style = "red" if event.severity is Severity.CRITICAL else "yellow"
    what = f"{event.event:<12} {event.severity.value:<8}"
    why = f"{one.kind} {one.times_the_limit:.1f} x limit, because of {one.because_of}" if urgent else one.kind.value
    said = f", says {event.by}" if event.by else ""
    comment = f": {event.comment}" if event.comment else ""
    rest = printable(f"{one.fleet} {one.device_id}  {why}{said}{comment}")
    return (
        f"{_time(event.recorded_at)} {str(event.alert_id)[:8]} {click.style(what, fg=style if urgent else None)} {rest}"
    )


def _time(at: datetime) -> str:
    return f"{time_text(at)}Z"
