"""Who owns a partition, as claims name it, and which owners of before are dead. Used by `cli` and `loop`.

Kafka takes a member that was killed for alive until its session ends, and gives its partitions to nobody so long. Who
starts on the same host knows better.
"""

import os
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class Owner:
    """A process. member: its name within the consumer group, "" before it has joined."""

    host: str
    pid: int
    member: str = ""

    @classmethod
    def this(cls) -> Self:
        return cls(socket.gethostname(), os.getpid())

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """What `str` wrote; None for anything else."""
        host, _, rest = text.partition("/")
        pid, _, member = rest.partition("/")
        return cls(host, int(pid), member) if pid.isdigit() else None

    def __str__(self) -> str:
        return f"{self.host}/{self.pid}/{self.member}"

    def outlived(self, other: "Owner") -> bool:
        """The other ran on this host and is dead. In a container every process of the kind has the same number.

        Two hosts of one name may be mistaken for each other; then a living member is sent away, joins again, and
        nothing is lost.
        """
        return other.host == self.host and (other.pid == self.pid or not _alive(other.pid))


def dead_members(owners: Iterable[str], me: Owner) -> list[str]:
    """Names within the group of those owners that `me` has outlived."""
    known = {owner for text in owners if (owner := Owner.parse(text)) is not None}
    return sorted(owner.member for owner in known if owner.member and me.outlived(owner))


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
