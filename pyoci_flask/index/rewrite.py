"""Change the image index of a version without losing what others write to it.

No registry offers a compare-and-swap on a tag, so two writers that read, append and write may lose
an entry. On one host, writers exclude each other by a lock. Because of writers on other hosts, each
writer reads the index back, and writes it again if another index has replaced it.
"""

import logging
import random
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

from pyoci_flask.errors import (
    AlreadyExistsError,
    BusyError,
    DeniedError,
    PayloadTooLargeError,
    PyOCIError,
    RegistryTimeoutError,
    RegistryUnreachableError,
)
from pyoci_flask.index.project import CHANGED, format_time
from pyoci_flask.index.project_repository import ProjectRepository
from pyoci_flask.index.versions import NotAPackageError, VersionIndex, load_version
from pyoci_flask.oci.client import RepositoryCaller
from pyoci_flask.oci.manifests import (
    MissingContentError,
    UncertainWriteError,
    get_manifest,
    put_manifest,
)
from pyoci_flask.oci.model import INDEX_TYPE, MOST_ENTRIES, ImageIndex
from pyoci_flask.oci.reference import Digest, Tag
from pyoci_flask.oci.tags import list_tags

logger = logging.getLogger("pyoci.index")

_ROUNDS = 8
_STALE_READS = 5
_STALE_PAUSE = 0.2
"""Seconds before the first repeated read. Each further pause is this much longer."""

# After these errors, the tag may or may not have been written.
_UNCERTAIN = (UncertainWriteError, RegistryUnreachableError, RegistryTimeoutError)

Change = Callable[[VersionIndex | None], ImageIndex | None]
Read = Callable[[], VersionIndex | None]


def rewrite_index(
    repository: ProjectRepository,
    version: str,
    tag: Tag,
    change: Change,
    settle: float,
    read: Read | None = None,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> None:
    """Apply `change` to a tag's index until the registry keeps it.

    The caller must hold the version's lock. `change` gets the current index, or None if the tag
    does not exist. It returns the index to write, or None if there is nothing to change. If the
    registry refuses an index because manifests are missing, their entries are dropped. `read`, if
    given, returns the index for the first round. An index that replaces another one gets the time
    of the change by `clock` as the annotation `CHANGED`.
    """
    # All rounds write the same time. If a write shows late and is repeated, both are one document.
    changed = {CHANGED: format_time(clock())}
    lost: Exception | None = None
    for number in range(_ROUNDS):
        if number == 0 and read is not None:
            before = read()
        else:
            before = read_for_change(repository, version, tag)
        index = change(before)
        if index is None:
            return
        if before is not None:
            index = replace(index, annotations={**index.annotations, **changed})
        acknowledged = True
        try:
            written = _write(repository.caller, tag, index, before)
        except _UNCERTAIN as error:
            if lost is not None:
                raise
            lost = error
            acknowledged = False
            logger.warning("%s; checking whether the index was written", error)
            written = Digest.of(index.serialize())
        try:
            if _lasted(repository.caller, tag, written, before, settle):
                return
        except PyOCIError as error:
            if not acknowledged:
                raise
            # If an error were raised, clients would try again and get a conflict.
            logger.warning("%s; the index was written and is assumed to be in place", error)
            return
        logger.warning(
            "%s:%s does not contain what was written; writing it again",
            repository.caller.repository,
            tag,
        )
    raise BusyError(f"try again in a few seconds: other writers keep changing version {version}")


def rewrite_found(
    repository: ProjectRepository, found: VersionIndex, change: Change, settle: float
) -> None:
    """Apply `change` to an index that was just read under the lock."""
    rewrite_index(repository, found.version, found.tag, change, settle, lambda: found)


def _write(
    caller: RepositoryCaller, tag: Tag, index: ImageIndex, before: VersionIndex | None
) -> Digest:
    if len(index.manifests) > MOST_ENTRIES:
        raise PayloadTooLargeError(
            f"{caller.repository}:{tag} has {MOST_ENTRIES} files, which is the most that a version "
            "may have",
            advice="Publish a new version, or delete files of this one that are not needed",
        )
    document = index.serialize()
    try:
        put_manifest(caller, tag, document, INDEX_TYPE)
    except MissingContentError as error:
        # Only old entries are dropped, because the new manifest can be pushed again.
        old = {entry.digest for entry in before.index.manifests} if before else set()
        kept = tuple(
            entry
            for entry in index.manifests
            if entry.digest not in old or get_manifest(caller, entry.digest) is not None
        )
        if kept == index.manifests:
            raise
        logger.warning("%s; dropping the entries whose manifests are gone", error)
        document = replace(index, manifests=kept).serialize()
        put_manifest(caller, tag, document, INDEX_TYPE)
    return Digest.of(document)


def _lasted(
    caller: RepositoryCaller,
    tag: Tag,
    written: Digest,
    before: VersionIndex | None,
    settle: float,
) -> bool:
    """Read the tag back, waiting while it shows the old index; return whether it is `written`."""
    if settle:
        time.sleep(settle * random.uniform(1.0, 1.5))  # noqa: S311 - spreads writers out
    for attempt in range(_STALE_READS):
        now = get_manifest(caller, tag)
        if now is not None and now.digest == written:
            return True
        stale = now is None or (before is not None and now.digest == before.digest)
        if not stale:
            return False
        time.sleep(_STALE_PAUSE * (attempt + 1))
    return False


def read_for_change(repository: ProjectRepository, version: str, tag: Tag) -> VersionIndex | None:
    """Read the index that is to be changed; return None if the tag does not exist.

    Raises:
        AlreadyExistsError: the tag does not contain a package and must not be changed.
    """
    try:
        return load_version(repository, version, tag)
    except NotAPackageError as error:
        raise AlreadyExistsError(
            f"the tag {tag} of {repository.caller.repository} already exists and is {error}, "
            "not a package",
            advice="Publish another version, or use a namespace that holds packages only",
        ) from error
    except DeniedError as error:
        # JFrog's virtual repositories return 403 for a tag that does not exist.
        if error.status != 403 or tag.text in (list_tags(repository.caller) or ()):
            raise
        return None
