"""The upload form (multipart/form-data, RFC 7578) around a file on disk, as twine sends it."""

import io
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

from packaging.metadata import RawMetadata
from packaging.version import Version

from pyoci_flask.index.fields import parse_fields, read_description
from pyoci_flask.index.names import Filename, version_or_none

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

Fields = Sequence[tuple[str, str]]

_BUFFER = 256 * 1024
_RENAMED = {
    "license_files": "license_file",
    "platforms": "platform",
    "supported_platforms": "supported_platform",
}
_LICENSE_FILES_SINCE = Version("2.4")


def form_fields(
    filename: Filename, metadata: bytes | None, requires_python: str | None, project: str
) -> Fields:
    """Return the form fields that describe a file, from its core metadata if there is any.

    `project` and `requires_python` fill fields that the metadata does not contain.
    """
    raw = RawMetadata() if metadata is None else parse_fields(metadata)
    described = dict(_described(raw))
    described.setdefault("metadata_version", ["1.0"])
    described.setdefault("name", [project])
    described.setdefault("version", [filename.version])
    if requires_python:
        described.setdefault("requires_python", [requires_python])
    text = "" if metadata is None else read_description(metadata, raw)
    if text.strip():
        described["description"] = [text]
    described["filetype"] = ["bdist_wheel" if filename.is_wheel else "sdist"]
    # As twine does, send the wheel's first Python tag.
    described["pyversion"] = [
        filename.architecture.split("-")[-3] if filename.is_wheel else "source"
    ]
    fields = [(":action", "file_upload"), ("protocol_version", "1")]
    fields += [(name, value) for name, values in described.items() for value in values]
    return fields


def _described(raw: RawMetadata) -> Iterable[tuple[str, list[str]]]:
    for key, value in raw.items():
        if key == "license_files":
            version = version_or_none(raw.get("metadata_version", "0"))
            if version is None or version < _LICENSE_FILES_SINCE:
                continue  # indexes refuse this field with an older version of the metadata
        name = _RENAMED.get(key, key)
        if isinstance(value, str):
            yield name, [value]
        elif key == "keywords" and isinstance(value, list):
            yield name, [",".join(value)]
        elif isinstance(value, Mapping):
            yield name, [f"{label}, {url}" for label, url in value.items()]
        elif isinstance(value, list):
            yield name, value


@dataclass(frozen=True, slots=True)
class UploadBody:
    """The whole form; only the part of the file that is being sent is in memory."""

    head: bytes
    content: IO[bytes]
    size: int
    """Size of the file in bytes."""
    tail: bytes
    content_type: str

    @classmethod
    def make(
        cls, fields: Fields, filename: Filename, content: IO[bytes], size: int
    ) -> "UploadBody":
        """Build all of the form except the file itself."""
        # The author of a package cannot know the boundary, so no field can end its own part.
        boundary = secrets.token_hex(24)
        head = "".join(
            f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
            for name, value in fields
        )
        head += (
            f'--{boundary}\r\nContent-Disposition: form-data; name="content"; '
            f'filename="{filename.text}"\r\nContent-Type: application/octet-stream\r\n\r\n'
        )
        return cls(
            head.encode("utf-8", "replace"),
            content,
            size,
            f"\r\n--{boundary}--\r\n".encode(),
            f"multipart/form-data; boundary={boundary}",
        )

    @property
    def length(self) -> int:
        """Size of the form in bytes."""
        return len(self.head) + self.size + len(self.tail)

    def open(self, watch: Callable[[], object]) -> IO[bytes]:
        """Return the form as a file that can be rewound; call `watch` before each read."""
        parts = (io.BytesIO(self.head), self.content, io.BytesIO(self.tail))
        return io.BufferedReader(_Joined(parts, watch), _BUFFER)


class _Joined(io.RawIOBase):
    """Files that are read one after the other."""

    def __init__(self, parts: Sequence[IO[bytes]], watch: Callable[[], object]) -> None:
        super().__init__()
        self._parts = parts
        self._watch = watch
        self.seek(0)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return sum(part.tell() for part in self._parts)

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        if whence != io.SEEK_SET or offset != 0:
            raise io.UnsupportedOperation("only rewinding is supported")
        for part in self._parts:
            part.seek(0)
        return 0

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        self._watch()
        target = memoryview(buffer).cast("B")
        data = next(filter(None, (part.read(len(target)) for part in self._parts)), b"")
        target[: len(data)] = data
        return len(data)
