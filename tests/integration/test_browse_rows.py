"""The rows of a list of projects: version, date and summary, and which calls they take."""

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urljoin

import pytest
import requests

from pyoci_flask.registry import create_registry
from pyoci_flask.web.people import rows as rows_module
from tests.conftest import AppServer
from tests.described import make_described_wheel
from tests.doubles import Recorder, wsgi_server
from tests.integration.index_client import IndexClient, links
from tests.integration.registry_doubles import ALICE, BOB, Members, TokensForAll
from tests.many_projects import CATALOG, ManyProjects
from tests.pages import BROWSER, heading, shown, text_of
from tests.patience import PATIENCE
from tests.registries import write_htpasswd


@dataclass(frozen=True, slots=True)
class Row:
    """A project as a list shows it."""

    name: str
    text: str
    bare: bool


def rows_of(page: str) -> list[Row]:
    """Return the rows of all lists of projects on a page."""
    found = re.findall(r'<li data-row="([^"]*)"( data-bare)?>(.*?)</li>', page, re.DOTALL)
    return [Row(name, text_of(text.partition("</a>")[2]), bool(bare)) for name, bare, text in found]


def names_of(page: str) -> list[str]:
    return [row.name for row in rows_of(page)]


@pytest.fixture
def browser(http: requests.Session) -> requests.Session:
    http.headers.update(BROWSER)
    return http


def publish(index: IndexClient, folder: Path, name: str, version: str, summary: str = "") -> None:
    fields = [("Summary", summary)] if summary else []
    index.published(make_described_wheel(folder, name, version, *fields), name, version)


@dataclass(frozen=True, slots=True)
class Lab:
    """An index in a registry whose calls are counted."""

    index: IndexClient
    ui: IndexClient
    registry: Recorder
    url: str
    root: str

    def calls(self) -> list[str]:
        """Return the paths of the calls since the last time."""
        calls, self.registry.calls[:] = self.registry.calls[:], []
        return [call.path for call in calls]


@pytest.fixture
def lab(
    registry_calls: Recorder, registry_url: str, app_server: AppServer, browser: requests.Session
) -> Lab:
    root = app_server({"PYOCI_INDEX": f"{registry_url}/team"})
    index = IndexClient(f"{root}/simple", None, browser)
    return Lab(
        index, IndexClient(f"{root}/ui/simple", None, browser), registry_calls, registry_url, root
    )


def test_the_list_takes_the_catalog_only_and_rows_take_two_calls_each_once(
    lab: Lab, app_server: AppServer, tmp_path: Path
) -> None:
    for name in ("acme-one", "two"):
        publish(lab.index, tmp_path, name, "1.0", "Old")
        publish(lab.index, tmp_path, name, "2.0", f"About {name}")
        publish(lab.index, tmp_path, name, "3.0rc1", "Too new")
    root = app_server({"PYOCI_INDEX": f"{lab.url}/team"})
    ui = IndexClient(f"{root}/ui/simple", None, lab.ui.session)
    lab.calls()

    assert all(row.bare and not row.text for row in rows_of(shown(ui.get("/"))))
    assert lab.calls() == [CATALOG]

    batch = rows_of(shown(ui.get("/?rows=acme-one,two,missing")))
    assert sorted(row.name for row in batch) == ["acme-one", "two"]
    assert all(re.fullmatch(r"2\.0 just now About \S+", row.text) for row in batch)
    calls = lab.calls()
    assert len(calls) <= 2 * 2 + 1
    assert not any(path.endswith(("/1.0", "/3.0rc1")) for path in calls)

    listed = rows_of(shown(ui.get("/")))
    assert [row.text for row in listed] == ["2.0 just now About acme-one", "2.0 just now About two"]
    assert lab.calls() == [CATALOG]


