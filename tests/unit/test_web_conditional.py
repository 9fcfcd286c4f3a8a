"""Conditional requests: which get the content, which 304, and which 412."""

import gc
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from weakref import ref

import flask
import pytest
from packaging.utils import canonicalize_name
from werkzeug.http import http_date
from werkzeug.test import TestResponse
from werkzeug.wrappers import Response

from pyoci_flask.errors import PreconditionFailedError
from pyoci_flask.index.project import Project
from pyoci_flask.web.conditional import Page, ProjectPages, is_current, last_modified
from pyoci_flask.web.error_answers import register_error_handlers

ETAG = "sha256:abc"
TIME = datetime(2026, 11, 3, 12, 0, 0, tzinfo=UTC)
EARLIER = http_date(TIME - timedelta(seconds=1))
SAME = http_date(TIME)
LATER = http_date(TIME + timedelta(seconds=1))
PAGE = Page.of("<p>hello</p>", "text/html")


def asked(headers: Mapping[str, str], modified: datetime | None = TIME) -> TestResponse:
    """Ask for content with the ETag `ETAG` that was published at `modified`."""
    app = flask.Flask(__name__)
    register_error_handlers(app)

    @app.get("/")
    def view() -> Response:
        response = Response("content")
        current = is_current(response, ETAG, modified)
        response.headers["Current"] = str(current)
        return response

    return app.test_client().get("/", headers=headers)


def page_asked(headers: Mapping[str, str], page: Page = PAGE, method: str = "GET") -> TestResponse:
    app = flask.Flask(__name__)
    register_error_handlers(app)
    app.add_url_rule("/", view_func=lambda: page.answer(vary="Accept"))
    return app.test_client().open("/", method=method, headers=headers)


def test_content_comes_with_its_etag_and_time() -> None:
    answer = asked({})
    assert (answer.status_code, answer.data) == (200, b"content")
    assert answer.headers["ETag"] == f'"{ETAG}"'
    assert answer.headers["Last-Modified"] == SAME
    assert answer.headers["Current"] == "False"


def test_content_without_a_time_has_no_last_modified() -> None:
    assert "Last-Modified" not in asked({}, None).headers


@pytest.mark.parametrize("known", [f'"{ETAG}"', f'"other", "{ETAG}"', f'W/"{ETAG}"', "*"])
@pytest.mark.parametrize("modified", [TIME, None])
def test_content_that_the_client_has_is_not_sent(known: str, modified: datetime | None) -> None:
    answer = asked({"If-None-Match": known}, modified)
    assert (answer.status_code, answer.data) == (304, b"")
    assert answer.headers["ETag"] == f'"{ETAG}"'
    assert answer.headers["Current"] == "True"


@pytest.mark.parametrize("known", ['"other"', 'W/"other"', "", '"sha256:ab"'])
def test_content_is_sent_if_the_client_has_another_one(known: str) -> None:
    answer = asked({"If-None-Match": known})
    assert (answer.status_code, answer.data) == (200, b"content")


@pytest.mark.parametrize(
    ("since", "modified", "status"),
    [
        (EARLIER, TIME, 200),
        (SAME, TIME, 304),
        (LATER, TIME, 304),
        (LATER, None, 200),
        ("no date", TIME, 200),
    ],
)
def test_if_modified_since(since: str, modified: datetime | None, status: int) -> None:
    assert asked({"If-Modified-Since": since}, modified).status_code == status


@pytest.mark.parametrize(("known", "status"), [(f'"{ETAG}"', 304), ('"other"', 200)])
def test_etag_counts_more_than_if_modified_since(known: str, status: int) -> None:
    """RFC 9110, 13.1.3."""
    since = EARLIER if status == 304 else LATER
    assert asked({"If-None-Match": known, "If-Modified-Since": since}).status_code == status


@pytest.mark.parametrize(
    ("wanted", "status"),
    [
        (f'"{ETAG}"', 200),
        (f'"other", "{ETAG}"', 200),
        ("*", 200),
        ('"other"', 412),
        (f'W/"{ETAG}"', 412),
        ("", 412),
    ],
)
@pytest.mark.parametrize("modified", [TIME, None])
def test_if_match(wanted: str, status: int, modified: datetime | None) -> None:
    assert asked({"If-Match": wanted}, modified).status_code == status


def test_refusal_names_the_etag() -> None:
    answer = asked({"If-Match": '"other"'})
    assert answer.text == f'the ETag is now "{ETAG}", which is not in If-Match\n'
    assert "ETag" not in answer.headers


@pytest.mark.parametrize(
    ("since", "modified", "status"),
    [
        (EARLIER, TIME, 412),
        (SAME, TIME, 200),
        (LATER, TIME, 200),
        (EARLIER, None, 200),
        ("no date", TIME, 200),
    ],
)
def test_if_unmodified_since(since: str, modified: datetime | None, status: int) -> None:
    answer = asked({"If-Unmodified-Since": since}, modified)
    assert answer.status_code == status
    if status == 412:
        assert answer.text == "the file was published after the time in If-Unmodified-Since\n"


@pytest.mark.parametrize(("wanted", "status"), [(f'"{ETAG}"', 200), ('"other"', 412)])
def test_if_match_counts_more_than_if_unmodified_since(wanted: str, status: int) -> None:
    """RFC 9110, 13.1.4."""
    since = EARLIER if status == 200 else LATER
    assert asked({"If-Match": wanted, "If-Unmodified-Since": since}).status_code == status


