"""Drift: what a device is slowly got used to is told, once, and apart from its episodes."""

from dataclasses import replace

import numpy as np
import pytest

from sensord.detection.alerts import Alert, Kind, Reason, Run, Severity, Status
from sensord.detection.drift import NAME, SPAN, wander_of
from sensord.detection.fleet import Fleet, Limits
from sensord.detection.forecast import Bounds, Forecast
from sensord.errors import BundleInvalid
from sensord.model.bundle import Bundle
from sensord.readings import Floats
from tests.builders import bundle, fleet, readings

DAY_S = 86_400.0
USUAL, LIMIT = 0.3, 2.0


def aware(seed: int = 0, limit: float = LIMIT) -> Bundle:
    """A bundle that knows how far levels go."""
    one = bundle(seed=seed)
    rows, channels = one.profiles.mean.shape
    constants = np.full((rows, 1 + channels), USUAL, np.float32)
    constants[:, 0] = limit
    return replace(one, profiles=replace(one.profiles, events={NAME: constants}))


def watched(seed: int = 0, limit: float = LIMIT, max_episode_s: float = DAY_S) -> Fleet:
    return Fleet(aware(seed, limit), fleet().origin, Limits(max_episode_s=max_episode_s))


def noise(n: int, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).normal(0, 0.3, (n, 2)).astype(np.float32)


def ageing(n: int, to: float, seed: int = 1, channel: int = 0) -> Floats:
    values = noise(n, seed)
    values[:, channel] += np.linspace(0, to, n, dtype=np.float32)
    return values


def told(one: Fleet, values: Floats, first: int = 0, at_once: int = 700) -> dict[object, Alert]:
    """The alerts of a device's readings, as they stand in the end."""
    found: dict[object, Alert] = {}
    for start in range(0, len(values), at_once):
        one.observe(readings(values[start : start + at_once], first=first + start))
        for change in one.changes():
            found[change.alert.id] = change.alert.keeping(found.get(change.alert.id, change.alert))
        one.settle()
    return found


HEALTHY = 2 * SPAN


def test_a_level_that_goes_slowly_is_one_drift_and_no_anomaly() -> None:
    one = watched()
    found = told(one, np.concatenate((noise(HEALTHY), ageing(20_000, 3.0))))
    [drift] = found.values()
    assert (drift.kind, drift.status, drift.run) == (Kind.DRIFT, Status.OPEN, "live")
    assert drift.threshold == LIMIT
    assert drift.score_first > LIMIT
    assert drift.top_channels is not None
    first = drift.top_channels[0]
    assert (first.channel, first.share > 0.9) == ("heat", True)
    assert first.observed is not None
    assert first.expected is not None
    assert first.observed - first.expected > USUAL, "beside what the bundle was learnt from"
    assert drift.evidence is not None
    assert len(drift.evidence.at) > 0
    assert one.devices.slack[0] < np.log(1.05), "the threshold has not moved yet"


@pytest.mark.parametrize("values", [noise(30_000), ageing(30_000, 0.4)], ids=["steady", "as far as ever"])
def test_what_wanders_as_in_health_is_none(values: Floats) -> None:
    assert told(watched(), np.concatenate((noise(HEALTHY), values))) == {}


def test_a_bundle_that_does_not_know_calls_none() -> None:
    assert told(fleet(), np.concatenate((noise(HEALTHY), ageing(20_000, 3.0)))) == {}
    assert told(watched(limit=0), np.concatenate((noise(HEALTHY), ageing(20_000, 3.0)))) == {}


def test_it_ends_when_the_level_comes_back() -> None:
    there_and_back = np.concatenate(
        (noise(HEALTHY), ageing(20_000, 3.0), ageing(20_000, -3.0) + np.array((3.0, 0), np.float32))
    )
    [drift] = told(watched(), np.concatenate((there_and_back, noise(HEALTHY, seed=4)))).values()
    assert (drift.status, drift.close_reason) == (Status.CLOSED, Reason.STEADY)


def test_after_long_it_is_the_new_normal_and_only_more_of_it_is_another() -> None:
    one = watched(max_episode_s=5_000)
    grown = np.concatenate(
        (noise(HEALTHY), ageing(20_000, 2.0), noise(12_000, seed=5) + np.array((2.0, 0), np.float32))
    )
    found = list(told(one, grown.astype(np.float32)).values())
    assert found[0].close_reason is Reason.NEW_NORMAL
    later = len(found)
    assert told(one, (noise(8_000, seed=6) + np.array((2.0, 0), np.float32)).astype(np.float32), first=len(grown)) == {}
    assert later < 4


def test_an_anomaly_beside_a_drift_is_an_alert_of_its_own() -> None:
    one = watched()
    drifted = np.concatenate((noise(HEALTHY), ageing(20_000, 3.0)))
    told(one, drifted)
    jump = (noise(50, seed=7) + np.array((3.0, 9.0), np.float32)).astype(np.float32)
    [anomaly] = told(one, jump, first=len(drifted)).values()
    assert anomaly.kind is not Kind.DRIFT


def test_a_person_may_accept_it() -> None:
    one = watched()
    drifted = np.concatenate((noise(HEALTHY), ageing(20_000, 3.0)))
    [drift] = told(one, drifted).values()
    assert one.accept({drift.id}) == {drift.id}
    [change] = one.changes()
    assert change.alert.close_reason is Reason.ACCEPTED
    one.settle()
    assert (
        told(one, (noise(8_000, seed=8) + np.array((3.0, 0), np.float32)).astype(np.float32), first=len(drifted)) == {}
    )


