"""Uploads of blobs (distribution-spec, Pushing blobs)."""

import logging
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

from pyoci_flask.errors import NotFoundError, PyOCIError, RegistryError, RegistryUnreachableError
from pyoci_flask.oci.answers import ErrorBody
from pyoci_flask.oci.blobs import has_bytes
from pyoci_flask.oci.client import RepositoryCaller
from pyoci_flask.oci.reference import Digest
from pyoci_flask.transport.request import Body, Request

logger = logging.getLogger("pyoci.registry")

_PASSING = frozenset({408, 500, 502, 503, 504})
_PATIENCE = 300.0
"""Seconds to wait for the response to an upload, before which registries hash and move the blob."""


class UploadSession(AbstractContextManager["UploadSession"]):
    """An upload that the registry has begun, which proves that the caller may push.

    Neither a token's scope nor reading with the token proves this (distribution-spec, Pushing
    blobs). As a context manager, the session cancels the upload unless a `put` has succeeded.
    """

    def __init__(self, caller: RepositoryCaller, request: Request) -> None:
        """Take the POST that began the upload, moved to the Location of its response.

        Its Authorization is used again, so that no 401 arrives while the body is being sent.
        """
        self._caller = caller
        self._request = replace(request, idempotent=False)
        self._is_open = True

    def __exit__(self, *_: object) -> None:
        self.cancel()

    def put(self, digest: Digest, body: Body, length: int) -> None:
        """Send the whole blob and end the session. The arguments are those of `push_blob`.

        Raises:
            RegistryError: the registry did not accept the blob.
        """
        location = self._request.url
        request = replace(
            self._request,
            method="PUT",
            url=f"{location}{'&' if '?' in location else '?'}digest={digest}",
            headers={**self._request.headers, "Content-Type": "application/octet-stream"},
            body=body,
            length=length,
            patience=_PATIENCE,
        )
        answer = self._caller.transport.send(request)
        if answer.status == 401 and request.authorization is not None:
            # The token has expired in the meantime, so send the body once more.
            answer = self._caller.authenticator.send(request, refused=answer)
        if answer.status not in {201, 204}:
            error = self._caller.refused(answer, "uploading")
            raise _PassingFailureError(error) if answer.status in _PASSING else error
        answer.close()
        self._is_open = False
        stored = answer.headers.get("Docker-Content-Digest")
        if stored is not None and stored != str(digest):
            raise RegistryError(
                f"{self._caller.repository.registry.netloc} stored content that differs from "
                "what was sent",
                advice="Publish the file again, and check the storage of the registry if "
                "the problem persists",
            )

    def cancel(self) -> bool:
        """Cancel the upload unless it has ended; return whether the registry cancelled it."""
        if not self._is_open:
            return False
        self._is_open = False
        try:
            with self._caller.transport.send(replace(self._request, method="DELETE")) as answer:
                return answer.status < 300
        except PyOCIError as error:
            logger.info("could not cancel an upload: %s", error)
            return False


def begin_upload(caller: RepositoryCaller) -> UploadSession:
    """Ask the registry to begin an upload.

    Raises:
        AuthenticationRequiredError: the registry requires credentials.
        DeniedError: the caller may not push.
        NotFoundError: the repository has to be made first (ECR).
    """
    reply = caller.call("POST", "blobs/uploads/", "push", idempotent=True)
    location = reply.headers.get("Location")
    if reply.status != 202 or location is None:
        error = ErrorBody.read(reply)
        if reply.status == 404 and error.no_repository:
            raise NotFoundError(
                f"{caller.repository} does not exist and the registry does not create it on the "
                f"first upload{error}: make the repository there first",
                advice=f"Create the repository {caller.repository.name} in the registry first",
            )
        raise caller.refused(reply, "starting an upload", error)
    reply.close()
    return UploadSession(caller, reply.request.moved(caller.resolve(reply, location)))


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
    """Upload a blob unless it exists: POST, then one PUT with the whole content.

    Chunked uploads, PATCH and the single POST are each broken on some registry. `body` is bytes,
    or a file of `length` bytes that can be rewound. If `looked` is true, the first attempt does not
    check whether the blob exists. If `missing` is true, no attempt does, because the registry lacks
    the blob even if it claims to have it. `session` is an upload that was begun for this blob, so
    that no POST is needed.

    Raises:
        NotFoundError: the repository has to be made first (ECR).
        RegistryError: the registry did not accept the upload.
    """
    try:
        return _push_once(caller, digest, body, length, looked=looked or missing, session=session)
    except (_PassingFailureError, RegistryUnreachableError) as error:
        # It is not known how much has arrived, so start again and check whether the blob exists.
        logger.info("%s; uploading again", error)
    try:
        return _push_once(caller, digest, body, length, looked=missing)
    except _PassingFailureError as error:
        raise error.refusal from error


class _PassingFailureError(PyOCIError):
    """The registry failed, perhaps temporarily. `refusal` is the error if the failure persists."""

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
    session: UploadSession | None = None,
) -> None:
    if not looked and holds_blob(caller, digest):
        return
    with nullcontext(session) if session is not None else begin_upload(caller) as begun:
        begun.put(digest, body, length)


def holds_blob(caller: RepositoryCaller, digest: Digest) -> bool:
    """Return whether a blob exists before it is uploaded; False if this is unknown."""
    reply = caller.call("HEAD", f"blobs/{digest}", "push")
    if reply.status == 200:
        reply.close()
        return has_bytes(caller, digest)
    if reply.status in {403, 404, 405}:
        # 403 and 405 say nothing about the blob, so upload it.
        reply.close()
        return False
    raise caller.refused(reply, "looking for a blob")
