"""Publish: blobs and manifest by digest, then the entry in the version's image index.

The file and its manifest are addressed by digest and hurt nobody if the last step never comes.
Calls that do not need each other's answers go side by side: six or seven in sequence, of ten.
"""

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from pyoci_flask.common.memory import remember
from pyoci_flask.errors import (
    AlreadyExistsError,
    NotFoundError,
    PyOCIError,
    RegistryError,
    RegistryUnreachableError,
    UnsupportedError,
)
from pyoci_flask.index.about import ABOUT
from pyoci_flask.index.artifact import Artifact, Upload
from pyoci_flask.index.beside import beside
from pyoci_flask.index.download import find_layer
from pyoci_flask.index.lock import VersionLocks
from pyoci_flask.index.names import tag_of
from pyoci_flask.index.project import ARTIFACT_TYPE, CREATED, NAME, YANKED, format_time
from pyoci_flask.index.project_repository import (
    Candidates,
    ProjectRepository,
    VersionIndex,
    find_in,
    find_spelled,
    hold_lock,
    read_version,
    with_tags,
)
from pyoci_flask.index.rewrite import read_for_change, rewrite_index
from pyoci_flask.oci.blobs import has_bytes
from pyoci_flask.oci.client import RepositoryCaller
from pyoci_flask.oci.manifests import ManifestRefusedError, MissingContentError, put_manifest
from pyoci_flask.oci.model import EMPTY_CONFIG, MANIFEST_TYPE, ImageIndex
from pyoci_flask.oci.reference import Digest
from pyoci_flask.oci.uploads import UploadSession, begin_upload, holds_blob, push_blob

logger = logging.getLogger("pyoci.index")

_REPAIRS = 2
_BEGINNINGS = 2
"""Tries to begin an upload where the connection breaks."""


class KnownConfigs:
    """Config blobs that were pushed of late: the wheels of a version often share theirs."""

    def __init__(self, most: int = 256, ttl: float = 600.0) -> None:
        """Remember `most` of them for `ttl` seconds."""
        self._most = most
        self._ttl = ttl
        self._lock = threading.Lock()
        self._until: OrderedDict[tuple[str, Digest], float] = OrderedDict()

    def add(self, caller: RepositoryCaller, digest: Digest) -> None:
        """Note that the repository holds it."""
        with self._lock:
            until = time.monotonic() + self._ttl
            remember(self._until, (caller.base, digest), until, self._most)

    def pop(self, caller: RepositoryCaller, digest: Digest) -> bool:
        """Tell whether the repository is known to hold it, and forget that."""
        with self._lock:
            return self._until.pop((caller.base, digest), 0.0) > time.monotonic()


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
    at_once: bool = True,
    others: Candidates = (),
) -> bool:
    """Add a file to its version; return whether it was added.

    The caller holds the lock on the repository's blobs, shared (`hold_blobs`).
    The file is not added if `skip_identical` is set and the version already has this very file;
    its bytes are uploaded again if the registry has lost them.
    `complete` is called once the registry has shown that the caller may write; it returns the
    upload with what is read out of the file, and raises where the file is wrong.
    `confirm` is called before the file is named, and raises where it may not be;
    `settle` is the seconds to wait before reading back what was written, for several hosts;
    `at_once` tells whether calls may go side by side; `others` are repositories in which the
    original may have stored files of this project.

    Raises:
        AlreadyExistsError: the version has this file, or its tag cannot be changed.
        BusyError: other writers never left the version alone.
        UnsupportedError: the registry does not take artifacts of this kind.
    """
    repository = replace(repository, caller=replace(repository.caller, writing=True))
    version, tag = upload.filename.version, tag_of(upload.filename.version)
    caller = repository.caller
    found = read_for_change(repository, version, tag)
    is_identical = skip_identical and _has_identical(found, upload, repository)
    if is_identical and has_bytes(caller, upload.digest):
        return False
    if not is_identical:
        _refuse_existing(found, upload, repository)
    session, is_new = _begin(caller, upload.digest, at_once=at_once)
    with session:
        if complete is not None:
            upload = complete(upload)
        push = _Push(caller, upload, found, configs or KnownConfigs(), at_once=at_once)
        push.blobs(looked=is_new, session=session)
    if is_identical:
        return False
    added = True
    elsewhere = _Elsewhere()

    def append(found: VersionIndex | None) -> ImageIndex | None:
        nonlocal added
        entry = push.artifact.entry
        yanked = _yanked([*([found] if found else []), *(part for _, part in elsewhere.parts)])
        if yanked is not None:
            entry = replace(entry, annotations={**entry.annotations, YANKED: yanked})
        if found is None:
            created = {CREATED: format_time(datetime.now(UTC))}
            whole = {} if yanked is None else {YANKED: yanked}
            notes = {**created, **upload.about, **elsewhere.name, **whole}
            return ImageIndex(ARTIFACT_TYPE, (entry,), notes)
        if any(one.digest == entry.digest for one in found.index.manifests):
            return None
        if skip_identical and _has_identical(found, upload, repository):
            added = False
            return None
        _refuse_existing(found, upload, repository)
        return replace(
            found.index,
            manifests=(*found.index.manifests, entry),
            annotations={**_kept_annotations(found.index), **upload.about},
        )

    with (
        hold_lock(repository, version, locks),
        beside(lambda: read_for_change(repository, version, tag), at_once=at_once) as read,
        beside(
            lambda: _look_elsewhere(repository, others, found, version, at_once=at_once),
            at_once=at_once,
        ) as look,
    ):
        push.manifest()
        if confirm is not None:
            confirm()
        elsewhere = look()
        for place, other in elsewhere.parts:
            if skip_identical and _has_identical(other, upload, place):
                return False
            _refuse_existing(other, upload, place)
        spelled = [other for place, other in elsewhere.parts if place is repository]
        if spelled and read() is None:
            # The spelling that came first names the tag.
            first = spelled[0]
            version, tag, read = first.version, first.tag, lambda: first
        reads = [read]  # of use once: after a repair it is old
        _again_if_missing(
            lambda: rewrite_index(
                repository, version, tag, append, settle, reads.pop() if reads else None
            ),
            push.everything,
        )
    return added


