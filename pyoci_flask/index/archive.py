"""Errors and bounds that reading a wheel and reading an sdist share."""

from pyoci_flask.errors import PyOCIError

METADATA_LIMIT = 8 * 1024 * 1024
"""Bytes of a METADATA or PKG-INFO file."""

MOST_MEMBERS = 100_000
"""Members of an archive. The largest wheels on PyPI have some 29,000."""


class BrokenArchiveError(PyOCIError):
    """The file is not the archive that its name says."""


class NoMetadataError(BrokenArchiveError):
    """The archive is sound, but without its core metadata."""


class DamagedError(Exception):
    """The bytes are not those of an archive; the text says what is wrong with them."""
