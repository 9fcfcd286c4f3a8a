"""The blobs of a repository: reading and deletion (distribution-spec, Pulling blobs, ...)."""

import logging
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from urllib.parse import unquote

from pyoci_flask.common.outlet import Outlet
from pyoci_flask.errors import (
    NotFoundError,
    PyOCIError,
    RegistryError,
    RegistryTimeoutError,
    TransferBrokenError,
)
from pyoci_flask.oci.answers import ErrorBody
from pyoci_flask.oci.client import REDIRECTS, RepositoryCaller
from pyoci_flask.oci.manifests import Deletion
from pyoci_flask.oci.reference import Digest
from pyoci_flask.transport.reply import Reply
from pyoci_flask.transport.shortcut import Look

logger = logging.getLogger("pyoci.registry")

_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)")


@dataclass(slots=True, eq=False)
class OpenBlob(AbstractContextManager["OpenBlob"]):
    """A blob, or a part of one, whose content has not been read. Close it after use."""

    caller: RepositoryCaller
    digest: Digest
    reply: Reply
    size: int | None
    """The size of the whole blob in bytes, or None if the registry does not state it."""
    start: int = 0
    """The position of the first byte that is received."""
    last: int | None = None
    """The position of the last byte that was requested, or None for the end of the blob."""
    _begun: int = field(init=False)
    """The position of the first byte of the current response."""

    def __post_init__(self) -> None:
        self._begun = self.start

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def position(self) -> int:
        """The position of the next byte."""
        return self._begun + self.reply.received

    def chunks(
        self, until: int = 0, outlet: Outlet | None = None, look: Look | None = None
    ) -> Iterator[bytes]:
        """Stream the bytes from `start` on, unverified.

        With an `outlet`, bytes before the position `until` may be sent to it instead, after `look`
        has seen them. An empty chunk shows that this may happen next or has just happened.

        If the connection breaks, request the rest with Range. This is repeated as long as each
        response contains some bytes and begins at exactly the next byte.
        """
        while True:
            begun = self.position
            try:
                if outlet is not None:
                    yield from self.reply.pass_on(until - begun, outlet, look)
                yield from self.reply.chunks()
            except (TransferBrokenError, RegistryTimeoutError) as error:
                if self.position == begun:
                    raise
                logger.info("%s after %d bytes; resuming there", error, self.position)
                if not self._resume(self.position):
                    raise
            else:
                return

    def _resume(self, position: int) -> bool:
        self.reply.close()
        try:
            rest = open_blob(self.caller, self.digest, first=position, last=self.last)
        except (RegistryError, NotFoundError):
            return False
        if rest.start != position or rest.size != (self.size or rest.size):
            rest.close()
            return False
        self.reply, self._begun = rest.reply, position
        return True

    def close(self) -> None:
        """Free the connection."""
        self.reply.close()


def blob_size(caller: RepositoryCaller, digest: Digest) -> int:
    """Return the size of a blob in bytes without fetching the blob.

    Raises:
        NotFoundError: the blob does not exist.
        RegistryError: the registry does not state the size, or failed.
    """
    reply = caller.call("HEAD", f"blobs/{digest}", "pull")
    if reply.status in {404, 405}:
        # The response to a HEAD has no body that shows whether the 404 is the registry's own.
        reply.close()
        with open_blob(caller, digest) as blob:
            size = blob.size
    elif reply.status == 200:
        reply.close()
        size = reply.length
    else:
        raise caller.refused(reply, "looking for a file's bytes")
    if size is None:
        raise RegistryError(
            f"{caller.repository.registry.netloc} does not say how large a blob is",
            advice=f"Ask the administrator of {caller.repository.registry.netloc} about "
            "this answer",
        )
    return size


def open_blob(
    caller: RepositoryCaller, digest: Digest, *, first: int = 0, last: int | None = None
) -> OpenBlob:
    """Begin to read a blob, from byte `first` to byte `last` (inclusive).

    If the registry does not support ranges, it sends the whole blob, and `start` is 0.

    Raises:
        NotFoundError: the blob does not exist.
    """
    headers = _range(first, last)
    reply = caller.call("GET", f"blobs/{digest}", "pull", headers=headers)
    return _opened(caller, digest, reply, first, last, probing=True)


