"""Names that come out of a URL, checked before anything is made of them.

Distribution specification, sections Pulling manifests and Definitions.
"""

import hashlib
import re
from dataclasses import dataclass
from typing import NewType

from pyoci_flask.registry.errors import digest_invalid, name_invalid

RepositoryName = NewType("RepositoryName", str)
Tag = NewType("Tag", str)

NAME_LENGTH = 255
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_NAME = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")
_HEX = re.compile(r"[a-f0-9]*")

ALGORITHMS = {"sha256": 64, "sha512": 128}
"""The algorithms of digests, each with its number of hexadecimal digits."""
CANONICAL = "sha256"
_BY_LENGTH = {length: algorithm for algorithm, length in ALGORITHMS.items()}


@dataclass(frozen=True, slots=True, order=True)
class Digest:
    """The sha256 or sha512 of some content, as lower-case hexadecimal digits."""

    hex: str

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.hex}"

    @property
    def algorithm(self) -> str:
        """The name of the algorithm; the number of digits tells."""
        return _BY_LENGTH[len(self.hex)]

    @classmethod
    def of(cls, content: bytes, algorithm: str = CANONICAL) -> "Digest":
        """Return the digest of `content`."""
        return cls(hashlib.new(algorithm, content).hexdigest())

    @classmethod
    def parse(cls, text: str) -> "Digest":
        """Return the digest that `text` writes; raises `RegistryError` (DIGEST_INVALID)."""
        algorithm, _, hexadecimal = text.partition(":")
        if ALGORITHMS.get(algorithm) != len(hexadecimal) or not _HEX.fullmatch(hexadecimal):
            raise digest_invalid(
                "a digest is sha256: and 64, or sha512: and 128 lower-case hexadecimal digits"
            )
        return cls(hexadecimal)


def parse_name(text: str) -> RepositoryName:
    """Return `text` as a repository's name; raises `RegistryError` (NAME_INVALID)."""
    if len(text) > NAME_LENGTH or not _NAME.fullmatch(text):
        raise name_invalid(text)
    return RepositoryName(text)


def parse_tag(text: str) -> Tag | None:
    """Return `text` as a tag, or None if it cannot be one."""
    return Tag(text) if _TAG.fullmatch(text) else None


def parse_reference(text: str) -> Tag | Digest | None:
    """Return the tag or digest that names a manifest, or None if `text` can be neither.

    Raises `RegistryError` (DIGEST_INVALID) for what only can be meant as a digest.
    """
    return Digest.parse(text) if ":" in text else parse_tag(text)
