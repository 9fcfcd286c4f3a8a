"""What publishing leaves in the registry, read past the application."""

import json
import re
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from tests.integration.index_client import IndexClient
from tests.integration.oci_client import (
    ARTIFACT,
    CHANGED,
    CREATED,
    INDEX,
    MANIFEST,
    TITLE,
    Document,
    OCIClient,
    sha256,
)
from tests.packages import make_sdist, make_wheel

TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
CORE_METADATA = "application/pyoci.core-metadata.v1"


def _created(document: Document) -> str:
    created: str = document["annotations"][CREATED]
    assert TIMESTAMP.fullmatch(created)
    return created


def test_a_wheel_is_an_index_entry_with_every_annotation(
    index: IndexClient, repository: Callable[[str], OCIClient], tmp_path: Path
) -> None:
    wheel = make_wheel(
        tmp_path,
        "my_pkg",
        "1.0",
        build="1",
        tag="cp311-cp311-linux_x86_64",
        requires_python=">=3.9",
    )
    content = wheel.read_bytes()
    index.published(
        wheel,
        "my-pkg",
        "1.0",
        ("requires_python", ">=3.9"),
        ("project_urls", "Home, https://example.org/"),
        ("project_urls", "Bug tracker, https://example.org/bugs?a=1,2"),
    )

    document = repository("my_pkg").document("1.0")

    assert set(document) == {
        "schemaVersion", "mediaType", "artifactType", "manifests", "annotations"
    }  # fmt: skip
    assert document["schemaVersion"] == 2
    assert document["mediaType"] == INDEX
    assert document["artifactType"] == ARTIFACT
    _created(document)
    (entry,) = document["manifests"]
    manifest = repository("my_pkg").manifest(entry["digest"])
    assert entry["mediaType"] == MANIFEST
    assert entry["digest"] == f"sha256:{sha256(manifest.content)}"
    assert entry["size"] == len(manifest.content)
    assert entry["platform"] == {"architecture": "1-cp311-cp311-linux_x86_64.whl", "os": "any"}
    _created(entry)
    annotations = dict(entry["annotations"])
    del annotations[CREATED]
    assert json.loads(annotations.pop("com.pyoci.project_urls")) == {
        "Home": "https://example.org/",
        "Bug tracker": "https://example.org/bugs?a=1,2",
    }
    with zipfile.ZipFile(wheel) as archive:
        metadata = archive.read("my_pkg-1.0.dist-info/METADATA")
    assert annotations == {
        "com.pyoci.sha256_digest": sha256(content),
        "com.pyoci.size": str(len(content)),
        "com.pyoci.requires_python": ">=3.9",
        "com.pyoci.core_metadata_sha256": sha256(metadata),
        TITLE: wheel.name,
    }


def test_the_manifest_of_a_wheel_holds_the_file_its_metadata_and_its_labels(
    index: IndexClient, repository: Callable[[str], OCIClient], tmp_path: Path
) -> None:
    wheel = make_wheel(tmp_path, "my_pkg", "1.0")
    content = wheel.read_bytes()
    index.published(
        wheel,
        "my-pkg",
        "1.0",
        ("classifiers", "PyOCI :: Label :: org.opencontainers.image.url :: https://example.org/"),
        ("classifiers", "PyOCI :: Label :: team :: blue"),
        ("classifiers", "pyoci :: label :: case :: matters"),
    )

    oci = repository("my_pkg")
    (entry,) = oci.document("1.0")["manifests"]
    manifest = oci.document(entry["digest"])

    assert manifest["schemaVersion"] == 2
    assert manifest["mediaType"] == MANIFEST
    assert manifest["artifactType"] == ARTIFACT
    (layer,) = manifest["layers"]
    assert layer == {
        "mediaType": ARTIFACT,
        "digest": f"sha256:{sha256(content)}",
        "size": len(content),
        "annotations": {TITLE: wheel.name},
    }
    assert oci.blob(layer["digest"]) == content
    with zipfile.ZipFile(wheel) as archive:
        metadata = archive.read("my_pkg-1.0.dist-info/METADATA")
    assert manifest["config"] == {
        "mediaType": CORE_METADATA,
        "digest": f"sha256:{sha256(metadata)}",
        "size": len(metadata),
    }
    assert oci.blob(manifest["config"]["digest"]) == metadata
    created = _created(manifest)
    assert manifest["annotations"] == {
        CREATED: created,
        "org.opencontainers.image.url": "https://example.org/",
        "team": "blue",
    }


