"""The daemon's LSTM as anybody would step it: one torch call a reading. Used by all peers but River.

`Lstm` is the state after it and nothing else: no score, no threshold, no alert, so a peer does less than the daemon.
`Detector` is the least that finds anything: it also asks the head what it expected, and how far that is off.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from sensord.model.bundle import NETWORK

PARAMETERS = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
ONE = torch.ones(1, 1)
State = tuple[Tensor, Tensor]  # h and c, (1, hidden) each


class Lstm:
    """Weights out of a bundle."""

    def __init__(self, weights: Path) -> None:
        torch.set_num_threads(1)  # a row of 32 is not worth a thread
        self._tensors = tensors = load_file(weights)
        self._parameters = [tensors[f"{NETWORK}cell.lstm.{name}"] for name in PARAMETERS]
        self._hidden = self._parameters[1].shape[1]

    def fresh(self) -> State:
        """Of a device never seen."""
        return torch.zeros(1, self._hidden), torch.zeros(1, self._hidden)

    @torch.inference_mode()
    def step(self, values: Mapping[str, float], state: State) -> State:
        """The state after a reading."""
        h, c = torch.lstm_cell(torch.tensor([list(values.values())]), state, *self._parameters)
        return h, c

    def step_bytes(self, values: Mapping[str, float], stored: bytes | None) -> bytes:
        """The same, of a state as stores keep it."""
        state = self.fresh() if stored is None else self._parsed(stored)
        return torch.cat(self.step(values, state)).numpy().tobytes()

    def _parsed(self, stored: bytes) -> State:
        h, c = torch.frombuffer(bytearray(stored), dtype=torch.float32).view(2, 1, self._hidden)
        return h, c


class Detector(Lstm):
    """Weights out of a bundle, with the head and the norms of a device that it has no profile of."""

    def __init__(self, weights: Path) -> None:
        super().__init__(weights)
        norms = ("head", "mean", "scale", "threshold")
        self._head, self._mean, self._scale, self._threshold = (self._tensors[f"profiles.{name}"][0] for name in norms)

    @torch.inference_mode()
    def score(self, values: Mapping[str, float], state: State, expected: Tensor) -> tuple[State, Tensor, bool]:
        """The state after a reading, what is expected next, (1, channels), and whether this one was far off."""
        x = (torch.tensor([list(values.values())]) - self._mean) / self._scale
        h, c = torch.lstm_cell(x, state, *self._parameters)
        strange = (x - expected).square().sum().sqrt() > self._threshold
        return (h, c), torch.nn.functional.linear(torch.cat((h, x, ONE), dim=1), self._head), bool(strange)

    def unexpecting(self) -> Tensor:
        """Of a device never seen."""
        return torch.zeros(1, len(self._mean))
