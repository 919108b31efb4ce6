"""Whether a fleet's bundle is due to be learnt anew. Pure; used by `sensord train --if-needed`."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from sensord.clock import MICROSECONDS

DAY_US = 86_400 * MICROSECONDS
NAMED = 5  # devices that a reason names


@dataclass(frozen=True, slots=True)
class Learnt:
    """The current bundle. made_at: microseconds. channels and device_ids: that it knows."""

    bundle_id: str
    made_at: int
    channels: tuple[str, ...]
    device_ids: frozenset[str]


@dataclass(frozen=True, slots=True)
class Standing:
    """A fleet as it is. channels: that the settings demand; None: whatever the bundle has. first_seen: of each device,
    microseconds. drifting: devices that have drifted since the bundle was made."""

    channels: tuple[str, ...] | None
    first_seen: Mapping[str, int]
    drifting: Collection[str]


@dataclass(frozen=True, slots=True)
class Terms:
    """How much is bearable. new_share: of a fleet's devices, that the bundle may not know."""

    max_age_days: float
    new_share: float


def reasons(learnt: Learnt | None, standing: Standing, terms: Terms, now: int) -> list[str]:
    """Why it is due, in words; empty where it isn't. now: microseconds."""
    if learnt is None:
        return ["no bundle is current that could be read"]
    found = []
    age_days = (now - learnt.made_at) / DAY_US
    if age_days > terms.max_age_days:
        found.append(f"{learnt.bundle_id} is {age_days:.1f} days old, more than {terms.max_age_days:g}")
    if standing.channels is not None and standing.channels != learnt.channels:
        found.append(
            f"the settings demand channels {', '.join(standing.channels)}; {learnt.bundle_id} has "
            f"{', '.join(learnt.channels)}"
        )
    if standing.drifting:
        found.append(f"drifted since: {_named(standing.drifting)}")
    new = _new(learnt, standing, now)
    if len(new) > terms.new_share * len(standing.first_seen):
        found.append(f"new for a day at least, more than {terms.new_share:.0%} of the fleet: {_named(new)}")
    return found


def _new(learnt: Learnt, standing: Standing, now: int) -> list[str]:
    """Devices that came after the bundle, a day ago at least: before that there is little to learn of them."""
    return [
        name
        for name, seen in standing.first_seen.items()
        if name not in learnt.device_ids and learnt.made_at < seen <= now - DAY_US
    ]


def _named(devices: Collection[str]) -> str:
    some = sorted(devices)[:NAMED]
    return ", ".join(some) + (f" and {len(devices) - len(some)} more" if len(devices) > len(some) else "")
