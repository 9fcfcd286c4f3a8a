"""Names from a URL, which are checked before they are used.

Distribution specification, sections Pulling manifests and Definitions.
"""

import hashlib
from dataclasses import dataclass
from typing import NewType

from pyoci_flask.common.grammar import HEX_DIGITS, is_digest, is_repository_name, is_tag
from pyoci_flask.common.redaction import field
from pyoci_flask.registry.errors import DistributionError, digest_invalid

RepositoryName = NewType("RepositoryName", str)
Tag = NewType("Tag", str)

CANONICAL = "sha256"
_BY_LENGTH = {length: algorithm for algorithm, length in HEX_DIGITS.items()}


@dataclass(frozen=True, slots=True, order=True)
class Digest:
    """The sha256 or sha512 of some content, as lower-case hexadecimal digits."""

    hex: str

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.hex}"

    @property
    def algorithm(self) -> str:
        """The name of the algorithm, which follows from the number of digits."""
        return _BY_LENGTH[len(self.hex)]

    @classmethod
    def of(cls, content: bytes, algorithm: str = CANONICAL) -> "Digest":
        """Return the digest of `content`."""
        return cls(hashlib.new(algorithm, content).hexdigest())

    @classmethod
    def parse(cls, text: str) -> "Digest":
        """Parse a digest; raise `DistributionError` (DIGEST_INVALID) if `text` is not valid."""
        if not is_digest(text):
            raise digest_invalid(
                "a digest is sha256: and 64 or sha512: and 128 lower-case hexadecimal digits"
            )
        return cls(text.partition(":")[2])


def parse_name(text: str) -> RepositoryName:
    """Return `text` as a repository name; raise `DistributionError` (NAME_INVALID) if not valid."""
    if not is_repository_name(text):
        raise DistributionError(
            400, "NAME_INVALID", "invalid repository name", {"name": field(text)}
        )
    return RepositoryName(text)


def parse_tag(text: str) -> Tag | None:
    """Return `text` as a tag, or None if it is not a valid tag."""
    return Tag(text) if is_tag(text) else None
