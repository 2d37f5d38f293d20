"""Pixels: uint8 at rest, floats in [-1, 1] elsewhere; image files and their decoding."""

import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import torch
from PIL import Image, ImageFile, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile
from torch import Tensor

from fgds_core.errors import InputError


def to_uint8(images: Tensor) -> Tensor:
    """Quantises images in [-1, 1] to bytes; values beyond the range are clamped.

    Args:
        images: Finite floats, any shape.

    Returns:
        uint8 in [0, 255], the same shape. `to_uint8(from_uint8(p))` is `p`, exactly.

    Raises:
        ValueError: A value is NaN or infinite.
    """
    if not torch.isfinite(images).all():
        raise ValueError("images must be finite, got NaN or infinite values")
    return ((images.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def from_uint8(pixels: Tensor) -> Tensor:
    """Maps bytes [0, 255] to float32 in [-1, 1]."""
    return pixels.to(torch.float32, copy=True).div_(127.5).sub_(1)


JPEG_QUALITY = 95
"""Quality of JPEG files unless another is asked for."""


@dataclass(frozen=True)
class Encoding:
    """How images are stored, real and synthetic ones alike.

    Attributes:
        format: png is lossless; jpeg is about ten times smaller for photographs.
        quality: Of JPEG, 1 to 100; None with png.
    """

    format: Literal["png", "jpeg"] = "png"
    quality: int | None = None

    def __post_init__(self) -> None:
        if self.format not in ("png", "jpeg"):
            raise ValueError(f"format must be png or jpeg, got {self.format!r}")
        quality = self.quality
        if self.format == "png" and quality is not None:
            raise ValueError(f"png has no quality, got {quality}")
        if self.format == "jpeg" and not (type(quality) is int and 1 <= quality <= 100):
            raise ValueError(
                f"quality of jpeg must be a whole number from 1 to 100, got {quality}"
            )


PNG = Encoding()
"""Without loss."""


def encode_picture(picture: Image.Image, encoding: Encoding) -> bytes:
    """Encodes one RGB picture with fixed settings: the same pixels give the same bytes.

    JPEG keeps the colours' full resolution (4:4:4).
    """
    buffer = io.BytesIO()
    if encoding.format == "png":
        picture.save(buffer, format="PNG", compress_level=6, optimize=False)
    else:
        picture.save(buffer, format="JPEG", quality=encoding.quality, subsampling="4:4:4")
    return buffer.getvalue()


def encode(images: Tensor, encoding: Encoding) -> list[bytes]:
    """The last step of every stored image, real or synthetic, so that it tells neither apart.

    Args:
        images: In [-1, 1], [B, 3, H, W].
        encoding: The file format; `PNG` loses nothing beyond the quantisation to 8 bits.

    Returns:
        One file per image.
    """
    if images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(f"images must be [B, 3, H, W], got {tuple(images.shape)}")
    pixels = to_uint8(images.detach().cpu()).permute(0, 2, 3, 1).contiguous()  # [B, H, W, 3]
    return [encode_picture(Image.fromarray(picture), encoding) for picture in pixels.numpy()]


FORMATS = ("PNG", "JPEG", "WEBP", "AVIF", "BMP", "TIFF", "GIF", "PPM")
"""The only file formats that are ever opened. Pillow knows forty more, and for some of them it
starts other programs on the file. PPM stands for PBM, PGM and PPM."""

MAX_PIXELS = 178_956_970
"""Pillow opens no picture that has more pixels."""


def decode_picture(data: bytes, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decodes every pixel of one image file and checks its checksums; no lazy opening.

    Of an animation the first frame is decoded.

    Args:
        data: The image file.
        max_pixels: More are refused before any of them is decoded.

    Raises:
        InputError: The bytes are no image of a known format, a damaged or truncated one, or one
            of too many pixels.
    """
    if ImageFile.LOAD_TRUNCATED_IMAGES:
        raise ValueError("PIL.ImageFile.LOAD_TRUNCATED_IMAGES is set: truncated images would pass")
    try:
        return _decoded(data, max_pixels)
    except InputError:
        raise
    except (
        Exception
    ) as error:  # PIL's parsers let OSError, SyntaxError, struct.error and others through
        if data.startswith(_PNG) and (stripped := _without_texts(data)) != data:
            return decode_picture(stripped, max_pixels)  # long texts are refused, not the pixels
        reason = str(error)
        if isinstance(error, UnidentifiedImageError):
            reason = f"none of {', '.join(FORMATS)}, or its beginning is damaged"
        raise InputError(f"not a readable image ({reason})") from error


def _decoded(data: bytes, max_pixels: int) -> Image.Image:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of sizes, judged here, and of odd but readable files
        try:
            picture = Image.open(io.BytesIO(data), formats=FORMATS)
        except Image.DecompressionBombError as error:
            raise InputError(f"too large: more than {MAX_PIXELS} pixels; shrink it") from error
        width, height = picture.size
        if width * height > max_pixels:
            raise InputError(
                f"too large: {width} x {height} pixels are more than {max_pixels}; shrink it, or "
                "raise prepare.max_image_pixels"
            )
        if _is_preview(picture, data):
            raise InputError(
                "a small preview of a camera's raw picture; convert it, to JPEG for instance"
            )
        # Decoding skips the checksums of PNG's pixels; `verify` reads them, but decodes nothing.
        picture.verify()
        picture = Image.open(io.BytesIO(data), formats=FORMATS)
        picture.load()
    return picture


def _is_preview(picture: Image.Image, data: bytes) -> bool:
    """Whether the first page of a TIFF is what cameras put before their raw pixels."""
    if not isinstance(picture, TiffImageFile):
        return False
    tags = picture.tag_v2
    reduced = tags.get(_SUBFILE_TYPE)
    return (
        data[8:10] == b"CR"
        or _DNG_VERSION in tags
        or (isinstance(reduced, int) and reduced & 1 == 1)
    )


_SUBFILE_TYPE, _DNG_VERSION = 254, 50706
"""TIFF's tags: whether a page is a smaller copy of another, and the mark of a digital negative."""

_PNG = b"\x89PNG\r\n\x1a\n"

_PNG_TEXTS = (b"tEXt", b"zTXt", b"iTXt", b"iCCP")


def _without_texts(data: bytes) -> bytes:
    """A PNG file without the chunks that describe it, whose length Pillow limits."""
    kept, start = [data[:8]], 8
    while start + 8 <= len(data):
        end = start + 12 + int.from_bytes(data[start : start + 4])
        if data[start + 4 : start + 8] not in _PNG_TEXTS:
            kept.append(data[start:end])
        start = end
    return b"".join(kept)


_SIGNATURES = (_PNG, b"\xff\xd8\xff", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*")


def is_picture(path: Path) -> bool:
    """Whether a file is an image of a known format by its content, even a damaged one.

    Raises:
        OSError: The file cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(16)
        if head.startswith(_SIGNATURES) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP"):
            return True
        if head[4:8] != b"ftyp" and head[:1] not in (b"P", b"B"):
            return False
        file.seek(0)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                Image.open(file, formats=("AVIF", "BMP", "PPM")).close()
        except Image.DecompressionBombError:
            return True
        except Exception:  # a text that begins like one
            return False
    return True


def decode_images(
    column: "pa.ChunkedArray[Any] | pa.Array[Any] | Sequence[bytes]",
    *,
    source: str = "image column",
) -> Tensor:
    """Decodes image files of one size.

    Args:
        column: The `image` column of a table, or the bytes of each file.
        source: What to call the column's origin in an error.

    Returns:
        float32 in [-1, 1], [B, 3, H, W].

    Raises:
        InputError: An image is missing, corrupt or of another size than the first; names source
            and row.
    """
    files = _column_bytes(column)
    if not files:
        return torch.empty(0, 3, 0, 0)
    pixels: np.ndarray[Any, np.dtype[np.uint8]] | None = None  # [B, H, W, 3]
    for row, data in enumerate(files):
        if data is None:
            raise InputError(f"{source}, row {row}: holds no image bytes; make the file again")
        try:
            picture = np.asarray(decode_picture(data).convert("RGB"))  # [H, W, 3]
        except InputError as error:
            raise InputError(f"{source}, row {row}: {error}; make the file again") from error
        if pixels is None:
            pixels = np.empty((len(files), *picture.shape), dtype=np.uint8)
        if picture.shape != pixels.shape[1:]:
            height, width = picture.shape[:2]
            raise InputError(
                f"{source}, row {row}: the image is {width}x{height} pixels, the first one "
                f"{pixels.shape[2]}x{pixels.shape[1]}; all must have one size"
            )
        pixels[row] = picture
    return from_uint8(torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous())  # [B, 3, H, W]


def _column_bytes(
    column: "pa.ChunkedArray[Any] | pa.Array[Any] | Sequence[bytes]",
) -> list[bytes | None]:
    if isinstance(column, pa.ChunkedArray):
        return [data for chunk in column.chunks for data in _column_bytes(chunk)]
    if isinstance(column, pa.StructArray):
        return list(column.field("bytes").to_pylist())
    if isinstance(column, pa.Array):
        return list(column.to_pylist())
    return list(column)
