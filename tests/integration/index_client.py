"""A simple client of a package index, using `requests`: uploads like twine, pages, files."""

import base64
import hashlib
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import quote, urljoin

import requests

Fields = list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Link:
    """One anchor of a project page."""

    href: str
    text: str
    attributes: dict[str, str | None]


class _Anchors(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.links: list[Link] = []
        self._open: dict[str, str | None] | None = None
        self._text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self._open, self._text = dict(attrs), ""

    def handle_data(self, data: str) -> None:
        self._text += data

    def handle_endtag(self, tag: str) -> None:
        if tag == "a" and self._open is not None:
            self.links.append(Link(self._open.get("href") or "", self._text, self._open))
            self._open = None


def links(page: str) -> list[Link]:
    """Return every anchor of an HTML page, in order."""
    parser = _Anchors()
    parser.feed(page)
    parser.close()
    return parser.links


def upload_form(
    name: str, version: str, filename: str, content: bytes, *more: tuple[str, str]
) -> Fields:
    """Return the fields that twine 7 sends before the file; `more` replaces them by name."""
    wheel = filename.endswith(".whl")
    fields = [
        (":action", "file_upload"),
        ("protocol_version", "1"),
        ("metadata_version", "2.1"),
        ("name", name),
        ("version", version),
        ("filetype", "bdist_wheel" if wheel else "sdist"),
        ("pyversion", "py3" if wheel else "source"),
        ("sha256_digest", hashlib.sha256(content).hexdigest()),
        ("blake2_256_digest", hashlib.blake2b(content, digest_size=32).hexdigest()),
        ("summary", "An example"),
        ("classifiers", "Programming Language :: Python :: 3"),
        ("classifiers", "License :: OSI Approved :: MIT License"),
    ]
    replaced = {key for key, _ in more} - {"classifiers"}
    return [pair for pair in fields if pair[0] not in replaced] + list(more)


@dataclass(frozen=True, slots=True)
class IndexClient:
    """Speaks to the index at `base` (no trailing slash) with `auth` as Basic credentials."""

    base: str
    auth: tuple[str, str] | None
    session: requests.Session = field(repr=False)

    def request(self, method: str, path: str = "", **options: object) -> requests.Response:
        """Ask for `path`, appended to the base as it is; redirects are not followed."""
        asked: dict[str, object] = {"auth": self.auth, "allow_redirects": False} | options
        return self.session.request(method, f"{self.base}{path}", **asked)  # type: ignore[arg-type]

    def get(self, path: str, **options: object) -> requests.Response:
        """GET `path`."""
        return self.request("GET", path, **options)

    def publish(
        self,
        file: Path,
        name: str,
        version: str,
        *more: tuple[str, str],
        filename: str | None = None,
        slash: bool = True,
    ) -> requests.Response:
        """Upload a file as twine does; `more` adds or replaces form fields."""
        content = file.read_bytes()
        filename = filename or file.name
        return self.request(
            "POST",
            "/" if slash else "",
            data=upload_form(name, version, filename, content, *more),
            files={"content": (filename, content, "application/octet-stream")},
        )

    def published(self, file: Path, name: str, version: str, *more: tuple[str, str]) -> Path:
        """Upload a file that must be accepted."""
        response = self.publish(file, name, version, *more)
        assert response.ok, response.text
        return file

    def page(self, project: str) -> list[Link]:
        """Return the links of a project's HTML page, which must exist."""
        response = self.get(f"/{project}/", headers={"Accept": "text/html"})
        assert response.status_code == 200, response.text
        assert response.headers["Content-Type"].startswith("text/html")
        return links(response.text)

    def filenames(self, project: str) -> list[str]:
        """Return the files that a project's page lists, in its order."""
        return [link.text for link in self.page(project)]

    def follow(self, project: str, link: Link) -> requests.Response:
        """Download what a link of the project's page refers to, as a client would resolve it."""
        url = urljoin(f"{self.base}/{project}/", link.href)
        return self.session.get(url, auth=self.auth, allow_redirects=False)


def address(url: str) -> str:
    """Return a registry's URL as the first path segment of an index URL."""
    return quote(url, safe="")


def basic(username: str, password: str) -> str:
    """Return the Authorization header of these credentials."""
    return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()
