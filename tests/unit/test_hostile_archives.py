"""Core metadata of malicious archives: reading it takes bounded memory and bounded work."""

import bz2
import gzip
import io
import lzma
import struct
import tarfile
import tempfile
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from typing import IO

import pytest

from pyoci_flask.index.archive import (
    BrokenArchiveError,
    NoMetadataError,
    check_archive,
    read_metadata,
)
from pyoci_flask.index.names import Filename, ProjectName

PROJECT = ProjectName("a")
WHEEL = Filename.parse("a-1.0-py3-none-any.whl", PROJECT)
SDIST = Filename.parse("a-1.0.tar.gz", PROJECT)
MEMBER = "a-1.0.dist-info/METADATA"
METADATA = b"Metadata-Version: 2.1\nName: a\nVersion: 1.0\n"
MEBIBYTE = 1 << 20
ROOM = 40 * MEBIBYTE
"""Bytes of memory that reading any archive may take: the directory and METADATA at their limits."""
BLOCK = 512


def _peak(read: Callable[[], object]) -> int:
    """Return the peak memory in bytes of `read`, which must refuse the file."""
    tracemalloc.start()
    try:
        with pytest.raises(BrokenArchiveError):
            read()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def _lying(archive: bytes, size: int) -> bytes:
    """A zip whose directory gives another size for its last member."""
    changed = bytearray(archive)
    at = changed.rfind(b"PK\1\2")
    changed[at + 24 : at + 28] = struct.pack("<I", size)
    return bytes(changed)


def _wheel(content: bytes, compression: int) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", compression) as opened:
        opened.writestr(MEMBER, content)
    return archive.getvalue()


@pytest.mark.slow
@pytest.mark.parametrize("stated", [100, 4 * MEBIBYTE])
@pytest.mark.parametrize(
    "compression",
    [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA],
    ids=["stored", "deflate", "bzip2", "lzma"],
)
def test_metadata_that_unpacks_to_far_more_than_it_says_takes_little_memory(
    compression: int, stated: int
) -> None:
    archive = io.BytesIO(_lying(_wheel(bytes(64 * MEBIBYTE), compression), stated))

    assert _peak(lambda: read_metadata(archive, WHEEL)) < ROOM


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_metadata_packed_in_a_way_that_installers_do_not_unpack_is_refused(
    compression: int,
) -> None:
    """Wheels are stored or deflated; the other ways have no bound while unpacking."""
    with pytest.raises(BrokenArchiveError):
        read_metadata(io.BytesIO(_wheel(METADATA, compression)), WHEEL)


def test_broken_lzma_is_a_broken_archive() -> None:
    archive = bytearray(_wheel(METADATA * 50, zipfile.ZIP_LZMA))
    archive[archive.find(MEMBER.encode()) + len(MEMBER) + 4] = 0xFF

    with pytest.raises(BrokenArchiveError):
        read_metadata(io.BytesIO(bytes(archive)), WHEEL)


def _directory(entries: int) -> bytes:
    """A zip that is nothing but a directory of the smallest entries there are."""
    entry = struct.pack(
        "<4s4B4HL2L5H2L", b"PK\1\2", 20, 3, 20, 0, 0, 0, 0, 33, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0
    )
    listed = (entry + b"x") * entries
    counted = min(entries, 0xFFFF)
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, counted, counted, len(listed), 0, 0)
    return listed + end


