"""Runs that end at once somewhere in the middle, and go on when they are started again."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from micro import contents


class Stopped(BaseException):
    """What ends a run at once, wherever it is."""


def stopping(function: Callable[..., Any], *at: int) -> Callable[..., Any]:
    """A function that ends the run in place of some of its calls, counted from 1."""
    calls = [0]

    def call(*arguments: object, **options: object) -> object:
        calls[0] += 1
        if calls[0] in at:
            raise Stopped
        return function(*arguments, **options)

    return call


def emptied(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, which is taken away."""
    whole = contents(folder)
    for name in whole:
        (folder / name).unlink()
    return whole


def times_ended(run: Callable[[], int], index: Path) -> int:
    """Starts a run until it is through; how often it ended, each time without an index."""
    ended = 0
    while True:
        try:
            assert run() == 0
            return ended
        except Stopped:
            ended += 1
            assert not index.exists()
