"""Lines of the log about a partition and about alerts, all with the same fields. Used by `loop` and `swaps`.

fleet, topic, partition; and where it applies offset, device, model, alert: whoever searches the logs finds what the
database has under the same names.
"""

from collections.abc import Iterable

import structlog
from structlog.stdlib import BoundLogger

from sensord.detection.alerts import Alert, AlertChange, Run
from sensord.readings import Partition

MOST = 3  # channels that a line names


def journal(fleet: str, partition: Partition) -> BoundLogger:
    """A log of which each line names the partition."""
    bound: BoundLogger = structlog.get_logger("sensord.daemon").bind(
        fleet=fleet, topic=partition.topic, partition=partition.number
    )
    return bound


def tell_alerts(fleet: str, partition: Partition, changes: Iterable[AlertChange]) -> None:
    """A line for everything that was committed about alerts of the live run: alert opened, escalated, closed."""
    log = journal(fleet, partition)
    for change in changes:
        alert = change.alert
        for event in change.events if alert.run == Run.LIVE else ():
            log.info(
                f"alert {event}",
                device=alert.device_id,
                alert=alert.id.hex,
                kind=alert.kind,
                severity=alert.severity,
                offset=alert.last_offset,
                model=alert.model_id,
                peak=alert.score_peak,
                threshold=alert.threshold,
                **_why(alert),
            )


def _why(alert: Alert) -> dict[str, list[str]]:
    """The channels that explain it, as long as they are known: they are told once, and again where they change."""
    return {} if alert.top_channels is None else {"because_of": [each.channel for each in alert.top_channels[:MOST]]}
