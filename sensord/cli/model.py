"""`sensord model`: the registry's bundles. What reads weights lives in `model_files`, since that imports torch."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import click
import msgspec

from sensord.cli.context import engine_of, settings_of
from sensord.cli.lazy import Entry, LazyGroup
from sensord.cli.options import by_option
from sensord.cli.output import Column, Format, console, format_option, limit_option, write, write_object
from sensord.clock import SystemClock
from sensord.errors import ModelMissing
from sensord.settings import Settings
from sensord.store.registry import BundleRow, Move, Registry, Stage, StoredBundle, Verdict
from sensord.texts import printable, time_text

CURRENT, SHADOW = "current", "shadow"

COMMANDS = {
    "list": Entry("sensord.cli.model:list_", "List bundles, the last published first."),
    "show": Entry("sensord.cli.model:show", "Show what a bundle says about itself."),
    "shadow": Entry("sensord.cli.model:shadow", "Have daemons score a bundle beside the current one."),
    "promote": Entry("sensord.cli.model:promote", "Make a bundle current; daemons pick it up at their next snapshot."),
    "rollback": Entry("sensord.cli.model:rollback", "Make the bundle current again that was so before."),
    "retire": Entry("sensord.cli.model:retire", "Take a bundle that isn't current out of service."),
    "history": Entry("sensord.cli.model:history", "List who moved which bundle when, and why."),
    "diff": Entry("sensord.cli.model_diff:diff", "Compare the alerts of two bundles: the current one and the shadow."),
    "keygen": Entry("sensord.cli.model_keys:keygen", "Make a key to sign bundles with."),
    "sign": Entry("sensord.cli.model_keys:sign", "Sign a bundle, in the registry or in a folder."),
    "verify": Entry("sensord.cli.model_keys:verify", "Check that a bundle is whole, and who has signed it."),
    "export": Entry("sensord.cli.model_files:export", "Write a bundle to a folder."),
    "import": Entry("sensord.cli.model_files:import_", "Verify a bundle in a folder and publish it."),
}


def _gate(verdict: Verdict) -> str:
    return "" if verdict is None else "refused" if verdict["objections"] else "passed"


COLUMNS = (
    Column[BundleRow]("fleet", lambda row: row.fleet),
    Column[BundleRow]("bundle", lambda row: row.bundle_id),
    Column[BundleRow](
        "stage", lambda row: row.stage.value, style=lambda row: "green" if row.stage is Stage.CURRENT else ""
    ),
    Column[BundleRow]("published (UTC)", lambda row: time_text(row.created_at)),
    Column[BundleRow]("promoted (UTC)", lambda row: time_text(row.promoted_at)),
    Column[BundleRow]("retired (UTC)", lambda row: time_text(row.retired_at)),
    Column[BundleRow]("replaced", lambda row: row.replaced or ""),
    Column[BundleRow]("gate", lambda row: _gate(row.verdict)),
    Column[BundleRow]("signed", lambda row: "" if row.signature is None else "yes"),
)

MOVE_COLUMNS = (
    Column[Move]("at (UTC)", lambda row: time_text(row.at)),
    Column[Move]("bundle", lambda row: row.bundle_id),
    Column[Move]("from", lambda row: row.from_stage.value if row.from_stage else "-"),
    Column[Move]("to", lambda row: row.to_stage.value),
    Column[Move]("by", lambda row: row.by),
    Column[Move]("why", lambda row: row.why + (" (forced)" if row.forced else "")),
)

why_option = click.option("--why", default="", help="Why; kept beside the move.")
fleet_option = click.option("--fleet", help="Fleet; may be left out where the settings name only one.")


@click.group("model", cls=LazyGroup, entries=COMMANDS)
def model() -> None:
    """Bundles: weights and constants, as the trainer publishes them.

    NAME is a bundle's id, the beginning of one, "current" or "shadow".
    """


@click.command("list")
@click.option("--fleet", help="Of this fleet alone.")
@format_option()
@click.pass_context
def list_(ctx: click.Context, fleet: str | None, form: Format) -> None:
    """List bundles, the last published first."""
    with registry_of(settings_of(ctx)) as registry:
        rows = registry.list(fleet)
    write(rows, BundleRow, form, COLUMNS)


@click.command("show")
@click.argument("name", default=CURRENT)
@fleet_option
@format_option(Format.TABLE, Format.JSON)
@click.pass_context
def show(ctx: click.Context, name: str, fleet: str | None, form: Format) -> None:
    """Show what a bundle says about itself."""
    settings = settings_of(ctx)
    with registry_of(settings) as registry:
        stored = find(registry, fleet_of(settings, fleet), name)
    manifest = msgspec.json.decode(stored.manifest, type=dict[str, object])
    if form is Format.JSON:
        write_object({"stage": stored.stage} | manifest)
        return
    out = console()
    for key, value in [("stage", stored.stage.value), *_facts(manifest)]:
        out.print(f"{key:<24}", printable(str(value)), markup=False, soft_wrap=True)


@click.command("promote")
@click.argument("name")
@fleet_option
@click.option("--force", is_flag=True, help="Whatever the gate has against it; its history says so.")
@why_option
@by_option
@click.pass_context
def promote(ctx: click.Context, name: str, fleet: str | None, force: bool, why: str, by: str) -> None:
    """Make a bundle current; daemons pick it up at their next snapshot.

    A bundle that the gate has refused needs --force; one that it was never asked about doesn't.
    """
    settings = settings_of(ctx)
    chosen = fleet_of(settings, fleet)
    with registry_of(settings) as registry:
        _refuse_unsigned(settings, registry, chosen, name)
        bundle_id = registry.promote(chosen, name, SystemClock().now(), by, why, force=force)
    click.echo(f"fleet {chosen}: {bundle_id} is current")


@click.command("shadow")
@click.argument("name")
@fleet_option
@why_option
@by_option
@click.pass_context
def shadow(ctx: click.Context, name: str, fleet: str | None, why: str, by: str) -> None:
    """Have daemons score a bundle beside the current one, from their next snapshot on.

    Its alerts have run = shadow, and nobody is notified. The shadow of before becomes a candidate again.
    """
    settings = settings_of(ctx)
    chosen = fleet_of(settings, fleet)
    with registry_of(settings) as registry:
        _refuse_unsigned(settings, registry, chosen, name)
        bundle_id = registry.shadow(chosen, name, SystemClock().now(), by, why)
    click.echo(f"fleet {chosen}: {bundle_id} is shadow")


@click.command("rollback")
@fleet_option
@why_option
@by_option
@click.pass_context
def rollback(ctx: click.Context, fleet: str | None, why: str, by: str) -> None:
    """Make the bundle current again that was so before; once more goes back one further."""
    settings = settings_of(ctx)
    chosen = fleet_of(settings, fleet)
    with registry_of(settings) as registry:
        bundle_id = registry.rollback(chosen, SystemClock().now(), by, why)
    click.echo(f"fleet {chosen}: {bundle_id} is current")


@click.command("retire")
@click.argument("name")
@fleet_option
@why_option
@by_option
@click.pass_context
def retire(ctx: click.Context, name: str, fleet: str | None, why: str, by: str) -> None:
    """Take a bundle that isn't current out of service; it can be promoted again."""
    settings = settings_of(ctx)
    chosen = fleet_of(settings, fleet)
    with registry_of(settings) as registry:
        bundle_id = registry.retire(chosen, name, SystemClock().now(), by, why)
    click.echo(f"fleet {chosen}: {bundle_id} is retired")


