"""Names of projects, versions and files, and their spellings in a registry.

The text of a version is kept as it was written, because tags and links must match what was
published, and `packaging` normalises versions. The text is parsed only to check, sort and compare
versions: `1.0` and `1.0.0` are the same version (PEP 440).
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Self

from packaging.utils import NormalizedName, canonicalize_name, canonicalize_version
from packaging.version import InvalidVersion, Version

from pyoci_flask.common.redaction import shown
from pyoci_flask.errors import InvalidRequestError
from pyoci_flask.oci.reference import Tag

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
_FILENAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+!-]*")
_EPOCH_TAG = re.compile(r"([0-9]+)_(?=[0-9])")
_ONE_NUMBER = re.compile(r"^([0-9]+!)?[0-9]+(?!\.?[0-9])")
_NUMBER = re.compile(r"[0-9]+")
_BUILD = re.compile(r"[0-9][A-Za-z0-9_.]*")

SDIST = ".tar.gz"
WHEEL = ".whl"
OTHER_SUFFIXES = (
    *(".zip", ".egg", ".exe", ".msi", ".rpm", ".deb", ".dmg"),
    *(".tgz", ".tar.bz2", ".tar.xz", ".tar.Z", ".tar"),
)
"""Suffixes of distribution files that other indexes accept but this one does not."""
_LONGEST = 255
_LONGEST_REMEMBERED = 40
"""Characters of a version that is remembered once it is parsed. Nearly all have fewer."""
_MOST_PARTS = 3
"""Maximum number of parts of a project's name for which all spellings are tried."""


@dataclass(frozen=True, slots=True)
class ProjectName:
    """A project's name as it was spelled; it must be valid by the core metadata rules."""

    text: str

    def __post_init__(self) -> None:
        if len(self.text) > _LONGEST or ".." in self.text or not _NAME.fullmatch(self.text):
            raise InvalidRequestError(
                f"{shown(self.text)} is not a project name: names consist of ASCII letters and "
                "digits, with single '.', '-' or '_' inside",
                advice="Check the name of the project",
            )

    @property
    def normalized(self) -> NormalizedName:
        """The name that all spellings share (PEP 503)."""
        return canonicalize_name(self.text)

    @property
    def repositories(self) -> tuple[str, ...]:
        """The possible last segments of the repository's name, the most likely one first.

        The original PyOCI kept the dots of an uploaded name, so segments with dots are tried as
        well.
        """
        usual = self.normalized.replace("-", "_")
        dotted = self.text.lower().replace("-", "_")
        return (usual, dotted) if "." in dotted else (usual,)

    @property
    def spellings(self) -> tuple[str, ...]:
        """The values of `repositories`, plus names that the original may have derived.

        The original PyOCI derived these from other spellings of the project's name. For a name of
        up to three parts, every combination of single `.` and `_` is included. For a longer name,
        only the spelling with dots throughout is added to `repositories`.
        """
        parts = self.normalized.split("-")
        found = {".".join(parts)}
        if len(parts) <= _MOST_PARTS:
            found = {parts[0]}
            for part in parts[1:]:
                found = {f"{one}{sign}{part}" for one in found for sign in "_."}
        return tuple(dict.fromkeys((*self.repositories, *sorted(found))))

    def __str__(self) -> str:
        return self.text


def version_or_none(text: str) -> Version | None:
    """Parse a version (PEP 440); return None if it is invalid or has more than 255 characters.

    Python refuses to convert more than 4,300 digits to a number.
    """
    if len(text) > _LONGEST_REMEMBERED:
        return _parsed(text) if len(text) <= _LONGEST else None
    return _remembered(text)


@lru_cache(maxsize=1024)
def _remembered(text: str) -> Version | None:
    """Parse a short version. A page needs each of its versions ten times."""
    return _parsed(text)


def _parsed(text: str) -> Version | None:
    try:
        return Version(text)
    except InvalidVersion:
        return None


def parse_version(text: str) -> Version:
    """Parse a version (PEP 440) that can be written as a tag.

    Raises:
        InvalidRequestError: it is not a version, is too long, or contains a `-`, which means `+`
            in tags.
    """
    if "-" in text:
        raise InvalidRequestError(
            f"the version {shown(text)} contains a '-': write it in its normalised form",
            advice="Write the version in its normalised form, such as 1.0.post1",
        )
    if len(text) > _LONGEST:
        raise InvalidRequestError(
            f"a version can be at most {_LONGEST} characters long", advice="Use a shorter version"
        )
    version = version_or_none(text)
    if version is None:
        raise InvalidRequestError(
            f"{shown(text)} is not a version (PEP 440)",
            advice="Write a version such as 1.0 or 2.3.1rc1",
        )
    return version


def without_dash(text: str) -> str:
    """Return a version's text, in its normalised form if it contains a `-` (`1.0-rc1`, `1.0-1`).

    Raises:
        InvalidRequestError: it is not a version.
    """
    version = version_or_none(text) if "-" in text else None
    text = text if version is None else str(version)
    parse_version(text)
    return text


def version_key(version: str) -> str:
    """Return the canonical form of a version, with at least two release numbers (`1.0` for `1`)."""
    return _ONE_NUMBER.sub(r"\g<0>.0", canonicalize_version(parse_version(version)))


