"""The landing page: a form that generates the configuration of an index, without scripts."""

import re
from html import unescape
from pathlib import Path
from urllib.parse import quote, urljoin

import pytest
import requests

from pyoci_flask import __version__
from tests.conftest import AppServer
from tests.integration.index_client import links
from tests.pages import BROWSER, shown, snippets_of
from tests.servers import gunicorn

KEYS = ["pip", "uv", "poetry", "pdm", "twine", "hatch", "github", "gitlab", "renovate"]


def snippets(page: str) -> str:
    """Return everything that it offers to copy."""
    return "\n".join(snippets_of(page).values())


def alert(page: str) -> str | None:
    """Return what the form says is wrong with it."""
    found = re.search(r'<p class="alert" id="form-error">(.*?)</p>', page, re.DOTALL)
    return None if found is None else unescape(found[1])


@pytest.fixture
def page_of(app_server: AppServer, http: requests.Session) -> "PageOf":
    return PageOf(app_server(), http)


class PageOf:
    """The landing page, with its form filled in."""

    def __init__(self, root: str, http: requests.Session) -> None:
        self.root = root
        self._http = http

    def __call__(self, **fields: str) -> str:
        answer = self._http.get(f"{self.root}/", params=fields, headers=BROWSER)
        assert answer.headers["Cache-Control"] == "private, no-cache"
        return shown(answer)


def test_page_says_what_this_is_and_which_version_runs(page_of: PageOf) -> None:
    page = page_of()

    assert "package index" in page
    assert f"Version {__version__}" in page
    assert "Up and answering" in page
    assert f"{page_of.root}/REGISTRY/NAMESPACE/" in page
    assert alert(page) is None
    assert snippets(page) == ""


@pytest.mark.parametrize(
    ("registry", "namespace", "path", "browse"),
    [
        ("ghcr.io", "acme", "ghcr.io/acme", "ghcr.io/acme"),
        (" ghcr.io ", "/Acme/", "ghcr.io/acme", "ghcr.io/acme"),
        ("https://ghcr.io", "acme", "ghcr.io/acme", "ghcr.io/acme"),
        ("ghcr.io", "acme/team", "ghcr.io/acme/team", "ghcr.io/acme/team/+simple"),
        ("ghcr.io/acme", "team", "ghcr.io/acme/team", "ghcr.io/acme/team/+simple"),
        ("localhost:5000", "x", "localhost:5000/x", "localhost:5000/x"),
        (
            "http://localhost:5000",
            "x",
            "http%3A%2F%2Flocalhost%3A5000/x",
            "http%3A%2F%2Flocalhost%3A5000/x",
        ),
        (
            "http%3A%2F%2Flocalhost%3A5000",
            "x",
            "http%3A%2F%2Flocalhost%3A5000/x",
            "http%3A%2F%2Flocalhost%3A5000/x",
        ),
        ("HTTPS%3a%2f%2fghcr.io", "acme", "ghcr.io/acme", "ghcr.io/acme"),
    ],
)
def test_form_gives_the_address_in_every_configuration(
    page_of: PageOf, registry: str, namespace: str, path: str, browse: str
) -> None:
    page = page_of(registry=registry, namespace=namespace, credentials="0")

    assert f"{page_of.root}/{path}/" in snippets(page)
    assert re.findall(r'id="tool-([a-z]+)"', page) == KEYS
    (opened,) = [link.href for link in links(page) if link.text == "Open the index"]
    assert urljoin(page_of.root, opened) == f"{page_of.root}/ui/{browse}/"


def test_credentials_are_variables(page_of: PageOf) -> None:
    asked = page_of(registry="ghcr.io", namespace="acme", credentials="1")
    free = page_of(registry="ghcr.io", namespace="acme", credentials="0")

    assert 'export TWINE_PASSWORD="$REGISTRY_TOKEN" &&' in snippets(asked)
    assert "$REGISTRY_TOKEN@" not in snippets(asked)
    assert "write:packages" in asked
    assert 'id="tool-keyring"' in asked
    assert 'id="credentials" name="credentials" type="checkbox" value="1" checked' in asked
    assert "REGISTRY_" not in snippets(free)
    assert 'value="1" checked' not in free


@pytest.mark.parametrize(("tool", "chosen"), [("uv", "uv"), ("github", "github"), ("<x>", "pip")])
def test_chosen_tool_stays_chosen(page_of: PageOf, tool: str, chosen: str) -> None:
    page = page_of(registry="ghcr.io", namespace="acme", tool=tool)

    assert re.findall(r'id="tool-([a-z]+)"[^>]* checked', page) == [chosen]


@pytest.mark.parametrize(
    ("registry", "namespace", "words"),
    [
        ("", "", "registry is missing"),
        ("", "acme", "registry is missing"),
        ("ghcr.io", "", "namespace is missing"),
        ("foo", "acme", "'foo' is not a registry"),
        ("simple", "acme", "no index of its own"),
        ("embedded", "acme", "PYOCI_STORAGE"),
        ("ghcr.io", "a b", "cannot be the name of a repository"),
        ("ghcr.io", "../x", "'..'"),
        ("http://ghcr.io:99999", "acme", "is not a registry"),
        ('"><script>alert(1)</script>', "acme", "is not a registry"),
        ("ghcr.io", '"><script>alert(1)</script>', "cannot be the name of a repository"),
        ("x" * 3000, "y" * 3000, "is not a registry"),
    ],
)
def test_errors_are_shown_in_the_form(
    page_of: PageOf, registry: str, namespace: str, words: str
) -> None:
    page = page_of(registry=registry, namespace=namespace)

    assert words in (alert(page) or "")
    assert snippets(page) == ""
    assert "<script>alert" not in page
    assert 'aria-invalid="true"' in page


