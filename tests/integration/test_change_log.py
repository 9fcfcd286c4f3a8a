"""Who did what: the log line and the attributes of the span of each change."""

import base64
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
import requests

from pyoci_flask.logs import configure_logging
from pyoci_flask.registry import create_registry
from tests.conftest import AppServer
from tests.documents import blocks
from tests.doubles import wsgi_server
from tests.integration.index_client import IndexClient, address
from tests.integration.oci_client import OCIClient, push_original, sha256
from tests.integration.upload_lab import parts
from tests.packages import make_sdist, make_wheel
from tests.registries import RunningRegistry
from tests.servers import ROOT, wait_until

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

WHEEL = "my_pkg-1.0-py3-none-any.whl"
SDIST = "my_pkg-1.0.tar.gz"
SECRET = "s3cret-of-alice"
_TEXT = re.compile(r'(\w+)=("(?:[^"\\]|\\.)*"|\S+)')


@pytest.fixture(autouse=True)
def _text_again() -> Iterator[None]:
    yield
    configure_logging({})


@dataclass(frozen=True, slots=True)
class Log:
    """The lines that the application has written in this test."""

    captured: pytest.CaptureFixture[str]
    seen: list[str]

    def lines(self) -> list[str]:
        """Return all lines so far."""
        self.seen.extend(self.captured.readouterr().err.splitlines())
        return list(self.seen)

    def changes(self) -> list[dict[str, str]]:
        """Return the fields of each line about a change; a repeated field keeps its last value."""
        lines = [line for line in self.lines() if " logger=pyoci.changes " in line]
        return [dict(_TEXT.findall(line)) for line in lines]


@pytest.fixture
def log(capsys: pytest.CaptureFixture[str]) -> Log:
    return Log(capsys, [])


@pytest.fixture
def wheel(tmp_path: Path) -> bytes:
    return make_wheel(tmp_path, "my_pkg", "1.0").read_bytes()


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """A registry that asks for no password."""
    with wsgi_server(create_registry(tmp_path / "registry")) as running:
        yield running


def _index(root: str, url: str, http: requests.Session, user: str | None = "alice") -> IndexClient:
    auth = None if user is None else (user, SECRET)
    return IndexClient(f"{root}/{address(url)}/team/python", auth, http)


def _publish(
    index: IndexClient, content: bytes, name: str = WHEEL, **headers: str
) -> requests.Response:
    return index.request("POST", "/", files=parts(name, content), headers=headers)


def test_a_publication_is_one_line_that_says_who_and_what(
    app_server: AppServer, http: requests.Session, url: str, wheel: bytes, log: Log
) -> None:
    index = _index(app_server(), url, http)

    _publish(index, wheel, **{"X-Request-Id": "r-1", "X-Forwarded-For": "10.9.9.9, 192.0.2.7"})

    (line,) = [line for line in log.lines() if "logger=pyoci.changes" in line]
    assert re.fullmatch(
        r"time=\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z level=INFO logger=pyoci\.changes "
        r'request_id=r-1 action=publish user="alice" client=192\.0\.2\.7 '
        rf"registry={re.escape(url)} namespace=team/python project=my-pkg version=1\.0 "
        rf'file={re.escape(WHEEL)} digest=sha256:{sha256(wheel)} result="published {WHEEL}"',
        line,
    )


def test_a_skipped_upload_says_that_nothing_was_changed(
    app_server: AppServer, http: requests.Session, url: str, wheel: bytes, log: Log
) -> None:
    index = _index(app_server(), url, http)
    _publish(index, wheel)

    assert index.request("POST", "/?existing=skip", files=parts(WHEEL, wheel)).status_code == 200

    first, second = log.changes()
    assert (first["action"], second["action"]) == ("publish", "skip")
    assert second["result"] == f'"{WHEEL} is already published with the same bytes"'
    assert second["digest"] == first["digest"]


def test_what_fails_is_no_change(
    app_server: AppServer,
    http: requests.Session,
    embedded_socket: RunningRegistry,
    wheel: bytes,
    tmp_path: Path,
    log: Log,
    namespace: str,
) -> None:
    root = app_server()
    index = IndexClient(f"{root}/{embedded_socket.address}/{namespace}", embedded_socket.auth, http)
    wrong = IndexClient(index.base, ("mallory", "wr0ng-passw0rd"), http)
    other = make_wheel(tmp_path, "my_pkg", "1.0", summary="other").read_bytes()
    assert _publish(index, wheel).status_code == 200

    answers = [
        _publish(index, other),
        _publish(wrong, other, SDIST),
        wrong.request("DELETE", "/my-pkg/1.0"),
        wrong.request("PATCH", "/my-pkg/1.0", json={"yanked": True}),
        index.request("DELETE", "/my-pkg/2.0"),
        index.request("PATCH", f"/my-pkg/{SDIST}", json={"yanked": True}),
    ]

    assert [one.status_code for one in answers] == [409, 401, 401, 401, 404, 404]
    (published,) = log.changes()
    assert (published["action"], published["user"]) == ("publish", '"bob"')
    assert not any("mallory" in line or "wr0ng" in line for line in log.lines())


