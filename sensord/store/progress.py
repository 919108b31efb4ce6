"""Claim, commit, snapshot: the database's offset is the truth, fenced by an epoch. Used by `daemon` alone.

CONTRACT (implementation by `Progress`):
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sensord.detection.alerts import AlertChange
from sensord.readings import DeadLetter, Partition


@dataclass(frozen=True, slots=True)
class Claim:
    """A partition taken over.

    epoch: the fence, one more than the last owner's. next_offset: alerts are final below it; None where the partition
    was never read. state_offset: the offset the pages belong to (<= next_offset); None where no snapshot exists.
    topic_id: the topic's id when it was first claimed ("" where the broker can't tell). model_id: the bundle that
    made the pages. pages: page number -> bytes.
    """

    fleet: str
    partition: Partition
    epoch: int
    next_offset: int | None
    state_offset: int | None
    topic_id: str
    model_id: str | None
    pages: dict[int, bytes]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The dirty pages of one partition at the checkpoint's next_offset, and the bundle that made them."""

    model_id: str
    pages: dict[int, bytes]


@dataclass(frozen=True, slots=True)
class DeviceSeen:
    """A device new to this partition or seen again: event times, microseconds UTC."""

    device_id: str
    first_seen_at: int
    last_seen_at: int


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """All that one partition commits at once.

    previous_offset: the next_offset this owner holds as committed (None: never committed). next_offset: the new one.
    """

    fleet: str
    partition: Partition
    epoch: int
    previous_offset: int | None
    next_offset: int
    alerts: Sequence[AlertChange]
    dead_letters: Sequence[DeadLetter]
    snapshot: Snapshot | None = None
    devices: Sequence[DeviceSeen] = ()


class Progress:
    """claim(fleet, partition, owner, topic_id) -> Claim; commit(checkpoints, at) raises PartitionLost(partitions)."""
