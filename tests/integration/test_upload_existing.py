"""`?existing=skip`: the caller chooses that a file which exists with the same bytes is accepted."""

import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import pytest
import requests

from pyoci_flask.registry import create_registry
from tests.conftest import AppServer
from tests.doubles import wsgi_server
from tests.integration.index_client import IndexClient, address, upload_form
from tests.integration.oci_client import OCIClient, push_original
from tests.integration.upload_lab import Lab, parts
from tests.packages import make_wheel
from tests.patience import PATIENCE
from tests.registries import RunningRegistry

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

SKIP = "?existing=skip"
WHEEL = "my_pkg-1.0-py3-none-any.whl"


@pytest.fixture
def wheel(tmp_path: Path) -> bytes:
    return make_wheel(tmp_path, "my_pkg", "1.0", requires_python=">=3.8").read_bytes()


def _upload(
    lab: Lab, content: bytes, *more: tuple[str, str], to: str = f"/{SKIP}"
) -> tuple[int, str]:
    response = lab.index.request("POST", to, files=parts(WHEEL, content, *more))
    return response.status_code, response.text


def test_an_identical_file_is_accepted_and_nothing_is_sent_to_the_registry(
    lab: Lab, wheel: bytes
) -> None:
    assert _upload(lab, wheel)[0] == 200
    lab.calls.calls.clear()

    status, text = _upload(lab, wheel)

    assert (status, lab.calls.writes) == (200, [])
    assert text == f"{WHEEL} is already published with the same bytes\n"
    assert lab.filenames == [WHEEL]


def test_other_bytes_stay_a_conflict(lab: Lab, wheel: bytes, tmp_path: Path) -> None:
    assert _upload(lab, wheel)[0] == 200
    lab.calls.calls.clear()
    other = make_wheel(tmp_path, "my_pkg", "1.0", summary="other").read_bytes()

    status, text = _upload(lab, other)

    assert (status, lab.calls.writes) == (409, [])
    assert "already exists" in text
    assert lab.index.get(f"/my-pkg/{WHEEL}").content == wheel


def test_other_fields_of_the_form_change_nothing(lab: Lab, wheel: bytes) -> None:
    assert _upload(lab, wheel)[0] == 200
    before = lab.index.get("/my-pkg/json").json()
    lab.calls.calls.clear()

    status, _ = _upload(
        lab, wheel, ("requires_python", ">=3.12"), ("project_urls", "A, https://a.b")
    )

    assert (status, lab.calls.writes) == (200, [])
    assert lab.index.get("/my-pkg/json").json() == before


def test_a_yanked_file_stays_yanked(lab: Lab, wheel: bytes) -> None:
    assert _upload(lab, wheel)[0] == 200
    assert lab.index.request("PATCH", "/my-pkg/1.0", json={"yanked": "broken"}).ok

    assert _upload(lab, wheel)[0] == 200

    assert [link.attributes["data-yanked"] for link in lab.index.page("my-pkg")] == ["broken"]


def test_a_deleted_file_is_published_again(lab: Lab, wheel: bytes) -> None:
    assert _upload(lab, wheel)[0] == 200
    assert lab.index.request("DELETE", f"/my-pkg/{WHEEL}").ok

    status, text = _upload(lab, wheel)

    assert (status, text) == (200, f"published {WHEEL}\n")
    assert lab.filenames == [WHEEL]


def test_the_query_works_without_a_slash_before_it(lab: Lab, wheel: bytes) -> None:
    assert [_upload(lab, wheel, to=SKIP)[0] for _ in range(2)] == [200, 200]


@pytest.mark.parametrize(
    "query",
    [
        "existing",
        "existing=",
        "existing=true",
        "existing=Skip",
        "existing=skip/",
        "existing=skip,skip",
        "existing=skip&existing=skip",
        "existing=skip&existing=fail",
    ],
)
def test_any_other_value_is_refused_with_the_one_that_is_accepted(
    lab: Lab, wheel: bytes, query: str
) -> None:
    status, text = _upload(lab, wheel, to=f"/?{query}")

    assert status == 400
    assert "existing=skip" in text
    assert lab.calls.calls == []


@pytest.mark.parametrize("path", ["", "/packages"])
def test_the_index_of_a_server_accepts_it_below_a_sub_path(
    app_server: AppServer, http: requests.Session, tmp_path: Path, wheel: bytes, path: str
) -> None:
    root = app_server({"PYOCI_STORAGE": str(tmp_path / "data"), "PYOCI_PATH": path})
    index = IndexClient(f"{root}{path}/simple", None, http)

    answers = [index.request("POST", f"/{SKIP}", files=parts(WHEEL, wheel)) for _ in range(2)]

    assert [one.status_code for one in answers] == [200, 200]
    assert index.request("POST", "/", files=parts(WHEEL, wheel)).status_code == 409


def test_a_version_in_another_spelling_has_the_file_already(lab: Lab, wheel: bytes) -> None:
    """The tag of the first file names the version, and the file's name may spell it otherwise."""
    other = "my_pkg-1.0.0-py3-none-any.whl"
    assert _upload(lab, wheel)[0] == 200
    lab.calls.calls.clear()
    form = upload_form("my-pkg", "1.0.0", other, wheel)
    sent = [(name, (None, text)) for name, text in form]

    answer = lab.index.request("POST", f"/{SKIP}", files=[*sent, ("content", (other, wheel))])

    assert (answer.status_code, lab.calls.writes) == (200, [])
    assert lab.filenames == [WHEEL]


@pytest.mark.parametrize("digest_annotation", [True, False], ids=["digest", "no-digest"])
@pytest.mark.parametrize("place", ["my_pkg", "my.pkg"])
def test_a_file_of_the_original_is_recognised_by_its_layer(
    lab: Lab, http: requests.Session, wheel: bytes, place: str, *, digest_annotation: bool
) -> None:
    url = unquote(urlsplit(lab.index.base).path.split("/")[1])
    registry = RunningRegistry(
        url, urlsplit(url).netloc, None, None, can_delete=True, kind="embedded"
    )
    oci = OCIClient(registry, f"team/{place}", http)
    push_original(oci, "1.0", {"py3-none-any.whl": wheel}, digest_annotation=digest_annotation)
    lab.calls.calls.clear()

    status, _ = _upload(lab, wheel)

    assert (status, lab.calls.writes) == (200, [])


class _Together:
    """Lets uploads of a blob begin only when two of them have arrived."""

    def __init__(self, app: "WSGIApplication") -> None:
        self._app = app
        self._both = threading.Barrier(2)

    def __call__(self, environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] == "POST" and not self._both.broken:
            self._both.wait(PATIENCE)
        return self._app(environ, start)


def test_of_two_uploads_at_the_same_time_both_are_accepted(
    app_server: AppServer, tmp_path: Path, wheel: bytes
) -> None:
    root = app_server({})
    with wsgi_server(_Together(create_registry(tmp_path / "registry"))) as url:
        base = f"{root}/{address(url)}/team"

        def send(_: int) -> int:
            with requests.Session() as session:
                index = IndexClient(base, None, session)
                return index.request("POST", f"/{SKIP}", files=parts(WHEEL, wheel)).status_code

        with ThreadPoolExecutor(2) as pool:
            answers = list(pool.map(send, range(2)))
        with requests.Session() as session:
            index = IndexClient(base, None, session)
            assert index.filenames("my-pkg") == [WHEEL]
            assert index.get(f"/my-pkg/{WHEEL}").content == wheel
    assert answers == [200, 200]
