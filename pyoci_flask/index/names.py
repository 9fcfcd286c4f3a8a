"""Names of projects, versions and files, and how a registry spells them.

The text of a version is kept as it was written: `packaging` normalises it, but tags and links must
name what was published. It is parsed only to check, sort and compare it: `1.0` and `1.0.0` are one
version (PEP 440).
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
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
"""Suffixes of distribution files that other indexes have, and that are not supported here."""
_LONGEST = 255
_MOST_PARTS = 3
"""Parts of a project's name up to which all its spellings are tried."""


@dataclass(frozen=True, slots=True)
class ProjectName:
    """A project's name as it was spelled, checked by the rule of the core metadata."""

    text: str

    def __post_init__(self) -> None:
        if len(self.text) > _LONGEST or ".." in self.text or not _NAME.fullmatch(self.text):
            raise InvalidRequestError(
                f"{shown(self.text)} is not a project name: ASCII letters and digits, "
                "with single '.', '-' or '_' inside"
            )

    @property
    def normalized(self) -> NormalizedName:
        """The name that all spellings share (PEP 503)."""
        return canonicalize_name(self.text)

    @property
    def repositories(self) -> tuple[str, ...]:
        """Last segments of the repository's name, the most likely one first.

        The original kept the dots of an uploaded name, so repositories with dots are tried, too.
        """
        usual = self.normalized.replace("-", "_")
        dotted = self.text.lower().replace("-", "_")
        return (usual, dotted) if "." in dotted else (usual,)

    @property
    def spellings(self) -> tuple[str, ...]:
        """The same, and those that the original may have made of other spellings of the name.

        For a name of up to three parts these are all spellings with single signs; for a longer
        one, those with the same sign throughout.
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
    """Parse a version (PEP 440); None if it is not one, or is longer than any that is published.

    Python refuses to convert more than 4,300 digits to a number.
    """
    if len(text) > _LONGEST:
        return None
    try:
        return Version(text)
    except InvalidVersion:
        return None


def parse_version(text: str) -> Version:
    """Check a version's text (PEP 440) and that a tag can hold it.

    Raises:
        InvalidRequestError: it is no version or holds a `-`, which tags need for `+`.
    """
    if "-" in text:
        raise InvalidRequestError(
            f"the version {shown(text)} holds a '-': write it in its normalised form"
        )
    if len(text) > _LONGEST:
        raise InvalidRequestError(f"a version has at most {_LONGEST} characters")
    try:
        return Version(text)
    except InvalidVersion as error:
        raise InvalidRequestError(f"{shown(text)} is not a version (PEP 440)") from error


def without_dash(text: str) -> str:
    """Return a version's text, in its normalised form if it holds a `-` (`1.0-rc1`, `1.0-1`).

    Raises:
        InvalidRequestError: it is no version.
    """
    version = version_or_none(text) if "-" in text else None
    text = text if version is None else str(version)
    parse_version(text)
    return text


def version_key(version: str) -> str:
    """Return the text that all spellings of a version share: most write two numbers at least."""
    return _ONE_NUMBER.sub(r"\g<0>.0", canonicalize_version(parse_version(version)))


def tag_of(version: str) -> Tag:
    """Write a version as a tag: `+` becomes `-`, the epoch's `!` becomes `_`.

    Raises:
        InvalidRequestError: it is over 128 characters, or cannot be a version at all.
    """
    parse_version(version)
    try:
        return Tag(version.replace("+", "-").replace("!", "_"))
    except InvalidRequestError as error:
        raise InvalidRequestError(
            f"the version {shown(version)} does not fit into a tag of 128 characters"
        ) from error


def version_of(tag: str) -> str:
    """Return the version of a tag; for other tags, some text that is not a version."""
    epoch = _EPOCH_TAG.match(tag)
    version = f"{epoch[1]}!{tag[epoch.end() :]}" if epoch else tag
    return version.replace("-", "+")


def tags_of(tags: Iterable[str], version: str) -> list[str]:
    """Return the tags that hold the version, in any spelling."""
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

    `architecture` is the `platform.architecture` of its entry: `.tar.gz`, or what follows
    `{name}-{version}-` in a wheel's name. `version` is normalised if the name has it in a form
    that is not a possible tag (`Pillow-3.1.0-rc1.tar.gz`).
    """

    text: str
    version: str
    architecture: str

    @classmethod
    def parse(cls, text: str, project: ProjectName) -> Self:
        """Parse the name of a file of `project` (PEP 427, PEP 625).

        Older sdists keep dashes in the project's name and in the version, so name and version are
        split at the dash before which the text normalises to the project's name.

        Raises:
            InvalidRequestError: it cannot be a file of this project.
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
                f"{shown(text)} is not the name of a file of {project}: "
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
        """Return the name of a file whose entry has none, as the original builds it."""
        joint = "" if architecture == SDIST else "-"
        return f"{segment}-{version}{joint}{architecture}"

    def is_same_version(self, text: str) -> bool:
        """Return whether the file is of this version, in any spelling (PEP 440)."""
        version = version_or_none(text)
        return version is not None and version == version_or_none(self.version)

    @property
    def is_wheel(self) -> bool:
        """True for a wheel, false for an sdist."""
        return self.text.endswith(WHEEL)


def _wheel_version(text: str) -> str:
    """Return the version in a wheel's name, in which older tools wrote `_` for `-` and `+`.

    Such a version is returned in its normalised form (PEP 427, Escaping and Unicode).

    Raises:
        InvalidRequestError: it is no version.
    """
    if "_" in text and version_or_none(text) is None:
        for sign in "-+":
            found = version_or_none(text.replace("_", sign, 1))
            if found is not None:
                return str(found)
    parse_version(text)
    return text


def after_name(stem: str, project: ProjectName) -> str | None:
    """Return what follows the project's name, in any spelling, and a dash."""
    if len(stem) > _LONGEST:
        return None
    for match in re.finditer("-", stem):
        if canonicalize_name(stem[: match.start()]) == project.normalized:
            return stem[match.end() :]
    return None


def is_filename(segment: str) -> bool:
    """Return whether the last segment of an address names a file."""
    return segment.endswith((SDIST, WHEEL))
