"""The real training images that a generator learns from, as the denoiser sees them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from fgds_core.diffusion.noise import stream
from fgds_core.generators.model import Generator
from fgds_core.images.dataset import ImageDataset
from fgds_core.images.pixels import from_uint8

KEPT_BYTES = 256 * 2**20
"""What latents and embeddings may take together; of more images each batch is encoded anew."""

ENOUGH = 5
"""Images of a class from which on at least one is held out."""


def split(labels: Sequence[int], share: float, seed: int) -> tuple[list[int], list[int]]:
    """Which training images are learnt from, and which are held out.

    Args:
        labels: Class of each image.
        share: Of a class's images that is held out; of one with `ENOUGH` at least one is.
        seed: Of the run.

    Returns:
        Places of those that are learnt from, and of the others.
    """
    of_class: dict[int, list[int]] = {}
    for place, label in enumerate(labels):
        of_class.setdefault(label, []).append(place)
    held: list[int] = []
    for label, places in sorted(of_class.items()):
        number = max(round(share * len(places)), 1 if len(places) >= ENOUGH else 0)
        order = torch.randperm(len(places), generator=stream(seed, f"held out {label}"))
        held += [places[i] for i in order[: min(number, len(places) - 1)].tolist()]
    kept = set(held)
    return [place for place in range(len(labels)) if place not in kept], sorted(held)


def captions(prompts: Sequence[str], class_name: str, group: str | None) -> list[str]:
    """What an image may be called: the prompts that synthesize draws one from.

    Args:
        prompts: The templates.
        class_name: Of the image.
        group: Of the image; None for data without groups.
    """
    spoken = class_name.replace("_", " ")
    named = {"class": spoken, "group": (group or "").replace("_", " ")}
    return [prompt.format(**named) for prompt in prompts]


@dataclass(frozen=True, eq=False)
class Encoded:
    """Images as a generator sees them.

    Attributes:
        z0: Latents, as noise is put on them, [B, C, h, w].
        embeddings: Of the vision tower, [B, D]; None where the generator takes no images.
    """

    z0: Tensor
    embeddings: Tensor | None


class Encoder:
    """Encodes real images, each once where all of them fit into `KEPT_BYTES`.

    They are encoded in the same batches either way, so that a training that goes on after it was
    stopped sees the same numbers.
    """

    def __init__(
        self,
        generator: Generator,
        images: ImageDataset,
        batch_size: int,
        heard: Callable[[str], None] = lambda text: None,
    ) -> None:
        """Encodes the images.

        Args:
            generator: Its encoder and vision tower.
            images: The images.
            batch_size: At a time.
            heard: Is told what goes on.
        """
        self._generator = generator
        self._images = images
        self._kept: Encoded | None = None
        some = self._encode(range(min(len(images), 1)))
        wide = some.z0.nbytes + (0 if some.embeddings is None else some.embeddings.nbytes)
        if len(images) * wide <= KEPT_BYTES:
            heard(f"encoding {len(images):,} training images")
            places = range(len(images))
            self._kept = _joined(
                [self._encode(places[i : i + batch_size]) for i in places[::batch_size]]
            )

    def pixels(self, places: Sequence[int]) -> Tensor:
        """The images at the size that the generator draws, in [-1, 1], [B, 3, H, W]."""
        generator = self._generator
        x = from_uint8(self._images.__getitems__(places)).to(generator.device)
        _, height, width = generator.latent_shape
        size = (height * generator.latent_scale, width * generator.latent_scale)
        if x.shape[-2:] != size:
            x = F.interpolate(x, size, mode="bicubic", antialias=True).clamp(-1, 1)
        return x

    def __call__(self, places: Sequence[int]) -> Encoded:
        """The images at some places, as the generator sees them."""
        if self._kept is None:
            return self._encode(places)
        which = torch.as_tensor(places)
        of = self._kept.embeddings
        device = self._generator.device
        return Encoded(
            self._kept.z0[which].to(device), None if of is None else of[which].to(device)
        )

    @torch.no_grad()
    def _encode(self, places: Sequence[int]) -> Encoded:
        generator = self._generator
        z0 = encode(generator, self.pixels(places))
        embeddings = None
        if generator.takes_images:
            embeddings = generator.embed_images(from_uint8(self._images.__getitems__(places)))
        return Encoded(z0, embeddings)


def encode(generator: Generator, x: Tensor) -> Tensor:
    """The latents of images, which `Generator.decode` takes back to them, [B, C, h, w]."""
    vae = generator.decoder
    config = vae.config
    z: Tensor = vae.encode(x.to(vae.dtype)).latent_dist.mode()
    mean, std = getattr(config, "latents_mean", None), getattr(config, "latents_std", None)
    z = z - (getattr(config, "shift_factor", None) or 0.0)
    if mean is not None and std is not None:
        z = (z - z.new_tensor(mean).view(-1, 1, 1)) / z.new_tensor(std).view(-1, 1, 1)
    z = z * config.scaling_factor
    return z


def _joined(several: Sequence[Encoded]) -> Encoded:
    embeddings = [each.embeddings for each in several if each.embeddings is not None]
    return Encoded(
        torch.cat([each.z0 for each in several]).cpu(),
        torch.cat(embeddings).cpu() if embeddings else None,
    )
