"""Read the core metadata of wheels and sdists, and check wheels, without trusting the files.

Only one piece of a member is in memory at a time, and the number of unpacked bytes has a limit that
depends on the size of the file.
"""

import lzma
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from pyoci_flask.common.redaction import shown
from pyoci_flask.errors import InvalidRequestError
from pyoci_flask.index.archive_bounds import (
    METADATA_LIMIT,
    BrokenArchiveError,
    DamagedError,
    NoMetadataError,
    unpacked_limit,
)
from pyoci_flask.index.names import Filename, ProjectName
from pyoci_flask.index.sdist_archive import read_sdist_metadata
from pyoci_flask.index.wheel_archive import (
    DEFLATED,
    STORED,
    Member,
    read_members,
    read_wheel_metadata,
    seek_content,
)

__all__ = [
    "METADATA_LIMIT",
    "BrokenArchiveError",
    "DamagedError",
    "NoMetadataError",
    "check_archive",
    "read_metadata",
]

_PIECE = 256 * 1024
_INFO = b".dist-info"


def read_metadata(file: IO[bytes], filename: Filename, *, any_method: bool = False) -> bytes:
    """Read METADATA of a wheel or PKG-INFO of an sdist, with limits on memory and work.

    An sdist is read to its end. In a wheel, only METADATA is read. For `any_method`, see
    `read_wheel_metadata`.

    Raises:
        BrokenArchiveError: the archive is invalid or exceeds a limit; the text says how.
        NoMetadataError: the archive has no core metadata.
    """
    with _explained(filename):
        file.seek(0)
        if filename.is_wheel:
            return read_wheel_metadata(file, any_method=any_method)
        return read_sdist_metadata(file)


def check_archive(file: IO[bytes], filename: Filename, project: ProjectName) -> None:
    """Read the rest of a wheel, which `read_metadata` leaves unread.

    Raises:
        BrokenArchiveError: the wheel is invalid or exceeds a limit; the text says how.
    """
    if filename.is_wheel:
        with _explained(filename):
            _check_wheel(file, filename, project)


@contextmanager
def _explained(filename: Filename) -> Iterator[None]:
    try:
        yield
    except (DamagedError, zlib.error, lzma.LZMAError, OSError) as error:
        kind = "wheel (a zip archive)" if filename.is_wheel else "sdist (a gzipped tar archive)"
        raise BrokenArchiveError(f"{filename.text} is not a valid {kind}: {error}") from error


def _check_wheel(file: IO[bytes], filename: Filename, project: ProjectName) -> None:
    """Read every member, and compare the `.dist-info` folder with the filename (PEP 427).

    Raises:
        DamagedError: a member is damaged.
        BrokenArchiveError: the wheel exceeds a limit or does not match its filename.
    """
    size = file.seek(0, 2)
    limit = unpacked_limit(size)
    infos: set[bytes] = set()
    has_wheel = False
    packed = unpacked = 0
    for member in read_members(file):
        top, _, below = member.name.partition(b"/")
        if top.endswith(_INFO):
            infos.add(top)
            has_wheel = has_wheel or below == b"WHEEL"
            if len(infos) > 1:
                raise BrokenArchiveError("the wheel contains more than one .dist-info folder")
        packed += member.packed
        unpacked += member.size
        if packed > size:
            raise DamagedError("its members overlap or are truncated")
        if unpacked > limit:
            raise BrokenArchiveError(f"the wheel unpacks to more than {limit} bytes")
        _check_content(file, member)
    for info in infos:
        _check_info(info, filename, project)
    if not has_wheel:
        raise BrokenArchiveError(f"{filename.text} contains no .dist-info/WHEEL")


def _check_info(info: bytes, filename: Filename, project: ProjectName) -> None:
    """Compare the folder's name and version with the filename, which is escaped the same way."""
    folder = info.decode(errors="replace")
    try:
        named = Filename.parse(f"{folder.removesuffix('.dist-info')}-py3-none-any.whl", project)
    except InvalidRequestError as error:
        raise BrokenArchiveError(
            f"{filename.text} contains the folder {shown(folder)}, which does not belong to "
            f"{project}"
        ) from error
    if not named.is_same_version(filename.version):
        raise BrokenArchiveError(
            f"{filename.text} contains the folder {shown(folder)}, which does not belong to "
            f"version {filename.version}"
        )


def _check_content(file: IO[bytes], member: Member) -> None:
    seek_content(file, member)
    if member.method not in {STORED, DEFLATED}:
        return  # pip unpacks other methods as well, but this could take any amount of memory
    size = crc = 0
    for part in _parts(file, member):
        size += len(part)
        if size > member.size:
            break
        crc = zlib.crc32(part, crc)
    if size != member.size or crc != member.crc:
        raise DamagedError(f"{member.title} does not match its size or checksum")


def _parts(file: IO[bytes], member: Member) -> Iterator[bytes]:
    """Unpack a member in pieces."""
    stream = zlib.decompressobj(-zlib.MAX_WBITS) if member.method == DEFLATED else None
    left = member.packed
    while left and (packed := file.read(min(_PIECE, left))):
        left -= len(packed)
        if stream is None:
            yield packed
            continue
        part = stream.decompress(packed, _PIECE)
        while part or stream.unconsumed_tail:
            yield part
            part = stream.decompress(stream.unconsumed_tail, _PIECE)
        if stream.eof:
            return  # zipfile also ignores what follows; the stream would keep it in memory
