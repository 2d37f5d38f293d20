"""What the generator is told of real images: an embedding, perhaps mixed, with holes and noise."""

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from fgds_core.diffusion.noise import randn, stream
from fgds_core.generators.model import Generator, drop_coordinates
from fgds_core.images.dataset import ImageDataset
from fgds_core.images.pixels import from_uint8
from fgds_core.synthesis.embeddings import load_mixture
from fgds_core.synthesis.embeddings.pool import pool_of
from fgds_core.synthesis.request import ImageRequest

if TYPE_CHECKING:
    from fgds_core.diffusion.denoise import Condition
    from fgds_core.synthesis.config import SynthesizeConfig


def embed(
    generator: Generator,
    requests: Sequence[ImageRequest],
    real: ImageDataset,
    config: "SynthesizeConfig",
    batch_size: int,
) -> dict[int, Tensor]:
    """Embeds what conditions the images of a part: a real image each, or a mixture of several.

    Args:
        generator: The generator.
        requests: The images of the part, all of one class.
        real: All real training images.
        config: How embeddings are mixed.
        batch_size: Images at a time.

    Returns:
        Index of an image within its class -> embedding, [D]; nothing where none conditions.
    """
    of_class = torch.nonzero(real.labels == requests[0].label).flatten().tolist()
    own = {r.index: of_class[r.conditioning_id] for r in requests if r.conditioning_id is not None}
    if config.embedding_mix == "none":
        embedded = embed_each_once(generator, real, own.values(), batch_size)
        return {index: embedded[row] for index, row in own.items()}

    mixture, pool = load_mixture(config.embedding_mix), pool_of(real)
    seeds = {request.index: request.seed for request in requests}
    others = {
        index: mixture.choose(row, pool, stream(seeds[index], "embedding mixture"))
        for index, row in own.items()
    }
    embedded = embed_each_once(generator, real, chain(own.values(), *others.values()), batch_size)
    mixed = {}
    for index, row in own.items():
        of_image = torch.stack([embedded[i] for i in (row, *others[index])]).cpu().double()
        rng = stream(seeds[index], "embedding mixture share")
        combined = mixture.combine(of_image[0], of_image[1:], config.embedding_mix_share, rng)
        mixed[index] = combined.to(embedded[row])
    return mixed


def embed_each_once(
    generator: Generator, real: ImageDataset, rows: Iterable[int], batch_size: int
) -> dict[int, Tensor]:
    """Embeds some real images.

    Args:
        generator: The generator.
        real: The real images.
        rows: Those to embed, in any order and as often as they like.
        batch_size: Images at a time.

    Returns:
        Row -> embedding, [D].
    """
    each = sorted(set(rows))
    embedded: dict[int, Tensor] = {}
    for first in range(0, len(each), batch_size):
        some = each[first : first + batch_size]
        images = from_uint8(real.__getitems__(some))  # [B, 3, H, W]
        embedded.update(zip(some, generator.embed_images(images), strict=True))
    return embedded


def condition_on(
    generator: Generator,
    requests: Sequence[ImageRequest],
    embeddings: Tensor,
    config: "SynthesizeConfig",
) -> "Condition":
    """Makes of embeddings what the denoiser is told.

    Args:
        generator: The generator.
        requests: The images to draw, B of them.
        embeddings: From `embed`, one for each, [B, D].
        config: How many coordinates are dropped, and the noise level.
    """
    dropout = [stream(request.seed, "embedding dropout") for request in requests]
    embeddings = drop_coordinates(
        embeddings, config.embedding_dropout, config.embedding_rescale, dropout
    )
    noise = randn(
        embeddings.shape[1:], [stream(request.seed, "embedding noise") for request in requests]
    )
    return generator.condition_on(embeddings, config.noise_level, noise)
