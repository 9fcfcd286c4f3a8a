"""Push the parts of one file to a registry: its blob, its config and its manifest.

The parts are addressed by digest. Parts that nothing refers to in the end do no harm.
"""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import IO, Self

from pyoci_flask.common.memory import Memory
from pyoci_flask.common.threads import in_background
from pyoci_flask.errors import RegistryError, UnsupportedError
from pyoci_flask.index.names import Filename
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
    File,
    format_time,
)
from pyoci_flask.oci.client import RepositoryCaller
from pyoci_flask.oci.manifests import ManifestRefusedError, MissingContentError, put_manifest
from pyoci_flask.oci.model import (
    EMPTY_CONFIG,
    EMPTY_CONFIG_TYPE,
    MANIFEST_TYPE,
    Descriptor,
    ImageManifest,
    Platform,
)
from pyoci_flask.oci.reference import Digest
from pyoci_flask.oci.uploads import UploadSession, push_blob

logger = logging.getLogger("pyoci.index")

_REPAIRS = 2
"""How many times the parts are pushed again if one is missing from the registry."""


@dataclass(frozen=True, slots=True)
class Upload:
    """A file to publish, spooled and checked."""

    filename: Filename
    digest: Digest
    size: int
    """Bytes."""
    content: IO[bytes]
    """Seekable, because each attempt reads it again."""
    metadata: bytes | None = None
    """The core metadata file, or None if it was not read."""
    requires_python: str | None = None
    project_urls: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    about: Mapping[str, str] = field(default_factory=dict)
    """Annotations for the version's image index."""


@dataclass(frozen=True, slots=True)
class Artifact:
    """The documents of one file in the storage format."""

    config: Descriptor
    content: bytes
    """The content of the config: the core metadata file, or the empty config."""
    document: bytes
    """The image manifest."""
    entry: Descriptor
    """The descriptor of the manifest, for the version's image index."""

    @classmethod
    def of(cls, upload: Upload, created: datetime) -> Self:
        """Make the documents of a file that is published at `created`."""
        kind, content = CORE_METADATA_TYPE, upload.metadata
        if content is None:
            kind, content = EMPTY_CONFIG_TYPE, EMPTY_CONFIG
        config = Descriptor(kind, Digest.of(content), len(content))
        title = {TITLE: upload.filename.text}
        document = ImageManifest(
            artifact_type=ARTIFACT_TYPE,
            config=config,
            layers=(Descriptor(ARTIFACT_TYPE, upload.digest, upload.size, title),),
            annotations={**upload.labels, CREATED: format_time(created)},
        ).serialize()
        return cls(config, content, document, _entry(upload, created, document))


def _entry(upload: Upload, created: datetime, document: bytes) -> Descriptor:
    annotations = {
        CREATED: format_time(created),
        SHA256: upload.digest.hex,
        PROJECT_URLS: json.dumps(dict(upload.project_urls), ensure_ascii=False),
        TITLE: upload.filename.text,
        SIZE: str(upload.size),
    }
    if upload.requires_python:
        annotations[REQUIRES_PYTHON] = upload.requires_python
    if upload.metadata is not None:
        annotations[CORE_METADATA] = Digest.of(upload.metadata).hex
    return Descriptor(
        MANIFEST_TYPE,
        Digest.of(document),
        len(document),
        annotations,
        Platform(architecture=upload.filename.architecture, os="any"),
    )


class KnownConfigs:
    """Config blobs that were pushed recently. The wheels of a version often share one."""

    def __init__(self) -> None:
        self._known = Memory[tuple[str, Digest], bool](entries=256, max_bytes=256 * 1024, ttl=600.0)

    def add(self, caller: RepositoryCaller, digest: Digest) -> None:
        """Remember that the repository has the blob."""
        self._known.put((caller.base, digest), True)

    def pop(self, caller: RepositoryCaller, digest: Digest) -> bool:
        """Return whether the repository is known to have the blob, and forget it."""
        is_known = (caller.base, digest) in self._known
        self._known.remove((caller.base, digest))
        return is_known


class ArtifactPush:
    """Pushes the parts of one file."""

    def __init__(
        self,
        caller: RepositoryCaller,
        upload: Upload,
        files: Sequence[File],
        configs: KnownConfigs,
        *,
        parallel: bool,
    ) -> None:
        """`files` are the version's files. If `parallel` is set, push both blobs in parallel."""
        self.artifact = Artifact.of(upload, datetime.now(UTC))
        self._caller = caller
        self._upload = upload
        self._named = {file.core_metadata or Digest.of(EMPTY_CONFIG) for file in files}
        self._configs = configs
        self._parallel = parallel

    def blobs(
        self,
        *,
        looked: bool = False,
        missing: bool = False,
        session: UploadSession | None = None,
    ) -> None:
        """Push the file and its config. The arguments have the same meaning as in `push_blob`."""
        upload = self._upload
        # If the file is new, its core metadata is usually new as well.
        with in_background(
            lambda: self._config(looked=looked, missing=missing), parallel=self._parallel
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

    def manifest(self) -> None:
        """Push the manifest. If the registry lacks a blob, push the blobs again.

        If the registry still refuses the manifest, push one without the core metadata, because Pulp
        accepts only JSON as a config.
        """
        try:
            again_if_missing(lambda _: self._manifest(), self._blobs_again)
        except (ManifestRefusedError, MissingContentError) as error:
            if not _is_about_the_manifest(error):
                raise
            if self._upload.metadata is not None and self._without_metadata():
                logger.info("%s; the file was stored without its core metadata", error)
                return
            if not isinstance(error, MissingContentError):
                raise
            # All parts were pushed again, so none is missing: gitlab.com refuses the manifest
            # itself with this error.
            raise UnsupportedError(
                f"{error}: this registry does not seem to accept packages, so nothing "
                "was published",
                advice="Use a registry that accepts any type of artifact (docs/registries.md)",
            ) from error

    def everything(self, missing: MissingContentError) -> None:
        """Push all parts again, because one is missing from the registry."""
        self._blobs_again(missing)
        self._manifest()

    def _config(self, *, looked: bool = False, missing: bool = False) -> None:
        config = self.artifact.config
        # A registry that was restored from a backup lacks what was pushed after the backup.
        # Installers read core metadata, so skip the push only if a file of the version refers to
        # this config.
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

    def _manifest(self) -> None:
        put_manifest(
            self._caller, self.artifact.entry.digest, self.artifact.document, MANIFEST_TYPE
        )

    def _blobs_again(self, missing: MissingContentError) -> None:
        """Upload the blobs, even if the registry's response to HEAD says that it has them."""
        self._configs.pop(self._caller, self.artifact.config.digest)
        self.blobs(missing=not _is_about_the_manifest(missing))

    def _without_metadata(self) -> bool:
        """Push the manifest with the empty config; return whether the registry accepted it."""
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


def _is_about_the_manifest(error: RegistryError) -> bool:
    """Return whether the registry might refuse the manifest itself, not lack a part of it."""
    return not isinstance(error, MissingContentError) or error.code == "MANIFEST_INVALID"


def again_if_missing(
    action: Callable[[int], None], repair: Callable[[MissingContentError], None]
) -> None:
    """Call `action` with the attempt's number. If the registry lacks a part, repair and try again.

    Garbage collection in a registry can remove parts that no tag refers to yet, and distribution
    2.8 briefly does not see a blob while another upload pushes the same one.
    """
    for number in range(_REPAIRS):
        try:
            action(number)
        except MissingContentError as error:
            logger.warning("%s; pushing the parts again", error)
            repair(error)
        else:
            return
    action(_REPAIRS)
