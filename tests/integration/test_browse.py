"""The pages for people: an index, its projects, their versions."""

import json
import re
from pathlib import Path
from urllib.parse import quote, urljoin

import pytest
import requests
from werkzeug.wrappers import Response

from tests.conftest import AppServer
from tests.described import make_described_wheel, sha256
from tests.doubles import answering, wsgi_server
from tests.integration.index_client import IndexClient, links
from tests.packages import make_sdist, make_wheel
from tests.pages import BROWSER, heading, shown, text_of
from tests.registries import RunningRegistry

FIELDS = (
    ("Summary", "Says hello"),
    ("Author-email", "Ada Example <ada@example.com>"),
    ("License-Expression", "MIT"),
    ("Requires-Python", ">=3.9"),
    ("Project-URL", "Source, https://git.example/hello"),
    ("Requires-Dist", "httpx>=0.27"),
    ("Provides-Extra", "pdf"),
    ("Requires-Dist", 'reportlab; extra == "pdf"'),
    ("Description-Content-Type", "text/markdown"),
)
LABEL = ("classifiers", "PyOCI :: Label :: team :: payments")


@pytest.fixture
def ui(index: IndexClient) -> IndexClient:
    """The same index as pages for people."""
    root, _, rest = index.base.partition("://")
    host, _, path = rest.partition("/")
    index.session.headers.update(BROWSER)
    return IndexClient(f"{root}://{host}/ui/{path}", index.auth, index.session)


def test_project_shows_what_was_published(
    index: IndexClient, ui: IndexClient, tmp_path: Path
) -> None:
    wheel = make_described_wheel(
        tmp_path, "hello", "1.0", *FIELDS, description="# Greetings\n\n**Bold** words.\n"
    )
    index.published(wheel, "hello", "1.0", LABEL)
    sdist = index.published(make_sdist(tmp_path, "hello", "1.0"), "hello", "1.0")

    page = shown(ui.get("/hello/"))

    assert heading(page) == "hello 1.0"
    assert "<strong>Bold</strong>" in page
    text = text_of(page)
    for words in (
        *("Says hello", "Ada Example", "MIT", ">=3.9", "httpx>=0.27", "With the extra pdf"),
        *("reportlab", "team payments", "Latest", "Files 2", "Versions 1"),
    ):
        assert words in text, words
    hrefs = {link.text: link.href for link in links(page)}
    assert hrefs["Source"] == "https://git.example/hello"
    assert hrefs["Ada Example"] == "mailto:ada@example.com"

    files = shown(ui.get(f"/hello/{hrefs['Files 2']}"))

    text = text_of(files)
    for words in ("Any system, Python 3", "Source", sha256(wheel), sha256(sdist), "Says hello"):
        assert words in text, words
    hrefs = {link.text: link.href for link in links(files)}
    for file in (wheel, sdist):
        url = urljoin(f"{ui.base}/hello/1.0/files/", hrefs[file.name])
        assert index.session.get(url, auth=index.auth).content == file.read_bytes()


def test_index_lists_its_projects_or_asks_for_a_name(
    index: IndexClient, ui: IndexClient, registry: RunningRegistry, tmp_path: Path
) -> None:
    for name in ("zeta", "Alpha.One"):
        index.published(make_wheel(tmp_path, name, "1.0"), name, "1.0")

    page = shown(ui.get("/"))

    if registry.kind == "zuul-registry":
        assert "cannot be listed" in page
        opened = ui.get("/?project=zeta")
        assert (opened.status_code, opened.headers["Location"]) == (302, "zeta/")
        assert "is not a project name" in shown(ui.get("/?project=a/b"))
        return
    assert "2 projects" in page
    hrefs = [link.href for link in links(page) if link.text in {"alpha-one", "zeta"}]
    assert hrefs == ["alpha-one/", "zeta/"]
    assert heading(shown(ui.get("/zeta/"))) == "zeta 1.0"


@pytest.fixture
def storage_app(app_server: AppServer, tmp_path: Path, http: requests.Session) -> IndexClient:
    """A server with an index of its own; its root."""
    http.headers.update(BROWSER)
    return IndexClient(app_server({"PYOCI_STORAGE": str(tmp_path / "storage")}), None, http)


@pytest.fixture
def simple(storage_app: IndexClient) -> IndexClient:
    return IndexClient(f"{storage_app.base}/simple", None, storage_app.session)


def test_search_finds_names_however_they_are_spelled(
    storage_app: IndexClient, simple: IndexClient, tmp_path: Path
) -> None:
    for name in ("acme-core", "acme-data", "other"):
        simple.published(make_wheel(tmp_path, name, "1.0"), name, "1.0")

    for query, found in (
        ("ACME_", ["acme-core", "acme-data"]),
        ("acme data", ["acme-data"]),
        ("  Acme   CO ", ["acme-core"]),
        ("e.co", ["acme-core"]),
        ("", ["acme-core", "acme-data", "other"]),
        ("nothing<b>", []),
    ):
        page = shown(storage_app.get(f"/ui/simple/?q={quote(query)}"))
        listed = re.search(r'<ul class="projects">(.*?)</ul>', page, re.DOTALL)
        assert [link.text for link in links(listed[1] if listed else "")] == found
        assert "<b>" not in page


