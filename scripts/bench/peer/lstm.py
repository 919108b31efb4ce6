"""The daemon's LSTM as anybody would step it: one torch call a reading. Used by `plain`, `quix` and `faust`.

The state after it and nothing else: no score, no threshold, no alert, so a peer does less than the daemon.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from sensord.model.bundle import NETWORK

PARAMETERS = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
State = tuple[Tensor, Tensor]  # h and c, (1, hidden) each


class Lstm:
    """Weights out of a bundle."""

    def __init__(self, weights: Path) -> None:
        torch.set_num_threads(1)  # a row of 32 is not worth a thread
        tensors = load_file(weights)
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
