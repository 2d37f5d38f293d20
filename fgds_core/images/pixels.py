"""Pixels: uint8 at rest, floats in [-1, 1] elsewhere; batches of image files to and from them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from PIL import Image
from torch import Tensor

from fgds_core.errors import InputError
from fgds_core.images.formats import Encoding, decode_picture, encode_picture


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
