"""The three pages of a project: what they show of its files and versions, and the way between."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urljoin

import pytest
import requests

from tests.conftest import AppServer
from tests.doubles import wsgi_server
from tests.integration.index_client import IndexClient, address, links
from tests.packages import make_sdist, make_wheel
from tests.pages import BROWSER, heading, shown, text_of
from tests.version_documents import Documents, file_entry, image_index

YANKED = "com.pyoci.yanked"


@pytest.fixture
def simple(app_server: AppServer, tmp_path: Path, http: requests.Session) -> IndexClient:
    """The own index of a server."""
    http.headers.update(BROWSER)
    root = app_server({"PYOCI_STORAGE": str(tmp_path / "storage")})
    return IndexClient(f"{root}/simple", None, http)


@pytest.fixture
def ui(simple: IndexClient) -> IndexClient:
    """The same index as pages for people."""
    root = simple.base.removesuffix("/simple")
    return IndexClient(f"{root}/ui/simple", None, simple.session)


def items(page: str, kind: str) -> list[str]:
    """Return the text of the entries of the page's lists of a kind."""
    found = re.findall(rf'<(ul|ol) class="{kind}">(.*?)</\1>', page, re.DOTALL)
    return [
        text_of(one) for _, body in found for one in re.findall(r"<li>(.*?)</li>", body, re.DOTALL)
    ]


def test_files_are_sorted_by_system_and_say_what_they_run_on(
    simple: IndexClient, ui: IndexClient, tmp_path: Path
) -> None:
    tags = [
        *("cp312-cp312-manylinux_2_17_x86_64.manylinux2014_x86_64", "cp312-cp312-win_amd64"),
        *("cp313-cp313-win32", "cp313-cp313-win_amd64", "cp313-cp313-musllinux_1_2_x86_64"),
        *("cp313-cp313-manylinux_2_28_aarch64", "cp313-cp313-manylinux_2_28_x86_64"),
        *("cp313-cp313-macosx_11_0_arm64", "py3-none-any"),
    ]
    for tag in tags:
        simple.published(make_wheel(tmp_path, "hello", "1.0", tag=tag), "hello", "1.0")
    simple.published(make_sdist(tmp_path, "hello", "1.0"), "hello", "1.0")

    page = shown(ui.get("/hello/1.0/files/"))

    words = [text_of(one) for one in re.findall(r'<p class="runs">(.*?)</p>', page, re.DOTALL)]
    assert words == [
        "Any system, Python 3",
        "Windows x86-64, CPython 3.13",
        "Windows x86, CPython 3.13",
        "Windows x86-64, CPython 3.12",
        "macOS 11 or newer, Apple silicon, CPython 3.13",
        "Linux x86-64, CPython 3.13",
        "Linux ARM64, CPython 3.13",
        "musl Linux x86-64, CPython 3.13",
        "Linux x86-64, CPython 3.12",
        "Source",
    ]
    headings = re.findall(r'<h3 id="(system-\d)">(.*?)</h3>', page)
    named = ["Any system", "Windows", "macOS", "Linux", "Source"]
    assert [name for _, name in headings] == named
    ways = {link.href: link.text for link in links(page) if link.href.startswith("#system")}
    counted = zip(named, (1, 3, 1, 4, 1), strict=True)
    assert list(ways.values()) == [f"{name} {number}" for name, number in counted]
    assert set(ways) == {f"#{id_}" for id_, _ in headings}


def test_file_has_its_size_time_hash_and_yank(
    simple: IndexClient, ui: IndexClient, tmp_path: Path
) -> None:
    broken = simple.published(make_wheel(tmp_path, "hello", "1.0"), "hello", "1.0")
    old = make_wheel(tmp_path, "hello", "1.0", tag="py2-none-any", requires_python=">=2.7")
    simple.published(old, "hello", "1.0", ("requires_python", ">=2.7"))
    assert simple.request("PATCH", f"/hello/{broken.name}", json={"yanked": "it is broken"}).ok

    page = shown(ui.get("/hello/1.0/files/"))

    whole, other = items(page, "files")
    assert f"{broken.stat().st_size} bytes" in whole
    assert "just now" in whole
    assert "Yanked: it is broken" in whole
    assert "Yanked" not in other
    times = re.findall(r'<time datetime="([^"]+)" title="([^"]+)">just now</time>', page)
    assert len(times) == 3
    for exact, tooltip in times:
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d.*\+00:00", exact)
        assert re.fullmatch(r"\d{1,2} [A-Z][a-z]{2} \d{4}, \d\d:\d\d:\d\d UTC", tooltip)
    hashes = re.findall(r'<code id="(hash-[\d-]+)">([0-9a-f]{64})</code>', page)
    assert re.findall(r'data-copy="([^"]+)"', page) == [id_ for id_, _ in hashes]
    assert len(hashes) == 2


