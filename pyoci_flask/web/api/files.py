"""GET and HEAD of a file and of its core metadata."""

import logging
import re
from collections.abc import Callable, Iterator

from flask import request
from werkzeug.wrappers import Response

from pyoci_flask.errors import NotFoundError, PyOCIError, RegistryError, TransferBrokenError
from pyoci_flask.index.download import StoredFile, checked, find_file, verified
from pyoci_flask.oci.blobs import OpenBlob, locate_blob, open_blob
from pyoci_flask.web.address import FileAddress, MetadataAddress
from pyoci_flask.web.conditional import PRIVATE, check_match, is_unmodified, last_modified
from pyoci_flask.web.services import services

logger = logging.getLogger("pyoci.web")

_NOTHING = re.compile(r"bytes[ \t]*=[ \t]*-0+[ \t]*", re.IGNORECASE)


def download(address: FileAddress) -> Response:
    """Send a file, a part of it, its headers only, or 304."""
    return _with_file(address, lambda stored: _send(stored, address.filename.text))


def _with_file(
    address: FileAddress | MetadataAddress, use: Callable[[StoredFile], Response]
) -> Response:
    """Answer with the file; where what was remembered of it is gone, with what is there now."""
    found = services()
    candidates = found.candidates(address.base, address.project)
    stored = find_file(candidates, address.filename, found.versions)
    try:
        return use(stored)
    except NotFoundError:
        if not stored.recalled:
            raise
    return use(find_file(candidates, address.filename, found.versions, fresh=True))


def _send(stored: StoredFile, name: str) -> Response:
    etag = stored.digest.text
    modified = last_modified(stored.file.uploaded)
    check_match(etag, modified)
    response = Response(content_type="application/octet-stream")
    response.set_etag(etag)
    response.last_modified = modified
    response.headers["Cache-Control"] = PRIVATE
    response.headers["Vary"] = "Authorization"
    response.headers["Accept-Ranges"] = "bytes"
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    if is_unmodified(etag, modified):
        response.status_code = 304
        response.headers.remove("Content-Type")
        return response
    if request.method == "HEAD":
        response.content_length = stored.read_size()
        return response
    if _asks_for_a_part(etag):
        return _part(stored, response)
    found = _open(stored)
    return _redirect(found) if isinstance(found, str) else _stream(stored, found, response)


def _open(stored: StoredFile, first: int = 0, last: int | None = None) -> str | OpenBlob:
    """Begin to read a file or a part of it, or give the address that the client is sent to."""
    opened = locate_blob if services().settings.redirect_downloads else open_blob
    found = opened(stored.repository.caller, stored.digest, first=first, last=last)
    return found if isinstance(found, str) else checked(stored, found)


def _redirect(url: str) -> Response:
    """Send the client to the registry's storage, with its Range.

    The bytes are then checked by the client alone, against the hash on the project page.
    """
    response = Response(status=307)
    response.headers["Location"] = url
    response.headers["Cache-Control"] = "no-store"
    return response


def _stream(stored: StoredFile, blob: OpenBlob, response: Response) -> Response:
    try:
        size = blob.size if blob.size is not None else stored.read_size()
    except BaseException:
        blob.close()
        raise
    response.content_length = size
    response.response = _logged(request.path, verified(blob, stored.digest, size))
    response.call_on_close(blob.close)
    return response


def _asks_for_a_part(etag: str) -> bool:
    """One range of bytes of this very file (RFC 9110, 13.1.5 and 14.2); others get the whole."""
    wanted = request.range
    if wanted is None:
        if not _asks_for_nothing():
            return False
    elif wanted.units != "bytes" or len(wanted.ranges) != 1:
        return False
    condition = request.headers.get("If-Range")
    # Only a strong tag will do. A date says nothing here: a file may be published anew within
    # the same second.
    return condition is None or condition.strip() == f'"{etag}"'


def _asks_for_nothing() -> bool:
    """The last 0 bytes: well-formed, but never to be had (RFC 9110, 14.1.2).

    Werkzeug takes it for no range at all.
    """
    return _NOTHING.fullmatch(request.headers.get("Range", "")) is not None


def _part(stored: StoredFile, response: Response) -> Response:
    if stored.file.size is None and services().settings.redirect_downloads:
        # Whoever is sent elsewhere is not kept waiting for a call that asks for the size.
        found = _open(stored)
        if isinstance(found, str):
            return _redirect(found)
        found.close()
    size = stored.read_size()
    first, stop = _span(size)
    if first >= stop:
        response.status_code = 416
        response.headers["Content-Range"] = f"bytes */{size}"
        response.headers.remove("Content-Type")
        response.headers.remove("Content-Disposition")
        return response
    blob = _open(stored, first, stop - 1)
    if isinstance(blob, str):
        return _redirect(blob)
    if blob.size is not None and blob.size != size:
        blob.close()
        raise RegistryError(
            f"{stored.file.filename.text} has {blob.size} bytes in the registry, not {size}"
        )
    response.status_code = 206
    response.headers["Content-Range"] = f"bytes {first}-{stop - 1}/{size}"
    response.content_length = stop - first
    response.response = _logged(request.path, _slice(blob, first, stop))
    response.call_on_close(blob.close)
    return response


def _span(size: int) -> tuple[int, int]:
    """The first byte asked for and the one after the last; a suffix may be longer than the file."""
    first, stop = request.range.ranges[0] if request.range else (size, None)
    if first < 0:
        return max(0, size + first), size
    return first, size if stop is None else min(stop, size)


def _slice(blob: OpenBlob, first: int, stop: int) -> Iterator[bytes]:
    """Cut the part out of what comes: a registry without ranges sends the whole blob."""
    position = blob.start
    with blob:
        for chunk in blob.chunks():
            wanted = chunk[max(0, first - position) : max(0, stop - position)]
            position += len(chunk)
            if wanted:
                yield wanted
            if position >= stop:
                return
    raise TransferBrokenError(f"the registry sent {position - first} bytes of {stop - first}")


def _logged(path: str, chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Say why a transfer is broken off; raising is what makes the server close the connection."""
    # The headers go out before the first byte is looked at: whatever is wrong with the bytes of
    # even the smallest file then breaks the transfer, and no client takes an error for a file.
    yield b""
    try:
        yield from chunks
    except PyOCIError as error:
        logger.warning("broke off %s: %s", path, error)
        raise


def core_metadata(address: MetadataAddress) -> Response:
    """Send the core metadata of a wheel (PEP 658)."""
    return _with_file(address, _send_metadata)


def _send_metadata(stored: StoredFile) -> Response:
    metadata = services().metadata.read(stored)
    check_match(metadata.digest.text)
    response = Response(metadata.content, content_type="text/plain; charset=utf-8")
    response.set_etag(metadata.digest.text)
    response.headers["Cache-Control"] = PRIVATE
    response.headers["Vary"] = "Authorization"
    # Werkzeug would take `If-Match: *`, too, for a tag that is not this one.
    response.make_conditional({**request.environ, "HTTP_IF_MATCH": ""})
    return response
