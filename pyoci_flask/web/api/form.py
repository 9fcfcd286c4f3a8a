"""Reads upload forms (multipart/form-data), and writes the file to disk while hashing it."""

import errno
import hashlib
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.parse import parse_qsl

from multipart import (  # type: ignore[import-untyped]  # it has annotations, but no py.typed
    MultipartError,
    MultipartSegment,
    ParserLimitReached,
    PushMultipartParser,
    parse_options_header,
)

from pyoci_flask.errors import (
    GoneError,
    InvalidRequestError,
    PayloadTooLargeError,
    SpoolFullError,
)
from pyoci_flask.oci.reference import Digest
from pyoci_flask.web.api.body import RequestBody

_FIELDS = frozenset(
    {
        ":action",
        "protocol_version",
        "metadata_version",
        "name",
        "version",
        "filetype",
        "classifiers",
        "project_urls",
        "home_page",
        "download_url",
        "requires_python",
        "requires_dist",
        "sha256_digest",
        "blake2_256_digest",
        "md5_digest",
    }
)
"""The fields that are read. All others, such as the description, are skipped."""

_DROPPED = {"attestations": "its attestations", "gpg_signature": "its signature"}
"""Parts of an upload that users may expect to be stored, and that this index does not store."""

_TEXT_LIMIT = 1024 * 1024
"""Maximum size of all fields together, in bytes. Each thread may be reading a form."""
_VALUE_OVERHEAD = 100
"""Bytes that are counted for each value in addition to its text, which may be empty."""
_PARTS = 100_000
_URLENCODED = "application/x-www-form-urlencoded"
_GONE = frozenset({"submit", "submit_pkg_info", "doc_upload", "verify", "user", "password_reset"})
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


@dataclass(frozen=True, slots=True)
class SpooledFile:
    """The uploaded file: its name as the client sent it, and its bytes on disk."""

    filename: str
    content: IO[bytes]
    size: int
    """Size in bytes."""
    digest: Digest


@dataclass(frozen=True, slots=True)
class UploadForm:
    """The uploaded file, and the fields of the legacy upload API that this index uses."""

    fields: Mapping[str, tuple[str, ...]]
    file: SpooledFile
    dropped: tuple[str, ...] = ()
    """Descriptions of the parts that came with the file and are not stored."""

    def one(self, name: str) -> str | None:
        """Return the first non-empty value of a field, or None. Some clients send empty values."""
        return next((value for value in self.fields.get(name, ()) if value.strip()), None)

    def all(self, name: str) -> tuple[str, ...]:
        """Return all values of a field."""
        return self.fields.get(name, ())


@contextmanager
def read_form(body: RequestBody, content_type: str, spool: Path) -> Iterator[UploadForm]:
    """Parse the form. The file on disk is deleted when the context ends.

    Raises:
        InvalidRequestError: the body is not a multipart form with exactly one `content`.
        PayloadTooLargeError: the form exceeds a limit.
        SpoolFullError: the folder `spool` is full or missing.
    """
    kind, options = parse_options_header(content_type)
    if kind.lower() == _URLENCODED:
        refuse_gone(_action_of(body))
    if kind.lower() != "multipart/form-data" or not options.get("boundary"):
        raise InvalidRequestError(
            "an upload must be a POST of multipart/form-data, as twine sends it",
            advice="Upload with twine, uv or another tool that publishes packages",
        )
    try:
        spooled = tempfile.TemporaryFile(dir=spool, prefix="pyoci-")  # noqa: SIM115 - entered below
    except OSError as error:
        raise SpoolFullError(
            f"this server cannot store the upload (PYOCI_SPOOL: {error.strerror}); nothing was "
            "published",
            advice="Ask the administrator of this server to check PYOCI_SPOOL",
        ) from error
    try:
        with spooled as file:
            yield _parse(body, options["boundary"], file)
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise SpoolFullError(
                "this server has no space for the upload (PYOCI_SPOOL); nothing was published",
                advice="Ask the administrator of this server to make room in PYOCI_SPOOL",
            ) from error
        raise


