"""`sensord model diff`: what a bundle in the shadow raises, and the current one doesn't, and the other way round."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from pathlib import Path

import click

from sensord.cli.context import engine_of, settings_of
from sensord.cli.differences.bundles import Known, facts_of, known
from sensord.cli.differences.comparison import Comparison, Side, since_then
from sensord.cli.differences.telling import report_option, teller
from sensord.cli.model import CURRENT, SHADOW, fleet_of, fleet_option
from sensord.cli.options import Time
from sensord.cli.output import Format, format_option, limit_option
from sensord.detection.alerts import Run
from sensord.errors import NotFound
from sensord.store import Engine
from sensord.store.devices import DeviceRow, list_devices
from sensord.store.registry import Move, Registry, Stage
from sensord.store.runs import Window, alerts_of
from sensord.texts import time_text

LIVE, REPLAY = Run.LIVE.value, Run.REPLAY.value
ALIKE = {LIVE: (LIVE, SHADOW), REPLAY: (REPLAY, REPLAY)}  # the runs of the first bundle and of the second
DAY = timedelta(days=1)


@click.command("diff")
@click.argument("first", metavar="[A]", default=CURRENT)
@click.argument("second", metavar="[B]", default=SHADOW)
@fleet_option
@click.option("--since", type=Time(), help="Alerts opened at or after; else since both have been scored side by side.")
@click.option(
    "--run",
    type=click.Choice(list(ALIKE)),
    default=LIVE,
    show_default=True,
    help="live: A's live alerts, B's as the shadow; replay: those of `sensord replay --model A --against B`.",
)
@report_option
@limit_option()
@format_option()
@click.pass_context
def diff(
    ctx: click.Context,
    first: str,
    second: str,
    fleet: str | None,
    since: datetime | None,
    run: str,
    report: Path | None,
    limit: int,
    form: Format,
) -> None:
    """Compare the alerts of two bundles, and what they say of themselves; the current one and the shadow by default.

    Outdated are alerts of A alone, new are those of B alone. JSON has all figures; JSON lines and CSV have the alerts
    that differ.
    """
    settings = settings_of(ctx)
    chosen, tell = fleet_of(settings, fleet), teller(report)
    with engine_of(settings.store) as engine:
        bundles = known(Registry(engine), chosen, (first, second))
        window = Window(since) if since is not None or run == REPLAY else _side_by_side(Registry(engine), bundles)
        comparison = _comparison(engine, bundles, run, window)
    tell(comparison, form, limit)


def _comparison(engine: Engine, bundles: Sequence[Known], run: str, window: Window) -> Comparison:
    fleet = bundles[0].row.fleet
    found = [alerts_of(engine, fleet, name, one.id, window) for name, one in zip(ALIKE[run], bundles, strict=True)]
    days = None if run == REPLAY else _device_days(list_devices(engine, fleet), window)
    sides = [Side(one.id, name, (), days) for name, one in zip(ALIKE[run], bundles, strict=True)]
    period_s = bundles[0].bundle.manifest.period_s
    return since_then(fleet, sides, found, period_s, _told(run, window), facts_of(*bundles))


# --- since when ------------------------------------------------------------------------------------------------------


def _side_by_side(registry: Registry, bundles: Sequence[Known]) -> Window:
    """While the first was current, and the second its shadow, the last time. Raises NotFound."""
    stays = [_stay(registry, one, stage) for one, stage in zip(bundles, (Stage.CURRENT, Stage.SHADOW), strict=True)]
    since = max(begin for begin, _ in stays)
    until = min((end for _, end in stays if end is not None), default=None)
    if until is not None and until <= since:
        raise NotFound(
            f"{bundles[0].id} and {bundles[1].id} were not scored side by side when they last were current and shadow; "
            "say with --since what to compare, or score both with `sensord replay --model A --against B`"
        )
    return Window(since, until, by_clock=True)


def _stay(registry: Registry, one: Known, stage: Stage) -> tuple[datetime, datetime | None]:
    """Its last time on a stage; None: it is there still. Raises NotFound."""
    end = None
    moves: Iterable[Move] = registry.moves(one.row.fleet, one.id)
    for move in moves:  # the last first
        if move.to_stage is stage:
            return move.at, end
        end = move.at
    raise NotFound(
        f"{one.id} never was {stage}, so that there are no {'live' if stage is Stage.CURRENT else 'shadow'} alerts of "
        "it; score both with `sensord replay --model A --against B`, then --run replay"
    )


def _told(run: str, window: Window) -> str:
    bounds = (("since", window.since), ("until", window.until))
    told = "".join(f" {word} {time_text(at)}" for word, at in bounds if at is not None)
    return f"{'replayed' if run == REPLAY else run} alerts{told}"


def _device_days(devices: Iterable[DeviceRow], window: Window) -> float | None:
    """How long devices were seen in the window; None where none was, as with readings of long ago."""
    seen = timedelta(0)
    for device in devices:
        first = device.first_seen if window.since is None else max(device.first_seen, window.since)
        last = device.last_seen if window.until is None else min(device.last_seen, window.until)
        seen += max(last - first, timedelta(0))
    return seen / DAY or None
