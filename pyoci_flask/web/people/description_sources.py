"""Where the files of a project can be read: its repository on one of the well-known code hosts.

A description often has relative links and images, which its author wrote for the repository. They
lead there if the project's links name it.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from posixpath import normpath
from urllib.parse import quote, urlsplit

from pyoci_flask.common.url import is_web_url, normal_label

_LONGEST = 300
"""Maximum number of characters of the URL of a repository. It is repeated for each link."""
_LONGEST_LINK = 2000
_LABELS = (
    *("source", "repository", "sourcecode", "github", "code", "repo", "sourcerepository"),
    *("gitlab", "codeberg", "bitbucket", "git", "vcs", "homepage"),
)
"""Labels of links to a repository, best first; the first four and `homepage` are well known."""
_NO_OWNERS = frozenset({"apps", "features", "marketplace", "orgs", "sponsors", "topics", "users"})
_SAFE = "%!$&'()*+,;=:@-._~"
_SEGMENT = r"(?!\.{1,2}(?:/|$))[A-Za-z0-9._-]+"
_TREE = r"tree/(?P<ref>[^/]+)(?:/(?P<folder>.+))?"
_TWO = re.compile(rf"(?P<project>{_SEGMENT}/{_SEGMENT})(?:/{_TREE})?")
_ANY = re.compile(rf"(?P<project>{_SEGMENT}(?:/{_SEGMENT})+?)(?:/-/{_TREE})?")


@dataclass(frozen=True, slots=True)
class Source:
    """The newest files of a repository, as addresses to which the path of a file is appended."""

    files: str
    """The pages of the files."""
    images: str
    """The files themselves."""
    folder: str = ""
    """The folder in the repository that relative links start from, without slashes at its ends."""

    def file(self, link: str) -> str | None:
        """Return the address to which a relative link leads, or None if it has none."""
        return _resolved(link, self.files, self.folder)

    def image(self, link: str) -> str | None:
        """Return the address of the image at a relative link, or None if it has none."""
        return _resolved(link, self.images, self.folder)


def source_of(links: Iterable[tuple[str, str]]) -> Source | None:
    """Find the repository of a project among its links, each a label and a URL.

    Labels are compared as for the well-known ones (core metadata, Well-known Project URLs).
    """
    urls: dict[str, str] = {}
    for label, url in links:
        urls.setdefault(normal_label(label), url)
    found = (_source(urls[label]) for label in _LABELS if label in urls)
    return next((one for one in found if one is not None), None)


def _source(url: str) -> Source | None:
    if len(url) > _LONGEST or not is_web_url(url):
        return None
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").removeprefix("www.")
    except ValueError:
        return None
    if host not in _HOSTS:
        return None
    pattern, addresses = _HOSTS[host]
    match = pattern.fullmatch(parts.path.strip("/"))
    if match is None:
        return None
    project = match["project"].removesuffix(".git")
    if project.partition("/")[0] in _NO_OWNERS:
        return None
    files, images = addresses(project, quote(match["ref"] or "HEAD", safe=_SAFE))
    return Source(files, images, match["folder"] or "")


def _github(project: str, ref: str) -> tuple[str, str]:
    raw = f"https://raw.githubusercontent.com/{project}/{ref}/"
    return f"https://github.com/{project}/blob/{ref}/", raw


def _gitlab(project: str, ref: str) -> tuple[str, str]:
    root = f"https://gitlab.com/{project}/-/"
    return f"{root}blob/{ref}/", f"{root}raw/{ref}/"


def _codeberg(project: str, ref: str) -> tuple[str, str]:
    root = f"https://codeberg.org/{project}/"
    return f"{root}src/branch/{ref}/", f"{root}raw/branch/{ref}/"


def _bitbucket(project: str, ref: str) -> tuple[str, str]:
    root = f"https://bitbucket.org/{project}/"
    return f"{root}src/{ref}/", f"{root}raw/{ref}/"


_Addresses = Callable[[str, str], tuple[str, str]]
_HOSTS: dict[str, tuple[re.Pattern[str], _Addresses]] = {
    "github.com": (_TWO, _github),
    "gitlab.com": (_ANY, _gitlab),
    "codeberg.org": (_TWO, _codeberg),
    "bitbucket.org": (_TWO, _bitbucket),
}


def _resolved(link: str, root: str, folder: str) -> str | None:
    """Return the address of a file below `root`, or None if the link leads to no file in it."""
    if len(link) > _LONGEST_LINK or not link.isprintable() or "\\" in link:
        return None
    end = next((at for at, char in enumerate(link) if char in "?#"), len(link))
    path, rest = link[:end], link[end:]
    # `//` begins a host, and a colon in the first segment ends a scheme (RFC 3986, 4.2).
    if not path or path.startswith("//") or ":" in path.partition("/")[0]:
        return None
    joined = path if path.startswith("/") else f"{folder}/{path}"
    # Browsers read `%2e` as a dot.
    inside = normpath(re.sub("%2e", ".", joined, flags=re.IGNORECASE).lstrip("/"))
    if inside in {".", ".."} or inside.startswith("../"):
        return None
    return root + quote(inside, safe=f"/{_SAFE}") + quote(rest, safe=f"/?#{_SAFE}")
