"""What the error page offers instead of a project or a version that does not exist."""

import re
from html import unescape
from pathlib import Path

import pytest
import requests

from pyoci_flask.registry import create_registry
from tests.conftest import AppServer
from tests.described import make_described_wheel
from tests.integration.fallback_checks import FALLBACK, SETTINGS
from tests.integration.index_client import IndexClient, address
from tests.integration.registry_doubles import ALICE, TokensForAll, serving
from tests.packages import make_wheel
from tests.pages import BROWSER

NAMES = ("1.0", "1.1", "1.2", "1.3", "2.0", "2.1", "2.2", "2.3", "3.0")


def page_of(http: requests.Session, url: str, auth: tuple[str, str] | None = None) -> str:
    page = http.get(url, auth=auth, headers=BROWSER)
    assert page.status_code == 404
    return page.text


def links(page: str) -> dict[str, str]:
    """The links of the page's main part, by their texts."""
    main = page.partition("<main")[2].partition("</main>")[0]
    found = re.findall(r'<a [^>]*?href="([^"]*)"[^>]*>(.*?)</a>', main)
    return {re.sub("<[^>]*>", "", text): unescape(href) for href, text in found}


def test_missing_version_offers_the_nearest_and_the_newest(
    app_server: AppServer, http: requests.Session, tmp_path: Path
) -> None:
    root = app_server({"PYOCI_STORAGE": str(tmp_path / "storage"), "PYOCI_PATH": "/sub"})
    index = IndexClient(f"{root}/sub/simple", None, http)
    for name in NAMES:
        index.published(make_wheel(tmp_path, "hello", name), "hello", name)

    for tab in ("", "files/"):
        page = page_of(http, f"{root}/sub/ui/simple/hello/1.2.5/{tab}")
        assert "This version does not exist" in page
        found = links(page)
        assert [text for text in found if text in NAMES] == ["3.0", "2.3", "2.2", "1.3", "1.2"]
        for text in ("1.3", "The page of hello", "all versions", "The projects of this index"):
            assert http.get(f"{root}{found[text]}", headers=BROWSER).status_code == 200, text
    assert "1.0" in links(page_of(http, f"{root}/sub/ui/simple/hello/0.1/"))


@pytest.mark.parametrize("path", ["/ui/simple/{}/", "/simple/{}/", "/ui/simple/{}/1.0/"])
def test_missing_project_offers_the_index_and_its_search(
    shared_app: str, http: requests.Session, path: str
) -> None:
    page = page_of(http, shared_app + path.format("missing-project"))

    found = links(page)
    assert found["The projects of this index"] == "/ui/simple/"
    assert 'action="/ui/simple/"' in page
    assert 'value="missing-project"' in page
    assert "The page of missing-project" not in found
    assert FALLBACK not in page


def test_missing_project_in_a_registry_of_the_path_offers_that_index(
    shared_app: str, http: requests.Session
) -> None:
    found = links(page_of(http, f"{shared_app}/ui/embedded/a/b/+simple/missing-project/"))

    assert found["The projects of this index"] == "/ui/embedded/a/b/+simple/"


def test_missing_file_offers_the_page_of_its_project(
    shared_app: str, http: requests.Session
) -> None:
    found = links(page_of(http, f"{shared_app}/simple/hello/hello-9.0.tar.gz"))

    assert found["The page of hello"] == "/ui/simple/hello/"


def test_missing_project_offers_the_fallback_except_for_names_that_never_fall_back(
    app_server: AppServer, http: requests.Session, tmp_path: Path
) -> None:
    root = app_server(SETTINGS | {"PYOCI_STORAGE": str(tmp_path)})

    public = f"{FALLBACK}/some-project/"
    assert links(page_of(http, f"{root}/ui/simple/Some.Project/"))[public] == public
    assert FALLBACK not in page_of(http, f"{root}/ui/simple/acme-secret/")


def test_page_with_a_description_allows_images_of_the_named_hosts_and_no_other_page_does(
    app_server: AppServer, http: requests.Session, tmp_path: Path
) -> None:
    hosts = {"PYOCI_PAGE_IMAGES": "img.example *.cdn.example"}
    root = app_server(hosts | {"PYOCI_STORAGE": str(tmp_path / "storage")})
    text = "![a](https://img.example/a.png) ![b](https://other.example/b.png)"
    kind = ("Description-Content-Type", "text/markdown")
    wheel = make_described_wheel(tmp_path, "hello", "1.0", kind, description=text)
    IndexClient(f"{root}/simple", None, http).published(wheel, "hello", "1.0")

    page = http.get(f"{root}/ui/simple/hello/", headers=BROWSER)

    policy = page.headers["Content-Security-Policy"].split("; ")
    assert "img-src 'self' https://img.example https://*.cdn.example" in policy
    assert page.headers["Referrer-Policy"] == "no-referrer"
    assert re.findall(r'<img src="(https:[^"]*)"', page.text) == ["https://img.example/a.png"]
    for path in ("/", "/ui/simple/", "/ui/simple/hello/1.0/files/", "/ui/simple/missing/"):
        other = http.get(f"{root}{path}", headers=BROWSER)
        assert "img-src 'self';" in other.headers["Content-Security-Policy"]


def test_project_that_only_credentials_show_is_not_offered_from_the_fallback(
    app_server: AppServer, http: requests.Session, tmp_path: Path
) -> None:
    app = TokensForAll(create_registry(tmp_path), frozenset({"private"}))
    with serving(app, ALICE) as registry:
        url = f"{app_server(SETTINGS)}/ui/{address(registry.url)}/team/private/"
        assert FALLBACK not in page_of(http, url)
        assert FALLBACK in page_of(http, url, ALICE)
