"""Relative links of a description lead to the files of the project's repository."""

import re

import pytest

from pyoci_flask.web.people.description_process import safe_html
from pyoci_flask.web.people.description_sources import Source, source_of

GITHUB = Source(
    "https://github.com/acme/hello/blob/HEAD/",
    "https://raw.githubusercontent.com/acme/hello/HEAD/",
)


@pytest.mark.parametrize(
    ("links", "source"),
    [
        ({"Source": "https://github.com/acme/hello"}, GITHUB),
        ({"Source Code": "https://github.com/acme/hello.git"}, GITHUB),
        ({"repository": "http://www.github.com/acme/hello/"}, GITHUB),
        ({"Home-Page": "https://github.com/acme/hello#readme"}, GITHUB),
        (
            {"Homepage": "https://github.com/acme/other", "Code": "https://github.com/acme/hello"},
            GITHUB,
        ),
        (
            {"Source": "https://git.example/hello", "Homepage": "https://github.com/acme/hello"},
            GITHUB,
        ),
        (
            {"Source": "https://github.com/acme/hello/tree/main/packages/one"},
            Source(
                "https://github.com/acme/hello/blob/main/",
                "https://raw.githubusercontent.com/acme/hello/main/",
                "packages/one",
            ),
        ),
        (
            {"Source": "https://gitlab.com/acme/team/hello/-/tree/main/"},
            Source(
                "https://gitlab.com/acme/team/hello/-/blob/main/",
                "https://gitlab.com/acme/team/hello/-/raw/main/",
            ),
        ),
        (
            {"Source": "https://codeberg.org/acme/hello"},
            Source(
                "https://codeberg.org/acme/hello/src/branch/HEAD/",
                "https://codeberg.org/acme/hello/raw/branch/HEAD/",
            ),
        ),
        (
            {"Source": "https://bitbucket.org/acme/hello"},
            Source(
                "https://bitbucket.org/acme/hello/src/HEAD/",
                "https://bitbucket.org/acme/hello/raw/HEAD/",
            ),
        ),
        ({"Homepage": "https://github.com/acme"}, None),
        ({"Homepage": "https://github.com/sponsors/acme"}, None),
        ({"Homepage": "https://github.com.evil.example/acme/hello"}, None),
        ({"Homepage": "https://github.com/../hello"}, None),
        ({"Homepage": "https://github.com/acme/hello/issues"}, None),
        ({"Issues": "https://github.com/acme/hello"}, None),
        ({"Source": "javascript:alert(1)"}, None),
        ({"Source": "https://[::1/acme/hello"}, None),
        ({"Source": f"https://github.com/acme/{'x' * 400}"}, None),
        ({}, None),
    ],
)
def test_repository_is_found_among_the_links(links: dict[str, str], source: Source | None) -> None:
    assert source_of(links.items()) == source


@pytest.mark.parametrize(
    ("link", "path"),
    [
        ("LICENSE", "LICENSE"),
        ("./docs/a.md#use", "docs/a.md#use"),
        ("/docs/a%20b.md?plain=1", "docs/a%20b.md?plain=1"),
        ("docs/../a b.md", "a%20b.md"),
        ("docs/\u00e9.md", "docs/%C3%A9.md"),
        ("..hidden", "..hidden"),
        ("docs/", "docs"),
        *((one, None) for one in ("", ".", "..", "../other", "/../x", "a/../../x", "%2e%2e/x")),
        *((one, None) for one in ("//evil.example/x", "\\\\evil.example", "a\\..\\..\\x", "?x=1")),
        *((one, None) for one in ("javascript:alert(1)", "x:y", "a\nb", "a" * 3000)),
    ],
)
def test_relative_link_leads_into_the_repository_or_nowhere(link: str, path: str | None) -> None:
    expected = None if path is None else f"https://github.com/acme/hello/blob/HEAD/{path}"
    assert GITHUB.file(link) == expected


def test_link_starts_in_the_folder_of_the_project_and_does_not_leave_the_repository() -> None:
    inside = Source(GITHUB.files, GITHUB.images, "packages/one")

    assert inside.file("a.md") == f"{GITHUB.files}packages/one/a.md"
    assert inside.file("../../a.md") == f"{GITHUB.files}a.md"
    assert inside.file("../../../a.md") is None
    assert inside.file("/a.md") == f"{GITHUB.files}a.md"
    assert Source(GITHUB.files, GITHUB.images, "%2e%2e/x/..").file("a.md") is None


TEXT = (
    "# Use it\n\n[licence](LICENSE) [up](../x) ![logo](docs/logo.png) "
    "[![shot](a.png)](docs/shot.md) [there](#use-it) [here](#USE-IT) [gone](#gone) "
    "[top](#) [other](//evil.example/x)"
)


def hrefs(html: str | None) -> list[str]:
    return re.findall(r'href="([^"]*)"', html or "")


def test_relative_links_and_images_of_a_description_lead_to_the_repository() -> None:
    html = safe_html(TEXT, "markdown", "GFM", (), GITHUB)

    assert hrefs(html) == [
        f"{GITHUB.files}LICENSE",
        f"{GITHUB.images}docs/logo.png",
        f"{GITHUB.files}docs/shot.md",
        *("#user-content-use-it", "#user-content-use-it"),
    ]


def test_without_a_repository_relative_links_are_text() -> None:
    html = safe_html(TEXT, "markdown", "GFM")

    assert hrefs(html) == ["#user-content-use-it", "#user-content-use-it"]
    for word in ("licence", "up", "logo", "shot", "gone", "top", "other"):
        assert word in (html or "")


def test_image_of_the_repository_is_loaded_if_its_host_is_named() -> None:
    html = safe_html(TEXT, "markdown", "GFM", ["raw.githubusercontent.com"], GITHUB)

    assert re.findall(r'src="([^"]*)"', html or "") == [
        *(f"{GITHUB.images}docs/logo.png", f"{GITHUB.images}a.png")
    ]


def test_links_of_restructuredtext_are_resolved_too() -> None:
    text = "Title\n=====\n\n`Licence <LICENSE>`_, Title_, `gone <#gone>`_\n\n.. image:: a.png\n"

    assert hrefs(safe_html(text, "rst", "", (), GITHUB)) == [
        *(f"{GITHUB.files}LICENSE", "#user-content-title", f"{GITHUB.images}a.png")
    ]


def test_links_to_footnotes_and_anchors_work() -> None:
    html = safe_html('a[^1] <a id="Mark"></a>[m](#Mark)\n\n[^1]: b\n', "markdown", "GFM")

    assert '<span id="user-content-Mark"></span>' in (html or "")
    assert hrefs(html) == [*("#user-content-fn-1", "#user-content-Mark", "#user-content-fnref-1")]
