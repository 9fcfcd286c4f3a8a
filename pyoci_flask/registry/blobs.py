"""Blobs over HTTP.

Distribution specification, sections Pulling blobs, Pushing blobs, Mounting a blob from another
repository and Deleting Blobs.
"""

import os
import re
import uuid
from collections.abc import Iterator
from typing import BinaryIO

from pyoci_flask.common.outlet import FilePart, Outlet
from pyoci_flask.common.ranges import requested_range
from pyoci_flask.registry.body import CHUNK_SIZE, chunks
from pyoci_flask.registry.call import Answer, Call
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


def get_blob(call: Call, layout: ImageLayout, digest: str) -> Answer:
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
        "Content-Type": "application/octet-stream",
    }
    if call.knows(str(wanted)):
        return Answer(304, own)
    answer = Answer(200, own)
    start, stop = 0, found.st_size
    sent = call.headers
    wanted_range = requested_range(sent.get("Range"), sent.get("If-Range"), str(wanted))
    # Range is defined only for GET (RFC 9110, 14.2).
    if wanted_range is not None and call.method == "GET":
        part = wanted_range.of(found.st_size)
        if part is None:
            size = {"Content-Range": f"bytes */{found.st_size}"}
            raise DistributionError(
                416, "SIZE_INVALID", "the requested range is outside the blob", headers=size
            )
        start, stop = part
        answer.status = 206
        own["Content-Range"] = f"bytes {start}-{stop - 1}/{found.st_size}"
    own["Content-Length"] = str(stop - start)
    if call.method == "GET":
        try:
            answer.body = FilePart(open_file(path), start, stop - start)
        except FileNotFoundError:
            raise blob_unknown(digest) from None
    return answer


def delete_blob(_call: Call, layout: ImageLayout, digest: str) -> Answer:
    """`DELETE /v2/<name>/blobs/<digest>`: delete a blob, even if a manifest refers to it."""
    layout.delete_blob(Digest.parse(digest))
    return Answer(202)


SENT_AT_ONCE = 1024 * 1024
"""Bytes of a file that are sent through an outlet before the server looks at other clients."""


class BlobBody:
    """Iterates over the bytes of an open file from `start` up to `stop`, and closes the file."""

    def __init__(self, file: BinaryIO, start: int, stop: int, outlet: Outlet | None = None) -> None:
        """Send the bytes through `outlet`, if there is one, and yield none of them."""
        self._file = file
        self._start = start
        self._stop = stop
        self._outlet = outlet

    def __iter__(self) -> Iterator[bytes]:
        with self._file:
            position = self._start
            if self._outlet is not None:
                yield b""  # the server sends the headers
            while position < self._stop:
                left = self._stop - position
                if self._outlet is None:
                    chunk = os.pread(self._file.fileno(), min(CHUNK_SIZE, left), position)
                    moved = len(chunk)
                else:
                    chunk = b""
                    moved = self._outlet.send_file(
                        self._file.fileno(), position, min(SENT_AT_ONCE, left)
                    )
                if not moved:
                    raise OSError("the blob is shorter than before")
                position += moved
                yield chunk

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class UploadEndpoints:
    """The endpoints below `/v2/<name>/blobs/uploads/`."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._uploads = Uploads(storage.uploads)

    def begin(self, call: Call, layout: ImageLayout) -> Answer:
        """`POST`: begin an upload, push a blob with `digest=`, or mount one with `mount=`."""
        mount = call.argument("mount")
        if mount is not None:
            mounted = Digest.parse(mount)
            if self._mount(layout, mounted, call.argument("from") or ""):
                return _created(call, layout, mounted)
        elif call.argument("digest") is not None:
            return self._push(call, layout)
        upload = self._uploads.begin(layout.name)
        return _progress(call, layout.name, upload, 0, status=202)

    def status(self, call: Call, layout: ImageLayout, upload: str) -> Answer:
        """`GET`: return how much of the upload has arrived."""
        size = self._uploads.size(layout.name, upload)
        return _progress(call, layout.name, upload, size, status=204)

    def append(self, call: Call, layout: ImageLayout, upload: str) -> Answer:
        """`PATCH`: append a chunk."""
        with self._uploads.hold(layout.name, upload) as held:
            _check_position(call, layout.name, upload, held)
            _receive(call, held)
            return _progress(call, layout.name, upload, held.size, status=202)

    def finish(self, call: Call, layout: ImageLayout, upload: str) -> Answer:
        """`PUT`: finish the upload with a digest and, if sent, the last chunk or whole content."""
        digest = _digest(call)
        with self._uploads.hold(layout.name, upload, digest.algorithm) as held:
            _check_position(call, layout.name, upload, held)
            _receive(call, held)
            held.finish(digest, layout)
        return _created(call, layout, digest)

    def cancel(self, _call: Call, layout: ImageLayout, upload: str) -> Answer:
        """`DELETE`: discard the upload."""
        self._uploads.discard(layout.name, upload)
        return Answer(204)

    def _push(self, call: Call, layout: ImageLayout) -> Answer:
        digest = _digest(call)
        upload = self._uploads.begin(layout.name)
        with self._uploads.hold(layout.name, upload, digest.algorithm) as held:
            try:
                _receive(call, held)
                held.finish(digest, layout)
            except BaseException:
                # The client does not know the id of this upload, so it cannot continue the upload.
                held.discard()
                raise
        return _created(call, layout, digest)

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
            layout.create(digest)  # only now, so that a mount that fails leaves no empty repository
            linked.rename(layout.blob(digest))
        finally:
            # If both names already link to the same file, rename does nothing.
            linked.unlink(missing_ok=True)
        sync_folder(layout.blob(digest).parent)
        return True


def _digest(call: Call) -> Digest:
    text = call.argument("digest")
    if text is None:
        raise digest_invalid("the digest parameter is missing")
    return Digest.parse(text)


def _check_position(call: Call, name: RepositoryName, upload: str, held: Upload) -> None:
    text = call.headers.get("Content-Range")
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
            headers=_position(call, name, upload, held.size),
        )
    length = call.length
    if last < first or (length is not None and length != last - first + 1):
        raise size_invalid("Content-Range and Content-Length differ")


def _receive(call: Call, held: Upload) -> None:
    # If the body breaks off, what has arrived is kept, and the client can continue from there.
    for chunk in chunks(call):
        held.append(chunk)


def _position(call: Call, name: RepositoryName, upload: str, size: int) -> dict[str, str]:
    return {
        "Location": f"{call.root}/v2/{name}/blobs/uploads/{upload}",
        "Range": f"0-{max(0, size - 1)}",
        "Docker-Upload-UUID": upload,
    }


def _progress(call: Call, name: RepositoryName, upload: str, size: int, status: int) -> Answer:
    return Answer(status, _position(call, name, upload, size))


def _created(call: Call, layout: ImageLayout, digest: Digest) -> Answer:
    headers = {
        "Location": f"{call.root}/v2/{layout.name}/blobs/{digest}",
        "Docker-Content-Digest": str(digest),
    }
    return Answer(201, headers)
