import itertools

import hypothesis
import pytest
from hypothesis import strategies as st

from pyoci_flask.errors import (
    AuthenticationRequiredError,
    PyOCIError,
    RegistryError,
    RegistryTimeoutError,
    UnsupportedError,
)
from pyoci_flask.oci.tags import list_tags, next_page
from tests.proxy_answers import PROXY_BODIES
from tests.unit.conftest import Callers
from tests.unit.doubles import Answer, http_double, in_turn
from tests.unit.oci_answers import error, page


@pytest.mark.parametrize(
    ("link", "query"),
    [
        ("", None),
        ('</v2/a/tags/list?last=b&n=2>; rel="next"', "last=b&n=2"),
        ("</v2/a/tags/list?last=b>; rel=next", "last=b"),
        ("<https://quay.io/v2/a/tags/list?next_page=x%3D%3D>;rel=next", "next_page=x%3D%3D"),
        ('<?last=b&orderby=>; REL="Next"', "last=b&orderby="),
        ('<?a=1>; rel="prev", <?b=2>; rel="next"', "b=2"),
        ('<?a=1>; title="x, y"; rel="next"', "a=1"),
        ('<?a=1>; rel="nextish"', None),
        ('<?a=1>; rel="prev"', None),
        ("<?a=1>", None),
        ('<>; rel="next"', None),
        ('</v2/a/tags/list>; rel="next"', None),
        ('<http://[::1?a=1>; rel="next"', None),
        ('<?last=ä>; rel="next"', None),
        ("garbage", None),
    ],
)
def test_next_page_is_the_query_of_the_next_link(link: str, query: str | None) -> None:
    assert next_page(link) == query


@hypothesis.given(
    st.text()
    | st.lists(st.sampled_from(["<", ">", ";", "rel", "=", "next", '"', "?a=1", ",", " "])).map(
        "".join
    )
)
def test_any_link_is_read_without_an_error(link: str) -> None:
    query = next_page(link)
    assert query is None or query.isprintable()


@pytest.mark.parametrize(
    ("tags", "found"),
    [
        (["1.0", "2.0"], ["1.0", "2.0"]),
        ([], []),
        (None, []),
        (["b", "a", "b"], ["b", "a"]),
        (["1.0", None, "", 7, ["x"], "sha256:" + "a" * 64, "a/b", "../x", "x" * 129], ["1.0"]),
    ],
)
def test_tags_are_listed_unsorted_without_what_is_no_tag(
    caller_of: Callers, tags: object, found: list[str]
) -> None:
    with http_double(lambda _: page(tags)) as server:
        assert list_tags(caller_of(server.url)) == found
        assert [one.target for one in server.received] == ["/v2/acme/hello/tags/list"]
        assert server.received[0].headers["Accept"] is None


def test_tags_that_are_not_there_at_all_are_none_listed(caller_of: Callers) -> None:
    with http_double(lambda _: Answer(body=b'{"name": "acme/hello"}')) as server:
        assert list_tags(caller_of(server.url)) == []


def test_missing_repository_has_no_list(caller_of: Callers) -> None:
    codes = ("NAME_UNKNOWN", "NOT_FOUND")
    with http_double(in_turn(*(error(404, code) for code in codes))) as server:
        assert [list_tags(caller_of(server.url)) for _ in codes] == [None] * 2


@pytest.mark.parametrize("body", PROXY_BODIES.values(), ids=PROXY_BODIES)
def test_404_of_a_proxy_is_no_missing_repository(caller_of: Callers, body: bytes) -> None:
    with (
        http_double(lambda _: Answer(404, body)) as server,
        pytest.raises(RegistryError, match="answered 404"),
    ):
        list_tags(caller_of(server.url))