@dataclass(frozen=True, slots=True)
class _Elsewhere:
    """The parts of a version outside the tag that is expected to hold it."""

    parts: Sequence[tuple[ProjectRepository, VersionIndex]] = ()
    name: Mapping[str, str] = field(default_factory=dict)
    """The annotation with the project's name, where it may have dots."""


def _look_elsewhere(
    repository: ProjectRepository,
    others: Candidates,
    found: VersionIndex | None,
    version: str,
    *,
    at_once: bool,
) -> _Elsewhere:
    """Look for other spellings of the version, and for other repositories of the project."""
    if found is not None and "." not in found.index.annotations.get(NAME, "."):
        return _Elsewhere()  # the writer of this annotation has looked
    known = found.files if found else ()
    try:
        with beside(lambda: with_tags(others, known), at_once=at_once and bool(others)) as tagged:
            tags = repository.tags() or ()
            here = list(find_spelled(repository, tags, version, read_version))
            parts = [*here, *find_in(tagged(), version, read_version)]
            names = [other.segment for other, _ in tagged()] or [repository.project.text]
    except PyOCIError as error:
        # A registry that lists no tags takes packages all the same.
        logger.warning("%s; other spellings of %s were not looked for", error, version)
        return _Elsewhere()
    return _Elsewhere(parts, {NAME: names[0]} if others else {})


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


def _begin(
    caller: RepositoryCaller, digest: Digest, *, at_once: bool
) -> tuple[UploadSession, bool]:
    """Begin the upload, which proves the right to push, and tell whether the file is new."""
    for _ in range(_BEGINNINGS - 1):
        try:
            return _begin_once(caller, digest, at_once=at_once)
        except RegistryUnreachableError as error:
            logger.info("%s; beginning the upload again", error)
    return _begin_once(caller, digest, at_once=at_once)


def _begin_once(
    caller: RepositoryCaller, digest: Digest, *, at_once: bool
) -> tuple[UploadSession, bool]:
    with (
        beside(lambda: holds_blob(caller, digest), at_once=at_once) as holds,
        ExitStack() as opened,
    ):
        session = opened.enter_context(begin_upload(caller))
        is_new = not holds()
        opened.pop_all()
        return session, is_new


