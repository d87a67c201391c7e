"""A pytest plugin: a real browser at a live service, which tolerates no error in the console and no other host."""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, Response, expect, sync_playwright

if TYPE_CHECKING:
    from config.tests.service import Service

CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = [
    "--no-sandbox",  # there is none for root, who runs CI; the only pages visited are ours
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SECONDS = 15  # bounds of waiting; they only end a test that would hang

expect.set_options(timeout=SECONDS * 1000)


class Visitor:
    """Somebody with a browser at a site, who takes note of whatever a page does wrong."""

    def __init__(self, browser: Browser, url: str) -> None:
        self.browser, self.url = browser, url
        self.troubles: list[str] = []
        self._contexts: list[Any] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for context in self._contexts:
            context.close()

    def open(self, path: str = "", *, width: int = 1280, height: int = 800, **options: Any) -> Page:
        """Open a page in a context of its own; `options` go to Playwright's new_context()."""
        context = self.browser.new_context(
            base_url=self.url, viewport={"width": width, "height": height}, reduced_motion="reduce", **options
        )
        self._contexts.append(context)
        context.set_default_timeout(SECONDS * 1000)
        context.on("console", self._console)
        context.on("weberror", lambda error: self.troubles.append(f"script: {error.error}"))
        context.on("request", self._request)
        context.on("requestfailed", self._failed)
        context.on("response", self._response)
        page: Page = context.new_page()
        if path:
            page.goto(path)
        return page

    def forgive(self, pattern: str) -> None:
        """Leave out the troubles that a test provokes, as a page that is not there; they must have happened."""
        rest = [trouble for trouble in self.troubles if not re.search(pattern, trouble)]
        assert len(rest) < len(self.troubles), f"no trouble like {pattern!r}: {self.troubles}"
        self.troubles = rest

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.troubles.append(f"console: {message.text} {message.location['url']}")

    def _request(self, request: Request) -> None:
        address = urlsplit(request.url)
        if address.scheme not in {"data", "blob"} and f"{address.scheme}://{address.netloc}" != self.url:
            self.troubles.append(f"another host: {request.url}")

    def _failed(self, request: Request) -> None:
        # Whoever leaves a page ends what it still waits for.
        if request.failure != "net::ERR_ABORTED":
            self.troubles.append(f"failed: {request.method} {request.url} {request.failure}")

    def _response(self, response: Response) -> None:
        if response.status >= 400:
            self.troubles.append(f"answer {response.status}: {response.request.method} {response.url}")


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def visitor(chromium: Browser, service: "Service") -> Iterator[Visitor]:
    """A visitor of the live service; the test fails if a page gave trouble."""
    with Visitor(chromium, service.url) as visitor:
        yield visitor
    assert not visitor.troubles


@pytest.fixture
def page(visitor: Visitor) -> Page:
    """An empty page of that visitor."""
    return visitor.open()


def accessibility(page: Page) -> list[str]:
    """Return what axe-core objects to on a page, a line for every element."""
    violations = Axe().run(page).response["violations"]
    return [
        f"{found['id']} ({found['impact']}): {' '.join(map(str, node['target']))}: {node['failureSummary']}"
        for found in violations
        for node in found["nodes"]
    ]
