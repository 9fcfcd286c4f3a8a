"""The parts of a copy that need no server: pages, forms, comparing."""

import io
import json
import threading
from pathlib import Path

import pytest
from werkzeug.test import EnvironBuilder
from werkzeug.wrappers import Request

from pyoci_flask.cli.copy.errors import CopyError
from pyoci_flask.cli.copy.form import UploadBody, form_fields
from pyoci_flask.cli.copy.pages import ListedFile, ProjectPage, parse_list, parse_project
from pyoci_flask.cli.copy.plan import same_bytes
from pyoci_flask.index.names import Filename, ProjectName

_FOO = ProjectName("foo")
_URL = "https://packages.example.com/simple/foo/"
_JSON = "application/vnd.pypi.simple.v1+json; charset=utf-8"
_SHA = "ab" * 32


def _name(text: str) -> Filename:
    return Filename.parse(text, _FOO)


def _page(*files: object, **more: object) -> ProjectPage:
    document = {"meta": {"api-version": "1.4"}, "files": list(files), **more}
    return parse_project(json.dumps(document).encode(), _JSON, _URL, _FOO)


def test_a_json_page_tells_all_of_a_file() -> None:
    page = _page(
        {
            "filename": "foo-1.0.tar.gz",
            "url": "../../files/foo-1.0.tar.gz#sha256=x",
            "hashes": {"sha256": _SHA.upper(), "md5": "short", "rot13": _SHA, "shake_128": _SHA},
            "size": 10,
            "requires-python": ">=3.9",
            "yanked": "why\nnot",
        }
    )
    [file] = page.files
    assert file == ListedFile(
        _FOO,
        _name("foo-1.0.tar.gz"),
        "https://packages.example.com/files/foo-1.0.tar.gz",
        {"sha256": _SHA},
        10,
        ">=3.9",
        "why not",
    )


@pytest.mark.parametrize(
    ("told", "read"), [(True, ""), (False, None), ("", None), ("why", "why"), (3, None)]
)
def test_yanked_is_a_reason_or_a_truth(told: object, read: str | None) -> None:
    entry = {"filename": "foo-1.0.tar.gz", "url": "foo-1.0.tar.gz", "yanked": told}
    assert _page(entry).files[0].yanked == read


@pytest.mark.parametrize("size", [-1, True, "10", 1 << 63, 1.5, None])
def test_a_size_that_is_none_is_not_believed(size: object) -> None:
    entry = {"filename": "foo-1.0.tar.gz", "url": "foo-1.0.tar.gz", "size": size}
    assert _page(entry).files[0].size is None


def test_entries_that_are_none_are_faults_and_a_repeated_name_counts_once() -> None:
    entry = {"filename": "foo-1.0.tar.gz", "url": "one"}
    page = _page(entry, {**entry, "url": "two"}, 3, {"filename": "foo-2.0.tar.gz"}, {"url": "x"})
    assert [file.url for file in page.files] == ["https://packages.example.com/simple/foo/one"]
    assert page.faults == ("an entry without a name or an address",) * 3


def test_versions_without_files_are_noticed_but_not_those_of_other_kinds() -> None:
    page = _page(
        {"filename": "foo-1.0.tar.gz", "url": "x"},
        {"filename": "foo-0.9.zip", "url": "x"},
        {"filename": "foo-2.0-1.tar.gz", "url": "x"},
        versions=["1.0.0", "0.9", "2.0.post1", "3.0", 4],
    )
    assert page.other_kinds == ("foo-0.9.zip",)
    assert page.unlisted_versions == ("3.0",)


@pytest.mark.parametrize(
    "name",
    [
        "foo-1.0.1.win32-py2.7.exe",
        "foo-1.0.1.win-amd64.msi",
        "foo-1.0.1-py3.6.egg",
        "Foo-1.0.1-1.noarch.rpm",
        "foo-1.0.1.tar.bz2",
        "foo-1.0.1.linux-x86_64.tar.gz",
    ],
)
def test_other_kind_of_file_stands_for_its_own_version_only(name: str) -> None:
    page = _page({"filename": name, "url": "x"}, versions=["1.0", "1.0.1", "1", "0.1"])
    assert page.unlisted_versions == ("1.0", "1", "0.1")


def test_what_cannot_be_copied_is_named() -> None:
    page = _page({"filename": "foo-1.0-x.y.tar.gz", "url": "x"}, {"filename": "foo.whl", "url": ""})
    assert [fault.count("foo-1.0-x.y.tar.gz") for fault in page.faults] == [1, 0]
    assert "foo.whl" in page.faults[1]


def test_a_file_is_found_under_another_spelling_of_its_project() -> None:
    dotted = ProjectName("foo.bar")
    listed = ListedFile(dotted, Filename.parse("foo.bar-1.0.tar.gz", dotted), "x")
    page = ProjectPage((listed,))
    assert page.find(Filename.parse("foo_bar-1.0.tar.gz", dotted)) == listed
    assert page.find(Filename.parse("foo_bar-1.1.tar.gz", dotted)) is None
    assert page.find(Filename.parse("foo_bar-1.0-py3-none-any.whl", dotted)) is None


