"""The pages for people in Chromium, with gunicorn and the embedded registry."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from playwright.sync_api import Browser, Page, expect

from tests.browser import DESKTOP, PHONE, Colours, chromium, overflow, serious_findings, window
from tests.clients import installed
from tests.described import make_described_wheel
from tests.integration.index_client import IndexClient
from tests.packages import make_wheel
from tests.patience import PATIENCE
from tests.registries import RunningRegistry
from tests.servers import RunningServer, environment, gunicorn

MARKDOWN = ("Description-Content-Type", "text/markdown")
EMBEDDED = "embedded/team"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    tmp = tmp_path_factory.mktemp("browser")
    with gunicorn(tmp, {"PYOCI_STORAGE": str(tmp / "storage")}) as running:
        yield running


@pytest.fixture
def team(server: RunningServer, http: requests.Session) -> IndexClient:
    """An index of the embedded registry."""
    return IndexClient(f"{server.url}/{EMBEDDED}", None, http)


def publish_hello(index: IndexClient, folder: Path, version: str) -> None:
    fields = [
        MARKDOWN,
        ("Summary", "Says hello"),
        ("Requires-Dist", "hello-parts>=1"),
        ("License-Expression", "MIT"),
    ]
    text = f"# Greetings\n\nNew in **{version}**."
    wheel = make_described_wheel(folder, "hello", version, *fields, description=text)
    index.published(wheel, "hello", version)


def copied(page: Page, snippet: str) -> str:
    """Return the content of the clipboard after a click on the button of a snippet."""
    page.evaluate("navigator.clipboard.writeText('')")
    button = page.locator(f'button[data-copy="{snippet}"]')
    button.click()
    expect(button).to_have_text("Copied")
    text: str = page.evaluate("navigator.clipboard.readText()")
    return text


def run_copied(command: str, home: Path) -> dict[str, str]:
    """Run a pip command as a shell does; return the versions that it installed."""
    target = home / "target"
    settings = {
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_TARGET": str(target),
        "PIP_NO_CACHE_DIR": "1",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }
    done = subprocess.run(
        ["bash", "-c", command],
        env=environment(home, settings),
        cwd=home,
        capture_output=True,
        timeout=PATIENCE,
        check=False,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return installed(target)


def test_from_the_form_to_an_installed_package_and_the_page_of_its_new_version(
    browser: Browser, server: RunningServer, team: IndexClient, tmp_path: Path
) -> None:
    team.published(make_wheel(tmp_path, "hello-parts", "1.0"), "hello-parts", "1.0")
    publish_hello(team, tmp_path, "1.0")
    with window(browser) as opened:
        page = opened.page
        page.goto(f"{server.url}/")
        page.get_by_text("Use another registry or namespace").click()
        page.get_by_label("Registry", exact=True).fill("embedded")
        page.get_by_label("Namespace").fill("team")
        page.get_by_label("The registry asks for credentials").uncheck()
        page.get_by_role("button", name="Show the configuration").click()
        page.wait_for_url("**namespace=team**")
        expect(page.locator("#index-url")).to_have_text(f"{team.base}/")
        command = copied(page, "snippet-pip-1")
        assert command == f"pip install --index-url {team.base}/ PACKAGE"
        (tmp_path / "first").mkdir()
        found = run_copied(command.replace("PACKAGE", "hello"), tmp_path / "first")
        assert found == {"hello": "1.0", "hello-parts": "1.0"}

        publish_hello(team, tmp_path, "1.1")
        page.get_by_role("link", name="Open the index").click()
        page.get_by_role("link", name="hello", exact=True).click()
        expect(page.get_by_role("heading", level=1)).to_have_text("hello 1.1")
        expect(page.get_by_label("State")).to_have_text("Latest")
        expect(page.locator(".description")).to_contain_text("New in 1.1.")
        expect(page.locator(".description strong")).to_have_text("1.1")
        needs = page.get_by_role("region", name="Dependencies")
        expect(needs).to_contain_text("hello-parts>=1")
        (tmp_path / "second").mkdir()
        found = run_copied(copied(page, "snippet-pip-1"), tmp_path / "second")
        assert found == {"hello": "1.1", "hello-parts": "1.0"}
        page.get_by_role("link", name="Versions 2").click()
        versions = page.get_by_role("region", name="Versions").get_by_role("link")
        expect(versions).to_have_text(["1.1", "1 file", "1.0", "1 file"])

        assert opened.seen.errors == []
        assert opened.seen.requests_elsewhere(server.url) == []


def test_typing_fills_in_the_configuration_and_searches(
    browser: Browser, server: RunningServer, team: IndexClient, tmp_path: Path
) -> None:
    for name in ("alpha", "beta"):
        team.published(make_wheel(tmp_path, name, "1.0"), name, "1.0")
    with window(browser) as opened:
        page = opened.page
        page.goto(f"{server.url}/")
        page.get_by_text("Use another registry or namespace").click()
        page.get_by_label("Registry", exact=True).fill("embedded")
        page.get_by_label("Namespace").fill("team")
        expect(page.locator("#index-url")).to_have_text(f"{team.base}/")
        page.goto(f"{server.url}/ui/{EMBEDDED}/")
        page.get_by_label("Search projects").fill("Alp")
        expect(page.get_by_role("link", name="alpha")).to_be_visible()
        expect(page.get_by_role("link", name="beta")).to_be_hidden()
        assert opened.seen.errors == []


def test_search_that_was_sent_goes_on_over_all_projects(
    browser: Browser, server: RunningServer, team: IndexClient, tmp_path: Path
) -> None:
    """A result page has only the matches, so a new search has to ask the server."""
    for name in ("gamma", "gamut", "delta"):
        team.published(make_wheel(tmp_path, name, "1.0"), name, "1.0")
    with window(browser) as opened:
        page = opened.page
        page.goto(f"{server.url}/ui/{EMBEDDED}/")
        box = page.get_by_label("Search projects")
        box.fill("gam")
        box.press("Enter")
        page.wait_for_url("**q=gam&open=1")
        expect(page.get_by_role("link", name="delta")).to_have_count(0)
        box.fill("delt")
        expect(page.get_by_role("link", name="delta")).to_be_visible()
        expect(page.get_by_role("link", name="gamma")).to_have_count(0)
        box.fill("")
        expect(page.get_by_role("link", name="gamma")).to_be_visible()
        assert opened.seen.errors == []


def test_typing_marks_the_field_that_is_wrong_and_an_answer_of_another_kind_changes_nothing(
    browser: Browser, server: RunningServer
) -> None:
    with window(browser) as opened:
        page = opened.page
        page.goto(f"{server.url}/?registry=embedded&namespace=")
        registry, namespace = page.get_by_label("Registry", exact=True), page.get_by_label("Name")
        expect(namespace).to_have_attribute("aria-invalid", "true")
        namespace.fill("a b")
        expect(page.locator("#form-error")).to_contain_text("cannot be the name")
        expect(namespace).to_have_attribute("aria-invalid", "true")
        expect(namespace).to_have_attribute("aria-describedby", "namespace-help form-error")
        namespace.fill("team")
        expect(page.locator("#index-url")).to_have_text(f"{server.url}/{EMBEDDED}/")
        expect(namespace).not_to_have_attribute("aria-invalid", "true")
        registry.fill("nothing")
        expect(registry).to_have_attribute("aria-invalid", "true")
        registry.fill("embedded")
        expect(page.locator("#index-url")).to_be_visible()
        assert opened.seen.errors == []

        # More than gunicorn accepts: it answers by itself.
        namespace.fill("x" * 20_000)
        expect(page.locator("#said")).to_have_text("The page could not be updated. Use the button.")
        expect(page.locator("#index-url")).to_have_text(f"{server.url}/{EMBEDDED}/")
        assert [one for one in opened.seen.errors if "414" not in one] == []


@pytest.mark.acceptance
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize("colours", ["light", "dark"])
def test_axe_finds_nothing_serious_and_no_page_is_wider_than_its_window(
    browser: Browser,
    server: RunningServer,
    team: IndexClient,
    tmp_path: Path,
    colours: Colours,
    size: tuple[int, int],
) -> None:
    name = f"{colours}-{size[0]}"
    fields = [MARKDOWN, ("Requires-Dist", "six; extra == 'old'"), ("Provides-Extra", "old")]
    text = "# Title\n\n[link](https://example.com/) and `code`\n\n```python\nimport this\n```\n"
    for version in ("1.0", "2.0rc1"):
        wheel = make_described_wheel(tmp_path, name, version, *fields, description=text)
        team.published(wheel, name, version)
    assert team.request("PATCH", f"/{name}/1.0", json={"yanked": "it is broken"}).ok
    long = f"{'l' * 90}-{name}"
    team.published(make_wheel(tmp_path, long, "1.0"), long, "1.0")
    paths = [
        "/",
        "/?registry=ghcr.io&namespace=acme&credentials=1",
        "/?registry=ghcr.io&namespace=",
        f"/ui/{EMBEDDED}/",
        f"/ui/{EMBEDDED}/{name}/",
        f"/ui/{EMBEDDED}/{name}/1.0/",
        f"/ui/{EMBEDDED}/{long}/",
        f"/ui/{EMBEDDED}/missing/",
        "/ui/embedded/nothing/",
    ]
    with window(browser, size=size, colours=colours) as opened:
        for path in paths:
            opened.page.goto(f"{server.url}{path}")
            assert serious_findings(opened.page) == [], path
            assert overflow(opened.page) <= 0, path


def test_on_a_phone_the_commands_of_the_own_index_come_before_the_form(
    browser: Browser, server: RunningServer
) -> None:
    with window(browser, size=PHONE) as opened:
        page = opened.page
        for path, own_first in (("/", True), ("/?registry=embedded&namespace=team", False)):
            page.goto(f"{server.url}{path}")
            form, result = page.locator("#setup").bounding_box(), page.locator("#result")
            found = result.bounding_box()
            assert form is not None
            assert found is not None
            assert (found["y"] < form["y"]) is own_first


def test_errors_have_a_page_that_says_what_to_do(
    browser: Browser, server: RunningServer, docker_htpasswd: RunningRegistry
) -> None:
    with window(browser) as opened:
        page = opened.page
        answer = page.goto(f"{server.url}/ui/{EMBEDDED}/no-such-project/")
        assert answer is not None
        assert answer.status == 404
        expect(page.get_by_role("heading", level=1)).to_have_text("There is no such thing here")
        expect(page.get_by_role("heading", name="What to do")).to_be_visible()
        number = page.locator(".note code").inner_text()
        assert answer.headers["x-request-id"] == number
    with window(browser, auth=("alice", "wrong")) as opened:
        page = opened.page
        answer = page.goto(f"{server.url}/ui/{docker_htpasswd.address}/team/hello/")
        assert answer is not None
        assert answer.status == 401
        expect(page.get_by_role("heading", level=1)).to_have_text(
            "The registry refused these credentials"
        )
