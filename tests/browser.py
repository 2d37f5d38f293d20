"""Headless Chromium for tests of pages, driven by Playwright.

The browser is the system's, or the one that the environment variable FGDS_CHROMIUM names. Where
there is none, a test is skipped; in CI, which sets the variable CI, it fails and says what to do.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
MISSING = "no Chromium: apt-get install chromium, or set FGDS_CHROMIUM to its path"


def chromium() -> str:
    """The path of the browser; skips the test where there is none, and fails it in CI."""
    named = os.environ.get("FGDS_CHROMIUM")
    found = named or next(filter(None, map(shutil.which, NAMES)), None)
    if found is None or not Path(found).exists():
        if os.environ.get("CI"):
            pytest.fail(MISSING)
        pytest.skip(MISSING)
    return found


@contextmanager
def browser() -> Iterator[Browser]:
    """A headless browser; it may not reach the network."""
    path = chromium()
    arguments = ["--no-sandbox", "--host-resolver-rules=MAP * ~NOTFOUND"]
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=path, args=arguments)
        try:
            yield opened
        finally:
            opened.close()


class Watched:
    """A page that notes what it complains of and what it asks for."""

    def __init__(self, opened: Browser, path: Path, **options: object) -> None:
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.context = opened.new_context(**options)
        self.page: Page = self.context.new_page()
        self.page.set_default_timeout(60_000)
        self.page.on("console", self._said)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.session = self.context.new_cdp_session(self.page)
        self.session.send("Performance.enable", {"timeDomain": "threadTicks"})
        self.page.goto(path.as_uri())

    def _said(self, message: object) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def drawn(self) -> Page:
        """The page once its charts are drawn."""
        self.page.wait_for_selector("html[data-charts=drawn]")
        return self.page

    def busy_s(self) -> float:
        """Seconds of the processor that the page has taken so far, whatever else runs beside."""
        found = self.session.send("Performance.getMetrics")["metrics"]
        return next(each["value"] for each in found if each["name"] == "TaskDuration")
