"""The table of known generators in docs/generators.md.

python -m benchmarks.known          # prints it
python -m benchmarks.known --write  # puts it between its marks
"""

import argparse
from pathlib import Path

from benchmarks.documents import marks, show
from fgds_core.generators.known import KNOWN, Known

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "generators.md"

NAME = "known generators"

HALF_GIB = {
    "stabilityai/stable-diffusion-2-1-unclip": 3.6,
    "stabilityai/stable-diffusion-2-1-unclip-small": 3.0,
    "stable-diffusion-v1-5/stable-diffusion-v1-5": 2.0,
    "stabilityai/stable-diffusion-xl-base-1.0": 6.5,
    "h94/IP-Adapter": 1.2,
    "stabilityai/stable-diffusion-3-medium-diffusers": 14.3,
    "kandinsky-community/kandinsky-2-2-decoder": 2.5,
    "kandinsky-community/kandinsky-2-2-prior": 6.6,
    "madebyollin/taesd": 0.0,
    "madebyollin/taesdxl": 0.0,
}
"""GiB of what is loaded of each in half precision, as `python -m benchmarks.weights` counts it."""


def table() -> str:
    """A line for each repository."""
    head = "| weights | `kind` | licence | takes | pixels | GiB | files with a published sha256 |"
    return "\n".join([head, "|---|---|---|---|---|---|---|", *map(_line, KNOWN), ""])


def _line(known: Known) -> str:
    kind = "beside a generator" if known.kind is None else f"`{known.kind}`"
    files = ", ".join(f"`{name}` `{file.sha256[:8]}`" for name, file in known.files.items())
    size = f"{HALF_GIB[known.path]:.1f}"
    what = (known.licence, known.takes or "-", known.side or "-", size, files)
    cells = (f"`{known.path}`", kind, *what)
    return f"| {' | '.join(map(str, cells))} |"


def main() -> None:
    """Prints the table, or writes it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help=f"between {marks(NAME)[0].strip()}")
    if parser.parse_args().write:
        show(NAME, table(), [DOCUMENT])
    else:
        print(table())


if __name__ == "__main__":
    main()
