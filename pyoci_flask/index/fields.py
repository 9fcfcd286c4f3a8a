"""Read and check the fields of a core metadata file, and shorten them for pages.

The `email` module is not used, because its time grows with the square of the number of different
names, and it decodes text that the specification does not encode. For a valid file, the result is
that of `packaging.metadata.parse_email` (core metadata specifications).
"""

import io
import re
from collections.abc import Iterable, Iterator
from typing import cast

from packaging.metadata import RawMetadata
from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet

from pyoci_flask.common.url import is_web_url, normal_label
from pyoci_flask.errors import InvalidRequestError
from pyoci_flask.index.archive_bounds import BrokenArchiveError

MOST_FIELDS = 10_000
"""Maximum number of fields of a file, known or not. PyPI's largest packages have some 3,000."""
FIELDS_LIMIT = 1024 * 1024
"""Maximum size of all fields together, in bytes. Description is not counted."""
METADATA_VERSIONS = frozenset(
    {"1.0", "1.1", "1.2", "2.0", "2.1", "2.2", "2.3", "2.4", "2.5", "2.6"}
)
"""The versions of the specification, and the draft 2.0, which many published wheels state."""
LONGEST_SPECIFIERS = 1000
"""Maximum characters of Requires-Python. Installers fail on numbers of more than 4,300 digits."""
_LONGEST_REQUIREMENT = 10_000
"""Maximum characters of one Requires-Dist. Parsing takes time that grows with their square."""
_OLD_SPECIFIERS = re.compile(r"""(?:(?:===?|~=|!=|<=?|>=?)\s*[\w.*+!'"-]+[\s,]*)+""")
"""Specifiers from before PEP 440 was enforced, such as `>=3.6.*` and `!=3.0*`."""
_LONGEST_SUMMARY = 512
"""Maximum number of characters, as on PyPI."""
_LONGEST_URL = 2000
_JOINERS = "\u200c\u200d"
"""They occur in words and emoji, although Python does not count them as printable."""

_NAME = re.compile(rb"[!-9;-~]+")
_STRINGS = {
    name.replace("_", "-").encode(): name
    for name in (
        *("metadata_version", "name", "version", "summary", "description", "keywords"),
        *("home_page", "download_url", "author", "author_email", "maintainer", "maintainer_email"),
        *("license", "license_expression", "requires_python", "description_content_type"),
    )
}
"""Fields that may occur only once in a file."""
_LISTS = {
    b"classifier": "classifiers",
    b"platform": "platforms",
    b"supported-platform": "supported_platforms",
    b"license-file": "license_files",
    b"import-name": "import_names",
    b"import-namespace": "import_namespaces",
    b"project-url": "project_urls",
    **{
        name.replace("_", "-").encode(): name
        for name in (
            *("dynamic", "requires", "requires_dist", "requires_external"),
            *("provides", "provides_dist", "provides_extra", "obsoletes", "obsoletes_dist"),
        )
    },
}
_KNOWN = {**_STRINGS, **_LISTS}
_EMPTY = b"UNKNOWN"
"""What setuptools wrote for an empty field or description."""
_HEADER = re.compile(rb"^Description:([^\n]*(?:\n[ \t][^\n]*)*)", re.IGNORECASE | re.MULTILINE)
_MARGIN = re.compile(r"\n(?: {8}| {7}\||\t)")
"""The indentation of the second and further lines of a field."""
_NEVER_EMPTY = frozenset({"metadata_version", "name", "version"})


class TooManyFieldsError(BrokenArchiveError):
    """The fields of a core metadata file exceed a limit."""


def parse_fields(metadata: bytes) -> RawMetadata:
    """Read the fields, but not the description below them.

    A field that occurs twice but is not a list is left out. A field that is not UTF-8 is left out
    as well, unless it is the description.

    Raises:
        TooManyFieldsError: the fields exceed a limit.
    """
    end = _end_of_fields(metadata)[0]
    values: dict[str, list[str]] = {}
    unreadable = set()
    for name, value in _known_fields(metadata[:end]):
        try:
            text = _old_text(value) if name == "description" else value.decode()
            values.setdefault(name, []).append(text)
        except UnicodeDecodeError:
            unreadable.add(name)
    raw: dict[str, object] = {}
    for name, texts in values.items():
        if name in unreadable:
            continue
        if name == "project_urls":
            raw[name] = _labelled(texts)
        elif name in _LISTS.values():
            raw[name] = texts
        elif len(texts) == 1:
            raw[name] = texts[0]
    if "keywords" in raw:
        raw["keywords"] = [word.strip() for word in values["keywords"][0].split(",")]
    return cast("RawMetadata", raw)


def read_description(metadata: bytes, fields: RawMetadata) -> str:
    """Return the description as the author wrote it; it may be empty.

    Up to core metadata 2.0, it is a field whose second and further lines are indented. distutils
    wrote licences of several lines without indentation, so a parser finds no fields after them.
    """
    header = fields.get("description") or ""
    if not header and fields.get("metadata_version", "").startswith("1."):
        found = _HEADER.search(metadata)
        header = "" if found is None else _old_text(found[1])
    header = unfolded(header).strip()
    if header.encode() == _EMPTY:
        header = ""
    return header or description_below(metadata)


def unfolded(value: str) -> str:
    """Return a field of several lines without the indentation of its second and further lines."""
    return _MARGIN.sub("\n", value.replace("\r\n", "\n"))


def description_below(metadata: bytes) -> str:
    """Return the description below the fields (core metadata 2.1); it may be empty."""
    text = metadata[_end_of_fields(metadata)[1] :]
    return "" if text.strip() == _EMPTY else text.decode(errors="replace")


