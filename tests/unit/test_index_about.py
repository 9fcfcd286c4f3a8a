import pytest
from packaging.metadata import RawMetadata

from pyoci_flask.index.names import ProjectName
from pyoci_flask.index.project import ARTIFACT_TYPE, NAME, File, annotations_of, files_of, relevant
from pyoci_flask.oci.model import MANIFEST_TYPE, Descriptor, ImageIndex, Platform
from pyoci_flask.oci.reference import Digest

ENTRY = Descriptor(MANIFEST_TYPE, Digest.of(b"manifest"), 8, platform=Platform(".tar.gz", os="any"))
ABOUT = {"com.pyoci.summary": "Says hello", "com.pyoci.home_page": "https://example.com/"}


def read(annotations: dict[str, str]) -> File:
    index = ImageIndex(ARTIFACT_TYPE, (ENTRY,), annotations)
    (file,), _ = files_of(index, "1.0", ProjectName("foo"), "foo")
    return file


def test_every_file_of_a_version_has_its_summary_and_home_page() -> None:
    file = read(ABOUT)
    assert (file.summary, file.home_page) == tuple(ABOUT.values())


def test_the_cache_keeps_them_and_nothing_else_that_is_not_known() -> None:
    index = ImageIndex(ARTIFACT_TYPE, (ENTRY,), {**ABOUT, NAME: "foo", "foreign": "note"})
    assert relevant(index).annotations == {**ABOUT, NAME: "foo"}


@pytest.mark.parametrize(
    ("text", "summary"),
    [
        ("", None),
        (" \n\t\x00", None),
        ("a\r\nSet-Cookie:\tb", "a Set-Cookie: b"),
        ("a\x1b[2Jb\u202ec\ud800", "a[2Jbc"),
        ("x" * 513, "x" * 512),
        (" " * 3000 + "x", None),
    ],
    ids=ascii,
)
def test_a_summary_is_one_line_of_512_characters_at_most(text: str, summary: str | None) -> None:
    assert read({"com.pyoci.summary": text}).summary == summary


@pytest.mark.parametrize(
    "url",
    [
        *("", "x", "javascript:alert(1)", "//example.com/", "https:example.com", "ftp://x/"),
        *("https://a\nb/", "https://x/\x1b", "https://x/\ud800", f"https://x/{'y' * 2000}"),
    ],
    ids=lambda url: ascii(url)[:20],
)
def test_what_is_no_url_of_a_website_is_no_home_page(url: str) -> None:
    assert read({"com.pyoci.home_page": url}).home_page is None
    assert annotations_of({"home_page": url}) == {}


@pytest.mark.parametrize(
    ("metadata", "annotations"),
    [
        ({}, (None, None)),
        ({"summary": "a\n b", "home_page": " https://x/ "}, ("a b", "https://x/")),
        ({"project_urls": {"Docs": "https://d/", "Home-Page": "https://x/"}}, (None, "https://x/")),
        (
            {"home_page": "https://y/", "project_urls": {"homepage": "https://x/"}},
            (None, "https://y/"),
        ),
    ],
)
def test_core_metadata_is_told_in_annotations(
    metadata: RawMetadata, annotations: tuple[str | None, str | None]
) -> None:
    told = dict(zip(ABOUT, annotations, strict=True))
    assert annotations_of(metadata) == {key: text for key, text in told.items() if text}
