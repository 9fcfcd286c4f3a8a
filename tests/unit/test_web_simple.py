import flask
import pytest

from pyoci_flask.errors import NotAcceptableError
from pyoci_flask.web.api.simple import HTML, JSON, PLAIN_HTML, negotiate
from pyoci_flask.web.links import redirect_to_slash

V1 = "application/vnd.pypi.simple.v1"
LATEST = "application/vnd.pypi.simple.latest"


def chosen(accept: str | None, wanted: str | None = None) -> str:
    headers = {} if accept is None else {"Accept": accept}
    query = {} if wanted is None else {"format": wanted}
    with flask.Flask(__name__).test_request_context(headers=headers, query_string=query):
        return negotiate()


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        pytest.param(f"{V1}+json, {V1}+html; q=0.1, text/html; q=0.01", JSON, id="pip"),
        pytest.param(f"{V1}+json, {V1}+html;q=0.2, text/html;q=0.01", JSON, id="uv"),
        pytest.param(f"{V1}+json, */*;q=0.1", JSON, id="poetry"),
        pytest.param("*/*", PLAIN_HTML, id="hatch"),
        pytest.param(None, PLAIN_HTML, id="none"),
        pytest.param("", PLAIN_HTML, id="empty"),
        pytest.param(
            "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
            PLAIN_HTML,
            id="browser",
        ),
        pytest.param("text/html", PLAIN_HTML, id="old pip"),
        pytest.param("text/*", PLAIN_HTML, id="any text"),
        pytest.param(f"{V1}+html", HTML, id="html"),
        pytest.param(f"{V1}+html, text/html;q=0.5", HTML, id="html first"),
        pytest.param(f"{V1}+json;q=0.1, {V1}+html", HTML, id="html by quality"),
        pytest.param(f"{LATEST}+json", JSON, id="latest json"),
        pytest.param(f"{LATEST}+html", HTML, id="latest html"),
        pytest.param("application/vnd.pypi.simple.v1+JSON", JSON, id="case"),
        pytest.param(f"text/html;q=0, {V1}+json;q=0.01", JSON, id="html excluded"),
        pytest.param(f"application/vnd.pypi.simple.v2+json, {V1}+json;q=0.5", JSON, id="newer"),
        pytest.param("application/*", JSON, id="any application"),
    ],
)
def test_clients_get_the_type_that_they_prefer(accept: str | None, media_type: str) -> None:
    assert chosen(accept) == media_type


@pytest.mark.parametrize(
    "accept",
    [
        "application/json",
        "image/png",
        "application/vnd.pypi.simple.v2+json",
        "*/*;q=0",
        "text/plain",
    ],
)
def test_client_that_accepts_no_type_gets_an_error(accept: str) -> None:
    with pytest.raises(NotAcceptableError, match="text/html"):
        chosen(accept)


@pytest.mark.parametrize(
    ("wanted", "media_type"),
    [
        (JSON, JSON),
        (JSON.replace("+", " "), JSON),
        (HTML, HTML),
        ("text/html", PLAIN_HTML),
        (f"{LATEST}+json", JSON),
        (f"{LATEST} html", HTML),
        (JSON.upper(), JSON),
    ],
)
def test_format_of_the_query_wins(wanted: str, media_type: str) -> None:
    assert chosen("image/png", wanted) == media_type


@pytest.mark.parametrize("wanted", ["json", "application/json", "text/plain"])
def test_unknown_format_of_the_query_is_refused(wanted: str) -> None:
    with pytest.raises(NotAcceptableError, match="format="):
        chosen("*/*", wanted)


@pytest.mark.parametrize(
    ("segment", "query", "location"),
    [
        ("hello", "", "hello/"),
        ("zope.interface", "format=x", "zope.interface/?format=x"),
        ("a b", "", "a%20b/"),
        ("x", "password=alice:hunter2hunter2@ghcr.io", "x/"),
    ],
)
def test_redirect_to_the_slash_is_relative(segment: str, query: str, location: str) -> None:
    with flask.Flask(__name__).test_request_context(query_string=query):
        response = redirect_to_slash(segment)
        assert response.status_code == 301
        assert response.get_wsgi_headers(flask.request.environ)["Location"] == location
        assert response.headers["Cache-Control"] == "no-store"
