"""A project, its versions and files, and the storage format: how an image index describes them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache

from packaging.metadata import RawMetadata
from packaging.utils import NormalizedName

from pyoci_flask.errors import InvalidRequestError
from pyoci_flask.index.fields import LONGEST_SPECIFIERS, home_among, home_page_of, summary_of
from pyoci_flask.index.names import Filename, ProjectName
from pyoci_flask.index.stored_names import StoredNames
from pyoci_flask.oci.model import MANIFEST_TYPE, Descriptor, ImageIndex, Platform
from pyoci_flask.oci.reference import Digest

ARTIFACT_TYPE = "application/pyoci.package.v1"
CORE_METADATA_TYPE = "application/pyoci.core-metadata.v1"

CREATED = "org.opencontainers.image.created"
CHANGED = "com.pyoci.changed"
"""Annotation of an index: when it was last rewritten. A yank does not move `CREATED`."""
TITLE = "org.opencontainers.image.title"
SHA256 = "com.pyoci.sha256_digest"
PROJECT_URLS = "com.pyoci.project_urls"
SIZE = "com.pyoci.size"
REQUIRES_PYTHON = "com.pyoci.requires_python"
CORE_METADATA = "com.pyoci.core_metadata_sha256"
YANKED = "com.pyoci.yanked"
NAME = "com.pyoci.name"
"""Annotation of an index: the project's name as it was uploaded, or as the original PyOCI's
repository spells it."""
SUMMARY = "com.pyoci.summary"
HOME_PAGE = "com.pyoci.home_page"
ABOUT = frozenset({SUMMARY, HOME_PAGE})
"""Annotations of an index, copied from core metadata when a file is published, for listings.

Other programs may write any text there, so both are checked and shortened when they are read.
"""
_NOTES = frozenset(
    {CREATED, TITLE, SHA256, PROJECT_URLS, SIZE, REQUIRES_PYTHON, CORE_METADATA, YANKED}
)
_LONGEST_REMEMBERED = 1000
"""Characters of project URLs that are remembered once they are parsed."""


@dataclass(frozen=True, slots=True)
class File:
    """One distribution file, as its entry in the image index describes it.

    Everything but the filename may be missing, because the original PyOCI and older versions of
    this program wrote less.
    """

    filename: Filename
    entry: Descriptor
    """The descriptor of the image manifest whose only layer is the file."""
    digest: Digest | None
    """The digest of the file itself, which is stored as a blob."""
    size: int | None
    """Bytes."""
    uploaded: datetime | None
    """In UTC."""
    requires_python: str | None
    core_metadata: Digest | None
    """The digest of the core metadata file, if it is stored."""
    yanked: str | None
    """The reason, which may be empty, or None if the file is not yanked (PEP 592)."""
    project_urls: Mapping[str, str]
    segment: str = ""
    """The last segment of the name of its repository."""
    dotted: bool = False
    """Whether its project's name is known to be spelled with dots."""
    summary: str | None = None
    """The summary of its version, from the annotations of the image index."""
    home_page: str | None = None
    """The home page of its version, also from these annotations."""

    @property
    def version(self) -> str:
        """The version as it was published."""
        return self.filename.version


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Project:
    """What a project page shows, compared by identity because pages are cached per object."""

    name: NormalizedName
    versions: tuple[str, ...]
    """All versions, newest first, including those whose files are not listed."""
    files: tuple[File, ...]
    """The files of the versions that are listed, newest version first."""
    left_out: tuple[str, ...] = ()
    """Versions without files here, because they are too large to be listed or cannot be read."""
    weight: int = 0
    """Bytes that its files count as (see `pyoci_flask.index.fetch`)."""


def files_of(
    index: ImageIndex, version: str, project: ProjectName, segment: str, *, listed: bool = False
) -> tuple[list[File], list[str]]:
    """Read the files of a version's image index.

    `segment` is the last segment of the repository's name, from which filenames are rebuilt.
    `listed` leaves out what a listing does not need of their entries: annotations and platform.
    Return the files and, for the log, what is wrong with each entry that is left out.
    """
    files, faults = [], []
    dotted = _is_dotted(index, project)
    summary = summary_of(index.annotations.get(SUMMARY))
    home_page = home_page_of(index.annotations.get(HOME_PAGE))
    names = StoredNames(version, project, segment)
    for entry in index.manifests:
        try:
            files.append(
                _file(
                    entry,
                    names,
                    segment,
                    listed=listed,
                    dotted=dotted,
                    summary=summary,
                    home_page=home_page,
                )
            )
        except InvalidRequestError as error:
            faults.append(f"entry {entry.digest}: {error}")
    return sorted(files, key=lambda file: file.filename.text), faults


