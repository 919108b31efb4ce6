"""`sensord model keygen|sign|verify`: who made a bundle. Private keys are files, never arguments."""

from pathlib import Path

import click

from sensord.cli.context import settings_of
from sensord.cli.model import CURRENT, find, fleet_of, fleet_option, registry_of
from sensord.cli.model_files import packed_of
from sensord.model.bundle import SIGNATURE_FILE, Packed, unpack
from sensord.model.signature import SigningKey, TrustedKeys, parse_signature, public_file
from sensord.settings import Settings

KEY_FILE = click.Path(dir_okay=False, path_type=Path)
FOLDER = click.Path(file_okay=False, exists=True, path_type=Path)
folder_option = click.option("--folder", type=FOLDER, help="The bundle in this folder, not one of the registry.")


@click.command("keygen")
@click.argument("file", type=KEY_FILE)
def keygen(file: Path) -> None:
    """Make a key: the private half in FILE, for its owner alone, the public half in FILE.pub; overwrites nothing."""
    try:
        key = SigningKey.make(file)
    except OSError as error:
        raise click.FileError(error.filename or str(file), error.strerror) from error
    click.echo(f"{key.id}: sign with {file}; name {public_file(file)} in model.trusted_keys")


@click.command("sign")
@click.argument("name", default=CURRENT)
@click.option("--key", "key_file", type=KEY_FILE, required=True, help="Private key, PEM; not readable by others.")
@folder_option
@fleet_option
@click.pass_context
def sign(ctx: click.Context, name: str, key_file: Path, folder: Path | None, fleet: str | None) -> None:
    """Sign a bundle, in the registry or in a folder; replaces the signature that it has."""
    settings = settings_of(ctx)
    key = SigningKey.read(key_file)
    if folder is not None:
        packed = Packed.read(folder)
        unpack(packed)  # what is signed is whole
        try:
            (folder / SIGNATURE_FILE).write_bytes(key.sign(packed.manifest))
        except OSError as error:
            raise click.FileError(error.filename or str(folder), error.strerror) from error
    else:
        chosen = fleet_of(settings, fleet)
        with registry_of(settings) as registry:
            packed = packed_of(find(registry, chosen, name))
            unpack(packed)
            registry.sign(chosen, packed.bundle_id, key.sign(packed.manifest))
    click.echo(f"{packed.bundle_id}: signed by {key.id}")


@click.command("verify")
@click.argument("name", default=CURRENT)
@click.option(
    "--trusted-key", "key_files", type=KEY_FILE, multiple=True, help="Public key, PEM; else model.trusted_keys."
)
@folder_option
@fleet_option
@click.pass_context
def verify(ctx: click.Context, name: str, key_files: tuple[Path, ...], folder: Path | None, fleet: str | None) -> None:
    """Check a bundle as the daemon does: that it is whole, and signed by a trusted key where keys are named.

    Ends with 1 where it is damaged, with 78 where no trusted key has signed it.
    """
    settings = settings_of(ctx)
    trusted = TrustedKeys.read(key_files or settings.model.trusted_keys)
    packed = Packed.read(folder) if folder is not None else _published(settings, fleet, name)
    by = trusted.check(packed.bundle_id, packed.manifest, packed.signature)
    unpack(packed)
    click.echo(f"{packed.bundle_id}: whole, {_signed(packed, by)}")


def _published(settings: Settings, fleet: str | None, name: str) -> Packed:
    with registry_of(settings) as registry:
        return packed_of(find(registry, fleet_of(settings, fleet), name))


def _signed(packed: Packed, by: str | None) -> str:
    if by is not None:
        return f"signed by {by}, which is trusted"
    if packed.signature is None:
        return "not signed; no trusted key was named"
    key = parse_signature(packed.bundle_id, packed.signature).key
    return f"signed, it says, by {key!a}; no trusted key was named"