def test_a_row_shows_a_new_version_at_once_and_never_only_an_old_one(
    lab: Lab, tmp_path: Path
) -> None:
    publish(lab.index, tmp_path, "hello", "1.0")
    file = lab.index.get("/hello/hello-1.0-py3-none-any.whl")
    assert file.status_code == 200

    # A download has read one version. Whether there are newer ones is not known.
    assert [row.bare for row in rows_of(shown(lab.ui.get("/")))] == [True]
    assert rows_of(shown(lab.ui.get("/?rows=hello")))[0].text.startswith("1.0 ")
    publish(lab.index, tmp_path, "hello", "2.0")
    assert not any(row.text.startswith("1.0") for row in rows_of(shown(lab.ui.get("/"))))
    assert rows_of(shown(lab.ui.get("/?rows=hello")))[0].text.startswith("2.0 ")
    assert lab.index.request("PATCH", "/hello/2.0", json={"yanked": "broken"}).ok
    assert rows_of(shown(lab.ui.get("/?rows=hello")))[0].text.startswith("1.0 ")
    assert rows_of(shown(lab.ui.get("/")))[0].text.startswith("1.0 ")


def test_the_page_of_a_project_makes_its_row_known(lab: Lab, tmp_path: Path) -> None:
    publish(lab.index, tmp_path, "hello", "1.0", "<b>Bold</b> & more")
    shown(lab.ui.get("/hello/"))

    page = shown(lab.ui.get("/"))

    assert rows_of(page)[0].text == "1.0 just now <b>Bold</b> & more"
    assert "<b>" not in page


def test_a_batch_has_a_limit_and_ignores_what_is_no_name(
    app_server: AppServer, browser: requests.Session, tmp_path: Path
) -> None:
    many = ManyProjects(create_registry(tmp_path), [])
    with wsgi_server(many) as url:
        ui = f"{app_server({'PYOCI_INDEX': f'{url}/team'})}/ui/simple/"
        names = ",".join(f"p{number}" for number in range(100))
        assert rows_of(shown(browser.get(f"{ui}?rows={names}"))) == []
        assert 0 < len({path.split("/")[3] for path in many.taken()}) <= rows_module.MOST_ROWS
        for odd in ("", ",,", "../x", "a/b", "<b>", "x" * 9000, "pyoci-probe"):
            page = browser.get(ui, params={"rows": odd})
            assert rows_of(shown(page)) == []
            assert page.headers["Cache-Control"] == "private, no-cache"
        assert many.taken() == []


def test_a_slow_registry_delays_neither_the_list_nor_the_answer_for_its_rows(
    app_server: AppServer,
    browser: requests.Session,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rows_module, "_PATIENCE", 0.3)
    many = ManyProjects(create_registry(tmp_path), [f"p{number}" for number in range(40)])
    many.released.clear()
    with wsgi_server(many) as url:
        ui = f"{app_server({'PYOCI_INDEX': f'{url}/team'})}/ui/simple/"
        try:
            assert len(rows_of(shown(browser.get(ui)))) == 40
            begun = time.monotonic()
            page = shown(browser.get(f"{ui}?rows={','.join(many.names[:20])}"))
            assert time.monotonic() - begun < 3
            assert rows_of(page) == []
            assert "<ul data-slow>" in page
            # The background has a part of the threads, and begins nothing after the deadline.
            assert len(many.taken()) - 1 <= 8
        finally:
            many.released.set()


@pytest.fixture
def private(tmp_path: Path) -> Iterator[str]:
    """A registry in which only ALICE may do anything."""
    with wsgi_server(Members(create_registry(tmp_path / "private"))) as url:
        yield url


def test_what_one_caller_has_read_is_shown_to_no_other(
    app_server: AppServer, browser: requests.Session, tmp_path: Path, private: str
) -> None:
    root = app_server({"PYOCI_INDEX": f"{private}/team"})
    alice = IndexClient(f"{root}/simple", ALICE, browser)
    publish(alice, tmp_path, "hello", "1.0", "Secret words")
    assert "Secret words" in shown(alice.session.get(f"{root}/ui/simple/?rows=hello", auth=ALICE))
    assert "Secret words" in shown(alice.session.get(f"{root}/ui/simple/", auth=ALICE))
    assert "Secret words" in shown(alice.session.get(f"{root}/", auth=ALICE))

    for auth in (None, BOB):
        for path in ("/ui/simple/?rows=hello", "/ui/simple/", "/ui/simple/?sort=date", "/"):
            page = browser.get(f"{root}{path}", auth=auth)
            assert "Secret" not in page.text
            assert "hello" not in page.text.replace("?rows=hello", "")
    # A browser would ask for a password while the page is shown.
    assert browser.get(f"{root}/ui/simple/?rows=hello").status_code == 200


