"""One healthy daemon as series for promtool, for each alert what has to be wrong for it alone to fire, and what is
close to that and is not it. For test_prometheus.py.

Values are promtool's: `0+60x450` rises by 60 a minute.
"""

AT = "7h"
A, B = 'instance="a:1",job="sensord"', 'instance="b:1",job="sensord"'
PUMPS = f'{A},fleet="pumps"'
N = 'instance="n:1",job="sensord"'
PARTITION = f'{A},topic="t",partition="0"'

HEALTHY = {
    f"up{{{A}}}": "1x450",
    f"sensord_ready{{{A}}}": "1x450",
    f"process_start_time_seconds{{{A}}}": "0x450",
    f"sensord_last_poll_timestamp_seconds{{{A}}}": "0+60x450",
    f"sensord_last_commit_timestamp_seconds{{{A}}}": "0+60x450",
    f"process_resident_memory_bytes{{{A}}}": "5e8x450",
    f"sensord_rebalances_total{{{A}}}": "1x450",
    f"sensord_lag_seconds{{{PARTITION}}}": "1x450",
    f"sensord_lag_records{{{PARTITION}}}": "20x450",
    f'sensord_readings_total{{{PUMPS},outcome="scored"}}': "0+6000x450",
    f'sensord_readings_total{{{PUMPS},outcome="late"}}': "0+60x450",
    f"sensord_devices{{{PUMPS}}}": "100x450",
    f"sensord_silent_devices{{{PUMPS}}}": "2x450",
    f"sensord_drifting_devices{{{PUMPS}}}": "2x450",
    f"sensord_held_partitions{{{PUMPS}}}": "0x450",
    f'sensord_dead_letters_total{{{PUMPS},reason="malformed"}}': "0+1x450",
    f"sensord_gaps_total{{{PUMPS}}}": "0x450",
    f"sensord_store_errors_total{{{A}}}": "1x450",
    f'sensord_commit_seconds_bucket{{{A},le="0.1"}}': "0+60x450",
    f'sensord_commit_seconds_bucket{{{A},le="+Inf"}}': "0+60x450",
    f"sensord_claim_failures_total{{{A}}}": "2x450",
    f"sensord_fenced_partitions_total{{{A}}}": "1x450",
    f"sensord_alert_conflicts_total{{{A}}}": "0x450",
    f"sensord_evicted_devices_total{{{PUMPS}}}": "0x450",
    f'sensord_alerts_total{{{PUMPS},kind="anomaly",event="opened"}}': "0x450",
    f"sensord_alarm_budget{{{PUMPS}}}": "0.05x450",
    f"sensord_bundle_history_end_timestamp_seconds{{{PUMPS}}}": "0x450",
    f'sensord_bundle_info{{{PUMPS},bundle_id="pumps-1"}}': "1x450",
    f"sensord_refused_bundles_total{{{PUMPS}}}": "0x450",
    f"sensord_rolled_back_bundles_total{{{PUMPS}}}": "0x450",
    f"sensord_notifier_leads{{{N}}}": "1x450",
    f"sensord_notifier_leads{{{A}}}": "0x450",
    f'sensord_notice_wait_seconds{{{N},sink="ops"}}': "300x450",
    f'sensord_notices_total{{{N},sink="ops",outcome="refused"}}': "3x450",
    f'sensord_notices_total{{{N},sink="ops",outcome="not_taken"}}': "0+1x450",
}
ILL = {
    "SensordDown": {
        f"up{{{A}}}": "0x450",
    },
    "SensordNotReady": {
        f"sensord_ready{{{A}}}": "0x450",
    },
    "SensordRestarts": {
        f"process_start_time_seconds{{{A}}}": "0+600x450",
    },
    "SensordNotPolling": {
        f"sensord_last_poll_timestamp_seconds{{{A}}}": "1x450",
    },
    "SensordMemory": {
        f"process_resident_memory_bytes{{{A}}}": "5e9x450",
    },
    "SensordRebalancing": {
        f"sensord_rebalances_total{{{A}}}": "0+1x450",
    },
    "SensordLag": {
        f"sensord_lag_seconds{{{PARTITION}}}": "400x450",
    },
    "SensordLagGrows": {
        f"sensord_lag_records{{{PARTITION}}}": "20000+100x450",
    },
    "SensordNoReadings": {
        f'sensord_readings_total{{{PUMPS},outcome="scored"}}': "7x450",
        f'sensord_readings_total{{{PUMPS},outcome="late"}}': "0x450",
    },
    "SensordHeld": {
        f"sensord_held_partitions{{{PUMPS}}}": "1x450",
    },
    "SensordDeadLetters": {
        f'sensord_dead_letters_total{{{PUMPS},reason="malformed"}}': "0+5x450",
    },
    "SensordLateReadings": {
        f'sensord_readings_total{{{PUMPS},outcome="late"}}': "0+600x450",
    },
    "SensordGap": {
        f"sensord_gaps_total{{{PUMPS}}}": "0x400 1x50",
    },
    "SensordNoCommit": {
        f"sensord_last_commit_timestamp_seconds{{{A}}}": "1x450",
    },
    "SensordDatabaseErrors": {
        f"sensord_store_errors_total{{{A}}}": "0+1x450",
    },
    "SensordSlowCommits": {
        f'sensord_commit_seconds_bucket{{{A},le="0.1"}}': "0x450",
        f'sensord_commit_seconds_bucket{{{A},le="5"}}': "0+60x450",
        f'sensord_commit_seconds_bucket{{{A},le="+Inf"}}': "0+60x450",
    },
    "SensordClaimFailures": {
        f"sensord_claim_failures_total{{{A}}}": "0+1x450",
    },
    "SensordFenced": {
        f"sensord_fenced_partitions_total{{{A}}}": "0+1x450",
    },
    "SensordConflicts": {
        f"sensord_alert_conflicts_total{{{A}}}": "0x400 1x50",
    },
    "SensordEvictions": {
        f"sensord_evicted_devices_total{{{PUMPS}}}": "0x400 5x50",
    },
    "SensordAlarmBudget": {
        f'sensord_alerts_total{{{PUMPS},kind="anomaly",event="opened"}}': "0+0.2x450",
    },
    "SensordManySilent": {
        f"sensord_silent_devices{{{PUMPS}}}": "30x450",
    },
    "SensordManyDrifting": {
        f"sensord_drifting_devices{{{PUMPS}}}": "30x450",
    },
    "SensordBundleOld": {
        f"sensord_bundle_history_end_timestamp_seconds{{{PUMPS}}}": "-6e6x450",
    },
    "SensordBundleRefused": {
        f"sensord_refused_bundles_total{{{PUMPS}}}": "0x400 1x50",
    },
    "SensordBundleRolledBack": {
        f"sensord_rolled_back_bundles_total{{{PUMPS}}}": "0x400 1x50",
    },
    "SensordNoticesWait": {
        f'sensord_notice_wait_seconds{{{N},sink="ops"}}': "0+60x450",
    },
    "SensordNoticesRefused": {
        f'sensord_notices_total{{{N},sink="ops",outcome="refused"}}': "3x400 4x50",
    },
    "SensordNobodyTells": {
        f"sensord_notifier_leads{{{N}}}": "0x450",
    },
    "SensordBundlesDiffer": {
        f'sensord_bundle_info{{{PUMPS},bundle_id="pumps-1"}}': "1x450",
        f'sensord_bundle_info{{{B},fleet="pumps",bundle_id="pumps-2"}}': "1x450",
    },
}

