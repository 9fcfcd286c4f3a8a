"""The details that a version's page shows from its core metadata and its manifests.

All of them were written by the package's publisher, so they are shortened to fit on a page and are
only ever treated as text.
"""

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from email.utils import getaddresses
from itertools import islice

from packaging.markers import Marker
from packaging.metadata import RawMetadata
from packaging.requirements import InvalidRequirement, Requirement

from pyoci_flask.common.url import is_web_url, normal_label
from pyoci_flask.errors import NotFoundError, PyOCIError
from pyoci_flask.index.core_metadata import CoreMetadataReader, stored_metadata
from pyoci_flask.index.download import StoredFile, find_layer
from pyoci_flask.index.fetch import FetchPool
from pyoci_flask.index.fields import (
    one_line,
    parse_fields,
    printable,
    read_description,
)
from pyoci_flask.index.licence import read_licence
from pyoci_flask.index.project import CREATED, File
from pyoci_flask.index.project_repository import ProjectRepository
from pyoci_flask.oci.manifests import Manifest, read_manifest
from pyoci_flask.oci.model import ImageManifest

logger = logging.getLogger("pyoci.index")

_LONGEST = 500
"""Maximum number of characters in one field."""
_MOST = 1000
"""Maximum number of entries in one field."""
_MOST_KEYWORDS = 50
_MOST_PARSED = 100_000
"""Maximum characters of requirements to parse. `packaging` needs some microseconds for each."""
_DEEPEST = 20
"""Maximum number of opening parentheses in a requirement that is parsed."""
_MOST_MANIFESTS = 8
"""Maximum number of manifests that are read. A version's files usually have the same labels."""
_EMAIL = re.compile(r"[^\s@<>,;:?&%\"]+@[^\s@<>,;:?&%\"]+")
_EXTRA = re.compile(r'extra == "([^"]*)"')
_AND_EXTRA = re.compile(r'^extra == "[^"]*"(?: and |$)| and extra == "[^"]*"$')
_PARENTHESES = re.compile(r"\([^()]*\)")


@dataclass(frozen=True, slots=True)
class Dependency:
    """One Requires-Dist field: the requirement, and its condition as a PEP 508 marker."""

    requirement: str
    condition: str = ""


@dataclass(frozen=True, slots=True)
class Person:
    """An author or maintainer."""

    name: str
    email: str = ""
    """Empty if the address is missing or invalid."""


@dataclass(frozen=True, slots=True)
class Details:
    """The fields of a core metadata file that a page shows. Missing fields are empty."""

    summary: str = ""
    authors: tuple[Person, ...] = ()
    maintainers: tuple[Person, ...] = ()
    licence: str = ""
    """The name of the licence."""
    licence_text: str = ""
    """The beginning of its text, if the metadata has more of it than a name."""
    keywords: tuple[str, ...] = ()
    requires_python: str = ""
    urls: Mapping[str, str] = field(default_factory=dict)
    """URLs by label; only http and https URLs are included."""
    dependencies: tuple[Dependency, ...] = ()
    """Requirements that belong to no extra."""
    extras: Mapping[str, tuple[Dependency, ...]] = field(default_factory=dict)
    """The additional requirements of each extra, by its name."""
    left_out: Mapping[str, int] = field(default_factory=dict)
    """The number of entries that were left out of each field above, by the field's name."""
    description: str = ""
    description_type: str | None = None


def read_details(
    repository: ProjectRepository, files: Sequence[File], reader: CoreMetadataReader
) -> Details | None:
    """Read the core metadata of a version, preferably of a wheel.

    This takes one call if core metadata is stored. The page is useful without it, so if the
    registry fails, log the error and return None.
    """
    wheels_first = sorted(files, key=lambda one: not one.filename.is_wheel)
    ordered = sorted(wheels_first, key=lambda one: one.core_metadata is None)
    for file in ordered[:_MOST_MANIFESTS]:
        if file.core_metadata is None and not file.filename.is_wheel:
            return None
        try:
            return parse_details(_metadata(repository, file, reader))
        except PyOCIError as error:
            logger.warning("cannot read the details of %s: %s", file.filename.text, error)
            if not isinstance(error, NotFoundError):
                return None
    return None


