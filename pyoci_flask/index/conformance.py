"""Which values of core metadata fields are published: those that installers can work with."""

import re
from collections.abc import Iterable

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet

from pyoci_flask.errors import InvalidRequestError
from pyoci_flask.index.project import LONGEST_SPECIFIERS

METADATA_VERSIONS = frozenset(
    {"1.0", "1.1", "1.2", "2.0", "2.1", "2.2", "2.3", "2.4", "2.5", "2.6"}
)
"""The versions of the specification, and 2.0: a draft that many published wheels state."""

_LONGEST_REQUIREMENT = 10_000
"""Characters of one Requires-Dist. `packaging` takes time that grows with their square."""
_OLD_SPECIFIERS = re.compile(r"""(?:(?:===?|~=|!=|<=?|>=?)\s*[\w.*+!'"-]+[\s,]*)+""")
"""What was written and published before PEP 440 was enforced, such as `>=3.6.*` and `!=3.0*`."""


def check_metadata_version(text: str) -> None:
    """Check Metadata-Version.

    Raises:
        InvalidRequestError: there is no such version of the core metadata specification.
    """
    if text.strip() not in METADATA_VERSIONS:
        raise InvalidRequestError(
            f"Metadata-Version is {text[:200]!r}; it must be one of "
            f"{', '.join(sorted(METADATA_VERSIONS))}"
        )


def check_requirements(texts: Iterable[str]) -> None:
    """Check Requires-Dist; most files state some requirements twice, and each is parsed once.

    Raises:
        InvalidRequestError: one of them is too long, or no dependency specifier.
    """
    for text in dict.fromkeys(texts):
        if len(text) > _LONGEST_REQUIREMENT:
            raise InvalidRequestError(
                f"Requires-Dist {text[:200]!r}... has {len(text)} characters, and "
                f"{_LONGEST_REQUIREMENT} are the most"
            )
        try:
            Requirement(text.strip())
        except (InvalidRequirement, RecursionError) as error:
            raise InvalidRequestError(
                f"Requires-Dist is {text[:200]!r}, which is not a dependency specifier (PEP 508)"
            ) from error


def check_requires_python(text: str) -> None:
    """Check Requires-Python; installers warn of specifiers that are too old, and go on.

    Raises:
        InvalidRequestError: it is too long, or holds something else than specifiers.
    """
    if len(text) > LONGEST_SPECIFIERS:
        raise InvalidRequestError(
            f"Requires-Python has {len(text)} characters, and {LONGEST_SPECIFIERS} are the most"
        )
    try:
        SpecifierSet(text)
    except InvalidSpecifier as error:
        if not _OLD_SPECIFIERS.fullmatch(text.strip()):
            raise InvalidRequestError(
                f"Requires-Python is {text[:200]!r}, which is not a version specifier (PEP 440)"
            ) from error
