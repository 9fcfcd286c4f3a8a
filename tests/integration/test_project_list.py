"""The list of a namespace's projects, out of the registry's catalog."""

from pathlib import Path
from typing import Any

import pytest
import requests
from werkzeug.wrappers import Response

from pyoci_flask.registry import create_registry
from tests.conftest import AppServer
from tests.doubles import answering, wsgi_server
from tests.integration.index_client import IndexClient, address, links
from tests.integration.oci_client import OCIClient, push_original
from tests.integration.registry_doubles import ALICE, BOB, Members, Refusing
from tests.packages import make_wheel
from tests.registries import RunningRegistry

JSON = "application/vnd.pypi.simple.v1+json"
PATHS = ("/", "/+simple/")


def _names(index: IndexClient, path: str = "/") -> list[str]:
    response = index.get(path, headers={"Accept": JSON})
    assert response.status_code == 200, response.text
    assert response.headers["Content-Type"] == JSON
    document: dict[str, Any] = response.json()
    assert document["meta"] == {"api-version": "1.4"}
    return [project["name"] for project in document["projects"]]


@pytest.fixture
def two_projects(index: IndexClient, tmp_path: Path) -> IndexClient:
    index.published(make_wheel(tmp_path, "zeta", "1.0"), "zeta", "1.0")
    index.published(make_wheel(tmp_path, "Alpha.One", "1.0"), "Alpha.One", "1.0")
    return index


@pytest.mark.parametrize("path", PATHS)
def test_the_projects_of_a_namespace_are_listed_in_both_forms(
    two_projects: IndexClient, registry: RunningRegistry, path: str
) -> None:
    if registry.kind == "zuul-registry":
        response = two_projects.get(path)
        assert response.status_code == 404
        assert "no list of its repositories" in response.text
        return
    page = two_projects.get(path, headers={"Accept": "text/html"})

    assert _names(two_projects, path) == ["alpha-one", "zeta"]
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert page.headers["Vary"] == "Accept, Authorization"
    anchors = [(link.href, link.text) for link in links(page.text)]
    assert anchors == [("alpha-one/", "alpha-one"), ("zeta/", "zeta")]


def test_the_links_of_the_list_lead_to_the_projects(
    app_server: AppServer, http: requests.Session, tmp_path: Path
) -> None:
    root = app_server({"PYOCI_STORAGE": str(tmp_path / "storage")})
    index = IndexClient(f"{root}/simple", None, http)
    index.published(make_wheel(tmp_path, "My.Pkg", "1.0"), "My.Pkg", "1.0")

    (link,) = links(index.get("/", headers={"Accept": "text/html"}).text)

    assert index.filenames(link.href.rstrip("/")) == ["My.Pkg-1.0-py3-none-any.whl"]


@pytest.fixture
def storage_index(app_server: AppServer, http: requests.Session, tmp_path: Path) -> IndexClient:
    root = app_server({"PYOCI_STORAGE": str(tmp_path / "storage")})
    return IndexClient(root, None, http)


def test_only_what_stands_directly_below_the_namespace_is_listed(
    storage_index: IndexClient, tmp_path: Path
) -> None:
    def publish(base: str, name: str) -> None:
        below = IndexClient(f"{storage_index.base}/{base}", None, storage_index.session)
        below.published(make_wheel(tmp_path, name, "1.0"), name, "1.0")

    publish("embedded/team", "mine")
    publish("embedded/team/deep", "deeper")
    publish("embedded/teammates", "theirs")
    publish("embedded/other", "foreign")

    assert _names(storage_index, "/embedded/team/") == ["mine"]
    assert _names(storage_index, "/embedded/team/deep/+simple/") == ["deeper"]
    assert _names(storage_index, "/embedded/empty/") == []


def test_the_pinned_index_lists_its_namespace_under_its_short_address(
    storage_index: IndexClient, tmp_path: Path
) -> None:
    simple = IndexClient(f"{storage_index.base}/simple", None, storage_index.session)
    simple.published(make_wheel(tmp_path, "hello", "1.0"), "hello", "1.0")

    assert _names(simple, "/") == ["hello"]
    redirect = storage_index.get("/simple")
    assert (redirect.status_code, redirect.headers["Location"]) == (301, "simple/")


