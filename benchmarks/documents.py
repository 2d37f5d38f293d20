"""Tables that a benchmark writes into the documents, between marks of their own.

A table named `x` stands between `<!-- x: begin -->` and `<!-- x: end -->`, in one of `DOCUMENTS`.
"""

import re
from collections.abc import Sequence
from pathlib import Path

_DOCS = Path(__file__).resolve().parents[1] / "docs"

DOCUMENTS = (_DOCS / "results.md", _DOCS / "trials.md")
"""What came out, and all that was tried on the way."""


def marks(name: str) -> tuple[str, str]:
    """The lines before and after a table."""
    return f"<!-- {name}: begin -->\n", f"<!-- {name}: end -->\n"


def shown(name: str, documents: Sequence[Path] = DOCUMENTS) -> str:
    """What stands between the marks.

    Raises:
        LookupError: They are nowhere, or there more than once.
    """
    found = [text for path in documents for text in _marked(name).findall(path.read_text())]
    if len(found) != 1:
        raise LookupError(f"{name} stands in {len(found)} places of the documents")
    return str(found[0][1])


def show(name: str, text: str, documents: Sequence[Path] = DOCUMENTS) -> None:
    """Puts a table between its marks, where there are any."""
    for path in documents:
        whole = path.read_text()
        changed = _marked(name).sub(lambda found: found[1] + text + found[3], whole)
        if changed != whole:
            path.write_text(changed)


def _marked(name: str) -> re.Pattern[str]:
    begin, end = map(re.escape, marks(name))
    return re.compile(f"({begin})(.*?)({end})", re.S)
