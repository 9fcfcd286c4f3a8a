"""Files in parts: Range, If-Range, If-None-Match and HEAD (RFC 9110, sections 13 and 14)."""

import hashlib
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest
import requests
from werkzeug.http import parse_date

from pyoci_flask.registry import create_registry
from tests.conftest import AppServer
from tests.integration.index_client import IndexClient
from tests.integration.oci_client import OCIClient, push_original
from tests.integration.registry_doubles import BlobMeter, WithoutRanges, serving
from tests.packages import make_wheel

WHEEL = "my_pkg-1.0-py3-none-any.whl"
PATH = f"/my-pkg/{WHEEL}"
OTHER_ETAG = f'"sha256:{"0" * 64}"'


@pytest.fixture
def content(index: IndexClient, tmp_path: Path) -> bytes:
    """The bytes of the one published file."""
    wheel = make_wheel(tmp_path, "my_pkg", "1.0", size=700_000)
    return index.published(wheel, "my-pkg", "1.0").read_bytes()


def _etag(content: bytes) -> str:
    return f'"sha256:{hashlib.sha256(content).hexdigest()}"'


def _assert_part(response: requests.Response, content: bytes, first: int, stop: int) -> None:
    assert response.status_code == 206, response.text
    assert response.headers["Content-Range"] == f"bytes {first}-{stop - 1}/{len(content)}"
    assert response.headers["Content-Length"] == str(stop - first)
    assert response.headers["ETag"] == _etag(content)
    assert response.headers["Content-Type"] == "application/octet-stream"
    assert response.content == content[first:stop]


def _assert_whole(response: requests.Response, content: bytes) -> None:
    assert response.status_code == 200, response.text
    assert "Content-Range" not in response.headers
    assert response.headers["Content-Length"] == str(len(content))
    assert response.content == content


def test_headers_of_a_file_have_its_digest_its_length_and_accept_ranges(
    index: IndexClient, content: bytes
) -> None:
    for method in ("GET", "HEAD"):
        response = index.request(method, PATH)
        assert response.headers["ETag"] == _etag(content)
        assert response.headers["Content-Length"] == str(len(content))
        assert response.headers["Accept-Ranges"] == "bytes"
        assert response.headers["Cache-Control"] == "private, no-cache"
        assert "Content-Encoding" not in response.headers


@pytest.mark.parametrize(
    ("asked", "first", "stop"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=0-99", 0, 100),
        ("bytes=100-199", 100, 200),
        ("bytes=300000-599999", 300_000, 600_000),
        ("bytes=5-", 5, None),
        ("bytes=0-", 0, None),
        ("bytes=-1", -1, None),
        ("bytes=-64", -64, None),
        ("bytes=500-99999999", 500, None),
        ("Bytes=1-2", 1, 3),
    ],
)
def test_a_part_is_exactly_what_was_asked_for(
    index: IndexClient, content: bytes, asked: str, first: int, stop: int | None
) -> None:
    response = index.get(PATH, headers={"Range": asked})

    start, end, _ = slice(first, stop).indices(len(content))
    _assert_part(response, content, start, end)


def test_a_suffix_longer_than_the_file_is_the_whole_file(
    index: IndexClient, content: bytes
) -> None:
    """RFC 9110, section 14.1.2: then "the entire representation is used"."""
    response = index.get(PATH, headers={"Range": f"bytes=-{len(content) + 1000}"})

    assert response.status_code in {200, 206}
    assert response.content == content


@pytest.mark.parametrize("beyond", [0, 1, 10_000])
def test_a_part_beyond_the_end_cannot_be_had(
    index: IndexClient, content: bytes, beyond: int
) -> None:
    response = index.get(PATH, headers={"Range": f"bytes={len(content) + beyond}-"})

    assert response.status_code == 416
    assert response.headers["Content-Range"] == f"bytes */{len(content)}"
    assert content[-20:] not in response.content


