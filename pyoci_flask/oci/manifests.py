"""The manifests of a repository (distribution-spec, Pulling, Pushing, Content management)."""

import logging
import secrets
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from typing import Any, Literal, TypeVar, overload

from pyoci_flask.common.budget import ByteBudget
from pyoci_flask.common.grammar import (
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
from pyoci_flask.oci.answers import ODD_ANSWER, ErrorBody
from pyoci_flask.oci.client import RepositoryCaller
from pyoci_flask.oci.manifest_digests import ACCEPT, stated_digest
from pyoci_flask.oci.model import (
    DOCUMENT_LIMIT,
    MalformedDocumentError,
    parse_object,
)
from pyoci_flask.oci.reference import Digest, Tag
from pyoci_flask.oci.tags import list_tags
from pyoci_flask.transport.reply import Reply

logger = logging.getLogger("pyoci.oci")

_T = TypeVar("_T")

_READING = ByteBudget(32 * 1024 * 1024, share=16 * 1024 * 1024)
"""Bytes of large manifests that may be read at a time. One registry may use half of them."""
_PARSING = ByteBudget(DOCUMENT_LIMIT + 1024 * 1024)
"""Bytes that may be parsed at a time. Parsing one byte may need ten bytes of memory, and the
interpreter lock lets only one thread parse at a time anyway."""


class MissingContentError(RegistryError):
    """A manifest was refused because the registry lacks content that it refers to.

    `code` is the registry's error code. MANIFEST_INVALID can also have other reasons.
    """

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


class ManifestRefusedError(RegistryError):
    """A manifest was refused for an unknown reason. Perhaps the registry cannot read its config."""


class UncertainWriteError(RegistryError):
    """The registry failed while writing a tag. The tag may have been written."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest or index as the registry stores it. `digest` is that of `document`."""

    document: bytes
    media_type: str
    digest: Digest
    members: Mapping[str, Any] | None = field(default=None, repr=False, compare=False)
    """The object in the document while it is read (see `read_manifest`)."""


class Unchanged(Enum):
    """The only value says that the registry still has the manifest that the caller knows."""

    UNCHANGED = auto()


UNCHANGED = Unchanged.UNCHANGED


class Deletion(Enum):
    """The outcome of a DELETE."""

    DONE = auto()
    MISSING = auto()
    UNSUPPORTED = auto()


def get_manifest(caller: RepositoryCaller, reference: Tag | Digest) -> Manifest | None:
    """Fetch a manifest or index, or return None if it does not exist (Pulling manifests).

    Raises the same exceptions as `read_manifest`.
    """
    return read_manifest(caller, reference, lambda manifest: replace(manifest, members=None))


@overload
def read_manifest(
    caller: RepositoryCaller,
    reference: Tag | Digest,
    parse: Callable[[Manifest], _T],
    known: None = None,
) -> _T | None: ...


@overload
def read_manifest(
    caller: RepositoryCaller,
    reference: Tag | Digest,
    parse: Callable[[Manifest], _T],
    known: Digest,
) -> _T | Literal[Unchanged.UNCHANGED] | None: ...


def read_manifest(
    caller: RepositoryCaller,
    reference: Tag | Digest,
    parse: Callable[[Manifest], _T],
    known: Digest | None = None,
) -> _T | Literal[Unchanged.UNCHANGED] | None:
    """Fetch a manifest or index and return the result of `parse`, or None if it does not exist.

    If the registry still has the manifest with the digest `known`, return `UNCHANGED`. A registry
    that supports conditional requests then sends no document.
    A worker keeps only a few large manifests in memory at a time, so `parse` must not wait.

    Raises:
        RegistryError: the content does not match its digest or Content-Type, or a proxy sent the
            404.
        OversizedError: it is larger than `DOCUMENT_LIMIT` or contains too many values.
        BusyError: this worker is reading too many other manifests.
    """
    headers = {"Accept": ACCEPT}
    if known is not None:
        headers["If-None-Match"] = f'"{known}"'
    reply = caller.call("GET", f"manifests/{reference}", "pull", headers=headers)
    if reply.status == 304 and known is not None and stated_digest(reply) in {None, known}:
        reply.close()
        return UNCHANGED
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
        digest = Digest.of(document)
        if known == digest:
            return UNCHANGED
        with _PARSING.hold(len(document)):
            return parse(_manifest(caller, reference, reply, document, digest))


def _announced(reply: Reply) -> int:
    """Return the maximum number of bytes that the body may have."""
    return DOCUMENT_LIMIT if "Content-Encoding" in reply.headers else reply.length or DOCUMENT_LIMIT


def _manifest(
    caller: RepositoryCaller,
    reference: Tag | Digest,
    reply: Reply,
    document: bytes,
    digest: Digest,
) -> Manifest:
    if isinstance(reference, Digest) and digest != reference:
        raise RegistryError(
            f"{caller.repository} sent content that does not match {reference}",
            advice="Try again, and check the storage of the registry if the problem persists",
        )
    stated = reply.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    members = None
    try:
        members = parse_object(document)
    except MalformedDocumentError as error:
        if not isinstance(error.__cause__, RecursionError):
            raise RegistryError(
                f"{caller.repository} sent {error} instead of a manifest",
                advice=ODD_ANSWER,
            ) from error
        # It is nested too deeply, but this is the content that was pushed.
    inner = members.get("mediaType") if members else None
    return Manifest(document, inner if isinstance(inner, str) else stated, digest, members)


def _is_unlisted(caller: RepositoryCaller, reference: Tag | Digest) -> bool:
    """Return whether the reference is a tag that the registry does not list.

    For a missing manifest, some registries return a 404 that looks like a proxy's.
    """
    return isinstance(reference, Tag) and str(reference) not in (list_tags(caller) or ())


def put_manifest(
    caller: RepositoryCaller, reference: Tag | Digest, document: bytes, media_type: str
) -> None:
    """Store a manifest or index (Pushing manifests).

    Raises:
        PayloadTooLargeError: it is larger than registries must accept, or than this reads.
        MissingContentError: the registry lacks content that the document refers to.
        AlreadyExistsError: the tag exists and the registry does not change tags.
        ManifestRefusedError: the registry failed, or refused a document sent by digest.
        UncertainWriteError: the registry failed while writing a tag; read the tag to find out.
    """
    if len(document) > DOCUMENT_LIMIT or has_too_many_values(document):
        raise PayloadTooLargeError(
            f"the manifest for {caller.repository} would grow to {len(document)} bytes, but a "
            f"manifest can have at most {DOCUMENT_LIMIT} bytes and {MOST_VALUES} JSON values",
            advice="Publish fewer files in this version, or shorten the URLs of the project",
        )
    reply = caller.call(
        "PUT",
        f"manifests/{reference}",
        "push",
        headers={"Content-Type": media_type},
        body=document,
        # A tag may change between two attempts; the content of a digest cannot.
        idempotent=isinstance(reference, Digest),
    )
    if reply.status not in {200, 201, 202, 204}:
        raise _not_stored(caller, reply, reference)
    reply.close()
    stored = reply.headers.get("Docker-Content-Digest")
    if stored is not None and stored != str(Digest.of(document)):
        raise RegistryError(
            f"{caller.repository} stored another document than the one sent",
            advice="Check the storage of the registry",
        )


def _not_stored(caller: RepositoryCaller, reply: Reply, reference: Tag | Digest) -> PyOCIError:
    error = ErrorBody.read(reply)
    if isinstance(reference, Tag) and (reply.status in {409, 412} or error.immutable_tag):
        return AlreadyExistsError(
            f"the tags of {caller.repository} are immutable{error}: the version {reference} "
            "already exists, so files can neither be added to it nor deleted from it",
            advice="Publish another version, or allow changes to these tags in the registry",
        )
    if reply.status in {400, 404} and error.missing_part:
        return MissingContentError(
            f"{caller.repository} is missing content that {reference} refers to{error}", error.code
        )
    refused = caller.refused(reply, f"writing {reference}", error)
    if isinstance(reference, Digest) and reply.status in {400, 500}:
        return ManifestRefusedError(str(refused), advice=refused.advice)
    if isinstance(reference, Tag) and reply.status >= 500:
        return UncertainWriteError(str(refused), advice=refused.advice)
    return refused


def delete_manifest(caller: RepositoryCaller, reference: Tag | Digest) -> Deletion:
    """Delete a tag, or a manifest and its tags (Content management)."""
    reply = caller.call("DELETE", f"manifests/{reference}", "delete", idempotent=True)
    if reply.status in {200, 202, 204}:
        reply.close()
        return Deletion.DONE
    error = ErrorBody.read(reply)
    match reply.status:
        case 404 if error.no_content:
            return Deletion.MISSING
        case 404 | 405 | 501:
            # A 404 that is not about the manifest means that DELETE is not supported.
            return Deletion.UNSUPPORTED
        case 400 if isinstance(reference, Tag) or error.still_tagged:
            # distribution 2.8 and Harbor do not delete tags (DIGEST_INVALID, UNSUPPORTED).
            return Deletion.UNSUPPORTED
        case 409 | 412:
            # An index still refers to the manifest (Harbor), or the tag is immutable.
            return Deletion.UNSUPPORTED
    raise caller.refused(reply, f"deleting {reference}", error)


def refuse_denied_deletion(caller: RepositoryCaller) -> None:
    """Check whether deletion is denied to this caller, before anything is changed.

    This tries to delete a manifest that cannot exist. It does not matter whether the registry
    supports deletion.

    Raises:
        AuthenticationRequiredError, DeniedError: this caller may not delete.
    """
    try:
        delete_manifest(caller, Digest.from_hex(secrets.token_hex(32)))
    except (AuthenticationRequiredError, DeniedError):
        raise
    except PyOCIError as error:
        logger.info("could not find out whether deletion is denied: %s", error)