@pytest.mark.parametrize(
    ("registry", "namespace", "wrong"),
    [
        *(("ghcr.io", "", "namespace"), ("ghcr.io", "a b", "namespace")),
        *(("", "acme", "registry"), ("ghcr", "acme", "registry"), ("embedded", "x", "registry")),
    ],
)
def test_the_field_that_is_wrong_is_marked(
    page_of: PageOf, registry: str, namespace: str, wrong: str
) -> None:
    page = page_of(registry=registry, namespace=namespace)

    marked = [one for one in re.findall(r"<input [^>]*>", page) if 'aria-invalid="true"' in one]
    assert [re.findall(r'name="(\w+)"', one) for one in marked] == [[wrong]]
    assert f'aria-describedby="{wrong}-help form-error"' in marked[0]


def test_registry_that_is_not_allowed_is_refused_in_the_form(
    app_server: AppServer, http: requests.Session
) -> None:
    page_of = PageOf(app_server({"PYOCI_REGISTRIES": "ghcr.io,*.azurecr.io"}), http)

    page = page_of(registry="quay.io", namespace="acme")

    assert "PYOCI_REGISTRIES does not allow it" in (alert(page) or "")
    assert re.findall(r'<option value="([^"]*)"', page) == ["ghcr.io"]


def test_password_in_the_form_is_not_shown_again(
    page_of: PageOf, capsys: pytest.CaptureFixture[str]
) -> None:
    page = page_of(registry="https://alice:hunter2@ghcr.io", namespace="acme")

    assert "hunter2" not in page
    assert alert(page)
    assert "hunter2" not in capsys.readouterr().err


def test_own_index_is_configured_without_asking(
    app_server: AppServer, http: requests.Session
) -> None:
    page_of = PageOf(app_server({"PYOCI_INDEX": "ghcr.io/acme"}), http)

    page = page_of()
    free = page_of(registry="", namespace="", credentials="0")

    assert f"{page_of.root}/simple/" in snippets(page)
    assert "ghcr.io/acme" in page
    assert "REGISTRY_USER" in snippets(page)
    assert "REGISTRY_USER" not in snippets(free)
    (opened,) = [link.href for link in links(page) if link.text == "Open the index"]
    assert opened == "/ui/simple/"


def test_open_embedded_registry_asks_for_no_credentials(
    app_server: AppServer, http: requests.Session, tmp_path: Path
) -> None:
    page = PageOf(app_server({"PYOCI_STORAGE": str(tmp_path)}), http)()

    assert "pip install --index-url http" in snippets(page)
    assert "REGISTRY" not in snippets(page)


def test_fallback_index_is_mentioned(app_server: AppServer, http: requests.Session) -> None:
    fallback = {"PYOCI_FALLBACK_INDEX": "https://public.example/simple"}

    page = PageOf(app_server({"PYOCI_INDEX": "ghcr.io/acme", **fallback}), http)()

    assert "https://public.example/simple" in page


def test_setting_decides_the_address_that_is_shown(
    app_server: AppServer, http: requests.Session
) -> None:
    url = "https://packages.example.com/py"
    page = PageOf(app_server({"PYOCI_URL": url, "PYOCI_INDEX": "ghcr.io/acme"}), http)()

    assert f"{url}/simple/" in snippets(page)
    assert "127.0.0.1" not in page
    assert 'href="/py/style.css?v=' in page


def test_everything_is_below_the_sub_path(app_server: AppServer, http: requests.Session) -> None:
    root = app_server({"PYOCI_PATH": "/acme", "PYOCI_INDEX": "ghcr.io/x"})
    page = PageOf(f"{root}/acme", http)()

    assert f"{root}/acme/simple/" in snippets(page)
    local = re.findall(r'(?:href|src|action)="(/[^"]*)"', page)
    assert local
    assert all(path.startswith("/acme/") for path in local)
    for path in (path for path in local if "?v=" in path):
        assert http.get(f"{root}{path}").status_code == 200
    # Nothing is served outside of it, but the page that says so still finds its style.
    outside = http.get(f"{root}/other", headers=BROWSER)
    assert outside.status_code == 404
    assert 'href="/acme/style.css?v=' in outside.text


@pytest.mark.parametrize(("trusted", "believed"), [("127.0.0.1", True), ("192.0.2.1", False)])
def test_forwarded_headers_of_trusted_proxies_decide_the_address(
    tmp_path: Path, http: requests.Session, trusted: str, believed: bool
) -> None:
    forwarded = {
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "packages.example.com",
        "X-Forwarded-Prefix": "/py",
    }
    environ = {"FORWARDED_ALLOW_IPS": trusted, "PYOCI_INDEX": "ghcr.io/acme"}
    with gunicorn(tmp_path, environ) as server:
        page = http.get(f"{server.url}/", headers=forwarded).text
        own = f"{server.url}/simple/"

    assert ("https://packages.example.com/py/simple/" in snippets(page)) is believed
    assert (own in snippets(page)) is not believed
    assert ('href="/py/style.css?v=' in page) is believed


def test_landing_page_answers_304(page_of: PageOf, http: requests.Session) -> None:
    url = f"{page_of.root}/?registry=ghcr.io&namespace={quote('acme')}"
    known = {"If-None-Match": http.get(url).headers["ETag"]}

    assert http.get(url, headers=known).status_code == 304
    assert http.head(url).status_code == 200
    assert http.get(f"{page_of.root}/", headers=known).status_code == 200
