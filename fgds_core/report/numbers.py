"""How numbers and names are written, the same on console, page and in the verdict.

A table adds up as it is printed: a gain is the difference of the two printed accuracies. On the
page `typeset` puts real minus signs and dashes in place of those of a keyboard, nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

MISSING = "-"
"""Stands for a number that is not there."""


def percent(value: float | None, digits: int = 1) -> str:
    """A fraction in percent."""
    return MISSING if value is None else f"{100 * value:.{digits}f}"


def points(value: float | None, digits: int = 1) -> str:
    """A difference of fractions in points, with its sign; what rounds to nothing has none."""
    if value is None:
        return MISSING
    text = f"{100 * value:+.{digits}f}"
    return text if float(text) else text[1:]


def gain_of(first: float | None, second: float | None) -> str:
    """The difference in points of two fractions as they are printed in percent."""
    printed = percent(first), percent(second)
    if MISSING in printed:
        return MISSING
    return points((float(printed[1]) - float(printed[0])) / 100)


def within(low: float | None, high: float | None) -> str:
    """An interval of a difference of fractions, in points."""
    return MISSING if low is None or high is None else f"{points(low)} to {points(high)}"


def p_value(p: float) -> str:
    """Such as `p = 0.012` or `p < 0.001`."""
    return f"p {probability(p)}" if p < _LEAST else f"p = {probability(p)}"


def probability(p: float | None) -> str:
    """The number alone: `0.012` or `< 0.001`."""
    if p is None:
        return MISSING
    return f"< {_LEAST}" if p < _LEAST else f"{p:.3f}"


_LEAST = 0.001


def number(value: float | None) -> str:
    """Three digits or so, without an exponent where it can be read without."""
    if value is None:
        return MISSING
    if value == round(value) and abs(value) < 1e7:
        return f"{value:,.0f}"
    if value == 0 or 0.001 <= abs(value) < 1000:
        return f"{value:.{3 if abs(value) < 1 else 2 if abs(value) < 100 else 0}f}"
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e7 else f"{value:.2g}"


def count(value: int | None, one: str = "", many: str | None = None) -> str:
    """A count with thousands separators; with a noun `1 image` or `2,000 images`."""
    if value is None:
        return MISSING
    noun = one if value == 1 else many or (one and f"{one}s")
    return f"{value:,} {noun}".rstrip()


def duration(seconds: float | None) -> str:
    """Such as `0.042 s`, `12 s`, `3.5 min` or `2.1 h`."""
    if seconds is None:
        return MISSING
    if seconds < 10:
        return f"{seconds:.2g} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:,.1f} h"


def images(interval: Mapping[str, float | None]) -> str:
    """A number of images and its 95 % interval: `11 (8 to 15)`, `11 (8 or more)`, `more than 8`.

    Args:
        interval: `value`, `low` and `high`; None is a side that nothing bounds.
    """
    value, low, high = (interval[key] for key in ("value", "low", "high"))
    if value is None:
        if low is not None:
            return f"more than {_few(low)}"
        return "an unknown number of" if high is None else f"less than {_few(high)}"
    if high is None:
        return f"{_few(value)} ({'any number' if low is None else f'{_few(low)} or more'})"
    least = f"{_few(high)} or less" if low is None else f"{_few(low)} to {_few(high)}"
    return f"{_few(value)} ({least})"


def _few(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 9.95 else f"{value:.1f}"


def names(some: list[str], most: int = 5) -> str:
    """The first of some names: `a, b and c`, or `a, b, c and 7 more`."""
    if len(some) > most:
        return f"{', '.join(some[:most])} and {len(some) - most:,} more"
    return " and ".join([", ".join(some[:-1]), some[-1]] if len(some) > 1 else some)


_EQUALS = re.compile(r"\b([np]) ([=<]) ")
_MINUS = re.compile(r"(?<![\w-])-(?=[\d.])")


def typeset(text: str) -> str:
    """A number, or words with numbers, for the page: minus signs, and a dash for what is not."""
    if text == MISSING:
        return "\N{EN DASH}"
    return _EQUALS.sub(
        "\\1\N{NO-BREAK SPACE}\\2\N{NO-BREAK SPACE}", _MINUS.sub("\N{MINUS SIGN}", text)
    )


# What changes how other text is shown, or is no text: control characters and those of direction.
_UNSEEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def visible(text: str) -> str:
    """Text of users for the page: what cannot be seen is shown as a question mark."""
    return type(text)(_UNSEEN.sub("\N{REPLACEMENT CHARACTER}", text))
