"""The core metadata inside a wheel or sdist, read without trusting the archive."""

import gzip
import io
import re
import tarfile
import zipfile
import zlib
from typing import IO, cast

from packaging.metadata import RawMetadata, parse_email

from pyoci_flask.errors import PyOCIError
from pyoci_flask.index.names import Filename
from pyoci_flask.overrides import overrides, relies_on

METADATA_LIMIT = 4 * 1024 * 1024
"""Bytes of a METADATA or PKG-INFO file."""

_DIRECTORY_LIMIT = 16 * 1024 * 1024
"""Bytes of a zip's central directory."""
_MOST_ENTRIES = 50_000
_BELOW_FIELDS = re.compile(rb"\r?\n\r?\n")
_ENTRY = b"PK\1\2"
_ZIP64_RECORDS = 76
_READS_PAST_THE_END = 3
_UNPACKED_LIMIT = 1024 * 1024 * 1024
"""Bytes of an sdist that are unpacked in search of PKG-INFO."""


class BrokenArchiveError(PyOCIError):
    """The file is not the archive that its name says."""


class NoMetadataError(BrokenArchiveError):
    """The archive is sound, but without its core metadata."""


def read_metadata(file: IO[bytes], filename: Filename) -> bytes:
    """Read METADATA of a wheel or PKG-INFO of an sdist; memory stays within the limits above.

    Raises:
        BrokenArchiveError: says what is wrong.
        NoMetadataError: there is none in it.
    """
    file.seek(0)
    try:
        return _of_wheel(file) if filename.is_wheel else _of_sdist(file)
    except (
        zipfile.BadZipFile,
        tarfile.TarError,
        gzip.BadGzipFile,
        zlib.error,
        EOFError,
        OSError,
        NotImplementedError,
        RuntimeError,
        ValueError,
        UnicodeError,
    ) as error:
        kind = "wheel (a zip archive)" if filename.is_wheel else "sdist (a gzipped tar archive)"
        raise BrokenArchiveError(f"{filename.text} is no sound {kind}: {error}") from error


def _of_wheel(file: IO[bytes]) -> bytes:
    _check_directory(file)
    with zipfile.ZipFile(file) as archive:
        names = [
            info
            for info in archive.infolist()
            if info.filename.count("/") == 1 and info.filename.endswith(".dist-info/METADATA")
        ]
        if len(names) != 1:
            raise NoMetadataError(
                f"the wheel holds {len(names) or 'no'} .dist-info/METADATA, not one"
            )
        if names[0].compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
            # Installers take no other way either, and these unpack without a bound.
            raise BrokenArchiveError("METADATA is packed in another way than wheels are")
        if names[0].file_size > METADATA_LIMIT:
            raise BrokenArchiveError(f"METADATA is over {METADATA_LIMIT} bytes")
        with archive.open(names[0]) as member:
            # The size in the directory may lie; one byte more than allowed shows it.
            return _bounded(member.read(METADATA_LIMIT + 1))


def _check_directory(file: IO[bytes]) -> None:
    """Refuse a central directory that zipfile would turn into too many objects."""
    end = zipfile._EndRecData(file)  # type: ignore[attr-defined]  # noqa: SLF001 - no public way
    if end is None:
        raise BrokenArchiveError("the wheel is no zip archive")
    size: int = end[zipfile._ECD_SIZE]  # type: ignore[attr-defined]  # noqa: SLF001
    if size > _DIRECTORY_LIMIT:
        raise BrokenArchiveError(f"the wheel's directory is over {_DIRECTORY_LIMIT} bytes")
    # The number of entries that the archive states may lie, too: zipfile goes by the bytes.
    # Behind the directory there may be the records of zip64, of some 80 bytes.
    location: int = end[zipfile._ECD_LOCATION]  # type: ignore[attr-defined]  # noqa: SLF001
    file.seek(max(0, location - size - _ZIP64_RECORDS))
    entries = file.read(size + _ZIP64_RECORDS).count(_ENTRY)
    if entries > _MOST_ENTRIES:
        raise BrokenArchiveError(f"the wheel's directory has over {_MOST_ENTRIES} entries")
    file.seek(0)


def _of_sdist(file: IO[bytes]) -> bytes:
    with (
        gzip.GzipFile(fileobj=file) as unpacked,
        tarfile.open(fileobj=_Limited(unpacked), mode="r|", tarinfo=_BoundedHeader) as archive,
    ):
        while (member := archive.next()) is not None:
            archive.members.clear()  # type: ignore[attr-defined]  # it remembers them all
            name = member.name.removeprefix("./")
            if member.isreg() and name.count("/") == 1 and name.endswith("/PKG-INFO"):
                if member.size > METADATA_LIMIT:
                    raise BrokenArchiveError(f"PKG-INFO is over {METADATA_LIMIT} bytes")
                content = archive.extractfile(member)
                if content is not None:
                    return _bounded(content.read(METADATA_LIMIT + 1))
    raise NoMetadataError("the sdist holds no PKG-INFO")


relies_on(zipfile, "_EndRecData", "_ECD_SIZE", "_ECD_LOCATION", user=__name__)


@overrides("_proc_member")
class _BoundedHeader(tarfile.TarInfo):
    """Refuses a member that is too long before anything of it is read.

    tarfile has no public limit: it reads extended headers into memory whole, and skips a member
    to the end that it states, wherever the archive ends.
    """

    def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        limit = _UNPACKED_LIMIT if self.isreg() else METADATA_LIMIT
        if self.size > limit:
            raise BrokenArchiveError(f"a member of the sdist is over {limit} bytes")
        return cast("tarfile.TarInfo", super()._proc_member(archive))  # type: ignore[misc]


class _Limited(io.RawIOBase):
    """Reads a stream up to a limit, so that a bomb is not unpacked to its end."""

    def __init__(self, stream: gzip.GzipFile) -> None:
        self._stream = stream
        self._left = _UNPACKED_LIMIT
        self._ended = 0

    def read(self, size: int = -1) -> bytes:
        content = self._stream.read(size)
        self._left -= len(content)
        if self._left < 0:
            raise BrokenArchiveError(f"the sdist unpacks to over {_UNPACKED_LIMIT} bytes")
        self._ended += not content
        if self._ended > _READS_PAST_THE_END:
            raise BrokenArchiveError("the sdist ends within one of its members")
        return content


def _bounded(content: bytes) -> bytes:
    if len(content) > METADATA_LIMIT:
        raise BrokenArchiveError(f"the core metadata is over {METADATA_LIMIT} bytes")
    return content


def parse_fields(metadata: bytes) -> RawMetadata:
    """Read the fields of a core metadata file; of its body, the description, nothing is read.

    The body is left out because it is parsed as a mail's: nested parts go to the recursion limit.
    """
    return parse_email(_BELOW_FIELDS.split(metadata, maxsplit=1)[0] + b"\n\n")[0]


def description_below(metadata: bytes) -> str:
    """Read the description where it stands below the fields (core metadata 2.1); may be empty."""
    parts = _BELOW_FIELDS.split(metadata, maxsplit=1)
    return parts[1].decode(errors="replace") if len(parts) == 2 else ""
