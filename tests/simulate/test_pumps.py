from dataclasses import replace

import numpy as np
import pytest

from sensord.simulate import CHANNELS, Fault, FaultKind, FleetPlan, Simulation, simulate
from sensord.simulate.faults import IN_TURN

NAMES = [channel.name for channel in CHANNELS]
PLAN = FleetPlan(devices=6, readings=2_400, healthy_readings=1_200, faults=6, seed=3)


@pytest.fixture(scope="module")
def fleet() -> Simulation:
    return simulate(PLAN)


@pytest.fixture(scope="module")
def healthy() -> Simulation:
    return simulate(FleetPlan(devices=6, readings=2_400, healthy_readings=1_200, faults=0, seed=3))


def rows(fleet: Simulation, fault: Fault) -> tuple[slice, int]:
    machine = fleet.device_ids.index(fault.device_id)
    start, last = np.searchsorted(fleet.at[:, machine], [fault.start_at, fault.end_at])
    return slice(int(start), int(last) + 1), machine


def test_the_same_plan_gives_the_same_bytes(fleet: Simulation) -> None:
    again = simulate(PLAN)
    assert again.values.tobytes() == fleet.values.tobytes()
    assert again.at.tobytes() == fleet.at.tobytes()
    assert again.truth == fleet.truth


def test_another_seed_gives_other_readings(fleet: Simulation) -> None:
    other = simulate(FleetPlan(devices=6, readings=2_400, healthy_readings=1_200, faults=6, seed=4))
    assert not np.array_equal(other.values, fleet.values)


def test_all_six_kinds_are_planted_each_on_its_own_pump(fleet: Simulation) -> None:
    assert {fault.kind for fault in fleet.truth} == set(IN_TURN)
    assert len({fault.device_id for fault in fleet.truth}) == 6


def test_no_fault_touches_the_healthy_part(fleet: Simulation, healthy: Simulation) -> None:
    assert np.array_equal(fleet.values[: PLAN.healthy_readings], healthy.values[: PLAN.healthy_readings])
    assert all(fault.start_at > fleet.live_at for fault in fleet.truth)
    assert fleet.at[: PLAN.healthy_readings].max() < fleet.live_at <= fleet.at[PLAN.healthy_readings :].min()


def test_a_pump_without_a_fault_never_changes_with_the_faults_of_others() -> None:
    fewer = FleetPlan(devices=6, readings=2_400, healthy_readings=1_200, faults=2, seed=3)
    some, none = (
        simulate(fewer),
        simulate(FleetPlan(devices=6, readings=2_400, healthy_readings=1_200, faults=0, seed=3)),
    )
    spared = [n for n, name in enumerate(some.device_ids) if name not in {fault.device_id for fault in some.truth}]
    assert len(spared) == 4
    assert np.array_equal(some.values[:, spared], none.values[:, spared])


@pytest.mark.parametrize("kind", IN_TURN)
def test_a_fault_shows_in_its_channels_well_above_the_noise(
    fleet: Simulation, healthy: Simulation, kind: FaultKind
) -> None:
    fault = next(fault for fault in fleet.truth if fault.kind is kind)
    span, machine = rows(fleet, fault)
    change = fleet.values[span, machine] - healthy.values[span, machine]
    for name in fault.channels:
        column = NAMES.index(name)
        apart = np.sqrt(np.mean(change[:, column] ** 2)) / CHANNELS[column].noise
        assert apart > (0.9 if kind is FaultKind.SENSOR_STUCK else 2.0), name


def test_a_stuck_sensor_reports_one_value(fleet: Simulation) -> None:
    fault = next(fault for fault in fleet.truth if fault.kind is FaultKind.SENSOR_STUCK)
    span, machine = rows(fleet, fault)
    column = NAMES.index(fault.channels[0])
    assert np.unique(fleet.values[span, machine, column]).size == 1
    assert fleet.values[span.stop, machine, column] != fleet.values[span.stop - 1, machine, column]


def test_pumps_start_and_stop_and_run_high(fleet: Simulation) -> None:
    speed = fleet.values[:, :, NAMES.index("speed")]
    for machine in range(6):
        off, high = np.mean(speed[:, machine] < 200), np.mean(speed[:, machine] > 1_600)
        assert 0.01 < off < 0.6, machine
        assert 0.01 < high < 0.6, machine


def test_where_the_temperature_goes_depends_on_the_load_long_before(healthy: Simulation) -> None:
    """While a pump runs steadily, the present reading alone tells less about the temperature than with the past."""
    ahead, memory = 20, 150
    gained = []
    for machine in range(6):
        values = healthy.values[:, machine]
        temperature, current, speed = (values[:, NAMES.index(name)] for name in ("temperature", "current", "speed"))
        now = np.arange(memory, len(values) - ahead)
        steady = np.array([np.ptp(speed[row - 30 : row + ahead]) < 40 and speed[row] > 1_000 for row in now])
        now = now[steady]
        past = np.array([current[row - memory : row].mean() for row in now])
        moved = temperature[now + ahead] - temperature[now]
        stateless = np.c_[values[now], np.ones(len(now))]
        misses = [
            np.var(moved - x @ np.linalg.lstsq(x, moved, rcond=None)[0]) for x in (stateless, np.c_[stateless, past])
        ]
        gained.append(1 - misses[1] / misses[0])
    assert min(gained) > 0.05, gained
    assert np.median(gained) > 0.2, gained


def test_an_ambient_trend_warms_the_later_days_and_leaves_the_rest_alone() -> None:
    plan = FleetPlan(devices=2, readings=900, healthy_readings=900, period_s=600, faults=0, seed=3)
    still, warming = simulate(plan), simulate(replace(plan, ambient_trend_c_per_day=2.0))
    temperature = NAMES.index("temperature")
    warmer = warming.values[:, :, temperature] - still.values[:, :, temperature]
    days = np.arange(900) * 600 / 86_400
    np.testing.assert_allclose(warmer, 2.0 * days[:, None] * np.ones(2), rtol=0.05, atol=0.02)
    assert np.array_equal(warming.values[:, :, NAMES.index("flow")], still.values[:, :, NAMES.index("flow")])
    with pytest.raises(ValueError, match="ambient trend"):
        FleetPlan(ambient_trend_c_per_day=float("nan"))


def test_time_rises_by_the_period_and_devices_take_turns(fleet: Simulation) -> None:
    assert np.unique(np.diff(fleet.at, axis=0)).tolist() == [10_000_000]
    assert np.unique(fleet.at[0]).size == 6


def test_too_many_faults_are_refused_with_the_readings_needed() -> None:
    with pytest.raises(ValueError, match="need at least 720 readings after the healthy ones, there are 300"):
        simulate(FleetPlan(devices=2, readings=500, healthy_readings=200, faults=5))
