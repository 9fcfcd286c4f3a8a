from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from pyoci_flask.index.names import ProjectName
from pyoci_flask.index.project import (
    ARTIFACT_TYPE,
    File,
    files_of,
    format_time,
    last_change,
    parse_time,
    relevant,
)
from pyoci_flask.oci.model import MANIFEST_TYPE, Descriptor, ImageIndex, Platform
from pyoci_flask.oci.reference import Digest

DIGEST = Digest.of(b"manifest")
HEX = Digest.of(b"file").hex
CREATED = "org.opencontainers.image.created"
CHANGED = "com.pyoci.changed"
TITLE = "org.opencontainers.image.title"


def _entry(
    architecture: str = ".tar.gz", annotations: Mapping[str, str] | None = None, **changes: object
) -> Descriptor:
    members: dict[str, Any] = {
        "media_type": MANIFEST_TYPE,
        "digest": DIGEST,
        "size": 8,
        "annotations": annotations or {},
        "platform": Platform(architecture, "any"),
        **changes,
    }
    return Descriptor(**members)


def _read(
    *entries: Descriptor, version: str = "1.0", project: str = "my-pkg", segment: str = "my_pkg"
) -> tuple[list[File], list[str]]:
    index = ImageIndex(ARTIFACT_TYPE, entries)
    return files_of(index, version, ProjectName(project), segment)


def test_every_annotation_is_read() -> None:
    entry = _entry(
        annotations={
            CREATED: "2026-01-02T03:04:05Z",
            "com.pyoci.sha256_digest": HEX,
            "com.pyoci.project_urls": '{"Home": "https://example.com"}',
            TITLE: "My_Pkg-1.0.tar.gz",
            "com.pyoci.size": "1234",
            "com.pyoci.requires_python": ">=3.9",
            "com.pyoci.core_metadata_sha256": HEX,
            "com.pyoci.yanked": "broken",
        }
    )
    (file,), faults = _read(entry)
    assert faults == []
    assert file.entry is entry
    assert file.filename.text == "My_Pkg-1.0.tar.gz"
    assert file.version == "1.0"
    assert file.digest == file.core_metadata == Digest.of(b"file")
    assert file.size == 1234
    assert file.uploaded == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert file.requires_python == ">=3.9"
    assert file.yanked == "broken"
    assert file.project_urls == {"Home": "https://example.com"}


def test_every_annotation_may_be_missing() -> None:
    (wheel, sdist), faults = _read(_entry(), _entry("py3-none-any.whl"))
    assert faults == []
    assert wheel.filename.text == "my_pkg-1.0-py3-none-any.whl"
    assert sdist.filename.text == "my_pkg-1.0.tar.gz"
    for file in (sdist, wheel):
        known = (file.digest, file.size, file.uploaded, file.requires_python, file.core_metadata)
        assert (*known, file.yanked) == (None,) * 6
        assert file.project_urls == {}


def test_empty_reason_means_yanked_and_empty_requires_python_none() -> None:
    (file,), _ = _read(
        _entry(annotations={"com.pyoci.yanked": "", "com.pyoci.requires_python": ""})
    )
    assert file.yanked == ""
    assert file.requires_python is None


@pytest.mark.parametrize(
    "title",
    [
        "",
        "../../etc/passwd",
        "other-1.0.tar.gz",
        "my_pkg-2.0.tar.gz",
        "my_pkg-1.0-py3-none-any.whl",
        "my_pkg-1.0.tar.gz\n",
        "a/my_pkg-1.0.tar.gz",
    ],
)
def test_title_of_another_file_is_ignored(title: str) -> None:
    (file,), faults = _read(_entry(annotations={TITLE: title}))
    assert (file.filename.text, faults) == ("my_pkg-1.0.tar.gz", [])


@pytest.mark.usefixtures("no_collection")
@pytest.mark.parametrize(
    "annotations",
    [
        {"com.pyoci.sha256_digest": "x"},
        {"com.pyoci.sha256_digest": HEX[:-1]},
        {"com.pyoci.sha256_digest": f"sha256:{HEX}"},
        {"com.pyoci.size": "-1"},
        {"com.pyoci.size": "1.5"},
        {"com.pyoci.size": "٣"},
        {"com.pyoci.size": "9" * 30},
        {CREATED: "yesterday"},
        {CREATED: "0001-01-01T00:00:00+23:59"},
        {"com.pyoci.project_urls": "{"},
        {"com.pyoci.project_urls": "[1]"},
        {"com.pyoci.project_urls": "[" * 100_000},
        {"com.pyoci.project_urls": '{"a": 1, "b": "javascript:alert(1)"}'},
        {"com.pyoci.core_metadata_sha256": "x"},
    ],
    ids=lambda annotations: str(annotations)[:40],
)
def test_annotation_that_cannot_be_read_counts_as_missing(annotations: dict[str, str]) -> None:
    (file,), faults = _read(_entry(annotations=annotations))
    assert faults == []
    assert (file.digest, file.size, file.uploaded, file.core_metadata) == (None,) * 4
    assert file.project_urls == {}


def test_upper_case_digest_is_read() -> None:
    (file,), _ = _read(_entry(annotations={"com.pyoci.sha256_digest": HEX.upper()}))
    assert file.digest == Digest.of(b"file")


