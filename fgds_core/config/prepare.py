"""How raw images are brought to one size."""

from typing import Literal

from pydantic import Field

from fgds_core.config.section import Section


class PrepareConfig(Section):
    """What is done to every real image, whatever its split; all become RGB."""

    image_size: int = Field(
        ge=8, le=2048, description="height and width of the prepared images in pixels, 8 to 2048"
    )
    interpolation: Literal["bilinear", "bicubic", "lanczos"] = Field(
        description="filter that resizes; each smooths when it shrinks an image"
    )
    crop: Literal["center", "none"] = Field(
        description="center keeps the largest square in the middle of an image; none keeps all of "
        "it and stretches it to a square; square images are the same under both"
    )
    max_image_bytes: int = Field(
        default=100_000_000,
        ge=1,
        le=2**31 - 1,
        description="largest image file that is read, in bytes; a larger one is refused unread",
    )
    max_image_pixels: int = Field(
        default=64_000_000,
        ge=1,
        le=178_956_970,
        description="largest raw image that is decoded, in pixels (width times height)",
    )