@pytest.mark.parametrize(
    "asked",
    [
        "bytes=0-1,10-11",
        "bytes=5-2",
        "bytes=abc",
        "bytes=",
        "bytes=1",
        "lines=0-1",
        "0-1",
        f"bytes=0-{'9' * 5000}x",
    ],
)
def test_several_ranges_and_what_is_none_get_the_whole_file(
    index: IndexClient, content: bytes, asked: str
) -> None:
    _assert_whole(index.get(PATH, headers={"Range": asked}), content)


def test_if_range_with_the_right_etag_gives_the_part(index: IndexClient, content: bytes) -> None:
    response = index.get(PATH, headers={"Range": "bytes=1000-", "If-Range": _etag(content)})

    _assert_part(response, content, 1000, len(content))


@pytest.mark.parametrize(
    "condition",
    [OTHER_ETAG, '""', "Wed, 01 Jan 2031 00:00:00 GMT", "Mon, 01 Jan 2001 00:00:00 GMT"],
)
def test_if_range_with_anything_else_gives_the_whole_file(
    index: IndexClient, content: bytes, condition: str
) -> None:
    response = index.get(PATH, headers={"Range": "bytes=1000-", "If-Range": condition})

    _assert_whole(response, content)


def test_if_range_is_compared_strongly(index: IndexClient, content: bytes) -> None:
    """RFC 9110, section 13.1.5: a weak validator never matches."""
    headers = {"Range": "bytes=1000-", "If-Range": f"W/{_etag(content)}"}

    _assert_whole(index.get(PATH, headers=headers), content)


def test_if_range_without_a_range_changes_nothing(index: IndexClient, content: bytes) -> None:
    _assert_whole(index.get(PATH, headers={"If-Range": OTHER_ETAG}), content)


def test_a_client_that_has_the_file_gets_304_before_any_range(
    index: IndexClient, content: bytes
) -> None:
    for known in (_etag(content), f"W/{_etag(content)}", f"{OTHER_ETAG}, {_etag(content)}", "*"):
        for more in ({}, {"Range": "bytes=0-1"}):
            response = index.get(PATH, headers={"If-None-Match": known} | more)
            assert (response.status_code, response.content) == (304, b"")
            assert response.headers["ETag"] == _etag(content)
    _assert_whole(index.get(PATH, headers={"If-None-Match": OTHER_ETAG}), content)


