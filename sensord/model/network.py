"""The trunk that turns a device's readings into a recurrent state; fitted by `trainer`, stepped by `detection`."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from sensord.model.cells import CELLS, FIXED_CELLS, Cell
from sensord.readings import Floats

INPUT_LIMIT = 10.0  # standardised inputs are clipped here, so that one spike can't saturate the state
WAVE = 256  # rows of every step: a score depends on the batch size in its last bits, so there is one size only


@dataclass(frozen=True, slots=True)
class NetworkShape:
    """Dimensions of a network."""

    channels: int
    hidden: int = 32
    cell: str = "lstm"


class Network(nn.Module):
    """Recurrent trunk.

    Scaled readings in, recurrent state out. What the state says about the next reading is the closed-form head's
    business (`detection.head`), which can't follow a fault as a free neural head does.
    """

    def __init__(self, shape: NetworkShape) -> None:
        super().__init__()
        self.shape = shape
        self.cell: Cell = {**CELLS, **FIXED_CELLS}[shape.cell](shape.channels, shape.hidden)

    @property
    def state_size(self) -> int:
        return self.cell.state_size

    def initial(self, batch: int) -> Tensor:
        """The state of a device never seen: (batch, state_size)."""
        return torch.zeros(batch, self.state_size)

    def run(self, xs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """xs (batch, time, channels), scaled; returns hidden (batch, time, hidden) and the last state."""
        return self.cell.run(xs.clamp(-INPUT_LIMIT, INPUT_LIMIT), state)


class Stepper:
    """A network behind arrays, stepped by torch in waves of exactly `WAVE` rows; for a GPU.

    Padded to one size, a row's result is bit-identical whatever shares its wave; a replay depends on that.
    """

    def __init__(self, network: Network, device: str = "cpu") -> None:
        self.network = network.eval().to(device)
        self.shape = network.shape
        self.state_size = network.state_size
        self._device = device
        self._x = torch.zeros(WAVE, self.shape.channels)
        self._state = torch.zeros(WAVE, self.state_size)

    @torch.inference_mode()
    def step(self, x: Floats, state: Floats) -> Floats:
        """x (n, channels) scaled, state (n, state_size), n <= WAVE; returns the states after, (n, state_size)."""
        n = len(x)
        self._x[:n] = torch.from_numpy(x)
        self._state[:n] = torch.from_numpy(state)
        after = self.network.cell.step(self._x.to(self._device), self._state.to(self._device))
        return np.asarray(after[:n].cpu().numpy(), np.float32)