def _range(first: int, last: int | None) -> dict[str, str]:
    if not first and last is None:
        return {}
    return {"Range": f"bytes={first}-{'' if last is None else last}"}


def _opened(
    caller: RepositoryCaller,
    digest: Digest,
    reply: Reply,
    first: int,
    last: int | None,
    *,
    probing: bool = False,
) -> OpenBlob:
    if reply.status == 404:
        error = ErrorBody.read(reply)
        if not error.no_content:
            raise caller.refused(reply, "reading a file's bytes", error)
        raise NotFoundError(
            f"{caller.repository} does not have the blob {digest}",
            advice="Publish the file again; its content is no longer in the registry",
        )
    if reply.status == 206 and (first or last is not None):
        match = _CONTENT_RANGE.fullmatch(reply.headers.get("Content-Range", ""))
        if match is None or int(match[1]) != first:
            reply.close()
            raise RegistryError(
                f"{caller.repository.registry.netloc} sent a part of a blob that was not requested",
                advice=f"Ask the administrator of {caller.repository.registry.netloc} "
                "about this response",
            )
        size = None if match[3] == "*" else int(match[3])
        return OpenBlob(caller, digest, reply, size, first, last)
    if reply.status != 200:
        raise caller.refused(reply, "reading a file's bytes", probing=probing)
    return OpenBlob(caller, digest, reply, reply.length)


def locate_blob(
    caller: RepositoryCaller, digest: Digest, *, first: int = 0, last: int | None = None
) -> str | OpenBlob:
    """Begin to read a blob, or return the URL of the storage that the registry redirects to.

    `first` and `last` are those of `open_blob`. A URL is returned only if it works for anyone who
    has it and reveals nothing: it belongs to another origin, which receives no Authorization, and
    does not contain the caller's credentials.

    Raises:
        NotFoundError: the blob does not exist.
    """
    headers = _range(first, last)
    reply = caller.call("GET", f"blobs/{digest}", "pull", headers=headers, follow=False)
    location = reply.headers.get("Location")
    if reply.status in REDIRECTS and location is not None:
        reply.close()
        url = caller.resolve(reply, location)
        if not caller.is_own(url) and not _holds_secret(url, reply.authorization):
            return url
    return _opened(caller, digest, caller.followed(reply), first, last)


def _holds_secret(url: str, authorization: str | None) -> bool:
    """Return whether a URL contains the credentials or the token that they were exchanged for."""
    secret = (authorization or "").partition(" ")[2]
    return bool(secret) and secret in unquote(url)


def has_bytes(caller: RepositoryCaller, digest: Digest) -> bool:
    """Return whether one byte of a blob can be read.

    distribution remembers which blobs exist: its HEAD still returns 200 after garbage collection
    has removed the bytes. If this check fails, the following upload repairs or reports the cause.
    """
    try:
        with open_blob(caller, digest, last=0) as blob:
            return any(blob.reply.chunks())
    except PyOCIError as error:
        logger.info("%s did not return any bytes of %s: %s", caller.repository, digest, error)
        return False


def shows_blob(caller: RepositoryCaller, digest: Digest) -> bool:
    """Return whether a HEAD shows that a blob can be read; False if the call fails."""
    try:
        with caller.call("HEAD", f"blobs/{digest}", "pull") as reply:
            return reply.status == 200
    except PyOCIError as error:
        logger.info("could not find out whether %s has %s: %s", caller.repository, digest, error)
        return False


def delete_blob(caller: RepositoryCaller, digest: Digest) -> Deletion:
    """Delete a blob, even if a manifest refers to it (Content management, Deleting Blobs)."""
    reply = caller.call("DELETE", f"blobs/{digest}", "delete", idempotent=True)
    if reply.status in {200, 202, 204}:
        reply.close()
        return Deletion.DONE
    error = ErrorBody.read(reply)
    if reply.status == 404 and error.no_content and not shows_blob(caller, digest):
        return Deletion.MISSING
    # A 404 for an existing blob means that this registry does not support DELETE.
    if reply.status in {404, 405, 501} or error.code == "UNSUPPORTED":
        return Deletion.UNSUPPORTED
    raise caller.refused(reply, "deleting a blob", error)