def test_python_of_a_file_is_shown_if_it_is_not_that_of_the_version(
    simple: IndexClient, ui: IndexClient, tmp_path: Path
) -> None:
    for tag, python in (("py2-none-any", ">=2.7"), ("py3-none-any", ">=3.9")):
        wheel = make_wheel(tmp_path, "hello", "1.0", tag=tag, requires_python=python)
        simple.published(wheel, "hello", "1.0", ("requires_python", python))

    page = shown(ui.get("/hello/1.0/files/"))

    three, two = items(page, "files")
    assert ("Python >=3.9" in three) is ("Python >=2.7" not in two)
    facts = text_of(page.partition('<nav class="tabs"')[0])
    assert ("Python >=3.9" in facts) is ("Python >=2.7" in two)


def test_versions_have_date_files_and_state(
    simple: IndexClient, ui: IndexClient, tmp_path: Path
) -> None:
    for version in ("1.0", "1.1", "2.0rc1"):
        simple.published(make_wheel(tmp_path, "hello", version), "hello", version)
    simple.published(make_sdist(tmp_path, "hello", "1.1"), "hello", "1.1")
    assert simple.request("PATCH", "/hello/1.0", json={"yanked": "it is broken"}).ok

    page = shown(ui.get("/hello/versions/"))

    assert items(page, "versions") == [
        "2.0rc1 Pre-release just now 1 file",
        "1.1 Latest just now 2 files",
        "1.0 Yanked just now 1 file Yanked: it is broken",
    ]
    assert heading(page) == "hello 1.1"


def test_project_whose_versions_are_all_yanked_has_no_latest_and_its_command_pins_one(
    simple: IndexClient, ui: IndexClient, tmp_path: Path
) -> None:
    for version in ("1.0", "1.1"):
        simple.published(make_wheel(tmp_path, "hello", version), "hello", version)
        assert simple.request("PATCH", f"/hello/{version}", json={"yanked": ""}).ok

    page = shown(ui.get("/hello/"))

    assert heading(page) == "hello 1.1"
    assert "All versions of this project were yanked." in page
    assert re.search(r"pip install --index-url \S+ hello==1\.1", text_of(page))
    for path in ("/hello/", "/hello/1.1/files/", "/hello/versions/", "/hello/1.0/"):
        assert "Latest" not in shown(ui.get(path))


@pytest.fixture
def many(app_server: AppServer, http: requests.Session) -> Iterator[IndexClient]:
    """A project of a registry with 1,000 versions, most of which are not listed."""
    http.headers.update(BROWSER)
    label = "abcdefgh." * 10 + "z"
    reason = json.dumps({YANKED: "<b>" + "why " * 5000})
    tags = {f"{number}.0-{label}": image_index([file_entry(1)]) for number in range(999)}
    tags["999.0"] = image_index([file_entry(1).replace("{", f'{{"annotations": {reason}, ', 1)])
    with wsgi_server(Documents(tags)) as url:
        yield IndexClient(f"{app_server()}/ui/{address(url)}/team", None, http)


def test_thousand_versions_are_in_parts_and_those_that_are_not_listed_say_so(
    many: IndexClient,
) -> None:
    page = shown(many.get("/hello/versions/"))
    rest = shown(many.get("/hello/versions/?page=2"))

    for one in (page, rest):
        assert len(one) < 600_000
        assert len(items(one, "versions")) == 500
    assert re.findall(r"<summary>(.*?)</summary>", page) == ["470 older versions"]
    assert "<summary>" not in rest
    first, *others = items(page, "versions")
    assert first.startswith("999.0 Yanked")
    assert len(first) < 400
    assert "<b>" not in page
    assert sum("files are not listed" in one for one in others) == 400
    assert all("files are not listed" in one for one in items(rest, "versions"))
    assert [link.href for link in links(page) if link.text == "Next"] == ["?page=2"]
    assert [link.href for link in links(rest) if link.text == "Previous"] == ["?page=1"]
    menu = re.search(r'<details class="menu">.*?</details>', page, re.DOTALL)
    assert menu is not None
    assert len(links(menu[0])) == 15 + 1