def _metadata(repository: ProjectRepository, file: File, reader: CoreMetadataReader) -> bytes:
    if file.core_metadata is not None:
        return stored_metadata(repository.of(file).caller, file.core_metadata)
    repository = repository.of(file)
    digest = file.digest or find_layer(repository, file)
    return reader.read(StoredFile(repository, file, digest)).content


def read_labels(
    repository: ProjectRepository, files: Sequence[File], pool: FetchPool
) -> tuple[list[tuple[str, str]], int]:
    """Read the labels of a version: the annotations of its manifests except the upload times.

    At most eight manifests are read, in parallel, with one call each. Errors are only logged.
    Return the first thousand labels and the number of further labels.
    """

    def fetch(file: File) -> tuple[list[tuple[str, str]], int]:
        try:
            caller = repository.of(file).caller
            return read_manifest(caller, file.entry.digest, _labels) or ([], 0)
        except PyOCIError as error:
            logger.warning("cannot read the labels of %s: %s", file.filename.text, error)
            return [], 0

    share = pool.share(repository.caller.repository.registry)
    found = pool.map(share, fetch, files[:_MOST_MANIFESTS])
    labels = {label for some, _ in found for label in some}
    more = max((beyond for _, beyond in found), default=0)
    return sorted(labels)[:_MOST], max(0, len(labels) - _MOST) + more


def _labels(manifest: Manifest) -> tuple[list[tuple[str, str]], int]:
    """Return the first thousand annotations of a manifest, and the number of further ones."""
    annotations = ImageManifest.parse(manifest.document).annotations
    kept = [(key, text) for key, text in islice(annotations.items(), _MOST) if key != CREATED]
    labels = [(_squeezed(key), _squeezed(text)) for key, text in kept]
    return labels, max(0, len(annotations) - _MOST)


def labelled_urls(details: Details, files: Sequence[File]) -> Mapping[str, str]:
    """Return the URLs from the metadata and the files' entries, by label."""
    urls = dict(details.urls)
    for file in files:
        urls |= {
            _squeezed(label): printable(url)
            for label, url in file.project_urls.items()
            if is_web_url(url)
        }
    return urls


def all_links(details: Details, files: Sequence[File]) -> tuple[list[tuple[str, str]], int]:
    """Return the links from the metadata and the files' entries, and the number left out.

    Each link is a label and a URL. A URL with several labels is one link. At most a thousand links
    are returned.
    """
    labels: dict[str, dict[str, str]] = {}
    urls: dict[str, str] = {}
    for label, url in labelled_urls(details, files).items():
        key = url.rstrip("/")
        urls.setdefault(key, url)
        labels.setdefault(key, {}).setdefault(normal_label(label), label)
    links = [(_squeezed(", ".join(found.values())), urls[key]) for key, found in labels.items()]
    left_out = max(0, len(links) - _MOST) + details.left_out.get("urls", 0)
    return links[:_MOST], left_out


def parse_details(metadata: bytes) -> Details:
    """Read a core metadata file; fields that cannot be read are left out."""
    fields = parse_fields(metadata)
    licence, licence_text = read_licence(fields)
    dependencies, extras = _dependencies(fields)
    keywords = [word for word in fields.get("keywords", ()) if word and not word.isspace()]
    urls = _urls(fields)
    counts = {
        "keywords": len(keywords) - _MOST_KEYWORDS,
        "urls": len(urls) - _MOST,
        "dependencies": len(fields.get("requires_dist", ())) - _MOST,
        "extras": len(fields.get("provides_extra", ())) - _MOST,
    }
    return Details(
        summary=_squeezed(fields.get("summary")),
        authors=_persons(fields.get("author"), fields.get("author_email")),
        maintainers=_persons(fields.get("maintainer"), fields.get("maintainer_email")),
        licence=licence,
        licence_text=licence_text,
        keywords=tuple(_squeezed(word) for word in keywords[:_MOST_KEYWORDS]),
        requires_python=_squeezed(fields.get("requires_python")),
        urls=dict(urls[:_MOST]),
        dependencies=dependencies,
        extras=extras,
        left_out={name: count for name, count in counts.items() if count > 0},
        description=read_description(metadata, fields).strip(),
        description_type=_squeezed(fields.get("description_content_type")) or None,
    )


