"""The fields of a core metadata file (core metadata specifications, Metadata file).

They are read here and not with `email`, which takes time that grows with the square of the number
of different names and decodes what the specification does not encode. The result is what
`packaging.metadata.parse_email` returns for a sound file.
"""

import io
import re
from collections.abc import Iterator
from typing import cast

from packaging.metadata import RawMetadata

from pyoci_flask.index.archive import BrokenArchiveError

MOST_FIELDS = 10_000
"""Fields of a file, known or not. The largest packages on PyPI have some 3,000."""
FIELDS_LIMIT = 1024 * 1024
"""Bytes of all fields together. Description may be as long as the file."""

_NAME = re.compile(rb"[!-9;-~]+")
_STRINGS = {
    name.replace("_", "-").encode(): name
    for name in (
        *("metadata_version", "name", "version", "summary", "description", "keywords"),
        *("home_page", "download_url", "author", "author_email", "maintainer", "maintainer_email"),
        *("license", "license_expression", "requires_python", "description_content_type"),
    )
}
"""Fields that stand in a file once."""
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
"""What setuptools wrote for a field, or a description, that is empty."""
_HEADER = re.compile(rb"^Description:([^\n]*(?:\n[ \t][^\n]*)*)", re.IGNORECASE | re.MULTILINE)
_MARGIN = re.compile(r"\n(?: {8}| {7}\||\t)")
"""What tools put before each further line of a description that is a field."""
_NEVER_EMPTY = frozenset({"metadata_version", "name", "version"})


class TooManyFieldsError(BrokenArchiveError):
    """The fields of a core metadata file are over a bound."""


def parse_fields(metadata: bytes) -> RawMetadata:
    """Read the fields; of the description below them, nothing is read.

    A field that may stand once and stands twice is left out, and so is one that is not UTF-8,
    except the description.

    Raises:
        TooManyFieldsError: they are over a bound.
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
            raw[name] = _split(texts[0]) if name == "keywords" else texts[0]
    return cast("RawMetadata", raw)


def read_description(metadata: bytes, fields: RawMetadata) -> str:
    """Read the description as the author wrote it; may be empty.

    Up to core metadata 2.0 it is a field, each line of which stands behind a margin. distutils
    wrote licences of several lines without one, so what follows them is no field to a parser.
    """
    header = fields.get("description") or ""
    if not header and fields.get("metadata_version", "").startswith("1."):
        found = _HEADER.search(metadata)
        header = "" if found is None else _old_text(found[1])
    header = _MARGIN.sub("\n", header.replace("\r\n", "\n")).strip()
    if header.encode() == _EMPTY:
        header = ""
    return header or description_below(metadata)


def description_below(metadata: bytes) -> str:
    """Read the description where it stands below the fields (core metadata 2.1); may be empty."""
    text = metadata[_end_of_fields(metadata)[1] :]
    return "" if text.strip() == _EMPTY else text.decode(errors="replace")


def _end_of_fields(metadata: bytes) -> tuple[int, int]:
    """Find the first empty line: where the fields before it end, and what follows it begins."""
    unix, dos = metadata.find(b"\n\n"), metadata.find(b"\n\r\n")
    if unix >= 0 and (dos < 0 or unix < dos):
        return unix + 1, unix + 2
    if dos >= 0:
        return dos + 1, dos + 3
    return len(metadata), len(metadata)


def _known_fields(block: bytes) -> Iterator[tuple[str, bytes]]:
    """Cut the fields apart and yield those that the specification knows."""
    size = 0
    for count, (name, value) in enumerate(_cut(block), 1):
        known = _KNOWN.get(name.lower())
        if known != "description":
            size += len(name) + len(value)
        if count > MOST_FIELDS:
            raise TooManyFieldsError(f"the core metadata has over {MOST_FIELDS} fields")
        if size > FIELDS_LIMIT:
            raise TooManyFieldsError(
                f"the fields of the core metadata are over {FIELDS_LIMIT} bytes, "
                "Description not counted"
            )
        if known is not None and (value.strip() != _EMPTY or known in _NEVER_EMPTY):
            yield known, value


def _cut(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield name and value of each field; lines that begin with a space continue it (RFC 822)."""
    name, begin, end = b"", 0, 0
    for line in io.BytesIO(block):
        position, end = end, end + len(line)
        if line.startswith((b" ", b"\t")):
            continue
        if name:
            yield name, _value(block[begin:position])
        name, colon, _ = line.partition(b":")
        if not colon or not _NAME.fullmatch(name):
            return  # what is no field ends them
        begin = position + len(name) + 1
    if name:
        yield name, _value(block[begin:end])


def _value(text: bytes) -> bytes:
    return text.lstrip(b" \t").rstrip(b"\r\n")


def _old_text(value: bytes) -> str:
    """Decode what may be older than the rule that core metadata is UTF-8."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _split(text: str) -> list[str]:
    return [word.strip() for word in text.split(",")]


def _labelled(texts: list[str]) -> dict[str, str]:
    """Read `Label, URL`; of a label that is written twice, the first."""
    urls: dict[str, str] = {}
    for text in texts:
        label, _, url = text.partition(",")
        urls.setdefault(label.strip(), url.strip())
    return urls