@click.command("history")
@click.argument("name", required=False)
@fleet_option
@limit_option()
@format_option()
@click.pass_context
def history(ctx: click.Context, name: str | None, fleet: str | None, limit: int, form: Format) -> None:
    """List who moved which bundle when, and why, the last first; of one bundle, or of all."""
    settings = settings_of(ctx)
    with registry_of(settings) as registry:
        rows = registry.moves(fleet_of(settings, fleet), name, limit + 1)
    write(rows, Move, form, MOVE_COLUMNS, limit=limit)


def _refuse_unsigned(settings: Settings, registry: Registry, fleet: str, name: str) -> None:
    """What daemons would refuse. Raises BundleInvalid."""
    if settings.model.trusted_keys:
        stored = registry.get(fleet, name)
        refuse_untrusted(settings, stored.bundle_id, stored.manifest, stored.signature)


@contextmanager
def registry_of(settings: Settings) -> Iterator[Registry]:
    """The registry in the settings' database. Raises Unreachable, SchemaMismatch."""
    with engine_of(settings.store) as engine:
        yield Registry(engine)


def fleet_of(settings: Settings, given: str | None) -> str:
    """The fleet that was named, or the only one there is. Raises UsageError."""
    if given is not None:
        return given
    if len(settings.fleets) != 1:
        named = ", ".join(settings.fleets) or "none"
        raise click.UsageError(f"say which fleet with --fleet; the settings name {named}")
    return next(iter(settings.fleets))


def find(registry: Registry, fleet: str, name: str) -> StoredBundle:
    """A bundle by NAME. Raises ModelMissing."""
    if name == SHADOW:
        return registry.get(fleet, shadow_of(registry, fleet))
    if name != CURRENT:
        return registry.get(fleet, name)
    current = registry.current(fleet)
    if current is None:
        raise ModelMissing(f"fleet {fleet} has no current bundle: run `sensord model promote`")
    return current


def shadow_of(registry: Registry, fleet: str) -> str:
    """The id of the fleet's shadow. Raises ModelMissing."""
    for row in registry.list(fleet):
        if row.stage is Stage.SHADOW:
            return row.bundle_id
    raise ModelMissing(f"fleet {fleet} has no shadow bundle; see: sensord model list")


def refuse_untrusted(settings: Settings, bundle_id: str, manifest: bytes, signature: bytes | None) -> None:
    """Raises BundleUntrusted for what a daemon with these settings would refuse."""
    from sensord.model.signature import TrustedKeys  # noqa: PLC0415  # cryptography, where it is asked for

    TrustedKeys.read(settings.model.trusted_keys).check(bundle_id, manifest, signature)


def _facts(manifest: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    for key, value in manifest.items():
        if isinstance(value, dict):
            yield from _facts(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value if isinstance(value, str) else msgspec.json.encode(value).decode()
