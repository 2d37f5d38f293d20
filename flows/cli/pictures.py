"""A picture on the console, where the terminal says that it can show some.

Sources: https://sw.kovidgoyal.net/kitty/graphics-protocol,
    https://iterm2.com/documentation-images.html
"""

import base64
from collections.abc import Mapping

CHUNK = 4096
"""Characters of a picture in one sequence, at most, as kitty takes them."""

INLINE = ("iTerm.app", "WezTerm")
"""Terminals, by `TERM_PROGRAM`, that show pictures as iTerm does."""


def for_terminal(png: bytes, environment: Mapping[str, str]) -> str | None:
    """What shows a picture when it is printed; None where the terminal may not know how.

    Args:
        png: The picture.
        environment: Variables of the process, by which terminals tell what they are.
    """
    if environment.get("TERM", "dumb").startswith(("tmux", "screen", "dumb")):
        return None  # which pass on no pictures
    data = base64.b64encode(png).decode()
    if environment.get("TERM_PROGRAM") in INLINE:
        return f"\x1b]1337;File=inline=1;size={len(png)}:{data}\x07"
    if "KITTY_WINDOW_ID" in environment or environment["TERM"] == "xterm-ghostty":
        pieces = [data[start : start + CHUNK] for start in range(0, len(data), CHUNK)]
        more = [1] * (len(pieces) - 1) + [0]
        keys = ["a=T,f=100,"] + [""] * (len(pieces) - 1)
        return "".join(
            f"\x1b_G{key}m={follows};{piece}\x1b\\"
            for key, follows, piece in zip(keys, more, pieces, strict=True)
        )
    return None
