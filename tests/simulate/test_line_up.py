"""Promises of the line-ups: what is normal was decided long before, and nothing of the moment gives a fault away."""

import numpy as np
import pytest

from sensord.simulate import CHANNELS, FaultKind, FleetPlan, Simulation, simulate
from sensord.simulate.line_up import SHIFT_BAR

PRESSURE = [channel.name for channel in CHANNELS].index("pressure")
PLAN = FleetPlan(devices=8, readings=6_000, healthy_readings=3_000, faults=10, seed=3, line_ups=True)


@pytest.fixture(scope="module")
def fleet() -> Simulation:
    return simulate(PLAN)


@pytest.fixture(scope="module")
def healthy() -> Simulation:
    return simulate(FleetPlan(devices=8, readings=6_000, healthy_readings=3_000, faults=0, seed=3, line_ups=True))


def test_a_wrong_line_up_turns_the_pressure_s_shift_around_and_nothing_else(
    fleet: Simulation, healthy: Simulation
) -> None:
    changed = fleet.values - healthy.values
    assert {fault.kind for fault in fleet.truth} == {FaultKind.WRONG_LINE_UP}
    assert len(fleet.truth) == 10
    assert all(fault.start_at > fleet.live_at for fault in fleet.truth)
    for fault in fleet.truth:
        machine = fleet.device_ids.index(fault.device_id)
        rows = (fleet.at[:, machine] >= fault.start_at) & (fleet.at[:, machine] <= fault.end_at)
        np.testing.assert_allclose(np.abs(changed[rows, machine, PRESSURE]), 2 * SHIFT_BAR, rtol=0.05)
        changed[rows, machine] = 0
    assert not changed.any()


def test_a_run_that_the_recording_cuts_short_gets_no_fault() -> None:
    every = simulate(FleetPlan(readings=6_000, healthy_readings=4_000, line_ups=True))
    assert all(fault.start_at < fault.end_at for fault in every.truth)


def test_without_line_ups_no_such_fault_is_planted() -> None:
    plan = FleetPlan(devices=8, readings=6_000, healthy_readings=3_000, faults=8, seed=3)
    assert FaultKind.WRONG_LINE_UP not in {fault.kind for fault in simulate(plan).truth}


def test_more_wrong_line_ups_than_runs_at_high_speed_are_refused() -> None:
    with pytest.raises(ValueError, match="runs at high speed"):
        simulate(FleetPlan(devices=1, readings=1_000, healthy_readings=500, faults=50, line_ups=True))
