"""What the generator is told of a real image: its embedding, with holes and noise."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from fgds_core.diffusion.noise import randn, stream
from fgds_core.generators.model import Generator, drop_coordinates
from fgds_core.images.dataset import ImageDataset
from fgds_core.images.pixels import from_uint8
from fgds_core.synthesis.request import ImageRequest

if TYPE_CHECKING:
    from fgds_core.diffusion.denoise import Condition
    from fgds_core.synthesis.config import SynthesizeConfig


def embed_each_once(
    generator: Generator, requests: Sequence[ImageRequest], own: ImageDataset, batch_size: int
) -> dict[int | None, Tensor]:
    """Embeds the conditioning images of a part.

    Args:
        generator: The generator.
        requests: The images of the part.
        own: The real images of its class.
        batch_size: Images at a time.

    Returns:
        Place among the class's real images -> embedding, [D]; nothing where none conditions.
    """
    rows = sorted({r.conditioning_id for r in requests if r.conditioning_id is not None})
    embedded: dict[int | None, Tensor] = {}
    for first in range(0, len(rows), batch_size):
        some = rows[first : first + batch_size]
        images = from_uint8(own.__getitems__(some))  # [B, 3, H, W]
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
        embeddings: Embedding of each one's conditioning image, [B, D].
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