def test_deep_nesting_and_a_broken_base_are_told_of(no_collection: None) -> None:
    del no_collection
    with pytest.raises(CopyError, match="is not JSON"):
        parse_project(b"[" * 100_000, _JSON, _URL, _FOO)
    with pytest.raises(CopyError, match="contains an invalid base URL"):
        parse_project(b'<base href="http://[x">', "text/html", _URL, _FOO)


def test_entities_and_quotes_of_html_are_read_as_html() -> None:
    html = (
        b'<a href="foo-1.0%2Bl.tar.gz?a=1&amp;b=2#sha256=' + _SHA.encode() + b'" '
        b'data-requires-python="&gt;=3.9,&lt;4" data-yanked="it &quot;broke&quot;">x'
    )
    [file] = parse_project(html, "text/html; charset=utf-8", _URL, _FOO).files
    assert file.filename.text == "foo-1.0+l.tar.gz"
    assert file.url.endswith("/foo-1.0%2Bl.tar.gz?a=1&b=2")
    assert (file.requires_python, file.yanked) == (">=3.9,<4", 'it "broke"')
    assert file.hashes == {"sha256": _SHA}


def test_projects_are_normalised_sorted_and_named_once() -> None:
    html = b'<a href="x/">Zope.Interface</a><a href="y/">a_b</a><a href="z/">A-B</a>'
    assert parse_list(html, "text/html", _URL) == ["a-b", "zope-interface"]


@pytest.mark.parametrize(
    ("here", "there", "same"),
    [
        ({"sha256": "a"}, {"sha256": "a"}, True),
        ({"sha256": "a", "md5": "x"}, {"sha256": "a", "md5": "y"}, False),
        ({"sha256": "a"}, {"md5": "a"}, None),
        ({}, {}, None),
    ],
)
def test_files_are_compared_by_the_hashes_that_both_sides_tell(
    here: dict[str, str], there: dict[str, str], same: bool | None
) -> None:
    name = _name("foo-1.0.tar.gz")
    assert same_bytes(ListedFile(_FOO, name, "x", here), ListedFile(_FOO, name, "y", there)) is same


_METADATA = b"""\
Metadata-Version: 2.4
Name: Foo
Version: 1.0
Summary: \xc3\xbcber
Keywords: a,b
Platform: any
Requires-Dist: x>=1
Requires-Dist: y; extra == "z"
Project-URL: Home, https://example.com
License-File: LICENSE
Classifier: PyOCI :: Label :: team :: core

The description,
in two lines.
"""


def test_the_form_says_what_the_core_metadata_says() -> None:
    fields = form_fields(_name("foo-1.0-py2.py3-none-any.whl"), _METADATA, ">=3.9", "foo")
    assert fields[:2] == [(":action", "file_upload"), ("protocol_version", "1")]
    said: dict[str, list[str]] = {}
    for name, value in fields[2:]:
        said.setdefault(name, []).append(value)
    assert said == {
        "metadata_version": ["2.4"],
        "name": ["Foo"],
        "version": ["1.0"],
        "summary": ["über"],
        "keywords": ["a,b"],
        "platform": ["any"],
        "requires_dist": ["x>=1", 'y; extra == "z"'],
        "project_urls": ["Home, https://example.com"],
        "license_file": ["LICENSE"],
        "classifiers": ["PyOCI :: Label :: team :: core"],
        "requires_python": [">=3.9"],
        "description": ["The description,\nin two lines.\n"],
        "filetype": ["bdist_wheel"],
        "pyversion": ["py2.py3"],
    }


@pytest.mark.parametrize("version", [b"2.1", b"nonsense"])
def test_licence_files_of_before_they_were_a_field_are_left_out(version: bytes) -> None:
    metadata = _METADATA.replace(b"2.4", version)
    fields = form_fields(_name("foo-1.0.tar.gz"), metadata, None, "foo")
    assert "license_file" not in dict(fields)
    assert dict(fields)["pyversion"] == "source"


def test_an_sdist_without_metadata_is_described_by_its_name() -> None:
    fields = dict(form_fields(_name("foo-1.0.tar.gz"), None, None, "foo"))
    assert (fields["name"], fields["version"], fields["filetype"]) == ("foo", "1.0", "sdist")
    assert fields["metadata_version"] == "1.0"


def test_the_body_is_a_form_that_a_server_reads_back_also_once_rewound(tmp_path: Path) -> None:
    content = bytes(range(256)) * 5000
    (tmp_path / "file").write_bytes(content)
    fields = [("name", "foo"), ("description", "--x\r\n\r\nover\nlines ü")]
    watched = threading.Semaphore(0)
    with (tmp_path / "file").open("rb") as file:
        body = UploadBody.make(fields, _name("foo-1.0.tar.gz"), file, len(content))
        stream = body.open(watched.release)
        assert stream.read(100_000)
        stream.seek(0)
        sent = stream.read()
    assert len(sent) == body.length
    assert watched.acquire(blocking=False)
    builder = EnvironBuilder(
        method="POST", input_stream=io.BytesIO(sent), content_type=body.content_type
    )
    with Request(builder.get_environ()) as request:
        assert list(request.form.items()) == [("name", "foo"), ("description", fields[1][1])]
        assert request.files["content"].filename == "foo-1.0.tar.gz"
        assert request.files["content"].read() == content
    builder.close()
    with pytest.raises(io.UnsupportedOperation):
        stream.seek(5)
