"""What `sensord replay --model` does: readings under one bundle, or two; their alerts kept, and compared."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import click

from sensord.cli.context import engine_of
from sensord.cli.differences.bundles import facts_of, known
from sensord.cli.differences.comparison import Comparison, Fact, Side, compared
from sensord.cli.differences.telling import teller
from sensord.cli.model import fleet_of
from sensord.cli.recordings import ANSWER_WITHIN_S, Report, progress_bars
from sensord.cli.replay import Wanted
from sensord.clock import MICROSECONDS, SystemClock
from sensord.errors import RecordingUnreadable
from sensord.model.bundle import Bundle
from sensord.settings import FleetSettings, Settings
from sensord.store.registry import Registry
from sensord.store.runs import keep
from sensord.stream.decoders.json import DEFAULT_MAX_FUTURE_S
from sensord.stream.files import FileOptions, read_tables
from sensord.stream.formats.decoder import decoder_of
from sensord.stream.ranges import read_range
from sensord.trainer.backtest import RUN, Scored, Terms, score
from sensord.trainer.tapes import EVER, Span, Tape, from_records, from_tables


@dataclass(frozen=True, slots=True)
class Source:
    """Where readings come from: files, or a topic."""

    files: Sequence[Path]
    file_options: FileOptions
    topic: str | None


def backtest(settings: Settings, source: Source, wanted: Wanted) -> None:
    """The whole command. Raises what reading, scoring and writing raise."""
    fleet = fleet_of(settings, wanted.fleet)
    tell = teller(wanted.report)
    terms = _terms(settings.fleets.get(fleet))
    span = Span(_or(wanted.since, EVER.since), _or(wanted.until, EVER.until))
    with engine_of(settings.store) as engine, progress_bars() as report:
        names = [name for name in (wanted.model, wanted.against) if name is not None]
        sides = known(Registry(engine), fleet, names)
        bundles = [side.bundle for side in sides]
        tapes, notes = _tapes(settings, fleet, source, wanted, bundles, report)
        scored = [score(bundle, tapes, span, terms, wanted.workers, partial(report, bundle.id)) for bundle in bundles]
        if not scored[0].readings:
            raise RecordingUnreadable(f"{source.topic or source.files[0]}: no readings in that time")
        for each in scored:
            keep(engine, each.alerts, SystemClock().now())
    for note in [*notes, *_late(scored[0])]:
        click.echo(f"note: {note}", err=True)
    facts = facts_of(*sides) if len(sides) > 1 else ()
    tell(_comparison(fleet, scored, len({tape.device_id for tape in tapes}), facts), wanted.form, wanted.limit)


def _tapes(
    settings: Settings, fleet: str, source: Source, wanted: Wanted, bundles: Sequence[Bundle], report: Report
) -> tuple[list[Tape], list[str]]:
    """All that has to be scored, and notes about what was refused."""
    if source.topic is None:
        return from_tables(read_tables(source.files, source.file_options)), []
    channels = tuple(dict.fromkeys(name for bundle in bundles for name in bundle.channels))
    rules = settings.fleets.get(fleet)
    ahead_s = DEFAULT_MAX_FUTURE_S if rules is None else rules.max_future_s
    # since is event time, which a record's own stamp may trail by so much; later it may be at will
    since = None if wanted.since is None else wanted.since - round(ahead_s * MICROSECONDS)
    batches = read_range(
        settings.kafka,
        source.topic,
        since,
        report=partial(report, "read"),
        since_offset=wanted.since_offset,
        until_offset=wanted.until_offset,
        timeout_s=ANSWER_WITHIN_S,
    )
    known = rules or FleetSettings(topics=(source.topic,))
    return from_records(decoder_of(known, channels), batches, channels, round(known.align_s * MICROSECONDS))


def _terms(fleet: FleetSettings | None) -> Terms:
    return Terms() if fleet is None else Terms(fleet.max_gap_s, fleet.max_episode_s, fleet.allowed_lateness_s)


def _comparison(fleet: str, scored: Sequence[Scored], devices: int, facts: tuple[Fact, ...]) -> Comparison:
    sides = [Side(each.bundle.id, RUN, tuple(each.alerts), each.device_days) for each in scored]
    told = f"{scored[0].readings:,} readings of {devices} devices"
    second = sides[1] if len(sides) > 1 else None
    return compared(fleet, sides[0], second, scored[0].bundle.manifest.period_s, told, facts)


def _late(scored: Scored) -> list[str]:
    return [f"{scored.late} late or repeated readings dropped, as the daemon drops them"] if scored.late else []


def _or(given: int | None, otherwise: int) -> int:
    return otherwise if given is None else given