def _end_of_fields(metadata: bytes) -> tuple[int, int]:
    """Find the first empty line; return where it begins and where the text after it begins."""
    unix, dos = metadata.find(b"\n\n"), metadata.find(b"\n\r\n")
    if unix >= 0 and (dos < 0 or unix < dos):
        return unix + 1, unix + 2
    if dos >= 0:
        return dos + 1, dos + 3
    return len(metadata), len(metadata)


def _known_fields(block: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield the fields that the specification knows."""
    size = 0
    for count, (name, value) in enumerate(_cut(block), 1):
        known = _KNOWN.get(name.lower())
        if known != "description":
            size += len(name) + len(value)
        if count > MOST_FIELDS:
            raise TooManyFieldsError(f"the core metadata has more than {MOST_FIELDS} fields")
        if size > FIELDS_LIMIT:
            raise TooManyFieldsError(
                "the fields of the core metadata except Description have more than "
                f"{FIELDS_LIMIT} bytes"
            )
        if known is not None and (value.strip() != _EMPTY or known in _NEVER_EMPTY):
            yield known, value


def _cut(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield each field's name and value. Lines that begin with a space continue one (RFC 822)."""
    name, begin, end = b"", 0, 0
    for line in io.BytesIO(block):
        position, end = end, end + len(line)
        if line.startswith((b" ", b"\t")):
            continue
        if name:
            yield name, _value(block[begin:position])
        name, colon, _ = line.partition(b":")
        if not colon or not _NAME.fullmatch(name):
            return  # the first line that is not a field ends the fields
        begin = position + len(name) + 1
    if name:
        yield name, _value(block[begin:end])


def _value(text: bytes) -> bytes:
    return text.lstrip(b" \t").rstrip(b"\r\n")


def _old_text(value: bytes) -> str:
    """Decode a text that may be older than the rule that core metadata must be UTF-8."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _labelled(texts: list[str]) -> dict[str, str]:
    """Parse texts of the form `Label, URL`. If a label occurs twice, the first URL is used."""
    urls: dict[str, str] = {}
    for text in texts:
        label, _, url = text.partition(",")
        urls.setdefault(label.strip(), url.strip())
    return urls


def check_metadata_version(text: str) -> None:
    """Check Metadata-Version.

    Raises:
        InvalidRequestError: the core metadata specification has no such version.
    """
    if text.strip() not in METADATA_VERSIONS:
        raise InvalidRequestError(
            f"Metadata-Version is {text[:200]!r}; it must be one of "
            f"{', '.join(sorted(METADATA_VERSIONS))}",
            advice="Build the package again with a current build tool",
        )


def check_requirements(texts: Iterable[str]) -> None:
    """Check the Requires-Dist fields. Repeated requirements are parsed only once.

    Raises:
        InvalidRequestError: one of them is too long, or is not a dependency specifier.
    """
    for text in dict.fromkeys(texts):
        if len(text) > _LONGEST_REQUIREMENT:
            raise InvalidRequestError(
                f"Requires-Dist {text[:200]!r}... has {len(text)} characters; at most "
                f"{_LONGEST_REQUIREMENT} are allowed",
                advice="Correct the metadata of the package, and build it again",
            )
        try:
            Requirement(text.strip())
        except (InvalidRequirement, RecursionError) as error:
            raise InvalidRequestError(
                f"Requires-Dist is {text[:200]!r}, which is not a dependency specifier (PEP 508)",
                advice="Correct the metadata of the package, and build it again",
            ) from error


def check_requires_python(text: str) -> None:
    """Check Requires-Python. Old specifiers that installers only warn about are allowed.

    Raises:
        InvalidRequestError: it is too long, or is not a list of version specifiers.
    """
    if len(text) > LONGEST_SPECIFIERS:
        raise InvalidRequestError(
            f"Requires-Python has {len(text)} characters; at most {LONGEST_SPECIFIERS} are allowed",
            advice="Correct the metadata of the package, and build it again",
        )
    try:
        SpecifierSet(text)
    except InvalidSpecifier as error:
        if not _OLD_SPECIFIERS.fullmatch(text.strip()):
            raise InvalidRequestError(
                f"Requires-Python is {text[:200]!r}, which is not a version specifier (PEP 440)",
                advice="Correct the metadata of the package, and build it again",
            ) from error


def summary_of(text: str | None) -> str | None:
    """Return a summary on one line, shortened to 512 characters, or None if it is empty."""
    return one_line(text, _LONGEST_SUMMARY)[:_LONGEST_SUMMARY].strip() or None


def home_page_of(text: str | None) -> str | None:
    """Return the URL, or None if it is not an http(s) URL or is too long."""
    url = (text or "")[: 2 * _LONGEST_URL].strip()
    return url if len(url) <= _LONGEST_URL and url.isprintable() and is_web_url(url) else None


def home_among(urls: Iterable[tuple[str, str]]) -> str | None:
    """Return the URL whose label is that of a home page, or None."""
    return next((url for label, url in urls if normal_label(label) == "homepage"), None)


def one_line(text: str | None, longest: int) -> str:
    """Return the beginning of a text on one line without control characters.

    It may be longer than `longest`, so that the caller sees whether it has to be shortened.
    """
    return printable(" ".join((text or "")[: 4 * longest].split()))


def printable(text: str) -> str:
    """Return the text without control characters."""
    if text.isprintable():
        return text
    return "".join(char for char in text if char.isprintable() or char in _JOINERS)