def test_summaries_that_a_caller_may_not_read_are_not_searched(
    app_server: AppServer, browser: requests.Session, tmp_path: Path
) -> None:
    registry = TokensForAll(create_registry(tmp_path / "registry"), frozenset({"hidden"}))
    with wsgi_server(registry) as url:
        root = app_server({"PYOCI_INDEX": f"{url}/team"})
        alice = IndexClient(f"{root}/simple", ALICE, browser)
        for name in ("hidden", "open"):
            publish(alice, tmp_path, name, "1.0", "Same words")
        for auth, found in ((ALICE, ["hidden", "open"]), (None, ["open"])):
            ui = f"{root}/ui/simple/"
            shown(browser.get(f"{ui}?rows=hidden,open", auth=auth))
            assert names_of(shown(browser.get(f"{ui}?q=same words", auth=auth))) == found
            latest = shown(browser.get(f"{root}/", auth=auth))
            assert sorted(names_of(latest)) == found


@pytest.fixture
def own(
    app_server: AppServer,
    browser: requests.Session,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> IndexClient:
    """A server with the embedded registry; its root."""
    monkeypatch.setattr(rows_module, "_SAMPLING", PATIENCE)  # a busy machine needs longer
    root = app_server({"PYOCI_STORAGE": str(tmp_path / "storage")})
    index = IndexClient(f"{root}/simple", None, browser)
    for name, summary in (
        ("toolrich", ""),
        ("rich-cli", "Command line"),
        ("zebra", "Stripes for rich text"),
        ("rich", "Tables"),
    ):
        publish(index, tmp_path, name, "1.0", summary)
    return IndexClient(root, None, browser)


def test_search_ranks_the_name_then_its_beginning_then_parts_then_summaries(
    own: IndexClient,
) -> None:
    bare = shown(own.get("/ui/simple/?q=Rich"))
    assert names_of(bare) == ["rich", "rich-cli", "toolrich"]

    shown(own.get("/ui/simple/?rows=rich,rich-cli,toolrich,zebra"))
    assert names_of(shown(own.get("/ui/simple/?q=RICH"))) == [
        *("rich", "rich-cli", "toolrich", "zebra")
    ]
    assert names_of(shown(own.get("/ui/simple/?q=for rich T"))) == ["zebra"]


def test_a_search_that_is_sent_opens_the_only_project_that_it_finds(own: IndexClient) -> None:
    opened = own.get("/ui/simple/?q=Zeb&open=1")

    assert (opened.status_code, opened.headers["Location"]) == (302, "zebra/")
    assert names_of(shown(own.get("/ui/simple/?q=zeb"))) == ["zebra"]
    assert len(names_of(shown(own.get("/ui/simple/?q=rich&open=1")))) == 3
    assert names_of(shown(own.get("/ui/simple/?q=nothing&open=1"))) == []
    assert len(names_of(shown(own.get("/ui/simple/?q=&open=1")))) == 4


def test_the_latest_come_first_and_what_is_not_known_last_by_name(own: IndexClient) -> None:
    shown(own.get("/ui/simple/?rows=toolrich,zebra"))

    page = shown(own.get("/ui/simple/?sort=date"))

    assert names_of(page) == ["zebra", "toolrich", "rich", "rich-cli"]
    assert "The dates of 2 projects are not known yet. They come last, sorted by name." in text_of(
        page
    )
    hrefs = {link.text: link.href for link in links(page)}
    assert hrefs["By name"] == "./"
    found = shown(own.get("/ui/simple/?sort=date&q=rich"))
    assert names_of(found)[:2] == ["zebra", "toolrich"]
    hrefs = {link.text: link.href for link in links(found)}
    assert (hrefs["By name"], hrefs["Latest first"]) == ("./?q=rich", "./?q=rich&sort=date")
    assert '<input type="hidden" name="sort" value="date">' in found
    assert names_of(shown(own.get("/ui/simple/?sort=odd"))) == sorted(names_of(page))


def test_a_long_list_keeps_its_order_and_search_on_each_page(
    app_server: AppServer, browser: requests.Session, tmp_path: Path
) -> None:
    names = [f"acme-{number:04}" for number in range(2500)]
    with wsgi_server(ManyProjects(create_registry(tmp_path), names)) as url:
        ui = f"{app_server({'PYOCI_INDEX': f'{url}/team'})}/ui/simple/"
        page = shown(browser.get(f"{ui}?q=acme&sort=date"))
        onward = {link.text: link.href for link in links(page)}["Next"]
        assert onward == "./?q=acme&sort=date&page=2"
        assert names_of(shown(browser.get(urljoin(ui, onward)))) == names[1000:2000]


def test_the_first_page_begins_with_search_and_latest_releases(own: IndexClient) -> None:
    page = shown(own.get("/"))

    assert names_of(page) == ["rich", "zebra", "rich-cli", "toolrich"]
    hrefs = {link.text: link.href for link in links(page)}
    assert hrefs["zebra"] == "/ui/simple/zebra/"
    assert hrefs["All projects"] == "/ui/simple/?sort=date"
    order = ["Search projects", "Latest releases", "1 Set credentials", "2 Install", "3 Publish"]
    places = [text_of(page).index(words) for words in (*order, "Use another registry")]
    assert places == sorted(places)
    assert f"twine upload --username any --password any --repository-url {own.base}/simple/" in page
    assert "put ?existing=skip at the end of the address" in " ".join(text_of(page).split())


def test_the_first_page_shows_nothing_of_a_registry_that_asks_for_a_login(
    app_server: AppServer, browser: requests.Session, tmp_path: Path
) -> None:
    users = tmp_path / "users"
    write_htpasswd(users, [ALICE])
    environ = {"PYOCI_STORAGE": str(tmp_path / "s"), "PYOCI_STORAGE_USERS": str(users)}
    root = app_server(environ)
    publish(IndexClient(f"{root}/simple", ALICE, browser), tmp_path, "hello", "1.0")

    assert names_of(shown(browser.get(f"{root}/", auth=ALICE))) == ["hello"]
    for auth in (None, (ALICE[0], "wrong"), BOB):
        page = browser.get(f"{root}/", auth=auth)
        assert names_of(shown(page)) == []
        assert "hello" not in page.text
    odd = browser.get(f"{root}/", headers={"Authorization": "Basic ?"})
    assert names_of(shown(odd)) == []


def test_the_first_page_calls_no_registry_elsewhere(lab: Lab, tmp_path: Path) -> None:
    publish(lab.index, tmp_path, "hello", "1.0", "Says hello")
    lab.calls()

    assert names_of(shown(lab.ui.session.get(f"{lab.root}/"))) == []
    assert lab.calls() == []
    shown(lab.ui.get("/?rows=hello"))
    lab.calls()
    (row,) = rows_of(shown(lab.ui.session.get(f"{lab.root}/")))
    assert row.text == "1.0 just now Says hello"
    assert lab.calls() == []


@pytest.mark.parametrize("title", ["", "Acme <packages> & more"])
def test_the_operator_names_the_index_and_the_address_of_the_registry_is_not_shown(
    app_server: AppServer, browser: requests.Session, tmp_path: Path, title: str
) -> None:
    with wsgi_server(create_registry(tmp_path / "registry")) as url:
        host = url.partition("://")[2]
        environ = {"PYOCI_INDEX": f"{url}/team"} | ({"PYOCI_TITLE": title} if title else {})
        root = app_server(environ)
        publish(IndexClient(f"{root}/simple", None, browser), tmp_path, "hello", "1.0")
        name = title or "Python packages"
        for path in ("/", "/ui/simple/"):
            page = shown(browser.get(f"{root}{path}"))
            assert heading(page) == name
            assert host not in page
        assert host not in shown(browser.get(f"{root}/ui/simple/hello/"))
        (brand,) = re.findall(r'<a class="brand".*?</a>', page)
        assert text_of(brand) == (title or "PyOCI for Flask")
        assert heading(shown(browser.get(f"{root}/ui/http:/{host}/team/"))) == f"{host}/team"
