"""The grammar of the distribution specification (Pulling manifests, Definitions).

The index (as a client) and the embedded registry (as a server) both use it.
"""

import re

MAX_REPOSITORY_NAME = 255
"""Characters. Distribution and most registries accept this much for host and name together."""

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_NAME = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_HEX = re.compile(r"[0-9a-f]*")

HEX_DIGITS = {"sha256": 64, "sha512": 128}
"""Maps each digest algorithm to its number of hexadecimal digits."""

IMAGE_INDEX = "application/vnd.oci.image.index.v1+json"
IMAGE_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
DOCKER_MANIFEST_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"

MOST_VALUES = 250_000
"""JSON values in a document. Each needs up to a hundred bytes once it is parsed. The largest index
of real packages that fits into 4 MiB has about 150,000 values."""


def is_repository_name(text: str) -> bool:
    """Return whether `text` is a valid repository name."""
    return len(text) <= MAX_REPOSITORY_NAME and _NAME.fullmatch(text) is not None


def is_tag(text: str) -> bool:
    """Return whether `text` is a valid tag."""
    return _TAG.fullmatch(text) is not None


def is_digest(text: str) -> bool:
    """Return whether `text` is a sha256 or sha512 digest: algorithm, `:` and lower-case digits."""
    algorithm, _, digits = text.partition(":")
    return HEX_DIGITS.get(algorithm) == len(digits) and _HEX.fullmatch(digits) is not None


def has_too_many_values(document: bytes | bytearray) -> bool:
    """Return whether a document might contain more JSON values than are parsed (`MOST_VALUES`)."""
    if len(document) <= MOST_VALUES:
        return False  # it has no more marks than bytes
    return sum(document.count(mark) for mark in (b",", b"[", b"{")) > MOST_VALUES
