"""Uploads over HTTP: distribution specification, sections Pushing blobs and Mounting a blob."""

import os
import re
import uuid

from werkzeug.wrappers import Request, Response

from pyoci_flask.registry.body import chunks
from pyoci_flask.registry.errors import RegistryError, digest_invalid, size_invalid
from pyoci_flask.registry.files import regular_file, sync_folder
from pyoci_flask.registry.layout import Repository
from pyoci_flask.registry.names import Digest, RepositoryName, parse_name
from pyoci_flask.registry.storage import Storage
from pyoci_flask.registry.uploads import Upload, Uploads

# Docker's client and containerd write the unit, the specification does not.
_CONTENT_RANGE = re.compile(r"(?:bytes[ =])?([0-9]{1,19})-([0-9]{1,19})(?:/(?:[0-9]+|\*))?")


class Pushing:
    """The endpoints below `/v2/<name>/blobs/uploads/`."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._uploads = Uploads(storage.uploads)

    def begin(self, request: Request, repository: Repository) -> Response:
        """`POST`: begin an upload, push a blob with `digest=`, or mount one with `mount=`."""
        if "mount" in request.args:
            mounted = Digest.parse(request.args["mount"])
            if self._mount(repository, mounted, request.args.get("from", "")):
                return _created(request, repository, mounted)
        elif "digest" in request.args:
            return self._push(request, repository)
        upload = self._uploads.begin(repository.name)
        return _progress(request, repository.name, upload, 0, status=202)

    def status(self, request: Request, repository: Repository, upload: str) -> Response:
        """`GET`: how much of the upload has arrived."""
        size = self._uploads.size(repository.name, upload)
        return _progress(request, repository.name, upload, size, status=204)

    def append(self, request: Request, repository: Repository, upload: str) -> Response:
        """`PATCH`: one more chunk."""
        with self._uploads.hold(repository.name, upload) as held:
            _check_position(request, repository.name, upload, held)
            _receive(request, held)
            return _progress(request, repository.name, upload, held.size, status=202)

    def finish(self, request: Request, repository: Repository, upload: str) -> Response:
        """`PUT`: the last chunk or the whole, if any, and the digest of the whole."""
        digest = _digest(request)
        with self._uploads.hold(repository.name, upload, digest.algorithm) as held:
            _check_position(request, repository.name, upload, held)
            _receive(request, held)
            held.finish(digest, repository)
        return _created(request, repository, digest)

    def cancel(self, _request: Request, repository: Repository, upload: str) -> Response:
        """`DELETE`: forget the upload."""
        self._uploads.discard(repository.name, upload)
        return Response(status=204)

    def _push(self, request: Request, repository: Repository) -> Response:
        digest = _digest(request)
        upload = self._uploads.begin(repository.name)
        with self._uploads.hold(repository.name, upload, digest.algorithm) as held:
            try:
                _receive(request, held)
                held.finish(digest, repository)
            except BaseException:
                # The client was never told of this upload, so nobody can go on with it.
                held.discard()
                raise
        return _created(request, repository, digest)

    def _mount(self, repository: Repository, digest: Digest, source: str) -> bool:
        """Link the blob from another repository; whoever may push may pull from all of them."""
        try:
            blob = self._storage.repository(parse_name(source)).blob(digest)
        except RegistryError:
            return False
        if regular_file(blob) is None:
            return False
        linked = self._storage.uploads / f"tmp-{uuid.uuid4()}"
        try:
            os.link(blob, linked, follow_symlinks=False)
        except OSError:
            # Not every file system links, and the blob may just have been deleted.
            return False
        try:
            repository.create()  # not before: a mount that fails leaves no empty repository
            linked.rename(repository.blob(digest))
        finally:
            # Where the same file has both names already, renaming leaves them as they are.
            linked.unlink(missing_ok=True)
        sync_folder(repository.blob(digest).parent)
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
        raise size_invalid("Content-Range is not <first byte>-<last byte>")
    first, last = int(match[1]), int(match[2])
    if first != held.size:
        raise RegistryError(
            416,
            "BLOB_UPLOAD_INVALID",
            f"the next byte expected is {held.size}, not {first}",
            headers=_position(request, name, upload, held.size),
        )
    length = request.content_length
    if last < first or (length is not None and length != last - first + 1):
        raise size_invalid("Content-Range and Content-Length differ")


def _receive(request: Request, held: Upload) -> None:
    # What has arrived when the body breaks off stays, and the client can go on from there.
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


def _created(request: Request, repository: Repository, digest: Digest) -> Response:
    headers = {
        "Location": f"{request.root_path}/v2/{repository.name}/blobs/{digest}",
        "Docker-Content-Digest": str(digest),
    }
    return Response(status=201, headers=headers)