class _Push:
    """The parts of a file that are addressed by digest."""

    def __init__(
        self,
        caller: RepositoryCaller,
        upload: Upload,
        found: VersionIndex | None,
        configs: KnownConfigs,
        *,
        at_once: bool,
    ) -> None:
        self.artifact = Artifact.of(upload, datetime.now(UTC))
        self._caller = caller
        self._upload = upload
        files = found.files if found else ()
        self._named = {file.core_metadata or Digest.of(EMPTY_CONFIG) for file in files}
        self._configs = configs
        self._at_once = at_once

    def blobs(
        self,
        *,
        looked: bool = False,
        missing: bool = False,
        session: UploadSession | None = None,
    ) -> None:
        """Push the file and its config, side by side; arguments as in `push_blob`."""
        upload = self._upload
        # Where the file is new, so is its core metadata most of the time.
        with beside(
            lambda: self._config(looked=looked, missing=missing), at_once=self._at_once
        ) as config:
            push_blob(
                self._caller,
                upload.digest,
                upload.content,
                upload.size,
                looked=looked,
                missing=missing,
                session=session,
            )
            config()

    def _config(self, *, looked: bool = False, missing: bool = False) -> None:
        config = self.artifact.config
        # What was pushed is gone where a registry was restored from a backup: core metadata is
        # read by installers, so the version has to name it as well.
        if not (self._configs.pop(self._caller, config.digest) and config.digest in self._named):
            push_blob(
                self._caller,
                config.digest,
                self.artifact.content,
                config.size,
                looked=looked,
                missing=missing,
            )
        self._configs.add(self._caller, config.digest)

    def manifest(self) -> None:
        """Push the manifest, and the blobs again where the registry misses one.

        Where it is refused all the same, it is pushed without the core metadata: Pulp takes only
        JSON as a config.
        """
        try:
            _again_if_missing(self._manifest, self._blobs_anew)
        except (ManifestRefusedError, MissingContentError) as error:
            if not _is_about_the_manifest(error):
                raise
            if self._upload.metadata is not None and self._without_metadata():
                logger.info("%s; stored without its core metadata", error)
                return
            if not isinstance(error, MissingContentError):
                raise
            # All parts were pushed anew: it is the manifest itself that gitlab.com refuses.
            raise UnsupportedError(
                f"{error}: this registry does not seem to take packages, nothing was published"
            ) from error

    def everything(self, missing: MissingContentError) -> None:
        """Push all parts again."""
        self._blobs_anew(missing)
        self._manifest()

    def _without_metadata(self) -> bool:
        """Push the manifest with the empty config; tell whether the registry took it."""
        refused = self.artifact
        self.artifact = Artifact.of(replace(self._upload, metadata=None), datetime.now(UTC))
        try:
            self._config()
            self._manifest()
        except RegistryError as error:
            logger.info("%s", error)
            self.artifact = refused
            return False
        return True

    def _manifest(self) -> None:
        put_manifest(
            self._caller, self.artifact.entry.digest, self.artifact.document, MANIFEST_TYPE
        )

    def _blobs_anew(self, missing: MissingContentError) -> None:
        """Upload the blobs: the registry that misses one may answer HEAD that it is there."""
        self._configs.pop(self._caller, self.artifact.config.digest)
        self.blobs(missing=not _is_about_the_manifest(missing))


def _has_identical(
    found: VersionIndex | None, upload: Upload, repository: ProjectRepository
) -> bool:
    for file in found.files if found else ():
        if file.filename.architecture == upload.filename.architecture:
            try:
                return (file.digest or find_layer(repository, file)) == upload.digest
            except NotFoundError:
                return False  # its manifest is gone
    return False


def _refuse_existing(
    found: VersionIndex | None, upload: Upload, repository: ProjectRepository
) -> None:
    for entry in found.index.manifests if found else ():
        if entry.platform and entry.platform.architecture == upload.filename.architecture:
            raise AlreadyExistsError(
                f"{upload.filename.text} already exists in {repository.caller.repository}; "
                "delete it first to publish it anew"
            )


def _is_about_the_manifest(error: RegistryError) -> bool:
    """Tell whether the manifest itself may be what is refused, rather than a part of it."""
    return not isinstance(error, MissingContentError) or error.code == "MANIFEST_INVALID"


def _again_if_missing(
    action: Callable[[], None], repair: Callable[[MissingContentError], None]
) -> None:
    """Do it, and push the parts again where the registry misses one.

    Registries that clean up may drop what no tag holds yet, and distribution 2.8 loses sight of
    a blob for a moment while another upload pushes the same one.
    """
    for _ in range(_REPAIRS):
        try:
            action()
        except MissingContentError as error:
            logger.warning("%s; pushing the parts again", error)
            repair(error)
        else:
            return
    action()
