"""Perceptual hashes: the lowest frequencies of a thumbnail, whatever its brightness and contrast.

The usual hash keeps one bit of each frequency, whether it is above the median. Garments are so
alike that bits do not tell a copy from another shirt; here each keeps its number, and two images
are as far apart as 1 minus the correlation of these. A mirrored or turned picture has the same
numbers in other places and with other signs, so all eight orientations come from one hash.

A part of a picture is known by the hashes of its windows: a crop of an image has the hash of one
of them. What is compared with windows is the centre of an image, so that its borders do not
matter: a picture that was moved by a little has lost one border and got another. Windows stand
two pixels apart; what lies between them is reached along tangents, the directions in which the
hash of the centre changes when it moves or grows.

B images, W windows, T vectors of a centre.

Source: Zauner (2010), Implementation and Benchmarking of Perceptual Image Hash Functions,
    https://www.phash.org/docs/pubs/thesis_zauner.pdf; Simard et al. (1998), Transformation
    invariance in pattern recognition, https://doi.org/10.1007/3-540-49430-8_13 (tangents)
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from fgds_core.copies.thumbnails import SIDE, Bytes

BITS = 8
"""Frequencies of a hash in each direction."""

FINE_BITS = 12
"""The same where a pair is looked at more closely."""

BORDER = 2
"""Pixels of a thumbnail that its centre leaves out on each side: it may have moved by as many."""

CENTRE = (BORDER, BORDER, SIDE - 2 * BORDER)
"""Top, left and side."""

STEP = 2
"""Pixels between the windows, and between their sides."""

SMALLEST = 20
"""Side of the smallest window: a crop is found that keeps 20 / 28 of the side, or more."""

FLAT = 2.0
"""Standard deviation of the pixels, in 1/255, below which a picture says nothing."""

ORIENTATIONS = (
    "as it is",
    "mirrored",
    "upside down",
    "turned by 180 degrees",
    "mirrored and turned by 90 degrees",
    "turned by 90 degrees",
    "turned by 270 degrees",
    "mirrored and turned by 270 degrees",
)
"""What was done to a picture: bit 0 mirrored, bit 1 upside down, bit 2 transposed before."""

PLACES = tuple(
    (top, left, side)
    for side in range(SIDE, SMALLEST - 1, -STEP)
    for top in range(0, SIDE - side + 1, STEP)
    for left in range(0, SIDE - side + 1, STEP)
)
"""Top, left and side of each window, in pixels of a thumbnail."""


def whole(thumbnails: Bytes | Tensor, device: str | torch.device = "cpu") -> Tensor:
    """The hashes of whole pictures.

    Args:
        thumbnails: [B, SIDE * SIDE].
        device: Where they are computed.

    Returns:
        Of length 1, or all 0 of a picture that says nothing, float32 [B, BITS**2].
    """
    return _sliding(_pixels(thumbnails, device), SIDE).squeeze(1)


def windows(thumbnails: Bytes, device: str | torch.device = "cpu") -> Tensor:
    """The hashes of the windows of pictures in the order of `PLACES`, as `whole`, [B, W, ..]."""
    x = _pixels(thumbnails, device)
    return torch.cat([_sliding(x, side) for side in range(SIDE, SMALLEST - 1, -STEP)], dim=1)


def windowed(thumbnails: Bytes | Tensor, places: Tensor, bits: int = BITS) -> Tensor:
    """The hashes of some windows of each picture, wherever they begin, as `whole`.

    Args:
        thumbnails: [B, SIDE * SIDE].
        places: Top, left and side of each window, in pixels of a thumbnail, [B, W, 3].
        bits: Frequencies in each direction.

    Returns:
        [B, W, bits**2], where the places are.
    """
    x = _pixels(thumbnails, places.device)
    return _normalised(_frequencies(x, places, bits), places[..., 2])


def centre(thumbnails: Bytes, bits: int = BITS, device: str | torch.device = "cpu") -> Tensor:
    """The hash of the centre of each picture, and the directions in which it changes.

    Args:
        thumbnails: [B, SIDE * SIDE].
        bits: Frequencies in each direction.
        device: Where they are computed.

    Returns:
        The hash first, then the tangents of moving down and right and of growing; all of length 1
        and at right angles, or all 0 of a picture that says nothing, [B, T, bits**2].
    """
    top, left, side = CENTRE
    moved = [
        (top, left, side),
        *((top - 0.5, left, side), (top + 0.5, left, side)),
        *((top, left - 0.5, side), (top, left + 0.5, side)),
        *((top - 0.5, left - 0.5, side + 1), (top + 0.5, left + 0.5, side - 1)),
    ]
    places = torch.tensor(moved, dtype=torch.float32, device=device)[None]
    x = _pixels(thumbnails, device)
    found = _frequencies(x, places.expand(len(x), -1, 3), bits) / places[..., 2:]
    found[..., 0] = 0
    hashes, before, after = found[:, :1], found[:, 1::2], found[:, 2::2]
    basis, triangle = torch.linalg.qr(torch.cat([hashes, after - before], dim=1).mT)
    basis = basis * triangle.diagonal(dim1=-2, dim2=-1).sign()[:, None]  # the hash is no mirror
    telling = hashes.norm(dim=-1, keepdim=True) >= FLAT  # [B, 1, 1]
    vectors: Tensor = torch.where(telling, basis.mT, 0.0)
    return vectors


def oriented(hashes: Tensor, orientation: int) -> Tensor:
    """The hashes of the same pictures in another of the `ORIENTATIONS`, [..., bits**2]."""
    bits = round(hashes.shape[-1] ** 0.5)
    x = hashes.view(*hashes.shape[:-1], bits, bits)
    signs = 1 - 2 * (torch.arange(bits, device=x.device) % 2)  # of a mirrored cosine
    if orientation & 4:
        x = x.mT
    if orientation & 1:
        x = x * signs
    if orientation & 2:
        x = x * signs[:, None]
    return x.flatten(-2)


def _pixels(thumbnails: Bytes | Tensor, device: str | torch.device) -> Tensor:
    if not isinstance(thumbnails, Tensor):
        thumbnails = torch.from_numpy(np.ascontiguousarray(thumbnails))
    return thumbnails.to(device).view(-1, SIDE, SIDE).float()


def _frequencies(x: Tensor, places: Tensor, bits: int) -> Tensor:
    """Of pixels [B, SIDE, SIDE] in windows [B, W, 3], [B, W, bits**2]."""
    top, left, side = places.unbind(dim=-1)  # [B, W] each
    down, across = _cosines(top, side, bits), _cosines(left, side, bits)  # [B, W, bits, SIDE]
    rows = (down.flatten(1, 2) @ x).view(down.shape)  # [B, W, bits, SIDE]
    found: Tensor = (rows @ across.mT).flatten(-2)
    return found


def _sliding(x: Tensor, side: int) -> Tensor:
    """The hashes of each window with this side, row by row, [B, W, BITS**2]."""
    places = torch.arange(0, SIDE - side + 1, STEP, device=x.device)  # [P]
    # One matrix with the cosines of each place, so that two products serve all windows
    moved = _cosines(places, torch.full_like(places, side), BITS).flatten(0, 1)  # [P * BITS, SIDE]
    found = (moved @ x @ moved.T).view(len(x), len(places), BITS, len(places), BITS)
    each = found.transpose(2, 3).reshape(len(x), len(places) ** 2, BITS * BITS)
    return _normalised(each, places.new_tensor(side))


def _cosines(first: Tensor, side: Tensor, bits: int) -> Tensor:
    """The lowest frequencies of the cosine transform of windows along one axis, orthonormal.

    The transform of a row of pixels that fill their places, so windows may begin within one.

    Args:
        first: Where each window begins, in pixels, [...].
        side: How long it is, [...].
        bits: How many frequencies.

    Returns:
        What each pixel counts in each frequency, float32 [..., bits, SIDE].
    """
    # Most windows share a few places
    pairs = torch.complex(first.double(), side.double()).flatten().cpu().numpy()
    kinds, inverse = np.unique(pairs, return_inverse=True)  # [P]
    which = torch.from_numpy(inverse).to(first.device)
    begin, length = (
        torch.from_numpy(each.copy()).to(first.device)[:, None, None]  # [P, 1, 1]
        for each in (kinds.real, kinds.imag)
    )
    frequency = torch.arange(bits, device=length.device)[:, None] * torch.pi / length
    edges = torch.arange(SIDE + 1, device=length.device)
    within = (edges - begin).clamp(min=0).minimum(length)  # [P, 1, SIDE + 1]
    # The integral of cos(f t) up to each edge, which is t where f is 0
    waves = (frequency * within).sin() / frequency.clamp(min=1e-9)
    upto = torch.where(frequency > 0, waves, within)
    scale = (torch.where(frequency > 0, 2.0, 1.0) / length).sqrt()
    found = (upto.diff(dim=-1) * scale).float()  # [P, bits, SIDE]
    each: Tensor = found[which].view(*first.shape, bits, SIDE)
    return each


def _normalised(frequencies: Tensor, side: Tensor) -> Tensor:
    """Without the mean, and of length 1; of length 0 where the pixels hardly differ.

    Args:
        frequencies: [B, W, bits**2].
        side: Of the windows, in pixels, [B, W] or one for all.
    """
    frequencies[..., 0] = 0
    length = frequencies.norm(dim=-1, keepdim=True)  # at most the pixels' deviation times side
    telling = length >= FLAT * side[..., None]
    return torch.where(telling, frequencies / length.clamp(min=1e-6), 0.0)