def test_preconditions_come_before_what_the_client_has() -> None:
    """RFC 9110, 13.2.2."""
    known = {"If-None-Match": f'"{ETAG}"'}
    assert asked(known | {"If-Match": '"other"'}).status_code == 412
    assert asked(known | {"If-Unmodified-Since": EARLIER}).status_code == 412
    assert asked(known | {"If-Match": f'"{ETAG}"'}).status_code == 304
    assert asked(known | {"If-Unmodified-Since": LATER}).status_code == 304


def test_a_refused_answer_is_not_changed() -> None:
    response = Response("content")
    context = flask.Flask(__name__).test_request_context(headers={"If-Match": '"other"'})
    with context, pytest.raises(PreconditionFailedError):
        is_current(response, ETAG, TIME)
    assert response.status_code == 200
    assert "ETag" not in response.headers


@pytest.mark.parametrize(
    ("media_type", "content_type"),
    [
        ("text/html", "text/html; charset=utf-8"),
        (
            "application/x+html",
            "application/x+html; charset=utf-8",
        ),
        ("application/vnd.pypi.simple.v1+json", "application/vnd.pypi.simple.v1+json"),
        ("application/json", "application/json"),
    ],
)
def test_page_comes_with_its_headers(media_type: str, content_type: str) -> None:
    page = Page.of("caf\u00e9", media_type)
    answer = page_asked({}, page)
    assert (answer.status_code, answer.data) == (200, "caf\u00e9".encode())
    assert dict(answer.headers) == {
        "Content-Type": content_type,
        "Content-Length": "5",
        "ETag": f'"{page.etag}"',
        "Cache-Control": "private, no-cache",
        "Vary": "Accept",
    }


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_page_that_the_client_has_is_not_sent(method: str) -> None:
    answer = page_asked({"If-None-Match": f'"{PAGE.etag}"'}, method=method)
    assert (answer.status_code, answer.data) == (304, b"")
    assert dict(answer.headers) == {
        "ETag": f'"{PAGE.etag}"',
        "Cache-Control": "private, no-cache",
        "Vary": "Accept",
    }


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"If-Match": f'"{PAGE.etag}"'}, 200),
        ({"If-Match": "*"}, 200),
        ({"If-Match": "*", "If-None-Match": f'"{PAGE.etag}"'}, 304),
        ({"If-Match": '"other"'}, 412),
        ({"If-Match": f'W/"{PAGE.etag}"'}, 412),
        # A page has no time of its own (RFC 9110, 13.1.3 and 13.1.4).
        ({"If-Unmodified-Since": EARLIER}, 200),
        ({"If-Modified-Since": LATER}, 200),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_conditions_on_a_page(headers: dict[str, str], status: int, method: str) -> None:
    assert page_asked(headers, method=method).status_code == status


def test_etag_of_a_page_is_of_its_text_and_type() -> None:
    pages = [
        Page.of(text, media_type)
        for text in ("a", "b")
        for media_type in ("text/html", "application/json")
    ]
    assert len({page.etag for page in pages}) == 4
    assert all(len(page.etag) == 32 for page in pages)
    assert pages[0] == Page.of("a", "text/html")


def test_etag_of_a_page_does_not_change_with_a_release_of_this_program() -> None:
    """Clients keep pages for longer than a server runs."""
    assert PAGE.etag == "a8932030255e4c581bbacf7fdc7e248e"


@pytest.mark.parametrize(
    ("uploaded", "expected"),
    [
        (None, None),
        (TIME, TIME),
        (TIME.replace(microsecond=999_999), TIME),
    ],
)
def test_last_modified_has_whole_seconds(
    uploaded: datetime | None, expected: datetime | None
) -> None:
    assert last_modified(uploaded) == expected


def test_last_modified_is_never_in_the_future() -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    found = last_modified(datetime.now(UTC) + timedelta(days=1))
    assert found is not None
    assert before <= found <= datetime.now(UTC)
    assert found.microsecond == 0


def project() -> Project:
    return Project(canonicalize_name("hello"), ("1.0",), ())


def test_page_is_remembered_by_project_and_variant() -> None:
    pages, one, other = ProjectPages(), project(), project()
    pages.of(one).put("html", PAGE)
    assert pages.of(one).get("html") is PAGE
    assert pages.of(one).get("json") is None
    assert pages.of(other).get("html") is None


def test_pages_are_forgotten_with_their_project() -> None:
    pages, one = ProjectPages(), project()
    page = Page.of("a", "text/html")
    pages.of(one).put("html", page)
    alive = ref(one), ref(pages.of(one))
    del one
    gc.collect()
    assert [each() for each in alive] == [None, None]


def test_pages_of_one_project_are_6_and_32_mebibytes_at_most() -> None:
    pages, one = ProjectPages().of(project()), project()
    limit = 32 * 1024 * 1024
    fits, too_large = (Page.of("x" * size, "text/html") for size in (limit - 1024, limit + 1))
    pages.put("fits", fits)
    assert pages.get("fits") is fits
    pages.put("too large", too_large)
    assert pages.get("too large") is None
    pages.put("as large", fits)
    assert ("fits" in pages, "as large" in pages) == (False, True)
    many = ProjectPages().of(one)
    for variant in range(7):
        many.put(variant, PAGE)
    assert [variant in many for variant in range(7)] == [False] + [True] * 6
