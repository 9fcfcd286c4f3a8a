"""The grammar of the distribution specification (Pulling manifests, Definitions).

The index as a client and the embedded registry as a server read the same text.
"""

import re

MAX_REPOSITORY_NAME = 255
"""Characters; what distribution and most registries accept for host and name together."""

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_NAME = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_HEX = re.compile(r"[0-9a-f]*")

HEX_DIGITS = {"sha256": 64, "sha512": 128}
"""The algorithms of digests, each with its number of hexadecimal digits."""

IMAGE_INDEX = "application/vnd.oci.image.index.v1+json"
IMAGE_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
DOCKER_MANIFEST_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"

MOST_VALUES = 250_000
"""JSON values of a document. Each needs up to a hundred bytes once it is parsed; the largest index
of real packages that fits into four MiB has about 150,000."""


def is_repository_name(text: str) -> bool:
    """Return whether `text` is the name of a repository."""
    return len(text) <= MAX_REPOSITORY_NAME and _NAME.fullmatch(text) is not None


def is_tag(text: str) -> bool:
    """Return whether `text` is a tag."""
    return _TAG.fullmatch(text) is not None


def is_digest(text: str) -> bool:
    """Return whether `text` is a sha256 or sha512 digest: the algorithm, `:` and lower-case hex."""
    algorithm, _, digits = text.partition(":")
    return HEX_DIGITS.get(algorithm) == len(digits) and _HEX.fullmatch(digits) is not None


def has_too_many_values(document: bytes | bytearray) -> bool:
    """Return whether a document may hold more JSON values than are parsed (`MOST_VALUES`)."""
    return sum(document.count(mark) for mark in (b",", b"[", b"{")) > MOST_VALUES