@pytest.mark.parametrize("path", [PATH, f"{PATH}.metadata"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_if_match_lets_only_the_right_etag_pass(
    index: IndexClient, content: bytes, path: str, method: str
) -> None:
    """RFC 9110, section 13.1.1; the comparison is strong."""
    del content
    etag = index.request("HEAD", path).headers["ETag"]

    for fine in (etag, f"{OTHER_ETAG}, {etag}", "*"):
        assert index.request(method, path, headers={"If-Match": fine}).status_code == 200
    for other in (OTHER_ETAG, f"W/{etag}", '""', ""):
        response = index.request(method, path, headers={"If-Match": other})
        assert response.status_code == 412, other
        assert response.headers["Cache-Control"] == "no-store"


def test_if_match_comes_before_every_other_condition(index: IndexClient, content: bytes) -> None:
    """RFC 9110, section 13.2.2."""
    etag = _etag(content)
    part = {"Range": "bytes=5-9"}
    known = {"If-None-Match": etag}

    for more in (part, known, known | part, {"If-Range": etag} | part):
        assert index.get(PATH, headers={"If-Match": OTHER_ETAG} | more).status_code == 412
    assert index.get(PATH, headers={"If-Match": etag} | known | part).status_code == 304
    _assert_part(index.get(PATH, headers={"If-Match": etag} | part), content, 5, 10)


def test_upload_time_decides_where_the_client_sends_no_etag(
    index: IndexClient, content: bytes
) -> None:
    uploaded = index.get(PATH).headers["Last-Modified"]
    etag = index.get(PATH).headers["ETag"]
    before = "Mon, 01 Jan 2001 00:00:00 GMT"

    page = index.get("/my-pkg/", headers={"Accept": "application/vnd.pypi.simple.v1+json"})
    [told] = {file["upload-time"] for file in page.json()["files"] if file["filename"] in PATH}
    assert parse_date(uploaded) == datetime.fromisoformat(told).replace(microsecond=0)
    assert index.get(PATH, headers={"If-Modified-Since": uploaded}).status_code == 304
    _assert_whole(index.get(PATH, headers={"If-Modified-Since": before}), content)
    _assert_whole(index.get(PATH, headers={"If-Unmodified-Since": uploaded}), content)
    assert index.get(PATH, headers={"If-Unmodified-Since": before}).status_code == 412
    # An ETag takes precedence.
    other = {"If-None-Match": '"other"', "If-Modified-Since": uploaded}
    _assert_whole(index.get(PATH, headers=other), content)
    same = {"If-Match": etag, "If-Unmodified-Since": before}
    _assert_whole(index.get(PATH, headers=same), content)
    # Two files may have been uploaded within one second, so a date is not valid for If-Range.
    part = {"Range": "bytes=0-1", "If-Range": uploaded}
    _assert_whole(index.get(PATH, headers=part), content)


def test_head_ignores_a_range(index: IndexClient, content: bytes) -> None:
    response = index.request("HEAD", PATH, headers={"Range": "bytes=0-1"})

    assert response.status_code == 200
    assert response.headers["Content-Length"] == str(len(content))


def test_a_broken_download_goes_on_where_it_ended(index: IndexClient, content: bytes) -> None:
    with index.get(PATH, stream=True) as response:
        begun = response.raw.read(250_000)
        etag = response.headers["ETag"]

    rest = index.get(PATH, headers={"Range": f"bytes={len(begun)}-", "If-Range": etag})

    assert rest.status_code == 206
    assert begun + rest.content == content


def test_the_originals_file_comes_in_parts_as_well(
    index: IndexClient, repository: Callable[[str], OCIClient], tmp_path: Path
) -> None:
    content = make_wheel(tmp_path, "my_pkg", "1.0", size=5000).read_bytes()
    push_original(repository("my_pkg"), "1.0", {"py3-none-any.whl": content})

    response = index.get(PATH, headers={"Range": "bytes=10-19"})

    _assert_part(response, content, 10, 20)


@pytest.mark.parametrize("ranges", [True, False], ids=["ranges", "no-ranges"])
def test_only_what_is_asked_for_is_fetched_of_the_blob(
    app_server: AppServer, http: requests.Session, tmp_path: Path, *, ranges: bool
) -> None:
    meter = BlobMeter(create_registry(tmp_path / "registry"))
    with serving(meter if ranges else WithoutRanges(meter)) as registry:
        index = IndexClient(f"{app_server()}/{registry.address}/team", None, http)
        wheel = index.published(make_wheel(tmp_path, "my_pkg", "1.0", size=9000), "my-pkg", "1.0")
        content = wheel.read_bytes()
        meter.fetches.clear()

        assert index.request("HEAD", PATH).status_code == 200
        index.get(PATH, headers={"If-None-Match": _etag(content)})
        index.get(PATH, headers={"Range": f"bytes={len(content)}-"})
        assert meter.fetches == []
        _assert_part(index.get(PATH, headers={"Range": "bytes=10-19"}), content, 10, 20)

    (fetch,) = meter.fetches
    assert (fetch.method, fetch.size) == ("GET", 10 if ranges else len(content))


def test_the_length_of_the_originals_file_is_asked_for_without_its_bytes(
    app_server: AppServer, http: requests.Session, tmp_path: Path
) -> None:
    meter = BlobMeter(create_registry(tmp_path / "registry"))
    with serving(meter) as registry:
        index = IndexClient(f"{app_server()}/{registry.address}/team", None, http)
        content = make_wheel(tmp_path, "my_pkg", "1.0").read_bytes()
        oci = OCIClient(registry, "team/my_pkg", http)
        push_original(oci, "1.0", {"py3-none-any.whl": content})
        meter.fetches.clear()

        assert index.request("HEAD", PATH).headers["Content-Length"] == str(len(content))

    assert [fetch.method for fetch in meter.fetches] == ["HEAD"]
