"""A fleet of pumps with planted faults and their ground truth, for the demo, tests and benchmarks."""

from sensord.simulate.faults import Fault, FaultKind
from sensord.simulate.fleet import FleetPlan, Simulation, simulate
from sensord.simulate.pump import CHANNELS, Channel

__all__ = ["CHANNELS", "Channel", "Fault", "FaultKind", "FleetPlan", "Simulation", "simulate"]
