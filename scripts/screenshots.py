#!/usr/bin/env python3
"""Take the pictures for docs/images: pages of a server with real projects, in Chromium.

Each page is taken on a desktop and on a phone, in light and in dark mode. pip downloads the
projects from the index that it is configured for, and they are kept in `.tools`.
"""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import requests

_ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(_ROOT))

from tests.browser import PHONE, Colours, chromium, window  # noqa: E402 - needs the path
from tests.clients import twine_upload  # noqa: E402 - needs the path
from tests.servers import gunicorn  # noqa: E402 - needs the path

_IMAGES = _ROOT / "docs" / "images"
_FOLDER = _ROOT / ".tools" / "real"
_PUBLIC_URL = "https://packages.example.com"
_REQUEST_ID = "3f1c9a52b7e84d06"
_DESKTOP = (1280, 900)
_PAGES = {
    "landing": "/",
    "browse": "/ui/simple/",
    "project": "/ui/simple/rich/",
    "files": "/ui/simple/zope-interface/7.1.1/files/",
    "versions": "/ui/simple/idna/versions/",
    "error": "/ui/simple/rich/15.9/",
}
_PAGES_WITHOUT_INDEX = {"builder": "/?registry=ghcr.io&namespace=acme"}
_LOOKS: tuple[tuple[str, tuple[int, int], Colours], ...] = (
    ("light", _DESKTOP, "light"),
    ("dark", _DESKTOP, "dark"),
    ("phone", PHONE, "light"),
    ("phone-dark", PHONE, "dark"),
)
_SYSTEMS = ("manylinux_2_17_x86_64", "manylinux_2_17_aarch64", "macosx_11_0_arm64", "win_amd64")
_IDNA = ("3.10", "3.9", "3.8", "3.7", "3.6", "3.4", "3.3", "3.2", "2.10", "2.8")
_PURE = (
    *("rich==14.0.0", "rich==13.9.4", "requests==2.32.3", "httpx==0.28.1", "flask==3.1.0"),
    *("markdown-it-py==3.0.0", "pygments==2.19.1", "click==8.1.8"),
    *(f"idna=={version}" for version in _IDNA),
)
_COMPILED = "zope.interface==7.1.1"
# The reason says nothing about the project itself, because the project is real.
_YANKED = ("idna/3.8", "Acme uses 3.9 or newer")


def main() -> None:
    """Write all pictures."""
    _IMAGES.mkdir(exist_ok=True)
    files = _downloaded()
    with tempfile.TemporaryDirectory(prefix="pyoci-screenshots-") as folder:
        own, other = Path(folder, "own"), Path(folder, "other")
        own.mkdir()
        other.mkdir()
        settings = {"PYOCI_URL": _PUBLIC_URL, "PYOCI_TITLE": "Acme packages"}
        with gunicorn(own, {**settings, "PYOCI_STORAGE": str(own / "storage")}) as server:
            _publish(own, f"{server.url}/simple/", files)
            _take_all(server.url, _PAGES)
        with gunicorn(other, settings) as server:
            _take_all(server.url, _PAGES_WITHOUT_INDEX)


def _downloaded() -> list[Path]:
    """Return the files of the projects, downloaded once."""
    complete = _FOLDER / "complete"
    wanted = "\n".join(" ".join(options) for options in _downloads())
    # The mark names what was downloaded, so that a changed list is downloaded again.
    if not complete.exists() or complete.read_text(encoding="utf-8") != wanted:
        _FOLDER.mkdir(parents=True, exist_ok=True)
        for options in _downloads():
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
            wheels = ["--only-binary=:all:", "--dest", str(_FOLDER), *options]
            subprocess.run([*command, *wheels], check=True)  # noqa: S603 - fixed words
        complete.write_text(wanted, encoding="utf-8")
    return sorted(_FOLDER.glob("*.whl"))


def _downloads() -> Iterator[list[str]]:
    for requirement in _PURE:
        yield [requirement]
    for python in ("3.12", "3.13"):
        for system in _SYSTEMS:
            yield ["--python-version", python, "--platform", system, _COMPILED]


def _publish(folder: Path, index: str, files: list[Path]) -> None:
    twine_upload(folder, index, *files, auth=("any", "any"))
    version, reason = _YANKED
    with requests.Session() as session:
        session.trust_env = False
        answer = session.patch(f"{index}{version}", json={"yanked": reason}, timeout=30)
        answer.raise_for_status()


def _take_all(root: str, pages: dict[str, str]) -> None:
    with chromium() as browser:
        for kind, size, colours in _LOOKS:
            with window(browser, size=size, colours=colours) as opened:
                # The error page shows the request id; a fixed id keeps the picture the same.
                opened.page.set_extra_http_headers({"X-Request-Id": _REQUEST_ID})
                for name, path in pages.items():
                    opened.page.goto(f"{root}{path}")
                    opened.page.wait_for_load_state("networkidle")
                    picture = _IMAGES / f"{name}-{kind}.png"
                    opened.page.screenshot(path=picture, animations="disabled")
                    sys.stdout.write(f"{picture.relative_to(_ROOT)} {picture.stat().st_size} B\n")


if __name__ == "__main__":
    main()
