"""Opens pages in the Chromium that is installed, and checks their accessibility by axe-core."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Browser, Page, sync_playwright

EXECUTABLE = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
needs_chromium = pytest.mark.skipif(
    EXECUTABLE is None, reason="Chromium is not installed: the page is not opened in a browser"
)
SCHEMES = ("light", "dark")
WIDTHS = {"desktop": 1280, "phone": 360}


@contextmanager
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=EXECUTABLE, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def opened(browser: Browser, file: Path, *, width: int, scheme: str) -> Iterator[Page]:
    """A page, in which an error on the console is an error of the test."""
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page, errors = context.new_page(), []
    page.on("console", lambda message: errors.append(message.text))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on(
        "request", lambda request: errors.append(request.url) if _is_remote(request.url) else None
    )
    page.goto(file.as_uri())
    yield page
    context.close()
    assert errors == []


def _is_remote(url: str) -> bool:
    return not url.startswith(("file:", "data:"))


def faults(page: Page) -> list[str]:
    """The serious and critical faults that axe-core finds, with the first place of each."""
    # Debugging tools may run scripts that the page's own policy forbids.
    session = page.context.new_cdp_session(page)
    session.send("Runtime.evaluate", {"expression": AXE_SCRIPT})
    found = session.send(
        "Runtime.evaluate",
        {
            "expression": "axe.run(document).then((found) => found.violations)",
            "awaitPromise": True,
            "returnByValue": True,
        },
    )["result"]["value"]
    return [
        f"{fault['id']}: {fault['nodes'][0]['html'][:120]}"
        for fault in found
        if fault["impact"] in ("serious", "critical")
    ]


def overflow(page: Page) -> int:
    """Pixels by which the page is wider than the window."""
    return page.evaluate(
        "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    )