def test_an_sdist_has_its_own_architecture_and_its_metadata_as_config(
    index: IndexClient, repository: Callable[[str], OCIClient], tmp_path: Path
) -> None:
    sdist = index.published(make_sdist(tmp_path, "my_pkg", "1.0"), "my-pkg", "1.0")

    oci = repository("my_pkg")
    (entry,) = oci.document("1.0")["manifests"]
    config = oci.document(entry["digest"])["config"]

    with tarfile.open(sdist) as archive:
        member = archive.extractfile("my_pkg-1.0/PKG-INFO")
        assert member
        metadata = member.read()
    assert entry["platform"] == {"architecture": ".tar.gz", "os": "any"}
    assert entry["annotations"][TITLE] == sdist.name
    assert entry["annotations"]["com.pyoci.sha256_digest"] == sha256(sdist.read_bytes())
    assert entry["annotations"]["com.pyoci.core_metadata_sha256"] == sha256(metadata)
    assert config["mediaType"] == CORE_METADATA
    assert oci.blob(config["digest"]) == metadata


def test_absent_and_empty_fields_leave_no_annotation(
    index: IndexClient, repository: Callable[[str], OCIClient], tmp_path: Path
) -> None:
    wheel = make_wheel(tmp_path, "my_pkg", "1.0")
    index.published(wheel, "my-pkg", "1.0", ("requires_python", ""))

    (entry,) = repository("my_pkg").document("1.0")["manifests"]

    assert "com.pyoci.requires_python" not in entry["annotations"]
    assert "com.pyoci.yanked" not in entry["annotations"]


def test_a_second_file_is_appended_and_the_first_entry_kept_as_it_was(
    index: IndexClient, repository: Callable[[str], OCIClient], tmp_path: Path
) -> None:
    oci = repository("my_pkg")
    index.published(make_wheel(tmp_path, "my_pkg", "1.0"), "my-pkg", "1.0")
    (first,) = oci.document("1.0")["manifests"]
    index.published(make_sdist(tmp_path, "my_pkg", "1.0"), "my-pkg", "1.0")

    entries = oci.document("1.0")["manifests"]

    assert entries[0] == first
    assert [entry["platform"]["architecture"] for entry in entries] == [
        "py3-none-any.whl",
        ".tar.gz",
    ]


def test_each_change_of_a_version_tells_its_time_and_leaves_the_time_of_its_creation(
    index: IndexClient, repository: Callable[[str], OCIClient], tmp_path: Path
) -> None:
    wheel = make_wheel(tmp_path, "my_pkg", "1.0")
    sdist = make_sdist(tmp_path, "my_pkg", "1.0")
    index.published(wheel, "my-pkg", "1.0")
    notes = repository("my_pkg").document("1.0")["annotations"]
    assert CHANGED not in notes
    created = notes[CREATED]

    changes: dict[str, Callable[[], object]] = {
        "second file": lambda: index.published(sdist, "my-pkg", "1.0"),
        "yank": lambda: _patch(index, wheel.name, yanked=True),
        "yank taken back": lambda: _patch(index, wheel.name, yanked=False),
        "yank of the version": lambda: _patch(index, "1.0", yanked="bad"),
        "deletion of a file": lambda: index.request("DELETE", f"/my-pkg/{wheel.name}"),
    }
    last = created
    for name, change in changes.items():
        change()
        notes = repository("my_pkg").document("1.0")["annotations"]
        assert TIMESTAMP.fullmatch(notes[CHANGED]), name
        assert notes[CHANGED] > last, name
        assert notes[CREATED] == created, name
        last = notes[CHANGED]


def _patch(index: IndexClient, what: str, *, yanked: bool | str) -> None:
    assert index.request("PATCH", f"/my-pkg/{what}", json={"yanked": yanked}).ok


def test_versions_are_tags_with_plus_and_epoch_written_as_a_tag_can(
    index: IndexClient, repository: Callable[[str], OCIClient], tmp_path: Path
) -> None:
    versions = ("1.0", "2!1.0", "1!2.0+cpu", "1.0+cpu.1", "1.0.dev4+g1664eb2.d20231017")
    for version in versions:
        index.published(make_sdist(tmp_path, "my_pkg", version), "my-pkg", version)

    assert sorted(repository("my_pkg").tags()) == sorted(
        ["1.0", "2_1.0", "1_2.0-cpu", "1.0-cpu.1", "1.0.dev4-g1664eb2.d20231017"]
    )
    listed = index.page("my-pkg")
    assert sorted(link.text for link in listed) == sorted(f"my_pkg-{v}.tar.gz" for v in versions)
    for link in listed:
        assert index.follow("my-pkg", link).content == (tmp_path / link.text).read_bytes()


def test_names_are_one_lower_case_repository_however_they_are_spelled(
    index: IndexClient, repository: Callable[[str], OCIClient], tmp_path: Path
) -> None:
    first = make_wheel(tmp_path, "Zope.Interface", "1.0")
    second = make_wheel(tmp_path, "zope_interface", "1.1")
    index.published(first, "Zope.Interface", "1.0")
    index.published(second, "zope-interface", "1.1")

    assert sorted(repository("zope_interface").tags()) == ["1.0", "1.1"]
    assert index.filenames("zope.interface") == [second.name, first.name]
    assert index.get(f"/zope-interface/{first.name}").content == first.read_bytes()
