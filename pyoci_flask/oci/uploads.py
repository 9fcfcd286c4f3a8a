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
"""Seconds for the answer to an upload: registries hash and move the blob before they answer."""


class UploadSession(AbstractContextManager["UploadSession"]):
    """An upload that the registry has begun: the proof that the caller may push.

    Neither the scope of a token nor reading with it proves that (distribution-spec, Pushing blobs).
    As a context manager, it cancels the upload unless a `put` has succeeded.
    """

    def __init__(self, caller: RepositoryCaller, request: Request) -> None:
        """`request` is the POST that began the upload, moved to the Location of its answer.

        Its authorization is used again, so that no 401 comes while the body is sent.
        """
        self._caller = caller
        self._request = replace(request, idempotent=False)
        self._is_open = True

    def __exit__(self, *_: object) -> None:
        self.cancel()

    def put(self, digest: Digest, body: Body, length: int) -> None:
        """Send the whole blob and end the session; arguments as in `push_blob`.

        Raises:
            RegistryError: the registry did not take it.
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
            # The token expired meanwhile: send the body once more.
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
                "what was sent"
            )

    def cancel(self) -> bool:
        """Have the registry drop the upload unless it has ended; return whether it did."""
        if not self._is_open:
            return False
        self._is_open = False
        try:
            with self._caller.transport.send(replace(self._request, method="DELETE")) as answer:
                return answer.status < 300
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
    or a file of `length` bytes that can be rewound. If `looked`, the first try does not look
    whether the blob exists; if `missing`, no try does, as the registry lacks it even if it says
    otherwise. `session` is an upload that was begun for this blob, so that no POST is needed.

    Raises:
        NotFoundError: the registry wants the repository to be made first (ECR).
        RegistryError: it did not take the upload.
    """
    try:
        return _push_once(caller, digest, body, length, looked=looked or missing, session=session)
    except (_PassingFailureError, RegistryUnreachableError) as error:
        # How much arrived is not known, so start again and look for what is there.
        logger.info("%s; uploading again", error)
    try:
        return _push_once(caller, digest, body, length, looked=missing)
    except _PassingFailureError as error:
        raise error.refusal from error


class _PassingFailureError(PyOCIError):
    """The registry failed in a way that may pass; `refusal` is the error if it does not."""

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
    """Return whether a blob is there already, before it is uploaded; False if that is unknown."""
    reply = caller.call("HEAD", f"blobs/{digest}", "push")
    if reply.status == 200:
        reply.close()
        return has_bytes(caller, digest)
    if reply.status in {403, 404, 405}:
        # 403 and 405 say nothing about the blob: upload it.
        reply.close()
        return False
    raise caller.refused(reply, "looking for a blob")
