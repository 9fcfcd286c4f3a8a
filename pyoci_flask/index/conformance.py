"""Which values of core metadata fields are published: those that installers can work with."""

from collections.abc import Iterable

from packaging.requirements import InvalidRequirement, Requirement

from pyoci_flask.errors import InvalidRequestError

METADATA_VERSIONS = frozenset(
    {"1.0", "1.1", "1.2", "2.0", "2.1", "2.2", "2.3", "2.4", "2.5", "2.6"}
)
"""The versions of the specification, and 2.0: a draft that many published wheels state."""


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
        InvalidRequestError: one of them is no dependency specifier.
    """
    for text in dict.fromkeys(texts):
        try:
            Requirement(text.strip())
        except (InvalidRequirement, RecursionError) as error:
            raise InvalidRequestError(
                f"Requires-Dist is {text[:200]!r}, which is not a dependency specifier (PEP 508)"
            ) from error
