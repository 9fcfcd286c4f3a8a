"""Blobs over HTTP.

Distribution specification, sections Pulling blobs, Pushing blobs, Mounting a blob from another
repository and Deleting Blobs.
"""

import os
import re
import uuid
from collections.abc import Iterator
from io import FileIO

from werkzeug.wrappers import Request, Response

from pyoci_flask.common.ranges import requested_range
from pyoci_flask.registry.body import CHUNK_SIZE, chunks
from pyoci_flask.registry.errors import (
    DistributionError,
    blob_unknown,
    digest_invalid,
    size_invalid,
)
from pyoci_flask.registry.files import open_file, regular_file, sync_folder
from pyoci_flask.registry.layout import ImageLayout
from pyoci_flask.registry.names import Digest, RepositoryName, parse_name
from pyoci_flask.registry.storage import Storage
from pyoci_flask.registry.uploads import Upload, Uploads

# Docker's client and containerd write the unit; the specification does not.
_CONTENT_RANGE = re.compile(r"(?:bytes[ =])?([0-9]{1,19})-([0-9]{1,19})(?:/(?:[0-9]+|\*))?")


def get_blob(request: Request, layout: ImageLayout, digest: str) -> Response:
    """`GET`, `HEAD /v2/<name>/blobs/<digest>`: return a blob or one range of it (RFC 9110, 14)."""
    wanted = Digest.parse(digest)
    path = layout.blob(wanted)
    found = regular_file(path)
    if found is None:
        raise blob_unknown(digest)
    own = {
        "Docker-Content-Digest": str(wanted),
        "Accept-Ranges": "bytes",
        "ETag": f'"{wanted}"',
    }
    response = Response(headers=own, content_type="application/octet-stream")
    if request.if_none_match.contains_weak(str(wanted)):
        response.status_code = 304
        return response
    start, stop = 0, found.st_size
    headers = request.headers
    wanted_range = requested_range(headers.get("Range"), headers.get("If-Range"), str(wanted))
    # Range is defined only for GET (RFC 9110, 14.2).
    if wanted_range is not None and request.method == "GET":
        part = wanted_range.of(found.st_size)
        if part is None:
            size = {"Content-Range": f"bytes */{found.st_size}"}
            raise DistributionError(
                416, "SIZE_INVALID", "the requested range is outside the blob", headers=size
            )
        start, stop = part
        response.status_code = 206
        response.headers["Content-Range"] = f"bytes {start}-{stop - 1}/{found.st_size}"
    response.content_length = stop - start
    if request.method == "GET":
        try:
            response.response = BlobBody(open_file(path), start, stop)
        except FileNotFoundError:
            raise blob_unknown(digest) from None
    return response


def delete_blob(_request: Request, layout: ImageLayout, digest: str) -> Response:
    """`DELETE /v2/<name>/blobs/<digest>`: delete a blob, even if a manifest refers to it."""
    layout.delete_blob(Digest.parse(digest))
    return Response(status=202)


