"""No shared cache may store a response that depends on the caller."""

from pathlib import Path

import bcrypt
import pytest
import requests

from tests.conftest import AppServer
from tests.packages import make_wheel

WRITER = ("alice", "secret")
STRANGER = ("mallory", "guess")
JSON = {"Accept": "application/vnd.pypi.simple.v1+json"}
PAGE = {"Accept": "text/html,*/*;q=0.8"}


@pytest.fixture
def server(app_server: AppServer, http: requests.Session, tmp_path: Path) -> str:
    """An embedded registry with one user and one package."""
    password = bcrypt.hashpw(WRITER[1].encode(), bcrypt.gensalt(4)).decode()
    users = tmp_path / "htpasswd"
    users.write_text(f"{WRITER[0]}:{password}\n")
    url = app_server(
        {
            "PYOCI_STORAGE": str(tmp_path / "storage"),
            "PYOCI_STORAGE_USERS": str(users),
            "PYOCI_FALLBACK_INDEX": "https://index.example/simple",
        }
    )
    wheel = make_wheel(tmp_path, "foo", "1.0")
    form = {":action": "file_upload", "name": "foo", "version": "1.0"}
    with wheel.open("rb") as content:
        published = http.post(
            f"{url}/simple/", data=form, files={"content": (wheel.name, content)}, auth=WRITER
        )
    assert published.status_code == 200
    _assert_private(published)
    return url


def _assert_private(answer: requests.Response) -> None:
    control = answer.headers["Cache-Control"]
    assert control in {"private, no-cache", "no-store"}, answer.request.url
    assert "Authorization" in answer.headers["Vary"], answer.request.url


@pytest.mark.parametrize("auth", [WRITER, STRANGER, None])
def test_no_answer_of_the_index_is_kept_by_a_shared_cache(
    server: str, http: requests.Session, auth: tuple[str, str] | None
) -> None:
    http.auth = auth
    file = "simple/foo/foo-1.0-py3-none-any.whl"
    paths = ["simple/", "simple", "simple/foo/", "simple/foo", "simple/missing/", "simple/foo/json"]
    paths += [file, f"{file}.metadata", "simple/foo/foo-2.0.tar.gz", "", "ui/", "ui/simple/"]
    paths += ["ui/simple/foo/", "ui/simple/foo/1.0/", "ui/simple/missing/", "pip.conf"]
    forms = [("GET", headers) for headers in (JSON, PAGE, {"Range": "bytes=0-9"})]
    forms += [("GET", {"If-None-Match": "*"}), ("HEAD", JSON), ("OPTIONS", {})]
    forms += [(method, {}) for method in ("POST", "PATCH", "PUT", "DELETE")]
    for method, headers in forms:
        for path in paths:
            answer = http.request(
                method, f"{server}/{path}", headers=headers, allow_redirects=False
            )
            if answer.headers.get("Cache-Control") == "max-age=604800, public":
                assert answer.status_code == 404  # nothing is served there, for any caller
                continue
            _assert_private(answer)


@pytest.mark.parametrize("auth", [WRITER, STRANGER, None])
def test_no_answer_of_the_embedded_registry_is_kept_by_a_shared_cache(
    server: str, http: requests.Session, auth: tuple[str, str] | None
) -> None:
    repository = f"{server}/v2/python/foo"
    index = http.get(f"{repository}/manifests/1.0", auth=WRITER).json()
    digest = index["manifests"][0]["digest"]
    manifest = http.get(f"{repository}/manifests/{digest}", auth=WRITER).json()
    blob = f"{repository}/blobs/{manifest['layers'][0]['digest']}"
    http.auth = auth
    answers = [
        *(http.get(f"{server}/v2/{path}") for path in ("", "_catalog", "nothing")),
        *(http.get(f"{repository}/{path}") for path in ("tags/list", "manifests/1.0")),
        *(http.request(method, blob) for method in ("GET", "HEAD", "OPTIONS", "PUT")),
        http.get(blob, headers={"Range": "bytes=0-9"}),
        http.get(blob, headers={"Range": "bytes=9999999-"}),
        http.get(f"{repository}/referrers/{digest}"),
        http.get(f"{repository}/manifests/9.9"),
        http.post(f"{repository}/blobs/uploads/"),
    ]
    for answer in answers:
        _assert_private(answer)


def test_files_of_the_pages_are_the_same_for_everyone(server: str, http: requests.Session) -> None:
    for name in ("style.css", "script.js", "favicon.svg"):
        assert http.get(f"{server}/{name}").headers["Cache-Control"] == "public, no-cache"
