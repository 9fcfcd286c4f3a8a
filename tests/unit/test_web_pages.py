"""The pieces that pages for people are made of."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone

import flask
import pytest
from flask.testing import FlaskClient
from werkzeug.wrappers import Response

from pyoci_flask import errors
from pyoci_flask.app import create_app
from pyoci_flask.errors import InvalidRequestError
from pyoci_flask.oci.reference import Registry
from pyoci_flask.settings import Settings
from pyoci_flask.web.address import Base
from pyoci_flask.web.error_answers import register_error_handlers, wants_page
from pyoci_flask.web.incoming import visit
from pyoci_flask.web.links import PublicOrigin
from pyoci_flask.web.people.error_page import error_page
from pyoci_flask.web.people.frame import as_size
from pyoci_flask.web.people.times import as_date
from pyoci_flask.web.services import EXTENSION

CHROMIUM = (
    "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8,"
    "application/signed-exchange;v=b3;q=0.7"
)
FIREFOX = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
SIMPLE = "application/vnd.pypi.simple.v1"
PIP = f"{SIMPLE}+json, {SIMPLE}+html; q=0.1, text/html; q=0.01"
GHCR = Registry("https", "ghcr.io")


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (CHROMIUM, True),
        (FIREFOX, True),
        ("text/html", True),
        ("TEXT/HTML", True),
        (PIP, False),
        (f"{SIMPLE}+json, {SIMPLE}+html;q=0.2, text/html;q=0.01", False),
        (f"text/html, {SIMPLE}+html", False),
        (f"{SIMPLE}+json, */*;q=0.1", False),
        ("*/*", False),
        ("application/json, text/html;q=0.9", False),
        ("text/html;q=0", False),
        ("", False),
    ],
)
def test_browsers_and_installers_are_distinguished(accept: str, expected: bool) -> None:
    with flask.Flask(__name__).test_request_context(headers={"Accept": accept}):
        assert wants_page() is expected


def failing(error: Exception, registry: Registry = GHCR) -> FlaskClient:
    app = flask.Flask(__name__)

    def page(status: int, text: str, raised: Exception) -> Response:
        assert raised is error
        return Response(f"<p>{status} {text}</p>", status, content_type="text/html")

    register_error_handlers(app, page)

    @app.get("/")
    def view() -> str:
        visit().base = Base(registry, "acme")
        raise error

    return app.test_client()


def test_browsers_get_a_page_and_all_else_the_text_with_the_same_status_line() -> None:
    client = failing(errors.DeniedError("no Bearer hunter2hunter2", 403))

    page = client.get("/", headers={"Accept": FIREFOX})
    text = client.get("/", headers={"Accept": PIP})

    assert page.status == text.status == "403 no Bearer [redacted]"
    assert page.text == "<p>403 no Bearer [redacted]</p>"
    assert text.text == "no Bearer [redacted]\n"
    for answer in (page, text):
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["Vary"] == "Accept"


@pytest.mark.parametrize(
    "headers",
    [
        {"Accept": FIREFOX},
        {"Accept": "image/avif,*/*;q=0.8", "User-Agent": "Mozilla/5.0 (X11) Firefox/140.0"},
        {"Accept": "application/vnd.pypi.simple.v1+json", "Sec-Fetch-Mode": "no-cors"},
    ],
    ids=["page", "image", "script"],
)
@pytest.mark.parametrize(
    ("registry", "origin"),
    [
        (GHCR, "https://ghcr.io"),
        (Registry("https", "ghcr.io", 443), "https://ghcr.io"),
        (Registry("https", "ghcr.io", 8443), "https://ghcr.io:8443"),
        (Registry("http", "ghcr.io"), "http://ghcr.io"),
        (Registry("http", "ghcr.io", 443), "http://ghcr.io:443"),
        (Registry("https", "[::1]", 5000), "https://[::1]:5000"),
    ],
)
def test_each_origin_is_a_realm_of_its_own_to_a_browser(
    headers: dict[str, str], registry: Registry, origin: str
) -> None:
    client = failing(errors.AuthenticationRequiredError("who?"), registry)
    answer = client.get("/", headers=headers)
    assert answer.headers["WWW-Authenticate"] == f'Basic realm="PyOCI {origin}", charset="UTF-8"'


@pytest.mark.parametrize("accept", [PIP, "*/*"])
def test_other_clients_see_one_realm(accept: str) -> None:
    client = failing(errors.AuthenticationRequiredError("who?"))
    answer = client.get("/", headers={"Accept": accept})
    assert answer.headers["WWW-Authenticate"] == 'Basic realm="PyOCI", charset="UTF-8"'


@pytest.fixture
def client() -> Iterator[FlaskClient]:
    app = create_app(Settings())
    yield app.test_client()
    app.extensions[EXTENSION].transport.close()
    app.extensions[EXTENSION].versions.close()


@pytest.mark.parametrize(
    ("text", "error", "named"),
    [
        ("ghcr.io denied the request (403)", errors.DeniedError("x", 403), True),
        ("ghcr.io asks for credentials", errors.AuthenticationRequiredError("x"), True),
        ("quay.io denied the request (403)", errors.DeniedError("x", 403), False),
        ("ghcr.io has no project x", errors.NotFoundError("x"), False),
    ],
)
def test_scopes_of_github_are_named_where_github_denies(
    client: FlaskClient, text: str, error: errors.PyOCIError, named: bool
) -> None:
    with client.application.test_request_context():
        page = error_page(403, text, error).get_data(as_text=True)

    assert ("read:packages" in page) is named
    assert text in page


@pytest.mark.parametrize("accept", [FIREFOX, "*/*"])
def test_page_of_an_unmatched_path_is_not_kept_by_caches_but_its_text_is(
    client: FlaskClient, accept: str
) -> None:
    answer = client.get("/.git/config", headers={"Accept": accept})

    assert answer.status_code == 404
    private = accept == FIREFOX
    assert answer.headers["Vary"] == ("Accept, Authorization" if private else "Accept")
    kept = "no-store" if private else "max-age=604800, public"
    assert answer.headers["Cache-Control"] == kept


def test_files_of_the_pages_are_kept_for_good_under_an_address_with_their_version(
    client: FlaskClient,
) -> None:
    page = client.get("/").text
    for name in ("style.css", "script.js", "favicon.svg"):
        (address,) = {part for part in page.split('"') if part.startswith(f"/{name}?v=")}
        versioned, plain, old = (client.get(path) for path in (address, f"/{name}", f"/{name}?v=1"))
        assert versioned.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        assert plain.headers["Cache-Control"] == "public, no-cache"
        assert old.headers["Cache-Control"] == "public, no-cache"
        again = client.get(f"/{name}", headers={"If-None-Match": plain.headers["ETag"]})
        assert (again.status_code, again.data) == (304, b"")


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (None, ""),
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1.0 kB"),
        (1_234_567, "1.2 MB"),
        (10**10, "10.0 GB"),
        (10**15, "1000.0 TB"),
    ],
)
def test_sizes_have_a_unit(size: int | None, text: str) -> None:
    assert as_size(size) == text


def test_dates_are_of_utc() -> None:
    late = datetime(2026, 11, 3, 23, 30, tzinfo=timezone(timedelta(hours=-2)))

    assert (as_date(late), as_date(late.astimezone(UTC)), as_date(None)) == (
        "4 Nov 2026",
        "4 Nov 2026",
        "",
    )


def origin(
    settings: Settings,
    proxies: str,
    remote: str | None,
    url: str = "http://here:8080/",
    **headers: str,
) -> str:
    sent = {name.replace("_", "-"): text for name, text in headers.items()}
    with flask.Flask(__name__).test_request_context(
        base_url=url, headers=sent, environ_overrides={"REMOTE_ADDR": remote or ""}
    ):
        return PublicOrigin(settings, proxies).url()


OUTSIDE = {"X_Forwarded_Host": "packages.example.com", "X_Forwarded_Prefix": "/py"}


@pytest.mark.parametrize(
    ("proxies", "remote", "believed"),
    [
        ("127.0.0.1,::1", "127.0.0.1", True),
        ("127.0.0.1,::1", "::1", True),
        ("127.0.0.1,::1", "10.0.0.7", False),
        ("10.0.0.0/8", "10.0.0.7", True),
        (" 10.0.0.7 , 10.0.0.8", "10.0.0.8", True),
        ("*", "203.0.113.9", True),
        ("", "127.0.0.1", False),
        ("127.0.0.1", "not an address", False),
        ("127.0.0.1", None, True),
    ],
)
def test_forwarded_headers_are_believed_from_proxies_only(
    proxies: str, remote: str | None, believed: bool
) -> None:
    expected = "http://packages.example.com/py" if believed else "http://here:8080"
    assert origin(Settings(), proxies, remote, **OUTSIDE) == expected


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, "http://here:8080"),
        ({"X_Forwarded_Host": "evil.example, packages.example.com"}, "http://packages.example.com"),
        ({"X_Forwarded_Host": "[::1]:80"}, "http://[::1]:80"),
        ({"X_Forwarded_Host": 'x"><script>'}, "http://here:8080"),
        ({"X_Forwarded_Host": "user@evil.example"}, "http://here:8080"),
        ({"X_Forwarded_Prefix": "/a/b/"}, "http://here:8080/a/b"),
        ({"X_Forwarded_Prefix": "//evil.example"}, "http://here:8080"),
        ({"X_Forwarded_Prefix": "/a b"}, "http://here:8080"),
        ({"X_Forwarded_Prefix": "a"}, "http://here:8080"),
    ],
)
def test_forwarded_headers_are_the_last_proxys_and_well_formed(
    headers: dict[str, str], expected: str
) -> None:
    assert origin(Settings(), "*", "127.0.0.1", **headers) == expected


def test_setting_wins_over_the_request() -> None:
    settings = Settings(url="https://packages.example.com/acme")

    assert origin(settings, "*", "127.0.0.1", **OUTSIDE) == "https://packages.example.com/acme"


def test_sub_path_is_part_of_the_address() -> None:
    settings = Settings(path="/acme")

    mounted = origin(settings, "", "127.0.0.1", "https://here/acme/")
    assert mounted == "https://here/acme"
    assert origin(settings, "", "127.0.0.1", "https://here/") == "https://here/acme"
    assert origin(settings, "*", "127.0.0.1", "https://here/acme/", **OUTSIDE) == (
        "https://packages.example.com/py/acme"
    )


@pytest.mark.parametrize("host", ["a b", 'x"><b>', "", "user@host"])
def test_invalid_host_is_refused(host: str) -> None:
    with pytest.raises(InvalidRequestError, match="Host"):
        origin(Settings(), "", "127.0.0.1", Host=host)


def test_landing_page_of_such_a_host_is_refused(client: FlaskClient) -> None:
    answer = client.get("/", headers={"Host": 'x"><script>alert(1)</script>', "Accept": FIREFOX})

    assert answer.status_code == 400
    assert "<script>alert" not in answer.text
