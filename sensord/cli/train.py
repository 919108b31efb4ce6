"""`sensord train`: history in, a published bundle out."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path

import click
from rich.table import Table

from sensord.cli.context import engine_of, settings_of
from sensord.cli.histories import Asked, history_options
from sensord.cli.model_files import packed_of
from sensord.cli.options import person
from sensord.cli.output import console
from sensord.cli.recordings import progress_bars
from sensord.clock import SystemClock
from sensord.detection.baselines import Expectation
from sensord.errors import BundleInvalid, GateRefused, SettingsInvalid
from sensord.model.bundle import Bundle, Packed, unpack
from sensord.model.signature import SigningKey, TrustedKeys
from sensord.settings import Settings
from sensord.store.alerts import drifting, episodes
from sensord.store.devices import first_seen
from sensord.store.registry import Over, Registry, StoredBundle
from sensord.store.schema import microseconds
from sensord.store.windows import times
from sensord.trainer.gate.verdict import Case, Verdict, judge
from sensord.trainer.history import History
from sensord.trainer.holes import NO_HOLES, Cause, Hole, Holes
from sensord.trainer.job import Trained, TrainOptions, lend_a_hand, trial_of
from sensord.trainer.job import train as learn
from sensord.trainer.need import Learnt, Standing, Terms, reasons
from sensord.trainer.ranks import joined


@click.command("train")
@history_options
@click.option("--promote", is_flag=True, help="Make the bundle current, if the gate lets it through.")
@click.option("--force", is_flag=True, help="Promote it whatever the gate has against it.")
@click.option("--keep-alerts", is_flag=True, help="Learn from readings in windows and alerts too.")
@click.option("--if-needed", is_flag=True, help="Only where the current bundle is due; for timers.")
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), help="Write the bundle here, not to the registry."
)
@click.pass_context
def train(
    ctx: click.Context,
    asked: Asked,
    promote: bool,
    force: bool,
    keep_alerts: bool,
    if_needed: bool,
    out: Path | None,
) -> None:
    """Learn a bundle from FILE..., or from the fleet's topics, calibrate, evaluate and publish it.

    History should be healthy: what is in it is normal from then on. The same history and seed give the same bundle,
    byte for byte. torchrun has several processes fit together; with the same number of them the bundle is the same.

    What lies in a window is left out, and in an alert of the live run, unless that was called false or accepted: what
    nobody has answered may be a fault. With --out no database is asked. The gate asks that those called real are found.

    --if-needed learns where no bundle is current, or it is too old, or devices have drifted since it was made, or many
    are new, or the settings demand other channels; else it says so and ends well.
    """
    settings = settings_of(ctx, asked.overrides)
    key = _signing_key(settings, promote)
    if force and not promote:
        raise click.UsageError("--force goes with --promote")
    if out is not None and promote:
        raise click.UsageError("--promote needs the registry, --out leaves it out")
    if out is not None and if_needed:
        raise click.UsageError("--if-needed asks the registry, --out leaves it out")
    options = asked.options(settings)
    if if_needed and not _needed(settings, options.fleet):
        return
    holes = NO_HOLES if keep_alerts or out is not None else _holes(settings, options.fleet)
    with joined(options.fit.device) as ranks, progress_bars(shown=ranks.leads) as report:
        history = asked.history(settings, report, holes)
        if not ranks.leads:
            lend_a_hand(history, options, ranks)
            return
        trained = learn(history, options, report, ranks)
    for note in history.notes:
        click.echo(f"note: {note}", err=True)
    _show(trained)
    packed = trained.packed if key is None else replace(trained.packed, signature=key.sign(trained.packed.manifest))
    if out is not None:
        packed.write(out)
        click.echo(f"{packed.bundle_id}: written to {out}")
    else:
        gate = Gate(trained, history, options, force) if promote else None
        _publish(settings, options.fleet, packed, gate)


def _needed(settings: Settings, name: str) -> bool:
    """Whether the fleet's bundle is due, and say why."""
    fleet = settings.fleets.get(name)
    terms, now = Terms(settings.trainer.max_age_days, settings.trainer.new_devices_share), SystemClock().now()
    with engine_of(settings.store) as engine:
        learnt = _learnt(Registry(engine), name)
        drifted = drifting(engine, name, learnt.made_at) if learnt else set[str]()
        demanded = None if fleet is None else fleet.channels
        standing = Standing(demanded, first_seen(engine, name), drifted)
    found = reasons(learnt, standing, terms, now)
    for reason in found:
        click.echo(f"needed: {reason}")
    if not found:
        click.echo(f"not needed: fleet {name} has a bundle that is young enough, and nothing has drifted or is new")
    return bool(found)


