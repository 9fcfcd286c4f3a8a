"""GET and HEAD requests for files and their core metadata."""

import logging
from collections.abc import Callable, Iterator
from functools import partial

from flask import request
from werkzeug.wrappers import Response

from pyoci_flask.common.outlet import OUTLET, Outlet
from pyoci_flask.common.ranges import ByteRange, requested_range
from pyoci_flask.errors import NotFoundError, PyOCIError, RegistryError, TransferBrokenError
from pyoci_flask.index.download import StoredFile, checked, find_file, verified
from pyoci_flask.oci.blobs import OpenBlob, locate_blob, open_blob
from pyoci_flask.settings.values import Verify
from pyoci_flask.web.address import FileAddress, MetadataAddress
from pyoci_flask.web.conditional import PRIVATE, is_current, last_modified
from pyoci_flask.web.links import redirect
from pyoci_flask.web.services import services

logger = logging.getLogger("pyoci.web")

_PRIVATE = {"Cache-Control": PRIVATE, "Vary": "Authorization"}


def download(address: FileAddress) -> Response:
    """Return a file, a part of it, only its headers, or a 304."""
    return _with_file(address, lambda stored: _send(stored, address.filename.text))


def _with_file(
    address: FileAddress | MetadataAddress, use: Callable[[StoredFile], Response]
) -> Response:
    """Respond with a file. If the cached entry is outdated, look the file up in the registry."""
    found = services()
    candidates = found.enter_project(address.base, address.project)
    stored = find_file(candidates, address.filename, found.versions)
    try:
        return use(stored)
    except NotFoundError:
        if not stored.recalled:
            raise
    return use(find_file(candidates, address.filename, found.versions, fresh=True))


def _send(stored: StoredFile, name: str) -> Response:
    etag = stored.digest.text
    headers = _PRIVATE | {
        "Accept-Ranges": "bytes",
        "Content-Disposition": f'attachment; filename="{name}"',
    }
    response = Response(content_type="application/octet-stream", headers=headers)
    if is_current(response, etag, last_modified(stored.file.uploaded)):
        return response
    if request.method == "HEAD":
        response.content_length = stored.read_size()
        return response
    wanted = requested_range(request.headers.get("Range"), request.headers.get("If-Range"), etag)
    if wanted is not None:
        return _part(stored, wanted, response)
    found = _open(stored)
    return redirect(found, 307) if isinstance(found, str) else _stream(stored, found, response)


def _open(stored: StoredFile, first: int = 0, last: int | None = None) -> str | OpenBlob:
    """Open a file or a part of it, or return the URL to which the client is redirected.

    The URL points to the storage of the registry, to which the client sends its Range again. In
    this case, only the client compares the bytes with the hash on the project page.
    """
    opened = locate_blob if services().settings.redirect_downloads else open_blob
    found = opened(stored.repository.caller, stored.digest, first=first, last=last)
    return found if isinstance(found, str) else checked(stored, found)


def _stream(stored: StoredFile, blob: OpenBlob, response: Response) -> Response:
    try:
        size = blob.size if blob.size is not None else stored.read_size()
    except BaseException:
        blob.close()
        raise
    response.content_length = size
    response.response = _logged(request.path, _checked(blob, stored, size))
    response.call_on_close(blob.close)
    return response


def _checked(blob: OpenBlob, stored: StoredFile, size: int) -> Iterator[bytes]:
    """Yield the file, compared with its digest as `PYOCI_VERIFY_DOWNLOADS` says."""
    found = services()
    verify = found.settings.verify_downloads
    outlet: Outlet | None = request.environ.get(OUTLET)
    if verify is not Verify.ONCE:
        hashed = verify is Verify.ALWAYS
        return verified(blob, stored.digest, size, hashed=hashed, outlet=outlet)
    place = stored.repository.caller.repository.location, stored.digest, size
    hashed = not found.verified.has(*place)
    whole = partial(found.verified.add, *place) if hashed else None
    return verified(blob, stored.digest, size, hashed=hashed, outlet=outlet, whole=whole)


def _part(stored: StoredFile, wanted: ByteRange, response: Response) -> Response:
    if stored.file.size is None and services().settings.redirect_downloads:
        # A redirect needs no size, so do not make the client wait for a call that returns it.
        found = _open(stored)
        if isinstance(found, str):
            return redirect(found, 307)
        found.close()
    size = stored.read_size()
    span = wanted.of(size)
    if span is None:
        response.status_code = 416
        response.headers["Content-Range"] = f"bytes */{size}"
        response.headers.remove("Content-Type")
        response.headers.remove("Content-Disposition")
        return response
    first, stop = span
    blob = _open(stored, first, stop - 1)
    if isinstance(blob, str):
        return redirect(blob, 307)
    if blob.size is not None and blob.size != size:
        blob.close()
        raise RegistryError(
            f"{stored.file.filename.text} has {blob.size} bytes in the registry, not {size}",
            advice="Delete this file and publish it again",
        )
    response.status_code = 206
    response.headers["Content-Range"] = f"bytes {first}-{stop - 1}/{size}"
    response.content_length = stop - first
    response.response = _logged(request.path, _slice(blob, first, stop))
    response.call_on_close(blob.close)
    return response


def _slice(blob: OpenBlob, first: int, stop: int) -> Iterator[bytes]:
    """Yield the requested part. A registry that does not support ranges sends the whole blob."""
    position = blob.start
    with blob:
        for chunk in blob.chunks():
            wanted = chunk[max(0, first - position) : max(0, stop - position)]
            position += len(chunk)
            if wanted:
                yield wanted
            if position >= stop:
                return
    raise TransferBrokenError(
        f"the registry sent only {position - first} of {stop - first} bytes",
        advice="Try again, and check the storage of the registry if the problem persists",
    )


def _logged(path: str, chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Log why a transfer is aborted. The exception makes the server close the connection."""
    # This sends the headers before the first byte is checked. Wrong bytes then abort the
    # transfer of even the smallest file, and no client mistakes an error for a file.
    yield b""
    try:
        yield from chunks
    except PyOCIError as error:
        logger.warning("aborted the download of %s: %s", path, error)
        raise


def core_metadata(address: MetadataAddress) -> Response:
    """Return the core metadata of a wheel (PEP 658)."""
    return _with_file(address, _send_metadata)


def _send_metadata(stored: StoredFile) -> Response:
    metadata = services().metadata.read(stored)
    response = Response(
        metadata.content, content_type="text/plain; charset=utf-8", headers=_PRIVATE
    )
    is_current(response, metadata.digest.text)
    return response
