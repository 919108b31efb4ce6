"""The textbook's first exercise: forecast a sine wave. Used by `cli`.

Each cell learns to say the next reading of sines with a random phase. Then it hears `HEARD` readings of one and goes
on alone, each forecast its next reading.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from sensord.model.network import Network, NetworkShape
from sensord.readings import Floats

PERIOD = 40.0  # readings
HEARD, ALONE = 80, 120  # readings
BATCH, LENGTH = 16, 80
LEARNING_RATE = 5e-3
EVERY = 100  # steps between two losses that are reported
HIDDEN = 32

Report = Callable[[str, int, int], None]  # (stage, done, of)


@dataclass(frozen=True, slots=True, eq=False)
class Forecast:
    """What one cell made of the sine.

    losses: step -> mean squared error of the next reading, every `EVERY` steps. predicted (HEARD + ALONE - 1,): of the
    second reading and all after. error: root mean square of the part that it went alone.
    """

    losses: Mapping[int, float]
    predicted: Floats
    error: float


def truth() -> Floats:
    """The sine that is forecast in the end: (HEARD + ALONE,)."""
    return np.asarray(np.sin(2 * np.pi * np.arange(HEARD + ALONE) / PERIOD), np.float32)


def compare_sine(
    cells: Sequence[str], steps: int, seed: int, report: Report = lambda stage, done, of: None
) -> dict[str, Forecast]:
    """Fit every cell and let it forecast."""
    torch.set_num_threads(1)  # a fixed number, or the same seed gives other weights
    return {cell: _forecast(cell, steps, seed, partial(report, cell)) for cell in cells}


def _forecast(cell: str, steps: int, seed: int, report: Callable[[int, int], None]) -> Forecast:
    torch.manual_seed(seed)
    network, readout = Network(NetworkShape(1, HIDDEN, cell)), nn.Linear(HIDDEN, 1)
    learnt = [*network.parameters(), *readout.parameters()]
    optimizer = torch.optim.Adam(learnt, LEARNING_RATE)
    losses = {}
    for step in range(1, steps + 1):
        phase = 2 * torch.pi * torch.rand(BATCH, 1)
        waves = torch.sin(phase + 2 * torch.pi * torch.arange(LENGTH + 1) / PERIOD)[:, :, None]  # (batch, time, 1)
        hidden, _ = network.run(waves[:, :-1], network.initial(BATCH))
        loss = nn.functional.mse_loss(readout(hidden), waves[:, 1:])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch's own stub is untyped
        nn.utils.clip_grad_norm_(learnt, 1.0)
        optimizer.step()
        if step % EVERY == 0 or step == steps:
            losses[step] = loss.item()
        report(step, steps)
    predicted = _go_on(network.eval(), readout)
    error = predicted[HEARD - 1 :] - truth()[HEARD:]
    return Forecast(losses, predicted, float(np.sqrt(np.mean(error**2))))


@torch.inference_mode()
def _go_on(network: Network, readout: nn.Linear) -> Floats:
    heard = torch.from_numpy(truth()[:HEARD])[None, :, None]  # (1, HEARD, 1)
    hidden, state = network.run(heard, network.initial(1))
    predicted: list[Tensor] = list(readout(hidden)[0])
    for _ in range(ALONE - 1):
        state = network.cell.step(predicted[-1][None], state)
        predicted += list(readout(network.cell.hidden(state)))
    return np.asarray(torch.cat(predicted).numpy(), np.float32)
