"""Publish a file: push it, its config and its manifest, then add it to the version's index.

Calls that do not depend on each other run in parallel. Of ten calls, six or seven run in sequence.
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

    The caller must hold the shared lock on the repository's blobs (see `hold_blobs`).
    If `skip_identical` is set, a file that the version already has with the same bytes is not
    added again, but is uploaded again if the registry has lost it.
    `complete` is called after the registry has shown that the caller may write. It returns the
    upload with what was read from the file, and raises an error if the file is invalid.
    `confirm` is called before the file is added, and raises an error if it must not be added.
    `settle` is the number of seconds to wait before the index is read back, for servers on
    several hosts. `parallel` allows parallel calls. `others` are repositories in which the
    original PyOCI may have stored files of this project.

    Raises:
        AlreadyExistsError: the version already has this file, or its tag cannot be changed.
        BusyError: other writers keep changing the version.
        UnsupportedError: the registry does not accept artifacts of this kind.
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
    """The parts of a version that are not in the expected tag."""

    parts: Sequence[tuple[ProjectRepository, VersionIndex]] = ()
    name: Mapping[str, str] = field(default_factory=dict)
    """The annotation with the project's name, if it may have dots."""


@dataclass(slots=True)
class _Publication:
    """Publishes one file: first call `push_blobs`, then `add` under a lock."""

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
    """Whether the version already has exactly this file."""

    def push_blobs(self, complete: Callable[[Upload], Upload] | None) -> bool:
        """Push the file and its config; return whether the file must be added to the index."""
        caller, digest = self.repository.caller, self.upload.digest
        self.found = self._read()
        self.is_stored = self._is_in(self.found, self.repository)
        if self.is_stored and has_bytes(caller, digest):
            return False
        if self.skip_identical and not self.is_stored and self._is_elsewhere():
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

        The caller must hold the version's lock.
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
                # The version already exists in another spelling, so the file is added to its tag.
                self._write(spelled[0].version, spelled[0].tag, lambda: spelled[0])
            else:
                self._write(version, tag_of(version), read)
        return not self.is_stored

    def _read(self) -> VersionIndex | None:
        version = self.upload.filename.version
        return read_for_change(self.repository, version, tag_of(version))

    def _write(self, version: str, tag: Tag, read: Read) -> None:
        """Rewrite the index. After a repair, the result of `read` is out of date and not used."""
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
        """Return whether an index has exactly this file and `skip_identical` is set.

        Raises:
            AlreadyExistsError: the index has a file of this name that is not to be skipped.
        """
        if self.skip_identical and _has_identical(found, self.upload, place):
            return True
        for entry in found.index.manifests if found else ():
            if entry.platform and entry.platform.architecture == self.upload.filename.architecture:
                raise AlreadyExistsError(
                    f"{self.upload.filename.text} already exists in {place.caller.repository}",
                    advice="Put ?existing=skip at the end of the publish address if the bytes are "
                    "the same; otherwise use another version number or filename",
                )
        return False

    def _is_elsewhere(self) -> bool:
        """Return whether exactly this file is stored in another tag or repository.

        `add` looks again under the lock. This look may spare the upload.
        """
        digest = self.upload.digest
        return any(
            self._is_in(part, place) and has_bytes(place.caller, digest)
            for place, part in self._look_elsewhere().parts
        )

    def _look_elsewhere(self) -> _Elsewhere:
        """Look for other spellings of the version, and for other repositories of the project."""
        repository, others, version = self.repository, self.others, self.upload.filename.version
        if self.found is not None and "." not in self.found.index.annotations.get(NAME, "."):
            return _Elsewhere()  # the writer of this annotation has already looked
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
            # Packages can be published to a registry that does not list tags.
            logger.warning("%s; did not look for other spellings of %s", error, version)
            return _Elsewhere()
        return _Elsewhere(parts, {NAME: names[0]} if others else {})


def _begin(
    caller: RepositoryCaller, digest: Digest, *, parallel: bool
) -> tuple[UploadSession, bool]:
    """Begin the upload, which proves that the caller may push. Return whether the file is new.

    If the connection breaks, try once more.
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
            return False  # its manifest no longer exists
    return False


def _kept_annotations(index: ImageIndex) -> Mapping[str, str]:
    """Return the annotations; if the version was emptied, without those about its former files."""
    if index.manifests:
        return index.annotations
    dropped = {*ABOUT, YANKED}
    return {key: text for key, text in index.annotations.items() if key not in dropped}


def _yanked(parts: Sequence[VersionIndex]) -> str | None:
    """Return the reason if a whole version is yanked, so that its new files are yanked as well.

    PEP 592 yanks files, but people yank releases. If the index has no annotation, a version counts
    as yanked if it has at least two files and all of them are yanked. A single file may have been
    yanked in order to replace it.
    """
    for part in parts:
        if YANKED in part.index.annotations and part.index.manifests:
            return part.index.annotations[YANKED]
    reasons = [file.yanked for part in parts for file in part.files]
    if len(reasons) < 2 or None in reasons:
        return None
    return next((reason for reason in reasons if reason), "")
