"""Every error sensord raises, named by what the catcher does with it; read by every room.

A message names the thing, the place and the remedy. `exit_code` is what a command ends with when nobody answers the
error (sysexits.h: 69 unavailable, 70 software, 78 configuration).
"""

from typing import ClassVar

EXIT_OK = 0
EXIT_FAILURE = 1
EXIT_USAGE = 2
EXIT_UNREACHABLE = 69
EXIT_SOFTWARE = 70
EXIT_NEEDS_A_PERSON = 78


class SensordError(Exception):
    """Root of the tree."""

    exit_code: ClassVar[int] = EXIT_FAILURE


# --- a person has to act: stop with 78 -------------------------------------------------------------------------------


class NeedsAPerson(SensordError):
    """Configuration, schema, model or offsets that no retry mends."""

    exit_code = EXIT_NEEDS_A_PERSON


class SettingsInvalid(NeedsAPerson):
    """A setting is unknown, missing or out of range."""


class SchemaMismatch(NeedsAPerson):
    """The database's schema is behind or ahead of this version."""


class StoreLocked(NeedsAPerson):
    """Another daemon works on the same SQLite file."""


class OffsetsLost(NeedsAPerson):
    """Readings between the stored offset and the log's are gone: truncated, expired or the topic was recreated."""


class StateUnreadable(NeedsAPerson):
    """A stored state page is damaged or of an unknown newer format; it is never reset silently."""


class AccessRefused(NeedsAPerson):
    """The other side refuses this user, or shows a certificate that isn't trusted; says which setting to look at."""


class ModelMissing(NeedsAPerson):
    """A fleet has no current bundle, or a named bundle doesn't exist."""


# --- the other side is away: retry, or stop with 69 at start ---------------------------------------------------------


class Unreachable(SensordError):
    """A dependency did not answer within the start time-out; names address and cause."""

    exit_code = EXIT_UNREACHABLE


class StoreUnavailable(SensordError):
    """The database failed in mid-work: drop the connection, pause, claim again."""


class RecordTooLarge(SensordError):
    """A broker takes no record of this size; to send it again would change nothing."""


class SourceFailed(SensordError):
    """`poll()` raised: the client can't be trusted any more, the process ends."""


# --- answered close by -----------------------------------------------------------------------------------------------


class PartitionLost(SensordError):
    """Somebody else has claimed these partitions: forget them."""

    def __init__(self, partitions: "tuple[object, ...]") -> None:
        super().__init__(f"claimed by another process: {', '.join(map(str, partitions))}")
        self.partitions = partitions


class BundleInvalid(SensordError):
    """A bundle is damaged, out of bounds or does not fit the fleet: keep the old one; without an old one, stop."""

    exit_code = EXIT_NEEDS_A_PERSON


class StageConflict(SensordError):
    """A bundle can't go to that stage from where its fleet's bundles stand by now; nothing was changed."""


class GateRefused(SensordError):
    """The gate has objections to promoting a bundle; it stays what it was."""


class BundleUntrusted(BundleInvalid):
    """A bundle without the signature that the settings demand."""


class BundleAwaited(SensordError):
    """A partition that has no state yet can't start: the fleet's current bundle is missing or invalid. Ask again."""


class NotFound(SensordError):
    """Nothing goes by this name, or more than one thing does; says which."""


class HistoryUnusable(SensordError):
    """History that nothing can be learned from; says what is wrong and how much is needed."""


class RecordingUnreadable(SensordError):
    """A file isn't the recording it claims to be; names file, line and cause."""


class SpillFull(SensordError):
    """The folder of temporary files has no room for what is larger than memory; names it and how to choose another."""


class StudyUnusable(SensordError):
    """A study's file holds no study, or that of another history or other settings; says which."""


class RankLost(SensordError):
    """Training with several processes, and one of them is gone or can't be reached; nothing was published."""
