"""Errors and bounds that reading a wheel and reading an sdist share."""

from pyoci_flask.errors import PyOCIError

METADATA_LIMIT = 8 * 1024 * 1024
"""Bytes of a METADATA or PKG-INFO file."""

MOST_MEMBERS = 100_000
"""Members of an archive. The largest wheels on PyPI have some 29,000."""

_LEAST_UNPACKED = 1024 * 1024 * 1024
_LARGEST_RATIO = 50
"""Unpacked to packed bytes; PyPI's bound for wheels."""


def unpacked_limit(size: int) -> int:
    """Return how many bytes an archive of `size` bytes may unpack to."""
    return max(_LEAST_UNPACKED, _LARGEST_RATIO * size)


class BrokenArchiveError(PyOCIError):
    """The file is not the archive that its name says."""


class NoMetadataError(BrokenArchiveError):
    """The archive is sound, but without its core metadata."""


class DamagedError(Exception):
    """The bytes are not those of an archive; the text says what is wrong with them."""
