"""Event channels name the trouble they know, and are quiet in health."""

import msgspec
import numpy as np
import pytest

from sensord.clock import MICROSECONDS
from sensord.detection.alerts import Alert, Kind, Reason, Status
from sensord.detection.channels import EVENT_CHANNELS
from sensord.detection.channels.bank import constants_of, highest_scores
from sensord.detection.channels.contract import EventChannel, Past
from sensord.detection.channels.off_profile import OffProfile
from sensord.detection.channels.out_of_range import OutOfRange
from sensord.detection.channels.stuck import Stuck
from sensord.detection.fleet import Fleet
from sensord.errors import BundleInvalid
from sensord.readings import Floats
from tests.builders import QUICK, START, bundle, event_constants, fleet, readings

MODEL = bundle(events=True, tuning=msgspec.structs.replace(QUICK, smoothing=15.0, dead_time=50))


def noise(n: int, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).normal(0, 0.5, (n, 2)).astype(np.float32)


def with_fault(fault: str, n: int = 400, start: int = 200) -> Floats:
    values = noise(n)
    match fault:
        case "spike":
            values[start, 1] += 9
        case "stuck":
            values[start:, 1] = values[start, 1]
        case "jump":
            values[start:, 1] += 5
        case "noisy":
            values[start:] *= 2.0
    return values


def alerts_of(one: Fleet) -> list[Alert]:
    return [change.alert for change in one.changes()]


def observed(values: Floats, **limits: float) -> Fleet:
    one = fleet(MODEL, **limits)
    one.observe(readings(values))
    return one


@pytest.mark.parametrize(("fault", "kind"), [("spike", Kind.SPIKE), ("stuck", Kind.STUCK), ("jump", Kind.OUT_OF_RANGE)])
def test_an_event_channel_names_the_alert_and_its_channel(fault: str, kind: Kind) -> None:
    [alert, *_] = alerts_of(observed(with_fault(fault)))
    assert alert.kind is kind
    assert alert.top_channels is not None
    assert (alert.top_channels[0].channel, alert.top_channels[0].share > 0.9) == ("noise", True)
    assert alert.score_peak > alert.threshold


def test_health_raises_nothing() -> None:
    assert alerts_of(observed(noise(3_000, seed=3))) == []


def test_a_slow_drift_moves_the_range_along() -> None:
    creeping = noise(3_000) + np.linspace(0, 9, 3_000, dtype=np.float32)[:, None]
    assert scores_of(OutOfRange(), creeping).max() < 1


def test_a_channel_that_stood_still_in_health_is_never_called_stuck() -> None:
    still = np.zeros((300, 2), np.float32)
    assert scores_of(Stuck(), still, learnt_from=still).max() == 0


def test_a_level_is_off_profile_only_at_the_wrong_hour() -> None:
    at = START + np.arange(0, 5 * 86_400, 600) * MICROSECONDS
    hours = at // (3_600 * MICROSECONDS) % 24
    busy = ((hours >= 8) & (hours < 18)).astype(np.float32)
    rng = np.random.default_rng(0)
    level = (3 * busy[:, None] + rng.normal(0, 0.2, (len(at), 1))).astype(np.float32)
    night = level.copy()
    night[(hours == 2) & (at > at[-1] - 86_400 * MICROSECONDS)] += 3  # normal at noon
    channel = OffProfile()
    constants = channel.learn([Past(at, level, level)])
    calm, off = (highest_scores(channel, constants, Past(at, z, z)) for z in (level, night))
    assert calm[200:].max() < channel.least_limit < off.max()
    assert hours[int(off.argmax())] in (2, 3)


def test_a_history_of_a_day_knows_no_hours() -> None:
    at = START + np.arange(0, 86_400, 600) * MICROSECONDS
    z = noise(len(at))
    assert OffProfile().learn([Past(at, z, z)])[0] == 0


