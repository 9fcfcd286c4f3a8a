"""Registries that answer 200 without tags for missing repositories: what falls back."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import requests
from werkzeug.wrappers import Request, Response

from pyoci_flask.registry import create_registry
from tests.command_line import check
from tests.conftest import AppServer
from tests.doubles import wsgi_server
from tests.integration.fallback_checks import (
    DENIED,
    EMPTY,
    SETTINGS,
    assert_leads_to_the_fallback,
    assert_stays,
)
from tests.integration.index_client import IndexClient, address
from tests.integration.registry_doubles import (
    ALICE,
    DenyingWhatIsMissing,
    Refusing,
    TokensForAll,
    serving,
)
from tests.packages import make_wheel
from tests.registries import RunningRegistry

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

WHEEL = "hello-1.0-py3-none-any.whl"


@dataclass(frozen=True, slots=True)
class EmptyWhereMissing:
    """Lists `tags` for repositories that do not exist, as distribution 3 does on S3."""

    app: "WSGIApplication"
    tags: str = "[]"

    def __call__(self, environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
        request = Request(environ)
        if not request.path.endswith("/tags/list"):
            return self.app(environ, start)
        response = Response.from_app(self.app, environ, buffered=True)
        if response.status_code == 404:
            name = request.path.removeprefix("/v2/").removesuffix("/tags/list")
            response = Response(f'{{"name": "{name}", "tags": {self.tags}}}', 200)
        return response(environ, start)


Over = Callable[[RunningRegistry], IndexClient]


@pytest.fixture
def over(app_server: AppServer, namespace: str, http: requests.Session) -> Over:
    """The index with a fallback for projects without versions, for a registry."""
    root = app_server(EMPTY)

    def client(registry: RunningRegistry) -> IndexClient:
        return IndexClient(f"{root}/{registry.address}/{namespace}", registry.auth, http)

    return client


def test_unknown_names_of_zuul_registry_lead_to_the_fallback(
    over: Over, zuul: RunningRegistry
) -> None:
    assert_leads_to_the_fallback(over(zuul).get("/packaging/"), "packaging")
    assert_stays(over(zuul).get("/acme-billing/"), 200)


@pytest.mark.parametrize("tags", ["[]", "null"])
def test_a_project_without_versions_leads_to_the_fallback(
    over: Over, tmp_path: Path, tags: str
) -> None:
    app = EmptyWhereMissing(create_registry(tmp_path / "registry"), tags)
    with serving(app) as registry:
        index = over(registry)
        index.published(make_wheel(tmp_path, "hello", "1.0"), "hello", "1.0")

        assert index.filenames("hello") == [WHEEL]
        for name in ("packaging", "zope.interface"):
            assert_leads_to_the_fallback(index.get(f"/{name}/"), name.replace(".", "-"))


def test_an_excluded_project_without_versions_is_an_empty_page(over: Over, tmp_path: Path) -> None:
    with serving(EmptyWhereMissing(create_registry(tmp_path / "registry"))) as registry:
        for name in ("acme-billing", "Acme.Billing", "secret_tool"):
            assert_stays(over(registry).get(f"/{name}/"), 200)


def test_only_get_of_a_page_leads_anywhere(over: Over, tmp_path: Path) -> None:
    with serving(EmptyWhereMissing(create_registry(tmp_path / "registry"))) as registry:
        index = over(registry)
        assert_stays(index.request("HEAD", "/packaging/"), 200)
        assert "Location" not in index.get("/packaging/json").headers
        for path in ("/packaging/packaging-1.0.tar.gz", "/packaging/packaging-1.0.tar.gz.metadata"):
            assert_stays(index.get(path), 404)


def test_a_project_whose_versions_were_all_deleted_leads_to_the_fallback(
    over: Over, tmp_path: Path
) -> None:
    """It looks like one that never existed: the documentation names this risk."""
    with serving(create_registry(tmp_path / "registry")) as registry:
        index = over(registry)
        index.published(make_wheel(tmp_path, "hello", "1.0"), "hello", "1.0")
        assert index.request("DELETE", "/hello/1.0").ok

        assert_leads_to_the_fallback(index.get("/hello/"), "hello")


def test_a_version_without_files_keeps_a_project_from_the_fallback(
    over: Over, tmp_path: Path
) -> None:
    app = Refusing(
        create_registry(tmp_path / "registry"), lambda asked: asked.method == "DELETE", 405
    )
    with serving(app) as registry:
        index = over(registry)
        index.published(make_wheel(tmp_path, "hello", "1.0"), "hello", "1.0")
        assert index.request("DELETE", "/hello/1.0").ok

        assert_stays(index.get("/hello/"), 200)
        assert index.filenames("hello") == []


@pytest.mark.parametrize("settings", [SETTINGS, DENIED], ids=["default", "denied"])
def test_without_the_setting_a_project_without_versions_stays(
    app_server: AppServer, http: requests.Session, tmp_path: Path, settings: dict[str, str]
) -> None:
    root = app_server(settings)
    with wsgi_server(EmptyWhereMissing(create_registry(tmp_path / "registry"))) as url:
        assert_stays(http.get(f"{root}/{address(url)}/team/packaging/"), 200)


def test_an_anonymous_token_is_not_enough_to_know_that_a_project_is_missing(
    over: Over, tmp_path: Path
) -> None:
    app = TokensForAll(EmptyWhereMissing(create_registry(tmp_path / "registry")), frozenset())
    with serving(app, ALICE) as registry:
        assert_stays(over(registry).get("/packaging/", auth=None), 401)
        assert_leads_to_the_fallback(over(registry).get("/packaging/"), "packaging")


def test_a_denied_second_spelling_stays_denied(over: Over, tmp_path: Path) -> None:
    """The project may exist under the spelling that is denied."""
    app = DenyingWhatIsMissing(create_registry(tmp_path / "registry"))
    with serving(app, ALICE) as registry:
        index = over(registry)
        index.published(make_wheel(tmp_path, "my.pkg", "1.0"), "my.pkg", "1.0")
        assert index.request("DELETE", "/my-pkg/1.0").ok

        assert_stays(index.get("/my.pkg/"), 403)


def test_check_says_how_each_kind_of_registry_answers(tmp_path: Path) -> None:
    registry = create_registry(tmp_path / "registry")
    expected = [
        (registry, None, "ok   missing    404 for what does not exist"),
        (EmptyWhereMissing(registry), None, "PYOCI_FALLBACK_EMPTY=redirect"),
        (DenyingWhatIsMissing(registry), ALICE, "PYOCI_FALLBACK_DENIED=redirect"),
    ]
    for app, auth, text in expected:
        with wsgi_server(app) as url:
            done = check(url, auth=auth)
        assert text in done.output
    assert "missing" in done.marks()
