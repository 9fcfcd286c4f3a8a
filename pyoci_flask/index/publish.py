"""Publish: push the file, its config and its manifest, then add it to the version's image index.

Calls that do not need each other's answers run in parallel: six or seven in sequence, of ten.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from pyoci_flask.common.threads import in_background
from pyoci_flask.errors import (
    AlreadyExistsError,
    NotFoundError,
    PyOCIError,
    RegistryUnreachableError,
)
from pyoci_flask.index.artifact import ArtifactPush, KnownConfigs, Upload, again_if_missing
from pyoci_flask.index.download import find_layer
from pyoci_flask.index.lock import VersionLocks
from pyoci_flask.index.names import tag_of
from pyoci_flask.index.project import ABOUT, ARTIFACT_TYPE, CREATED, NAME, YANKED, format_time
from pyoci_flask.index.project_repository import Candidates, ProjectRepository, hold_lock, with_tags
from pyoci_flask.index.rewrite import Read, read_for_change, rewrite_index
from pyoci_flask.index.versions import VersionIndex, find_in, find_spelled, read_version, same_files
from pyoci_flask.oci.blobs import has_bytes
from pyoci_flask.oci.client import RepositoryCaller
from pyoci_flask.oci.model import ImageIndex
from pyoci_flask.oci.reference import Digest, Tag
from pyoci_flask.oci.uploads import UploadSession, begin_upload, holds_blob

logger = logging.getLogger("pyoci.index")


def publish(
    repository: ProjectRepository,
    upload: Upload,
    locks: VersionLocks,
    *,
    complete: Callable[[Upload], Upload] | None = None,
    confirm: Callable[[], None] | None = None,
    configs: KnownConfigs | None = None,
    skip_identical: bool = False,
    settle: float = 0.0,
    parallel: bool = True,
    others: Candidates = (),
) -> bool:
    """Add a file to its version; return whether it was added.

    The caller holds the lock on the repository's blobs, shared (`hold_blobs`).
    With `skip_identical`, a file that the version has, byte for byte, is not added again; its
    bytes are uploaded again if the registry has lost them.
    `complete` is called when the registry has shown that the caller may write. It returns the
    upload with what was read from the file, and raises if the file is wrong.
    `confirm` is called before the file is added, and raises if it must not be.
    `settle` is the seconds to wait before reading back what was written, for several hosts.
    `parallel` allows parallel calls. `others` are repositories in which the original may have
    stored files of this project.

    Raises:
        AlreadyExistsError: the version has this file, or its tag cannot be changed.
        BusyError: other writers keep changing the version.
        UnsupportedError: the registry does not take artifacts of this kind.
    """
    repository = replace(repository, caller=replace(repository.caller, writing=True))
    publication = _Publication(
        repository, upload, configs or KnownConfigs(), others, skip_identical, settle, parallel
    )
    if not publication.push_blobs(complete):
        return False
    with hold_lock(repository, upload.filename.version, locks):
        return publication.add(confirm)


@dataclass(frozen=True, slots=True)
class _Elsewhere:
    """The parts of a version outside the tag that is expected to hold it."""

    parts: Sequence[tuple[ProjectRepository, VersionIndex]] = ()
    name: Mapping[str, str] = field(default_factory=dict)
    """The annotation with the project's name, if it may have dots."""


