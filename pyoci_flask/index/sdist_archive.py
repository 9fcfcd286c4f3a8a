"""Read PKG-INFO of an sdist in one pass over the tar archive.

tarfile has no limits: it reads whole extended headers into memory, and needs some 50 microseconds
per member, while two million members fit into 5 MB. Here, a member takes a few microseconds, only
its name and size are read, and everything is limited. The formats of POSIX (pax) and GNU tar are
supported.
"""

import zlib
from dataclasses import dataclass
from typing import IO

from pyoci_flask.index.archive_bounds import (
    METADATA_LIMIT,
    MOST_MEMBERS,
    BrokenArchiveError,
    DamagedError,
    NoMetadataError,
    unpacked_limit,
)

_EXTENDED_LIMIT = 8 * 1024 * 1024
"""Maximum size of all extended headers together, such as long names, in bytes."""
_MOST_STREAMS = 10_000
"""Maximum number of gzip streams in the file, one after another."""
_PIECE = 256 * 1024
_BLOCK = 512

_REGULAR = frozenset({b"0", b"\0", b"7"})
_WITHOUT_CONTENT = frozenset({b"1", b"2", b"3", b"4", b"5", b"6"})
"""Links, devices and folders. The next header follows, even if they state a size."""
_LONG_NAME, _LONG_LINK, _SPARSE = b"L", b"K", b"S"
_PAX = frozenset({b"x", b"X"})
_GLOBAL_PAX = b"g"
_SPARSE_CONTINUES = 482
_SPARSE_BLOCK_CONTINUES = 504


@dataclass(slots=True)
class _Member:
    name: bytes
    kind: bytes
    size: int
    """Bytes of the content."""


def read_sdist_metadata(file: IO[bytes]) -> bytes:
    """Return the first `*/PKG-INFO`; read the archive to its end.

    Raises:
        DamagedError: this is not a gzipped tar archive, or it ends too early.
        BrokenArchiveError: the archive exceeds a limit.
        NoMetadataError: the archive has no PKG-INFO.
    """
    stream = _Unpacked(file)
    members = _Members(stream)
    metadata = None
    while (member := members.next()) is not None:
        size = 0 if member.kind in _WITHOUT_CONTENT else member.size
        if metadata is None and _is_metadata(member):
            if size > METADATA_LIMIT:
                raise BrokenArchiveError(f"PKG-INFO is larger than {METADATA_LIMIT} bytes")
            metadata = stream.read(size)
            stream.skip(_padded(size) - size)
        else:
            stream.skip(_padded(size))
    stream.finish()
    if metadata is None:
        raise NoMetadataError("the sdist does not contain a PKG-INFO file")
    return metadata


def _is_metadata(member: _Member) -> bool:
    name = member.name.removeprefix(b"./")
    return member.kind in _REGULAR and name.count(b"/") == 1 and name.endswith(b"/PKG-INFO")


class _Members:
    """The members of a tar archive, each with the extended headers before it."""

    def __init__(self, stream: "_Unpacked") -> None:
        self._stream = stream
        self._headers = 0
        self._extended = 0

    def next(self) -> _Member | None:
        """Read the next header. The content of the previous member must have been read."""
        name, size = None, None
        while (member := self._header()) is not None:
            if member.kind == _LONG_NAME:
                name = self._extension(member).partition(b"\0")[0]
            elif member.kind in _PAX:
                records = _pax_records(self._extension(member))
                name = records.get(b"path", name)
                if b"size" in records:
                    size = _decimal(records[b"size"])
            elif member.kind in {_LONG_LINK, _GLOBAL_PAX}:
                self._extension(member)
            else:
                member.name = member.name if name is None else name
                member.size = member.size if size is None else size
                return member
        return None

    def _header(self) -> _Member | None:
        """Read one header of 512 bytes, or return None at the end of the archive."""
        block = self._block()
        if not block and self._headers == 1:
            raise DamagedError("it is empty")
        if not block.strip(b"\0"):
            return None
        if len(block) < _BLOCK:
            raise DamagedError("it ends within a header")
        # The checksum counts its own bytes as spaces.
        expected = sum(block) - sum(block[148:156]) + 8 * ord(" ")
        if _number(block[148:156]) != expected:
            raise DamagedError("it has a header with a wrong checksum")
        kind, name, prefix = block[156:157], _text(block[:100]), _text(block[345:500])
        if kind == _SPARSE:
            self._skip_sparse_map(block)
        elif prefix:
            name = prefix + b"/" + name
        return _Member(name, kind, _number(block[124:136]))

    def _block(self) -> bytes:
        self._headers += 1
        if self._headers > 2 * MOST_MEMBERS:  # each member may have an extended header
            raise BrokenArchiveError(f"the sdist has more than {MOST_MEMBERS} members")
        return self._stream.read(_BLOCK, all_of_it=False)

    def _skip_sparse_map(self, block: bytes) -> None:
        more = block[_SPARSE_CONTINUES]
        while more:
            block = self._block()
            more = len(block) == _BLOCK and block[_SPARSE_BLOCK_CONTINUES]

    def _extension(self, member: _Member) -> bytes:
        self._extended += member.size
        if self._extended > _EXTENDED_LIMIT:
            raise BrokenArchiveError(
                f"the extended headers of the sdist have more than {_EXTENDED_LIMIT} bytes"
            )
        content = self._stream.read(member.size)
        self._stream.skip(_padded(member.size) - member.size)
        return content


