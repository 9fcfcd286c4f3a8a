"""DELETE and PATCH of a file or a version."""

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from flask import request
from werkzeug.wrappers import Response

from pyoci_flask.common.redaction import redact
from pyoci_flask.errors import InvalidRequestError, PyOCIError
from pyoci_flask.index.delete import delete_file, delete_version
from pyoci_flask.index.file_blobs import DeletedBlobs, FileBlobs
from pyoci_flask.index.project import File
from pyoci_flask.index.project_repository import Candidates, hold_blobs
from pyoci_flask.index.yank import set_yanked
from pyoci_flask.oci.manifests import refuse_denied_deletion
from pyoci_flask.oci.reference import Digest
from pyoci_flask.web.address import ChangeAddress, FileAddress
from pyoci_flask.web.api.body import RequestBody
from pyoci_flask.web.api.change_log import DELETE, SKIP, UNYANK, YANK, log_change
from pyoci_flask.web.incoming import has_option
from pyoci_flask.web.services import services

_PATCH_LIMIT = 64 * 1024
_REASON_LIMIT = 1000
_STAYS = (
    " from the index. The registry did not delete the content and keeps the bytes until they are "
    "deleted there"
)
_READABLE = "; its bytes can be read by digest until the registry collects garbage"


def delete(address: ChangeAddress) -> Response:
    """Delete a file or a version. The response says whether the bytes were deleted as well.

    `?blobs=delete` also deletes the blobs that nothing else refers to.
    """
    every = _wants_blobs()
    found = services()
    candidates = found.enter_project(address.base, address.project)
    settle = found.settings.publish_settle
    deleted: list[File] = []
    with _partly(address, candidates, DELETE, deleted):
        text = _delete(address, candidates, settle, deleted, every=every)
    log_change(DELETE, address.base, candidates[0], address.version, _named(deleted), text)
    return _answer(text)


def _delete(
    address: ChangeAddress,
    candidates: Candidates,
    settle: float,
    deleted: list[File],
    *,
    every: bool,
) -> str:
    """Delete, add what is deleted to `deleted`, and return the text of the response."""
    found = services()
    text = f"deleted {_name(address)}"
    with ExitStack() as held:
        if every:
            # A user who is not allowed to delete must not block the uploads of others.
            refuse_denied_deletion(candidates[0].caller)
            held.enter_context(hold_blobs(candidates[0], found.locks, shared=False))
        blobs = FileBlobs(every=every)
        options = (found.locks, settle, blobs, deleted)
        with found.versions.changing(candidates, address.version):
            if isinstance(address, FileAddress):
                gone = delete_file(candidates, address.filename, *options)
            else:
                gone = delete_version(candidates, address.version, *options)
        if not gone:
            return f"{text}{_STAYS}{'; no blob was deleted' if every else ''}"
        if every:
            return f"{text}; {_outcome(blobs.delete())}"
        return f"{text}{_READABLE if blobs.ask_if_readable() else ''}"


@contextmanager
def _partly(
    address: ChangeAddress, candidates: Candidates, action: str, files: Sequence[File]
) -> Iterator[None]:
    """Log what was changed before an error, if anything was."""
    try:
        yield
    except Exception as error:
        if files:
            cause = error if isinstance(error, PyOCIError) else type(error).__name__
            text = f"an error followed the change of these files: {cause}"
            log_change(action, address.base, candidates[0], address.version, _named(files), text)
        raise


def _named(files: Sequence[File]) -> list[tuple[str, Digest | None]]:
    return [(file.filename.text, file.digest) for file in files]


def _wants_blobs() -> bool:
    hint = "use blobs=delete to delete the blobs as well, or omit it to keep them"
    return has_option("blobs", "delete", hint)


def _outcome(done: DeletedBlobs) -> str:
    if done.found is None:
        return f"no blob was deleted: {done.fault}{_READABLE}"
    text = f"{done.deleted} of {done.found} blobs deleted"
    if done.kept:
        text += f", {done.kept} kept, because other tags or files use them"
    return f"{text}: {done.fault}{_READABLE}" if done.fault else text


def patch(address: ChangeAddress) -> Response:
    """Yank or un-yank a file or a version (PEP 592).

    The body is `{"yanked": true}`, `{"yanked": "reason"}` or `{"yanked": false}`.
    """
    reason = _read_reason()
    found = services()
    candidates = found.enter_project(address.base, address.project)
    settle = found.settings.publish_settle
    filename = address.filename if isinstance(address, FileAddress) else None
    action, verb = (UNYANK, "un-yanked") if reason is None else (YANK, "yanked")
    files: list[File] = []
    with (
        _partly(address, candidates, action, files),
        found.versions.changing(candidates, address.version),
    ):
        set_yanked(candidates, address.version, filename, reason, found.locks, settle, files)
    text = f"{verb} {_name(address)}"
    result = f"{text}: {reason}" if reason else text
    if not files:
        action, result = SKIP, f"{_name(address)} was {verb} already; nothing was changed"
    log_change(action, address.base, candidates[0], address.version, _named(files), result)
    return _answer(text)


def _read_reason() -> str | None:
    document = RequestBody(request.environ, _PATCH_LIMIT).read_all()
    try:
        value = json.loads(document)
    except (ValueError, RecursionError) as error:
        raise InvalidRequestError("the request body is not valid JSON") from error
    yanked = value.get("yanked") if isinstance(value, dict) and set(value) == {"yanked"} else None
    if isinstance(yanked, str):
        if len(yanked) > _REASON_LIMIT or not yanked.isprintable():
            raise InvalidRequestError(
                f"the reason must be one line of at most {_REASON_LIMIT} printable characters"
            )
        return yanked
    if not isinstance(yanked, bool):
        raise InvalidRequestError(
            'the request body must be {"yanked": true}, {"yanked": "REASON"} or {"yanked": false}'
        )
    return "" if yanked else None


def _name(address: ChangeAddress) -> str:
    if isinstance(address, FileAddress):
        return address.filename.text
    return f"{address.project.normalized} {address.version}"


def _answer(text: str) -> Response:
    # Text quoted from a registry may contain a credential.
    return Response(f"{redact(text)}\n", content_type="text/plain; charset=utf-8")
