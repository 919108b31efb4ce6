"""`sensord report`: a stretch of time as one page: alarms against the budget, devices, models, data."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import click

from sensord.cli.context import engine_of, settings_of
from sensord.cli.options import Time
from sensord.cli.period_page import FleetPeriod, page
from sensord.detection.alerts import Run
from sensord.errors import NotFound, SettingsInvalid
from sensord.settings import FleetSettings
from sensord.store import Engine
from sensord.store.alert_queries import By, count_alerts, worst_alerts
from sensord.store.alerts import AlertFilter
from sensord.store.period import Period, detection_delays, gaps_of, letters_by_reason, population
from sensord.store.registry import Registry

WORST = 12  # alerts that are told with a picture
LISTED = 15  # devices and channels
DELAYS = 10_000


@click.command("report")
@click.option("--since", type=Time(), default="7d", show_default=True, help="A time, or an age such as 24h.")
@click.option("--until", type=Time(), help="A time, or an age; now where it is left out.")
@click.option("--fleet", help="Of this fleet alone.")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    default="sensord-report.html",
    show_default=True,
    help="The page: one file that needs nothing else.",
)
@click.pass_context
def report(ctx: click.Context, since: datetime, until: datetime | None, fleet: str | None, out: Path) -> None:
    """Write a page about a stretch of time: alarms against the budget, devices, delays, models, data.

    Alerts are those of the live run that opened in it and that nothing suppresses, by event time.
    """
    settings = settings_of(ctx)
    period = Period(since, until or datetime.now(UTC))
    if period.days <= 0:
        raise click.UsageError("--since must be before --until")
    if fleet is not None and fleet not in settings.fleets:
        raise NotFound(f"no settings name a fleet {fleet!r}; there are: {', '.join(sorted(settings.fleets)) or 'none'}")
    wanted = {name: one for name, one in settings.fleets.items() if fleet in (None, name)}
    if not wanted:
        raise SettingsInvalid('no fleet is set: add [fleets.NAME] with topics = ["TOPIC"]')
    with engine_of(settings.store) as engine:
        found = [_fleet(engine, name, one, period) for name, one in wanted.items()]
    out.write_text(page(found, period), encoding="utf-8")
    click.echo(f"{out}: {sum(one.alerts for one in found)} alerts of {len(found)} fleets")


def _fleet(engine: Engine, name: str, settings: FleetSettings, period: Period) -> FleetPeriod:
    every = AlertFilter(fleet=name, since=period.since, until=period.until, run=Run.LIVE.value)
    told = replace(every, shown_at=period.until)
    return FleetPeriod(
        name=name,
        budget=settings.alarm_budget,
        devices=population(engine, name, period),
        total=next(iter(count_alerts(engine, told, By.FLEET)), None),
        suppressed=_total(engine, every) - _total(engine, told),
        counts={by: count_alerts(engine, told, by, LISTED) for by in (By.DEVICE, By.CHANNEL, By.KIND, By.BUNDLE)},
        days=count_alerts(engine, told, By.DAY),
        worst=worst_alerts(engine, told, WORST),
        delays_s=detection_delays(engine, name, period, DELAYS),
        bundles=[row for row in Registry(engine).list(name) if row.created_at < period.until][:LISTED],
        letters=letters_by_reason(engine, name, period),
        gaps=gaps_of(engine, name, period),
    )


def _total(engine: Engine, filters: AlertFilter) -> int:
    return sum(one.alerts for one in count_alerts(engine, filters, By.FLEET))
