"""Chromium without a window, and a record of what it does while it shows pages."""

import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import (
    Browser,
    ConsoleMessage,
    Dialog,
    Error,
    HttpCredentials,
    Page,
    Request,
    sync_playwright,
)

from tests.patience import PATIENCE

DESKTOP = (1200, 820)
PHONE = (390, 844)

Colours = Literal["light", "dark"]

_OPTIONS = (
    # The first is for a root without namespaces; the others stop Chromium from calling its vendor.
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
_TELL_OF_VIOLATIONS = """
addEventListener("securitypolicyviolation", (event) =>
    console.error(`policy: ${event.effectiveDirective} ${event.blockedURI}`));
"""


@dataclass(slots=True)
class Seen:
    """What a page did apart from being shown; filled while it is open."""

    dialogs: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    """Messages of the console and of scripts, and each violation of the Content-Security-Policy."""

    def requests_elsewhere(self, root: str) -> list[str]:
        """The addresses that were requested and do not belong to the server at `root`."""
        return [url for url in self.requests if not url.startswith(f"{root}/")]


@dataclass(frozen=True, slots=True)
class Window:
    """A window with its own cookies, clipboard and credentials."""

    page: Page
    seen: Seen


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """Run Debian's Chromium until the block ends."""
    program = shutil.which("chromium")
    if program is None:
        raise FileNotFoundError("Chromium is needed: install the Debian package chromium")
    with (
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=program, args=_OPTIONS) as browser,
    ):
        yield browser


@contextlib.contextmanager
def window(
    browser: Browser,
    *,
    size: tuple[int, int] = DESKTOP,
    colours: Colours = "light",
    auth: tuple[str, str] | None = None,
) -> Iterator[Window]:
    """Open a window. `auth` is the answer to a server that asks for credentials."""
    width, height = size
    credentials: HttpCredentials | None = None
    if auth is not None:
        credentials = {"username": auth[0], "password": auth[1]}
    context = browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme=colours,
        http_credentials=credentials,
        permissions=["clipboard-read", "clipboard-write"],
        reduced_motion="reduce",
    )
    context.set_default_timeout(PATIENCE * 1000)
    context.add_init_script(_TELL_OF_VIOLATIONS)
    page = context.new_page()
    seen = Seen()
    _watch(page, seen)
    try:
        yield Window(page, seen)
    finally:
        context.close()


def _watch(page: Page, seen: Seen) -> None:
    def dismiss(dialog: Dialog) -> None:
        seen.dialogs.append(dialog.message)
        dialog.dismiss()

    def read(message: ConsoleMessage) -> None:
        if message.type == "error":
            seen.errors.append(message.text)

    def broke(error: Error) -> None:
        seen.errors.append(str(error))

    def asked(request: Request) -> None:
        seen.requests.append(request.url)

    # Record all windows that the page may open, too.
    page.context.on("request", asked)
    page.on("dialog", dismiss)
    page.on("console", read)
    page.on("pageerror", broke)


def serious_findings(page: Page) -> list[str]:
    """Return the accessibility problems that axe finds on a page, with the elements concerned."""
    response: dict[str, Any] = Axe().run(page).response
    return [
        f"{each['id']}: {node['target']}"
        for each in response["violations"]
        if each["impact"] in {"serious", "critical"}
        for node in each["nodes"]
    ]


def overflow(page: Page) -> int:
    """Return how many pixels a page is wider than its window."""
    found: int = page.evaluate("document.documentElement.scrollWidth - innerWidth")
    return found
