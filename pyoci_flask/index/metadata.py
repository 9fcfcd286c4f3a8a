"""The core metadata inside a wheel or sdist, read without trusting the archive."""

import re
import zlib
from typing import IO

from packaging.metadata import RawMetadata, parse_email

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
    "description_below",
    "parse_fields",
    "read_metadata",
]

_BELOW_FIELDS = re.compile(rb"\r?\n\r?\n")


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


def parse_fields(metadata: bytes) -> RawMetadata:
    """Read the fields of a core metadata file; of its body, the description, nothing is read.

    The body is left out because it is parsed as a mail's: nested parts go to the recursion limit.
    """
    return parse_email(_BELOW_FIELDS.split(metadata, maxsplit=1)[0] + b"\n\n")[0]


def description_below(metadata: bytes) -> str:
    """Read the description where it stands below the fields (core metadata 2.1); may be empty."""
    parts = _BELOW_FIELDS.split(metadata, maxsplit=1)
    return parts[1].decode(errors="replace") if len(parts) == 2 else ""
