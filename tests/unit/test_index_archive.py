import contextlib
import gzip
import io
import struct
import tarfile
import tempfile
import tracemalloc
import zipfile

import hypothesis
import pytest
from hypothesis import strategies as st

from pyoci_flask.index.archive import (
    METADATA_LIMIT,
    BrokenArchiveError,
    read_metadata,
)
from pyoci_flask.index.names import Filename, ProjectName

METADATA = b"Metadata-Version: 2.1\nName: hello\nVersion: 1.0\nRequires-Python: >=3.9\n\nText.\n"
WHEEL = Filename.parse("hello-1.0-py3-none-any.whl", ProjectName("hello"))
SDIST = Filename.parse("hello-1.0.tar.gz", ProjectName("hello"))
INFO = "hello-1.0.dist-info/METADATA"
PKG_INFO = "hello-1.0/PKG-INFO"


def wheel(*members: tuple[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", compression) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return packed.getvalue()


def sdist(*members: tuple[str, bytes], kind: bytes = tarfile.REGTYPE) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, content in members:
            entry = tarfile.TarInfo(name)
            entry.size, entry.type, entry.linkname = len(content), kind, "target"
            archive.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_metadata_of_a_wheel_is_read(compression: int) -> None:
    content = wheel(("hello/METADATA", b"x"), (INFO, METADATA), compression=compression)
    file = io.BytesIO(content)
    file.seek(7)
    assert read_metadata(file, WHEEL) == METADATA


@pytest.mark.parametrize("name", [PKG_INFO, f"./{PKG_INFO}", "other-name/PKG-INFO"])
def test_pkg_info_of_an_sdist_is_read(name: str) -> None:
    content = sdist(
        ("hello-1.0/a.py", b"x"), ("hello-1.0/hello.egg-info/PKG-INFO", b"x"), (name, METADATA)
    )
    assert read_metadata(io.BytesIO(content), SDIST) == METADATA


@pytest.mark.parametrize(
    "content",
    [
        wheel(),
        wheel(("hello/METADATA", METADATA)),
        wheel((f"a/{INFO}", METADATA)),
        wheel((INFO, METADATA), ("other-2.dist-info/METADATA", METADATA)),
        wheel((INFO, METADATA))[:-30],
        wheel((INFO, METADATA))[:40],
        sdist((PKG_INFO, METADATA)),
        b"",
        b"PK",
        b"x" * 100,
        b"PK\x05\x06" + bytes(18),
        b"PK\x05\x06" + b"\xff" * 18,
    ],
    ids=range(12),
)
def test_wheel_without_sound_metadata_is_broken(content: bytes) -> None:
    with pytest.raises(BrokenArchiveError):
        read_metadata(io.BytesIO(content), WHEEL)


def test_changed_member_of_a_wheel_is_broken() -> None:
    content = wheel((INFO, METADATA), compression=zipfile.ZIP_STORED)
    with pytest.raises(BrokenArchiveError, match="is not a valid wheel"):
        read_metadata(io.BytesIO(content.replace(b"Name: hello", b"Name: jello")), WHEEL)


@pytest.mark.parametrize(
    "content",
    [
        sdist(),
        sdist(("hello-1.0/setup.py", b"x")),
        sdist(("PKG-INFO", METADATA)),
        sdist(("a/b/PKG-INFO", METADATA)),
        sdist((PKG_INFO, b""), kind=tarfile.SYMTYPE),
        sdist((PKG_INFO, b""), kind=tarfile.LNKTYPE),
        sdist((PKG_INFO, b""), kind=tarfile.DIRTYPE),
        sdist((PKG_INFO, METADATA))[:40],
        gzip.compress(b"no tar"),
        gzip.compress(b""),
        wheel((INFO, METADATA)),
        b"",
        b"x" * 100,
        b"\x1f\x8b",
    ],
    ids=range(14),
)
def test_sdist_without_sound_metadata_is_broken(content: bytes) -> None:
    with pytest.raises(BrokenArchiveError):
        read_metadata(io.BytesIO(content), SDIST)


def test_metadata_over_the_limit_is_refused() -> None:
    fits, over = bytes(METADATA_LIMIT), bytes(METADATA_LIMIT + 1)
    assert read_metadata(io.BytesIO(wheel((INFO, fits))), WHEEL) == fits
    assert read_metadata(io.BytesIO(sdist((PKG_INFO, fits))), SDIST) == fits
    for content, filename in ((wheel((INFO, over)), WHEEL), (sdist((PKG_INFO, over)), SDIST)):
        with pytest.raises(BrokenArchiveError, match=f"larger than {METADATA_LIMIT} bytes"):
            read_metadata(io.BytesIO(content), filename)


def _peak(content: bytes, filename: Filename) -> int:
    """Bytes of memory that reading takes at most."""
    tracemalloc.start()
    try:
        with contextlib.suppress(BrokenArchiveError):
            read_metadata(io.BytesIO(content), filename)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_wrong_size_in_the_directory_does_not_hide_a_bomb() -> None:
    size = 60_000_000
    content = wheel((INFO, bytes(size)))
    lying = content.replace(struct.pack("<I", size), struct.pack("<I", 100))
    assert lying != content
    assert _peak(lying, WHEEL) < 4 * METADATA_LIMIT
    with pytest.raises(BrokenArchiveError):
        read_metadata(io.BytesIO(lying), WHEEL)


def test_bomb_before_the_metadata_of_an_sdist_takes_no_memory() -> None:
    content = sdist(("hello-1.0/bomb", bytes(60_000_000)), (PKG_INFO, METADATA))
    assert _peak(content, SDIST) < 4 * METADATA_LIMIT
    assert read_metadata(io.BytesIO(content), SDIST) == METADATA


def test_bomb_in_the_headers_of_an_sdist_takes_no_memory() -> None:
    # A long name is a member of its own, which tarfile reads whole.
    entry = tarfile.TarInfo("x")
    entry.type, entry.size = tarfile.GNUTYPE_LONGNAME, 80_000_000
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", compresslevel=1) as out:
        out.write(entry.tobuf(tarfile.GNU_FORMAT))
        for _ in range(80):
            out.write(b"a" * 1_000_000)
        out.write(bytes(2048))
    assert _peak(packed.getvalue(), SDIST) < 4 * METADATA_LIMIT


def test_directory_of_a_wheel_that_is_too_large_is_not_read() -> None:
    # The size of the central directory stands in the last record, 12 bytes from its start.
    content = bytearray(wheel((INFO, METADATA)))
    end = content.rindex(b"PK\x05\x06")
    struct.pack_into("<I", content, end + 12, 17 * 1024 * 1024)
    with pytest.raises(BrokenArchiveError, match="directory is larger than"):
        read_metadata(io.BytesIO(bytes(17 * 1024 * 1024) + content), WHEEL)


def test_encrypted_member_is_broken() -> None:
    content = bytearray(wheel((INFO, METADATA)))
    content[6] |= 1
    content[content.rindex(b"PK\x01\x02") + 8] |= 1
    with pytest.raises(BrokenArchiveError):
        read_metadata(io.BytesIO(content), WHEEL)


@pytest.mark.parametrize("method", [9, 12, 14, 93, 97, 99])
def test_unknown_or_damaged_compression_is_broken(method: int) -> None:
    content = bytearray(wheel((INFO, METADATA)))
    struct.pack_into("<H", content, 8, method)
    struct.pack_into("<H", content, content.rindex(b"PK\x01\x02") + 10, method)
    with pytest.raises(BrokenArchiveError):
        read_metadata(io.BytesIO(content), WHEEL)


@hypothesis.given(
    st.sampled_from([wheel((INFO, METADATA)), sdist((PKG_INFO, METADATA))]),
    st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 255)), max_size=6),
    st.integers(0, 1000) | st.just(None),
    st.binary(max_size=20),
)
@hypothesis.settings(max_examples=150)
def test_damaged_archives_have_metadata_or_are_broken(
    content: bytes, changes: list[tuple[int, int]], end: int | None, tail: bytes
) -> None:
    damaged = bytearray(content)
    for position, value in changes:
        damaged[position % len(damaged)] = value
    for filename in (WHEEL, SDIST):
        with contextlib.suppress(BrokenArchiveError):
            assert isinstance(
                read_metadata(io.BytesIO(bytes(damaged[:end]) + tail), filename), bytes
            )


def test_file_on_disk_is_read_as_well() -> None:
    with tempfile.TemporaryFile() as file:
        file.write(wheel((INFO, METADATA)))
        assert read_metadata(file, WHEEL) == METADATA