def _action_of(body: RequestBody) -> str | None:
    """Return the action of a form without a file. Such a form is small."""
    text = bytearray()
    while piece := body.read():
        text += piece
        if len(text) > _TEXT_LIMIT:
            raise PayloadTooLargeError(
                f"the form's fields exceed {_TEXT_LIMIT} bytes",
                advice="Shorten the metadata of the package",
            )
    try:
        return dict(parse_qsl(text.decode("latin-1"), max_num_fields=1000)).get(":action")
    except ValueError as error:
        raise InvalidRequestError("the form has too many fields") from error


def refuse_gone(action: str | None) -> None:
    """Refuse actions of the upload API that no index supports any more.

    Raises:
        GoneError: the action is one of them.
    """
    if action in _GONE:
        raise GoneError(f":action={action} is no longer supported; upload files with file_upload")


def _parse(body: RequestBody, boundary: str, file: IO[bytes]) -> UploadForm:
    form = _FormReader(file)
    try:
        with PushMultipartParser(
            boundary, max_header_size=16 * 1024, max_header_count=32, max_segment_count=_PARTS
        ) as parser:
            while not parser.closed:
                piece = body.read()
                form.take(parser.parse(piece))
            while body.read():
                pass  # an epilogue; the connection stays usable only if all of it is read
    except ParserLimitReached as error:
        raise PayloadTooLargeError(
            f"the form exceeds a limit: {error}", advice="Shorten the metadata of the package"
        ) from error
    except MultipartError as error:
        raise InvalidRequestError(
            f"the request body is not valid multipart/form-data: {error}",
            advice="Upload with twine, uv or another tool that publishes packages",
        ) from error
    return form.finished()


class _FormReader:
    """Collects the events of the parser, which are a segment, its bytes, and None at its end."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._sha256 = hashlib.sha256()
        self._size = 0
        self._filename: str | None = None
        self._fields: dict[str, list[str]] = {}
        self._kept = 0
        self._segment: MultipartSegment | None = None
        self._text: bytearray | None = None
        self._dropped: dict[str, None] = {}

    def take(self, events: "Iterable[MultipartSegment | bytes | bytearray | None]") -> None:
        for event in events:
            if isinstance(event, MultipartSegment):
                self._begin(event)
            elif event is None:
                self._end()
            elif self._segment is not None and self._segment.name == "content":
                self._sha256.update(event)
                self._file.write(event)
                self._size += len(event)
            elif self._text is not None:
                self._keep(len(event))
                self._text += event
            elif self._segment is not None and self._segment.name in _DROPPED:
                self._dropped[_DROPPED[self._segment.name]] = None

    def _keep(self, size: int) -> None:
        self._kept += size
        if self._kept > _TEXT_LIMIT:
            raise PayloadTooLargeError(
                f"the form's fields exceed {_TEXT_LIMIT} bytes",
                advice="Shorten the metadata of the package",
            )

    def _begin(self, segment: MultipartSegment) -> None:
        self._segment = segment
        self._text = bytearray() if segment.name in _FIELDS else None
        if self._text is not None:
            self._keep(_VALUE_OVERHEAD)
        if segment.name == "content":
            if self._filename is not None:
                raise InvalidRequestError(
                    "the form field 'content' contains more than one file",
                    advice="Send one file with each request",
                )
            self._filename = segment.filename or ""

    def _end(self) -> None:
        if self._segment is not None and self._segment.name and self._text is not None:
            try:
                text = self._text.decode()
            except UnicodeDecodeError as error:
                raise InvalidRequestError(
                    f"the form field '{self._segment.name}' is not UTF-8"
                ) from error
            self._fields.setdefault(self._segment.name, []).append(text)
        self._segment = self._text = None

    def finished(self) -> UploadForm:
        fields = {name: tuple(values) for name, values in self._fields.items()}
        if not self._filename:
            refuse_gone(next(iter(fields.get(":action", ())), None))
            raise InvalidRequestError(
                "the form field 'content' contains no file",
                advice="Send the package in the form field 'content'",
            )
        self._file.flush()
        return UploadForm(
            fields,
            SpooledFile(
                filename=self._filename,
                content=self._file,
                size=self._size,
                digest=Digest.from_hex(self._sha256.hexdigest()),
            ),
            tuple(self._dropped),
        )
