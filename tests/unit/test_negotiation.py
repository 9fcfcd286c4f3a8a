"""Content negotiation of the Simple API: the table of Accept headers and `?format=`."""

import pytest
from flask import Flask

from pyoci_flask.errors import NotAcceptableError
from pyoci_flask.web.api.simple import HTML, JSON, PLAIN_HTML, negotiate

LATEST_JSON = "application/vnd.pypi.simple.latest+json"
LATEST_HTML = "application/vnd.pypi.simple.latest+html"


def _negotiated(accept: str | None, path: str = "/") -> str:
    headers = {} if accept is None else {"Accept": accept}
    with Flask(__name__).test_request_context(path, headers=headers):
        return negotiate()


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (None, PLAIN_HTML),
        ("", PLAIN_HTML),
        ("   ", PLAIN_HTML),
        ("*/*", PLAIN_HTML),
        ("*/*;q=0.001", PLAIN_HTML),
        (f"{JSON}, {HTML}; q=0.1, {PLAIN_HTML}; q=0.01", JSON),
        (f"{JSON}, {HTML};q=0.2, {PLAIN_HTML};q=0.01", JSON),
        (f"{JSON}, */*;q=0.1", JSON),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", PLAIN_HTML),
        (f"{PLAIN_HTML};q=0.5,{HTML};q=0.6,{JSON};q=0.7", JSON),
        (f"{PLAIN_HTML};q=0.5,{HTML};q=0.7,{JSON};q=0.6", HTML),
        (f"{PLAIN_HTML};q=0.7,{HTML};q=0.6,{JSON};q=0.5", PLAIN_HTML),
        (LATEST_JSON, JSON),
        (LATEST_HTML, HTML),
        (f"{LATEST_JSON};q=0.5, {LATEST_HTML}", HTML),
        ("application/*", JSON),
        ("text/*, application/*;q=0.5", PLAIN_HTML),
        (f"*/*, {PLAIN_HTML};q=0", JSON),
        (f"{JSON}, image/png", JSON),
        (JSON.upper(), JSON),
        ("text/html; charset=utf-8", PLAIN_HTML),
        ("text/html;level=1;q=0.2, application/*;q=0.1", PLAIN_HTML),
        (f"{PLAIN_HTML};q=0.3, {JSON}; charset=utf-8; q=0.5", JSON),
        (f"{LATEST_JSON};v=1", JSON),
        # If a type is named several times, its highest quality counts.
        (f"text/html;q=0.1, text/html;level=1, {JSON};q=0.5", PLAIN_HTML),
        (f"{LATEST_JSON}, {LATEST_JSON};v=1;q=0.1, text/html;q=0.5", JSON),
    ],
)
def test_the_type_that_the_client_prefers_is_chosen(accept: str | None, expected: str) -> None:
    assert _negotiated(accept) == expected


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (f"{PLAIN_HTML};q=0, {JSON};q=0, */*", HTML),
        (f"{JSON};q=0.2, application/*;q=0.8", HTML),
        (f"{JSON};q=0, application/*", HTML),
    ],
)
def test_a_named_type_counts_more_than_a_range(accept: str, expected: str) -> None:
    """The most specific entry counts (RFC 9110, section 12.5.1)."""
    assert _negotiated(accept) == expected


@pytest.mark.parametrize(
    "accept",
    [
        "image/png",
        "application/json",
        f"{JSON};q=0",
        "*/*;q=0",
        "application/vnd.pypi.simple.v2+json",
        "text/plain",
    ],
)
def test_a_client_that_takes_none_of_the_forms_is_refused(accept: str) -> None:
    with pytest.raises(NotAcceptableError, match="text/html"):
        _negotiated(accept)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (JSON, JSON),
        (JSON.replace("+", "%2B"), JSON),
        (LATEST_JSON, JSON),
        (HTML, HTML),
        (LATEST_HTML, HTML),
        (PLAIN_HTML, PLAIN_HTML),
        (JSON.upper(), JSON),
    ],
)
@pytest.mark.parametrize("accept", [None, "image/png", JSON, "text/html"])
def test_the_query_decides_before_the_header(name: str, expected: str, accept: str | None) -> None:
    assert _negotiated(accept, f"/?format={name}") == expected


@pytest.mark.parametrize("query", ["format=", "format=%20", "format"])
def test_an_empty_format_leaves_it_to_the_header(query: str) -> None:
    assert _negotiated(JSON, f"/?{query}") == JSON


@pytest.mark.parametrize("name", ["json", "html", "application/json", "text/plain", "%00"])
def test_a_query_that_names_no_form_is_refused(name: str) -> None:
    with pytest.raises(NotAcceptableError, match=r"\?format="):
        _negotiated("*/*", f"/?format={name}")
