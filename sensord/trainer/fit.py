"""Fit: weights for the trunk by gradient descent, heads in closed form. Used by `job` and `evaluate`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sensord.detection.scorer import Flags
from sensord.model.network import INPUT_LIMIT, Network, NetworkShape
from sensord.readings import Floats

Wide = NDArray[np.float64]
Progress = Callable[[int, int], None]  # (done, of)


@dataclass(frozen=True, slots=True)
class FitOptions:
    """How the trunk is fitted; lengths in readings."""

    hidden: int = 32
    cell: str = "lstm"
    steps: int = 600
    windows: int = 64
    length: int = 64
    burn_in: int = 8
    learning_rate: float = 1e-2
    weight_decay: float = 1e-4
    clip_norm: float = 1.0
    noise: float = 0.1
    seed: int = 0
    device: str = "cpu"


def fit_trunk(scaled: Sequence[Floats], options: FitOptions, progress: Progress) -> Network:
    """Fit a network to reconstruct readings through a bottleneck, so that its state sums up the recent past.

    scaled: one (time, channels) array a device, finite. The same input and seed give the same weights.
    """
    network = blank_trunk(scaled[0].shape[1], options).to(options.device)
    rng = np.random.default_rng(options.seed)
    optimizer = torch.optim.AdamW(network.parameters(), options.learning_rate, weight_decay=options.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, options.learning_rate, total_steps=options.steps)
    for step in range(options.steps):
        windows = torch.from_numpy(_windows(scaled, options, rng)).to(options.device)
        loss = _loss(network, windows, options)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch's own stub is untyped
        nn.utils.clip_grad_norm_(network.parameters(), options.clip_norm)
        optimizer.step()
        schedule.step()
        progress(step + 1, options.steps)
    return network.eval().to("cpu")


def blank_trunk(channels: int, options: FitOptions) -> Network:
    """The network before its first step; seeds torch."""
    torch.manual_seed(options.seed)
    return Network(NetworkShape(channels, options.hidden, options.cell))


def _windows(scaled: Sequence[Floats], options: FitOptions, rng: np.random.Generator) -> Floats:
    """Windows drawn at random over all devices, long ones oftener: (windows, length, channels)."""
    length = min(options.length, *(len(values) for values in scaled))
    starts = np.array([len(values) - length + 1 for values in scaled])
    bounds = np.cumsum(starts)
    picks = rng.integers(bounds[-1], size=options.windows)
    devices = np.searchsorted(bounds, picks, side="right")
    return np.stack(
        [
            scaled[d][pick - (bounds[d] - starts[d]) :][:length]
            for d, pick in zip(devices.tolist(), picks.tolist(), strict=True)
        ]
    )


def _loss(network: Network, windows: Tensor, options: FitOptions) -> Tensor:
    """Mean squared error of the reconstruction after the burn-in."""
    noisy = windows + options.noise * torch.randn_like(windows)
    hidden, _ = network.run(noisy, network.initial(len(windows)))  # (windows, length, hidden)
    burn_in = min(options.burn_in, windows.shape[1] - 1)
    target = windows[:, burn_in:].clamp(-INPUT_LIMIT, INPUT_LIMIT)
    return nn.functional.mse_loss(network.reconstruct(hidden[:, burn_in:]), target)


@dataclass(slots=True)
class Normal:
    """The normal equations of a ridge regression, which add up over devices."""

    gram: Wide  # (inputs, inputs)
    cross: Wide  # (inputs, channels)

    @classmethod
    def total(cls, equations: "Sequence[Normal]") -> "Normal":
        return cls(np.sum([e.gram for e in equations], axis=0), np.sum([e.cross for e in equations], axis=0))

    def solve(self, ridge: float, inputs: Flags) -> Floats:
        """W of z[t+1] = W [h_t, z_t, 1]: (channels, inputs), 0 for the inputs that may not be used."""
        head = np.zeros(self.cross.shape)
        gram = self.gram[np.ix_(inputs, inputs)]
        head[inputs] = np.linalg.solve(gram + ridge * np.eye(len(gram)), self.cross[inputs])
        return np.ascontiguousarray(head.T, np.float32)


@torch.inference_mode()
def head_equations(network: Network, scaled: Floats) -> Normal:
    """What one device's history, (time, channels) scaled, says about the head."""
    hidden, _ = network.run(torch.from_numpy(scaled)[None], network.initial(1))  # (1, time, hidden)
    seen = np.clip(scaled, -INPUT_LIMIT, INPUT_LIMIT)
    inputs = np.concatenate((hidden[0].numpy(), seen, np.ones((len(seen), 1))), axis=1)[:-1].astype(np.float64)
    return Normal(inputs.T @ inputs, inputs.T @ scaled[1:].astype(np.float64))
