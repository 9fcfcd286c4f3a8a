"""DELETE and PATCH of a file or version."""

import json
import logging

from flask import request
from werkzeug.wrappers import Response

from pyoci_flask.errors import InvalidRequestError
from pyoci_flask.index.delete import delete_file, delete_version
from pyoci_flask.index.file_blobs import FileBlobs
from pyoci_flask.index.yank import set_yanked
from pyoci_flask.web.address import ChangeAddress, FileAddress
from pyoci_flask.web.body import RequestBody
from pyoci_flask.web.services import services

logger = logging.getLogger("pyoci.web")

_PATCH_LIMIT = 64 * 1024
_REASON_LIMIT = 1000
_STAYS = (
    " from the index. This registry did not delete its content: the bytes stay in it until they "
    "are deleted there"
)
_READABLE = "; its bytes can be read by digest until the registry collects garbage"


def delete(address: ChangeAddress) -> Response:
    """Delete a file or a version, and say whether its bytes went with it."""
    found = services()
    candidates = found.candidates(address.base, address.project)
    settle = found.settings.publish_settle
    blobs = FileBlobs()
    with found.versions.changing(candidates, _version(address)):
        if isinstance(address, FileAddress):
            gone = delete_file(candidates, address.filename, found.locks, settle, blobs)
        else:
            gone = delete_version(candidates, address.version, found.locks, settle, blobs)
    if not gone:
        return _done(f"deleted {_name(address)}{_STAYS}")
    return _done(f"deleted {_name(address)}{_READABLE if blobs.can_be_read() else ''}")


def patch(address: ChangeAddress) -> Response:
    """Yank a file or a version, or take that back (PEP 592).

    The body is `{"yanked": true}`, `{"yanked": "reason"}` or `{"yanked": false}`.
    """
    reason = _read_reason()
    found = services()
    candidates = found.candidates(address.base, address.project)
    settle = found.settings.publish_settle
    version = _version(address)
    filename = address.filename if isinstance(address, FileAddress) else None
    with found.versions.changing(candidates, version):
        set_yanked(candidates, version, filename, reason, found.locks, settle)
    return _done(f"{'un-yanked' if reason is None else 'yanked'} {_name(address)}")


def _read_reason() -> str | None:
    body = RequestBody(request.environ, _PATCH_LIMIT)
    document = bytearray()
    while piece := body.read():
        document += piece
    try:
        value = json.loads(bytes(document))
    except (ValueError, RecursionError) as error:
        raise InvalidRequestError("the body is no JSON") from error
    yanked = value.get("yanked") if isinstance(value, dict) and set(value) == {"yanked"} else None
    if isinstance(yanked, str):
        if len(yanked) > _REASON_LIMIT or not yanked.isprintable():
            raise InvalidRequestError(
                f"the reason is one line of at most {_REASON_LIMIT} printable characters"
            )
        return yanked
    if not isinstance(yanked, bool):
        raise InvalidRequestError('the body is {"yanked": true}, {"yanked": "why"} or false')
    return "" if yanked else None


def _version(address: ChangeAddress) -> str:
    return address.filename.version if isinstance(address, FileAddress) else address.version


def _name(address: ChangeAddress) -> str:
    if isinstance(address, FileAddress):
        return address.filename.text
    return f"{address.project.normalized} {address.version}"


def _done(text: str) -> Response:
    logger.info("%s", text)
    return Response(f"{text}\n", content_type="text/plain; charset=utf-8")
