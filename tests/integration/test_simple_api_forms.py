"""Which form of the project page is returned: content negotiation (PEP 691)."""

from pathlib import Path

import pytest
import requests

from tests.integration.index_client import IndexClient
from tests.packages import make_sdist, make_wheel
from tests.registries import RunningRegistry

JSON = "application/vnd.pypi.simple.v1+json"
HTML = "application/vnd.pypi.simple.v1+html"
LATEST = "application/vnd.pypi.simple.latest"
PLAIN = "text/html"
CONTENT_TYPES = {JSON: JSON, HTML: f"{HTML}; charset=utf-8", PLAIN: f"{PLAIN}; charset=utf-8"}

PIP = f"{JSON}, {HTML}; q=0.1, {PLAIN}; q=0.01"
UV = f"{JSON}, {HTML};q=0.2, {PLAIN};q=0.01"
POETRY = f"{JSON}, */*;q=0.1"
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


@pytest.fixture
def simple(
    shared_app: str, embedded_socket: RunningRegistry, namespace: str, http: requests.Session
) -> IndexClient:
    """The index for one registry: the forms of the page do not depend on which."""
    return IndexClient(
        f"{shared_app}/{embedded_socket.address}/{namespace}", embedded_socket.auth, http
    )


@pytest.fixture
def project(simple: IndexClient, tmp_path: Path) -> IndexClient:
    """Two versions, three files."""
    wheel = make_wheel(tmp_path, "my_pkg", "1.0", requires_python=">=3.8,<4")
    simple.published(wheel, "my-pkg", "1.0", ("requires_python", ">=3.8,<4"))
    simple.published(make_sdist(tmp_path, "my_pkg", "1.0"), "my-pkg", "1.0")
    simple.published(make_wheel(tmp_path, "my_pkg", "1.10"), "my-pkg", "1.10")
    return simple


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        pytest.param(PIP, JSON, id="pip-pdm-renovate"),
        pytest.param(UV, JSON, id="uv"),
        pytest.param(POETRY, JSON, id="poetry"),
        pytest.param("*/*", PLAIN, id="hatch"),
        pytest.param(None, PLAIN, id="no-header"),
        pytest.param("", PLAIN, id="empty-header"),
        pytest.param(BROWSER, PLAIN, id="browser"),
        pytest.param(JSON, JSON, id="json"),
        pytest.param(HTML, HTML, id="v1-html"),
        pytest.param("text/html", PLAIN, id="html"),
        pytest.param("text/*", PLAIN, id="text-range"),
        pytest.param(f"{LATEST}+json", JSON, id="latest-json"),
        pytest.param(f"{LATEST}+html", HTML, id="latest-html"),
        pytest.param(f"{JSON};q=0.1, {HTML};q=0.9", HTML, id="quality-html"),
        pytest.param(f"{PLAIN};q=0.3, {LATEST}+json;q=0.4", JSON, id="quality-latest"),
        pytest.param(f"{PLAIN};q=0, {HTML}", HTML, id="refused-html"),
        pytest.param(JSON.upper(), JSON, id="any-case"),
    ],
)
def test_the_form_that_is_asked_for_comes_with_its_exact_content_type(
    project: IndexClient, accept: str | None, expected: str
) -> None:
    response = project.get("/my-pkg/", headers={"Accept": accept})

    assert response.status_code == 200
    assert response.headers["Content-Type"] == CONTENT_TYPES[expected]
    assert "name" in response.json() if expected == JSON else response.text.startswith("<!DOCTYPE")


@pytest.mark.parametrize(
    "accept",
    [
        "application/json",
        "image/png",
        f"{JSON};q=0",
        "application/vnd.pypi.simple.v2+json",
        "*/*;q=0",
    ],
)
def test_a_client_that_accepts_none_of_the_forms_gets_a_list_of_them(
    project: IndexClient, accept: str
) -> None:
    response = project.get("/my-pkg/", headers={"Accept": accept})

    assert response.status_code == 406
    assert all(name in response.text for name in (JSON, HTML, PLAIN))


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (f"?format={JSON}", JSON),  # its + arrives as a space
        (f"?format={JSON.replace('+', '%2B')}", JSON),
        (f"?format={HTML}", HTML),
        ("?format=text/html", PLAIN),
        ("?format=text%2Fhtml", PLAIN),
        (f"?format={LATEST}+json", JSON),
        (f"?format={LATEST}%2Bhtml", HTML),
    ],
)
@pytest.mark.parametrize("accept", [PIP, "*/*", "image/png"])
def test_the_format_in_the_query_wins_over_the_header(
    project: IndexClient, query: str, expected: str, accept: str
) -> None:
    response = project.get(f"/my-pkg/{query}", headers={"Accept": accept})

    assert response.status_code == 200
    assert response.headers["Content-Type"] == CONTENT_TYPES[expected]


def test_an_unknown_format_in_the_query_is_not_acceptable(project: IndexClient) -> None:
    response = project.get("/my-pkg/?format=application/json", headers={"Accept": "*/*"})

    assert response.status_code == 406
    assert "?format=" in response.text


def test_the_format_survives_the_redirect_to_the_slash(project: IndexClient) -> None:
    response = project.get(f"/my-pkg?format={JSON}", allow_redirects=True)

    assert response.headers["Content-Type"] == JSON
    assert len(response.history) == 1


@pytest.mark.parametrize("accept", [PIP, "text/html", HTML])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_every_form_varies_by_what_it_depends_on(
    project: IndexClient, accept: str, method: str
) -> None:
    response = project.request(method, "/my-pkg/", headers={"Accept": accept})

    assert response.headers["Vary"] == "Accept, Authorization"
    assert response.headers["Cache-Control"] == "private, no-cache"