def _learnt(registry: Registry, name: str) -> Learnt | None:
    """The current bundle; None where there is none, or none that can be read."""
    bundle = _readable(registry.current(name))
    if bundle is None:
        return None
    [row] = [row for row in registry.list(name) if row.bundle_id == bundle.id]
    return Learnt(bundle.id, microseconds(row.created_at), bundle.channels, frozenset(bundle.profiles.device_ids))


def _holes(settings: Settings, name: str) -> Holes:
    """What people have named or not answered, and nothing should be learned from."""
    with engine_of(settings.store) as engine:
        alerts, windows = episodes(engine, name), times(engine, name)
    causes = {True: Cause.REAL, False: Cause.UNANSWERED}
    alone = (
        (each.device_id, Hole(microseconds(each.opened_at), microseconds(each.ended_at), causes[each.real]))
        for each in alerts
    )
    many = (
        (each.concerns, Hole(microseconds(each.from_at), microseconds(each.to_at) - 1, Cause.WINDOW))
        for each in windows
    )
    return Holes.gathered(alone, many)


def _show(trained: Trained) -> None:
    """What was learned, beside the baselines; honest where the model is no better."""
    manifest = trained.bundle.manifest
    metrics = manifest.metrics
    click.echo(f"{manifest.bundle_id}: one-step error on held-out history, scaled; less is better")
    table = Table(box=None)
    table.add_column("expectation")
    table.add_column("error", justify="right")
    for expectation in Expectation:
        table.add_row(str(expectation), f"{metrics[f'held_out_error_{expectation}']:.4f}")
    console().print(table)
    best = min(metrics[f"held_out_error_{other}"] for other in Expectation if other is not Expectation.MODEL)
    if metrics[f"held_out_error_{Expectation.MODEL}"] >= best:
        click.echo("the recurrent state adds nothing here: a baseline expects as well")
    click.echo(
        f"{manifest.history.readings} readings of {manifest.history.devices} devices, one every "
        f"{manifest.period_s:g} s; {metrics['alerts_on_history']:.0f} alerts on {metrics['device_days']:.2f} "
        "device-days of history"
    )


def _signing_key(settings: Settings, promote: bool) -> SigningKey | None:
    """The key that signs what is learned; refused at once is what the daemon would refuse in the end."""
    key = None if settings.trainer.signing_key is None else SigningKey.read(settings.trainer.signing_key)
    trusted = TrustedKeys.read(settings.model.trusted_keys).keys
    if promote and trusted and (key is None or key.id not in trusted):
        raise SettingsInvalid(
            "model.trusted_keys demands a signature, and trainer.signing_key names no key of them: name one, or leave "
            "out --promote, then `sensord model sign` and `sensord model promote`"
        )
    return key


@dataclass(frozen=True, slots=True)
class Gate:
    """What has to be passed before the bundle is current. force: or not."""

    trained: Trained
    history: History
    options: TrainOptions
    force: bool

    def verdict(self, current: Bundle | None) -> Verdict:
        """Held against what is current."""
        trial = trial_of(self.trained, self.history, self.options)
        metrics = self.trained.bundle.manifest.metrics
        budget, gap_s = self.options.alarm_budget, self.options.max_gap_s
        with progress_bars() as report:
            return judge(Case(trial, current, self.history, budget, gap_s, metrics), report)


def _publish(settings: Settings, name: str, packed: Packed, gate: Gate | None) -> None:
    with engine_of(settings.store) as engine:
        registry = Registry(engine)
        content = packed.manifest, packed.weights, packed.sha256
        registry.publish(name, packed.bundle_id, *content, SystemClock().now(), person(), packed.signature)
        click.echo(f"{packed.bundle_id}: published")
        if gate is not None:
            _promote(registry, name, packed.bundle_id, gate)


def _readable(stored: StoredBundle | None) -> Bundle | None:
    """The current bundle; None where it is damaged, which is no reason to keep it."""
    try:
        return None if stored is None else unpack(packed_of(stored))
    except BundleInvalid as error:
        click.echo(f"gate: nothing to compare with: {error}", err=True)
        return None


def _promote(registry: Registry, name: str, bundle_id: str, gate: Gate) -> None:
    """Ask the gate, and make the bundle current unless it objects, or another one has become current meanwhile."""
    stored = registry.current(name)
    verdict = gate.verdict(_readable(stored))
    for check in verdict.checks:
        click.echo(f"gate: {'passed' if check.passed else 'REFUSED'}: {check.told}")
    registry.judged(name, bundle_id, asdict(verdict) | {"objections": verdict.objections})
    try:
        now, over = SystemClock().now(), Over(None if stored is None else stored.bundle_id)
        registry.promote(name, bundle_id, now, person(), "trained", over, gate.force)
    except GateRefused as error:
        raise GateRefused(f"{error}; to promote it all the same: sensord model promote {bundle_id} --force") from None
    click.echo(f"{bundle_id}: current" + (" by force" if verdict.objections else ""))
