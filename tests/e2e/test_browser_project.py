"""The three pages of a project in Chromium, on a desktop and on a phone."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from playwright.sync_api import Browser, Locator, expect

from tests.browser import DESKTOP, PHONE, Colours, chromium, overflow, serious_findings, window
from tests.described import make_described_wheel, sha256
from tests.integration.index_client import IndexClient
from tests.packages import make_sdist, make_wheel
from tests.servers import RunningServer, gunicorn

ASIDE = ("About", "Links", "Dependencies")
FIELDS = (
    ("Summary", "Says hello"),
    ("License-Expression", "MIT"),
    ("Project-URL", "Source, https://git.example/hello"),
    ("Requires-Dist", "hello-parts>=1"),
    ("Description-Content-Type", "text/markdown"),
)
LONG = "1.0+" + ".".join(["abcdefgh"] * 13)
"""A version that nearly fills a tag."""
PATHS = ("", "1.5/files/", "versions/", f"{LONG}/", f"{LONG}/files/", "1.0/")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def hello(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The pages of a project with 36 versions, one of which has many files."""
    tmp = tmp_path_factory.mktemp("project")
    with (
        gunicorn(tmp, {"PYOCI_STORAGE": str(tmp / "storage")}) as server,
        requests.Session() as http,
    ):
        http.trust_env = False
        _publish(server, http, tmp)
        yield f"{server.url}/ui/simple/hello/"


def _publish(server: RunningServer, http: requests.Session, tmp: Path) -> None:
    index = IndexClient(f"{server.url}/simple", None, http)
    for version in (*(f"0.{number}" for number in range(31)), LONG, "1.0", "2.1rc1"):
        index.published(make_wheel(tmp, "hello", version), "hello", version)
    words = "# Greetings\n\n" + "Many words. " * 2000
    wheel = make_described_wheel(tmp, "hello", "2.0", *FIELDS, description=words)
    index.published(wheel, "hello", "2.0")
    for tag in (
        *(f"cp3{minor}-cp3{minor}-win_amd64" for minor in range(10, 14)),
        *(
            f"cp3{minor}-cp3{minor}-manylinux_2_17_x86_64.manylinux2014_x86_64"
            for minor in (13, 14)
        ),
        ".".join(f"py3{minor}" for minor in range(20)) + "-none-any",
        "cp313-cp313-some_system_with_a_rather_long_name_that_nobody_knows_and_" + "x" * 60,
    ):
        index.published(make_wheel(tmp, "hello", "1.5", tag=tag), "hello", "1.5")
    index.published(make_sdist(tmp, "hello", "1.5"), "hello", "1.5")
    assert index.request("PATCH", "/hello/1.0", json={"yanked": "broken " * 100}).ok


def box_of(locator: Locator) -> tuple[float, float]:
    """Return where an element begins, from the left and from the top."""
    found = locator.bounding_box()
    assert found is not None
    return found["x"], found["y"]


def test_on_a_phone_the_details_are_closed_and_come_before_the_description(
    browser: Browser, hello: str
) -> None:
    with window(browser, size=PHONE) as opened:
        page = opened.page
        page.goto(hello)
        description = page.get_by_role("region", name="Description")
        for name in ASIDE:
            region = page.get_by_role("region", name=name)
            summary = region.locator("summary").first
            expect(summary).to_have_text(name)
            assert box_of(summary)[1] < box_of(description)[1]
        content = page.get_by_role("region", name="Dependencies").get_by_text("hello-parts>=1")
        expect(content).to_be_hidden()
        page.locator("summary", has_text="Dependencies").focus()
        page.keyboard.press("Enter")
        expect(content).to_be_visible()
        assert opened.seen.errors == []


def test_on_a_desktop_the_details_are_beside_the_description_and_cannot_be_closed(
    browser: Browser, hello: str
) -> None:
    with window(browser) as opened:
        page = opened.page
        page.goto(hello)
        left, top = box_of(page.get_by_role("region", name="Description"))
        for name, content in zip(ASIDE, ("MIT", "Source", "hello-parts>=1"), strict=True):
            region = page.get_by_role("region", name=name)
            expect(region.get_by_role("heading", name=name)).to_be_visible()
            expect(region.get_by_text(content, exact=True)).to_be_visible()
            expect(region.locator("summary")).to_be_hidden()
            assert box_of(region)[0] > left
        assert abs(box_of(page.get_by_role("region", name="About"))[1] - top) < 1
        opened.page.set_viewport_size({"width": PHONE[0], "height": PHONE[1]})
        expect(page.get_by_text("hello-parts>=1")).to_be_hidden()


@pytest.mark.acceptance
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_menu_of_versions_and_tabs_work_by_keyboard(
    browser: Browser, hello: str, size: tuple[int, int]
) -> None:
    with window(browser, size=size) as opened:
        page = opened.page
        page.goto(hello)
        entry = page.locator(".menu").get_by_role("link", name="1.0", exact=True)
        expect(entry).to_be_hidden()
        page.get_by_text("Other versions").focus()
        page.keyboard.press("Enter")
        expect(entry).to_be_in_viewport(ratio=1)
        entry.press("Enter")
        page.wait_for_url("**/hello/1.0/")
        expect(page.get_by_role("heading", level=1)).to_have_text("hello 1.0")
        page.get_by_role("link", name="Files 1").press("Enter")
        page.wait_for_url("**/hello/1.0/files/")
        page.get_by_role("link", name="Versions 36").press("Enter")
        page.wait_for_url("**/hello/versions/")
        old = page.get_by_role("link", name="0.0", exact=True)
        expect(old).to_be_hidden()
        page.get_by_text("6 older versions").press("Enter")
        expect(old).to_be_visible()
        assert opened.seen.errors == []


def test_wheel_for_a_system_is_found_and_its_hash_is_copied(
    browser: Browser, hello: str, tmp_path: Path
) -> None:
    with window(browser, size=PHONE) as opened:
        page = opened.page
        page.goto(f"{hello}1.5/")
        page.get_by_role("link", name="Files 9").click()
        page.get_by_role("link", name="Windows 4").click()
        entry = page.get_by_role("listitem").filter(has_text="Windows x86-64, CPython 3.12")
        expect(entry).to_be_in_viewport()
        with page.expect_download() as started:
            entry.get_by_role("link").click()
        path = tmp_path / started.value.suggested_filename
        started.value.save_as(path)
        assert path.name == "hello-1.5-cp312-cp312-win_amd64.whl"
        entry.get_by_role("button", name="Copy: SHA-256").click()
        expect(entry.get_by_role("button")).to_have_text("Copied")
        assert page.evaluate("navigator.clipboard.readText()") == sha256(path)
        assert opened.seen.errors == []


@pytest.mark.acceptance
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize("colours", ["light", "dark"])
def test_axe_finds_nothing_on_the_pages_of_a_project_and_none_is_wider_than_its_window(
    browser: Browser, hello: str, colours: Colours, size: tuple[int, int]
) -> None:
    with window(browser, size=size, colours=colours) as opened:
        page = opened.page
        for path in PATHS:
            page.goto(f"{hello}{path}")
            for closed in page.locator("summary:visible").all():
                closed.press("Enter")
                assert overflow(page) <= 0, path
            assert serious_findings(page) == [], path
            assert overflow(page) <= 0, path
