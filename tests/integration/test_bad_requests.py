"""Names, forms and paths that are refused before anything is stored or looked up."""

import http.client
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests
from werkzeug.wrappers import Response

from tests.conftest import AppServer
from tests.doubles import Recorder, answering, wsgi_server
from tests.integration.index_client import IndexClient, address, upload_form
from tests.packages import make_sdist, make_wheel
from tests.patience import PATIENCE

BAD_FILENAMES = ("foo.whl", "foo.tar.gz", ".env")


@pytest.fixture
def watched(shared_app: str, registry_url: str, http: requests.Session) -> IndexClient:
    """An index over `registry_calls`."""
    return IndexClient(f"{shared_app}/{address(registry_url)}/team", None, http)


@pytest.mark.parametrize("filename", BAD_FILENAMES)
def test_an_upload_under_a_bad_filename_is_refused_by_name(
    watched: IndexClient, registry_calls: Recorder, tmp_path: Path, filename: str
) -> None:
    wheel = make_wheel(tmp_path, "foo", "1.0")

    response = watched.publish(wheel, "foo", "1.0", filename=filename)

    assert response.status_code == 400
    assert filename in response.text
    assert registry_calls.calls == []


@pytest.mark.parametrize("filename", BAD_FILENAMES)
def test_a_bad_filename_is_refused_by_name_when_it_is_asked_for(
    watched: IndexClient, registry_calls: Recorder, filename: str
) -> None:
    response = watched.get(f"/foo/{filename}")

    assert response.status_code == 400
    assert filename in response.text
    assert registry_calls.calls == []


@pytest.mark.parametrize(
    ("name", "version", "filename"),
    [
        ("..", "1.0", "foo-1.0-py3-none-any.whl"),
        ("foo/../bar", "1.0", "foo-1.0-py3-none-any.whl"),
        ("foo", "..", "foo-1.0-py3-none-any.whl"),
        ("foo", "1.0", "../foo-1.0-py3-none-any.whl"),
        ("foo", "1.0", "..-1.0-py3-none-any.whl"),
        ("foo", "1.0", "foo-..-py3-none-any.whl"),
        ("foo", "1.0", "foo-...tar.gz"),
    ],
)
def test_two_dots_anywhere_in_an_upload_are_refused(
    watched: IndexClient,
    registry_calls: Recorder,
    tmp_path: Path,
    name: str,
    version: str,
    filename: str,
) -> None:
    wheel = make_wheel(tmp_path, "foo", "1.0")

    response = watched.publish(wheel, name, version, filename=filename)

    assert response.status_code == 400, response.text
    assert registry_calls.calls == []


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE"])
@pytest.mark.parametrize(
    "path",
    [
        "/team/../foo/",
        "/team/%2e%2e/foo/",
        "/team/..%2ffoo/",
        "/team/foo/../foo-1.0.tar.gz",
        "/team/foo/..-1.0.tar.gz",
        "/team/foo/foo-...tar.gz",
        "/../team/foo/foo-1.0.tar.gz",
    ],
)
def test_two_dots_anywhere_in_a_path_are_refused(
    watched: IndexClient, registry_calls: Recorder, method: str, path: str
) -> None:
    # http.client sends the path unchanged; requests would resolve the dots.
    base = urlsplit(watched.base.removesuffix("/team"))
    assert base.hostname
    connection = http.client.HTTPConnection(base.hostname, base.port, timeout=PATIENCE)
    try:
        connection.request(method, base.path + path)
        response = connection.getresponse()
        response.read()
    finally:
        connection.close()

    assert response.status == 400
    assert registry_calls.calls == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("sha256_digest", "0" * 64),
        ("sha256_digest", "not hex"),
        ("blake2_256_digest", "0" * 64),
        ("md5_digest", "0" * 32),
    ],
)
def test_a_digest_that_does_not_match_is_refused_and_nothing_pushed(
    watched: IndexClient, registry_calls: Recorder, tmp_path: Path, field: str, value: str
) -> None:
    wheel = make_wheel(tmp_path, "foo", "1.0")
    # Older clients send no sha256; the strongest of the digests that were sent counts.
    digests = ("sha256_digest", "blake2_256_digest", "md5_digest")
    others = [(name, "") for name in digests if name != field]

    response = watched.publish(wheel, "foo", "1.0", (field, value), *others)

    assert response.status_code == 400
    assert field in response.text
    assert registry_calls.writes == []


@pytest.mark.parametrize("field", ["blake2_256_digest", "md5_digest"])
def test_a_large_file_with_a_wrong_slower_digest_is_never_named(
    watched: IndexClient, registry_calls: Recorder, tmp_path: Path, field: str
) -> None:
    # Its sha256 is right, so that it may already be in transfer when the other digest is known.
    wheel = make_wheel(tmp_path, "foo", "1.0", size=3_000_000)

    response = watched.publish(wheel, "foo", "1.0", (field, "0" * 64))

    assert response.status_code == 400
    assert field in response.text
    tags = [call for call in registry_calls.writes if call.path.endswith("/manifests/1.0")]
    assert tags == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (":action", "launch"),
        ("name", ""),
        ("version", ""),
        ("name", "other"),
        ("version", "2.0"),
        ("version", "not a version"),
        ("protocol_version", "2"),
    ],
)
def test_a_form_field_that_cannot_be_is_refused_by_name(
    watched: IndexClient,
    registry_calls: Recorder,
    tmp_path: Path,
    field: str,
    value: str,
) -> None:
    response = watched.publish(make_wheel(tmp_path, "foo", "1.0"), "foo", "1.0", (field, value))

    assert response.status_code == 400
    assert field in response.text
    assert registry_calls.writes == []


