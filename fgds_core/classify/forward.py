"""How a network that learns is computed: in which numbers, in which layout, compiled or not."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from fgds_core.classify.config import Precision
from fgds_core.classify.network import Classifier, may_be_channels_last
from fgds_core.classify.run import TrainingRun
from fgds_core.errors import InputError


def autocast(precision: Precision, device: torch.device) -> AbstractContextManager[object]:
    """Has the operations inside compute in these numbers where that is safe.

    Raises:
        InputError: The device cannot.

    Source: Micikevicius et al. (2018), Mixed Precision Training, https://arxiv.org/abs/1710.03740
    """
    if precision == "float32":
        return nullcontext()
    try:
        return torch.autocast(device.type, getattr(torch, precision))
    except RuntimeError as error:
        raise InputError(
            f"train_baseline.precision: {device.type} cannot compute in {precision} ({error}); "
            "set it to float32"
        ) from error


class Forward:
    """A classifier's pass forward while it learns; what it is saved as stays what it was."""

    def __init__(self, classifier: Classifier, precision: Precision, run: TrainingRun) -> None:
        """Lays the weights out in memory; compiles nothing yet.

        Args:
            classifier: The classifier, on the device where it computes.
            precision: Numbers that its network computes in.
            run: Says whether to compile, and which layout is wanted.
        """
        self.precision, self.device = precision, torch.device(run.device)
        self.channels_last = run.channels_last and (
            self.device.type != "cpu" or may_be_channels_last(classifier.network)
        )
        if self.channels_last:
            classifier.network.to(memory_format=torch.channels_last)
        self.compiled = run.compile
        self.classifier: Callable[[Tensor], Tensor] = (
            torch.compile(classifier) if run.compile else classifier
        )

    def __call__(self, x: Tensor) -> Tensor:
        """Logits in float32, [B, K], of images in [-1, 1], [B, C, H, W].

        Raises:
            InputError: The network cannot be compiled, or the device cannot compute so.
        """
        if not self.compiled:
            return self.through(self.classifier, x)
        from torch._dynamo.exc import TorchDynamoException

        try:
            return self.through(self.classifier, x)
        except TorchDynamoException as error:
            cause = " ".join(str(error).split())[:300]
            raise InputError(
                f"compute.compile: the network cannot be compiled here ({cause}); set it to false"
            ) from error

    def through(self, network: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        """The same through another network, which is not compiled."""
        if self.channels_last:
            x = x.contiguous(memory_format=torch.channels_last)
        with autocast(self.precision, self.device):
            return network(x).float()
