"""A fleet's promises: exact whatever the batches, calm when healthy, one alert an episode."""

import itertools
import zlib
from dataclasses import replace

import msgspec
import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from msgspec import structs

from sensord.detection import episodes
from sensord.detection import fleet as fleets
from sensord.detection.alerts import Alert, AlertChange, Kind, Reason, Severity, Status
from sensord.detection.device_pages import MAGIC, glimpse, has_device
from sensord.detection.devices import PAGE, RING
from sensord.detection.fleet import EVIDENCE_AGAIN, Fleet, Outcome
from sensord.errors import StateUnreadable
from sensord.model.manifest import Tuning
from sensord.model.steps import ELSEWHERE, weights_of
from sensord.readings import Floats, Integers, Readings
from tests.builders import QUICK, bundle, fleet, readings

DEVICES = [f"pump-{n}" for n in range(7)]
DRIFTING = structs.replace(QUICK, baseline=20.0)  # quick enough to follow drift within a short test


def healthy(n: int, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).normal(0, 0.3, (n, 2)).astype(np.float32)


def faulty(n: int) -> Floats:
    return np.tile(np.array([9.0, 0.0], np.float32), (n, 1))


def cut(all_of_them: Readings, bounds: list[int]) -> list[Readings]:
    edges = sorted({0, len(all_of_them), *bounds})
    return [all_of_them._cut(a, b) for a, b in itertools.pairwise(edges)]


