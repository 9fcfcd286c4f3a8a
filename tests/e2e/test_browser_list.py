"""The list of an index and the first page in Chromium, with a registry of 2,500 projects."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from playwright.sync_api import Browser, expect

from pyoci_flask.registry import create_registry
from tests.browser import DESKTOP, PHONE, Colours, chromium, overflow, serious_findings, window
from tests.described import make_described_wheel
from tests.doubles import wsgi_server
from tests.integration.index_client import IndexClient
from tests.many_projects import ManyProjects
from tests.patience import PATIENCE
from tests.servers import gunicorn

COUNT = 2500
SIZES = pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
SUMMARY = "What all of these projects say about themselves, which is too long for a phone"


@dataclass(frozen=True, slots=True)
class Site:
    """A server whose own index has many projects, and their registry."""

    url: str
    registry: ManyProjects

    @property
    def ui(self) -> str:
        """The address of the list."""
        return f"{self.url}/ui/simple/"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    tmp = tmp_path_factory.mktemp("list")
    many = ManyProjects(create_registry(tmp / "storage"), [f"acme-{n:04}" for n in range(COUNT)])
    with wsgi_server(many) as url, requests.Session() as http:
        http.trust_env = False
        settings = {"PYOCI_INDEX": f"{url}/team", "WEB_CONCURRENCY": "1"}
        with gunicorn(tmp, settings | {"PYOCI_TITLE": "Acme packages"}) as server:
            wheel = make_described_wheel(tmp, "model", "1.0", ("Summary", SUMMARY))
            IndexClient(f"{server.url}/simple", None, http).published(wheel, "model", "1.0")
            yield Site(server.url, many)


def batches(requested: list[str]) -> list[list[str]]:
    """Return the names that each request for rows asked for."""
    queries = [parse_qs(urlsplit(url).query) for url in requested]
    return [query["rows"][0].split(",") for query in queries if "rows" in query]


@pytest.mark.acceptance
@SIZES
def test_rows_are_filled_in_as_they_come_into_view_one_batch_at_a_time(
    browser: Browser, site: Site, size: tuple[int, int]
) -> None:
    with window(browser, size=size) as opened:
        page = opened.page
        running: list[str] = []
        together: list[int] = []

        def begin(url: str) -> None:
            if "?rows=" in url:
                running.append(url)
                together.append(len(running))

        page.on("request", lambda request: begin(request.url))
        page.on("requestfinished", lambda one: one.url in running and running.remove(one.url))
        # The cache knows what another test has read, so each size has a page of its own.
        number = 2 if size == DESKTOP else 1
        page.goto(f"{site.ui}?page={number}")
        first = page.locator(".projects li").first
        expect(first).to_contain_text(SUMMARY)
        expect(first.locator("time")).to_have_attribute("title", re.compile(r" \d{4}, .* UTC$"))
        expect(first.get_by_role("link")).to_have_text(f"acme-{(number - 1) * 1000:04}")
        expect(page.locator("[data-bare]").last).to_be_attached()
        last = page.locator(".projects li").last
        last.scroll_into_view_if_needed()
        expect(last).to_contain_text(SUMMARY)

        asked = batches(opened.seen.requests)
        assert all(len(names) <= 20 for names in asked)
        assert sum(map(len, asked)) < 150
        assert max(together) == 1
        assert opened.seen.errors == []
        assert overflow(page) <= 0


@pytest.mark.acceptance
def test_slash_goes_to_the_search_and_typing_searches_all_pages(
    browser: Browser, site: Site
) -> None:
    with window(browser) as opened:
        page = opened.page
        page.goto(site.ui)
        box = page.get_by_label("Search projects")
        page.keyboard.press("Control+/")
        expect(box).not_to_be_focused()
        page.keyboard.press("/")
        expect(box).to_be_focused()
        page.keyboard.type("2/")
        expect(box).to_have_value("2/")
        page.keyboard.press("Backspace")
        page.keyboard.type("49")
        found = page.locator(".projects li")
        expect(found.first).to_contain_text(SUMMARY)
        expect(page.get_by_role("link", name="acme-2499")).to_be_visible()
        expect(page.get_by_role("link", name="acme-0001")).to_have_count(0)
        box.fill("acme-2499")
        expect(found).to_have_count(1)
        assert page.url.endswith("?q=acme-2499")
        box.press("Enter")
        page.wait_for_url("**/ui/simple/acme-2499/")
        page.go_back()
        expect(box).to_be_visible()
        assert opened.seen.errors == []


@pytest.mark.acceptance
def test_a_registry_that_does_not_respond_leaves_names_to_click_and_is_asked_no_more(
    browser: Browser, site: Site
) -> None:
    site.registry.released.clear()
    try:
        with window(browser) as opened:
            page = opened.page
            with page.expect_response("**?rows=*", timeout=PATIENCE * 1000):
                page.goto(f"{site.ui}?page=3")
            page.locator(".projects li").last.scroll_into_view_if_needed()
            expect(page.get_by_role("link", name="acme-2499")).to_be_visible()
            page.wait_for_function("givenUp")
            assert len(batches(opened.seen.requests)) == 1
            assert opened.seen.errors == []
    finally:
        site.registry.released.set()


@pytest.mark.acceptance
@SIZES
@pytest.mark.parametrize("colours", ["light", "dark"])
def test_axe_finds_nothing_in_the_list_and_on_the_first_page(
    browser: Browser, site: Site, size: tuple[int, int], colours: Colours
) -> None:
    with window(browser, size=size, colours=colours) as opened:
        page = opened.page
        for path in ("/ui/simple/?q=249", "/ui/simple/?q=249&sort=date", "/", "/?registry=bad.."):
            page.goto(f"{site.url}{path}")
            if "q=" in path:
                expect(page.locator(".projects li").first).to_contain_text(SUMMARY)
            assert serious_findings(page) == [], path
            assert overflow(page) <= 0, path
        assert opened.seen.errors == []


@pytest.mark.acceptance
@SIZES
def test_the_first_page_searches_by_keyboard(
    browser: Browser, site: Site, size: tuple[int, int]
) -> None:
    with window(browser, size=size) as opened:
        page = opened.page
        page.goto(f"{site.ui}?q=acme-2499")
        expect(page.locator(".projects li").first).to_contain_text(SUMMARY)
        page.goto(f"{site.url}/")
        expect(page.get_by_role("heading", level=1)).to_have_text("Acme packages")
        latest = page.get_by_role("region", name="Latest releases")
        expect(latest.get_by_role("listitem").first).to_contain_text(SUMMARY)
        page.keyboard.press("/")
        page.keyboard.type("acme-0042")
        page.keyboard.press("Enter")
        page.wait_for_url("**/ui/simple/acme-0042/")
        assert opened.seen.errors == []
