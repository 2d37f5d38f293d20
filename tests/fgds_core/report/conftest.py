"""A browser for the pages of this folder's tests."""

from collections.abc import Iterator

import pytest
from browser import browser
from playwright.sync_api import Browser


@pytest.fixture(scope="module")
def chrome() -> Iterator[Browser]:
    """Headless Chromium, for all tests of a file."""
    with browser() as opened:
        yield opened
