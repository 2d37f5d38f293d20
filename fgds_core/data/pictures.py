"""What is done to one raw picture: upright, RGB, square, of one size, encoded once.

Knows no tensors: several processes do this at a time, and each starts at once and stays small.
"""

import hashlib
import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import ExifTags, Image, ImageOps

from fgds_core.data.config import PrepareConfig
from fgds_core.data.jpeg import bare_jpeg
from fgds_core.data.near_duplicates import thumbnail
from fgds_core.data.sources import SourceImage, read_all
from fgds_core.errors import InputError
from fgds_core.images.formats import decode_picture, encode_picture

INTERPOLATIONS = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


class Prepared(NamedTuple):
    """One prepared picture."""

    file: bytes
    """The encoded picture."""
    digest: bytes
    """`content_digest` of the raw one."""
    num_pixels: int
    """How many were decoded and encoded: what it cost."""
    thumbnail: bytes
    """Of the prepared one, to find nearly the same ones; empty if none are looked for."""


def prepare_pictures(rows: Sequence[SourceImage], config: PrepareConfig) -> list[Prepared | str]:
    """Prepares pictures, each on its own; what is wrong with one stands in its place."""
    done: list[Prepared | str] = []
    for content in read_all(rows, config.max_image_bytes):
        try:
            if isinstance(content, InputError):
                raise content
            done.append(prepare_picture(content, config))
        except InputError as error:
            done.append(str(error))
    return done


def prepare_picture(data: bytes, config: PrepareConfig) -> Prepared:
    """Prepares one picture.

    Raises:
        InputError: It cannot be used.
    """
    raw = decode_picture(data, config.max_image_pixels)
    picture = to_rgb(raw)
    square = to_square(picture, config)
    kept = bare_jpeg(data) if config.keep_bytes and _stays(raw, square) else None
    return Prepared(
        file=encode_picture(square, config.encoding) if kept is None else kept,
        digest=content_digest(picture),
        num_pixels=raw.width * raw.height + square.width * square.height,
        thumbnail=b"" if config.near_duplicates == "off" else thumbnail(square),
    )


def _stays(raw: Image.Image, square: Image.Image) -> bool:
    """Whether a raw picture is a JPEG file of which no pixel has to change."""
    same = raw.format == "JPEG" and raw.mode == "RGB" and raw.size == square.size
    return same and _orientation(raw) not in _TURNS


_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What makes a picture upright, by its EXIF orientation."""


def to_rgb(picture: Image.Image) -> Image.Image:
    """Turns a picture upright by its EXIF tag and converts it to RGB, transparent parts to white.

    Grey pixels of 16 bits keep their range: 65535 becomes 255. A picture whose EXIF cannot be read
    stays as it is.

    Raises:
        InputError: The picture has floating-point or 32-bit pixels, whose range is not known, or
            colours that have no conversion to RGB.
    """
    turn = _TURNS.get(_orientation(picture))
    if picture.mode.startswith(("I", "F")):
        picture = _eight_bits(picture)
    if turn is not None:
        picture = picture.transpose(turn)
    try:
        if picture.has_transparency_data:
            picture = picture.convert("RGBA")
            white = Image.new("RGBA", picture.size, "white")
            picture = Image.alpha_composite(white, picture)
        return picture.convert("RGB")
    except ValueError as error:
        raise InputError(f"pixels of mode {picture.mode}; save the image as RGB") from error


def _orientation(picture: Image.Image) -> int:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            orientation = picture.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # as of PIL's other parsers; the pixels are whole
        return 1
    return orientation if isinstance(orientation, int) else 1


def _eight_bits(picture: Image.Image) -> Image.Image:
    """Grey pixels of 16 bits as 8 bits."""
    # PPM's 16 bits are scaled to 0..65535 by PIL, in the mode of 32 bits.
    if not picture.mode.startswith("I;16") and not (
        picture.mode == "I" and getattr(picture, "format", None) == "PPM"
    ):
        kind = "floating-point" if picture.mode == "F" else "32-bit"
        raise InputError(
            f"{kind} pixels (mode {picture.mode}), whose range from black to white is not known; "
            "save the image with 8 or 16 bits"
        )
    values = np.asarray(picture).astype(np.int64)  # [H, W], 0 to 65535
    return Image.fromarray(((values * 255 + 32767) // 65535).astype(np.uint8))


def to_square(picture: Image.Image, config: PrepareConfig) -> Image.Image:
    """Brings an RGB picture to image_size x image_size pixels."""
    size = (config.image_size, config.image_size)
    method = INTERPOLATIONS[config.interpolation]
    if config.crop == "center":
        return ImageOps.fit(picture, size, method)
    return picture.resize(size, method)


def content_digest(picture: Image.Image) -> bytes:
    """Digest of an RGB picture's size and pixels, whatever file format they came in, 16 bytes."""
    width, height = picture.size
    digest = hashlib.sha256(f"{width}x{height}:".encode())
    digest.update(picture.tobytes())
    return digest.digest()[:16]
