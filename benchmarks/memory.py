"""What a guided step keeps in memory, counted on the generators of docs/generators.md.

    python -m benchmarks.memory         # a minute; no weights are loaded, nothing is computed

A gradient needs the tensors that the forward has saved for it. They are counted by torch's own
hooks on fake tensors: those of the conditional half of the denoising network for every image of a
batch, those of decoder and classifier for every image of a micro-batch. Workspaces of kernels and
what an allocator wastes come on top.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from benchmarks.networks import REAL, classifier
from benchmarks.weights import GENERATORS


@dataclass(frozen=True)
class Asked:
    """How a denoising network is asked for one image.

    Attributes:
        latent: Latents a side.
        text: Width of the text embedding; None takes none.
        told: Shapes of what else it is told.
    """

    latent: int
    text: int | None
    told: dict[str, tuple[int, ...]]

    def __call__(self, network: nn.Module, z: Tensor) -> Tensor:
        """The network's answer for a latent [1, 4, h, w]."""
        told: dict[str, Any] = {name: torch.zeros(shape) for name, shape in self.told.items()}
        if {"text_embeds", "image_embeds"} & set(told):
            told = {"added_cond_kwargs": told}
        tokens = None if self.text is None else torch.zeros(1, 77, self.text)
        answer: Tensor = network(
            z, torch.tensor([10]), encoder_hidden_states=tokens, **told
        ).sample
        return answer


KANDINSKY = "Kandinsky 2.2 (text: with the prior)"

ASKED = {
    "SD 2.1 unCLIP": Asked(64, 1024, {"class_labels": (1, 2048)}),
    "SD 1.5 + IP-Adapter": Asked(64, 768, {}),
    "SDXL + IP-Adapter": Asked(128, 2048, {"text_embeds": (1, 1280), "time_ids": (1, 6)}),
    KANDINSKY: Asked(64, None, {"image_embeds": (1, 1280)}),
}


def saved_bytes(run: Callable[[], object], network: nn.Module) -> int:
    """Bytes that a forward saves for its backward, without the network's weights.

    Args:
        run: The forward.
        network: What it goes through.
    """
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage._cdata] = storage  # held, or another one could get its address
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        result = run()
    own = [*network.parameters(), *network.buffers()]
    weights = {tensor.untyped_storage()._cdata for tensor in own}
    del result
    return sum(storage.nbytes() for at, storage in kept.items() if at not in weights)


@contextmanager
def half_precision() -> Iterator[None]:
    """Makes new tensors bfloat16."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


class Unquantised(nn.Module):
    """A MoVQ as it decodes while it guides."""

    def __init__(self, movq: nn.Module) -> None:
        super().__init__()
        self.movq = movq

    def forward(self, z: Tensor) -> Tensor:
        """From latents to images."""
        x: Tensor = self.movq.decode(z, force_not_quantize=True, return_dict=False)[0]
        return x


def decoders(name: str, latent: int) -> dict[str, tuple[nn.Module, int]]:
    """What makes an image of latents while it guides, and the latents a side it is given."""
    from diffusers import AutoencoderKL, AutoencoderTiny

    if name == KANDINSKY:
        movq = Unquantised(GENERATORS[name]()["vae"])
        return {"exact": (movq, latent), "half": (movq, latent // 2)}
    vae = AutoencoderKL(latent_channels=4, **REAL.vae)
    return {
        "exact": (vae.decoder, latent),
        "half": (vae.decoder, latent // 2),
        "tiny": (AutoencoderTiny(**REAL.tiny).decoder, latent),
    }


def count(name: str) -> dict[str, int]:
    """Bytes that a guided step keeps for an image of one generator, by what keeps them."""
    asked, bytes_of = ASKED[name], {}
    with FakeTensorMode(), half_precision():
        network = GENERATORS[name]()["network"].requires_grad_(False).eval()
        z = torch.zeros(1, 4, asked.latent, asked.latent, requires_grad=True)
        bytes_of["network"] = saved_bytes(lambda: asked(network, z), network)
        for kind, (decoder, side) in decoders(name, asked.latent).items():
            decoder.requires_grad_(False).eval()
            z0 = torch.zeros(1, 4, side, side, requires_grad=True)
            bytes_of[kind] = saved_bytes(partial(decoder, z0), decoder)
    with torch.device("meta"):
        guide = classifier(REAL, torch.device("meta"))
        x = torch.zeros(1, 3, 8 * asked.latent, 8 * asked.latent, requires_grad=True)
        bytes_of["classifier"] = saved_bytes(partial(guide, x), guide)
    return bytes_of


def main() -> None:
    """Prints the table."""
    columns = ("network", "exact", "half", "tiny", "classifier")
    print(f"| GiB an image | {' | '.join(columns)} |")
    print("|---" * (len(columns) + 1) + "|")
    for name in ASKED:
        found = count(name)
        cells = " | ".join(
            f"{found[column] / 2**30:.2f}" if column in found else "-" for column in columns
        )
        print(f"| {name} | {cells} |")


if __name__ == "__main__":
    main()
