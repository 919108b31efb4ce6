"""`sensord version`: what is installed, without importing any of it."""

import platform
from dataclasses import dataclass
from importlib import metadata

import click

from sensord import __version__
from sensord.cli.output import Column, Format, format_option, write
from sensord.store.database import expected_revision

PARTS = ("torch", "kafka-python", "numpy", "sqlalchemy")


@dataclass(frozen=True, slots=True)
class Part:
    """One part of the installation."""

    part: str
    version: str


COLUMNS = (Column[Part]("part", lambda row: row.part), Column[Part]("version", lambda row: row.version))


@click.command("version")
@format_option()
def version(form: Format) -> None:
    """Show the versions of sensord, of its database schema and of what it stands on."""
    parts = [
        Part("sensord", __version__),
        Part("schema", expected_revision()),
        Part("python", platform.python_version()),
        *(Part(name, _installed(name)) for name in PARTS),
    ]
    write(parts, Part, form, COLUMNS)


def _installed(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"