def tag_of(version: str) -> Tag:
    """Write a version as a tag: `+` becomes `-`, the epoch's `!` becomes `_`.

    Raises:
        InvalidRequestError: it is not a valid version, or its tag would have more than 128
            characters.
    """
    parse_version(version)
    try:
        return Tag(version.replace("+", "-").replace("!", "_"))
    except InvalidRequestError as error:
        raise InvalidRequestError(
            f"the version {shown(version)} does not fit into a tag of 128 characters",
            advice="Use a shorter version",
        ) from error


def version_of(tag: str) -> str:
    """Return the version that a tag spells; for other tags, some text that is not a version."""
    epoch = _EPOCH_TAG.match(tag)
    version = f"{epoch[1]}!{tag[epoch.end() :]}" if epoch else tag
    return version.replace("-", "+")


def tags_of(tags: Iterable[str], version: str) -> list[str]:
    """Return the tags that spell the version in any way."""
    wanted = parse_version(version)
    # All spellings have the same numbers, apart from zeros, so few tags need to be parsed.
    numbers = _numbers(version)
    longest = max(numbers, key=len, default="")
    return [
        tag
        for tag in tags
        if longest in tag
        and _numbers(tag) == numbers
        and version_or_none(version_of(tag)) == wanted
    ]


def _numbers(text: str) -> list[str]:
    stripped = (number.lstrip("0") for number in _NUMBER.findall(text))
    return [number for number in stripped if number]


@dataclass(frozen=True, slots=True)
class Filename:
    """The name of a distribution file, and its parts.

    `architecture` is the `platform.architecture` of the file's entry: `.tar.gz`, or what follows
    `{name}-{version}-` in a wheel's name. `version` is normalised if the name spells it in a way
    that cannot be a tag (`Pillow-3.1.0-rc1.tar.gz`).
    """

    text: str
    version: str
    architecture: str

    @classmethod
    def parse(cls, text: str, project: ProjectName) -> Self:
        """Parse the name of a file of `project` (PEP 427, PEP 625).

        Older sdists keep dashes in the project's name and in the version, so name and version are
        split at the first dash that follows a spelling of the project's name.

        Raises:
            InvalidRequestError: the name cannot be that of a file of this project.
        """
        if len(text) > _LONGEST or ".." in text or not _FILENAME.fullmatch(text):
            raise InvalidRequestError(f"{shown(text)} is not the name of a wheel or sdist")
        if not is_filename(text):
            raise InvalidRequestError(
                f"{shown(text)} is not the name of a wheel (.whl) or an sdist (.tar.gz)"
            )
        suffix = SDIST if text.endswith(SDIST) else WHEEL
        rest = after_name(text.removesuffix(suffix), project)
        if not rest:
            raise InvalidRequestError(
                f"{shown(text)} is not the name of a file of {project}; expected "
                f"{project}-VERSION{'-PYTHON-ABI-PLATFORM' if suffix == WHEEL else ''}{suffix}"
            )
        if suffix == SDIST:
            return cls(text, without_dash(rest), SDIST)
        text_of_version, *tags = rest.split("-")
        if (
            len(tags) not in {3, 4}
            or not all(tags)
            or (len(tags) == 4 and not _BUILD.fullmatch(tags[0]))
        ):
            raise InvalidRequestError(f"{shown(text)} is not the name of a wheel (PEP 427)")
        return cls(text, _wheel_version(text_of_version), "-".join(tags) + WHEEL)

    @classmethod
    def build(cls, segment: str, version: str, architecture: str) -> str:
        """Return the name of a file whose entry lacks one, as the original PyOCI builds it."""
        joint = "" if architecture == SDIST else "-"
        return f"{segment}-{version}{joint}{architecture}"

    def is_same_version(self, text: str) -> bool:
        """Return whether the file is of this version, in any spelling (PEP 440)."""
        version = version_or_none(text)
        return version is not None and (
            text == self.version or version == version_or_none(self.version)
        )

    @property
    def is_wheel(self) -> bool:
        """Whether the file is a wheel; otherwise it is an sdist."""
        return self.text.endswith(WHEEL)


def _wheel_version(text: str) -> str:
    """Return the version in a wheel's name, in which older tools wrote `_` for `-` and `+`.

    Such a version is returned in its normalised form (PEP 427, Escaping and Unicode).

    Raises:
        InvalidRequestError: it is not a version.
    """
    if "_" in text and version_or_none(text) is None:
        for sign in "-+":
            found = version_or_none(text.replace("_", sign, 1))
            if found is not None:
                return str(found)
    parse_version(text)
    return text


def after_name(stem: str, project: ProjectName) -> str | None:
    """Return what follows the project's name, in any spelling, and a dash; otherwise None."""
    if len(stem) > _LONGEST:
        return None
    normalized = project.normalized
    dash = stem.find("-")
    while dash >= 0:
        if canonicalize_name(stem[:dash]) == normalized:
            return stem[dash + 1 :]
        dash = stem.find("-", dash + 1)
    return None


def is_filename(segment: str) -> bool:
    """Return whether the last segment of a URL is the name of a wheel or an sdist."""
    return segment.endswith((SDIST, WHEEL))
