"""What is said of a class that there is not."""

from collections.abc import Sequence
from difflib import get_close_matches

from fgds_core.files import brief, listed


def no_class(name: str, class_names: Sequence[str]) -> str:
    """That there is no such class, and which one may be meant.

    Args:
        name: As a person wrote it.
        class_names: Name of each class.
    """
    by_lower = {each.casefold(): each for each in class_names}
    close = get_close_matches(name.casefold(), by_lower, n=1)
    hint = f"; did you mean {by_lower[close[0]]}?" if close else f": {listed(class_names)}"
    return f"there is no class {brief(name)!r}{hint}"
