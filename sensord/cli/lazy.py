"""A click group whose commands are imported when they are used, not when they are listed."""

import importlib
from dataclasses import dataclass

import click


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a command lives ("module:attribute"), and its line in the list."""

    target: str
    help: str


class LazyGroup(click.Group):
    """A group that knows its commands by name and one line each, so that its help imports none of them."""

    def __init__(self, entries: dict[str, Entry], **attributes: object) -> None:
        super().__init__(**attributes)  # type: ignore[arg-type]  # click's own keywords, passed through
        self._entries = entries

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order given: as an operator meets them."""
        return list(self._entries)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command. None where there is no such name."""
        entry = self._entries.get(cmd_name)
        if entry is None:
            return None
        module, _, attribute = entry.target.partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list, from the entries alone."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.help) for name, entry in self._entries.items()])
