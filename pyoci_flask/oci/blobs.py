"""The blobs of a repository (distribution-spec, Pulling blobs and Pushing blobs)."""

import logging
import re
from collections.abc import Iterator
from types import TracebackType
from typing import Self
from urllib.parse import unquote

from pyoci_flask.errors import (
    NotFoundError,
    PyOCIError,
    RegistryError,
    RegistryTimeoutError,
    RegistryUnreachableError,
    TransferBrokenError,
)
from pyoci_flask.oci.answers import ErrorBody
from pyoci_flask.oci.client import REDIRECTS, RepositoryCaller
from pyoci_flask.oci.reference import Digest
from pyoci_flask.oci.repository import Deletion
from pyoci_flask.transport.reply import Reply
from pyoci_flask.transport.request import Body

logger = logging.getLogger("pyoci.registry")

_UPLOADS = 2
"""Tries of one upload."""
_PASSING = frozenset({408, 500, 502, 503, 504})

_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)")


class OpenBlob:
    """A blob, or a part of it, still on the wire. Close it.

    `size` is the bytes of the whole blob, if the registry told; `start` is where the bytes that
    come begin.
    """

    def __init__(
        self,
        caller: RepositoryCaller,
        digest: Digest,
        reply: Reply,
        *,
        size: int | None,
        start: int = 0,
        last: int | None = None,
    ) -> None:
        self._caller = caller
        self._digest = digest
        self._last = last
        self.reply = reply
        self.size = size
        self.start = start

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def chunks(self) -> Iterator[bytes]:
        """Stream the bytes from `start` on, unverified.

        Where the connection breaks, the rest is asked for with Range: as often as some bytes
        have come since the last time, and only if the very next byte is what the answer begins
        with.
        """
        position = self.start
        while True:
            begun = position
            try:
                for chunk in self.reply.chunks():
                    position += len(chunk)
                    yield chunk
            except (TransferBrokenError, RegistryTimeoutError) as error:
                if position == begun:
                    raise
                logger.info("%s after %d bytes: going on from there", error, position)
                if not self._resume(position):
                    raise
            else:
                return

    def _resume(self, position: int) -> bool:
        try:
            rest = open_blob(self._caller, self._digest, first=position, last=self._last)
        except (RegistryError, NotFoundError):
            return False
        if rest.start != position or rest.size != (self.size or rest.size):
            rest.close()
            return False
        self.reply = rest.reply
        return True

    def close(self) -> None:
        """Free the connection."""
        self.reply.close()


def blob_size(caller: RepositoryCaller, digest: Digest) -> int:
    """Ask for the bytes of a blob without fetching it.

    Raises:
        NotFoundError: there is no such blob.
        RegistryError: also where the registry does not tell.
    """
    reply = caller.call("HEAD", f"blobs/{digest}", "pull")
    if reply.status in {404, 405}:
        # The answer to a HEAD has no body that would say whose 404 it is.
        reply.close()
        with open_blob(caller, digest) as blob:
            size = blob.size
    elif reply.status == 200:
        reply.close()
        size = _number(reply.headers.get("Content-Length"))
    else:
        raise caller.refused(reply, "looking for a file's bytes")
    if size is None:
        raise RegistryError(f"{caller.repository.registry.netloc} does not tell a blob's size")
    return size


