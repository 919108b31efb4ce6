"""What a check comes to: well, a warning or a failure, and the command that mends it. Used by all checks."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from sensord.errors import (
    EXIT_FAILURE,
    EXIT_NEEDS_A_PERSON,
    EXIT_OK,
    EXIT_UNREACHABLE,
    SensordError,
    Unreachable,
)

GRAVEST = (EXIT_NEEDS_A_PERSON, EXIT_UNREACHABLE, EXIT_FAILURE)


class Verdict(StrEnum):
    """warning: it runs, and something will be regretted. failure: the daemon would not start, or not for long."""

    OK = "ok"
    WARNING = "warning"
    FAILURE = "failure"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. remedy: a command, or what else mends it; "" where nothing has to be. code: what a
    command should end with for it."""

    area: str
    subject: str
    verdict: Verdict
    found: str
    remedy: str = ""
    code: int = EXIT_OK


def well(area: str, subject: str, found: str) -> Finding:
    """Nothing has to be done."""
    return Finding(area, subject, Verdict.OK, found)


def warning(area: str, subject: str, found: str, remedy: str) -> Finding:
    """Something should be done."""
    return Finding(area, subject, Verdict.WARNING, found, remedy)


def failure(area: str, subject: str, found: str, remedy: str, code: int = EXIT_NEEDS_A_PERSON) -> Finding:
    """Something has to be done."""
    return Finding(area, subject, Verdict.FAILURE, found, remedy, code)


def unreachable(area: str, subject: str, error: SensordError, remedy: str) -> Finding:
    """What an error says, with its exit code; the remedy is for what doesn't answer, any other error names its own."""
    return failure(area, subject, str(error), remedy if isinstance(error, Unreachable) else "", error.exit_code)


def exit_code(findings: Iterable[Finding]) -> int:
    """Of the gravest failure; a warning is none."""
    codes = {one.code for one in findings if one.verdict is Verdict.FAILURE}
    return next((code for code in GRAVEST if code in codes), max(codes, default=EXIT_OK))
