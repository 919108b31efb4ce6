"""What a log no longer holds: truncated, expired or another topic of the same name. Used by `loop`."""

from dataclasses import dataclass

from sensord.readings import Partition
from sensord.stream.source import Bounds


@dataclass(frozen=True, slots=True)
class Place:
    """Where we stand in a partition: the topic's id as it was, the offset we read from, and the next to be new."""

    partition: Partition
    topic_id: str
    start: int
    next_offset: int


@dataclass(frozen=True, slots=True)
class Loss:
    """Readings that the log no longer holds, in words, and the offset from which it does."""

    reason: str
    go_on_at: int


def lost_offsets(place: Place, topic_id: str, bounds: Bounds) -> Loss | None:
    """What is missing between where we stand and the log; None where nothing is."""
    where, start, next_offset = place.partition, place.start, place.next_offset
    log_range = f"the log holds {bounds.beginning} to {bounds.end}"
    if place.topic_id and topic_id and place.topic_id != topic_id:
        return Loss(
            f"{where}: the topic was recreated (id {place.topic_id} is now {topic_id}); {log_range}", bounds.beginning
        )
    if next_offset > bounds.end:
        return Loss(f"{where}: committed up to {next_offset}, but {log_range}: it was truncated", bounds.end)
    if next_offset < bounds.beginning:
        return Loss(f"{where}: committed up to {next_offset}, but {log_range}: readings have expired", bounds.beginning)
    if start < bounds.beginning:
        return Loss(f"{where}: state belongs to {start}, but {log_range}: it can't be replayed", next_offset)
    return None