# what else each of these fires for
ALSO = {
    "SensordLateReadings": {  # what is replayed makes the late ones look few
        f'sensord_readings_total{{{PUMPS},outcome="late"}}': "0+600x450",
        f'sensord_readings_total{{{PUMPS},outcome="replayed"}}': "0+60000x450",
    },
    "SensordNoCommit": {  # since it started, which is not since 1970
        f"sensord_last_commit_timestamp_seconds{{{A}}}": "0x450",
        f"process_start_time_seconds{{{A}}}": "60x450",
    },
}
# minutes that it has to stay wrong, by alert; the others fire at once
PATIENCE = {
    "SensordNoticesWait": 5,
    "SensordNobodyTells": 5,
    "SensordDown": 5,
    "SensordNotReady": 10,
    "SensordNotPolling": 1,
    "SensordMemory": 30,
    "SensordLag": 10,
    "SensordLagGrows": 30,
    "SensordNoReadings": 15,
    "SensordHeld": 5,
    "SensordLateReadings": 60,
    "SensordNoCommit": 5,
    "SensordSlowCommits": 15,
    "SensordAlarmBudget": 120,
    "SensordManySilent": 15,
    "SensordManyDrifting": 60,
    "SensordBundleOld": 360,
    "SensordBundlesDiffer": 15,
}
HARMLESS = {
    "it has been starting for three minutes": {
        f"up{{{A}}}": "_x416 1x4",
        f"sensord_ready{{{A}}}": "_x416 0x4",
        f"process_start_time_seconds{{{A}}}": "_x416 24960x4",
        f"sensord_last_poll_timestamp_seconds{{{A}}}": "_x416 0x4",
        f"sensord_last_commit_timestamp_seconds{{{A}}}": "_x416 0x4",
    },
    "it started eight minutes ago, and is about to commit": {
        f"process_start_time_seconds{{{A}}}": "_x412 24720x8",
        f"sensord_last_commit_timestamp_seconds{{{A}}}": "_x412 0x8",
    },
    "there is nothing to commit": {
        f"sensord_last_commit_timestamp_seconds{{{A}}}": "1x450",
        f"sensord_lag_records{{{PARTITION}}}": "0x450",
    },
    "it catches up": {f"sensord_lag_records{{{PARTITION}}}": "100000-100x450"},
    "a fleet has no device yet": {
        f"sensord_devices{{{PUMPS}}}": "0x450",
        f"sensord_silent_devices{{{PUMPS}}}": "0x450",
        f"sensord_drifting_devices{{{PUMPS}}}": "0x450",
        f'sensord_readings_total{{{PUMPS},outcome="scored"}}': "0x450",
        f'sensord_readings_total{{{PUMPS},outcome="late"}}': "0x450",
    },
    "two of five devices are silent, two drift": {f"sensord_devices{{{PUMPS}}}": "5x450"},
}
