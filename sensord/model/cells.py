"""Recurrent cells behind one state contract; `network` builds its trunk from them by name, see `CELLS`.

A cell's state is one flat row of `state_size` floats a device, so that whoever stores it need not know the cell. The
row of zeros is a device never seen; every row that a cell returns is finite if reading and state were.
"""

from collections.abc import Callable, Mapping
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

EWMA_LAMBDA = 0.2  # the usual choice for control charts (Montgomery, Statistical Quality Control)
SPAN = 512  # readings: the longest that a unit holds on to what it has seen, before any training


class Cell(Protocol):
    """What a trunk can be made of; also an nn.Module, unless it has nothing to learn."""

    hidden_size: int
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

    The state row is h followed by C. Weights are nn.LSTM's, gates in its order (i, f, C~, o). Half of the units begin
    with b_f = log u, b_i = -log u, u uniform in 1 .. SPAN - 1 (chrono initialisation, Tallec and Ollivier 2018), so
    that the error of a reading finds its way back to a cause hundreds of readings ago; the others begin with b_f = 1.
    """

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.hidden_size = hidden
        self.state_size = 2 * hidden
        self.lstm = nn.LSTM(channels, hidden, batch_first=True)
        keep = _keep_biases(hidden)
        with torch.no_grad():
            _, _, bias_x, bias_h = parameters(self.lstm)
            bias_x[: 2 * hidden] = torch.cat((-keep, keep))
            bias_h[: 2 * hidden] = 0.0

    def step(self, x: Tensor, state: Tensor) -> Tensor:
        h, c = torch.lstm_cell(x, self._parts(state), *parameters(self.lstm))
        return torch.cat((h, c), dim=1)  # (batch, 2 hidden)

    def run(self, xs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        h, c = self._parts(state)
        hs, (h, c) = self.lstm(xs, (h[None].contiguous(), c[None].contiguous()))  # hs (batch, time, hidden)
        return hs, torch.cat((h[0], c[0]), dim=1)

    def hidden(self, state: Tensor) -> Tensor:
        return state[:, : self.hidden_size]

    def _parts(self, state: Tensor) -> tuple[Tensor, Tensor]:
        return state[:, : self.hidden_size], state[:, self.hidden_size :]


class GruCell(nn.Module):
    """Gated recurrent unit (Cho et al. 2014; the reset gate after the product, as cuDNN and torch have it).

    r_t = sigma(W_r x + U_r h + b_r)              what to read of the past
    z_t = sigma(W_z x + U_z h + b_z)              what to keep
    n_t = tanh(W_n x + b_n + r_t (U_n h + c_n))   what could be written
    h_t = (1 - z_t) n_t + z_t h_(t-1)

    The state row is h. Weights are nn.GRU's, gates in its order (r, z, n). The biases b_z begin as the LSTM's b_f do.
    """

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.hidden_size = self.state_size = hidden
        self.gru = nn.GRU(channels, hidden, batch_first=True)
        with torch.no_grad():
            _, _, bias_x, bias_h = parameters(self.gru)
            bias_x[hidden : 2 * hidden] = _keep_biases(hidden)
            bias_h[hidden : 2 * hidden] = 0.0

    def step(self, x: Tensor, state: Tensor) -> Tensor:
        return torch.gru_cell(x, state, *parameters(self.gru))

    def run(self, xs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        hs, h = self.gru(xs, state[None].contiguous())  # hs (batch, time, hidden)
        return hs, h[0]

    def hidden(self, state: Tensor) -> Tensor:
        return state


class RnnCell(nn.Module):
    """Plain recurrent network (Elman 1990): h_t = tanh(W [h, x] + b).

    The state row is h. Weights are nn.RNN's.
    """

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.hidden_size = self.state_size = hidden
        self.rnn = nn.RNN(channels, hidden, batch_first=True)

    def step(self, x: Tensor, state: Tensor) -> Tensor:
        return torch.rnn_tanh_cell(x, state, *parameters(self.rnn))

    def run(self, xs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        hs, h = self.rnn(xs, state[None].contiguous())  # hs (batch, time, hidden)
        return hs, h[0]

    def hidden(self, state: Tensor) -> Tensor:
        return state


WINDOW = 32  # readings that a transformer's device remembers: this and the ones before
HEADS = 4


class TransformerCell(nn.Module):
    """One block of a transformer (Vaswani et al. 2017) that looks back over the last `WINDOW` readings.

    e_t = W_e x_t + b_e
    q_t, k_t, v_t = W_q e_t, W_k e_t, W_v e_t                                cut into heads of d floats
    a_t = sum_j softmax_j(q_t . k_(t-j) / sqrt(d) + b_j) v_(t-j)             j = 0 .. WINDOW - 1, for each head
    u_t = LayerNorm(e_t + W_o a_t + b_o)
    h_t = LayerNorm(u_t + W_2 relu(W_1 u_t + b_1) + b_2)

    b_j says how much a reading j steps back matters to a head (relative position: Shaw et al. 2018, as in Raffel et
    al. 2020). The state row is h, the window's keys, its values, the newest last, and how many readings it holds;
    empty places get no weight.
    """

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.hidden_size = hidden
        self.state_size = hidden + 2 * WINDOW * hidden + 1
        self.heads = HEADS if hidden % HEADS == 0 else 1
        self.embed = nn.Linear(channels, hidden)
        self.project = nn.Linear(hidden, 3 * hidden, bias=False)
        self.position = nn.Parameter(torch.zeros(self.heads, WINDOW))  # oldest first
        self.merge = nn.Linear(hidden, hidden)
        self.widen = nn.Linear(hidden, 4 * hidden)
        self.narrow = nn.Linear(4 * hidden, hidden)
        self.norm_attended = nn.LayerNorm(hidden)
        self.norm_out = nn.LayerNorm(hidden)

    def step(self, x: Tensor, state: Tensor) -> Tensor:
        return self._attend(x[:, None], state)[1]

    def run(self, xs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        hs = []
        for start in range(0, xs.shape[1], WINDOW):  # far fewer pairs than all with all
            h, state = self._attend(xs[:, start : start + WINDOW], state)
            hs.append(h)
        return torch.cat(hs, dim=1), state

    def hidden(self, state: Tensor) -> Tensor:
        return state[:, : self.hidden_size]

    def _attend(self, xs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """As `run`, all readings at once."""
        time, width = xs.shape[1], WINDOW * self.hidden_size
        kept = state[:, self.hidden_size :]
        embedded = self.embed(xs)  # (batch, time, hidden)
        query, key, value = self.project(embedded).chunk(3, dim=2)
        keys = torch.cat((kept[:, :width].view(len(xs), WINDOW, -1), key), dim=1)  # (batch, WINDOW + time, hidden)
        values = torch.cat((kept[:, width : 2 * width].view(len(xs), WINDOW, -1), value), dim=1)
        count = kept[:, 2 * width :]  # (batch, 1)

        logits = self._by_head(query) @ self._by_head(keys).transpose(2, 3)  # (batch, heads, time, WINDOW + time)
        weights = (logits * (self.hidden_size // self.heads) ** -0.5 + self._bias(time, count)).softmax(dim=3)
        attended = (weights @ self._by_head(values)).transpose(1, 2).flatten(2)  # (batch, time, hidden)
        u = self.norm_attended(embedded + self.merge(attended))
        hs = self.norm_out(u + self.narrow(F.relu(self.widen(u))))

        held = (count + time).clamp(max=WINDOW)
        after = (hs[:, -1], keys[:, -WINDOW:].flatten(1), values[:, -WINDOW:].flatten(1), held)
        return hs, torch.cat(after, dim=1)

    def _bias(self, time: int, count: Tensor) -> Tensor:
        """b_j, minus infinity where a reading mustn't look: (batch, heads, time, WINDOW + time)."""
        row = torch.arange(WINDOW + time, device=count.device)
        place = row - 1 - torch.arange(time, device=count.device)[:, None]  # in the window, oldest first
        outside = (place < 0) | (place >= WINDOW) | (row < WINDOW - count[:, :, None])  # (batch, time, WINDOW + time)
        return self.position[:, place.clamp(0, WINDOW - 1)].masked_fill(outside[:, None], -torch.inf)

    def _by_head(self, rows: Tensor) -> Tensor:
        """(batch, n, hidden) to (batch, heads, n, d)."""
        return rows.view(len(rows), rows.shape[1], self.heads, -1).transpose(1, 2)


