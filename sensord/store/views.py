"""Views: the common questions, answered by both databases under one name. Made by `database.upgrade`, read by people.

A view is no data: `upgrade` drops all of them, migrates, and makes them again as they are written here.
"""

from sqlalchemy import Connection, text

# What people are to be told: the live run, but for what a window or a false alarm suppresses.
_TOLD = "run = 'live' AND suppressed_window IS NULL AND suppressed_like IS NULL"
_BECAUSE = "top_channels -> 0 ->> 'channel'"

VIEWS = {
    # One row an open alert, for whoever is on duty.
    "open_alerts": f"""
        SELECT id, fleet, device_id, kind, severity, opened_at, last_seen_at, score_peak / threshold AS times_the_limit,
               {_BECAUSE} AS because_of, readings, acknowledged_by, model_id
        FROM alerts
        WHERE status = 'open' AND {_TOLD}""",
    # One row a device: how it is, and how it was over the 30 days before it was last seen.
    "device_health": f"""
        SELECT devices.fleet, devices.device_id, devices.first_seen, devices.last_seen,
               CASE WHEN count(CASE WHEN alerts.status = 'open' AND alerts.severity = 'critical' THEN 1 END) > 0
                    THEN 'critical'
                    WHEN count(CASE WHEN alerts.status = 'open' THEN 1 END) > 0 THEN 'warning'
                    ELSE 'ok' END AS health,
               count(CASE WHEN alerts.status = 'open' THEN 1 END) AS open_alerts,
               count(CASE WHEN alerts.opened_at >= {{thirty_days_before}} THEN 1 END) AS alerts_30d,
               max(alerts.opened_at) AS last_alert_at
        FROM devices
        LEFT JOIN (SELECT fleet, device_id, status, severity, opened_at FROM alerts WHERE {_TOLD}) AS alerts
               ON alerts.fleet = devices.fleet AND alerts.device_id = devices.device_id
        GROUP BY devices.fleet, devices.device_id, devices.first_seen, devices.last_seen""",
    # One row a device that ever alerted: order by alerts to see whose are too many.
    "noisy_devices": """
        SELECT fleet, device_id,
               count(CASE WHEN suppressed_window IS NULL AND suppressed_like IS NULL THEN 1 END) AS alerts,
               count(CASE WHEN suppressed_window IS NOT NULL OR suppressed_like IS NOT NULL THEN 1 END) AS suppressed,
               count(CASE WHEN feedback = 'false_alarm' THEN 1 END) AS false_alarms,
               count(CASE WHEN feedback = 'real' THEN 1 END) AS real_ones,
               max(score_peak / threshold) AS worst, min(opened_at) AS first_at, max(opened_at) AS last_at
        FROM alerts
        WHERE run = 'live'
        GROUP BY fleet, device_id""",
    # One row a bundle: how good its alerts were, by what people said. precision: NULL where nobody said anything.
    "model_precision": f"""
        SELECT fleet, model_id, count(*) AS alerts,
               count(CASE WHEN feedback = 'real' THEN 1 END) AS real_ones,
               count(CASE WHEN feedback = 'false_alarm' THEN 1 END) AS false_alarms,
               count(CASE WHEN feedback IS NULL THEN 1 END) AS unanswered,
               CASE WHEN count(feedback) > 0
                    THEN 1.0 * count(CASE WHEN feedback = 'real' THEN 1 END) / count(feedback) END AS "precision"
        FROM alerts
        WHERE {_TOLD}
        GROUP BY fleet, model_id""",
}
_THIRTY_DAYS_BEFORE = {
    "postgresql": "devices.last_seen - interval '30 days'",
    "sqlite": "datetime(devices.last_seen, '-30 days')",
}


def drop(connection: Connection) -> None:
    """Drop the views, so that what they read can be altered."""
    for name in VIEWS:
        connection.execute(text(f"DROP VIEW IF EXISTS {name}"))


def make(connection: Connection) -> None:
    """Make the views of this version; none of them may be there."""
    before = _THIRTY_DAYS_BEFORE[connection.dialect.name]
    for name, query in VIEWS.items():
        connection.execute(text(f"CREATE VIEW {name} AS {query.format(thirty_days_before=before)}"))
