"""The core metadata inside a wheel or sdist, and whether it is one, without trusting it."""

import lzma
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from pyoci_flask.index.archive import (
    METADATA_LIMIT,
    BrokenArchiveError,
    DamagedError,
    NoMetadataError,
)
from pyoci_flask.index.names import Filename, ProjectName
from pyoci_flask.index.sdist_archive import read_sdist_metadata
from pyoci_flask.index.wheel_archive import read_wheel_metadata
from pyoci_flask.index.wheel_check import check_wheel

__all__ = [
    "METADATA_LIMIT",
    "BrokenArchiveError",
    "NoMetadataError",
    "check_archive",
    "read_metadata",
]


def read_metadata(file: IO[bytes], filename: Filename, *, any_method: bool = False) -> bytes:
    """Read METADATA of a wheel or PKG-INFO of an sdist, within bounds of memory and work.

    An sdist is read to its end, of a wheel only METADATA; `any_method` as in
    `read_wheel_metadata`.

    Raises:
        BrokenArchiveError: says what is wrong.
        NoMetadataError: there is none in it.
    """
    with _explained(filename):
        file.seek(0)
        if filename.is_wheel:
            return read_wheel_metadata(file, any_method=any_method)
        return read_sdist_metadata(file)


def check_archive(file: IO[bytes], filename: Filename, project: ProjectName) -> None:
    """Read what `read_metadata` leaves unread, to the end.

    Raises:
        BrokenArchiveError: says what is wrong.
    """
    if filename.is_wheel:
        with _explained(filename):
            check_wheel(file, filename, project)


@contextmanager
def _explained(filename: Filename) -> Iterator[None]:
    try:
        yield
    except (DamagedError, zlib.error, lzma.LZMAError, OSError) as error:
        kind = "wheel (a zip archive)" if filename.is_wheel else "sdist (a gzipped tar archive)"
        raise BrokenArchiveError(f"{filename.text} is no sound {kind}: {error}") from error
