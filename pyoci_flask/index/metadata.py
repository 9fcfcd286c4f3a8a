"""The core metadata inside a wheel or sdist, read without trusting the archive."""

import zlib
from typing import IO

from pyoci_flask.index.archive import (
    METADATA_LIMIT,
    BrokenArchiveError,
    DamagedError,
    NoMetadataError,
)
from pyoci_flask.index.names import Filename
from pyoci_flask.index.sdist_archive import read_sdist_metadata
from pyoci_flask.index.wheel_archive import read_wheel_metadata

__all__ = [
    "METADATA_LIMIT",
    "BrokenArchiveError",
    "NoMetadataError",
    "read_metadata",
]


def read_metadata(file: IO[bytes], filename: Filename) -> bytes:
    """Read METADATA of a wheel or PKG-INFO of an sdist, within bounds of memory and work.

    Raises:
        BrokenArchiveError: says what is wrong.
        NoMetadataError: there is none in it.
    """
    file.seek(0)
    try:
        return read_wheel_metadata(file) if filename.is_wheel else read_sdist_metadata(file)
    except (DamagedError, zlib.error, OSError) as error:
        kind = "wheel (a zip archive)" if filename.is_wheel else "sdist (a gzipped tar archive)"
        raise BrokenArchiveError(f"{filename.text} is no sound {kind}: {error}") from error
