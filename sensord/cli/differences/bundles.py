"""What two bundles say of themselves, and what the gate says of them, where it isn't the same."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import click
import msgspec
import numpy as np

from sensord.cli.differences.comparison import Fact
from sensord.cli.model import find
from sensord.cli.model_files import packed_of
from sensord.model.bundle import Bundle, unpack
from sensord.store.registry import BundleRow, Registry
from sensord.store.schema import instant
from sensord.texts import figure, time_text


@dataclass(frozen=True, slots=True)
class Known:
    """A bundle with its row in the registry."""

    row: BundleRow
    bundle: Bundle

    @property
    def id(self) -> str:
        return self.row.bundle_id


def known(registry: Registry, fleet: str, names: Sequence[str]) -> list[Known]:
    """Bundles by NAME. Raises UsageError where two are the same, ModelMissing, BundleInvalid."""
    stored = [find(registry, fleet, name) for name in names]
    if len({each.bundle_id for each in stored}) < len(stored):
        raise click.UsageError(f"these are the same bundle: {stored[0].bundle_id}")
    rows = {row.bundle_id: row for row in registry.list(fleet)}
    return [Known(rows[each.bundle_id], unpack(packed_of(each))) for each in stored]


def facts_of(first: Known, second: Known) -> tuple[Fact, ...]:
    """What differs; a dash where one of them says nothing."""
    ours, theirs = dict(_facts(first)), dict(_facts(second))
    names = [*ours, *(name for name in theirs if name not in ours)]
    told = (Fact(name, ours.get(name, "-"), theirs.get(name, "-")) for name in names)
    return tuple(fact for fact in told if fact.first != fact.second)


def _facts(known: Known) -> Iterator[tuple[str, str]]:
    manifest, profiles = known.bundle.manifest, known.bundle.profiles
    yield "stage", known.row.stage.value
    yield "published (UTC)", time_text(known.row.created_at)
    yield "gate", _gate(known.row)
    yield "channels", ", ".join(known.bundle.channels)
    yield "trunk", f"{manifest.cell}, {manifest.hidden} hidden units"
    yield "sampling period", f"{manifest.period_s:g} s"
    history = manifest.history
    yield "history", f"{history.readings:,} readings of {history.devices} devices"
    yield "history until (UTC)", time_text(instant(history.last_at))
    yield "devices of its own", str(len(profiles) - 1)
    yield "fleet's threshold", figure(float(profiles.threshold[0]))
    if len(profiles) > 1:
        yield "devices' threshold, median", figure(float(np.median(profiles.threshold[1:])))
    for name, value in msgspec.structs.asdict(manifest.tuning).items():
        yield f"tuning: {name.replace('_', ' ')}", f"{value:g}"
    for name, metric in sorted(manifest.metrics.items()):
        yield name.replace("_", " "), figure(metric)


def _gate(row: BundleRow) -> str:
    if row.verdict is None:
        return "was not asked"
    return f"refused: {row.verdict['objections']}" if row.verdict["objections"] else "passed"
