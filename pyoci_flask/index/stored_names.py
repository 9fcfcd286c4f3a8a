"""The filenames of the entries in the image index of a version."""

import re
from functools import lru_cache

from packaging.utils import canonicalize_name

from pyoci_flask.common.redaction import shown
from pyoci_flask.errors import InvalidRequestError
from pyoci_flask.index.names import SDIST, WHEEL, Filename, ProjectName, version_or_none

_STEM = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+!]*-[A-Za-z0-9._+!]+")
_LONGEST = 255
_LONGEST_REMEMBERED = 100
"""Characters of an architecture that is remembered once it is parsed. Nearly all have fewer."""
_ANY_PROJECT = ProjectName("a")


class StoredNames:
    """Reads the filenames of a version's entries.

    `segment` is the last segment of the repository's name, from which filenames are rebuilt.
    """

    def __init__(self, version: str, project: ProjectName, segment: str) -> None:
        self._version = version
        self._project = project
        self._segment = segment
        self._is_plain = (
            canonicalize_name(segment) == project.normalized
            and version_or_none(version) is not None
            and _STEM.fullmatch(f"{segment}-{version}") is not None
        )
        """Whether `Filename.parse` splits a name that begins with these parts between them."""

    def of(self, title: str | None, architecture: str) -> Filename:
        """Return the title if it is this entry's name; otherwise build it as the original does.

        Raises:
            InvalidRequestError: neither is the name of a file of this project.
        """
        built = Filename.build(self._segment, self._version, architecture)
        if title == built and self._is_plain and _is_sound(built, architecture):
            # Nearly all titles are built in this way, and parsing them would return these parts.
            return Filename(built, self._version, architecture)
        if title is not None:
            try:
                filename = Filename.parse(title, self._project)
            except InvalidRequestError:
                pass
            else:
                if (
                    filename.is_same_version(self._version)
                    and filename.architecture == architecture
                ):
                    return filename
        if architecture != SDIST and not architecture.endswith(WHEEL):
            raise InvalidRequestError(f"unknown architecture {shown(architecture)}")
        return Filename.parse(built, self._project)


def _is_sound(title: str, architecture: str) -> bool:
    """Return whether a title may end like this, after a version."""
    return (
        len(title) <= _LONGEST
        and ".." not in title
        and len(architecture) <= _LONGEST_REMEMBERED
        and _is_architecture(architecture)
    )


@lru_cache(maxsize=256)
def _is_architecture(text: str) -> bool:
    """Return whether `Filename.parse` finds this architecture in a name that ends with it."""
    try:
        name = Filename.parse(Filename.build("a", "1", text), _ANY_PROJECT)
    except InvalidRequestError:
        return False
    return name.architecture == text
