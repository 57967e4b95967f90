"""The page as somebody uses it: served on this machine, in Debian's Chromium, which reaches nothing but the page."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest


PATIENCE = 180_000  # milliseconds; conditions are waited for, and a busy machine takes its time


@contextmanager
def served(*args: Any, **options: Any) -> Iterator[Any]:
    """Serve a page; the `gradio.Blocks`."""
    if importlib.util.find_spec("gradio") is None:
        pytest.fail("the page needs gradio, which is not installed: pip install -e '.[dev]'", pytrace=False)
    from hf_ambiser import serve_app

    page = serve_app(*args, **options, block=False)
    try:
        yield page
    finally:
        page.close(verbose=False)


class Chromium:
    """A browser without a window. It hears a file as its microphone, and requests to other hosts are in `foreign`."""

    def __init__(self, microphone: Path) -> None:
        program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
        if program is None:
            pytest.fail("the page is tested in Chromium, which is not here: apt-get install chromium", pytrace=False)
        if importlib.util.find_spec("playwright") is None:
            pytest.fail("playwright, which drives the browser, is not here: pip install -e '.[dev]'", pytrace=False)
        from playwright.sync_api import sync_playwright

        self._playwright = sync_playwright().start()
        self._browser = self._playwright.chromium.launch(
            executable_path=program,
            args=[
                "--no-sandbox",  # of a root user there is none
                "--disable-dev-shm-usage",
                "--use-fake-ui-for-media-stream",
                "--use-fake-device-for-media-stream",
                f"--use-file-for-fake-audio-capture={microphone}",
            ],
        )
        self.foreign: list[str] = []
        self.dialogs: list[str] = []

    def open(self, address: str, width: int = 1200, height: int = 900) -> Any:
        """Open a page in a session of its own."""
        context = self._browser.new_context(viewport={"width": width, "height": height})
        context.grant_permissions(["microphone"])
        context.route(lambda url: not url.startswith((address, "data:", "blob:")), self._refuse)
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.on("dialog", lambda dialog: (self.dialogs.append(dialog.message), dialog.dismiss()))
        page.goto(address)
        page.locator("#recording").wait_for()
        return page

    def _refuse(self, route: Any) -> None:
        self.foreign.append(route.request.url)
        route.abort()

    def close(self) -> None:
        """End the browser."""
        self._browser.close()
        self._playwright.stop()
