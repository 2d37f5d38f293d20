"""A page of a few drawn images beside real ones, and the same as one picture.

The page needs no network and no other file.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from fgds_core.files import replacing, write_text
from fgds_core.images.formats import PNG, encode_picture

SIDE = 96
"""Pixels a side at which images are shown: smaller ones are enlarged without smoothing."""

GAP = 4
"""Pixels between images of the strip, and twice as many between its blocks."""

STYLE = """
:root { color-scheme: light dark; font: 15px/1.4 system-ui, sans-serif; }
body { margin: 1rem auto; max-width: 70rem; padding: 0 1rem; }
h2 { margin: 1.2rem 0 .3rem; font-size: 1.05rem; }
.rows { display: grid; grid-template-columns: max-content 1fr; gap: .4rem .8rem; }
.rows b { font-weight: 500; opacity: .75; }
.images { display: flex; flex-wrap: wrap; gap: .25rem; }
img { width: 6rem; height: auto; image-rendering: pixelated; }
"""


@dataclass(frozen=True)
class Row:
    """Images of one kind.

    Attributes:
        title: What they are.
        pictures: The images.
        about: What each is, for whoever points at it or cannot see it.
    """

    title: str
    pictures: Sequence[Image.Image]
    about: Sequence[str]


@dataclass(frozen=True)
class Shown:
    """A class with its rows of images."""

    name: str
    rows: Sequence[Row]


def write_preview(
    folder: Path, heading: str, remarks: Sequence[str], shown: Sequence[Shown]
) -> tuple[Path, Path]:
    """Writes the page and the strip.

    Args:
        folder: Where they go.
        heading: What was drawn by what.
        remarks: What a reader has to know beside, a line each.
        shown: The classes.

    Returns:
        The page and the picture.
    """
    page, strip = folder / "index.html", folder / "strip.png"
    write_text(page, "".join(_page(heading, remarks, shown)))
    with replacing(strip) as temporary:
        draw_strip(shown).save(temporary, "PNG")
    return page, strip


def _page(heading: str, remarks: Sequence[str], shown: Sequence[Shown]) -> Iterator[str]:
    title = html.escape(heading)
    yield '<!doctype html><html lang="en"><meta charset="utf-8">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"<title>{title}</title><style>{STYLE}</style><main><h1>{title}</h1>"
    for remark in remarks:
        yield f"<p>{html.escape(remark)}</p>"
    for each in shown:
        yield f'<h2>{html.escape(each.name)}</h2><div class="rows">'
        for row in each.rows:
            yield f'<b>{html.escape(row.title)}</b><div class="images">'
            for picture, about in zip(row.pictures, row.about, strict=True):
                data = base64.b64encode(encode_picture(picture, PNG)).decode()
                said = html.escape(about, quote=True)
                yield f'<img src="data:image/png;base64,{data}" alt="{said}" title="{said}">'
            yield "</div>"
        yield "</div>"
    yield "</main></html>\n"


def draw_strip(shown: Sequence[Shown]) -> Image.Image:
    """All images in one picture: a line for each class, its rows side by side."""
    lines = [[[_sized(p) for p in row.pictures] for row in each.rows] for each in shown]
    widths = [
        sum(sum(p.width + GAP for p in row) for row in rows) + 2 * GAP * len(rows)
        for rows in lines
    ]
    heights = [max(p.height for row in rows for p in row) + GAP for rows in lines]
    strip = Image.new("RGB", (max(widths), sum(heights)), "white")
    top = 0
    for rows, height in zip(lines, heights, strict=True):
        left = 0
        for row in rows:
            for picture in row:
                strip.paste(picture, (left, top))
                left += picture.width + GAP
            left += 2 * GAP
        top += height
    return strip


def _sized(picture: Image.Image) -> Image.Image:
    """An image as the strip shows it: small ones by whole factors, large ones shrunk."""
    factor = max(1, SIDE // max(picture.size))
    if factor > 1:
        size = (picture.width * factor, picture.height * factor)
        return picture.resize(size, Image.Resampling.NEAREST)
    smaller = picture.copy()
    smaller.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    return smaller


def picture_of(data: bytes) -> Image.Image:
    """An image file as a picture."""
    return Image.open(io.BytesIO(data)).convert("RGB")