def test_yanks_and_deletions_name_the_files_that_they_changed(
    app_server: AppServer, http: requests.Session, url: str, wheel: bytes, tmp_path: Path, log: Log
) -> None:
    index = _index(app_server(), url, http)
    sdist = make_sdist(tmp_path, "my_pkg", "1.0").read_bytes()
    _publish(index, wheel)
    _publish(index, sdist, SDIST)
    log.lines(), log.seen.clear()

    for reason in ("broken", "broken", False):
        assert index.request("PATCH", f"/my-pkg/{WHEEL}", json={"yanked": reason}).ok
    assert index.request("DELETE", f"/my-pkg/{WHEEL}").ok
    assert index.request("DELETE", "/my-pkg/1.0").ok

    yank, again, undo, file, version = log.changes()
    digests = {WHEEL: f"sha256:{sha256(wheel)}", SDIST: f"sha256:{sha256(sdist)}"}
    for change, action, name in (
        (yank, "yank", WHEEL),
        (undo, "unyank", WHEEL),
        (file, "delete", WHEEL),
        (version, "delete", SDIST),
    ):
        assert (change["action"], change["file"]) == (action, name)
        assert (change["digest"], change["user"]) == (digests[name], '"alice"')
    assert yank["result"] == f'"yanked {WHEEL}: broken"'
    assert (again["action"], "file" in again) == ("skip", False)
    assert again["result"] == f'"{WHEEL} was yanked already; nothing was changed"'
    assert version["result"].startswith('"deleted my-pkg 1.0')


