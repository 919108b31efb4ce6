"""Kinds of option that several commands take: a word of an enumeration, a time, a person."""

import os
import pwd
import re
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TypeVar

import click

Word = TypeVar("Word", bound=StrEnum)

UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}


class OneOf(click.Choice[Word]):
    """A word of an enumeration, by its value; click itself would take the names."""

    def normalize_choice(self, choice: object, ctx: click.Context | None) -> str:
        """What people type."""
        return str(choice)


class Time(click.ParamType[datetime]):
    """An instant: ISO 8601, UTC where no zone is named, or an age such as 90m, 24h or 7d."""

    name = "time"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """An aware UTC datetime."""
        if isinstance(value, datetime):
            return value
        text = str(value)
        age = re.fullmatch(rf"(\d+)([{''.join(UNITS)}])", text)
        try:
            if age:
                return datetime.now(UTC) - timedelta(seconds=int(age[1]) * UNITS[age[2]])
            at = datetime.fromisoformat(text)
            return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC)
        except (ValueError, OverflowError):
            self.fail(f"{text!r} is no time: give 2026-11-23T12:00:00Z, or an age such as 90m, 24h, 7d", param, ctx)


def person() -> str:
    """Who runs this process, by the system's account."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid {os.getuid()}"


by_option = click.option("--by", default=person, show_default="your account", help="Who says so.")