@pytest.mark.parametrize("action", ["submit", "doc_upload"])
def test_actions_that_no_index_serves_any_more_are_gone(
    watched: IndexClient, tmp_path: Path, action: str
) -> None:
    response = watched.publish(
        make_wheel(tmp_path, "foo", "1.0"), "foo", "1.0", (":action", action)
    )

    assert response.status_code == 410


def test_a_form_without_a_file_is_refused(watched: IndexClient, registry_calls: Recorder) -> None:
    fields = upload_form("foo", "1.0", "foo-1.0.tar.gz", b"")

    response = watched.request("POST", "/", files=[(key, (None, text)) for key, text in fields])

    assert response.status_code == 400
    assert "content" in response.text
    assert registry_calls.writes == []


def test_a_body_that_is_no_form_is_refused(watched: IndexClient, registry_calls: Recorder) -> None:
    for content_type in (
        "application/json",
        "multipart/form-data",
        "multipart/form-data; boundary=x",
    ):
        response = watched.request("POST", "/", data=b"{}", headers={"Content-Type": content_type})
        assert response.status_code == 400, content_type
    assert registry_calls.calls == []


def test_a_wheel_that_is_no_archive_is_refused_and_nothing_pushed(
    watched: IndexClient, registry_calls: Recorder, tmp_path: Path
) -> None:
    wheel = tmp_path / "foo-1.0-py3-none-any.whl"
    wheel.write_bytes(b"not a zip archive")

    response = watched.publish(wheel, "foo", "1.0")

    assert response.status_code == 400
    assert "not a zip archive" in response.text
    # The right to write is checked before the file is opened, with an upload that is cancelled.
    methods = [call.method for call in registry_calls.calls]
    assert methods.count("POST") == methods.count("DELETE") == 1
    assert "PUT" not in methods


def test_versions_that_no_tag_can_hold_are_refused(
    watched: IndexClient, registry_calls: Recorder, tmp_path: Path
) -> None:
    long = "1." + "0" * 130
    response = watched.publish(make_sdist(tmp_path, "foo", long), "foo", long)

    assert response.status_code == 400
    assert registry_calls.writes == []


@pytest.mark.parametrize(
    "path",
    [
        "/.git/config",
        "/wp-login.php",
        "/.env",
        "/wp-admin/setup/index.php",
        "/_/oidc/audience",
        "/localhost/team/foo/",
        "/-bad-.example/team/foo/",
    ],
)
def test_paths_of_scanners_are_a_404_that_caches_keep_and_no_registry_sees(
    app_server: AppServer, http: requests.Session, path: str
) -> None:
    nothing = answering(Response("", 500))
    with wsgi_server(nothing) as url:
        app = app_server({"PYOCI_INDEX": f"{url}/team"})
        response = http.get(app + path)

    assert response.status_code == 404
    assert response.headers["Cache-Control"] == "max-age=604800, public"
    assert nothing.calls == []


@pytest.mark.parametrize(
    "path",
    [
        "/v2/",
        "/v2/acme/foo/tags/list",
        "/pypi/foo/json",
        "/metrics",
        "/acme/simple/foo/",
        "/acme/packages/foo/foo-1.0.tar.gz",
    ],
)
def test_address_that_a_setting_may_give_is_not_kept_by_caches(
    app_server: AppServer, http: requests.Session, path: str
) -> None:
    for settings in ({}, {"PYOCI_PATH": "/below"}):
        response = http.get(app_server(settings) + path)
        assert response.status_code == 404
        assert response.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    "name",
    [
        "foo-1.0.zip",
        "foo-1.0.tar.gz.asc",
        "foo-1.0-py3-none-any.whl.asc",
        "foo-1.0-py3-none-any.whl.provenance",
        "foo-1.0.tar.gz.provenance",
        "foo-1.0.win32-py2.7.exe",
        "foo-1.0-py2.7.egg",
        "foo-1.0.tar.bz2",
    ],
)
def test_file_of_a_kind_that_is_not_kept_is_a_404_without_a_call(
    app_server: AppServer, http: requests.Session, name: str
) -> None:
    nothing = answering(Response("", 500))
    with wsgi_server(nothing) as url:
        app = app_server({"PYOCI_INDEX": f"{url}/team"})
        host = url.partition("://")[2]
        for base in ("/simple", f"/http:/{host}/team", f"/http:/{host}/team/+simple"):
            response = http.get(f"{app}{base}/foo/{name}")
            assert response.status_code == 404
            assert "stores only wheels and .tar.gz sdists" in response.text
            assert response.headers["Cache-Control"] == "no-store"
    assert nothing.calls == []


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        ("/", "GET, HEAD, OPTIONS"),
        ("/health", "GET, HEAD, OPTIONS"),
        ("/ui/simple/", "GET, HEAD, OPTIONS"),
        ("/simple/", "GET, HEAD, POST, OPTIONS"),
        ("/simple/foo/", "GET, HEAD, OPTIONS"),
        ("/simple/foo/1.0", "DELETE, PATCH, OPTIONS"),
        ("/simple/foo/foo-1.0.tar.gz", "GET, HEAD, DELETE, PATCH, OPTIONS"),
        ("/simple/foo/foo-1.0-py3-none-any.whl.metadata", "GET, HEAD, OPTIONS"),
        ("/pypi/foo/json", "GET, HEAD, OPTIONS"),
    ],
)
def test_methods_that_an_address_does_not_have_are_refused_with_those_that_it_has(
    app_server: AppServer, http: requests.Session, path: str, methods: str
) -> None:
    app = app_server({"PYOCI_INDEX": "http://127.0.0.1:1/team"})
    for method in ("PUT", "PROPFIND"):
        response = http.request(method, app + path)
        assert (response.status_code, response.headers["Allow"]) == (405, methods), method
    assert http.put(f"{app}/.env").status_code == 404
