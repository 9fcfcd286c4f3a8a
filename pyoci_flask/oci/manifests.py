"""The manifests of a repository (distribution-spec, Pulling, Pushing, Content management)."""

import logging
import secrets
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from enum import Enum, auto
from typing import TypeVar

from pyoci_flask.common.budget import ByteBudget
from pyoci_flask.common.grammar import (
    DOCKER_MANIFEST,
    DOCKER_MANIFEST_LIST,
    MOST_VALUES,
    has_too_many_values,
)
from pyoci_flask.errors import (
    AlreadyExistsError,
    AuthenticationRequiredError,
    DeniedError,
    PayloadTooLargeError,
    PyOCIError,
    RegistryError,
)
from pyoci_flask.oci.answers import ErrorBody
from pyoci_flask.oci.client import RepositoryCaller
from pyoci_flask.oci.model import (
    DOCUMENT_LIMIT,
    INDEX_TYPE,
    MANIFEST_TYPE,
    MalformedDocumentError,
    parse_object,
)
from pyoci_flask.oci.reference import Digest, Tag
from pyoci_flask.oci.tags import list_tags
from pyoci_flask.transport.reply import Reply

logger = logging.getLogger("pyoci.oci")

# With the types of Docker, a container image among the versions is answered as it is: some
# registries convert it or fail for a client that takes OCI types only.
_ACCEPT = f"{INDEX_TYPE}, {MANIFEST_TYPE}, {DOCKER_MANIFEST_LIST}, {DOCKER_MANIFEST}"
_T = TypeVar("_T")

_READING = ByteBudget(32 * 1024 * 1024, share=16 * 1024 * 1024)
"""Bytes of large manifests that are read at the same time; one registry may have half of them."""
_PARSING = ByteBudget(DOCUMENT_LIMIT + 1024 * 1024)
"""Bytes that are parsed at the same time. Parsing a byte may need ten bytes of memory, and the
interpreter lock lets one thread parse at a time anyway."""


class MissingContentError(RegistryError):
    """A manifest was refused because the registry lacks something that it names.

    `code` is the registry's error code; MANIFEST_INVALID may have another reason as well.
    """

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


class ManifestRefusedError(RegistryError):
    """A manifest was refused for an unknown reason: perhaps the registry cannot read its config."""


class UncertainWriteError(RegistryError):
    """The registry failed while it wrote a tag. It may have written it."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest or index as the registry holds it; `digest` is over `document`."""

    document: bytes
    media_type: str
    digest: Digest


class Deletion(Enum):
    """The outcome of a DELETE."""

    DONE = auto()
    MISSING = auto()
    UNSUPPORTED = auto()


def get_manifest(caller: RepositoryCaller, reference: Tag | Digest) -> Manifest | None:
    """Fetch a manifest or index (Pulling manifests); None = there is none.

    Raises: as `read_manifest` does.
    """
    return read_manifest(caller, reference, lambda manifest: manifest)


def read_manifest(
    caller: RepositoryCaller, reference: Tag | Digest, parse: Callable[[Manifest], _T]
) -> _T | None:
    """Fetch a manifest or index and return what `parse` makes of it; None = there is none.

    A worker holds only a few large ones in memory at a time, so `parse` must not wait.

    Raises:
        RegistryError: the content does not match its digest or Content-Type, or a proxy sent the
            404.
        OversizedError: it is larger than `DOCUMENT_LIMIT`, or holds too many values.
        BusyError: this worker is reading too many others.
    """
    reply = caller.call("GET", f"manifests/{reference}", "pull", headers={"Accept": _ACCEPT})
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
    """Return how many bytes a body may have."""
    return DOCUMENT_LIMIT if "Content-Encoding" in reply.headers else reply.length or DOCUMENT_LIMIT


def _manifest(
    caller: RepositoryCaller, reference: Tag | Digest, reply: Reply, document: bytes
) -> Manifest:
    digest = Digest.of(document)
    if isinstance(reference, Digest) and digest != reference:
        raise RegistryError(f"{caller.repository} sent content that does not match {reference}")
    stated = reply.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    try:
        inner = parse_object(document).get("mediaType")
    except MalformedDocumentError as error:
        if not isinstance(error.__cause__, RecursionError):
            raise RegistryError(f"{caller.repository} sent a manifest that is {error}") from error
        inner = None  # nested too deeply, but these are the bytes that were pushed
    return Manifest(document, inner if isinstance(inner, str) else stated, digest)


def _is_unlisted(caller: RepositoryCaller, reference: Tag | Digest) -> bool:
    """Return whether the registry's list of tags lacks the reference.

    Some registries answer for a missing manifest with a 404 that looks like one of a proxy.
    """
    return isinstance(reference, Tag) and str(reference) not in (list_tags(caller) or ())


def put_manifest(
    caller: RepositoryCaller, reference: Tag | Digest, document: bytes, media_type: str
) -> None:
    """Store a manifest or index (Pushing manifests).

    Raises:
        PayloadTooLargeError: it is larger than registries have to accept, or than this reads.
        MissingContentError: the registry lacks something that the document names.
        AlreadyExistsError: the tag exists and the registry never changes tags.
        ManifestRefusedError: the registry failed, or does not take the document, by its digest.
        UncertainWriteError: the registry failed while it wrote a tag; read the tag to know.
    """
    if len(document) > DOCUMENT_LIMIT or has_too_many_values(document):
        raise PayloadTooLargeError(
            f"the manifest for {caller.repository} would grow to {len(document)} bytes, but a "
            f"manifest has at most {DOCUMENT_LIMIT} bytes and {MOST_VALUES} JSON values: shorten "
            "the project's URLs and labels, or publish fewer files in one version"
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
    if isinstance(reference, Tag) and (reply.status in {409, 412} or error.immutable_tag):
        return AlreadyExistsError(
            f"the tags of {caller.repository} are immutable{error}: the version {reference} "
            "already exists, so files can neither be added to it nor deleted from it"
        )
    if reply.status in {400, 404} and error.missing_part:
        return MissingContentError(
            f"{caller.repository} is missing content that {reference} refers to{error}", error.code
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
    if reply.status in {200, 202, 204}:
        reply.close()
        return Deletion.DONE
    error = ErrorBody.read(reply)
    match reply.status:
        case 404 if error.no_content:
            return Deletion.MISSING
        case 404 | 405 | 501:
            # A 404 that is not about the manifest: there is no DELETE at this address.
            return Deletion.UNSUPPORTED
        case 400 if isinstance(reference, Tag) or error.still_tagged:
            # distribution 2.8 and Harbor do not delete a tag: DIGEST_INVALID, UNSUPPORTED.
            return Deletion.UNSUPPORTED
        case 409 | 412:
            # An index still refers to it (Harbor), or it is immutable.
            return Deletion.UNSUPPORTED
    raise caller.refused(reply, f"deleting {reference}", error)


def refuse_denied_deletion(caller: RepositoryCaller) -> None:
    """Try to delete a manifest that cannot exist, before anything is changed.

    It does not matter whether the registry can delete at all, only whether it denies it.

    Raises:
        AuthenticationRequiredError, DeniedError: this caller may not delete.
    """
    try:
        delete_manifest(caller, Digest.from_hex(secrets.token_hex(32)))
    except (AuthenticationRequiredError, DeniedError):
        raise
    except PyOCIError as error:
        logger.info("could not find out whether deletion is denied: %s", error)
