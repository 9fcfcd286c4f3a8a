"""Publish: blobs and manifest by digest, then the entry in the version's image index.

The file and its manifest are addressed by digest and hurt nobody if the last step never comes.
"""

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import IO

from pyoci_flask.errors import AlreadyExistsError, NotFoundError, UnsupportedError
from pyoci_flask.index.download import find_layer
from pyoci_flask.index.lock import VersionLocks
from pyoci_flask.index.names import Filename, tag_of
from pyoci_flask.index.project import (
    ARTIFACT_TYPE,
    CORE_METADATA,
    CORE_METADATA_TYPE,
    CREATED,
    PROJECT_URLS,
    REQUIRES_PYTHON,
    SHA256,
    SIZE,
    TITLE,
    format_time,
)
from pyoci_flask.index.repository import ProjectRepository, VersionIndex
from pyoci_flask.index.rewrite import read_for_change, rewrite_index
from pyoci_flask.oci.blobs import push_blob
from pyoci_flask.oci.model import (
    EMPTY_CONFIG,
    EMPTY_CONFIG_TYPE,
    MANIFEST_TYPE,
    Descriptor,
    ImageIndex,
    ImageManifest,
    Platform,
)
from pyoci_flask.oci.reference import Digest
from pyoci_flask.oci.repository import MissingContentError, put_manifest

logger = logging.getLogger("pyoci.index")

_REPAIRS = 2


@dataclass(frozen=True, slots=True)
class Upload:
    """A file to publish, spooled and checked."""

    filename: Filename
    digest: Digest
    size: int
    """Bytes."""
    content: IO[bytes]
    """Can be rewound."""
    metadata: bytes | None = None
    """The core metadata file, if it was read."""
    requires_python: str | None = None
    project_urls: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)


def publish(
    repository: ProjectRepository,
    upload: Upload,
    locks: VersionLocks,
    *,
    skip_identical: bool = False,
    settle: float = 0.0,
) -> bool:
    """Add a file to its version; tell whether it was added.

    It was not where `skip_identical` is set and the version has this very file already.
    `settle` is the seconds to wait before reading back what was written, for several hosts.

    Raises:
        AlreadyExistsError: the version has this file, or its tag cannot be changed.
        BusyError: other writers never left the version alone.
        UnsupportedError: the registry does not take artifacts of this kind.
    """
    repository = replace(repository, caller=replace(repository.caller, writing=True))
    tag = tag_of(upload.filename.version)
    found = read_for_change(repository, upload.filename.version, tag)
    if skip_identical and _has_identical(found, upload, repository):
        return False
    _refuse_existing(found, upload, repository)
    manifest = _manifest(upload)
    document = manifest.serialize()
    entry = _entry(upload, manifest, document)

    def push() -> None:
        caller = repository.caller
        push_blob(caller, upload.digest, upload.content, upload.size)
        push_blob(caller, manifest.config.digest, _config(upload), manifest.config.size)
        put_manifest(caller, entry.digest, document, MANIFEST_TYPE)

    try:
        _again_if_missing(push, push)
    except MissingContentError as error:
        if error.code != "MANIFEST_INVALID":
            raise
        # All parts were pushed anew: it is the manifest itself that gitlab.com refuses.
        raise UnsupportedError(
            f"{error}: this registry does not seem to take packages, nothing was published"
        ) from error

    def append(found: VersionIndex | None) -> ImageIndex | None:
        if found is None:
            return _new_index((entry,))
        if any(one.digest == entry.digest for one in found.index.manifests):
            return None
        if skip_identical and _has_identical(found, upload, repository):
            return None
        _refuse_existing(found, upload, repository)
        return replace(found.index, manifests=(*found.index.manifests, entry))

    with locks.hold(str(repository.caller.repository), str(tag)):
        _again_if_missing(
            lambda: rewrite_index(repository, upload.filename.version, tag, append, settle), push
        )
    return True


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


def _again_if_missing(action: Callable[[], None], repair: Callable[[], None]) -> None:
    """Do it, and push the parts again where the registry misses one.

    Registries that clean up may drop what no tag holds yet, and distribution 2.8 loses sight of
    a blob for a moment while another upload pushes the same one.
    """
    for _ in range(_REPAIRS):
        try:
            action()
        except MissingContentError as error:
            logger.warning("%s; pushing the parts again", error)
            if action is not repair:
                repair()
        else:
            return
    action()


def _manifest(upload: Upload) -> ImageManifest:
    config_type = EMPTY_CONFIG_TYPE if upload.metadata is None else CORE_METADATA_TYPE
    config = _config(upload)
    return ImageManifest(
        artifact_type=ARTIFACT_TYPE,
        config=Descriptor(config_type, Digest.of(config), len(config)),
        layers=(
            Descriptor(ARTIFACT_TYPE, upload.digest, upload.size, {TITLE: upload.filename.text}),
        ),
        annotations={**upload.labels, CREATED: format_time(datetime.now(UTC))},
    )


def _config(upload: Upload) -> bytes:
    return EMPTY_CONFIG if upload.metadata is None else upload.metadata


def _entry(upload: Upload, manifest: ImageManifest, document: bytes) -> Descriptor:
    annotations = {
        CREATED: manifest.annotations[CREATED],
        SHA256: upload.digest.hex,
        PROJECT_URLS: json.dumps(dict(upload.project_urls), ensure_ascii=False),
        TITLE: upload.filename.text,
        SIZE: str(upload.size),
    }
    if upload.requires_python:
        annotations[REQUIRES_PYTHON] = upload.requires_python
    if upload.metadata is not None:
        annotations[CORE_METADATA] = manifest.config.digest.hex
    return Descriptor(
        MANIFEST_TYPE,
        Digest.of(document),
        len(document),
        annotations,
        Platform(architecture=upload.filename.architecture, os="any"),
    )


def _new_index(entries: tuple[Descriptor, ...]) -> ImageIndex:
    return ImageIndex(ARTIFACT_TYPE, entries, {CREATED: format_time(datetime.now(UTC))})
