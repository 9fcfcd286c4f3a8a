"""Read the members and METADATA of a wheel in one pass over the zip's directory.

zipfile makes an object for each member when it opens the file. Here, the directory is read in
pieces and only the entry of METADATA is kept, so memory does not grow with the number of members.
Section numbers refer to PKWARE's APPNOTE.TXT.
"""

import bz2
import lzma
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import IO, NamedTuple

from pyoci_flask.common.redaction import shown
from pyoci_flask.index.archive_bounds import (
    METADATA_LIMIT,
    MOST_MEMBERS,
    BrokenArchiveError,
    DamagedError,
    NoMetadataError,
)

_DIRECTORY_LIMIT = 16 * 1024 * 1024
"""Maximum size of the central directory, in bytes."""
_PIECE = 512 * 1024
"""Bytes of the directory that are read in one step. No entry is longer than half of it."""
_PACKED_LIMIT = 2 * METADATA_LIMIT
_LONGEST_COMMENT = 0xFFFF

_END = struct.Struct("<4s8x2LH")  # 4.3.16
_END_SIGNATURE = b"PK\5\6"
_END64 = struct.Struct("<4s36x2Q")  # 4.3.14
_END64_SIGNATURE = b"PK\6\6"
_LOCATOR = struct.Struct("<4s16x")  # 4.3.15
_LOCATOR_SIGNATURE = b"PK\6\7"
_ENTRY = struct.Struct("<4s4x2H4x3L3H8xL")  # 4.3.12
_ENTRY_SIGNATURE = b"PK\1\2"
_LOCAL = struct.Struct("<4s22x2H")  # 4.3.7
_LOCAL_SIGNATURE = b"PK\3\4"
_EXTRA = struct.Struct("<2H")  # 4.5.1
_ZIP64_EXTRA = 1
_ELSEWHERE = 0xFFFFFFFF
"""The value of a size or an offset that is in the zip64 extra field instead (4.5.3)."""
_LARGEST_OFFSET = 2**62
"""No file is that long, and Python cannot seek beyond 2**63."""
_ENCRYPTED = 1
STORED, DEFLATED = 0, 8
_LZMA = struct.Struct("<2xHBL")  # 5.8.8
_LZMA_PROPERTIES = 5
_LEAST_DICTIONARY = 4096


class Member(NamedTuple):
    """An entry of the directory."""

    name: bytes
    flags: int
    method: int
    crc: int
    packed: int
    """Bytes in the archive."""
    size: int
    """Bytes of the content."""
    offset: int
    """The offset of its header in the file."""

    @property
    def title(self) -> str:
        """The member's name, for error texts."""
        return shown(self.name[:200].decode(errors="replace"))


def read_wheel_metadata(file: IO[bytes], *, any_method: bool = False) -> bytes:
    """Read `*.dist-info/METADATA`. If it occurs twice, read the last one, as zipfile does.

    With `any_method`, METADATA may also be compressed with bzip2 or LZMA: pip installs such
    wheels, other installers do not.

    Raises:
        DamagedError: this is not a zip archive, or METADATA in it is damaged.
        BrokenArchiveError: the archive exceeds a limit.
        NoMetadataError: the archive has no METADATA, or that of several packages.
    """
    found: dict[bytes, Member] = {}
    for member in read_members(file):
        if member.name.endswith(b".dist-info/METADATA") and member.name.count(b"/") == 1:
            found[member.name] = member
            if len(found) > 1:
                raise NoMetadataError("the wheel contains more than one .dist-info/METADATA")
    if not found:
        raise NoMetadataError("the wheel contains no .dist-info/METADATA")
    return _content(file, found.popitem()[1], any_method=any_method)


def read_members(file: IO[bytes]) -> Iterator[Member]:
    """Yield the entries of the directory. Between two entries, the caller may use the file.

    Raises:
        DamagedError: this is not a zip archive.
        BrokenArchiveError: the archive exceeds a limit.
    """
    start, size, shift = _find_directory(file)
    if size > _DIRECTORY_LIMIT:
        raise BrokenArchiveError(f"the wheel's directory is larger than {_DIRECTORY_LIMIT} bytes")
    count, rest = 0, b""
    end = start + size
    while start < end:
        file.seek(start)
        piece = file.read(min(_PIECE, end - start))
        if not piece:
            raise DamagedError("its directory ends too early")
        start += len(piece)
        piece = rest + piece
        position = 0
        while position + _ENTRY.size <= len(piece):
            signature, flags, method, crc, packed, unpacked, *lengths, offset = _ENTRY.unpack_from(
                piece, position
            )
            if signature != _ENTRY_SIGNATURE:
                raise DamagedError("its directory contains something other than entries")
            name_at = position + _ENTRY.size
            position_after = name_at + sum(lengths)
            if position_after > len(piece):
                break
            count += 1
            if count > MOST_MEMBERS:
                raise BrokenArchiveError(f"the wheel has more than {MOST_MEMBERS} members")
            # zipfile, and so installers, read a name only up to its first NUL.
            name = piece[name_at : name_at + lengths[0]].partition(b"\0")[0]
            if _ELSEWHERE in (packed, unpacked, offset):
                extra = piece[name_at + lengths[0] : name_at + lengths[0] + lengths[1]]
                unpacked, packed, offset = _with_zip64(extra, unpacked, packed, offset)
            yield Member(name, flags, method, crc, packed, unpacked, shift + offset)
            position = position_after
        rest = piece[position:]
    if rest:
        raise DamagedError("its directory ends within an entry")