class EwmaCell(nn.Module):
    """Exponentially weighted moving average (Roberts 1959): h_t = h_(t-1) + lambda (x_t - h_(t-1)); a baseline.

    Nothing in it is fitted. hidden must be the number of channels.
    """

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        if hidden != channels:
            raise ValueError(f"{hidden} hidden units for {channels} channels: each channel has one mean")
        self.hidden_size = self.state_size = hidden

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


CELLS: Mapping[str, Callable[[int, int], Cell]] = {  # by the name in settings and manifests: (channels, hidden) -> cell
    "lstm": LstmCell,
    "gru": GruCell,
    "rnn": RnnCell,
    "transformer": TransformerCell,
}
FIXED_CELLS: Mapping[str, Callable[[int, int], Cell]] = {"ewma": EwmaCell}  # nothing to fit; for baselines alone


def parameters(layer: nn.RNNBase) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Input weights, recurrent weights, and their biases; torch sets them by name, unseen by the type checker."""
    names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    x, h, bias_x, bias_h = (layer.get_parameter(name) for name in names)
    return x, h, bias_x, bias_h


def _keep_biases(hidden: int) -> Tensor:
    """Biases of the gate that keeps the state: 1 for half of the units, chrono initialisation for the others."""
    chrono = torch.log(1 + (SPAN - 2) * torch.rand(hidden - hidden // 2))
    return torch.cat((torch.ones(hidden // 2), chrono))  # (hidden,)
