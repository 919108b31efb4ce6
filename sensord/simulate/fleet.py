"""Plans a fleet of pumps and lets it run; the same plan gives the same readings, byte for byte."""

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from sensord.clock import MICROSECONDS
from sensord.simulate import line_up
from sensord.simulate.duty import Mode, duty_cycle
from sensord.simulate.dynamics import drift
from sensord.simulate.faults import Effects, Fault, Planted, plant, stick
from sensord.simulate.pump import CHANNELS, NAMES, Channel, Machines, Site, run

SETTLING = 1_000  # readings run before the first that is told, so that heat and tank start from a past
DAY_S = 86_400
EARLY_SHIFT = int(datetime(2026, 11, 2, 6, tzinfo=UTC).timestamp()) * MICROSECONDS


@dataclass(frozen=True, slots=True)
class FleetPlan:
    """What to simulate.

    readings: per device, in all; the first healthy_readings of them hold no fault. faults: how many, the six kinds in
    turn. severity scales every fault. start_at: microseconds UTC of the first reading. ambient_trend_c_per_day: how
    fast the season turns, °C a day from the first reading on, so that later days are warmer than history ever was.
    line_ups: valves decide what is normal hundreds of readings later, and all faults are wrong line-ups.
    """

    devices: int = 20
    readings: int = 6_000
    healthy_readings: int = 4_000
    period_s: float = 10.0
    faults: int = 12
    severity: float = 1.0
    seed: int = 1
    start_at: int = EARLY_SHIFT
    ambient_trend_c_per_day: float = 0.0
    line_ups: bool = False

    def __post_init__(self) -> None:
        if self.devices < 1 or self.readings < 1 or self.period_s <= 0 or self.faults < 0 or self.seed < 0:
            raise ValueError("devices, readings and period must be positive, faults and seed not negative")
        if not np.isfinite(self.ambient_trend_c_per_day):
            raise ValueError("the ambient trend must be a finite number")
        if not 0 <= self.healthy_readings <= self.readings:
            raise ValueError(f"healthy readings must lie between 0 and {self.readings}, are {self.healthy_readings}")


@dataclass(frozen=True, slots=True, eq=False)
class Simulation:
    """What the fleet reported, and what was wrong with it.

    at: (readings, devices) microseconds UTC; a device's column rises. values: (readings, devices, channels), rounded
    to each channel's decimals. truth: in order of time.
    """

    plan: FleetPlan
    channels: tuple[Channel, ...]
    device_ids: tuple[str, ...]
    at: NDArray[np.int64]
    values: NDArray[np.float64]
    truth: tuple[Fault, ...]

    def __len__(self) -> int:
        return self.at.size

    @property
    def live_at(self) -> int:
        """Microseconds UTC where the healthy part ends: every device's healthy readings lie before."""
        return self.plan.start_at + round(self.plan.healthy_readings * self.plan.period_s * MICROSECONDS)


def simulate(plan: FleetPlan) -> Simulation:
    """Run the fleet. Raises ValueError when the faults don't fit behind the healthy part."""
    rows = SETTLING + plan.readings
    randoms = [_random(plan.seed, 1, number) for number in range(plan.devices)]
    modes = np.stack([_duty(plan, random, rows) for random in randoms], axis=1)
    machines = Machines.draw(randoms, modes)

    planted, effects = _line_ups(plan, rows) if plan.line_ups else _six_kinds(plan, modes)
    values = run(machines, _site(plan, rows), effects)
    for fault in planted:
        if fault.kind == "sensor_stuck":
            stick(values, NAMES.index(fault.channels[0]), fault)
    for column, channel in enumerate(CHANNELS):
        values[:, :, column] = values[:, :, column].round(channel.decimals) + 0.0  # no minus zero

    device_ids = tuple(f"pump-{number:0{len(str(plan.devices))}d}" for number in range(1, plan.devices + 1))
    at = _stamps(plan, randoms)
    truth = sorted((_told(fault, device_ids, at) for fault in planted), key=lambda fault: fault.start_at)
    return Simulation(plan, CHANNELS, device_ids, at, values[SETTLING:], tuple(truth))


def _duty(plan: FleetPlan, random: np.random.Generator, rows: int) -> NDArray[np.int64]:
    return np.full(rows, Mode.NORMAL) if plan.line_ups else duty_cycle(random, rows)


def _six_kinds(plan: FleetPlan, modes: NDArray[np.int64]) -> tuple[list[Planted], Effects]:
    chance = _random(plan.seed, 2)
    planted = plant(chance, modes, SETTLING + plan.healthy_readings, plan.faults, plan.severity)
    effects = Effects.none(*modes.shape)
    for fault in planted:
        effects.add(fault, chance)
    return planted, effects


def _line_ups(plan: FleetPlan, rows: int) -> tuple[list[Planted], Effects]:
    machines = range(plan.devices)
    found = [each for number in machines for each in line_up.line_ups(_random(plan.seed, 4, number), rows, number)]
    wrong = line_up.plant_wrong(_random(plan.seed, 2), found, SETTLING + plan.healthy_readings, plan.faults)
    effects = Effects.none(rows, plan.devices)
    line_up.add(effects, found, wrong)
    return wrong, effects


def _random(seed: int, *key: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))


def _site(plan: FleetPlan, rows: int) -> Site:
    """A day that is warmest at 15:00, a slow drift and the season's trend upon it, and mains that sag and recover."""
    random = _random(plan.seed, 3)
    since_start = (np.arange(rows) - SETTLING) * plan.period_s
    seconds = plan.start_at / MICROSECONDS + since_start
    season = plan.ambient_trend_c_per_day * (np.maximum(since_start, 0.0) / DAY_S)[:, None]
    day = 4.0 * np.cos(2 * np.pi * (seconds - 15 * 3600) / DAY_S)[:, None]
    ambient = 18.0 + day + 0.8 * drift(random.standard_normal((rows, 1)), 400.0) + season
    return Site(ambient_c=ambient, mains_v=401.0 + 2.0 * drift(random.standard_normal((rows, 1)), 100.0))


def _stamps(plan: FleetPlan, randoms: list[np.random.Generator]) -> NDArray[np.int64]:
    """Each device reads at its own moment within the period, to the millisecond: (readings, devices)."""
    phase_ms = np.array([random.integers(0, max(1, int(plan.period_s * 1_000))) for random in randoms])
    beat = np.round(np.arange(plan.readings) * plan.period_s * MICROSECONDS).astype(np.int64)
    stamps: NDArray[np.int64] = plan.start_at + beat[:, None] + phase_ms[None, :] * 1_000
    return stamps


def _told(fault: Planted, device_ids: tuple[str, ...], at: NDArray[np.int64]) -> Fault:
    first, last = fault.start - SETTLING, fault.stop - 1 - SETTLING
    return Fault(
        device_ids[fault.machine],
        fault.kind,
        int(at[first, fault.machine]),
        int(at[last, fault.machine]),
        fault.channels,
    )