def test_long_list_has_pages(app_server: AppServer, http: requests.Session) -> None:
    names = [f"team/{kind}-{number:04}" for kind in ("acme", "other") for number in range(1300)]
    http.headers.update(BROWSER)
    with wsgi_server(answering(Response(json.dumps({"repositories": names})))) as url:
        host = url.partition("://")[2]
        base = f"{app_server()}/ui/http:/{host}/team/"
        seen: list[str] = []
        for query, count in (("", 2600), ("acme", 1300)):
            following, seen = f"{base}?q={query}", []
            while following:
                page = shown(http.get(following))
                seen += [link.text for link in links(page) if "-" in link.text]
                onward = [link.href for link in links(page) if link.text == "Next"]
                following = urljoin(following, onward[0]) if onward else ""
            assert seen == [name.removeprefix("team/") for name in names[:count]]
        last = shown(http.get(f"{base}?page=3"))
        assert "2001 to 2600 are shown" in last
        assert "Page 3 of 3" in last
        for odd in ("0", "-1", "9" * 5000, "x"):
            assert http.get(f"{base}?page={odd}").status_code == 200


def test_empty_index_says_how_to_publish_and_opens_what_is_not_listed(
    storage_app: IndexClient,
) -> None:
    """A registry may list to each caller only their own repositories, and show more."""
    page = shown(storage_app.get("/ui/simple/"))

    assert "The registry lists no projects that you can see" in page
    assert '<input id="project" name="project"' in page
    assert "Search projects" not in page
    assert storage_app.get("/ui/simple/?project=Zeta.X").headers["Location"] == "Zeta.X/"
    assert "is not a project name" in shown(storage_app.get("/ui/simple/?project=a/b"))
    assert f"twine upload --repository-url {storage_app.base}/simple/" in page


def test_newest_that_is_no_prerelease_and_not_yanked_is_shown_first(
    storage_app: IndexClient, simple: IndexClient, tmp_path: Path
) -> None:
    for version in ("1.0", "1.1", "1.2", "2.0rc1"):
        simple.published(make_wheel(tmp_path, "hello", version), "hello", version)
    assert simple.request("PATCH", "/hello/1.2", json={"yanked": "broken <b>"}).ok

    page = shown(storage_app.get("/ui/simple/hello/"))
    yanked = shown(storage_app.get("/ui/simple/hello/1.2/"))

    assert heading(page) == "hello 1.1"
    assert "pip install --index-url" in page
    assert "hello==" not in page
    versions = {link.text: link.href for link in links(page) if link.href.rstrip("/") == link.text}
    assert list(versions) == ["2.0rc1", "1.2", "1.1", "1.0"]
    assert heading(yanked) == "hello 1.2"
    assert "This version was yanked." in yanked
    assert "Reason: broken <b>" in text_of(yanked)
    assert "hello==1.2" in yanked
    assert {link.text: link.href for link in links(yanked)}["1.0"] == "../1.0/"
    pre = storage_app.get("/ui/simple/hello/2.0rc1/")
    assert "Pre-release" in shown(pre)


def test_version_is_found_however_it_is_spelled_and_beyond_those_listed(
    app_server: AppServer, http: requests.Session, tmp_path: Path
) -> None:
    root = app_server({"PYOCI_STORAGE": str(tmp_path / "storage"), "PYOCI_MAX_VERSIONS": "1"})
    index = IndexClient(f"{root}/simple", None, http)
    for version in ("1!2.0+cpu", "1.0"):
        index.published(make_wheel(tmp_path, "hello", version), "hello", version)

    for path in ("1!2.0+cpu", "1!2+CPU", "1%212.0%2Bcpu"):
        assert heading(shown(http.get(f"{root}/ui/simple/hello/{path}/"))) == "hello 1!2.0+cpu"
    assert heading(shown(http.get(f"{root}/ui/simple/hello/1/"))) == "hello 1.0"
    assert http.get(f"{root}/ui/simple/hello/3.0/").status_code == 404


def test_long_lists_are_folded_and_the_hidden_rest_is_counted(
    storage_app: IndexClient, simple: IndexClient, tmp_path: Path
) -> None:
    fields = [
        ("Keywords", ",".join(f"k{n}" for n in range(70))),
        *(("Requires-Dist", f"r{n}") for n in range(1005)),
        *(("Project-URL", f"l{n}, https://l.example/{n}") for n in range(60)),
    ]
    simple.published(make_described_wheel(tmp_path, "hello", "1.0", *fields), "hello", "1.0")

    page = shown(storage_app.get("/ui/simple/hello/"))

    text = text_of(page)
    assert "k48, k49 and 20 more" in text
    assert "The package lists 5 more dependencies." in text
    summaries = re.findall(r"<summary>(.*?)</summary>", page)
    assert summaries == ["10 more", "950 more"]
    assert page.index(">r49<") < page.index("<summary>950") < page.index(">r50<")


