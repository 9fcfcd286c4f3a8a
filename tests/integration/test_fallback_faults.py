"""Registries that deny access, fail or cannot be reached: what falls back then."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
import requests
from werkzeug.wrappers import Response

from pyoci_flask.registry import create_registry
from tests.conftest import AppServer
from tests.doubles import answering, closed_port, silent_server, wsgi_server
from tests.integration.fallback_checks import (
    DENIED,
    SETTINGS,
    assert_leads_to_the_fallback,
    assert_stays,
)
from tests.integration.index_client import IndexClient, address
from tests.integration.registry_doubles import (
    ALICE,
    DenyingWhatIsMissing,
    Refusing,
    serving,
)
from tests.packages import make_wheel
from tests.registries import RunningRegistry


@pytest.fixture
def over(
    app_server: AppServer, namespace: str, http: requests.Session
) -> Callable[[RunningRegistry], IndexClient]:
    """The index with a fallback, for a registry and with its credentials."""
    root = app_server(SETTINGS)

    def client(registry: RunningRegistry) -> IndexClient:
        return IndexClient(f"{root}/{registry.address}/{namespace}", registry.auth, http)

    return client


@pytest.mark.parametrize("gone", ["all", "mounted", "index"])
def test_a_storage_that_has_gone_leads_nowhere(
    app_server: AppServer, http: requests.Session, tmp_path: Path, gone: str
) -> None:
    storage = tmp_path / "storage"
    root = app_server(SETTINGS | {"PYOCI_STORAGE": str(storage)})
    index = IndexClient(f"{root}/simple", None, http)
    index.published(make_wheel(tmp_path, "hello", "1.0"), "hello", "1.0")
    assert_stays(index.get("/hello/"), 200)
    lost = storage if gone != "index" else storage / "python" / "hello" / "index.json"
    lost.rename(tmp_path / "away")
    if gone == "mounted":
        storage.mkdir()

    answer = index.get("/hello/")
    assert_stays(answer, 502)
    assert ("lost its index.json" if gone == "index" else "storage is not there") in answer.text
    if gone != "index":
        assert_stays(index.get("/packaging/"), 502)


def test_a_registry_that_denies_what_is_missing_leads_nowhere_by_default(
    over: Callable[[RunningRegistry], IndexClient], tmp_path: Path
) -> None:
    with serving(DenyingWhatIsMissing(create_registry(tmp_path / "registry")), ALICE) as registry:
        assert_stays(over(registry).get("/packaging/"), 403)


@pytest.fixture
def denying(
    app_server: AppServer, namespace: str, http: requests.Session, tmp_path: Path
) -> Iterator[IndexClient]:
    """For a registry that denies what is missing, with the setting for this."""
    with serving(DenyingWhatIsMissing(create_registry(tmp_path / "registry")), ALICE) as registry:
        root = app_server(DENIED)
        yield IndexClient(f"{root}/{registry.address}/{namespace}", registry.auth, http)


def test_a_denial_leads_to_the_fallback_where_that_is_set(denying: IndexClient) -> None:
    assert_leads_to_the_fallback(denying.get("/packaging/"), "packaging")


def test_a_denied_anonymous_request_is_asked_for_credentials_all_the_same(
    denying: IndexClient,
) -> None:
    assert_stays(denying.get("/packaging/", auth=None), 401)


def test_an_excluded_name_stays_denied_where_denials_lead_to_the_fallback(
    denying: IndexClient,
) -> None:
    assert_stays(denying.get("/Acme.Billing/"), 403)


def test_only_get_of_a_page_leads_anywhere_where_denials_do(denying: IndexClient) -> None:
    assert_stays(denying.request("HEAD", "/packaging/"), 403)
    assert_stays(denying.get("/packaging/json"), 403)
    assert_stays(denying.get("/packaging/packaging-1.0.tar.gz"), 404)


@pytest.fixture
def denying_parts(
    app_server: AppServer, namespace: str, http: requests.Session, tmp_path: Path
) -> Callable[[str], AbstractContextManager[IndexClient]]:
    """Publish `hello`; then the registry denies every path that contains the given text."""
    root = app_server(DENIED)

    @contextmanager
    def client(text: str) -> Iterator[IndexClient]:
        denied: list[str] = []
        app = create_registry(tmp_path / "registry")
        refusing = Refusing(app, lambda asked: any(part in asked.path for part in denied))
        with serving(refusing, ALICE) as registry:
            index = IndexClient(f"{root}/{registry.address}/{namespace}", ALICE, http)
            index.published(make_wheel(tmp_path, "hello", "1.0"), "hello", "1.0")
            denied.append(text)
            yield index

    return client


@pytest.mark.parametrize("part", ["/manifests/", "/manifests/1.0"])
def test_a_project_that_is_there_is_not_looked_for_elsewhere_when_its_versions_are_denied(
    denying_parts: Callable[[str], AbstractContextManager[IndexClient]], part: str
) -> None:
    """Scanners of some registries deny single manifests, although the project exists."""
    with denying_parts(part) as index:
        assert_stays(index.get("/hello/"), 403)


def test_an_emptied_project_is_an_empty_page_however_its_name_is_spelled(
    denying: IndexClient, tmp_path: Path
) -> None:
    """A dotted name has a second repository to look in, which this registry denies."""
    denying.published(make_wheel(tmp_path, "my.pkg", "1.0"), "my.pkg", "1.0")
    assert denying.request("DELETE", "/my-pkg/1.0").ok

    for spelling in ("my-pkg", "my.pkg"):
        assert_stays(denying.get(f"/{spelling}/"), 200)


def test_a_registry_that_is_down_is_a_502(app_server: AppServer, http: requests.Session) -> None:
    root = app_server(DENIED)
    with closed_port() as url:
        assert_stays(http.get(f"{root}/{address(url)}/team/packaging/", auth=ALICE), 502)


def test_a_registry_that_is_too_slow_is_a_504(
    app_server: AppServer, http: requests.Session
) -> None:
    root = app_server(DENIED, transport_timeouts=(1.0, 0.3))
    with silent_server() as url:
        assert_stays(http.get(f"{root}/{address(url)}/team/packaging/", auth=ALICE), 504)


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (Response("<html>not found</html>", 200), 502),
        (Response('{"tags": "none"}', 200), 502),
        (Response("", 500), 502),
        (Response("", 503), 502),
        (Response("", 400), 502),
        (Response("", 410), 502),
        (Response("", 429, {"Retry-After": "60"}), 429),
        (Response("", 302, {"Location": "ftp://elsewhere/"}), 502),
    ],
    ids=["page", "nonsense", "500", "503", "400", "410", "429", "location"],
)
def test_an_answer_that_is_no_404_never_leads_to_the_fallback(
    app_server: AppServer, http: requests.Session, answer: Response, status: int
) -> None:
    root = app_server(DENIED)
    with wsgi_server(answering(answer)) as url:
        response = http.get(
            f"{root}/{address(url)}/team/packaging/", auth=ALICE, allow_redirects=False
        )

    assert_stays(response, status)


def test_a_registry_that_may_not_be_called_is_a_403(
    app_server: AppServer, http: requests.Session
) -> None:
    root = app_server(DENIED | {"PYOCI_REGISTRIES": "ghcr.io"})

    response = http.get(f"{root}/registry.example/team/packaging/", auth=ALICE)

    assert_stays(response, 403)
