"""The processes that learn as one: each takes its part of every batch, what they find is added up.

The first process of a team is the training's own: it alone reads images, validates, keeps
checkpoints and reports. The others hear of every batch from it and take the same steps, so that
all have the same weights at any time. In each of them the loss is that of the whole batch, and
only the gradients are parted: whatever a loss looks at, it is what it is in a single process.

B images in a batch, K classes.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from fgds_core.classify.batches import Batch

T = TypeVar("T")


@dataclass(frozen=True)
class Team:
    """The processes of a training, as one of them sees them.

    Attributes:
        rank: Number of this process; 0 leads.
        size: How many there are; one has nobody to talk to.
        device: Where this one computes.
    """

    rank: int = 0
    size: int = 1
    device: str | torch.device = "cpu"

    @property
    def leads(self) -> bool:
        """Whether this is the training's own process."""
        return self.rank == 0

    def part(self, num_images: int) -> slice:
        """The images of a batch that this process takes."""
        return slice(self._start(self.rank, num_images), self._start(self.rank + 1, num_images))

    def whole(self, logits: Tensor, num_images: int) -> Tensor:
        """The logits of a whole batch, of which those of the own part have gradients.

        Args:
            logits: Of the own part, [B / size, K].
            num_images: In the batch, B.

        Returns:
            Those of all parts, [B, K].
        """
        if self.size == 1:
            return logits
        from torch import distributed

        part = self.part(num_images)
        found = logits.new_zeros(num_images, *logits.shape[1:])  # [B, K]
        found[part] = logits.detach()
        distributed.all_reduce(found)  # the others' rows are 0 here
        return torch.cat([found[: part.start], logits, found[part.stop :]])  # [B, K]

    def add_gradients(self, network: nn.Module) -> None:
        """Gives every process the sum of all their gradients.

        A weight that none of them has a gradient of keeps none.
        """
        if self.size == 1:
            return
        from torch import distributed

        weights = [p for p in network.parameters() if p.requires_grad]
        has_one = torch.tensor([float(p.grad is not None) for p in weights]).to(self.device)
        distributed.all_reduce(has_one, distributed.ReduceOp.MAX)
        of = [p for p, one in zip(weights, has_one.tolist(), strict=True) if one]
        grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in of]
        flat = torch.cat([grad.reshape(-1) for grad in grads])
        distributed.all_reduce(flat)
        parts = torch.split(flat, [grad.numel() for grad in grads])
        for p, grad, added in zip(of, grads, parts, strict=True):
            p.grad = grad.copy_(added.view_as(grad))

    def share(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """The leader's batches, in every process; what the others are given is not looked at."""
        if self.size == 1:
            yield from batches
        elif self.leads:
            for batch in batches:
                self._send(batch)
                yield batch
            self.tell(None)
        else:
            while (received := self._received()) is not None:
                yield received

    def tell(self, value: T) -> T:
        """The leader's value, in every process."""
        if self.size == 1:
            return value
        from torch import distributed

        values = [value]
        distributed.broadcast_object_list(values, src=0)
        return values[0]

    def align(self, network: nn.Module) -> None:
        """Gives every process the leader's weights and statistics."""
        if self.size == 1:
            return
        from torch import distributed

        for t in network.state_dict().values():
            distributed.broadcast(t, src=0)

    def sync_batch_norm(self, network: nn.Module) -> nn.Module:
        """The network, its batch norm over all parts where torch has that: not on a CPU."""
        if self.size == 1 or torch.device(self.device).type == "cpu":
            return network
        from timm.layers import convert_sync_batchnorm

        synchronised: nn.Module = convert_sync_batchnorm(network)
        return synchronised

    def reseed(self, seed: int, step: int) -> None:
        """Has dropout leave out other features in each process; the leader's state stays.

        Follows from the step, so that there is nothing to be remembered.
        """
        if not self.leads:
            drawn = np.random.SeedSequence((seed, step, self.rank)).generate_state(1, np.uint64)
            torch.manual_seed(int(drawn[0]))

    def _start(self, rank: int, num_images: int) -> int:
        return rank * num_images // self.size

    def _send(self, batch: Batch) -> None:
        from torch import distributed

        x = batch.x.contiguous()
        about = batch.showing(torch.empty(0)).map(Tensor.cpu)
        self.tell((about, tuple(x.shape), x.dtype))
        distributed.broadcast(x, src=0)

    def _received(self) -> Batch | None:
        from torch import distributed

        told: tuple[Batch, tuple[int, ...], torch.dtype] | None = self.tell(None)
        if told is None:
            return None
        about, shape, dtype = told
        x = torch.empty(shape, dtype=dtype, device=self.device)
        distributed.broadcast(x, src=0)
        return about.map(lambda t: t.to(self.device)).showing(x)


ALONE = Team()
"""A training of one process."""
