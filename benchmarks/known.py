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


def table() -> str:
    """A line for each repository."""
    head = "| weights | `kind` | licence | takes | pixels | files with a published sha256 |"
    return "\n".join([head, "|---|---|---|---|---|---|", *map(_line, KNOWN), ""])


def _line(known: Known) -> str:
    kind = "beside a generator" if known.kind is None else f"`{known.kind}`"
    files = ", ".join(f"`{name}` `{file.sha256[:8]}`" for name, file in known.files.items())
    cells = (f"`{known.path}`", kind, known.licence, known.takes or "-", known.side or "-", files)
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
