"""One index URL: which requests lead to the fallback index, and which never do."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
import requests
from werkzeug.wrappers import Response

from pyoci_flask.errors import ConfigurationError
from pyoci_flask.registry import create_registry
from pyoci_flask.settings import Settings
from tests.conftest import AppServer
from tests.doubles import answering, closed_port, silent_server, wsgi_server
from tests.integration.index_client import IndexClient, address
from tests.integration.oci_client import OCIClient, push_original
from tests.integration.registry_doubles import (
    ALICE,
    BOB,
    DenyingWhatIsMissing,
    Members,
    Refusing,
    TokensForAll,
    WritersOnly,
    serving,
)
from tests.packages import make_wheel
from tests.registries import RunningRegistry
from tests.servers import ROOT, environment

FALLBACK = "https://public.example/simple"
SETTINGS = {"PYOCI_FALLBACK_INDEX": f"{FALLBACK}/", "PYOCI_FALLBACK_EXCLUDE": "acme-*, Secret.Tool"}
DENIED = SETTINGS | {"PYOCI_FALLBACK_DENIED": "redirect"}
WHEEL = "hello-1.0-py3-none-any.whl"


def assert_leads_to_the_fallback(response: requests.Response, name: str) -> None:
    assert response.status_code == 302, response.text
    assert response.headers["Location"] == f"{FALLBACK}/{name}/"
    assert response.headers["Cache-Control"] == "no-store"
    assert "Set-Cookie" not in response.headers


def assert_stays(response: requests.Response, status: int) -> None:
    assert response.status_code == status, response.text
    assert "Location" not in response.headers
    assert FALLBACK not in response.text


@pytest.fixture
def over(
    app_server: AppServer, namespace: str, http: requests.Session
) -> Callable[[RunningRegistry], IndexClient]:
    """The index with a fallback, over a registry and with its credentials."""
    root = app_server(SETTINGS)

    def client(registry: RunningRegistry) -> IndexClient:
        return IndexClient(f"{root}/{registry.address}/{namespace}", registry.auth, http)

    return client


@pytest.fixture(params=["docker_open", "docker_htpasswd", "embedded_socket"])
def index(
    request: pytest.FixtureRequest, over: Callable[[RunningRegistry], IndexClient]
) -> IndexClient:
    """Over each registry that answers 404 for what it does not have."""
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

        for _ in range(2):  # the second time with the token that is at hand
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


def test_a_registry_that_denies_what_is_missing_leads_nowhere_by_default(
    over: Callable[[RunningRegistry], IndexClient], tmp_path: Path
) -> None:
    with serving(DenyingWhatIsMissing(create_registry(tmp_path / "registry")), ALICE) as registry:
        assert_stays(over(registry).get("/packaging/"), 403)


@pytest.fixture
def denying(
    app_server: AppServer, namespace: str, http: requests.Session, tmp_path: Path
) -> Iterator[IndexClient]:
    """Over a registry that denies what is missing, which is told to the application."""
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
) -> Iterator[Callable[[str], AbstractContextManager[IndexClient]]]:
    """Publishes `hello`; then the registry denies every path that holds the given text."""
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

    yield client


@pytest.mark.parametrize("part", ["/manifests/", "/manifests/1.0"])
def test_a_project_that_is_there_is_not_looked_for_elsewhere_when_its_versions_are_denied(
    denying_parts: Callable[[str], AbstractContextManager[IndexClient]], part: str
) -> None:
    """Scanners of some registries deny single manifests; the project exists all the same."""
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


def _start(tmp_path: Path, settings: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    """Load the application as a WSGI server does, with these settings."""
    return subprocess.run(
        [sys.executable, "-c", "import wsgi"],
        cwd=ROOT,
        env=environment(tmp_path, settings),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_a_start_without_any_exclusion_warns(tmp_path: Path) -> None:
    started = _start(tmp_path, {"PYOCI_FALLBACK_INDEX": FALLBACK})

    assert started.returncode == 0, started.stderr
    warnings = [line for line in started.stderr.splitlines() if "level=WARNING" in line]
    assert any("PYOCI_FALLBACK_EXCLUDE" in line for line in warnings), started.stderr


def test_a_start_with_an_exclusion_does_not_warn(tmp_path: Path) -> None:
    started = _start(tmp_path, SETTINGS)

    assert started.returncode == 0, started.stderr
    assert "PYOCI_FALLBACK_EXCLUDE" not in started.stderr


def test_a_start_that_redirects_denials_without_an_exclusion_is_refused(tmp_path: Path) -> None:
    environ = {"PYOCI_FALLBACK_INDEX": FALLBACK, "PYOCI_FALLBACK_DENIED": "redirect"}

    with pytest.raises(ConfigurationError, match="PYOCI_FALLBACK_EXCLUDE"):
        Settings.from_env(environ)
    started = _start(tmp_path, environ)
    assert started.returncode != 0
    assert "PYOCI_FALLBACK_EXCLUDE" in started.stderr


@pytest.mark.parametrize(
    "value", ["public.example/simple", "ftp://public.example", "https://u:p@public.example/simple"]
)
def test_a_fallback_that_is_no_plain_url_is_refused_at_the_start(value: str) -> None:
    with pytest.raises(ConfigurationError, match="PYOCI_FALLBACK_INDEX"):
        Settings.from_env({"PYOCI_FALLBACK_INDEX": value})
