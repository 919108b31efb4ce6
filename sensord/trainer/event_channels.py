"""Constants and limits of the event channels, from the histories that the score was calibrated on. Used by `job`.

As with thresholds: what is learnt from the first part of every history is held against the last part, and the scores
there, pooled over devices, set one limit for all.
"""

from collections.abc import Mapping, Sequence

import msgspec
import numpy as np

from sensord import spill
from sensord.detection import drift
from sensord.detection.channels import EVENT_CHANNELS
from sensord.detection.channels.bank import highest_scores
from sensord.detection.channels.contract import EventChannel, Past
from sensord.detection.scorer import RESIDUAL_LIMIT
from sensord.model.bundle import Profiles
from sensord.model.manifest import Tuning
from sensord.model.network import Network
from sensord.readings import Floats, Integers
from sensord.trainer.holes import WHOLE, Breaks
from sensord.trainer.offline import Recorded
from sensord.trainer.threads import threaded
from sensord.trainer.threshold import HELD_OUT, HeldOut, ThresholdRule
from sensord.trainer.trace import trace
from sensord.trainer.wander import learn_wander

BUDGET_SHARE = 0.05  # of the alarm budget, for each event channel; the rest is the score's


def learn_events(
    network: Network,
    profiles: Profiles,
    tuning: Tuning,
    devices: Sequence[Recorded],
    rule: ThresholdRule,
    breaks: Breaks = WHOLE,
) -> Mapping[str, Floats]:
    """Each event channel's constants, a row for each profile, the limit first: (profile rows, 1 + constants_width)."""
    own = {name: row for row, name in enumerate(profiles.device_ids, start=1)}
    rows = np.array([own.get(device.device_id, 0) for device in devices])
    pasts, own_wander = _pasts(network, profiles, tuning, devices, rows, breaks)
    fleet, wander = (
        _pasts(network, profiles, tuning, devices, np.zeros_like(rows), breaks) if rows.any() else (pasts, own_wander)
    )
    of_row = [fleet, *([past] for past, row in sorted(zip(pasts, rows, strict=True), key=_row) if row)]
    learnt = {each.name: _constants(each, of_row, pasts, rows, rule, tuning) for each in EVENT_CHANNELS}
    return learnt | {drift.NAME: learn_wander(len(profiles), [past.at for past in pasts], rows, own_wander, wander)}


def _row(pair: tuple[Past, int]) -> int:
    return pair[1]


def _constants(
    channel: EventChannel,
    of_row: Sequence[Sequence[Past]],
    pasts: Sequence[Past],
    rows: Integers,
    rule: ThresholdRule,
    tuning: Tuning,
) -> Floats:
    trial = np.stack(list(threaded(lambda each: channel.learn([_first_part(past) for past in each]), of_row)))
    scores = spill.rows([len(past.at) for past in pasts], (), np.float32)
    scored = threaded(lambda each: highest_scores(channel, *each), zip(trial[rows], pasts, strict=True))
    for found, each in zip(scores, scored, strict=True):
        found[:] = each
    held_out = [each[_cut(len(each)) :] for each in scores]
    alone = msgspec.structs.replace(tuning, open_after=channel.patience, clear_share=1.0)
    limit = max(channel.least_limit, rule.part(BUDGET_SHARE).factor(HeldOut(held_out, held_out), alone))
    learnt = np.stack(list(threaded(channel.learn, of_row)))
    return np.concatenate((np.full((len(learnt), 1), limit, np.float32), learnt), axis=1)


def _pasts(
    network: Network,
    profiles: Profiles,
    tuning: Tuning,
    devices: Sequence[Recorded],
    rows: Integers,
    breaks: Breaks,
) -> tuple[list[Past], Floats]:
    """Histories as event channels see them, and how far each device's level went: (devices, 2, channels)."""
    broken = [breaks.get(device.device_id, ()) for device in devices]
    traces = trace(network, profiles, tuning, [device.values for device in devices], rows.tolist(), broken)
    scaled = spill.rows([len(device.at) for device in devices], (len(profiles.mean[0]),), np.float32)
    for device, row, z in zip(devices, rows, scaled, strict=True):
        np.divide(device.values - profiles.mean[row], profiles.scale[row], out=z)
        np.clip(z, -RESIDUAL_LIMIT, RESIDUAL_LIMIT, out=z)
    pasts = [Past(device.at, z, each.error) for device, z, each in zip(devices, scaled, traces, strict=True)]
    return pasts, np.stack([each.wander for each in traces])


def _first_part(past: Past) -> Past:
    cut = _cut(len(past.at))
    return Past(past.at[:cut], past.z[:cut], past.error[:cut])


def _cut(readings: int) -> int:
    return round((1 - HELD_OUT) * readings)