@pytest.mark.parametrize("last", ["not-a-version", "1.0-", "a:b", "latest"])
def test_what_is_no_version_is_not_found(
    storage_app: IndexClient, simple: IndexClient, tmp_path: Path, last: str
) -> None:
    simple.published(make_wheel(tmp_path, "hello", "1.0"), "hello", "1.0")

    for index in ("simple", "embedded/python/+simple"):
        page = storage_app.get(f"/ui/{index}/hello/{last}/")
        assert page.status_code == 404
        assert f"hello has no version {last}" in text_of(page.text)


def test_beginning_of_the_pages_leads_to_the_own_index_or_to_the_form(
    storage_app: IndexClient, app_server: AppServer, http: requests.Session
) -> None:
    below = app_server({"PYOCI_PATH": "/acme"})
    for root, end in ((storage_app.base, "/ui/simple/"), (f"{below}/acme", "/")):
        for path in ("/ui", "/ui/"):
            answer = http.get(f"{root}{path}", allow_redirects=False)
            assert answer.status_code == 302
            assert not answer.headers["Location"].startswith(("/", "http"))
            assert urljoin(answer.url, answer.headers["Location"]) == f"{root}{end}"


@pytest.mark.parametrize(
    ("path", "location"),
    [
        ("/ui/simple", "simple/"),
        ("/ui/simple?q=a", "simple/?q=a"),
        ("/ui/simple/hello", "hello/"),
        ("/ui/simple/hello/1.0", "1.0/"),
        ("/ui/embedded/python/hello/1.0", "1.0/"),
    ],
)
def test_page_without_its_slash_redirects_relatively(
    storage_app: IndexClient, path: str, location: str
) -> None:
    answer = storage_app.get(path)
    assert (answer.status_code, answer.headers["Location"]) == (301, location)


def test_way_up_leads_to_the_index_whatever_way_led_down(
    storage_app: IndexClient, tmp_path: Path
) -> None:
    deep = IndexClient(f"{storage_app.base}/embedded/a/b", None, storage_app.session)
    deep.published(make_wheel(tmp_path, "hello", "1.0"), "hello", "1.0")

    for path in (
        *("/ui/embedded/a/b/hello/", "/ui/embedded/a/b/hello/1.0/"),
        *("/ui/embedded/a/b/+simple/hello/", "/ui/embedded/a/b/+simple/hello/1.0/"),
    ):
        page = storage_app.get(path)
        (up,) = [link.href for link in links(shown(page)) if link.text == "embedded/a/b"]
        above = storage_app.session.get(urljoin(page.url, up))
        assert above.url == f"{storage_app.base}/ui/embedded/a/b/+simple/"
        assert "1 project<" in shown(above)


@pytest.mark.parametrize(
    "path",
    [
        *("/ui/x/", "/ui/ghcr.io/", "/ui/simple/hello/hello-1.0.tar.gz"),
        *("/ui/simple/hello/json/", "/ui/.git/config", "/ui/simple/a/b/c/"),
    ],
)
def test_address_that_is_no_page_is_answered_without_a_page(
    storage_app: IndexClient, path: str
) -> None:
    assert storage_app.get(path).status_code in {400, 404}


def test_pages_are_read_only(storage_app: IndexClient, simple: IndexClient, tmp_path: Path) -> None:
    simple.published(make_wheel(tmp_path, "hello", "1.0"), "hello", "1.0")

    for method in ("POST", "PUT", "DELETE", "PATCH"):
        for path in ("/ui/simple/", "/ui/simple/hello/", "/ui/simple/hello/1.0/"):
            assert storage_app.request(method, path).status_code in {404, 405}
    head = storage_app.request("HEAD", "/ui/simple/hello/")
    assert (head.status_code, head.content) == (200, b"")
    assert int(head.headers["Content-Length"]) > 1000


def test_page_is_private_and_revalidated_by_its_tag(
    storage_app: IndexClient, simple: IndexClient, tmp_path: Path
) -> None:
    simple.published(make_wheel(tmp_path, "hello", "1.0"), "hello", "1.0")

    for path in ("/ui/simple/", "/ui/simple/hello/"):
        page = storage_app.get(path)
        assert page.headers["Cache-Control"] == "private, no-cache"
        assert page.headers["Vary"] == "Authorization"
        known = {"If-None-Match": page.headers["ETag"]}
        assert storage_app.get(path, headers=known).status_code == 304
    simple.published(make_wheel(tmp_path, "hello", "1.1"), "hello", "1.1")
    assert storage_app.get(path, headers=known).status_code == 200


def test_every_page_allows_its_own_files_only(
    storage_app: IndexClient, simple: IndexClient, tmp_path: Path
) -> None:
    simple.published(make_wheel(tmp_path, "hello", "1.0"), "hello", "1.0")

    for path in ("/", "/ui/simple/", "/ui/simple/hello/", "/ui/simple/missing/", "/nothing"):
        page = storage_app.get(path)
        policy = page.headers["Content-Security-Policy"].split("; ")
        assert "default-src 'none'" in policy
        assert "script-src 'self'" in policy
        assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?! src=\"/)", page.text)
        for file in re.findall(r'(?:src|stylesheet" href)="([^"]+)"', page.text):
            assert storage_app.get(file).status_code == 200
