"""DELETE and PATCH of a file or a version."""

import json
import logging
from contextlib import ExitStack

from flask import request
from werkzeug.wrappers import Response

from pyoci_flask.common.redaction import redact
from pyoci_flask.errors import InvalidRequestError
from pyoci_flask.index.delete import delete_file, delete_version
from pyoci_flask.index.file_blobs import DeletedBlobs, FileBlobs
from pyoci_flask.index.project_repository import hold_blobs
from pyoci_flask.index.yank import set_yanked
from pyoci_flask.oci.manifests import refuse_denied_deletion
from pyoci_flask.web.address import ChangeAddress, FileAddress
from pyoci_flask.web.api.body import RequestBody
from pyoci_flask.web.services import services

logger = logging.getLogger("pyoci.web")

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
    text = f"deleted {_name(address)}"
    with ExitStack() as held:
        if every:
            # A user who is not allowed to delete must not block the uploads of others.
            refuse_denied_deletion(candidates[0].caller)
            held.enter_context(hold_blobs(candidates[0], found.locks, shared=False))
        blobs = FileBlobs(every=every)
        with found.versions.changing(candidates, address.version):
            if isinstance(address, FileAddress):
                gone = delete_file(candidates, address.filename, found.locks, settle, blobs)
            else:
                gone = delete_version(candidates, address.version, found.locks, settle, blobs)
        if not gone:
            return _done(f"{text}{_STAYS}{'; no blob was deleted' if every else ''}")
        if every:
            return _done(f"{text}; {_outcome(blobs.delete())}")
        return _done(f"{text}{_READABLE if blobs.ask_if_readable() else ''}")


def _wants_blobs() -> bool:
    values = request.args.getlist("blobs")
    if values not in ([], ["delete"]):
        raise InvalidRequestError(
            "the value of blobs is invalid: use blobs=delete to delete the blobs as well, or omit "
            "it to keep them"
        )
    return bool(values)


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
    with found.versions.changing(candidates, address.version):
        set_yanked(candidates, address.version, filename, reason, found.locks, settle)
    return _done(f"{'un-yanked' if reason is None else 'yanked'} {_name(address)}")


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


def _done(text: str) -> Response:
    text = redact(text)  # text quoted from a registry may contain a credential
    logger.info("%s", text)
    return Response(f"{text}\n", content_type="text/plain; charset=utf-8")
