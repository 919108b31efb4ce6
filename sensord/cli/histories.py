"""What `train` and `tune` learn from, and under which settings: their common options, and what becomes of them."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import wraps
from pathlib import Path

import click
import torch

from sensord.cli.options import Time
from sensord.cli.recordings import Report, file_options, microseconds
from sensord.clock import MICROSECONDS
from sensord.errors import SettingsInvalid
from sensord.model.manifest import Tuning
from sensord.settings import Settings
from sensord.stream.files import FileOptions, read_tables
from sensord.stream.formats.decoder import decoder_of
from sensord.stream.ranges import read_range
from sensord.trainer.fit import FitOptions
from sensord.trainer.history import History, Range, from_records, from_tables
from sensord.trainer.holes import NO_HOLES, Holes
from sensord.trainer.job import TrainOptions


@dataclass(frozen=True, slots=True)
class Asked:
    """Which history was asked for on the command line, and what was said beside it."""

    files: tuple[Path, ...]
    file_options: FileOptions
    fleet: str | None
    history_rows: int | None
    since: datetime | None
    until: datetime | None
    alarm_budget: float | None
    seed: int | None

    @property
    def overrides(self) -> dict[str, object]:
        """Settings that flags override."""
        return {"trainer.seed": self.seed}

    def arguments(self) -> list[str]:
        """The same on another command line."""
        options, file = list[str](), self.file_options
        for option, value in (
            ("--device-column", file.device_column),
            ("--time-column", file.time_column),
            ("--time-unit", file.time_unit),
            ("--channels", _listed(file.channels)),
            ("--ignore", _listed(file.ignore)),
            ("--column-names", _listed(file.column_names)),
            ("--fleet", self.fleet),
            ("--history-rows", self.history_rows),
            ("--since", None if self.since is None else self.since.isoformat()),
            ("--until", None if self.until is None else self.until.isoformat()),
            ("--alarm-budget", self.alarm_budget),
            ("--seed", self.seed),
        ):
            options += [] if value is None else [option, str(value)]
        return [*map(str, self.files), *options]

    def fleet_of(self, settings: Settings) -> str:
        """The fleet's name. Raises UsageError where it can't be told."""
        if self.fleet is not None:
            return self.fleet
        if len(settings.fleets) != 1:
            known = ", ".join(settings.fleets) or "none"
            raise click.UsageError(f"--fleet is needed: the settings name {known}")
        return next(iter(settings.fleets))

    def options(self, settings: Settings) -> TrainOptions:
        """What to make of the history. Raises UsageError, SettingsInvalid."""
        _check_device(settings)
        name, trainer = self.fleet_of(settings), settings.trainer
        fleet = settings.fleets.get(name)
        fit = FitOptions(
            trainer.hidden,
            trainer.cell,
            trainer.steps,
            learning_rate=trainer.learning_rate,
            seed=trainer.seed,
            device=trainer.device,
        )
        tuning = Tuning(smoothing=trainer.smoothing, baseline=trainer.baseline)
        if fleet is None:
            return TrainOptions(name, self.alarm_budget or 0.05, fit=fit, tuning=tuning)
        return TrainOptions(name, self.alarm_budget or fleet.alarm_budget, fleet.max_gap_s, fleet.units, fit, tuning)

    def history(self, settings: Settings, report: Report, holes: Holes = NO_HOLES) -> History:
        """From the files, else from the fleet's topics, without what lies in holes. Raises UsageError,
        SettingsInvalid, HistoryUnusable."""
        name = self.fleet_of(settings)
        wanted = Range(microseconds(self.since), microseconds(self.until), self.history_rows)
        if not self.files:
            return _from_topics(settings, name, self.file_options.channels, wanted, holes, report)
        fleet = settings.fleets.get(name)
        chosen = self.file_options.channels or (None if fleet is None else fleet.channels)
        return from_tables(read_tables(self.files, self.file_options), chosen, wanted, holes=holes)


def history_options(command: Callable[..., None]) -> Callable[..., None]:
    """FILE..., how to read them, and what else `Asked` holds, which is passed as `asked`."""

    @file_options
    @click.option("--fleet", help="Fleet that the bundle is for; may be left out where the settings name just one.")
    @click.option("--history-rows", type=click.IntRange(min=1), help="Take only so many readings of each device.")
    @click.option("--since", type=Time(), help="Take readings from this time on; without FILE: of the fleet's topics.")
    @click.option("--until", type=Time(), help="Take readings before this time.")
    @click.option("--alarm-budget", type=click.FloatRange(min=0, min_open=True), help="Overrides the fleet's.")
    @click.option("--seed", type=click.IntRange(min=0), help="Overrides trainer.seed.")
    @wraps(command)
    def with_options(
        *args: object,
        files: tuple[Path, ...],
        file_options: FileOptions,
        fleet: str | None,
        history_rows: int | None,
        since: datetime | None,
        until: datetime | None,
        alarm_budget: float | None,
        seed: int | None,
        **kwargs: object,
    ) -> None:
        asked = Asked(files, file_options, fleet, history_rows, since, until, alarm_budget, seed)
        command(*args, asked=asked, **kwargs)

    return with_options


def _listed(names: tuple[str, ...] | None) -> str | None:
    return ",".join(names) if names else None


def _check_device(settings: Settings) -> None:
    if settings.trainer.device == "cuda" and not torch.cuda.is_available():
        raise SettingsInvalid(
            'trainer.device is "cuda", and there is no GPU that this torch can use: mend its driver, install torch for '
            'CUDA, or set it to "cpu"'
        )


def _from_topics(
    settings: Settings, name: str, channels: tuple[str, ...] | None, wanted: Range, holes: Holes, report: Report
) -> History:
    fleet = settings.fleets.get(name)
    if fleet is None:
        raise click.UsageError(f"give files, or settings for fleet {name} with its topics")
    channels = channels or fleet.channels
    if channels is None:
        raise SettingsInvalid(f"fleets.{name}.channels: needed to learn from topics; or give --channels")
    decoder = decoder_of(fleet, channels)
    # `wanted` is event time, which a record's own stamp may trail by max_future_s at most; later it may be at will.
    since = None if wanted.since is None else wanted.since - round(fleet.max_future_s * MICROSECONDS)
    batches = (
        batch
        for topic in fleet.topics
        for batch in read_range(settings.kafka, topic, since, report=lambda done, of: report("read", done, of))
    )
    span = round(fleet.align_s * MICROSECONDS)
    return from_records(decoder, batches, channels, wanted, holes=holes, span=span)
