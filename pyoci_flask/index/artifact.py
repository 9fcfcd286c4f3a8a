"""What is pushed for one file: its config blob, its image manifest and its index entry."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import IO, Self

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
    format_time,
)
from pyoci_flask.oci.model import (
    EMPTY_CONFIG,
    EMPTY_CONFIG_TYPE,
    MANIFEST_TYPE,
    Descriptor,
    ImageManifest,
    Platform,
)
from pyoci_flask.oci.reference import Digest


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
    about: Mapping[str, str] = field(default_factory=dict)
    """Annotations for the version's image index."""


@dataclass(frozen=True, slots=True)
class Artifact:
    """The documents of one file in the storage format."""

    config: Descriptor
    content: bytes
    """Of the config: the core metadata file, or the empty config where there is none."""
    document: bytes
    """The image manifest."""
    entry: Descriptor
    """Points to the manifest, in the version's image index."""

    @classmethod
    def of(cls, upload: Upload, created: datetime) -> Self:
        """Describe a file that is published at `created`."""
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