def _find_directory(file: IO[bytes]) -> tuple[int, int, int]:
    """Return the central directory's offset and size, and the size of what precedes the archive."""
    end = file.seek(0, 2)
    for tail_size in (_END.size, _END.size + _LONGEST_COMMENT):
        start = file.seek(max(0, end - tail_size))
        tail = file.read(tail_size)
        found = tail.rfind(_END_SIGNATURE, 0, max(0, len(tail) - _END.size + len(_END_SIGNATURE)))
        if found >= 0:
            break
    else:
        raise BrokenArchiveError("the wheel is not a zip archive")
    _, size, offset, _ = _END.unpack_from(tail, found)
    after = start + found
    record = after - _LOCATOR.size - _END64.size
    if record >= 0:
        file.seek(record)
        end64, locator = file.read(_END64.size), file.read(_LOCATOR.size)
        if locator.startswith(_LOCATOR_SIGNATURE) and end64.startswith(_END64_SIGNATURE):
            _, size, offset = _END64.unpack(end64)
            after = record
    # Offsets do not count what precedes the archive, such as a program that unpacks it.
    shift = after - size - offset
    if shift < 0:
        raise DamagedError("the offset of its central directory is before the start of the file")
    return offset + shift, size, shift


def _with_zip64(extra: bytes, *values: int) -> Iterator[int]:
    """Yield the values, or those of the zip64 extra field that replace them."""
    large = b""
    while len(extra) >= _EXTRA.size:
        kind, length = _EXTRA.unpack_from(extra)
        if kind == _ZIP64_EXTRA:
            large = extra[_EXTRA.size : _EXTRA.size + length]
            break
        extra = extra[_EXTRA.size + length :]
    for value in values:
        if value == _ELSEWHERE:
            yield int.from_bytes(large[:8], "little")
            large = large[8:]
        else:
            yield value


def seek_content(file: IO[bytes], member: Member) -> None:
    """Move the file's position to the beginning of a member's content.

    Raises:
        DamagedError: the member is not where the directory says it is.
        BrokenArchiveError: the member is encrypted.
    """
    if member.flags & _ENCRYPTED:
        raise BrokenArchiveError(f"{member.title} is encrypted")
    header = b""
    if member.offset <= _LARGEST_OFFSET:
        file.seek(member.offset)
        header = file.read(_LOCAL.size)
    if len(header) < _LOCAL.size or not header.startswith(_LOCAL_SIGNATURE):
        raise DamagedError(f"{member.title} is not where the directory says it is")
    _, name_length, extra_length = _LOCAL.unpack(header)
    if file.read(name_length + extra_length)[:name_length].partition(b"\0")[0] != member.name:
        raise DamagedError(f"{member.title} has a different name in the directory")


def _content(file: IO[bytes], member: Member, *, any_method: bool) -> bytes:
    if member.method not in (_UNPACK if any_method else {STORED, DEFLATED}):
        raise BrokenArchiveError("METADATA is compressed with a method that wheels must not use")
    if member.size > METADATA_LIMIT or member.packed > _PACKED_LIMIT:
        raise BrokenArchiveError(f"METADATA is larger than {METADATA_LIMIT} bytes")
    seek_content(file, member)
    # The size in the directory may be wrong. If so, one byte more than allowed shows it.
    content = _UNPACK[member.method](file.read(member.packed), METADATA_LIMIT + 1)
    if len(content) > METADATA_LIMIT:
        raise BrokenArchiveError(f"METADATA is larger than {METADATA_LIMIT} bytes")
    if len(content) != member.size or zlib.crc32(content) != member.crc:
        raise DamagedError("METADATA does not match its size or checksum")
    return content


def _stored(packed: bytes, most: int) -> bytes:
    return packed[:most]


def _inflate(packed: bytes, most: int) -> bytes:
    return zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, most)


def _bunzip2(packed: bytes, most: int) -> bytes:
    return bz2.BZ2Decompressor().decompress(packed, most)


def _unlzma(packed: bytes, most: int) -> bytes:
    """Read the properties, then the stream (5.8.8)."""
    if len(packed) < _LZMA.size:
        raise DamagedError("METADATA is truncated")
    size, coding, dictionary = _LZMA.unpack_from(packed)
    if size != _LZMA_PROPERTIES:
        raise DamagedError("METADATA has invalid LZMA properties")
    rest, lc = divmod(coding, 9)
    pb, lp = divmod(rest, 5)
    # A match cannot reach back further than the content, so `most` bounds the memory.
    dictionary = max(_LEAST_DICTIONARY, min(dictionary, most))
    how = {"id": lzma.FILTER_LZMA1, "lc": lc, "lp": lp, "pb": pb, "dict_size": dictionary}
    stream = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=[how])
    return stream.decompress(packed[_LZMA.size :], most)


_UNPACK: Mapping[int, Callable[[bytes, int], bytes]] = {
    STORED: _stored,
    DEFLATED: _inflate,
    12: _bunzip2,
    14: _unlzma,
}
"""The function of each method (4.4.5), which unpacks at most this number of bytes."""
