"""One index URL: which requests lead to the fallback index, and which never do."""

from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from pyoci_flask.registry import create_registry
from tests.conftest import AppServer
from tests.integration.fallback_checks import (
    FALLBACK,
    SETTINGS,
    assert_leads_to_the_fallback,
    assert_stays,
)
from tests.integration.index_client import IndexClient
from tests.integration.oci_client import OCIClient, push_original
from tests.integration.registry_doubles import (
    ALICE,
    BOB,
    Members,
    TokensForAll,
    WritersOnly,
    serving,
)
from tests.packages import make_wheel
from tests.registries import RunningRegistry

WHEEL = "hello-1.0-py3-none-any.whl"


@pytest.fixture
def over(
    app_server: AppServer, namespace: str, http: requests.Session
) -> Callable[[RunningRegistry], IndexClient]:
    """The index with a fallback, for a registry and with its credentials."""
    root = app_server(SETTINGS)

    def client(registry: RunningRegistry) -> IndexClient:
        return IndexClient(f"{root}/{registry.address}/{namespace}", registry.auth, http)

    return client


@pytest.fixture(params=["docker_open", "docker_htpasswd", "embedded_socket"])
def index(
    request: pytest.FixtureRequest, over: Callable[[RunningRegistry], IndexClient]
) -> IndexClient:
    """With each registry that answers 404 for projects that do not exist."""
    return over(request.getfixturevalue(request.param))


def test_a_project_that_the_registry_does_not_have_leads_to_the_fallback(
    index: IndexClient,
) -> None:
    assert_leads_to_the_fallback(index.get("/packaging/"), "packaging")
    assert_leads_to_the_fallback(index.get("/+simple/packaging/"), "packaging")


@pytest.mark.parametrize("spelling", ["Zope.Interface", "zope_interface", "zope--interface"])
def test_the_fallback_is_asked_for_the_normalised_name(index: IndexClient, spelling: str) -> None:
    assert_leads_to_the_fallback(index.get(f"/{spelling}/"), "zope-interface")


def test_a_project_that_is_there_is_its_own_page(index: IndexClient, tmp_path: Path) -> None:
    index.published(make_wheel(tmp_path, "hello", "1.0"), "hello", "1.0")

    assert index.filenames("hello") == [WHEEL]
    assert FALLBACK not in index.get("/hello/").text


def test_an_emptied_project_is_an_empty_page(index: IndexClient, tmp_path: Path) -> None:
    index.published(make_wheel(tmp_path, "hello", "1.0"), "hello", "1.0")
    assert index.request("DELETE", "/hello/1.0").ok

    assert_stays(index.get("/hello/"), 200)
    assert index.filenames("hello") == []


def test_an_emptied_project_in_a_dotted_repository_stays_an_empty_page(
    over: Callable[[RunningRegistry], IndexClient],
    namespace: str,
    http: requests.Session,
    tmp_path: Path,
) -> None:
    """The second response is about what the first one found."""
    with serving(create_registry(tmp_path / "registry")) as registry:
        oci = OCIClient(registry, f"{namespace}/zope.dotted", http)
        push_original(oci, "1.0", {"py3-none-any.whl": b"bytes"})
        assert over(registry).request("DELETE", "/zope.dotted/1.0").ok

        for _ in range(2):
            assert_stays(over(registry).get("/zope.dotted/"), 200)


def test_a_project_whose_only_tag_is_no_package_is_an_empty_page(
    over: Callable[[RunningRegistry], IndexClient],
    docker_open: RunningRegistry,
    namespace: str,
    http: requests.Session,
) -> None:
    oci = OCIClient(docker_open, f"{namespace}/hello", http)
    push_original(oci, "not-a-version", {"py3-none-any.whl": b"bytes"})

    assert_stays(over(docker_open).get("/hello/"), 200)


@pytest.mark.parametrize("name", ["acme-billing", "Acme.Billing", "ACME__billing", "secret-tool"])
def test_an_excluded_name_is_missing_however_it_is_spelled(index: IndexClient, name: str) -> None:
    for path in (f"/{name}/", f"/+simple/{name}/"):
        assert_stays(index.get(path), 404)


@pytest.mark.parametrize("name", ["acmebilling", "my-acme-tool", "secret-tools"])
def test_a_name_that_only_resembles_an_excluded_one_is_looked_for(
    index: IndexClient, name: str
) -> None:
    assert_leads_to_the_fallback(index.get(f"/{name}/"), name)


