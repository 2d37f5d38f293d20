"""A picture reaches the terminals that show some, whole, and no others."""

import base64
import re

import pytest

from flows.cli.pictures import CHUNK, for_terminal

PNG = bytes(range(256)) * 40
"""Longer than one sequence."""


def test_kitty_gets_it_in_pieces() -> None:
    shown = for_terminal(PNG, {"TERM": "xterm-kitty", "KITTY_WINDOW_ID": "1"})
    assert shown is not None
    pieces = re.findall(r"\x1b_G([^;]*);([^\x1b]*)\x1b\\", shown)
    assert "".join(f"\x1b_G{keys};{data}\x1b\\" for keys, data in pieces) == shown
    assert [keys for keys, _ in pieces] == ["a=T,f=100,m=1", "m=1", "m=1", "m=0"]
    assert all(len(data) <= CHUNK for _, data in pieces)
    assert base64.b64decode("".join(data for _, data in pieces)) == PNG


@pytest.mark.parametrize("program", ["iTerm.app", "WezTerm"])
def test_others_get_it_at_once(program: str) -> None:
    shown = for_terminal(PNG, {"TERM": "xterm-256color", "TERM_PROGRAM": program})
    assert shown is not None
    found = re.fullmatch(r"\x1b]1337;File=inline=1;size=(\d+):(.*)\x07", shown)
    assert found is not None
    assert int(found[1]) == len(PNG)
    assert base64.b64decode(found[2]) == PNG


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"TERM": "xterm-256color"},
        {"TERM": "tmux-256color", "TERM_PROGRAM": "iTerm.app"},
        {"TERM": "screen", "KITTY_WINDOW_ID": "1"},
    ],
)
def test_a_terminal_that_may_not_know_how_gets_nothing(environment: dict[str, str]) -> None:
    assert for_terminal(PNG, environment) is None
