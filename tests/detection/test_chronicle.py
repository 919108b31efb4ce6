"""Promises of an alert's name: it never changes for the live run, and tells bundles of another run apart."""

from uuid import UUID

import numpy as np

from sensord.detection.alerts import Alert
from sensord.detection.chronicle import Origin
from sensord.detection.fleet import Fleet, Limits
from tests.builders import PUMPS, bundle, readings

LIVE = Origin("pumps", PUMPS, "topic-id")


def alert_of(origin: Origin) -> Alert:
    values = np.zeros((60, 2))
    values[40:] += 9
    one = Fleet(bundle(), origin, Limits())
    one.observe(readings(values))
    [change] = one.changes()
    return change.alert


def test_the_live_run_s_alerts_keep_their_names_from_version_to_version() -> None:
    assert alert_of(LIVE).id == UUID("72765ad0-a7b0-5d48-bbe1-21aabaaf0652")


def test_bundles_of_one_run_name_their_alerts_apart() -> None:
    first, second = (alert_of(Origin("pumps", PUMPS, "topic-id", "shadow", naming)) for naming in ("", "shadow/b"))
    assert first.run == second.run == "shadow"
    assert len({first.id, second.id, alert_of(LIVE).id}) == 3