class BlobBody:
    """Iterates over the bytes of an open file from `start` up to `stop`, and closes the file."""

    def __init__(self, file: FileIO, start: int, stop: int) -> None:
        self._file = file
        self._remaining = stop - start
        file.seek(start)

    def __iter__(self) -> Iterator[bytes]:
        # If the first read fails, the in-process caller does not get a response to close.
        with self._file:
            while self._remaining > 0:
                chunk = self._file.read(min(CHUNK_SIZE, self._remaining))
                if not chunk:
                    raise OSError("the blob is shorter than before")
                self._remaining -= len(chunk)
                yield chunk

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class UploadEndpoints:
    """The endpoints below `/v2/<name>/blobs/uploads/`."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._uploads = Uploads(storage.uploads)

    def begin(self, request: Request, layout: ImageLayout) -> Response:
        """`POST`: begin an upload, push a blob with `digest=`, or mount one with `mount=`."""
        if "mount" in request.args:
            mounted = Digest.parse(request.args["mount"])
            if self._mount(layout, mounted, request.args.get("from", "")):
                return _created(request, layout, mounted)
        elif "digest" in request.args:
            return self._push(request, layout)
        upload = self._uploads.begin(layout.name)
        return _progress(request, layout.name, upload, 0, status=202)

    def status(self, request: Request, layout: ImageLayout, upload: str) -> Response:
        """`GET`: return how much of the upload has arrived."""
        size = self._uploads.size(layout.name, upload)
        return _progress(request, layout.name, upload, size, status=204)

    def append(self, request: Request, layout: ImageLayout, upload: str) -> Response:
        """`PATCH`: append a chunk."""
        with self._uploads.hold(layout.name, upload) as held:
            _check_position(request, layout.name, upload, held)
            _receive(request, held)
            return _progress(request, layout.name, upload, held.size, status=202)

    def finish(self, request: Request, layout: ImageLayout, upload: str) -> Response:
        """`PUT`: finish the upload with a digest and, if sent, the last chunk or whole content."""
        digest = _digest(request)
        with self._uploads.hold(layout.name, upload, digest.algorithm) as held:
            _check_position(request, layout.name, upload, held)
            _receive(request, held)
            held.finish(digest, layout)
        return _created(request, layout, digest)

    def cancel(self, _request: Request, layout: ImageLayout, upload: str) -> Response:
        """`DELETE`: discard the upload."""
        self._uploads.discard(layout.name, upload)
        return Response(status=204)

    def _push(self, request: Request, layout: ImageLayout) -> Response:
        digest = _digest(request)
        upload = self._uploads.begin(layout.name)
        with self._uploads.hold(layout.name, upload, digest.algorithm) as held:
            try:
                _receive(request, held)
                held.finish(digest, layout)
            except BaseException:
                # The client does not know the id of this upload, so it cannot continue the upload.
                held.discard()
                raise
        return _created(request, layout, digest)

    def _mount(self, layout: ImageLayout, digest: Digest, source: str) -> bool:
        """Link the blob from another repository. Users who may push may pull from all of them."""
        try:
            blob = self._storage.layout(parse_name(source)).blob(digest)
        except DistributionError:
            return False
        if regular_file(blob) is None:
            return False
        linked = self._storage.uploads / f"tmp-{uuid.uuid4()}"
        try:
            os.link(blob, linked, follow_symlinks=False)
        except OSError:
            # The file system may not support links, or the blob has just been deleted.
            return False
        try:
            layout.create()  # only now, so that a mount that fails leaves no empty repository
            linked.rename(layout.blob(digest))
        finally:
            # If both names already link to the same file, rename does nothing.
            linked.unlink(missing_ok=True)
        sync_folder(layout.blob(digest).parent)
        return True


def _digest(request: Request) -> Digest:
    if "digest" not in request.args:
        raise digest_invalid("the digest parameter is missing")
    return Digest.parse(request.args["digest"])


def _check_position(request: Request, name: RepositoryName, upload: str, held: Upload) -> None:
    text = request.headers.get("Content-Range")
    if text is None:
        return
    match = _CONTENT_RANGE.fullmatch(text)
    if match is None:
        raise size_invalid("Content-Range must be <first byte>-<last byte>")
    first, last = int(match[1]), int(match[2])
    if first != held.size:
        raise DistributionError(
            416,
            "BLOB_UPLOAD_INVALID",
            f"the next expected byte is {held.size}, but the chunk begins at {first}",
            headers=_position(request, name, upload, held.size),
        )
    length = request.content_length
    if last < first or (length is not None and length != last - first + 1):
        raise size_invalid("Content-Range and Content-Length differ")


def _receive(request: Request, held: Upload) -> None:
    # If the body breaks off, what has arrived is kept, and the client can continue from there.
    for chunk in chunks(request):
        held.append(chunk)


def _position(request: Request, name: RepositoryName, upload: str, size: int) -> dict[str, str]:
    return {
        "Location": f"{request.root_path}/v2/{name}/blobs/uploads/{upload}",
        "Range": f"0-{max(0, size - 1)}",
        "Docker-Upload-UUID": upload,
    }


def _progress(
    request: Request, name: RepositoryName, upload: str, size: int, status: int
) -> Response:
    return Response(status=status, headers=_position(request, name, upload, size))


def _created(request: Request, layout: ImageLayout, digest: Digest) -> Response:
    headers = {
        "Location": f"{request.root_path}/v2/{layout.name}/blobs/{digest}",
        "Docker-Content-Digest": str(digest),
    }
    return Response(status=201, headers=headers)