def test_only_get_of_a_project_page_leads_anywhere(index: IndexClient) -> None:
    assert_stays(index.request("HEAD", "/packaging/"), 404)
    for path in (
        "/packaging/json",
        "/packaging/packaging-1.0-py3-none-any.whl",
        "/packaging/packaging-1.0-py3-none-any.whl.metadata",
        "/packaging/packaging-1.0.tar.gz",
    ):
        assert_stays(index.get(path), 404)
        assert_stays(index.request("HEAD", path), 404)
    for what in ("1.0", "packaging-1.0.tar.gz"):
        assert_stays(index.request("DELETE", f"/packaging/{what}"), 404)
        assert_stays(index.request("PATCH", f"/packaging/{what}", json={"yanked": True}), 404)


def test_a_page_without_its_slash_leads_to_the_one_with_it_first(index: IndexClient) -> None:
    response = index.get("/packaging")

    assert (response.status_code, response.headers["Location"]) == (301, "packaging/")


def test_a_file_that_a_project_here_lacks_is_missing(index: IndexClient, tmp_path: Path) -> None:
    index.published(make_wheel(tmp_path, "hello", "1.0"), "hello", "1.0")

    assert_stays(index.get("/hello/hello-2.0-py3-none-any.whl"), 404)


@pytest.mark.parametrize("kind", ["docker_htpasswd", "embedded_socket", "zuul"])
def test_without_the_right_credentials_nothing_is_looked_for(
    over: Callable[[RunningRegistry], IndexClient], request: pytest.FixtureRequest, kind: str
) -> None:
    index = over(request.getfixturevalue(kind))

    for auth in (None, ("somebody", "else")):
        response = index.get("/packaging/", auth=auth)
        assert_stays(response, 401)
        assert response.headers["WWW-Authenticate"].startswith("Basic ")


def test_a_registry_that_lists_unknown_names_as_empty_never_leads_anywhere(
    over: Callable[[RunningRegistry], IndexClient], zuul: RunningRegistry
) -> None:
    assert_stays(over(zuul).get("/packaging/"), 200)


def test_an_anonymous_token_is_not_enough_to_know_that_a_project_is_missing(
    over: Callable[[RunningRegistry], IndexClient], tmp_path: Path
) -> None:
    app = TokensForAll(create_registry(tmp_path / "registry"), frozenset({"private"}))
    with serving(app, ALICE) as registry:
        index = over(registry)
        index.published(make_wheel(tmp_path, "private", "1.0"), "private", "1.0")
        index.published(make_wheel(tmp_path, "hello", "1.0"), "hello", "1.0")

        for _ in range(2):  # the second time with the cached token
            for name in ("private", "packaging"):
                response = index.get(f"/{name}/", auth=None)
                assert_stays(response, 401)
                assert response.headers["WWW-Authenticate"].startswith("Basic ")
        assert index.get("/hello/", auth=None).status_code == 200
        assert_leads_to_the_fallback(index.get("/packaging/"), "packaging")
        assert index.get("/private/").status_code == 200


def test_who_is_asked_for_credentials_does_not_depend_on_earlier_requests(
    over: Callable[[RunningRegistry], IndexClient], tmp_path: Path
) -> None:
    with serving(WritersOnly(create_registry(tmp_path / "registry")), ALICE) as registry:
        index = over(registry)
        before = index.get("/packaging/", auth=None).status_code
        index.published(make_wheel(tmp_path, "hello", "1.0"), "hello", "1.0")
        after = index.get("/packaging/", auth=None).status_code

    assert after == before


def test_a_denied_project_stays_denied(
    over: Callable[[RunningRegistry], IndexClient], tmp_path: Path
) -> None:
    with serving(Members(create_registry(tmp_path / "registry")), ALICE) as registry:
        index = over(registry)

        assert_stays(index.get("/packaging/", auth=BOB), 403)
        assert_stays(index.get("/acme-billing/", auth=BOB), 403)


def test_without_a_fallback_a_missing_project_is_missing(
    shared_app: str, docker_open: RunningRegistry, namespace: str, http: requests.Session
) -> None:
    index = IndexClient(f"{shared_app}/{docker_open.address}/{namespace}", None, http)

    assert_stays(index.get("/packaging/"), 404)


def test_the_pinned_index_falls_back_under_its_short_address(
    app_server: AppServer, http: requests.Session, tmp_path: Path
) -> None:
    root = app_server(SETTINGS | {"PYOCI_STORAGE": str(tmp_path / "storage")})
    index = IndexClient(f"{root}/simple", None, http)
    index.published(make_wheel(tmp_path, "hello", "1.0"), "hello", "1.0")

    assert_leads_to_the_fallback(index.get("/packaging/"), "packaging")
    assert index.filenames("hello") == [WHEEL]


@pytest.mark.parametrize("project", ["%2e%2e", "a%2F..%2Fb", "-packaging", "päckaging", "a%0d%0ab"])
def test_a_name_that_no_project_can_have_leads_nowhere(index: IndexClient, project: str) -> None:
    response = index.get(f"/{project}/")

    assert "Location" not in response.headers or response.status_code == 301
    assert response.status_code >= 400
