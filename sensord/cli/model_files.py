"""`sensord model export|import`: bundles in folders, as manifest.json and weights.safetensors."""

from pathlib import Path

import click

from sensord.cli.context import settings_of
from sensord.cli.model import find, fleet_of, fleet_option, refuse_untrusted, registry_of
from sensord.cli.options import person
from sensord.clock import SystemClock
from sensord.model.bundle import Packed, unpack
from sensord.store.registry import StoredBundle


@click.command("export")
@click.argument("name")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@fleet_option
@click.pass_context
def export(ctx: click.Context, name: str, folder: Path, fleet: str | None) -> None:
    """Write a bundle to FOLDER, which must be empty or absent."""
    settings = settings_of(ctx)
    with registry_of(settings) as registry:
        stored = find(registry, fleet_of(settings, fleet), name)
    packed = packed_of(stored)
    unpack(packed)  # what leaves the registry is whole
    try:
        if folder.exists() and any(folder.iterdir()):
            raise click.UsageError(f"{folder} is not empty")
        packed.write(folder)
    except OSError as error:
        raise click.FileError(error.filename or str(folder), error.strerror) from error
    click.echo(f"{stored.bundle_id}: {folder}")


@click.command("import")
@click.argument("folder", type=click.Path(file_okay=False, exists=True, path_type=Path))
@click.option("--promote", is_flag=True, help="Make it current too.")
@click.pass_context
def import_(ctx: click.Context, folder: Path, promote: bool) -> None:
    """Verify the bundle in FOLDER and publish it for the fleet that its manifest names."""
    settings = settings_of(ctx)
    packed = Packed.read(folder)
    fleet = unpack(packed).manifest.fleet
    if promote:
        refuse_untrusted(settings, packed.bundle_id, packed.manifest, packed.signature)
    at = SystemClock().now()
    with registry_of(settings) as registry:
        content = packed.manifest, packed.weights, packed.sha256
        registry.publish(fleet, packed.bundle_id, *content, at, person(), packed.signature)
        if promote:
            registry.promote(fleet, packed.bundle_id, at, person(), "imported")
    click.echo(f"fleet {fleet}: {packed.bundle_id} is {'current' if promote else 'published'}")


def packed_of(stored: StoredBundle) -> Packed:
    """A bundle of the registry, as it is in a folder."""
    return Packed(stored.bundle_id, stored.manifest, stored.weights, stored.sha256, stored.signature)