class _Unpacked:
    """The content of a gzip file, unpacked in pieces and up to a limit."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._stream = zlib.decompressobj(16 + zlib.MAX_WBITS)
        self._streams = 1
        self._packed = b""
        self._piece, self._position = b"", 0
        self._limit = unpacked_limit(file.seek(0, 2))
        self._left = self._limit
        file.seek(0)

    def read(self, size: int, *, all_of_it: bool = True) -> bytes:
        """Read `size` bytes. If `all_of_it` is false, return fewer at the end of the file."""
        parts = []
        while size and (part := self._part(size)):
            parts.append(part)
            size -= len(part)
        if size and all_of_it:
            raise DamagedError("it ends within one of its members")
        return b"".join(parts)

    def skip(self, size: int) -> None:
        """Skip `size` bytes."""
        if size > self._left + len(self._piece):
            raise BrokenArchiveError(f"the sdist unpacks to more than {self._limit} bytes")
        while size:
            part = self._part(size)
            if not part:
                raise DamagedError("it ends within one of its members")
            size -= len(part)

    def finish(self) -> None:
        """Read to the checksum at the end of this gzip stream; ignore what follows."""
        while not self._stream.eof:
            self._unpack_piece()

    def _part(self, size: int) -> bytes:
        """Return the next bytes, at most `size`, or no bytes at the end."""
        if self._position == len(self._piece):
            self._piece, self._position = self._unpack(), 0
        part = self._piece[self._position : self._position + size]
        self._position += len(part)
        return part

    def _unpack(self) -> bytes:
        """Unpack and return the next piece, which is empty at the end."""
        while not self._stream.eof or self._begin_stream():
            if piece := self._unpack_piece():
                return piece
        return b""

    def _unpack_piece(self) -> bytes:
        """Unpack and return a piece of this gzip stream, which may be empty."""
        packed = self._packed or self._file.read(_PIECE)
        piece = self._stream.decompress(packed, _PIECE)
        self._packed = self._stream.unconsumed_tail
        if not packed and not piece and not self._stream.eof:
            raise DamagedError("its gzip stream ends too early")
        self._left -= len(piece)
        if self._left < 0:
            raise BrokenArchiveError(f"the sdist unpacks to more than {self._limit} bytes")
        return piece

    def _begin_stream(self) -> bool:
        """Begin the next gzip stream, if there is one. Zeros between streams are padding."""
        packed = self._stream.unused_data.lstrip(b"\0")
        while not packed:
            packed = self._file.read(_PIECE)
            if not packed:
                return False
            packed = packed.lstrip(b"\0")
        self._streams += 1
        if self._streams > _MOST_STREAMS:
            raise BrokenArchiveError(f"the sdist has more than {_MOST_STREAMS} gzip streams")
        self._stream = zlib.decompressobj(16 + zlib.MAX_WBITS)
        self._packed = packed
        return True


def _padded(size: int) -> int:
    return size + -size % _BLOCK


def _text(field: bytes) -> bytes:
    return field.partition(b"\0")[0]


def _number(field: bytes) -> int:
    """Parse octal digits, or a binary number if the first byte says so (GNU)."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:])
    digits = _text(field).strip() or b"0"
    try:
        number = int(digits, 8)
    except ValueError as error:
        raise DamagedError("it has a header with an invalid number") from error
    if number < 0:
        raise DamagedError("it has a header with a negative number")
    return number


def _decimal(text: bytes) -> int:
    if not text.isdigit() or len(text) > 18:
        raise DamagedError("it has a pax header with an invalid size")
    return int(text)


def _pax_records(content: bytes) -> dict[bytes, bytes]:
    """Parse `LENGTH KEY=VALUE` lines (POSIX, pax Extended Header)."""
    records = {}
    position = 0
    while position < len(content):
        space = content.find(b" ", position, position + 20)
        length = _decimal(content[position : max(space, position)])
        if length <= space - position or position + length > len(content):
            raise DamagedError("it has a pax header that cannot be read")
        key, _, value = content[space + 1 : position + length - 1].partition(b"=")
        records[key] = value
        position += length
    return records