@pytest.mark.parametrize(
    "entry",
    [
        _entry(platform=None),
        _entry(media_type="application/vnd.oci.image.index.v1+json"),
        _entry("amd64"),
        _entry(""),
        _entry(".whl"),
        _entry("py3.whl"),
        _entry("../../x-y-z.whl"),
        _entry("-a-b-c.whl"),
    ],
)
def test_entry_that_is_not_a_package_file_is_left_out_and_reported(entry: Descriptor) -> None:
    files, faults = _read(entry, _entry())
    assert [file.filename.text for file in files] == ["my_pkg-1.0.tar.gz"]
    assert len(faults) == 1
    assert str(DIGEST) in faults[0]


def test_files_come_in_the_order_of_their_names() -> None:
    files, _ = _read(_entry("py3-none-any.whl"), _entry(), _entry("cp311-cp311-win32.whl"))
    assert [file.filename.architecture for file in files] == [
        "cp311-cp311-win32.whl",
        "py3-none-any.whl",
        ".tar.gz",
    ]


def test_dotted_repository_of_the_original_gives_dotted_names() -> None:
    (file,), _ = _read(_entry(), project="zope.interface", segment="zope.interface")
    assert file.filename.text == "zope.interface-1.0.tar.gz"


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2026-01-02T03:04:05Z", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2026-01-02T03:04:05.123456789Z", datetime(2026, 1, 2, 3, 4, 5, 123456, tzinfo=UTC)),
        ("2026-01-02T03:04:05+02:00", datetime(2026, 1, 2, 1, 4, 5, tzinfo=UTC)),
        ("2026-01-02T03:04:05", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("", None),
        (None, None),
        ("x", None),
        ("2026-13-01T00:00:00Z", None),
    ],
)
def test_time_is_read_as_utc(text: str | None, time: datetime | None) -> None:
    assert parse_time(text) == time


def test_time_is_written_as_utc_with_z() -> None:
    time = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=timezone(timedelta(hours=2)))
    assert format_time(time) == "2026-01-02T01:04:05.000006Z"
    assert parse_time(format_time(time)) == time
    assert format_time(time.replace(microsecond=0)) == "2026-01-02T01:04:05.000000Z"


def _text(day: int) -> str:
    return f"2026-01-{day:02}T00:00:00Z"


@pytest.mark.parametrize(
    ("annotations", "entries"),
    [
        ({CHANGED: _text(5)}, []),
        ({CREATED: _text(5)}, []),
        ({}, [{CREATED: _text(5)}]),
        ({CHANGED: _text(5), CREATED: _text(1)}, [{CREATED: _text(2)}]),
        ({CHANGED: _text(1), CREATED: _text(5)}, [{CREATED: _text(2)}]),
        (
            {CHANGED: _text(1), CREATED: _text(2)},
            [{CREATED: _text(3)}, {CREATED: _text(5)}, {CREATED: _text(4)}],
        ),
        ({CHANGED: "yesterday", CREATED: _text(5)}, [{CREATED: ""}, {}]),
        ({CHANGED: "2026-01-04T23:00:00-01:00", CREATED: "2026-01-05T00:30:00+01:00"}, []),
        ({CHANGED: _text(5)}, [{CHANGED: _text(6)}]),
    ],
)
def test_the_last_change_is_the_newest_time_that_can_be_read(
    annotations: dict[str, str], entries: list[dict[str, str]]
) -> None:
    described = tuple(_entry(annotations=one) for one in entries)
    index = ImageIndex(ARTIFACT_TYPE, described, annotations)
    assert last_change(index) == datetime(2026, 1, 5, tzinfo=UTC)
    assert last_change(relevant(index)) == last_change(index)


@pytest.mark.parametrize("text", ["9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z"])
def test_a_last_change_at_the_ends_of_time_is_returned_as_it_is(text: str) -> None:
    assert last_change(ImageIndex(ARTIFACT_TYPE, (), {CHANGED: text})) == parse_time(text)


@pytest.mark.parametrize(
    "text",
    [
        *(None, "", "now", "1767571200", "2026-01-05T00:00:00Z\n", "\ud800", "9" * 100_000),
        *("10000-01-01T00:00:00Z", "0001-01-01T00:00:00+23:59", "2026-02-30T00:00:00Z"),
    ],
    ids=lambda text: ascii(text)[:30],
)
def test_an_index_without_a_valid_time_has_no_last_change(text: str | None) -> None:
    notes = {} if text is None else {CREATED: text, CHANGED: text}
    index = ImageIndex(ARTIFACT_TYPE, (_entry(annotations=notes),), notes)
    assert last_change(index) is None
    assert last_change(relevant(index)) is None


def test_a_listed_file_lacks_only_the_annotations_and_the_platform_of_its_entry() -> None:
    entry = _entry(annotations={TITLE: "my_pkg-1.0.tar.gz", "com.pyoci.yanked": "broken"})
    index = ImageIndex(ARTIFACT_TYPE, (entry, _entry(".zip")))
    (file,), faults = files_of(index, "1.0", ProjectName("my-pkg"), "my_pkg")
    (listed,), the_same = files_of(index, "1.0", ProjectName("my-pkg"), "my_pkg", listed=True)
    assert listed == replace(file, entry=Descriptor(MANIFEST_TYPE, DIGEST, 8))
    assert faults == the_same