@pytest.mark.parametrize("channel", EVENT_CHANNELS, ids=lambda channel: channel.name)
def test_every_event_channel_keeps_its_contract(channel: EventChannel) -> None:
    """Finite for absent, huge and constant readings; as wide as it says."""
    z = noise(300)
    z[5:9] = np.nan
    z[20] = 1e6
    z[30:, 1] = np.nan
    past = Past(START + np.arange(300) * MICROSECONDS, z, z)
    constants = channel.learn([past, past])
    assert constants.shape == (channel.constants_width(2),)
    assert constants.dtype == np.float32
    assert np.isfinite(constants).all()
    scores = highest_scores(channel, constants, past)
    assert np.isfinite(scores).all()
    assert (scores >= 0).all()


def test_constants_of_another_width_are_refused() -> None:
    with pytest.raises(BundleInvalid, match="event channel stuck"):
        constants_of({"stuck": np.ones((1, 7), np.float32)}, 2)


def scores_of(channel: EventChannel, z: Floats, learnt_from: Floats | None = None) -> Floats:
    def past(values: Floats) -> Past:
        return Past(START + np.arange(len(values)) * MICROSECONDS, values, values)

    constants = channel.learn([past(noise(2_000, seed=9) if learnt_from is None else learnt_from)])
    return highest_scores(channel, constants, past(z))


# --- one fault, one alert --------------------------------------------------------------------------------------------


def test_what_goes_on_is_no_spike() -> None:
    values = noise(400)
    values[200:280, 1] += 3  # within the range's margin, but a surprise at first and far from expected then
    model = bundle(events=True, threshold=2.0, tuning=msgspec.structs.replace(QUICK, smoothing=5.0))
    one = fleet(model)
    one.observe(readings(values))
    kinds = {alert.kind for alert in alerts_of(one)}
    assert Kind.SPIKE not in kinds
    assert kinds


def test_an_alert_that_gets_another_name_keeps_the_score_it_opened_with() -> None:
    """The table never rewrites where an alert began: so when the commits are due must not show in it."""
    values = noise(400)
    values[200:280, 1] += 3
    model = bundle(events=True, threshold=2.0, tuning=msgspec.structs.replace(QUICK, smoothing=5.0))
    one = fleet(model)
    seen: list[Alert] = []
    for index in range(len(values)):
        one.observe(readings(values[index : index + 1], first=index))
        seen += alerts_of(one)
        one.settle()
    assert [seen[0].kind, seen[-1].kind] == [Kind.SPIKE, Kind.ANOMALY]
    assert {alert.score_first for alert in seen} == {seen[0].score_first}
    assert seen[-1].threshold != seen[0].threshold


def test_the_dead_time_is_broken_only_by_what_is_worse() -> None:
    values = noise(400)
    values[200, 0] += 9
    values[215, 0] += 5  # within the dead time, and less
    values[230, 0] += 40
    opened = sorted(alert.first_offset for alert in alerts_of(observed(values)))
    assert opened == [200, 230]


# --- the new normal --------------------------------------------------------------------------------------------------


def test_an_alert_that_stays_open_becomes_the_new_normal() -> None:
    values = with_fault("jump", n=900)
    [alert] = alerts_of(observed(values, max_episode_s=100))
    assert (alert.status, alert.close_reason) == (Status.CLOSED, Reason.NEW_NORMAL)
    assert alert.closed_at == alert.opened_at + 101 * MICROSECONDS


def test_an_accepted_alert_closes_and_its_level_is_normal_from_then_on() -> None:
    one = observed(with_fault("jump", n=300))
    [alert] = alerts_of(one)
    assert alert.status is Status.OPEN
    assert one.accept({alert.id}) == {alert.id}
    one.observe(readings(with_fault("jump", n=900)[300:], first=300))
    [closed] = alerts_of(one)
    assert (closed.id, closed.status, closed.close_reason) == (alert.id, Status.CLOSED, Reason.ACCEPTED)


def test_after_a_new_normal_the_next_fault_is_still_seen() -> None:
    values = with_fault("jump", n=900)
    values[700:, 1] += 12
    opened = [alert.first_offset for alert in alerts_of(observed(values, max_episode_s=100))]
    assert len(opened) == 2
    assert opened[1] in range(700, 710)


def test_a_bundle_without_event_constants_has_them_off() -> None:
    assert [len(each) for each in constants_of({}, 2)] == [0] * len(EVENT_CHANNELS)
    assert all(len(each) for each in constants_of(event_constants(1, 2), 2))
