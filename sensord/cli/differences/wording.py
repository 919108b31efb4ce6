"""How differences are said, in the terminal and on the page."""

from collections.abc import Sequence

from sensord.cli.differences.comparison import Comparison, Side
from sensord.detection.alerts import ChannelShare
from sensord.texts import figure

CHANNELS_NAMED = 2


def headline(comparison: Comparison) -> str:
    """What was found, in one sentence."""
    first, second, found = comparison.first, comparison.second, comparison.found
    if second is None:
        return f"{first.bundle_id}: {_many(len(first.alerts))} on {comparison.about}"
    told = f"{len(found.same)} the same, {len(found.outdated)} outdated, {len(found.new)} new"
    return f"{first.bundle_id} against {second.bundle_id}, {comparison.about}: {told}"


def per_day(comparison: Comparison) -> str:
    """How often each of them alerts."""
    sides = [comparison.first, *([] if comparison.second is None else [comparison.second])]
    return "; ".join(map(_rate, sides))


def because(shares: Sequence[ChannelShare] | None, most: int = CHANNELS_NAMED) -> str:
    """The channels that weigh most."""
    return ", ".join(f"{share.channel} {share.share:.0%}" for share in (shares or ())[:most])


def _rate(side: Side) -> str:
    if side.per_device_day is None:
        return f"{side.bundle_id}: {_many(len(side.alerts))}"
    return f"{side.bundle_id}: {figure(side.per_device_day)} alerts per device-day ({figure(side.device_days)} of them)"


def _many(alerts: int) -> str:
    return "1 alert" if alerts == 1 else f"{alerts} alerts"