def test_version_that_is_not_listed_has_its_pages(many: IndexClient) -> None:
    version = "1.0+" + "abcdefgh." * 10 + "z"

    page = many.get(f"/hello/{version}/files/")

    assert heading(shown(page)) == f"hello {version}"
    assert len(items(page.text, "files")) == 1


def test_many_files_with_odd_tags_are_in_parts(
    app_server: AppServer, http: requests.Session
) -> None:
    http.headers.update(BROWSER)
    odd = ".".join(f"p{number}" for number in range(40))
    entries = [file_entry(number).replace("-a", f"-{odd}.a") for number in range(1200)]
    with wsgi_server(Documents({"1.0": image_index(entries)})) as url:
        base = f"{app_server()}/ui/{address(url)}/team/hello"
        seen: set[str] = set()
        for part, count in ((1, 500), (2, 500), (3, 200)):
            page = shown(http.get(f"{base}/1.0/files/?page={part}"))
            assert len(page) < 600_000
            assert f"Page {part} of 3" in page
            names = {link.text for link in links(page) if link.text.endswith(".whl")}
            assert len(names) == count
            seen |= names
        assert len(seen) == 1200
        assert "Files 1200" in text_of(page)


def test_every_link_of_the_three_pages_leads_somewhere(
    simple: IndexClient, ui: IndexClient, tmp_path: Path
) -> None:
    """They are relative, so each has to fit the depth of its page."""
    for version in ("1!1.0+cpu", "2.0"):
        simple.published(make_wheel(tmp_path, "hello", version), "hello", version)
    tabs = {"hello": "Description", "files": "Files 1", "versions": "Versions 2"}

    for path in ("hello", "hello/2.0", "hello/1!1.0+cpu", "hello/2.0/files", "hello/versions"):
        answer = ui.get(f"/{path}/")
        page = shown(answer)
        for link in links(page):
            target = urljoin(answer.url, link.href)
            assert ui.session.get(target).status_code == 200, (path, link.href)
        navigation = re.search(r'<nav class="tabs".*?</nav>', page, re.DOTALL)
        assert navigation is not None
        current = [link for link in links(navigation[0]) if "aria-current" in link.attributes]
        (one,) = current
        assert one.attributes["aria-current"] == "page"
        assert one.text == tabs.get(path.rpartition("/")[2], "Description")
        assert unquote(urljoin(answer.url, one.href)).startswith(answer.url)


def test_three_pages_are_revalidated_by_their_tags(
    simple: IndexClient, ui: IndexClient, tmp_path: Path
) -> None:
    simple.published(make_wheel(tmp_path, "hello", "1.0"), "hello", "1.0")

    for path in ("/hello/1.0/", "/hello/1.0/files/", "/hello/versions/"):
        page = ui.get(path)
        known = {"If-None-Match": page.headers["ETag"]}
        assert ui.get(path, headers=known).status_code == 304
    simple.published(make_sdist(tmp_path, "hello", "1.0"), "hello", "1.0")
    for path in ("/hello/1.0/", "/hello/1.0/files/", "/hello/versions/"):
        assert ui.get(path, headers=known).status_code == 200


def test_project_and_version_may_be_called_like_a_page(
    simple: IndexClient, ui: IndexClient, tmp_path: Path
) -> None:
    for name in ("files", "versions"):
        simple.published(make_wheel(tmp_path, name, "1.0"), name, "1.0")

        assert heading(shown(ui.get(f"/{name}/"))) == f"{name} 1.0"
        assert heading(shown(ui.get(f"/{name}/versions/"))) == f"{name} 1.0"
        assert heading(shown(ui.get(f"/{name}/1.0/files/"))) == f"{name} 1.0"
    assert ui.get("/files/3.0/files/").status_code == 404
    assert ui.get("/versions/files/").status_code == 404
    assert ui.get("/hello/versions/").status_code == 404
    assert ui.get("/files/versions").headers["Location"] == "versions/"
    assert ui.get("/files/1.0/files").headers["Location"] == "files/"
