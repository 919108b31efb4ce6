"""Several processes that fit one trunk together, as torchrun starts them. Used by `fit`, joined by `cli`.

Each fits on devices of its own, and DistributedDataParallel averages their gradients, so that all hold the same weights
at every step. What comes after the fit is the leader's business alone.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import torch
from torch import distributed, nn

from sensord.errors import RankLost


@dataclass(frozen=True, slots=True)
class Ranks:
    """Which of how many processes this one is."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def share(self, devices: int) -> range:
        """The places of this process's own devices; of all where there are fewer devices than processes."""
        return range(self.rank, devices, self.size) if devices >= self.size else range(devices)

    def averaging(self, module: nn.Module) -> nn.Module:
        """The module with its gradients averaged over all processes, and the leader's weights to begin with."""
        return nn.parallel.DistributedDataParallel(module) if self.size > 1 else module

    def together(self) -> AbstractContextManager[None]:
        """Around work that waits for the others. Raises RankLost when one of them is gone."""
        return self._guarded() if self.size > 1 else nullcontext()

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:  # all that gloo and nccl have to say
            cause = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise RankLost(
                f"process {self.rank} of {self.size} can't go on fitting: {cause}; nothing was published. "
                "If another process ended, its own message says why; then start all of them anew"
            ) from error


ALONE = Ranks()


@contextmanager
def joined(device: str) -> Iterator[Ranks]:
    """This process among those that torchrun started with it, by nccl on "cuda", else by gloo; alone without torchrun.

    Waits until all are there. Raises RankLost.
    """
    if not distributed.is_torchelastic_launched():
        yield ALONE
        return
    on_gpu = device == "cuda"
    try:
        if on_gpu:
            torch.cuda.set_device(distributed.get_node_local_rank())
        distributed.init_process_group("nccl" if on_gpu else "gloo")
    except (RuntimeError, ValueError) as error:
        raise RankLost(f"the processes that torchrun started can't work together: {error}") from error
    try:
        yield Ranks(distributed.get_rank(), distributed.get_world_size())
    finally:
        distributed.destroy_process_group()
