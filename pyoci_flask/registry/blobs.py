"""Blobs over HTTP: distribution specification, sections Pulling blobs and Deleting Blobs."""

import re
from collections.abc import Iterator
from io import FileIO

from werkzeug.wrappers import Request, Response

from pyoci_flask.registry.body import CHUNK_SIZE
from pyoci_flask.registry.errors import RegistryError, blob_unknown
from pyoci_flask.registry.files import open_file, regular_file
from pyoci_flask.registry.layout import Repository
from pyoci_flask.registry.names import Digest

# The last 0 bytes: well-formed, and never to be had. Werkzeug takes it for no range at all.
_NOTHING = re.compile(r"bytes[ \t]*=[ \t]*-0+[ \t]*", re.IGNORECASE)


def get_blob(request: Request, repository: Repository, digest: str) -> Response:
    """`GET`, `HEAD /v2/<name>/blobs/<digest>`, the whole or one range of it (RFC 9110, 14)."""
    wanted = Digest.parse(digest)
    path = repository.blob(wanted)
    found = regular_file(path)
    if found is None:
        raise blob_unknown(digest)
    response = Response(content_type="application/octet-stream")
    response.headers["Docker-Content-Digest"] = str(wanted)
    response.headers["Accept-Ranges"] = "bytes"
    response.set_etag(str(wanted))
    if request.if_none_match.contains_weak(str(wanted)):
        response.status_code = 304
        return response
    start, stop = 0, found.st_size
    wanted_range = _range(request, wanted, found.st_size)
    if wanted_range is not None:
        start, stop = wanted_range
        response.status_code = 206
        response.headers["Content-Range"] = f"bytes {start}-{stop - 1}/{found.st_size}"
    response.content_length = stop - start
    if request.method != "HEAD":
        try:
            response.response = BlobBody(open_file(path), start, stop)
        except FileNotFoundError:
            raise blob_unknown(digest) from None
    return response


def delete_blob(_request: Request, repository: Repository, digest: str) -> Response:
    """`DELETE /v2/<name>/blobs/<digest>`, whatever refers to it."""
    repository.delete_blob(Digest.parse(digest))
    return Response(status=202)


class BlobBody:
    """The bytes of an open file from `start` up to `stop`; closes the file."""

    def __init__(self, file: FileIO, start: int, stop: int) -> None:
        self._file = file
        self._remaining = stop - start
        file.seek(start)

    def __iter__(self) -> Iterator[bytes]:
        # Also closed if it cannot be read: an answer that failed at once is closed by nobody else.
        with self._file:
            while self._remaining > 0:
                chunk = self._file.read(min(CHUNK_SIZE, self._remaining))
                if not chunk:
                    raise OSError("the blob is shorter than it was")
                self._remaining -= len(chunk)
                yield chunk

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _range(request: Request, digest: Digest, size: int) -> tuple[int, int] | None:
    if request.method == "HEAD":
        return None  # a Range is for GET alone (14.2)
    # Several ranges, other units and what cannot be read are ignored, as RFC 9110 allows.
    ranges = request.range
    nothing = _NOTHING.fullmatch(request.headers.get("Range", "")) is not None
    if not nothing and (ranges is None or ranges.units != "bytes" or len(ranges.ranges) != 1):
        return None
    condition = request.headers.get("If-Range")
    if condition is not None and condition.strip() != f'"{digest}"':
        return None  # only a strong tag will do (13.1.5)
    start, stop = ranges.ranges[0] if ranges is not None else (size, None)
    if start < 0:
        start, stop = max(0, size + start), size
    if start >= size:
        headers = {"Content-Range": f"bytes */{size}"}
        raise RegistryError(416, "SIZE_INVALID", "no such range", headers=headers)
    return start, size if stop is None else min(stop, size)
