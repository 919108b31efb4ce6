"""Rows on stdout: a table for people; JSON, JSON lines or CSV for programs. Used by every command that lists.

Programs get every field of a row's dataclass, in its order: UTC times in ISO 8601, bytes in base64, absent as null or
an empty cell. What devices sent is shown to people without its control characters.
"""

import csv
import json
import sys
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Generic, TextIO, TypeVar

import click
import msgspec
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sensord.cli.options import OneOf
from sensord.texts import printable

Row = TypeVar("Row")
UNLIMITED = 10_000  # characters: what reads a pipe has no width


class Format(StrEnum):
    """How rows are written."""

    TABLE = "table"
    JSON = "json"
    JSONL = "jsonl"
    CSV = "csv"


@dataclass(frozen=True)  # Python 3.11 can't make a generic class that is both frozen and slotted
class Column(Generic[Row]):
    """One column as people see it. style: a row -> one of rich's styles, "" for none."""

    heading: str
    text: Callable[[Row], str]
    right: bool = False
    style: Callable[[Row], str] = lambda row: ""


def format_option(*forms: Format) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """`--format`, passed as `form`; every format where none is named. The first of them is the default."""
    return click.option(
        "--format",
        "form",
        type=OneOf(forms or tuple(Format)),
        default=(forms or tuple(Format))[0].value,
        show_default=True,
        help="How rows are written: table is for people, the others are for programs.",
    )


def limit_option(default: int = 100) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """`--limit`."""
    return click.option("--limit", type=click.IntRange(min=1), default=default, show_default=True, help="Most rows.")


def write(
    rows: Sequence[Row],
    kind: type[Row],
    form: Format,
    columns: Sequence[Column[Row]],
    omit: Collection[str] = (),
    limit: int | None = None,
) -> None:
    """Write rows of the dataclass `kind` to stdout. omit: fields that programs don't get.

    limit: how many are written; where there are more, stderr says so.
    """
    shown = rows[:limit]
    if form is Format.TABLE:
        write_table(shown, columns)
    else:
        names = [field.name for field in fields(kind) if field.name not in omit]  # type: ignore[arg-type]
        _write_for_programs([{name: getattr(row, name) for name in names} for row in shown], names, form)
    if len(shown) < len(rows):
        click.echo(f"only {len(shown)} are shown; more with --limit", err=True)


def write_object(value: object) -> None:
    """One value as indented JSON."""
    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2))


def _write_for_programs(rows: Iterable[dict[str, object]], names: Sequence[str], form: Format) -> None:
    if form is Format.JSON:
        write_object(list(rows))
    elif form is Format.JSONL:
        for row in rows:
            click.echo(msgspec.json.encode(row))
    else:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(names)
        writer.writerows([_cell(value) for value in row.values()] for row in rows)


def write_all(rows: Iterable[Row], kind: type[Row], form: Format, out: TextIO) -> int:
    """Write rows for programs, JSON lines or CSV, one after another as they come; returns how many."""
    names = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    writer = csv.writer(out, lineterminator="\n")
    if form is Format.CSV:
        writer.writerow(names)
    written = 0
    for row in rows:
        written += 1
        if form is Format.CSV:
            writer.writerow([_cell(getattr(row, name)) for name in names])
        else:
            out.write(msgspec.json.encode(row).decode() + "\n")
    return written


def _cell(value: object) -> object:
    """What CSV can hold; structures as JSON."""
    plain = msgspec.to_builtins(value)
    return json.dumps(plain, ensure_ascii=False) if isinstance(plain, dict | list | tuple | bool) else plain


# --- people ----------------------------------------------------------------------------------------------------------


def console() -> Console:
    """Stdout: coloured and as wide as the terminal where there is one, plain and unlimited elsewhere."""
    return Console(highlight=False) if sys.stdout.isatty() else Console(highlight=False, width=UNLIMITED)


def write_table(rows: Sequence[Row], columns: Sequence[Column[Row]]) -> None:
    """Rows for people, on stdout."""
    out = console()
    table = Table(box=box.SIMPLE_HEAD if out.is_terminal else None, pad_edge=False)
    for column in columns:
        table.add_column(column.heading, justify="right" if column.right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(column.text(row)), style=column.style(row)) for column in columns))
    out.print(table)