def test_another_bundle_closes_it_and_judges_for_itself() -> None:
    one = watched()
    drifted = np.concatenate((noise(HEALTHY), ageing(20_000, 3.0)))
    told(one, drifted)
    new = one.under(aware(seed=5))
    [change] = new.changes()
    assert (change.alert.kind, change.alert.close_reason) == (Kind.DRIFT, Reason.REPLACED)
    assert new.devices.drift_phase[0] == 0


def test_a_shadow_begins_without_it() -> None:
    one = watched()
    told(one, np.concatenate((noise(HEALTHY), ageing(20_000, 3.0))))
    beside = one.beside(aware(seed=5), Run.SHADOW)
    assert beside.changes() == []
    assert beside.withdraw() == []


def test_whoever_makes_room_leaves_nothing_open() -> None:
    one = watched()
    told(one, np.concatenate((noise(HEALTHY), ageing(20_000, 3.0))))
    one.evict(0)
    assert [change.alert.close_reason for change in one.changes()] == [Reason.EVICTED]


@pytest.mark.parametrize("at_once", [333, 5_000])
def test_it_depends_on_no_batch_and_survives_a_snapshot(at_once: int) -> None:
    values = np.concatenate(
        (noise(HEALTHY), ageing(20_000, 3.0), ageing(20_000, -3.0) + np.array((3.0, 0), np.float32))
    ).astype(np.float32)
    whole = told(watched(), values)
    one, other, half = watched(), watched(), 15_000
    found = told(one, values[:half], at_once=at_once)
    other.load(one.pages())
    for key, alert in told(other, values[half:], first=half, at_once=at_once).items():
        found[key] = alert.keeping(found.get(key, alert))
    assert found == whole
    assert len(whole) == 1


def test_a_device_of_its_own_level_drifts_from_that() -> None:
    """One without a profile: its level is no drift, however far from the fleet's."""
    level = np.float32(2.5)
    assert told(watched(), noise(30_000) + level) == {}
    [drift] = told(watched(), np.concatenate((noise(HEALTHY), ageing(20_000, 3.0))) + level).values()
    assert drift.kind is Kind.DRIFT


@pytest.mark.parametrize(
    ("constants", "message"),
    [
        (np.ones((1, 2), np.float32), r"constants of drift are \(1, 2\); expected \(rows, 3\)"),
        (np.ones(3, np.float32), r"constants of drift are \(3,\)"),
        (np.zeros((1, 3), np.float32), "not positive"),
        (np.array([[-1, 1, 1]], np.float32), "negative"),
    ],
)
def test_constants_that_make_no_sense_are_refused(constants: Floats, message: str) -> None:
    with pytest.raises(BundleInvalid, match=message):
        wander_of({NAME: constants}, 2)


# --- limits ----------------------------------------------------------------------------------------------------------


def near(horizon_s: float, **bounds: Bounds) -> Fleet:
    return Fleet(aware(), fleet().origin, Limits(bounds=bounds, horizon_s=horizon_s))


def wear(n: int, to: float) -> Floats:
    """A channel that is worn the faster the more it is worn."""
    values = noise(n, 1)
    values[:, 0] += np.float32(to) * np.exp(np.linspace(-8, 0, n, dtype=np.float32))
    return values


def test_a_drift_says_when_a_limit_will_be_reached_and_is_critical_when_that_is_near() -> None:
    one = near(3_600.0, heat=Bounds(high=6.0))
    values = np.concatenate((noise(HEALTHY), wear(20_000, 9.0)))
    reached = HEALTHY + int(np.flatnonzero(9.0 * np.exp(np.linspace(-8, 0, 20_000)) >= 6.0)[0])
    told_at: list[tuple[int, Forecast]] = []
    severities: list[Severity] = []
    events: list[str] = []
    for start in range(0, reached, 100):
        one.observe(readings(values[start : start + 100], first=start))
        for change in one.changes():
            if change.alert.kind is Kind.DRIFT:
                events += change.events
                severities.append(change.alert.severity)
                if change.alert.forecast:
                    told_at.append((start, change.alert.forecast))
        one.settle()
    assert events == ["opened", "escalated"]
    assert severities[0] is Severity.WARNING
    assert severities[-1] is Severity.CRITICAL
    last_second = readings(values[:1], first=reached).at[0]
    assert len(told_at) >= 3
    for _, found in told_at:
        assert (found.channel, found.limit) == ("heat", 6.0)
        assert found.earliest <= last_second <= found.latest


def test_a_drift_that_goes_nowhere_near_a_limit_forecasts_nothing() -> None:
    one = near(DAY_S, heat=Bounds(low=-50.0), load=Bounds(high=50.0))
    [drift] = told(one, np.concatenate((noise(HEALTHY), ageing(20_000, 3.0)))).values()
    assert (drift.forecast, drift.severity) == (None, Severity.WARNING)


def test_a_drift_that_is_over_forecasts_nothing_any_more() -> None:
    one = near(DAY_S, heat=Bounds(high=6.0))
    home = ageing(20_000, -3.0) + np.array((3.0, 0), np.float32)
    back = np.concatenate((noise(HEALTHY), ageing(20_000, 3.0), home, noise(9_000, 5)))
    [drift] = [alert for alert in told(one, back).values() if alert.kind is Kind.DRIFT]
    assert (drift.status, drift.forecast) == (Status.CLOSED, None)
