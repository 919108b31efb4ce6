"""Differences in the terminal, and for programs."""

from collections.abc import Sequence
from dataclasses import asdict

import click

from sensord.cli.differences.comparison import Comparison, Count, Fact, Row, Side, counts_of, rows_of
from sensord.cli.differences.wording import because, headline, per_day
from sensord.cli.output import Column, Format, write, write_object, write_table
from sensord.texts import figure, time_text

ID_SHOWN = 8  # characters

ROW_COLUMNS = (
    Column[Row]("id", lambda row: str(row.id)[:ID_SHOWN]),
    Column[Row]("opened (UTC)", lambda row: time_text(row.opened_at)),
    Column[Row]("closed (UTC)", lambda row: time_text(row.closed_at)),
    Column[Row]("severity", lambda row: row.severity.value),
    Column[Row]("kind", lambda row: row.kind.value),
    Column[Row]("device", lambda row: row.device_id),
    Column[Row]("peak", lambda row: figure(row.score_peak), right=True),
    Column[Row]("limit", lambda row: figure(row.threshold), right=True),
    Column[Row]("readings", lambda row: str(row.readings), right=True),
    Column[Row]("because of", lambda row: because(row.top_channels)),
)
CHANGE = Column[Row]("", lambda row: row.change or "", style=lambda row: "yellow" if row.change == "new" else "cyan")


def show(comparison: Comparison, form: Format, limit: int) -> None:
    """On stdout. Programs get all figures as JSON, and the alerts that differ as JSON lines or CSV."""
    if form is Format.JSON:
        write_object(figures_of(comparison))
        return
    if form is Format.TABLE:
        _show_counts(comparison)
        click.echo()
    columns = ROW_COLUMNS if comparison.second is None else (CHANGE, *ROW_COLUMNS)
    write(rows_of(comparison), Row, form, columns, limit=limit if form is Format.TABLE else None)


def figures_of(comparison: Comparison) -> dict[str, object]:
    """All of it, for programs."""
    counts, second = counts_of(comparison), comparison.second
    return {
        "fleet": comparison.fleet,
        "first": _side(comparison.first),
        "second": None if second is None else _side(second),
        "counts": [asdict(count) for count in counts],
        "bundles": [asdict(fact) for fact in comparison.facts],
        "alerts": rows_of(comparison),
    }


def _side(side: Side) -> dict[str, object]:
    return {
        "bundle_id": side.bundle_id,
        "run": side.run,
        "alerts": len(side.alerts),
        "device_days": side.device_days,
        "per_device_day": side.per_device_day,
    }


def _show_counts(comparison: Comparison) -> None:
    click.echo(headline(comparison))
    click.echo(per_day(comparison))
    if comparison.facts:
        click.echo()
        write_table(comparison.facts, _fact_columns(comparison))
    click.echo()
    write_table(counts_of(comparison), _count_columns(comparison))


def _fact_columns(comparison: Comparison) -> Sequence[Column[Fact]]:
    second = "" if comparison.second is None else comparison.second.bundle_id
    return (
        Column[Fact]("", lambda fact: fact.what),
        Column[Fact](comparison.first.bundle_id, lambda fact: fact.first),
        Column[Fact](second, lambda fact: fact.second),
    )


def _count_columns(comparison: Comparison) -> Sequence[Column[Count]]:
    first = (
        Column[Count]("alerts", lambda count: count.name),
        Column[Count](comparison.first.bundle_id, lambda count: str(count.first), right=True),
    )
    if comparison.second is None:
        return first
    return (
        *first,
        Column[Count](comparison.second.bundle_id, lambda count: str(count.second), right=True),
        Column[Count]("same", lambda count: str(count.same), right=True),
        Column[Count]("outdated", lambda count: str(count.outdated), right=True),
        Column[Count]("new", lambda count: str(count.new), right=True),
    )
