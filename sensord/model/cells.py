"""Recurrent cells behind one state contract; `network` builds its trunk from them.

A cell's state is one flat row of `state_size` floats a device, so that whoever stores it need not know the cell.
"""

from typing import Protocol

import torch
from torch import Tensor, nn

EWMA_LAMBDA = 0.2  # the usual choice for control charts (Montgomery, Statistical Quality Control)


class Cell(Protocol):
    """What a trunk can be made of."""

    state_size: int

    def step(self, x: Tensor, state: Tensor) -> Tensor:
        """One reading: x (batch, channels), state (batch, state_size); returns the state after."""
        ...

    def run(self, xs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """A sequence: xs (batch, time, channels); returns hidden (batch, time, hidden) and the last state."""
        ...

    def hidden(self, state: Tensor) -> Tensor:
        """The part of the state that a head may look at: (batch, hidden)."""
        ...


class LstmCell(nn.Module):
    """Long short-term memory (Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000).

    f_t = sigma(W_f [h, x] + b_f)        what to keep of the cell state
    i_t = sigma(W_i [h, x] + b_i)        what to write
    C~_t = tanh(W_C [h, x] + b_C)        what could be written
    C_t = f_t C_(t-1) + i_t C~_t
    o_t = sigma(W_o [h, x] + b_o)        what to show
    h_t = o_t tanh(C_t)

    The state row is h followed by C. Weights are nn.LSTM's, gates in its order (i, f, C~, o).
    """

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.hidden_size = hidden
        self.state_size = 2 * hidden
        self.lstm = nn.LSTM(channels, hidden, batch_first=True)

    def step(self, x: Tensor, state: Tensor) -> Tensor:
        h, c = torch.lstm_cell(x, self._parts(state), *self.weights)
        return torch.cat((h, c), dim=1)  # (batch, 2 hidden)

    def run(self, xs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        h, c = self._parts(state)
        hs, (h, c) = self.lstm(xs, (h[None].contiguous(), c[None].contiguous()))  # hs (batch, time, hidden)
        return hs, torch.cat((h[0], c[0]), dim=1)

    def hidden(self, state: Tensor) -> Tensor:
        return state[:, : self.hidden_size]

    @property
    def weights(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Input weights, recurrent weights, and their biases; nn.LSTM sets them by name, unseen by the type checker."""
        names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
        x, h, bias_x, bias_h = (self.lstm.get_parameter(name) for name in names)
        return x, h, bias_x, bias_h

    def _parts(self, state: Tensor) -> tuple[Tensor, Tensor]:
        return state[:, : self.hidden_size], state[:, self.hidden_size :]


class EwmaCell(nn.Module):
    """Exponentially weighted moving average (Roberts 1959): h_t = h_(t-1) + lambda (x_t - h_(t-1)); a baseline.

    Nothing in it is fitted. hidden must be the number of channels.
    """

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        if hidden != channels:
            raise ValueError(f"{hidden} hidden units for {channels} channels: each channel has one mean")
        self.state_size = hidden

    def step(self, x: Tensor, state: Tensor) -> Tensor:
        return state + EWMA_LAMBDA * (x - state)

    def run(self, xs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        states = []
        for x in xs.unbind(dim=1):
            state = self.step(x, state)
            states.append(state)
        return torch.stack(states, dim=1), state  # (batch, time, hidden)

    def hidden(self, state: Tensor) -> Tensor:
        return state


CELLS: dict[str, type[LstmCell | EwmaCell]] = {"lstm": LstmCell, "ewma": EwmaCell}
