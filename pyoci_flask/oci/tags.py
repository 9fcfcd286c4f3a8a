"""Reads the lists of a registry over all their pages: a repository's tags, and repositories."""

import re
import time
from collections.abc import Callable
from typing import Literal
from urllib.parse import urlsplit

from pyoci_flask.common.grammar import is_tag
from pyoci_flask.common.memory import Memory
from pyoci_flask.errors import RegistryError, RegistryTimeoutError
from pyoci_flask.oci.answers import ODD_ANSWER, ErrorBody
from pyoci_flask.oci.client import RepositoryCaller
from pyoci_flask.oci.model import MalformedDocumentError, parse_object
from pyoci_flask.transport.reply import Reply

_PAGE_LIMIT = 4 * 1024 * 1024
_SHORT_PAGE = 64 * 1024
_MOST_PAGES = 1000
_MOST_NAMES = 200_000
_LISTING_SECONDS = 60.0
"""The limit for all pages of a list, each of which has its own time-out, as they block a thread."""
_LINK = re.compile(r'<([^<>]*)>((?:\s*;\s*[a-z]+\s*=\s*(?:"[^"]*"|[^\s";,]+))*)', re.IGNORECASE)
_NEXT = re.compile(r';\s*rel\s*=\s*"?next"?(?![a-z])', re.IGNORECASE)

_KNOWN: Memory[tuple[bytes, str, str], dict[str, None]] = Memory(
    entries=1024,
    max_bytes=4 * 1024 * 1024,
    size=lambda names: sum(100 + len(name) for name in names),
)
"""The names in short pages, by page, because most responses are the same as the last time."""


def list_tags(caller: RepositoryCaller, *, whole: bool = False) -> list[str] | None:
    """Return all tags, unsorted, or None if the repository does not exist (Listing tags).

    No page size is requested, because some registries fail on it and others ignore it. An endless
    list is cut off. If `whole` is true, it is an error instead.

    Raises:
        RegistryError: the registry failed, or a 404 came from a proxy instead of the registry.
    """
    return _paged(
        caller,
        "tags/list",
        "pull",
        "tags",
        "listing versions",
        lambda status, error: status == 404 and error.no_repository,
        whole=whole,
    )


def list_repositories(caller: RepositoryCaller) -> list[str] | None:
    """Return the registry's repositories (from the catalog, an extension of distribution).

    Return None if it has no catalog. Only the registry and the credentials of `caller` are used.
    """
    return _paged(
        caller,
        "/v2/_catalog",
        "catalog",
        "repositories",
        "listing projects",
        lambda status, _: status in {400, 404, 405, 501},
    )


def _paged(
    caller: RepositoryCaller,
    path: str,
    access: Literal["pull", "catalog"],
    member: str,
    doing: str,
    missing: Callable[[int, ErrorBody], bool],
    *,
    whole: bool = False,
) -> list[str] | None:
    """Collect a list of names over all its pages, until a page repeats."""
    limit = time.monotonic() + _LISTING_SECONDS
    found: dict[str, None] = {}
    page, seen = path, set[str]()
    while page not in seen and len(seen) < _MOST_PAGES and len(found) < _MOST_NAMES:
        seen.add(page)
        with caller.call("GET", page, access) as reply:
            if reply.status != 200:
                error = ErrorBody.read(reply)
                if missing(reply.status, error) and not (whole and found):
                    return list(found) if found else None
                raise caller.refused(reply, doing, error)
            found.update(_names(caller, reply, member))
            query = next_page(reply.headers.get("Link", ""))
        if query is None:
            break
        if time.monotonic() > limit:
            host = caller.repository.registry.netloc
            raise RegistryTimeoutError(
                f"{host} took too long for {doing}, over {len(seen)} pages",
                advice=f"Try again later, and ask the administrator of {host} if the "
                "problem persists",
            )
        page = f"{path}?{query}"
    else:
        if whole:
            raise RegistryError(
                f"{caller.repository} sent a list of {member} that does not end",
                advice="Ask the administrator of the registry about this response",
            )
    return list(found)


def _names(caller: RepositoryCaller, reply: Reply, member: str) -> dict[str, None]:
    key = reply.read(_PAGE_LIMIT), member, caller.repository.name
    try:
        if len(key[0]) > _SHORT_PAGE:
            return _parsed(*key)
        return _KNOWN.get_or_make(key, lambda: _parsed(*key))
    except MalformedDocumentError as error:
        host = caller.repository.registry.netloc
        raise RegistryError(
            f"{host} answered {reply.status} with {error} instead of a list of {member}",
            advice=ODD_ANSWER,
        ) from error


def _parsed(document: bytes, member: str, repository: str) -> dict[str, None]:
    """Read the names of a page, each once.

    Raises:
        MalformedDocumentError: it is not a JSON object, or not a list of this repository's tags.
    """
    members = parse_object(document)
    if member == "tags" and "tags" not in members and members.get("name") != repository:
        raise MalformedDocumentError("an object without tags")
    names = members.get(member)
    if names is not None and not isinstance(names, list):
        raise MalformedDocumentError(f"an object whose {member} are not a list")
    texts = (name for name in names or () if isinstance(name, str))
    # Artifactory lists digests as tags. Null and empty entries also occur.
    return {name: None for name in texts if member != "tags" or is_tag(name)}


def next_page(link: str) -> str | None:
    """Return the query of a Link header's `rel=next` (RFC 8288), or None if there is none.

    The rest of the URL is ignored: behind some proxies and on some registries, the origin and path
    are wrong.
    """
    for match in _LINK.finditer(link):
        if _NEXT.search(match[2]):
            try:
                query = urlsplit(match[1]).query
            except ValueError:
                return None
            return query if query.isascii() and query.isprintable() and query else None
    return None
