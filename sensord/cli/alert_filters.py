"""Options that say which alerts are meant. Used by the commands of `sensord alerts`."""

from collections.abc import Callable
from datetime import datetime
from functools import wraps

import click

from sensord.cli.options import OneOf, Time
from sensord.clock import SystemClock
from sensord.detection.alerts import Kind, Severity
from sensord.store.alerts import AlertFilter
from sensord.store.schema import instant
from sensord.store.suppression import LIVE

ALL = "all"  # runs


def filter_options(command: Callable[..., None]) -> Callable[..., None]:
    """`--fleet`, `--device` and so on, passed together as `filters`."""

    @click.option("--fleet", help="Of this fleet alone.")
    @click.option("--device", help="Of this device; * and ? stand for others.")
    @click.option("--since", type=Time(), help="Opened at or after: 2026-11-23T12:00:00Z, or an age such as 24h.")
    @click.option("--open", "open_only", is_flag=True, help="Only those that are still open.")
    @click.option("--severity", type=OneOf(tuple(Severity)), help="Of this severity alone.")
    @click.option("--kind", type=OneOf(tuple(Kind)), help="Of this kind alone.")
    @click.option("--run", default=LIVE, show_default=True, help="Of this run: live, replay, shadow; all for all.")
    @click.option("--suppressed", is_flag=True, help="Also those that a window or a false alarm suppresses.")
    @wraps(command)
    def with_filters(
        *arguments: object,
        fleet: str | None,
        device: str | None,
        since: datetime | None,
        open_only: bool,
        severity: Severity | None,
        kind: Kind | None,
        run: str,
        suppressed: bool,
        **options: object,
    ) -> None:
        shown_at = None if suppressed else instant(SystemClock().now())
        filters = AlertFilter(fleet, device, since, open_only, severity, kind, None if run == ALL else run, shown_at)
        command(*arguments, filters=filters, **options)

    return with_filters