@pytest.mark.parametrize("code", ["BLOB_UNKNOWN", "MANIFEST_UNKNOWN", "TAG_EXPIRED"])
def test_404_about_something_else_is_no_missing_repository(caller_of: Callers, code: str) -> None:
    with (
        http_double(lambda _: error(404, code)) as server,
        pytest.raises(RegistryError, match=f"answered 404: {code}"),
    ):
        list_tags(caller_of(server.url))


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"404 page not found\n", r" \('404 page not found'\) "),
        (b"<html>\n<TITLE>404 Not\tFound</TITLE><h1>", r" \('404 Not Found'\) "),
        (b"x" * 1000, rf" \('{'x' * 60}'\) "),
        (b"<h1>nothing</h1>", " answered 404 while "),
        (b"", " answered 404 while "),
    ],
)
def test_404_of_a_proxy_is_quoted(caller_of: Callers, body: bytes, words: str) -> None:
    with (
        http_double(lambda _: Answer(404, body)) as server,
        pytest.raises(RegistryError, match=f"{words}.*proxy or load balancer"),
    ):
        list_tags(caller_of(server.url))


@pytest.mark.parametrize(
    "link",
    [
        '</v2/acme/hello/tags/list?last=b&n=2>; rel="next"',
        '<tags/list?last=b&n=2>; rel="next"',
        '<?last=b&n=2>; rel="next"',
        '<https://elsewhere.invalid/v2/other/tags/list?last=b&n=2>; rel="next"',
        '</acme/hello/tags/list?last=b&n=2>; rel="next"',
    ],
)
def test_pages_are_followed_on_the_own_origin_and_path(caller_of: Callers, link: str) -> None:
    with http_double(in_turn(page(["a", "b"], link), page(["c", "a"]))) as server:
        assert list_tags(caller_of(server.url)) == ["a", "b", "c"]
        assert [one.target for one in server.received] == [
            "/v2/acme/hello/tags/list",
            "/v2/acme/hello/tags/list?last=b&n=2",
        ]


def test_repetition_of_a_page_ends_the_list(caller_of: Callers) -> None:
    with http_double(lambda _: page(["a"], '<?last=a>; rel="next"')) as server:
        assert list_tags(caller_of(server.url)) == ["a"]
        assert len(server.received) == 2


def test_404_of_a_later_page_ends_the_list(caller_of: Callers) -> None:
    with http_double(
        in_turn(page(["a"], '<?last=a>; rel="next"'), error(404, "NAME_UNKNOWN"))
    ) as server:
        assert list_tags(caller_of(server.url)) == ["a"]


def test_404_of_a_proxy_to_a_later_page_is_an_error(caller_of: Callers) -> None:
    answers = in_turn(page(["a"], '<?last=a>; rel="next"'), Answer(404))
    with http_double(answers) as server, pytest.raises(RegistryError, match="answered 404"):
        list_tags(caller_of(server.url))


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (Answer(body=b"<html>"), RegistryError),
        (Answer(body=b"[]"), RegistryError),
        (Answer(body=b"{}"), RegistryError),
        (Answer(body=b'{"name": "other"}'), RegistryError),
        (page("1.0"), RegistryError),
        (page({"1.0": 1}), RegistryError),
        (Answer(body=b" " * (4 * 1024 * 1024 + 1)), RegistryError),
        (Answer(204), RegistryError),
        (Answer(400), RegistryError),
        (Answer(401), AuthenticationRequiredError),
        (Answer(405), UnsupportedError),
    ],
)
def test_list_that_is_none_is_an_error(
    caller_of: Callers, answer: Answer, kind: type[PyOCIError]
) -> None:
    with http_double(lambda _: answer) as server, pytest.raises(kind):
        list_tags(caller_of(server.url))


def test_list_of_many_slow_pages_ends_in_time(
    caller_of: Callers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pyoci_flask.oci.tags._LISTING_SECONDS", 0.0)
    numbers = itertools.count()
    pages = lambda _: page(["1.0"], f'<?last={next(numbers)}>; rel="next"')  # noqa: E731 - it is used once
    with http_double(pages) as server:
        with pytest.raises(
            RegistryTimeoutError, match=r"too long for listing versions, over 1 pag"
        ):
            list_tags(caller_of(server.url))
        assert len(server.received) == 1