def _squeezed(text: str | None) -> str:
    """Return a text on one line, shortened to fit on a page, without control characters."""
    line = one_line(text, _LONGEST)
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}..."


def _persons(names: str | None, addresses: str | None) -> tuple[Person, ...]:
    """Return the people in two fields. Both may contain names (core metadata, Author-email)."""
    try:
        pairs = getaddresses([_squeezed(addresses)])
    except RecursionError:  # comments in comments
        pairs = []
    found = [
        Person(name or email, email if _EMAIL.fullmatch(email) else "")
        for name, email in pairs
        if name or email
    ]
    named = _squeezed(names)
    if named and len(found) == 1 and found[0].name == found[0].email:
        return (Person(named, found[0].email),)  # one name, one address: one person
    if named and all(one.name != named for one in found):
        found.insert(0, Person(named))
    return tuple(found)


def _urls(fields: RawMetadata) -> list[tuple[str, str]]:
    urls = {"Homepage": fields.get("home_page") or "", "Download": fields.get("download_url") or ""}
    urls |= fields.get("project_urls", {})
    shown = [(_squeezed(label), printable(url.strip())) for label, url in urls.items()]
    return [(label, url) for label, url in shown if is_web_url(url)]


def _dependencies(
    fields: RawMetadata,
) -> tuple[tuple[Dependency, ...], Mapping[str, tuple[Dependency, ...]]]:
    """Group the requirements by extra. An extra may have no requirements."""
    always: list[Dependency] = []
    extras: dict[str, list[Dependency]] = {
        _squeezed(name): [] for name in fields.get("provides_extra", ())[:_MOST]
    }
    parsed = 0
    for text in fields.get("requires_dist", ())[:_MOST]:
        parsed += len(text)
        dependency, names = _dependency(text, plain=parsed > _MOST_PARSED)
        for name in names:
            extras.setdefault(name, []).append(dependency)
        if not names:
            always.append(dependency)
    return tuple(always), {name: tuple(found) for name, found in extras.items()}


def _dependency(text: str, *, plain: bool) -> tuple[Dependency, Sequence[str]]:
    """Return a requirement with its condition, and the extras that the condition contains.

    If `plain` is set, or the text is too long or invalid, the text is shown unchanged.
    """
    shown = Dependency(_squeezed(text))
    if plain or len(text) > _LONGEST or not shown.requirement or text.count("(") > _DEEPEST:
        return shown, ()
    try:
        requirement = Requirement(shown.requirement)
    except InvalidRequirement:
        return shown, ()
    marker, requirement.marker = requirement.marker, None
    condition, names = _condition(marker)
    return Dependency(str(requirement), condition), names


def _condition(marker: Marker | None) -> tuple[str, Sequence[str]]:
    """Return a marker without its test for an extra, and the names of the extras."""
    if marker is None:
        return "", ()
    text = str(marker)
    names = list(dict.fromkeys(_EXTRA.findall(text)))
    if len(names) != 1:
        return text, names
    rest = _AND_EXTRA.sub("", text)
    if _EXTRA.search(rest) or (" or " in rest and not _PARENTHESES.fullmatch(rest)):
        return text, names
    return rest.strip("()") if _PARENTHESES.fullmatch(rest) else rest, names
