"""Errors and limits shared by the readers of wheels, sdists and core metadata."""

from pyoci_flask.errors import PyOCIError

METADATA_LIMIT = 8 * 1024 * 1024
"""Maximum size of a METADATA or PKG-INFO file, in bytes."""

MOST_MEMBERS = 100_000
"""Maximum number of members in an archive. The largest wheels on PyPI have some 29,000."""

_LEAST_UNPACKED = 1024 * 1024 * 1024
_LARGEST_RATIO = 50
"""Maximum ratio of unpacked to packed bytes. PyPI has the same limit for wheels."""


def unpacked_limit(size: int) -> int:
    """Return how many bytes an archive of `size` bytes may unpack to."""
    return max(_LEAST_UNPACKED, _LARGEST_RATIO * size)


class BrokenArchiveError(PyOCIError):
    """The file is not the kind of archive that its name says, or it exceeds a limit."""


class NoMetadataError(BrokenArchiveError):
    """The archive is valid, but has no core metadata."""


class DamagedError(Exception):
    """The bytes are not a valid archive; the text says what is wrong."""