def traffic(seed: int, n: int = 300) -> Readings:
    """Interleaved devices with faults, absences, repeats and gaps."""
    rng = np.random.default_rng(seed)
    names = [DEVICES[i] for i in rng.integers(0, len(DEVICES), n)]
    values = rng.normal(0, 0.5, (n, 2)).astype(np.float32)
    values[n // 3 : n // 2] += 8
    values[rng.random((n, 2)) < 0.05] = np.nan
    seconds = np.arange(n) + np.where(rng.random(n) < 0.05, -20, 0) + np.where(np.arange(n) > 250, 500, 0)
    return readings(values, names, seconds=seconds.tolist())


def state_of(one: Fleet) -> dict[int, bytes]:
    one.devices.touch(np.arange(len(one.devices)))
    return one.pages()


def gathered(one: Fleet, batches: list[Readings]) -> dict[object, Alert]:
    found: dict[object, Alert] = {}
    for batch in batches:
        one.observe(batch)
        for change in one.changes():
            found[change.alert.id] = change.alert.keeping(found.get(change.alert.id, change.alert))
        one.settle()
    return found


WATCHFUL = bundle(events=True, tuning=msgspec.structs.replace(QUICK, dead_time=10))


def watchful() -> Fleet:
    """All detectors on, and little patience."""
    return fleet(WATCHFUL, max_gap_s=12, silent_periods=10, max_episode_s=60)


def uneven(seed: int, n: int = 1_200) -> Readings:
    """Devices that come, stay away, come back, and send what they kept; one sticks, one spikes."""
    rng = np.random.default_rng(seed)
    names, seconds, values = [], [], []
    for second in range(n // len(DEVICES)):
        for number, name in enumerate(DEVICES):
            away = (number in (2, 3) and 60 < second < 85) or (number == 4 and second > 70)
            if not away:
                names.append(name)
                seconds.append(second - (20 if number == 3 and second >= 85 else 0) + (8 if number == 5 else 0))
                values.append(rng.normal(0, 0.5, 2) * (0 if number == 1 and 62 < second < 150 else 1))
                values[-1] += 9 * (number == 6 and second in (75, 76, 90)) + 4 * (number == 0 and second > 50)
    return readings(np.array(values), names, seconds=seconds)


@settings(max_examples=10, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(seed=st.integers(0, 1_000), bounds=st.lists(st.integers(0, 1_200), max_size=12))
def test_batches_make_no_difference_to_event_channels_and_silences(seed: int, bounds: list[int]) -> None:
    stream = uneven(seed)
    whole, parts = watchful(), watchful()
    expected = gathered(whole, [stream])
    assert expected == gathered(parts, cut(stream, bounds))
    assert state_of(whole) == state_of(parts)
    assert {Kind.SILENT, Kind.OUT_OF_RANGE, Kind.SPIKE, Kind.STUCK} <= {alert.kind for alert in expected.values()}


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1_000), bounds=st.lists(st.integers(0, 300), max_size=12))
def test_batches_make_no_difference_to_a_single_bit(seed: int, bounds: list[int]) -> None:
    stream = traffic(seed)
    whole, parts = fleet(), fleet()
    assert gathered(whole, [stream]) == gathered(parts, cut(stream, bounds))
    assert state_of(whole) == state_of(parts)


@settings(max_examples=3, deadline=None)
@given(seed=st.integers(0, 1_000))
def test_one_wave_of_many_equals_many_waves_of_one(seed: int) -> None:
    rng = np.random.default_rng(seed)
    names = [f"pump-{n}" for n in range(300)]  # more than one network call holds
    together, apart = fleet(), fleet()
    order = rng.permutation(300)
    for step in range(8):
        values = rng.normal(0, 1, (300, 2)).astype(np.float32)
        one = together.observe(readings(values, names, seconds=[step] * 300))
        shuffled = [names[i] for i in order]
        singly = [
            apart.observe(readings(values[[i]], [name], seconds=[step])).score[0]
            for i, name in zip(order.tolist(), shuffled, strict=True)
        ]
        np.testing.assert_array_equal(one.score[order], np.array(singly))
    slots = [apart.devices.slots[name] for name in names]
    np.testing.assert_array_equal(together.devices.recurrent[:300], apart.devices.recurrent[slots])
    np.testing.assert_array_equal(together.devices.smoothed[:300], apart.devices.smoothed[slots])


def test_a_network_that_torch_steps_is_scored_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU: in waves, padded to one size, so that here too batches make no difference."""
    stream = traffic(1)
    compiled = fleet().observe(stream)
    monkeypatch.setattr(fleets, "weights_of", lambda cell: weights_of(cell)._replace(kind=ELSEWHERE))
    whole, parts = fleet(), fleet()
    seen = whole.observe(stream)
    np.testing.assert_allclose(seen.score, compiled.score, atol=1e-4)
    np.testing.assert_array_equal(seen.outcome, compiled.outcome)
    for part in cut(stream, [7, 100, 130]):
        parts.observe(part)
    assert state_of(whole) == state_of(parts)
    swapped = whole.under(bundle(seed=3))
    assert np.isfinite(swapped.devices.expected).all()
    assert swapped.devices.warm.max() > 0


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1_000), snapshot=st.integers(1, 299), commit=st.integers(0, 299))
def test_a_restart_from_any_snapshot_goes_on_as_if_nothing_happened(seed: int, snapshot: int, commit: int) -> None:
    commit = max(snapshot, commit)
    stream = traffic(seed)
    golden = fleet()
    expected = gathered(golden, cut(stream, [snapshot, commit]))

    first = fleet()
    found = gathered(first, [stream.before(snapshot)])
    pages = state_of(first)
    found |= {
        k: a.keeping(found.get(k, a)) for k, a in gathered(first, [stream.before(commit).since(snapshot)]).items()
    }

    second = fleet()
    second.load(pages)
    second.observe(stream.before(commit).since(snapshot))
    second.settle()
    for key, alert in gathered(second, [stream.since(commit)]).items():
        found[key] = alert.keeping(found.get(key, alert))
    assert found == expected
    assert state_of(second) == state_of(golden)


def test_healthy_devices_raise_nothing() -> None:
    one = fleet()
    one.observe(readings(healthy(500)))
    assert one.changes() == []


def changes_of(one: Fleet, *batches: Readings) -> list[AlertChange]:
    for batch in batches:
        one.observe(batch)
    return one.changes()


def test_a_fault_opens_one_alert_that_closes_when_it_is_over() -> None:
    one = fleet()
    [change] = changes_of(one, readings(np.concatenate((healthy(50), faulty(10), healthy(30)))))
    alert = change.alert
    assert change.events in (("opened", "closed"), ("opened", "escalated", "closed"))
    assert alert.status is Status.CLOSED
    assert alert.close_reason == "cleared"
    assert alert.first_offset in (50, 51)
    assert alert.closed_at is not None
    assert alert.opened_at < alert.last_seen_at < alert.closed_at
    assert alert.score_peak >= alert.score_first > alert.threshold


def test_a_fault_clears_though_another_channel_drifted_meanwhile() -> None:
    one = fleet(bundle(tuning=DRIFTING))
    steady = readings(healthy(100))
    drift = np.linspace(0, 4, 200)[:, None] * np.array([0, 1], np.float32)
    fault = readings(healthy(200) + faulty(200) + drift, first=100)
    after = readings(healthy(60) + drift[-1], first=300)
    [change] = changes_of(one, steady, fault, after)
    assert change.alert.close_reason == "cleared"
    assert change.alert.last_offset in range(299, 310)


def test_a_fault_that_stays_is_never_taken_as_normal() -> None:
    one = fleet(bundle(tuning=DRIFTING))
    [change] = changes_of(one, readings(np.concatenate((healthy(50), faulty(400)))))  # 20 spans of the baseline
    assert change.alert.status is Status.OPEN
    assert change.alert.last_offset == 449


def test_a_peak_is_remembered_as_long_as_its_alarm_stands() -> None:
    one = fleet(bundle(tuning=DRIFTING))
    severe, milder, residue = 3.0 * faulty(20), 1.5 * faulty(400), 0.6 * faulty(40)
    [change] = changes_of(one, readings(np.concatenate((healthy(50), severe, milder, residue))))
    assert change.alert.close_reason == "cleared"


def test_an_episode_spans_the_calm_readings_that_it_bridges() -> None:
    one = fleet()
    seen = one.observe(readings(np.concatenate((healthy(50), faulty(10), healthy(30)))))
    first, last = np.flatnonzero(seen.in_episode)[[0, -1]]
    assert seen.in_episode[first:last].all()
    assert first == np.flatnonzero(seen.alarmed)[0]
    assert last == np.flatnonzero(seen.alarmed)[-1] + QUICK.close_after - 1


def test_an_alert_says_which_channel_and_what_was_expected() -> None:
    one = fleet()
    [change] = changes_of(one, readings(np.concatenate((healthy(50), faulty(3)))))
    shares, evidence = change.alert.top_channels, change.alert.evidence
    assert shares is not None
    assert evidence is not None
    assert shares[0].channel == "heat"
    assert shares[0].unit == "K"
    assert shares[0].observed == pytest.approx(9.0)
    assert shares[0].expected == pytest.approx(0.0, abs=2.0)
    assert sum(share.share for share in shares) == pytest.approx(1.0)
    assert len(evidence.at) == len(evidence.observed) == len(evidence.expected) == 32
    assert evidence.observed[-1][0] == pytest.approx(9.0)


def test_evidence_later_shows_what_came_after_the_opening() -> None:
    one = fleet()
    changes_of(one, readings(np.concatenate((healthy(50), faulty(3)))))
    one.settle()
    [change] = changes_of(one, readings(faulty(EVIDENCE_AGAIN), first=53))
    assert not change.is_new
    assert change.alert.top_channels is None  # the stored explanation stays
    assert change.alert.evidence is not None
    assert change.alert.evidence.observed[-3][0] == pytest.approx(9.0)


def test_a_short_blip_opens_nothing() -> None:
    one = fleet(bundle(tuning=Tuning(smoothing=1.0, warm_up=4, open_after=3)))
    assert changes_of(one, readings(np.concatenate((healthy(50), faulty(2), healthy(50))))) == []


def test_late_and_repeated_readings_change_nothing() -> None:
    one = fleet()
    one.observe(readings(healthy(20)))
    before = state_of(one)
    seen = one.observe(readings(faulty(3), seconds=[5, 19, 18.5], first=20))
    assert seen.count(Outcome.LATE) == 3
    assert state_of(one) == before


def test_after_a_gap_a_device_warms_up_again_and_its_episode_ends() -> None:
    one = fleet(max_gap_s=60)
    one.observe(readings(np.concatenate((healthy(50), faulty(5)))))
    one.settle()
    seen = one.observe(readings(healthy(5), seconds=[500, 501, 502, 503, 504], first=60))
    [change] = one.changes()
    assert (change.alert.close_reason, change.alert.status) == ("gap", Status.CLOSED)
    assert seen.outcome.tolist() == [Outcome.WARM_UP] * 4 + [Outcome.SCORED]
    assert np.isnan(seen.score[:4]).all()


def test_absent_channels_are_taken_as_expected() -> None:
    one, other = fleet(), fleet()
    values = healthy(60)
    values[30:, 1] = np.nan
    assert changes_of(one, readings(values)) == []
    assert np.isfinite(one.devices.recurrent).all()
    seen = other.observe(readings(np.full((10, 2), np.nan)))
    assert np.isfinite(seen.score[QUICK.warm_up :]).all()


def test_huge_values_leave_the_state_finite() -> None:
    one = fleet()
    one.observe(readings(np.full((50, 2), 3e38, np.float32)))
    for column in (one.devices.recurrent, one.devices.smoothed, one.devices.peak):
        assert np.isfinite(column).all()


def test_a_far_larger_peak_escalates_once() -> None:
    one = fleet()
    stream = np.concatenate((healthy(50), faulty(3) / 2, faulty(20) * 4))
    one.observe(readings(stream))
    [change] = one.changes()
    assert change.events == ("opened", "escalated")
    assert change.alert.severity is Severity.CRITICAL


def opened(ratios: Floats, readings_so_far: int, seen: int) -> Fleet:
    """A device in the midst of an episode, whose last scores were these, in limits."""
    one = fleet()
    devices, ring = one.devices, len(ratios)
    devices.find(["pump-1"])
    devices.phase[0], devices.kind[0], devices.readings[0] = episodes.OPEN, episodes.ANOMALY, readings_so_far
    devices.ring_ratio[0, np.arange(seen - ring, seen) % ring] = ratios
    return one


RISES = np.linspace(1.0, 1.6, RING, dtype=np.float32)


@pytest.mark.parametrize(
    ("ratios", "readings_so_far", "critical"),
    [
        (RISES, episodes.LONG, True),
        (RISES, episodes.LONG - 1, False),
        (RISES[::-1], episodes.LONG, False),
        (np.full(RING, 1.5, np.float32), episodes.LONG, False),
        (np.full(RING, np.nan, np.float32), episodes.LONG, False),
    ],
    ids=["lasts and rises", "too short", "falls", "stays", "has no score"],
)
def test_what_lasts_and_still_rises_becomes_critical_once(ratios: Floats, readings_so_far: int, critical: bool) -> None:
    seen = 7 * RING + RING // 2
    one = opened(ratios, readings_so_far, seen)
    columns = one.devices.state.episodes
    assert bool(episodes.goes_on_rising(columns, 0, one.devices.ring_ratio[0], seen)) is critical
    assert bool(one.devices.critical[0]) is critical
    assert not episodes.goes_on_rising(columns, 0, one.devices.ring_ratio[0], seen)


def test_a_slow_fault_that_goes_on_rising_is_critical_before_its_peak_says_so() -> None:
    one = fleet()
    slow = healthy(220)
    slow[60:, 1] += np.linspace(2, 4.7, 160, dtype=np.float32)
    one.observe(readings(slow))
    [change] = one.changes()
    assert change.events == ("opened", "escalated")
    assert change.alert.severity is Severity.CRITICAL
    assert change.alert.score_peak < one.bundle.manifest.tuning.critical * change.alert.threshold


def test_the_ring_remembers_each_score_in_limits() -> None:
    one = fleet()
    seen = one.observe(readings(np.concatenate((healthy(50), faulty(6)))))
    kept = one.devices.ring_ratio[0, np.arange(56 - RING, 56) % RING]
    np.testing.assert_array_equal(kept, (seen.score / seen.limit)[-RING:])
    [change] = one.changes()
    assert change.alert.evidence is not None
    assert len(change.alert.evidence.ratio) == len(change.alert.evidence.at)


def test_two_alerts_of_one_record_have_two_ids() -> None:
    one = fleet()
    names = ["pump-1", "pump-2"] * 60
    values = np.repeat(np.concatenate((healthy(50), faulty(10))), 2, axis=0)
    stream = readings(
        values, names, seconds=np.repeat(np.arange(60), 2).tolist(), offsets=np.repeat(np.arange(60), 2).tolist()
    )
    changes = changes_of(one, stream)
    assert len({change.alert.id for change in changes}) == 2


def test_a_device_without_history_learns_its_own_level() -> None:
    one = fleet(bundle(tuning=Tuning(warm_up=16)))
    assert changes_of(one, readings(healthy(300) + 2.5)) == []  # half a threshold off in both channels


def test_a_page_that_was_changed_is_refused() -> None:
    one = fleet()
    one.observe(readings(healthy(20)))
    page = bytearray(one.pages()[0])
    page[-5] ^= 1
    with pytest.raises(StateUnreadable, match="damaged"):
        fleet().load({0: bytes(page)})


def test_a_page_that_names_one_column_twice_and_lacks_another_is_refused() -> None:
    one = fleet()
    one.observe(readings(healthy(20)))
    page = one.pages()[0]
    sizes = np.frombuffer(page, "<u4", 3, len(MAGIC) + 4).copy()
    start = len(MAGIC) + 16
    header, body = page[start : start + int(sizes[1])], page[start + int(sizes[1]) :]
    header = header.replace(b'"last_seen_at"', b'"opened_at"')
    sizes[1] = len(header)
    checked = sizes.tobytes() + header + body
    with pytest.raises(StateUnreadable, match="other columns"):
        fleet().load({0: MAGIC + zlib.crc32(checked).to_bytes(4, "little") + checked})


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_a_broken_page_is_refused_by_name(data: st.DataObject) -> None:
    one = fleet()
    one.observe(readings(healthy(5)))
    page = one.pages()[0]
    mangled = data.draw(
        st.one_of(
            st.binary(max_size=200),
            st.integers(0, len(page) - 1).map(lambda n: page[:n]),
            st.binary(min_size=1, max_size=20).map(lambda more: page + more),
        )
    )
    with pytest.raises(StateUnreadable):
        fleet().load({0: mangled})


def test_only_changed_pages_are_written() -> None:
    one = fleet()
    names = [f"pump-{n}" for n in range(PAGE + 10)]
    one.observe(readings(np.zeros((len(names), 2)), names, seconds=[0] * len(names)))
    one.devices.settle()
    one.observe(readings(healthy(1), names[-1], seconds=[9]))
    assert sorted(one.pages()) == [1]


def test_an_alert_whose_device_is_forgotten_is_closed() -> None:
    one = fleet()
    one.observe(readings(np.r_[healthy(20), faulty(6)]))
    assert one.evict(0) == 1
    [change] = one.changes()
    assert (change.alert.status, change.alert.close_reason) == (Status.CLOSED, Reason.EVICTED)
    assert change.events == ("opened", "closed")


def test_of_devices_last_seen_together_the_one_that_said_least_is_forgotten() -> None:
    """A stream of mistyped names drives none out that goes on."""
    one = fleet()
    one.observe(readings(healthy(3), ["pump-1", "pump-1", "typo"], seconds=[0, 1, 1]))
    one.evict(1)
    assert one.devices.ids == ["pump-1"]
    one.observe(readings(healthy(2), ["typo-2", "pump-1"], seconds=[2, 3], first=3))
    one.observe(readings(healthy(1), ["typo-3"], seconds=[4], first=5))
    one.evict(1)
    assert one.devices.ids == ["typo-3"]  # time comes first


def test_another_bundle_takes_over_without_a_blind_spell_or_an_alert() -> None:
    one = fleet()
    one.observe(readings(healthy(100)))
    new = one.under(bundle(seed=5))
    seen = new.observe(readings(healthy(50, seed=3), first=100))
    assert seen.count(Outcome.SCORED) == 50
    assert new.changes() == []


@pytest.mark.parametrize("drift", [0.0, 6.0, -40.0])
@pytest.mark.parametrize("learnt", [False, True])
def test_a_device_that_has_drifted_is_taken_over_whether_the_new_bundle_knows_it_or_not(
    drift: float, learnt: bool
) -> None:
    """It got used to another level: the bundle was learnt from that one, or from the same history as the one before."""
    ramp = np.linspace(0, drift, 12_000)[:, None]
    one = fleet()
    assert changes_of(one, readings(healthy(12_000) + ramp)) == []
    other = bundle(seed=5)
    level = np.float32(drift if learnt else 0)
    new = one.under(replace(other, profiles=replace(other.profiles, mean=other.profiles.mean + level)))
    seen = new.observe(readings(healthy(600, seed=3) + drift, first=12_000))
    assert seen.count(Outcome.SCORED) == 600
    assert new.changes() == []
    assert not seen.alarmed.any()


@pytest.mark.parametrize(("drift", "times"), [(0.0, 1), (6.0, 2)])
def test_only_a_habit_that_matters_is_held_against_what_another_bundle_knows(
    drift: float, times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Devices are warmed once, and a second time where they had drifted to what the other bundle was learnt from."""
    ramp = np.linspace(0, drift, 12_000)[:, None]
    one = fleet()
    one.observe(readings(healthy(12_000) + ramp))
    warmed = list[int]()
    warm = Fleet._warm

    def noted(new: Fleet, slots: Integers, level: Floats) -> None:
        warmed.append(len(slots))
        warm(new, slots, level)

    monkeypatch.setattr(Fleet, "_warm", noted)
    for seed in range(8):
        warmed.clear()
        other = bundle(seed=seed)
        one.under(replace(other, profiles=replace(other.profiles, mean=other.profiles.mean + np.float32(drift))))
        assert sum(warmed) == times


def test_an_alarm_goes_on_under_another_bundle_while_its_fault_does() -> None:
    one = fleet()
    one.observe(readings(np.concatenate((healthy(50), faulty(10)))))
    new = one.under(bundle(seed=5))
    seen = new.observe(readings(faulty(300), first=60))
    assert seen.alarmed.all()
    assert new.changes()[0].alert.status is Status.OPEN


def test_an_alert_names_the_bundle_that_scored_its_last_reading_whenever_it_is_committed() -> None:
    one = fleet()
    one.observe(readings(np.concatenate((healthy(50), faulty(10)))))
    one.settle()
    one.observe(readings(faulty(1), first=60))
    [change] = one.under(bundle(seed=5)).changes()
    assert change.alert.model_id == one.bundle.id


def test_an_open_episode_goes_on_under_another_bundle() -> None:
    one = fleet()
    [opened] = changes_of(one, readings(np.concatenate((healthy(50), faulty(10)))))
    one.settle()
    new = one.under(bundle(seed=5))
    [closed] = changes_of(new, readings(healthy(60, seed=1), first=60))
    assert closed.alert.id == opened.alert.id
    assert closed.events[-1] == "closed"
    assert not closed.is_new


def test_a_glimpse_of_a_page_shows_a_device_s_last_readings_without_its_bundle() -> None:
    one, values = fleet(), np.concatenate((healthy(50), faulty(6)))
    seen = one.observe(readings(values, ["pump-1", "pump-2"] * 28))
    [page] = one.pages().values()
    mine = np.arange(1, 56, 2)
    found = glimpse(0, page, "pump-2")
    assert found is not None
    np.testing.assert_array_equal(found.observed, values[mine].astype(np.float32))
    np.testing.assert_array_equal(found.ratio, (seen.score / seen.limit)[mine])
    assert (len(found.at), found.expected.shape) == (28, (28, 2))
    assert glimpse(0, page, "pump-3") is None
    assert [has_device(0, page[:4_096], name) for name in ("pump-1", "pump-3")] == [True, False]
    assert has_device(0, page[:100], "pump-1") is None