@pytest.mark.acceptance
@pytest.mark.slow
def test_a_directory_at_its_limit_takes_little_memory() -> None:
    archive = io.BytesIO(_directory(16 * MEBIBYTE // 47 - 1))

    assert _peak(lambda: read_metadata(archive, WHEEL)) < ROOM


def test_a_directory_over_its_limit_is_not_read() -> None:
    archive = io.BytesIO(_directory(16 * MEBIBYTE // 47 + 1))

    assert _peak(lambda: read_metadata(archive, WHEEL)) < MEBIBYTE


def _last_entry(archive: bytes, form: str, position: int, *values: int) -> io.BytesIO:
    """A zip with other values at a position of the last entry of its directory."""
    changed = bytearray(archive)
    struct.pack_into(form, changed, changed.rfind(b"PK\1\2") + position, *values)
    return io.BytesIO(bytes(changed))


def test_what_follows_the_stream_of_a_member_takes_no_memory() -> None:
    content = b"x" * 1000
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    packed = packer.compress(content) + packer.flush() + bytes(64 * MEBIBYTE)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr(MEMBER, METADATA)
        opened.writestr("a-1.0.dist-info/WHEEL", b"")
        opened.writestr("a.py", packed)
    crc = zlib.crc32(content)
    wheel = _last_entry(archive.getvalue(), "<H4x3L", 10, 8, crc, len(packed), len(content))

    tracemalloc.start()
    try:
        check_archive(wheel, WHEEL, PROJECT)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert peak < 4 * MEBIBYTE


@pytest.mark.parametrize("offset", [1 << 62, 1 << 63, (1 << 64) - 1])
def test_a_member_behind_the_end_of_every_file_is_missing(offset: int) -> None:
    name = b"a.py"
    zip64 = struct.pack("<2HQ", 1, 8, offset)
    entry = struct.pack(
        "<4s4x2H4x3L3H8xL", b"PK\1\2", 0, 0, 0, 0, 0, len(name), len(zip64), 0, 0xFFFFFFFF
    )
    listed = entry + name + zip64
    end = struct.pack("<4s8x2LH", b"PK\5\6", len(listed), 0, 0)

    with tempfile.TemporaryFile() as file:
        file.write(listed + end)
        with pytest.raises(BrokenArchiveError):
            check_archive(file, WHEEL, PROJECT)


def _packed(content: bytes, repeated: int = 1) -> IO[bytes]:
    """A gzip file of `content`, so many times."""
    return io.BytesIO(gzip.compress(content, 1) * repeated)


def _entry(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    entry = tarfile.TarInfo(name)
    entry.type, entry.size = kind, size
    return entry.tobuf(tarfile.GNU_FORMAT)


@pytest.mark.acceptance
@pytest.mark.slow
def test_an_sdist_of_very_many_members_takes_little_memory() -> None:
    archive = _packed(_entry("a-1.0/x", 0) * 1000, 120)

    assert _peak(lambda: read_metadata(archive, SDIST)) < ROOM


@pytest.mark.parametrize(
    "kind",
    [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK],
    ids=["pax", "global-pax", "long-name", "long-link"],
)
def test_a_member_that_only_describes_takes_little_memory_however_big(kind: bytes) -> None:
    archive = _packed(_entry("a-1.0/x", 64 * MEBIBYTE, kind) + bytes(64 * MEBIBYTE))

    assert _peak(lambda: read_metadata(archive, SDIST)) < ROOM


class _Counting(io.BytesIO):
    """Ends the test where its end is read again and again: that would never stop."""

    past_the_end = 0

    def read(self, size: int | None = -1) -> bytes:
        content = super().read(size)
        self.past_the_end += not content
        assert self.past_the_end < 10_000, "reads on and on where there is nothing left"
        return content


@pytest.mark.parametrize("size", [1 << 40, 1 << 62])
def test_a_member_said_to_be_longer_than_any_file_is_given_up_on(size: int) -> None:
    archive = _Counting(gzip.compress(_entry("a-1.0/x", size) + b"little"))

    with pytest.raises(BrokenArchiveError):
        read_metadata(archive, SDIST)


def test_an_sdist_that_unpacks_without_end_is_given_up_on() -> None:
    zeros = gzip.compress(bytes(16 * MEBIBYTE), 9)
    archive = io.BytesIO(gzip.compress(_entry("a-1.0/x", 2 << 30)) + zeros * 65)

    assert _peak(lambda: read_metadata(archive, SDIST)) < ROOM


@pytest.mark.parametrize("position", [0, 1, 2], ids=["first", "between", "last"])
def test_metadata_is_found_among_other_members(position: int) -> None:
    members = {"a-1.0/x": b"x" * 3000, "a-1.0/a.egg-info/PKG-INFO": b"another"}
    ordered = list(members.items())
    ordered.insert(position, ("a-1.0/PKG-INFO", METADATA))
    content = b"".join(
        _entry(name, len(body)) + body + bytes(-len(body) % BLOCK) for name, body in ordered
    )

    assert read_metadata(_packed(content + bytes(2 * BLOCK)), SDIST) == METADATA


def test_metadata_behind_a_long_name_and_pax_headers_is_found() -> None:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz", format=tarfile.PAX_FORMAT) as opened:
        for name, body in ((f"a-1.0/{'long' * 60}.py", b""), ("a-1.0/PKG-INFO", METADATA)):
            entry = tarfile.TarInfo(name)
            entry.size, entry.pax_headers = len(body), {"comment": "ü" * 100}
            opened.addfile(entry, io.BytesIO(body))
    archive.seek(0)

    assert read_metadata(archive, SDIST) == METADATA


def test_an_archive_without_metadata_is_told_from_a_broken_one() -> None:
    sound = _packed(_entry("a-1.0/x", 0) + bytes(2 * BLOCK))

    with pytest.raises(NoMetadataError):
        read_metadata(sound, SDIST)


@pytest.mark.parametrize("unpacked", [b"", b"text", b"\xff" * 10_240])
@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress, lzma.compress])
def test_what_is_no_archive_is_broken(unpacked: bytes, pack: Callable[[bytes], bytes]) -> None:
    for filename in (WHEEL, SDIST):
        with pytest.raises(BrokenArchiveError):
            read_metadata(io.BytesIO(pack(unpacked)), filename)
