"""JPEG files kept as they are, but for what is not the picture.

Source: ITU-T T.81, annex B, https://www.w3.org/Graphics/JPEG/itu-t81.pdf
"""

import re

_START, _END = b"\xff\xd8", b"\xff\xd9"
_SCAN = 0xDA
_TABLES = frozenset({0xC4, 0xDB, 0xDD})
"""Huffman tables, quantisation tables, restart interval."""

_FRAMES = frozenset({0xC0, 0xC1, 0xC2})
"""Baseline, extended and progressive pictures with Huffman codes: what every reader reads."""

_NOTES = frozenset({*range(0xE0, 0xF0), 0xFE})
"""Application data (EXIF, colour profiles, thumbnails) and comments."""

_ADOBE = 0xEE
_JFIF = b"\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00"

_MARKER = re.compile(rb"\xff+([^\x00\xd0-\xd7\xff])")
"""What ends the coded pixels of a scan, in which a byte of 255 is followed by 0 or a restart."""


def bare_jpeg(data: bytes) -> bytes | None:
    """A JPEG file without EXIF, colour profile, thumbnails and comments; no pixel changes.

    Args:
        data: A JPEG file that can be decoded.

    Returns:
        None where the file is not 3 components of luminance and colour in 8 bits, or has parts
        that are not known here: then its pixels have to be encoded anew.
    """
    kept = [_START, _JFIF]
    at = 2
    while (found := _MARKER.match(data, at)) is not None:
        marker, start = found[1][0], found.end()
        if marker == _END[1]:
            return b"".join([*kept, _END])
        end = start + int.from_bytes(data[start : start + 2])
        segment = data[start:end]
        if marker == _SCAN:
            if (after := _MARKER.search(data, end)) is None:
                return None
            end = after.start()
            segment = data[start:end]
        elif not _is_known(marker, segment):
            return None
        if marker not in _NOTES:
            kept.append(bytes([0xFF, marker]) + segment)
        at = end
    return None


def _is_known(marker: int, segment: bytes) -> bool:
    if marker in _FRAMES:  # length, bits, height, width, then the components of 3 bytes each
        identifiers = segment[8::3]
        return segment[2] == 8 and segment[7] == 3 and identifiers != b"RGB"
    if marker == _ADOBE and segment[2:7] == b"Adobe":
        return segment[13:14] == b"\x01"  # its mark of luminance and colour
    return marker in _TABLES or marker in _NOTES
