-- What each role of roles.sql may do. Run as sensord_owner after every `sensord db upgrade`; harmless to run again.
-- No role but the owner may drop, truncate or alter anything; the daemon deletes pages of state and nothing else, and
-- who answers alerts deletes windows and nothing else.

BEGIN;  -- a running daemon sees the old rights or the new ones, never none

REVOKE ALL ON ALL TABLES IN SCHEMA public FROM PUBLIC, sensord_daemon, sensord_trainer, sensord_notifier,
    sensord_operator, sensord_reader;
REVOKE ALL ON ALL SEQUENCES IN SCHEMA public FROM PUBLIC, sensord_daemon, sensord_trainer, sensord_notifier,
    sensord_operator, sensord_reader;

GRANT SELECT ON sensord_schema
    TO sensord_daemon, sensord_trainer, sensord_notifier, sensord_operator, sensord_reader;

-- The daemon: writes an episode's own columns, and by what it is suppressed, never what people said about it; it can't
-- publish or change a bundle.
GRANT SELECT, INSERT ON alerts, alert_events, dead_letters, gaps TO sensord_daemon;
GRANT UPDATE (
    kind, status, severity, last_seen_at, closed_at, updated_at, score_peak, score_last, threshold, readings,
    model_id, last_offset, close_reason, top_channels, evidence, forecast, suppressed_window,
    suppressed_like
) ON alerts TO sensord_daemon;
GRANT SELECT, INSERT, UPDATE ON partition_progress, devices TO sensord_daemon;
GRANT SELECT, INSERT, UPDATE, DELETE ON state_pages, shadow_pages TO sensord_daemon;
GRANT SELECT ON bundles, bundle_moves, windows TO sensord_daemon;
GRANT USAGE ON SEQUENCE alert_events_sequence_seq, dead_letters_id_seq, gaps_id_seq TO sensord_daemon;
-- It rolls a bundle back that does harm: moves it and the one before it, and says why.
GRANT UPDATE (stage, verdict, retired_at) ON bundles TO sensord_daemon;
GRANT INSERT ON bundle_moves TO sensord_daemon;
GRANT USAGE ON SEQUENCE bundle_moves_sequence_seq TO sensord_daemon;

-- The trainer: publishes and promotes bundles. What a bundle holds can't be changed, only replaced by another one.
GRANT SELECT, INSERT ON bundles TO sensord_trainer;
GRANT UPDATE (stage, signature, verdict, replaced, promoted_at, retired_at) ON bundles TO sensord_trainer;
GRANT SELECT, INSERT ON bundle_moves TO sensord_trainer;
GRANT USAGE ON SEQUENCE bundle_moves_sequence_seq TO sensord_trainer;
-- And sees when alerts and windows were, which its history leaves out, but not what an alert says.
GRANT SELECT (
    fleet, device_id, kind, run, opened_at, last_seen_at, closed_at, feedback, accepted_at, suppressed_like
) ON alerts TO sensord_trainer;
GRANT SELECT (fleet, device, from_at, to_at) ON windows TO sensord_trainer;
GRANT SELECT (fleet, device_id, first_seen) ON devices TO sensord_trainer;

-- Who tells of alerts: puts them into incidents, and writes down what was told.
GRANT SELECT ON alerts, alert_events TO sensord_notifier;
GRANT UPDATE (taken_at) ON alert_events TO sensord_notifier;
GRANT SELECT, INSERT ON incidents, incident_alerts, notices, sinks, deliveries TO sensord_notifier;
GRANT UPDATE (status, severity, closed_at) ON incidents TO sensord_notifier;
GRANT USAGE ON SEQUENCE incidents_id_seq, notices_sequence_seq TO sensord_notifier;

-- People, dashboards and the page: read everything.
GRANT SELECT ON alerts, alert_events, dead_letters, gaps, partition_progress, state_pages, devices, bundles,
    bundle_moves, windows, incidents, incident_alerts, notices, sinks, deliveries
    TO sensord_reader, sensord_operator;
GRANT SELECT ON open_alerts, device_health, noisy_devices, model_precision TO sensord_reader, sensord_operator;

-- People who answer alerts.
GRANT UPDATE (
    acknowledged_by, acknowledged_at, feedback, feedback_by, feedback_at, feedback_comment, accepted_by, accepted_at,
    suppressed_window, suppressed_like, updated_at
) ON alerts TO sensord_operator;
GRANT INSERT ON alert_events TO sensord_operator;
GRANT SELECT, INSERT, DELETE ON windows TO sensord_operator;
GRANT USAGE ON SEQUENCE alert_events_sequence_seq, windows_id_seq TO sensord_operator;

COMMIT;
