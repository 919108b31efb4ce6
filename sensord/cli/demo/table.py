"""The alerts table beside the truth, for the terminal."""

from datetime import datetime

from rich import box
from rich.table import Table
from rich.text import Text

from sensord.cli.demo.findings import Findings
from sensord.cli.demo.wording import because, clock
from sensord.cli.output import console
from sensord.store.alerts import AlertRow
from sensord.texts import duration, figure

COLUMNS = (
    "device",
    "fault",
    "from",
    "to",
    "verdict",
    "alert",
    "opened",
    "closed",
    "delay",
    "peak",
    "limit",
    "because of",
)
NUMBERS = ("delay", "peak", "limit")
STYLES = {"found": "green", "missed": "bold red", "false": "yellow"}


def print_table(findings: Findings) -> None:
    """One line for each fault and its alerts, and for each false alert; in order of time."""
    rows: list[tuple[datetime, tuple[str, ...]]] = []
    for fault in findings.truth.faults:
        alerts, delay = findings.alerts_of(fault), findings.delay(fault)
        planted = (fault.device_id, fault.name, clock(fault.start_at), clock(fault.end_at))
        late = "" if delay is None else duration(delay)
        rows.append((fault.start_at, (*planted, "found" if alerts else "missed", *_said(alerts[:1], late))))
        again = (fault.device_id, f"{fault.name}, again", "", "", "found")
        rows += [(alert.opened_at, (*again, *_said([alert], ""))) for alert in alerts[1:]]
    for alert in findings.false:
        rows.append((alert.opened_at, (alert.device_id, "none", "", "", "false", *_said([alert], ""))))
    out = console()
    table = Table(box=box.SIMPLE_HEAD if out.is_terminal else None, pad_edge=False)
    for name in COLUMNS:
        table.add_column(name, justify="right" if name in NUMBERS else "left", overflow="fold")
    for _, cells in sorted(rows):
        table.add_row(*(Text(cell, style=STYLES.get(cell, "")) for cell in cells))
    out.print()
    out.print(table)


def _said(alerts: list[AlertRow], delay: str) -> tuple[str, ...]:
    if not alerts:
        return ("",) * 7
    alert = alerts[0]
    closed = "open" if alert.closed_at is None else clock(alert.closed_at)
    figures = (delay, figure(alert.score_peak), figure(alert.threshold))
    return str(alert.id)[:8], clock(alert.opened_at), closed, *figures, because(alert)
