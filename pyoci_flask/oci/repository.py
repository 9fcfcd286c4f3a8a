"""The manifests and tags of a repository (distribution-spec, Pulling, Content discovery, ...)."""

import logging
import re
import secrets
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from enum import Enum, auto
from typing import Literal, TypeVar
from urllib.parse import urlsplit

from pyoci_flask.common.budget import ByteBudget
from pyoci_flask.common.memory import SizedCache
from pyoci_flask.errors import (
    AlreadyExistsError,
    AuthenticationRequiredError,
    DeniedError,
    PayloadTooLargeError,
    PyOCIError,
    RegistryError,
    RegistryTimeoutError,
)
from pyoci_flask.oci.answers import ErrorBody
from pyoci_flask.oci.client import RepositoryCaller
from pyoci_flask.oci.model import (
    DOCUMENT_LIMIT,
    INDEX_TYPE,
    MANIFEST_TYPE,
    MOST_VALUES,
    MalformedDocumentError,
    has_too_many_values,
    parse_object,
)
from pyoci_flask.oci.reference import TAG, Digest, Tag
from pyoci_flask.transport.reply import Reply

logger = logging.getLogger("pyoci.oci")

_ACCEPTED = (
    INDEX_TYPE,
    MANIFEST_TYPE,
    # Somebody's container image among the versions is then answered as what it is; some
    # registries convert it or fail for a client that takes OCI types only.
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
ACCEPT = ", ".join(_ACCEPTED)
_T = TypeVar("_T")

_READING = ByteBudget(32 * 1024 * 1024, share=16 * 1024 * 1024)
"""Bytes of large manifests that are read at once; one registry may have half of them."""
_PARSING = ByteBudget(DOCUMENT_LIMIT + 1024 * 1024)
"""Bytes that are parsed at once. Each may cost ten while that lasts, and the interpreter lock
lets one thread parse at a time anyway."""
_PAGE_LIMIT = 4 * 1024 * 1024
_SHORT_PAGE = 64 * 1024
_MOST_PAGES = 1000
_MOST_NAMES = 200_000
_LISTING_SECONDS = 60.0
"""For all pages of a list: each has a time-out of its own, and they hold a thread."""
_LINK = re.compile(r'<([^<>]*)>((?:\s*;\s*[a-z]+\s*=\s*(?:"[^"]*"|[^\s";,]+))*)', re.IGNORECASE)
_NEXT = re.compile(r';\s*rel\s*=\s*"?next"?(?![a-z])', re.IGNORECASE)
_MISSING_CONTENT = frozenset(
    {
        "MANIFEST_BLOB_UNKNOWN",
        "BLOB_UNKNOWN",
        "MANIFEST_UNKNOWN",
        "MANIFEST_INVALID",
        # distribution 2.8, while another writer links the same blob.
        "DIGEST_INVALID",
    }
)


_OVERWRITES = "cannot overwrite tag"
"""Of ocimem's 403 DENIED for a tag that is there."""


class MissingContentError(RegistryError):
    """A manifest was refused because something that it names is not there (any more).

    `code` is the registry's error code; MANIFEST_INVALID may have another reason as well.
    """

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


class ManifestRefusedError(RegistryError):
    """A manifest was refused without a reason: perhaps the registry cannot read its config."""


class UncertainWriteError(RegistryError):
    """The registry failed over a tag, and may have written it all the same."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest or index as the registry holds it; `digest` is over `document`."""

    document: bytes
    media_type: str
    digest: Digest


class Deletion(Enum):
    """How a DELETE ended."""

    DONE = auto()
    MISSING = auto()
    UNSUPPORTED = auto()


def list_tags(caller: RepositoryCaller, *, whole: bool = False) -> list[str] | None:
    """List all tags, unsorted (Content discovery, Listing tags); None = no such repository.

    No page size is asked for: some registries fail on it, others ignore it. A list that does not
    end is cut off, or an error where it has to be `whole`.

    Raises:
        RegistryError: also for a 404 that is not the registry's own, but that of a proxy.
    """

    def missing(status: int, error: ErrorBody) -> bool:
        return status == 404 and error.no_repository

    return _paged(caller, "tags/list", "pull", "tags", "listing versions", missing, whole=whole)


def list_repositories(caller: RepositoryCaller) -> list[str] | None:
    """List the registry's repositories (the catalog, an extension of distribution).

    None = it offers none. What `caller` is for does not matter; its credentials do.
    """

    def missing(status: int, _: ErrorBody) -> bool:
        return status in {400, 404, 405, 501}

    return _paged(caller, "/v2/_catalog", "catalog", "repositories", "listing projects", missing)


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
    """Collect a list of names over all its pages; stops where a page repeats."""
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
            raise RegistryTimeoutError(f"{host} took too long for {doing}, over {len(seen)} pages")
        page = f"{path}?{query}"
    else:
        if whole:
            raise RegistryError(f"{caller.repository} has a list of {member} that does not end")
    return list(found)


def _names(caller: RepositoryCaller, reply: Reply, member: str) -> dict[str, None]:
    host = caller.repository.registry.netloc
    document = reply.read(_PAGE_LIMIT)
    parse = _parsed if len(document) > _SHORT_PAGE else _PARSED
    try:
        names = parse(document, member, caller.repository.name)
    except MalformedDocumentError as error:
        raise RegistryError(
            f"{host} answered {reply.status} with {error} where a list of {member} belongs"
        ) from error
    if names is None:
        raise RegistryError(f"{host} answered {reply.status} with {member} that are no list")
    return names


def _parsed(document: bytes, member: str, repository: str) -> dict[str, None] | None:
    """Read a page's names, each once; None = they are no list.

    Raises:
        MalformedDocumentError: it is no JSON object, or no list of this repository's tags.
    """
    members = parse_object(document)
    if member == "tags" and "tags" not in members and members.get("name") != repository:
        raise MalformedDocumentError("an object without tags")
    names = members.get(member)
    if names is not None and not isinstance(names, list):
        return None
    texts = (name for name in names or () if isinstance(name, str))
    # JFrog lists digests as tags; null and empty entries are seen too.
    return {name: None for name in texts if member != "tags" or TAG.fullmatch(name)}


_PARSED = SizedCache(_parsed, 512 * 1024)
"""Most answers are those of the last time."""


def next_page(link: str) -> str | None:
    """Give the query of a Link header's `rel=next` (RFC 8288), if there is one.

    Only the query: origin and path in it are wrong behind some proxies and on some registries.
    """
    for match in _LINK.finditer(link):
        if _NEXT.search(match[2]):
            try:
                query = urlsplit(match[1]).query
            except ValueError:
                return None
            return query if query.isascii() and query.isprintable() and query else None
    return None


def get_manifest(caller: RepositoryCaller, reference: Tag | Digest) -> Manifest | None:
    """Fetch a manifest or index (Pulling manifests); None = there is none.

    Raises: as `read_manifest` does.
    """
    return read_manifest(caller, reference, lambda manifest: manifest)


def read_manifest(
    caller: RepositoryCaller, reference: Tag | Digest, parse: Callable[[Manifest], _T]
) -> _T | None:
    """Fetch a manifest or index and return what `parse` makes of it; None = there is none.

    A worker has few large ones in memory at once, so `parse` must not wait for anything.

    Raises:
        RegistryError: what came is not what its digest or its Content-Type says, or is the 404 of
            a proxy.
        OversizedError: it is larger than `DOCUMENT_LIMIT`, or holds too many values.
        BusyError: this worker is reading too many others.
    """
    reply = caller.call("GET", f"manifests/{reference}", "pull", headers={"Accept": ACCEPT})
    if reply.status == 404:
        error = ErrorBody.read(reply)
        if error.no_content or _is_unlisted(caller, reference):
            return None
        raise caller.refused(reply, f"reading {reference}", error)
    if reply.status != 200:
        raise caller.refused(reply, f"reading {reference}")
    registry = caller.repository.registry.origin
    with ExitStack() as held:
        document = reply.read(
            DOCUMENT_LIMIT,
            lambda: held.enter_context(_READING.hold(_announced(reply), registry)),
        )
        with _PARSING.hold(len(document)):
            return parse(_manifest(caller, reference, reply, document))


def _announced(reply: Reply) -> int:
    """Return the bytes that a body may have."""
    length = reply.headers.get("Content-Length", "")
    if "Content-Encoding" in reply.headers or not (length.isascii() and length.isdigit()):
        return DOCUMENT_LIMIT
    return int(length[:10])


def _manifest(
    caller: RepositoryCaller, reference: Tag | Digest, reply: Reply, document: bytes
) -> Manifest:
    digest = Digest.of(document)
    if isinstance(reference, Digest) and digest != reference:
        raise RegistryError(f"{caller.repository} sent other bytes than those of {reference}")
    stated = reply.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    try:
        inner = parse_object(document).get("mediaType")
    except MalformedDocumentError as error:
        if not isinstance(error.__cause__, RecursionError):
            raise RegistryError(f"{caller.repository} sent a manifest that is {error}") from error
        inner = None  # odd, but what was pushed: nothing is wrong with the registry
    return Manifest(document, inner if isinstance(inner, str) else stated, digest)


def _is_unlisted(caller: RepositoryCaller, reference: Tag | Digest) -> bool:
    """Return whether the registry's list of tags lacks the reference.

    For registries whose 404 for a manifest looks like that of a proxy.
    """
    return isinstance(reference, Tag) and str(reference) not in (list_tags(caller) or ())


def put_manifest(
    caller: RepositoryCaller, reference: Tag | Digest, document: bytes, media_type: str
) -> None:
    """Store a manifest or index (Pushing manifests).

    Raises:
        PayloadTooLargeError: it is more than registries have to take, and than is read here.
        MissingContentError: the registry misses something that the document names.
        AlreadyExistsError: the tag is there and the registry keeps tags as they are.
        ManifestRefusedError: the registry failed over a digest, or does not take the document.
        UncertainWriteError: the registry failed over a tag; read it to know.
    """
    if len(document) > DOCUMENT_LIMIT or has_too_many_values(document):
        raise PayloadTooLargeError(
            f"what is stored of {caller.repository} beside its files would grow to {len(document)} "
            f"bytes, but a manifest has at most {DOCUMENT_LIMIT}, and {MOST_VALUES} JSON values: "
            "shorten the project's URLs and labels, or publish fewer files in one version"
        )
    reply = caller.call(
        "PUT",
        f"manifests/{reference}",
        "push",
        headers={"Content-Type": media_type},
        body=document,
        # A tag may have changed between two tries, what a digest names cannot.
        idempotent=isinstance(reference, Digest),
    )
    if reply.status not in {200, 201, 202, 204}:
        raise _not_stored(caller, reply, reference)
    reply.close()
    stored = reply.headers.get("Docker-Content-Digest")
    if stored is not None and stored != str(Digest.of(document)):
        raise RegistryError(f"{caller.repository} stored another document than was sent")


def _not_stored(caller: RepositoryCaller, reply: Reply, reference: Tag | Digest) -> PyOCIError:
    error = ErrorBody.read(reply)
    if isinstance(reference, Tag) and (
        reply.status in {409, 412} or error.code == "TAG_INVALID" or _OVERWRITES in error.message
    ):
        return AlreadyExistsError(
            f"the tags of {caller.repository} are immutable{error}: the version {reference} is "
            "already there, and neither another file nor a deletion is possible in it"
        )
    if reply.status in {400, 404} and error.code in _MISSING_CONTENT:
        return MissingContentError(
            f"{caller.repository} misses a part of {reference}{error}", error.code
        )
    refused = caller.refused(reply, f"writing {reference}", error)
    if isinstance(reference, Digest) and reply.status in {400, 500}:
        return ManifestRefusedError(str(refused))
    if isinstance(reference, Tag) and reply.status >= 500:
        return UncertainWriteError(str(refused))
    return refused


def delete_manifest(caller: RepositoryCaller, reference: Tag | Digest) -> Deletion:
    """Delete a tag, or a manifest with its tags (Content management)."""
    reply = caller.call("DELETE", f"manifests/{reference}", "delete", idempotent=True)
    outcome: Deletion | None = None
    error: ErrorBody | None = None
    match reply.status:
        case 200 | 202 | 204:
            outcome = Deletion.DONE
        case 404:
            # A 404 that is not about the manifest: there is no DELETE at this address.
            error = ErrorBody.read(reply)
            outcome = Deletion.MISSING if error.no_content else Deletion.UNSUPPORTED
        case 405 | 501:
            outcome = Deletion.UNSUPPORTED
        case 400 if isinstance(reference, Tag):
            # distribution 2.8: DIGEST_INVALID, Harbor: UNSUPPORTED.
            outcome = Deletion.UNSUPPORTED
        case 400:
            error = ErrorBody.read(reply)
            if error.code.startswith("GOOGLE_MANIFEST_DANGLING"):
                # Still named by a tag or an index.
                outcome = Deletion.UNSUPPORTED
        case 409 | 412:
            # Still referenced by an index (Harbor), or immutable.
            outcome = Deletion.UNSUPPORTED
    if outcome is None:
        raise caller.refused(reply, f"deleting {reference}", error)
    reply.close()
    return outcome


def refuse_denied_deletion(caller: RepositoryCaller) -> None:
    """Ask for the deletion of a manifest that cannot be there, before anything is changed.

    Whether the registry can delete at all does not matter here, only whether it denies it.

    Raises:
        AuthenticationRequiredError, DeniedError: this caller may not delete.
    """
    try:
        delete_manifest(caller, Digest.from_hex(secrets.token_hex(32)))
    except (AuthenticationRequiredError, DeniedError):
        raise
    except PyOCIError as error:
        logger.info("whether deletion is denied is not known: %s", error)
