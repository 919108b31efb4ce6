"""The physics of a pump and its sensors: eight channels that hang together and remember.

The right expectation depends on the past: windings and bearings warm and cool with time constants of 50 to 300
readings, and the tank behind the pump fills while it runs, which raises the pressure it works against. Heat and tank
level aren't measured.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from sensord.simulate.duty import Mode
from sensord.simulate.dynamics import Signal, drift, lag
from sensord.simulate.faults import Effects


@dataclass(frozen=True, slots=True)
class Channel:
    """A measured quantity: its unit, the decimals it is reported with, and its sensor's noise (one sigma)."""

    name: str
    unit: str
    decimals: int
    noise: float


CHANNELS = (
    Channel("temperature", "°C", 2, 0.15),
    Channel("vibration", "mm/s", 3, 0.05),
    Channel("current", "A", 2, 0.2),
    Channel("pressure", "bar", 3, 0.05),
    Channel("flow", "m³/h", 2, 0.8),
    Channel("speed", "rpm", 1, 4.0),
    Channel("bearing_temperature", "°C", 2, 0.12),
    Channel("voltage", "V", 1, 0.6),
)
NAMES = tuple(channel.name for channel in CHANNELS)

NOMINAL_RPM = 1450.0
NOMINAL_CURRENT_A = 15.0
SPEED_OF = {Mode.OFF: 0.0, Mode.NORMAL: 1.0, Mode.HIGH: 1.18}  # times nominal


@dataclass(frozen=True, slots=True)
class Site:
    """What all pumps share: (readings, 1) each."""

    ambient_c: Signal
    mains_v: Signal


@dataclass(frozen=True, slots=True)
class Machines:
    """What differs between the pumps (drawn once) and what is random in each reading; columns are machines."""

    modes: NDArray[np.int64]  # (readings, machines)
    trim: Signal  # (1, machines) speed relative to nominal
    size: Signal  # (1, machines) flow at nominal speed, m³/h
    heating: Signal  # (1, machines) winding's rise at nominal load, °C
    winding_tau: Signal  # (1, machines) readings
    gain: Signal  # (1, machines, channels) of the sensors
    offset: Signal  # (1, machines, channels) of the sensors, in sigmas of their noise
    wander: Signal  # (readings, machines) white, becomes the demand's slow drift
    noise: Signal  # (readings, machines, channels) white

    @classmethod
    def draw(cls, randoms: list[np.random.Generator], modes: NDArray[np.int64]) -> Self:
        """One generator a machine, so that a pump doesn't change when the fleet grows. modes: (readings, machines)."""
        readings, channels = len(modes), len(CHANNELS)

        def each(low: float, high: float) -> Signal:
            return np.array([[random.uniform(low, high) for random in randoms]])

        return cls(
            modes=modes,
            trim=each(0.97, 1.03),
            size=each(54.0, 66.0),
            heating=each(34.0, 44.0),
            winding_tau=each(60.0, 90.0),
            gain=np.stack([random.normal(1.0, 0.01, (1, channels)) for random in randoms], axis=1),
            offset=np.stack([random.normal(0.0, 2.0, (1, channels)) for random in randoms], axis=1),
            wander=np.stack([random.standard_normal(readings) for random in randoms], axis=1),
            noise=np.stack([random.standard_normal((readings, channels)) for random in randoms], axis=1),
        )


def run(machines: Machines, site: Site, effects: Effects) -> NDArray[np.float64]:
    """What the sensors report: (readings, machines, channels), not rounded."""
    target = np.choose(machines.modes, [SPEED_OF[mode] for mode in Mode]) * machines.trim
    speed = lag(lag(target, 6.0), 6.0)  # soft start along an S curve, of nominal
    on = np.minimum(1.0, speed / 0.2)  # 0 at rest; what a fault does fades with the speed
    demand = 1.0 + 0.02 * drift(machines.wander, 150.0)

    through = speed * demand  # of nominal, what leaves the pump
    tank = lag(through, 250.0)
    flow = through * (1.0 + on * (effects.flow_gain - 1.0))
    pressure = 0.5 + 0.8 * tank + 5.0 * speed**2 - 1.4 * through**2 + on * effects.pressure_bar

    load = on * 0.4 + 0.6 * speed**3 * (0.5 + 0.5 * demand)  # of nominal
    current = NOMINAL_CURRENT_A * load * (400.0 / site.mains_v) * (1.0 + on * (effects.current_gain - 1.0))
    voltage = site.mains_v - 0.12 * current

    rise = machines.heating * (current / NOMINAL_CURRENT_A) ** 2 * effects.heat_gain
    winding = lag(rise, machines.winding_tau * (1.5 - 0.5 * on))  # the fan stops with the pump
    casing = lag(winding, 200.0)
    temperature = site.ambient_c + 0.7 * winding + 0.3 * casing
    bearing = site.ambient_c + lag(18.0 * speed**1.5 + 0.25 * winding + on * effects.bearing_heat_c, 50.0)

    resonance = 0.5 * np.exp(-(((speed - 0.6) / 0.08) ** 2))  # passed on the way up and down
    vibration = 0.2 + 1.4 * speed**2 + resonance + on * effects.vibration_mm_s

    true = np.stack(
        [
            temperature,
            vibration * (1.0 + 0.04 * machines.noise[:, :, 1]),  # shakes more, scatters more
            current,
            pressure,
            flow * machines.size,
            speed * NOMINAL_RPM,
            bearing,
            voltage,
        ],
        axis=2,
    )
    sigma = np.array([channel.noise for channel in CHANNELS])
    return true * machines.gain + sigma * (machines.offset + machines.noise)