def test_a_list_of_two_segments_needs_plus_simple(
    storage_index: IndexClient, tmp_path: Path
) -> None:
    deep = IndexClient(f"{storage_index.base}/embedded/team/deep", None, storage_index.session)
    deep.published(make_wheel(tmp_path, "hello", "1.0"), "hello", "1.0")

    assert _names(deep, "/+simple/") == ["hello"]
    # Without it, `deep` is a project of the namespace `team`.
    assert deep.get("/").status_code == 404


def test_repositories_whose_names_are_no_projects_are_left_out(
    storage_index: IndexClient, http: requests.Session, tmp_path: Path
) -> None:
    with wsgi_server(create_registry(tmp_path / "storage")) as url:
        running = RunningRegistry(url, "", None, None, True, "double")
        content = make_wheel(tmp_path, "a_b", "1.0").read_bytes()
        for name in ("a_b", "zope.interface", "x__y"):
            push_original(OCIClient(running, f"team/{name}", http), "1.0", {".tar.gz": content})

    assert _names(storage_index, "/embedded/team/") == ["a-b", "x-y", "zope-interface"]


@pytest.mark.parametrize("status", [404, 405, 501])
def test_a_registry_without_a_catalog_is_a_404_that_says_so(
    app_server: AppServer, http: requests.Session, tmp_path: Path, status: int
) -> None:
    registry = create_registry(tmp_path / "registry")
    with wsgi_server(Refusing(registry, lambda asked: asked.path == "/v2/_catalog", status)) as url:
        index = IndexClient(f"{app_server()}/{address(url)}/team", None, http)
        index.published(make_wheel(tmp_path, "hello", "1.0"), "hello", "1.0")

        for path in PATHS:
            response = index.get(path)
            assert response.status_code == 404
            assert "no list of its repositories" in response.text
            assert response.headers["Content-Type"].startswith("text/plain")
        assert index.filenames("hello") == ["hello-1.0-py3-none-any.whl"]


def test_a_list_is_never_looked_for_in_the_fallback_index(
    app_server: AppServer, http: requests.Session
) -> None:
    root = app_server({"PYOCI_FALLBACK_INDEX": "https://public.example/simple"})
    with wsgi_server(answering(Response("", 404))) as url:
        response = IndexClient(f"{root}/{address(url)}/team", None, http).get("/")

    assert response.status_code == 404


@pytest.mark.parametrize("kind", ["docker_htpasswd", "embedded_socket"])
def test_the_list_is_for_those_whom_the_registry_lets_see_it(
    shared_app: str,
    request: pytest.FixtureRequest,
    kind: str,
    namespace: str,
    http: requests.Session,
    tmp_path: Path,
) -> None:
    registry: RunningRegistry = request.getfixturevalue(kind)
    index = IndexClient(f"{shared_app}/{registry.address}/{namespace}", registry.auth, http)
    index.published(make_wheel(tmp_path, "secret", "1.0"), "secret", "1.0")
    assert registry.auth

    assert _names(index) == ["secret"]
    for auth in (None, (registry.auth[0], "wrong")):
        response = index.get("/", auth=auth)
        assert response.status_code == 401
        assert response.headers["WWW-Authenticate"].startswith("Basic ")
        assert "secret" not in response.text


def test_a_denied_list_stays_denied(
    app_server: AppServer, http: requests.Session, tmp_path: Path
) -> None:
    with wsgi_server(Members(create_registry(tmp_path / "registry"))) as url:
        index = IndexClient(f"{app_server()}/{address(url)}/team", ALICE, http)
        index.published(make_wheel(tmp_path, "secret", "1.0"), "secret", "1.0")

        assert _names(index) == ["secret"]
        assert index.get("/", auth=BOB).status_code == 403
        assert index.get("/", auth=None).status_code == 401


def test_the_list_answers_304_to_who_has_it_and_changes_with_the_projects(
    storage_index: IndexClient, tmp_path: Path
) -> None:
    simple = IndexClient(f"{storage_index.base}/simple", None, storage_index.session)
    simple.published(make_wheel(tmp_path, "one", "1.0"), "one", "1.0")
    etag = simple.get("/").headers["ETag"]

    assert simple.get("/", headers={"If-None-Match": etag}).status_code == 304
    simple.published(make_wheel(tmp_path, "two", "1.0"), "two", "1.0")
    assert simple.get("/", headers={"If-None-Match": etag}).status_code == 200


def test_the_list_takes_the_same_formats_as_a_page(storage_index: IndexClient) -> None:
    assert storage_index.get("/simple/", headers={"Accept": "image/png"}).status_code == 406
    assert storage_index.get(f"/simple/?format={JSON}").headers["Content-Type"] == JSON
