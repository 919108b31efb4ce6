"""Promises of the line-ups: what is normal was decided long before, and nothing of the moment gives a fault away."""

import numpy as np
import pytest

from sensord.simulate import CHANNELS, FaultKind, FleetPlan, Simulation, simulate
from sensord.simulate.line_up import GAP, SWING_BAR, SWINGS

PRESSURE = [channel.name for channel in CHANNELS].index("pressure")
FLOW = [channel.name for channel in CHANNELS].index("flow")
PLAN = FleetPlan(devices=8, readings=6_000, healthy_readings=3_000, faults=10, seed=3, line_ups=True)


@pytest.fixture(scope="module")
def fleet() -> Simulation:
    return simulate(PLAN)


@pytest.fixture(scope="module")
def healthy() -> Simulation:
    return simulate(FleetPlan(devices=8, readings=6_000, healthy_readings=3_000, faults=0, seed=3, line_ups=True))


def test_a_wrong_line_up_turns_its_swings_around_and_nothing_else(fleet: Simulation, healthy: Simulation) -> None:
    changed = fleet.values - healthy.values
    assert {fault.kind for fault in fleet.truth} == {FaultKind.WRONG_LINE_UP}
    assert len(fleet.truth) == 10
    assert all(fault.start_at > fleet.live_at for fault in fleet.truth)
    for fault in fleet.truth:
        machine = fleet.device_ids.index(fault.device_id)
        rows = (fleet.at[:, machine] >= fault.start_at) & (fleet.at[:, machine] <= fault.end_at)
        turned = np.flatnonzero(changed[rows, machine, PRESSURE])
        assert len(turned) == SWINGS
        assert np.diff(turned).min() > GAP[0]  # each answers a stroke of its own
        np.testing.assert_allclose(np.abs(changed[rows, machine, PRESSURE][turned]), 2 * SWING_BAR, rtol=0.1)
        changed[rows, machine, PRESSURE] = 0
    assert not changed.any()


def test_in_health_the_stroke_s_direction_is_the_swing_s(healthy: Simulation) -> None:
    flow, pressure = healthy.values[:, 0, FLOW], healthy.values[:, 0, PRESSURE]
    level = np.median(pressure)
    swings = np.flatnonzero(np.abs(pressure - level) > SWING_BAR / 2)
    assert len(swings) > 20
    for swing in swings:
        before = flow[max(swing - GAP[1], 0) : swing - GAP[0] + 5] - np.median(flow)
        if len(before) > GAP[1] - GAP[0]:
            stroke = before[np.argmax(np.abs(np.convolve(before, np.ones(4), "same")))]
            assert np.sign(stroke) == np.sign(pressure[swing] - level)


def test_both_mains_are_as_frequent_in_health_as_in_fault(fleet: Simulation) -> None:
    level = np.median(fleet.values[:, :, PRESSURE], axis=0)
    swings = fleet.values[:, :, PRESSURE] - level
    up, down = int((swings > SWING_BAR / 2).sum()), int((swings < -SWING_BAR / 2).sum())
    assert up + down > 150
    assert abs(up - down) < 3 * np.sqrt(up + down)  # a fair coin


def test_without_line_ups_no_such_fault_is_planted() -> None:
    plan = FleetPlan(devices=8, readings=6_000, healthy_readings=3_000, faults=8, seed=3)
    assert FaultKind.WRONG_LINE_UP not in {fault.kind for fault in simulate(plan).truth}


def test_more_wrong_line_ups_than_spells_are_refused() -> None:
    with pytest.raises(ValueError, match="need as many spells of 5 swings"):
        simulate(FleetPlan(devices=1, readings=1_000, healthy_readings=500, faults=50, line_ups=True))
