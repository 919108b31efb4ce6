"""A click group whose commands are imported when they are used, not when they are listed."""

import difflib
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

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, but a misspelt name is answered with the nearest."""
        close = difflib.get_close_matches(args[0], self._entries, n=1) if args[0] not in self._entries else []
        if close:
            ctx.fail(f"No such command {args[0]!r}; the nearest is {close[0]!r}.")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list, from the entries alone."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.help) for name, entry in self._entries.items()])
