"""GET and HEAD of a file and of its core metadata."""

import logging
from collections.abc import Callable, Iterator

from flask import request
from werkzeug.datastructures import ETags
from werkzeug.wrappers import Response

from pyoci_flask.errors import NotFoundError, PyOCIError, RegistryError, TransferBrokenError
from pyoci_flask.index.download import StoredFile, checked, find_file, open_file, verified
from pyoci_flask.oci.blobs import OpenBlob, locate_blob, open_blob
from pyoci_flask.web.address import FileAddress, MetadataAddress
from pyoci_flask.web.conditional import PRIVATE
from pyoci_flask.web.services import services

logger = logging.getLogger("pyoci.web")


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
    response = Response(content_type="application/octet-stream")
    response.set_etag(etag)
    response.headers["Cache-Control"] = PRIVATE
    response.headers["Vary"] = "Authorization"
    response.headers["Accept-Ranges"] = "bytes"
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    matches: ETags = request.if_none_match
    if matches.contains_weak(etag):
        response.status_code = 304
        response.headers.remove("Content-Type")
        return response
    if request.method == "HEAD":
        response.content_length = stored.size()
        return response
    partly = _asks_for_a_part(etag)
    if services().settings.redirect_downloads:
        found = locate_blob(stored.repository.caller, stored.digest)
        if isinstance(found, str):
            return _redirect(found)
        if not partly:
            return _stream(stored, checked(stored, found), response)
        found.close()
    if partly:
        return _part(stored, response)
    return _whole(stored, response)


def _redirect(url: str) -> Response:
    """Send the client to the registry's storage, with its Range.

    The bytes are then checked by the client alone, against the hash on the project page.
    """
    response = Response(status=307)
    response.headers["Location"] = url
    response.headers["Cache-Control"] = "no-store"
    return response


def _whole(stored: StoredFile, response: Response) -> Response:
    return _stream(stored, open_file(stored), response)


def _stream(stored: StoredFile, blob: OpenBlob, response: Response) -> Response:
    try:
        size = blob.size if blob.size is not None else stored.size()
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
    if wanted is None or wanted.units != "bytes" or len(wanted.ranges) != 1:
        return False
    condition = request.headers.get("If-Range")
    # Only a strong tag will do. A date says nothing here: a file may be published anew within
    # the same second.
    return condition is None or condition.strip() == f'"{etag}"'


def _part(stored: StoredFile, response: Response) -> Response:
    size = stored.size()
    first, stop = _span(size)
    if first >= stop:
        response.status_code = 416
        response.headers["Content-Range"] = f"bytes */{size}"
        response.headers.remove("Content-Type")
        response.headers.remove("Content-Disposition")
        return response
    blob = open_blob(stored.repository.caller, stored.digest, first=first, last=stop - 1)
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
    first, stop = request.range.ranges[0] if request.range else (0, None)
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
    response = Response(metadata.content, content_type="text/plain; charset=utf-8")
    response.set_etag(metadata.digest.text)
    response.headers["Cache-Control"] = PRIVATE
    response.headers["Vary"] = "Authorization"
    response.make_conditional(request.environ)
    return response
