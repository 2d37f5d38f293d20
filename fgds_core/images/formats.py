"""Image files: the formats that are read, with every check, and the two that are written.

Knows no tensors, so that processes which only decode and encode start at once and stay small.
"""

import io
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from PIL import Image, ImageFile, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from fgds_core.errors import InputError

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
        raise InputError(f"not a readable image ({reason_of(error)})") from error


def reason_of(error: Exception) -> str:
    """Why Pillow cannot read an image, in words."""
    if isinstance(error, UnidentifiedImageError):
        return f"none of {', '.join(FORMATS)}, or its beginning is damaged"
    return str(error)


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


JPEG_QUALITY = 88
"""Quality of JPEG files unless another is asked for: photographs that were JPEG files before, of
quality 75 to 95, then take about 1.2 times their bytes (1.3 with 90, 1.7 with 95)."""


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
