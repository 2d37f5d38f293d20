"""Batch normalisation that treats synthetic images apart while a network learns.

Synthetic images differ from real ones in their brightness and contrast, and in traces that no eye
sees. Normalised together, both are learnt from by statistics that are those of neither, and what
is kept for real images at the end is spoilt by synthetic ones. timm has such layers too, but they
split each batch into equal parts by place, and its parts are not equal here.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm

from fgds_core.classify.network import Classifier


def has_batch_norm(model: str, model_kwargs: Mapping[str, Any]) -> bool:
    """Whether a network of timm has batch normalisation; yes for one that timm cannot make."""
    import timm

    try:
        with torch.device("meta"):  # its layers, without their weights
            network = timm.create_model(model, **model_kwargs)
    except Exception:  # timm checks nothing itself; what makes the network says what is wrong
        return True
    return any(isinstance(layer, _BatchNorm) for layer in network.modules())


class SyntheticNorms(nn.Module):
    """Statistics and weights of batch normalisation for synthetic images alone.

    The classifier keeps those of real images in its own layers and stays an ordinary network.

    Source: Xie et al. (2020), AdvProp, https://arxiv.org/abs/1911.09665, there for adversarial
        images.
    """

    def __init__(self, classifier: Classifier) -> None:
        """Starts from what the classifier's layers hold."""
        super().__init__()
        self._names: dict[str, str] = {}
        for layer, module in classifier.named_modules():
            if not isinstance(module, _BatchNorm):
                continue
            for name, parameter in module.named_parameters(recurse=False):
                own = self._named(f"{layer}.{name}")
                start, learns = parameter.detach().clone(), parameter.requires_grad
                self.register_parameter(own, nn.Parameter(start, learns))
            for name, statistic in module.named_buffers(recurse=False):
                self.register_buffer(self._named(f"{layer}.{name}"), statistic.detach().clone())

    def _named(self, name: str) -> str:
        """The name here of a tensor of the classifier: without the dots that none may have."""
        self._names[name] = name.replace(".", "/")
        return self._names[name]

    def forward(self, classifier: Classifier, x: Tensor, synthetic: Tensor) -> Tensor:
        """Logits of a batch, [B, K], each image normalised among those of its own source.

        An image that is alone is normalised by the statistics so far: it has none of its own.

        Args:
            classifier: The one that it was made for, in training mode.
            x: Images in [-1, 1], [B, C, H, W].
            synthetic: Whether each is synthetic, [B].
        """
        own: dict[str, Tensor] = {name: getattr(self, key) for name, key in self._names.items()}
        logits: Tensor | None = None
        for rows, tensors in ((~synthetic, {}), (synthetic, own)):
            images = x[rows]  # [S, C, H, W]
            if not len(images):
                continue
            with _fixed(classifier) if len(images) == 1 else nullcontext():
                some = functional_call(classifier, tensors, (images,))  # [S, K]
            if logits is None:
                logits = some.new_empty(len(x), some.shape[1])
            logits[rows] = some
        assert logits is not None
        return logits


@contextmanager
def _fixed(classifier: Classifier) -> Iterator[None]:
    """Within it the batch normalisation of a classifier takes its statistics as they are."""
    layers = [m for m in classifier.modules() if isinstance(m, _BatchNorm) and m.training]
    for layer in layers:
        layer.eval()
    yield
    for layer in layers:
        layer.train()
