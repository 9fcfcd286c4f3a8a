"""Change the image index of a version without losing what others write to it.

No registry offers a compare-and-swap on a tag, so two writers that read, append and write can
lose one entry. Writers of this host exclude each other by a lock; for the others, what was
written is read back and written again if somebody else's index has taken its place.
"""

import logging
import random
import time
from collections.abc import Callable

from pyoci_flask.errors import AlreadyExistsError, BusyError
from pyoci_flask.index.repository import (
    NotAPackageError,
    ProjectRepository,
    VersionIndex,
    load_version,
)
from pyoci_flask.oci.client import RepositoryCaller
from pyoci_flask.oci.model import INDEX_TYPE, ImageIndex
from pyoci_flask.oci.reference import Digest, Tag
from pyoci_flask.oci.repository import get_manifest, put_manifest

logger = logging.getLogger("pyoci.index")

_ROUNDS = 8
_STALE_READS = 5
_STALE_PAUSE = 0.2
"""Seconds before the first repeated read; each further pause is longer by as much."""

Change = Callable[[VersionIndex | None], ImageIndex | None]


def rewrite_index(
    repository: ProjectRepository,
    version: str,
    tag: Tag,
    change: Change,
    settle: float,
) -> None:
    """Apply `change` to the index of a tag until it is seen to have lasted. Hold its lock.

    `change` gets the index as it is now (None = no tag) and returns what to write, or None where
    nothing is left to change.
    """
    for _ in range(_ROUNDS):
        before = read_for_change(repository, version, tag)
        index = change(before)
        if index is None:
            return
        written = index.serialize()
        put_manifest(repository.caller, tag, written, INDEX_TYPE)
        if _lasted(repository.caller, tag, Digest.of(written), before, settle):
            return
        logger.warning(
            "%s:%s was overwritten by another writer, writing again",
            repository.caller.repository,
            tag,
        )
    raise BusyError(f"other writers keep changing {version}; try again")


def _lasted(
    caller: RepositoryCaller,
    tag: Tag,
    written: Digest,
    before: VersionIndex | None,
    settle: float,
) -> bool:
    """Read back. A registry that still shows what was there before is only slow to see."""
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
    """Read the index that is to be changed; None = there is none yet.

    Raises:
        AlreadyExistsError: the tag holds something that is no package; it is left alone.
    """
    try:
        return load_version(repository, version, tag)
    except NotAPackageError as error:
        raise AlreadyExistsError(
            f"the tag {tag} of {repository.caller.repository} already exists and is {error}, "
            "no package"
        ) from error