def annotations_of(metadata: RawMetadata) -> dict[str, str]:
    """Return the annotations of a version's index for this core metadata."""
    home = metadata.get("home_page") or home_among(metadata.get("project_urls", {}).items())
    found = {SUMMARY: summary_of(metadata.get("summary")), HOME_PAGE: home_page_of(home)}
    return {key: text for key, text in found.items() if text}


def relevant(index: ImageIndex) -> ImageIndex:
    """Return an index with only what `files_of` and `last_change` read."""
    entries = tuple(
        replace(
            entry,
            annotations={key: text for key, text in entry.annotations.items() if key in _NOTES},
            platform=Platform(entry.platform.architecture, entry.platform.os),
            others={},
        )
        for entry in index.manifests
        if entry.media_type == MANIFEST_TYPE and entry.platform is not None
    )
    kept = ABOUT | {NAME, CREATED, CHANGED}
    notes = {key: text for key, text in index.annotations.items() if key in kept}
    return ImageIndex(index.artifact_type, entries, notes)


def last_change(index: ImageIndex) -> datetime | None:
    """Return when a version last changed, in UTC, or None if its index has no valid time.

    Other programs may write any time, so it can also be in the future.
    """
    # Files that were published together have the same time.
    texts = {index.annotations.get(CHANGED), index.annotations.get(CREATED)}
    texts |= {entry.annotations.get(CREATED) for entry in index.manifests}
    return max((time for text in texts if (time := parse_time(text))), default=None)


def blobs_of(entry: Descriptor) -> tuple[Digest | None, Digest | None]:
    """Return the digests of a file and of its core metadata, or None for what its entry lacks."""
    notes = entry.annotations
    return _digest(notes.get(SHA256)), _digest(notes.get(CORE_METADATA))


def _is_dotted(index: ImageIndex, project: ProjectName) -> bool:
    """Return whether the project's name is known to contain dots that the repository's name lacks.

    This is known if it was uploaded with dots, or if a filename contains them. An entry of the
    original PyOCI shows the opposite, because the original keeps dots in repository names.
    """
    name = index.annotations.get(NAME)
    if name is not None:
        return "." in name
    length = len(project.normalized)
    return any("." in entry.annotations.get(TITLE, "")[:length] for entry in index.manifests)


def _file(
    entry: Descriptor,
    names: StoredNames,
    segment: str,
    *,
    listed: bool,
    dotted: bool,
    summary: str | None,
    home_page: str | None,
) -> File:
    if entry.media_type != MANIFEST_TYPE or entry.platform is None:
        raise InvalidRequestError("not a package file")
    notes = entry.annotations
    urls = notes.get(PROJECT_URLS)
    return File(
        filename=names.of(notes.get(TITLE), entry.platform.architecture),
        entry=Descriptor(entry.media_type, entry.digest, entry.size) if listed else entry,
        digest=_digest(notes.get(SHA256)),
        size=_size(notes.get(SIZE)),
        uploaded=parse_time(notes.get(CREATED)),
        requires_python=_specifiers(notes.get(REQUIRES_PYTHON)),
        core_metadata=_digest(notes.get(CORE_METADATA)),
        yanked=notes.get(YANKED),
        project_urls=_project_urls(urls) if urls else {},
        segment=segment,
        dotted=dotted,
        summary=summary,
        home_page=home_page,
    )


def _digest(text: str | None) -> Digest | None:
    if not text:
        return None
    try:
        return Digest.from_hex(text.lower())
    except InvalidRequestError:
        return None


def _size(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 19 else None


def _specifiers(text: str | None) -> str | None:
    return text if text and len(text) <= LONGEST_SPECIFIERS else None


def _project_urls(text: str) -> Mapping[str, str]:
    return _remembered_urls(text) if len(text) <= _LONGEST_REMEMBERED else _urls(text)


@lru_cache(maxsize=64)
def _remembered_urls(text: str) -> Mapping[str, str]:
    """Parse a short text. The files of a project have the same URLs, so they share the result."""
    return _urls(text)


def _urls(text: str) -> Mapping[str, str]:
    """Parse URLs by label. Only http(s) URLs are kept, because they become links."""
    try:
        urls = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(urls, dict):
        return {}
    return {
        label: url
        for label, url in urls.items()
        if isinstance(url, str) and url.lower().startswith(("http://", "https://"))
    }


def parse_time(text: str | None) -> datetime | None:
    """Parse an RFC 3339 time as UTC; return None if it is missing or invalid."""
    if not text:
        return None
    try:
        time = datetime.fromisoformat(text)
        return (time if time.tzinfo else time.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def format_time(time: datetime) -> str:
    """Write a UTC time as RFC 3339 with `Z`, to the microsecond."""
    # Without `timespec`, which takes twice as long, a time without microseconds lacks the fraction.
    utc = time.astimezone(UTC)
    text = utc.isoformat().removesuffix("+00:00")
    return f"{text}Z" if utc.microsecond else f"{text}.000000Z"