def open_blob(
    caller: RepositoryCaller, digest: Digest, *, first: int = 0, last: int | None = None
) -> OpenBlob:
    """Begin to read a blob, from byte `first` to byte `last` (inclusive) if the registry can.

    Where it cannot, the whole blob comes: `start` tells.

    Raises:
        NotFoundError: there is no such blob.
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
        raise NotFoundError(f"{caller.repository} does not hold the bytes {digest}")
    if reply.status == 206 and (first or last is not None):
        match = _CONTENT_RANGE.fullmatch(reply.headers.get("Content-Range", ""))
        if match is None or int(match[1]) != first:
            reply.close()
            raise RegistryError(
                f"{caller.repository.registry.netloc} sent another part of a blob than asked for"
            )
        return OpenBlob(caller, digest, reply, size=_number(match[3]), start=first, last=last)
    if reply.status != 200:
        raise caller.refused(reply, "reading a file's bytes", probing=probing)
    size = _number(reply.headers.get("Content-Length"))
    return OpenBlob(caller, digest, reply, size=size, last=None)


def locate_blob(
    caller: RepositoryCaller, digest: Digest, *, first: int = 0, last: int | None = None
) -> str | OpenBlob:
    """Begin to read a blob, or give the URL of the storage that the registry redirects to.

    `first` and `last` as in `open_blob`.

    Only a URL that works for everybody who has it, and gives nothing away: of another origin than
    the registry's, where no Authorization is sent, and without the caller's credentials in it.

    Raises:
        NotFoundError: there is no such blob.
    """
    headers = _range(first, last)
    reply = caller.call("GET", f"blobs/{digest}", "pull", headers=headers, follow=False)
    location = reply.headers.get("Location")
    if reply.status in REDIRECTS and location is not None:
        try:
            url = caller.resolve(reply, location)
        except BaseException:
            reply.close()
            raise
        if not caller.is_own(url) and not _holds_secret(url, reply.authorization):
            reply.close()
            return url
    return _opened(caller, digest, caller.followed(reply), first, last)


def _holds_secret(url: str, authorization: str | None) -> bool:
    """Tell whether the credentials, or the token they were exchanged for, stand in a URL."""
    secret = (authorization or "").partition(" ")[2]
    return bool(secret) and secret in unquote(url)


class UploadSession:
    """An upload that the registry has begun: the proof that the caller may push.

    Neither the scope of a token nor reading with it proves that (distribution-spec, Pushing blobs).
    As a context, it cancels the upload unless a `put` in it has succeeded.
    """

    def __init__(self, caller: RepositoryCaller, reply: Reply, location: str) -> None:
        self._caller = caller
        self._reply = reply
        self._location = location
        self._is_open = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.cancel()

    def put(self, digest: Digest, body: Body, length: int) -> None:
        """Send the whole blob and end the session; arguments as in `push_blob`.

        Raises:
            RegistryError: the registry did not take it.
        """
        url = f"{self._location}{'&' if '?' in self._location else '?'}digest={digest}"
        answer = self._caller.put_at(url, self._reply, body, length)
        if answer.status not in {201, 204}:
            error = self._caller.refused(answer, "uploading")
            raise _UploadFailedError(error) if answer.status in _PASSING else error
        answer.close()
        self._is_open = False
        stored = answer.headers.get("Docker-Content-Digest")
        if stored is not None and stored != str(digest):
            raise RegistryError(
                f"{self._caller.repository.registry.netloc} stored other bytes than were sent"
            )

    def cancel(self) -> bool:
        """Have the registry forget the upload unless it has ended; return whether it did."""
        if not self._is_open:
            return False
        self._is_open = False
        try:
            return self._caller.cancel_at(self._location, self._reply)
        except PyOCIError as error:
            logger.info("an upload was not cancelled: %s", error)
            return False


def begin_upload(caller: RepositoryCaller) -> UploadSession:
    """Ask the registry to begin an upload.

    Raises:
        AuthenticationRequiredError: the registry asks for credentials.
        DeniedError: the caller may not push.
        NotFoundError: the registry wants the repository to be made first (ECR).
    """
    reply = caller.call("POST", "blobs/uploads/", "push", idempotent=True)
    location = reply.headers.get("Location")
    if reply.status != 202 or location is None:
        error = ErrorBody.read(reply)
        if reply.status == 404 and error.no_repository:
            raise NotFoundError(
                f"{caller.repository} does not exist and the registry does not make it on the "
                f"first upload{error}: make the repository there first"
            )
        raise caller.refused(reply, "starting an upload", error)
    reply.close()
    return UploadSession(caller, reply, caller.resolve(reply, location))


def push_blob(
    caller: RepositoryCaller,
    digest: Digest,
    body: Body,
    length: int,
    *,
    looked: bool = False,
    missing: bool = False,
    session: UploadSession | None = None,
) -> None:
    """Upload a blob unless it is there: POST, then one PUT with the whole content.

    Chunked uploads, PATCH and the single POST are each broken on some registry. `body` is bytes
    or a file that can be rewound; `length` its bytes; `looked` says not to look whether it is
    there; `missing` says never to look, as the registry misses it whatever it answers; `session`
    is an upload that was begun for it, so that no POST is needed.

    Raises:
        NotFoundError: the registry wants the repository to be made first (ECR).
        RegistryError: it did not take the upload.
    """
    for _ in range(_UPLOADS - 1):
        try:
            return _push_once(
                caller, digest, body, length, looked=looked or missing, session=session
            )
        except (_UploadFailedError, RegistryUnreachableError) as error:
            # Where it stopped is not known, so it begins anew: with a look for what is there.
            logger.info("%s; uploading again", error)
            looked, session = False, None
    try:
        return _push_once(caller, digest, body, length, looked=looked or missing, session=session)
    except _UploadFailedError as error:
        raise error.refusal from error


class _UploadFailedError(PyOCIError):
    """The registry failed in a way that may pass; `refusal` is what it is if it does not."""

    def __init__(self, refusal: PyOCIError) -> None:
        super().__init__(str(refusal))
        self.refusal = refusal


def _push_once(
    caller: RepositoryCaller,
    digest: Digest,
    body: Body,
    length: int,
    *,
    looked: bool,
    session: UploadSession | None,
) -> None:
    if not looked and holds_blob(caller, digest):
        return
    if session is not None:
        session.put(digest, body, length)
        return
    with begin_upload(caller) as begun:
        begun.put(digest, body, length)


def holds_blob(caller: RepositoryCaller, digest: Digest) -> bool:
    """Tell whether a blob that is to be uploaded is there already; False where that is not told."""
    reply = caller.call("HEAD", f"blobs/{digest}", "push")
    if reply.status == 200:
        reply.close()
        return has_bytes(caller, digest)
    if reply.status in {403, 404, 405}:
        # 403 and 405 say nothing about the blob: upload it.
        reply.close()
        return False
    raise caller.refused(reply, "looking for a blob")


def has_bytes(caller: RepositoryCaller, digest: Digest) -> bool:
    """Read one byte of a blob and tell whether it came.

    distribution remembers blobs: its HEAD goes on to answer 200 where the garbage collection has
    removed the bytes. Whatever is wrong here, an upload mends it or tells it.
    """
    try:
        with open_blob(caller, digest, last=0) as blob:
            return any(blob.reply.chunks())
    except PyOCIError as error:
        logger.info("%s holds no bytes of %s: %s", caller.repository, digest, error)
        return False


def shows_blob(caller: RepositoryCaller, digest: Digest) -> bool:
    """Return whether a HEAD shows that a blob can be read; False if the call fails."""
    try:
        with caller.call("HEAD", f"blobs/{digest}", "pull") as reply:
            return reply.status == 200
    except PyOCIError as error:
        logger.info("whether %s holds %s is not known: %s", caller.repository, digest, error)
        return False


def delete_blob(caller: RepositoryCaller, digest: Digest) -> Deletion:
    """Delete a blob (Content management, Deleting Blobs), whatever names it."""
    reply = caller.call("DELETE", f"blobs/{digest}", "delete", idempotent=True)
    if reply.status in {200, 202, 204}:
        reply.close()
        return Deletion.DONE
    error = ErrorBody.read(reply)
    if reply.status == 404 and error.no_content and not shows_blob(caller, digest):
        return Deletion.MISSING
    # A 404 for a blob that is there: there is no DELETE at this address.
    if reply.status in {404, 405, 501} or error.code == "UNSUPPORTED":
        return Deletion.UNSUPPORTED
    raise caller.refused(reply, "deleting a blob", error)


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 19 else None