@dataclass(slots=True)
class _Publication:
    """One file on its way into the index: first `push_blobs`, then `add` under a lock."""

    repository: ProjectRepository
    upload: Upload
    configs: KnownConfigs
    others: Candidates
    skip_identical: bool
    settle: float
    parallel: bool
    found: VersionIndex | None = None
    """The index before anything was pushed."""
    push: ArtifactPush = field(init=False)
    elsewhere: _Elsewhere = field(default_factory=_Elsewhere)
    is_stored: bool = False
    """Whether the version has this very file."""

    def push_blobs(self, complete: Callable[[Upload], Upload] | None) -> bool:
        """Push the file and its config; return whether the file is to be added to the index."""
        caller, digest = self.repository.caller, self.upload.digest
        self.found = self._read()
        self.is_stored = self._is_in(self.found, self.repository)
        if self.is_stored and has_bytes(caller, digest):
            return False
        session, is_new = _begin(caller, digest, parallel=self.parallel)
        with session:
            if complete is not None:
                self.upload = complete(self.upload)
            self.push = ArtifactPush(
                caller,
                self.upload,
                self.found.files if self.found else (),
                self.configs,
                parallel=self.parallel,
            )
            self.push.blobs(looked=is_new, session=session)
        return not self.is_stored

    def add(self, confirm: Callable[[], None] | None) -> bool:
        """Push the manifest and add the file to the index; return whether it was added.

        Hold the version's lock.
        """
        version = self.upload.filename.version
        with (
            in_background(self._read, parallel=self.parallel) as read,
            in_background(self._look_elsewhere, parallel=self.parallel) as look,
        ):
            self.push.manifest()
            if confirm is not None:
                confirm()
            self.elsewhere = look()
            if any(self._is_in(part, place) for place, part in self.elsewhere.parts):
                return False
            spelled = [part for place, part in self.elsewhere.parts if place is self.repository]
            if spelled and read() is None:
                # The spelling that came first names the tag.
                self._write(spelled[0].version, spelled[0].tag, lambda: spelled[0])
            else:
                self._write(version, tag_of(version), read)
        return not self.is_stored

    def _read(self) -> VersionIndex | None:
        version = self.upload.filename.version
        return read_for_change(self.repository, version, tag_of(version))

    def _write(self, version: str, tag: Tag, read: Read) -> None:
        """Rewrite the index; what `read` returns is too old after a repair."""
        again_if_missing(
            lambda number: rewrite_index(
                self.repository,
                version,
                tag,
                self._with_entry,
                self.settle,
                None if number else read,
            ),
            self.push.everything,
        )

    def _with_entry(self, now: VersionIndex | None) -> ImageIndex | None:
        """Return the index with the file added, or None if it has the file already."""
        entry = self.push.artifact.entry
        yanked = _yanked([*([now] if now else []), *(part for _, part in self.elsewhere.parts)])
        mark = {} if yanked is None else {YANKED: yanked}
        entry = replace(entry, annotations={**entry.annotations, **mark})
        if now is None:
            created = {CREATED: format_time(datetime.now(UTC))}
            annotations = {**created, **self.upload.about, **self.elsewhere.name, **mark}
            return ImageIndex(ARTIFACT_TYPE, (entry,), annotations)
        if any(one.digest == entry.digest for one in now.index.manifests):
            return None
        self.is_stored = self._is_in(now, self.repository)
        if self.is_stored:
            return None
        return replace(
            now.index,
            manifests=(*now.index.manifests, entry),
            annotations={**_kept_annotations(now.index), **self.upload.about},
        )

    def _is_in(self, found: VersionIndex | None, place: ProjectRepository) -> bool:
        """Return whether an index has this very file and such files are skipped.

        Raises:
            AlreadyExistsError: it has a file of this name, and it is not to be skipped.
        """
        if self.skip_identical and _has_identical(found, self.upload, place):
            return True
        for entry in found.index.manifests if found else ():
            if entry.platform and entry.platform.architecture == self.upload.filename.architecture:
                raise AlreadyExistsError(
                    f"{self.upload.filename.text} already exists in {place.caller.repository}; "
                    "delete it first to publish it again"
                )
        return False

    def _look_elsewhere(self) -> _Elsewhere:
        """Look for other spellings of the version, and for other repositories of the project."""
        repository, others, version = self.repository, self.others, self.upload.filename.version
        if self.found is not None and "." not in self.found.index.annotations.get(NAME, "."):
            return _Elsewhere()  # the writer of this annotation has looked
        known = self.found.files if self.found else ()
        try:
            with in_background(
                lambda: with_tags(others, known), parallel=self.parallel and bool(others)
            ) as tagged:
                tags = repository.read_tags() or ()
                here = list(find_spelled(repository, tags, version, read_version))
                parts = [*here, *find_in(tagged(), version, read_version)]
                names = [other.segment for other, _ in tagged()] or [repository.project.text]
        except PyOCIError as error:
            # Packages can be published to a registry that lists no tags.
            logger.warning("%s; other spellings of %s were not looked for", error, version)
            return _Elsewhere()
        return _Elsewhere(parts, {NAME: names[0]} if others else {})


def _begin(
    caller: RepositoryCaller, digest: Digest, *, parallel: bool
) -> tuple[UploadSession, bool]:
    """Begin the upload, which proves the right to push, and return whether the file is new.

    Try once more if the connection breaks.
    """
    try:
        return _begin_once(caller, digest, parallel=parallel)
    except RegistryUnreachableError as error:
        logger.info("%s; beginning the upload again", error)
    return _begin_once(caller, digest, parallel=parallel)


def _begin_once(
    caller: RepositoryCaller, digest: Digest, *, parallel: bool
) -> tuple[UploadSession, bool]:
    with (
        in_background(lambda: holds_blob(caller, digest), parallel=parallel) as holds,
        ExitStack() as opened,
    ):
        session = opened.enter_context(begin_upload(caller))
        is_new = not holds()
        opened.pop_all()
        return session, is_new


def _has_identical(
    found: VersionIndex | None, upload: Upload, repository: ProjectRepository
) -> bool:
    for file in same_files(found, upload.filename) if found else ():
        try:
            return (file.digest or find_layer(repository, file)) == upload.digest
        except NotFoundError:
            return False  # its manifest is gone
    return False


def _kept_annotations(index: ImageIndex) -> Mapping[str, str]:
    """Return the annotations without those about files that an emptied version had."""
    if index.manifests:
        return index.annotations
    dropped = {*ABOUT, YANKED}
    return {key: text for key, text in index.annotations.items() if key not in dropped}


def _yanked(parts: Sequence[VersionIndex]) -> str | None:
    """Return the reason if a version is yanked as a whole, so that new files of it are, too.

    PEP 592 yanks files; people yank releases. Without an annotation of the index, two or more files
    that are all yanked count as a yanked release; a single one may have been yanked to be replaced.
    """
    for part in parts:
        if YANKED in part.index.annotations and part.index.manifests:
            return part.index.annotations[YANKED]
    reasons = [file.yanked for part in parts for file in part.files]
    if len(reasons) < 2 or None in reasons:
        return None
    return next((reason for reason in reasons if reason), "")
