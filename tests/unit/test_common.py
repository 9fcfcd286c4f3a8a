import pytest

from pyoci_flask.common.grammar import is_digest, is_repository_name, is_tag
from pyoci_flask.common.ranges import requested_range
from pyoci_flask.common.url import usable_url


@pytest.mark.parametrize(
    "url",
    [
        "http://host",
        "https://host:5000/path?query=1#fragment",
        "https://user:password@host/",
        "http://[::1]:5000/",
        "HTTPS://Host/",
    ],
)
def test_a_usable_url(url: str) -> None:
    parts = usable_url(url)
    assert parts is not None
    assert parts.hostname


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/path",
        "//host/path",
        "ftp://host/",
        "file:///etc/passwd",
        "https://",
        "https:///path",
        "https://host:0/",
        "https://host:port/",
        "https://host:65536/",
        "https://[::1/",
        "https://host/\n",
        "https://host/a b",
        "https://hôst/",
        "https://host/\x7f",
    ],
)
def test_an_unusable_url(url: str) -> None:
    assert usable_url(url) is None


def test_a_url_may_be_relative_to_another_one() -> None:
    parts = usable_url("../blobs?x=1", "https://host/v2/a/")
    assert parts is not None
    assert parts.geturl() == "https://host/v2/blobs?x=1"
    parts = usable_url("//other/b", "https://host/v2/a")
    assert parts is not None
    assert parts.geturl() == "https://other/b"
    assert usable_url("ftp://host/", "https://host/v2/a") is None


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("bytes=0-0", (0, 1)),
        ("bytes=2-5", (2, 6)),
        ("bytes=2-", (2, 10)),
        ("bytes=2-99", (2, 10)),
        ("bytes=9-9", (9, 10)),
        ("bytes=-3", (7, 10)),
        ("bytes=-99", (0, 10)),
        ("bytes=0-18446744073709551615", (0, 10)),
        ("bytes=-18446744073709551616", (0, 10)),
        ("bytes=18446744073709551615-", None),
        ("BYTES = 2-5 ", (2, 6)),
        ("bytes=10-", None),
        ("bytes=10-12", None),
        ("bytes=-0", None),
    ],
)
def test_the_bytes_of_a_range(header: str, expected: tuple[int, int] | None) -> None:
    wanted = requested_range(header, None, "tag")
    assert wanted is not None
    assert wanted.of(10) == expected


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "bytes=",
        "bytes=-",
        "bytes=5-2",
        "bytes=0-1,3-4",
        "items=0-1",
        "bytes=a-b",
        "bytes=--1",
        "bytes=1-2-3",
        f"bytes={'1' * 5000}-",
        "bytes=٣-",
    ],
)
def test_a_range_that_is_ignored(header: str | None) -> None:
    assert requested_range(header, None, "tag") is None


@pytest.mark.parametrize(
    ("if_range", "counts"),
    [
        (None, True),
        ('"tag"', True),
        (' "tag" ', True),
        ('W/"tag"', False),
        ('"other"', False),
        ("tag", False),
        ("Sat, 28 Nov 2026 00:00:00 GMT", False),
    ],
)
def test_if_range_counts_only_as_the_strong_tag(if_range: str | None, *, counts: bool) -> None:
    assert (requested_range("bytes=0-1", if_range, "tag") is not None) == counts


@pytest.mark.parametrize("name", ["a", "a/b", "a.b_c__d---e/f0", "a" * 255])
def test_a_repository_name(name: str) -> None:
    assert is_repository_name(name)


@pytest.mark.parametrize(
    "name", ["", "A", "/a", "a/", "a//b", "a..b", "a___b", "-a", "a-", "ä", "a\n", "a" * 256]
)
def test_an_invalid_repository_name(name: str) -> None:
    assert not is_repository_name(name)


@pytest.mark.parametrize("tag", ["1.0", "_a", "A-b.c_d", "a" * 128])
def test_a_tag(tag: str) -> None:
    assert is_tag(tag)


@pytest.mark.parametrize("tag", ["", ".a", "-a", "1.0+a", "a:b", "a\n", "ä", "a" * 129])
def test_an_invalid_tag(tag: str) -> None:
    assert not is_tag(tag)


@pytest.mark.parametrize("digest", ["sha256:" + "0f" * 32, "sha512:" + "0f" * 64])
def test_a_digest(digest: str) -> None:
    assert is_digest(digest)


@pytest.mark.parametrize(
    "digest",
    [
        "",
        "0f" * 32,
        "sha256:",
        "sha256:" + "0F" * 32,
        "sha256:" + "0f" * 31,
        "sha256:" + "0f" * 32 + "\n",
        "sha512:" + "0f" * 32,
        "md5:" + "0f" * 16,
        "sha256:" + "٣" * 64,
    ],
)
def test_an_invalid_digest(digest: str) -> None:
    assert not is_digest(digest)
