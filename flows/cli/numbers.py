"""Numbers on a command line: text in, a number out, or what is wrong with it."""

import argparse
import math


def whole_number(text: str, least: int, most: int | None = None) -> int:
    """A whole number in an interval.

    Raises:
        ArgumentTypeError: It is none, or outside; says what is allowed.
    """
    if not text.isdecimal() or not least <= int(text) <= (math.inf if most is None else most):
        upper = "" if most is None else f" to {most:,}"
        raise argparse.ArgumentTypeError(
            f"got {text!r}; must be a whole number from {least}{upper}"
        )
    return int(text)


def positive_number(text: str) -> float:
    """A finite number above 0.

    Raises:
        ArgumentTypeError: It is none.
    """
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"got {text!r}; must be a number above 0")
    return number