class _Failing:
    """Refuses to delete anything of one repository."""

    def __init__(self, app: "WSGIApplication", repository: str) -> None:
        self._app, self._repository = app, repository

    def __call__(self, environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
        if self._repository in environ["PATH_INFO"] and environ["REQUEST_METHOD"] in {
            "PUT",
            "DELETE",
        }:
            start("403 Forbidden", [("Content-Type", "text/plain")])
            return [b"no"]
        return self._app(environ, start)


def test_of_a_deletion_that_fails_half_way_the_line_names_what_was_deleted(
    app_server: AppServer, http: requests.Session, tmp_path: Path, wheel: bytes, log: Log
) -> None:
    registry = create_registry(tmp_path / "registry")
    with wsgi_server(registry) as direct, wsgi_server(_Failing(registry, "my.pkg")) as url:
        index = _index(app_server(), url, http)
        sdist = make_sdist(tmp_path, "my_pkg", "1.0").read_bytes()
        oci = OCIClient(_running(direct), "team/python/my.pkg", http)
        push_original(oci, "1.0", {".tar.gz": sdist})
        _publish(index, wheel)
        log.lines(), log.seen.clear()

        assert index.request("DELETE", "/my-pkg/1.0").status_code == 403

    (change,) = log.changes()
    assert (change["action"], change["file"]) == ("delete", WHEEL)
    assert change["result"].startswith('"an error followed the change of these files: ')


def _running(url: str) -> RunningRegistry:
    return RunningRegistry(url, urlsplit(url).netloc, None, None, can_delete=True, kind="embedded")


def test_a_deletion_of_many_files_names_all_of_them_in_lines_of_limited_size(
    app_server: AppServer, http: requests.Session, url: str, log: Log
) -> None:
    names = [f"cp3{number}-cp3{number}-manylinux_2_28_x86_64.whl" for number in range(10, 40)]
    oci = OCIClient(_running(url), "team/python/my_pkg", http)
    push_original(oci, "1.0", {name: name.encode() for name in names})

    assert _index(app_server(), url, http).request("DELETE", "/my-pkg/1.0").ok

    lines = [line for line in log.lines() if "logger=pyoci.changes" in line]
    assert all(
        len(line) < 4096 and f"part={n}/{len(lines)} " in line for n, line in enumerate(lines, 1)
    )
    found = re.findall(r"file=my_pkg-1\.0-(\S+) digest=sha256:([0-9a-f]{64})", "\n".join(lines))
    assert sorted(found) == [(name, sha256(name.encode())) for name in names]


@pytest.mark.parametrize(
    ("user", "shown"),
    [
        ("alice@example.com", '"alice@example.com"'),
        ("robot$acme+ci", '"robot$acme+ci"'),
        ("6b0f7a3e-9d1c-4f5a-8e2b-1c2d3e4f5a6b", '"6b0f7a3e-9d1c-4f5a-8e2b-1c2d3e4f5a6b"'),
        ('a" action=delete\u2028time=', r'"a\" action=delete\u2028time="'),
        ("a\\", r'"a\\"'),
        ("x" * 300, '"' + "x" * 197 + '..."'),
        (SECRET, '"[redacted]"'),
        ("ghp_16C7e42F292c6912E7710c838347Ae178B4a", '"[redacted]"'),
        ("glpat-abcdefghij0123456789", '"[redacted]"'),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc", '"[redacted]"'),
        ("0123456789abcdef0123456789abcdef01234567", '"[redacted]"'),
        ("https://bob:hunter2@ghcr.io".replace(":", "%3A"), '"https%3A//[redacted]@ghcr.io"'),
        ("", "-"),
    ],
)
def test_the_user_name_forges_nothing_and_is_no_token(
    app_server: AppServer,
    http: requests.Session,
    url: str,
    wheel: bytes,
    log: Log,
    user: str,
    shown: str,
) -> None:
    index = _index(app_server(), url, http, None)
    basic = base64.b64encode(f"{user}:{SECRET}".encode()).decode()

    assert _publish(index, wheel, Authorization=f"Basic {basic}").status_code == 200

    (change,) = log.changes()
    assert change["user"] == shown
    assert change["action"] == "publish"
    assert not any(SECRET in line or basic in line for line in log.lines())


def test_a_token_without_a_password_is_not_shown_as_the_user(
    app_server: AppServer, http: requests.Session, url: str, wheel: bytes, log: Log
) -> None:
    index = _index(app_server(), url, http, None)
    basic = base64.b64encode(b"hunter2:").decode()
    _publish(index, wheel, Authorization=f"Basic {basic}")
    (change,) = log.changes()
    assert change["user"] == '"[redacted]"'


@pytest.mark.parametrize(
    ("authorization", "shown"),
    [
        (None, "-"),
        ("Bearer abc.def", "-"),
        ("Basic " + base64.b64encode(b"ci:abc.def").decode(), '"ci"'),
    ],
)
def test_a_bearer_token_has_no_user_name_unless_it_was_sent_with_the_configured_one(
    app_server: AppServer,
    http: requests.Session,
    url: str,
    wheel: bytes,
    log: Log,
    authorization: str | None,
    shown: str,
) -> None:
    index = _index(app_server({"PYOCI_BEARER_USERNAME": "ci"}), url, http, None)
    sent = {} if authorization is None else {"Authorization": authorization}

    assert _publish(index, wheel, **sent).status_code == 200

    (change,) = log.changes()
    assert change["user"] == shown


def test_as_json_the_line_has_the_fields_as_members(
    app_server: AppServer, http: requests.Session, url: str, wheel: bytes, log: Log
) -> None:
    index = _index(app_server({"PYOCI_LOG_FORMAT": "json"}), url, http, "alice@example.com")

    _publish(index, wheel, **{"X-Request-Id": "r-1"})

    wait_until(lambda: any('"pyoci.access"' in line for line in log.lines()))
    lines: list[dict[str, Any]] = [json.loads(line) for line in log.lines()]
    (change,) = [line for line in lines if line["logger"] == "pyoci.changes"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", change.pop("time"))
    assert change == {
        "level": "INFO",
        "logger": "pyoci.changes",
        "request_id": "r-1",
        "message": f"published {WHEEL}",
        "action": "publish",
        "user": "alice@example.com",
        "client": "127.0.0.1",
        "registry": url,
        "namespace": "team/python",
        "project": "my-pkg",
        "version": "1.0",
        "files": [{"file": WHEEL, "digest": f"sha256:{sha256(wheel)}"}],
    }
    (access,) = [line for line in lines if line["logger"] == "pyoci.access"]
    assert (access["status"], access["method"], access["request_id"]) == (200, "POST", "r-1")
    assert access["duration_ms"] > 0
    calls = [line for line in lines if line["logger"] == "pyoci.registry"]
    assert calls
    assert all(
        isinstance(call["status"], int) and call["path"].startswith("/v2/") for call in calls
    )


_OPERATIONS = [
    one for one in blocks(ROOT / "docs" / "operations.md") if "What the logs show" in one.section
]
_CHANGES = re.compile(r"^.*pyoci\.changes.* request_id.*$|^\{.*pyoci\.changes.*$", re.MULTILINE)
_EXAMPLES = [
    line
    for one in _OPERATIONS
    if one.language in {"text", "json"}
    for line in _CHANGES.findall(one.text)
]
_VARIES = re.compile(
    r'20\d\d-\d\d-\d\dT[\d:.]+Z|sha256:[0-9a-f]{64}|(?<=[ ="])[0-9a-f]{32}(?=[ "])'
)


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_the_lines_about_changes_look_as_operations_md_shows_them(
    app_server: AppServer,
    http: requests.Session,
    url: str,
    tmp_path: Path,
    log: Log,
    log_format: str,
) -> None:
    index = _index(app_server({"PYOCI_LOG_FORMAT": log_format}), url, http)
    index = IndexClient(index.base.replace("/team/python", "/acme"), index.auth, http)
    http.headers["X-Forwarded-For"] = "192.0.2.7"
    wheel = make_wheel(tmp_path, "hello-world", "1.0")
    assert index.publish(wheel, "hello-world", "1.0").ok
    assert index.request("PATCH", "/hello-world/1.0", json={"yanked": "broken"}).ok
    assert index.request("DELETE", "/hello-world/1.0").ok

    found = [line for line in log.lines() if "pyoci.changes" in line]
    written = [_VARIES.sub("...", line).replace(url, "ghcr.io") for line in found]
    is_json = log_format == "json"
    shown = [_VARIES.sub("...", one) for one in _EXAMPLES if one.startswith("{") is is_json]

    assert len(shown) == (1 if is_json else 3)
    assert [one for one in written if one in shown] == shown
