"""A picture on the page, and the commands that are about the image it shows."""

from __future__ import annotations

import base64
import shlex
from collections.abc import Mapping
from typing import Any


def commands(name: str, index: int, reason: str | None = None) -> list[str]:
    """What draws an image again, and what leaves it out.

    Args:
        name: Its class.
        index: Its place within that.
        reason: Why one would.
    """
    which = f"--class {shlex.quote(name)} --index {index}"
    why = "" if reason is None else f" --reason {shlex.quote(reason)}"
    return [f"python -m flows.redraw {which}", f"python -m flows.exclude {which}{why}"]


def uri(row: Mapping[str, Any]) -> str:
    """A picture as assess made it for the page: PNG or JPEG."""
    picture: bytes = row["image"]["bytes"]
    kind = "png" if picture.startswith(b"\x89PNG") else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(picture).decode()}"
