"""Images of a description: labels in a row, or images from the hosts that the operator named."""

import re
from collections.abc import Callable

import pytest

from pyoci_flask.web.people.description_images import LONGEST_TEXT, ImageHosts
from pyoci_flask.web.people.description_process import safe_html
from pyoci_flask.web.people.description_sources import Source

SOURCE = Source("https://github.com/acme/hello/blob/HEAD/", "https://img.example/", "packages/one")
HOSTS = ("img.example", "*.cdn.example")
BADGE = "[![{}](https://badges.example/{}.svg)](https://{}.example/)"
ROW = re.compile(r'<span class="im">(.*?)</span>', re.DOTALL)
LINK = re.compile(r'<a href="([^"]*)"[^>]*>([^<]*)</a>')


def markdown(text: str, *hosts: str) -> str:
    html = safe_html(text, "markdown", "GFM", hosts)
    assert html is not None
    return html


def rows(html: str) -> list[list[tuple[str, str]]]:
    """The labels of each row: where they lead, and their texts."""
    return [LINK.findall(row) for row in ROW.findall(html)]


def test_badges_in_one_paragraph_stand_in_one_row() -> None:
    text = "\n".join(BADGE.format(name, name, name) for name in ("build", "docs", "cover"))

    assert rows(markdown(f"# Project\n\n{text}\n\nText")) == [
        [(f"https://{name}.example/", name) for name in ("build", "docs", "cover")]
    ]


def test_badges_of_restructuredtext_stand_in_one_row() -> None:
    text = "".join(
        f".. image:: https://badges.example/{name}.svg\n   :target: https://{name}.example/\n"
        f"   :alt: The {name}\n\n"
        for name in ("build", "docs")
    )

    html = safe_html(f"Title\n=====\n\n{text}Text", "rst")

    assert html is not None
    assert rows(html) == [
        [("https://build.example/", "The build"), ("https://docs.example/", "The docs")]
    ]


def test_badges_of_raw_html_stand_in_one_row() -> None:
    html = markdown(
        '<p align="center">\n<a href="https://a.example/">'
        '<img src="https://b.example/a.svg" alt="A"></a>\n'
        '<a href="https://b.example/"><picture><source srcset="https://b.example/d.svg">'
        '<img alt="B" src="https://b.example/b.svg" width="99"></picture></a>\n</p>'
    )

    assert rows(html) == [[("https://a.example/", "A"), ("https://b.example/", "B")]]
    assert "<img" not in html


def test_text_ends_a_row() -> None:
    badge = BADGE.format("a", "a", "a")

    html = markdown(f"{badge} and {badge}\n\n{badge} **b** {badge} [x](https://x.example) {badge}")

    assert [len(row) for row in rows(html)] == [1, 1, 1, 1, 1]
    assert html.count("<span") == html.count("</span>") == 5


@pytest.mark.parametrize(
    ("alt", "address", "text"),
    [
        ("Build status", "https://b.example/x.svg", "Build status"),
        ("", "https://b.example/actions/ci.yml/badge.svg?branch=main", "badge.svg"),
        ("image", "https://b.example/pypi/v/hello/", "hello"),
        ("Image", "https://b.example/a%20b.png#x", "a b.png"),
        ("alt text", "https://b.example/", "image"),
        ("https://b.example/x.svg", "https://b.example/x.svg", "x.svg"),
        ("a\x1b\u202eb  c\nd", "https://b.example/x.svg", "ab c d"),
        ("x" * 500, "https://b.example/x.svg", "x" * LONGEST_TEXT + "..."),
        ("&lt;script&gt;", "https://b.example/x.svg", "&lt;script&gt;"),
        ("", f"https://b.example/{'x' * 500}", "x" * LONGEST_TEXT + "..."),
    ],
)
def test_label_is_the_text_of_the_image_or_the_name_of_its_file(
    alt: str, address: str, text: str
) -> None:
    html = markdown(f'<img alt="{alt}" src="{address}">')

    assert [found for row in rows(html) for _, found in row] == [text]


def test_image_of_restructuredtext_without_a_text_has_the_name_of_its_file() -> None:
    html = safe_html(".. image:: https://b.example/logo.png", "rst")

    assert html is not None
    assert rows(html) == [[("https://b.example/logo.png", "logo.png")]]


def test_image_beside_a_text_in_a_link_is_text() -> None:
    html = markdown("[![logo](https://a.example/l.png) Home](https://a.example/)")

    assert LINK.findall(html) == [("https://a.example/", "logo Home")]
    assert "class" not in html


def test_pair_for_dark_and_light_is_one_label() -> None:
    pair = "".join(
        f'<img alt="Logo" src="https://a.example/{name}.png#gh-{name}-mode-only">'
        for name in ("dark", "light")
    )

    assert rows(markdown(pair)) == [[("https://a.example/light.png#gh-light-mode-only", "Logo")]]
    assert rows(markdown(f'<a href="https://a.example/">{pair}</a>')) == [
        [("https://a.example/", "Logo")]
    ]


def test_images_of_the_named_hosts_are_loaded_without_a_referrer() -> None:
    html = markdown(
        "![a](https://img.example/a.png) ![b](https://x.y.cdn.example:443/b.png)\n\n"
        '<img src="https://img.example/c.png" width="120px" height="50%" align="left" style="x">',
        *HOSTS,
    )

    ends = 'loading="lazy" referrerpolicy="no-referrer"'
    assert re.findall(r"<img ([^>]*)>", html) == [
        f'src="https://img.example/a.png" alt="a" {ends}',
        f'src="https://x.y.cdn.example:443/b.png" alt="b" {ends}',
        f'src="https://img.example/c.png" alt="c.png" width="120" height="50%" {ends}',
    ]
    assert rows(html) == []


def test_badge_of_a_named_host_is_an_image_in_its_link_and_the_others_are_labels() -> None:
    html = markdown(
        "[![a](https://img.example/a.svg)](https://a.example/) "
        "[![b](https://elsewhere.example/b.svg)](https://b.example/)",
        *HOSTS,
    )

    assert re.search(r'<a href="https://a\.example/" [^>]*><img src="[^>]*></a>', html)
    assert rows(html) == [[("https://b.example/", "b")]]


def test_loaded_pair_is_shown_by_the_colour_scheme() -> None:
    pair = "".join(
        f'<a href="https://a.example/"><img alt="L" src="https://img.example/{name}.png#gh-{name}-mode-only"></a>'
        for name in ("dark", "light")
    )

    html = markdown(pair, *HOSTS)

    assert re.findall(r'<(a|img) [^>]*class="([^"]*)"', html) == [
        *(("a", "only-dark"), ("img", "only-dark"), ("a", "only-light"), ("img", "only-light"))
    ]


@pytest.mark.parametrize(
    "address",
    [
        *("http://img.example/a.png", "//img.example/a.png", "/a.png", "a.png", ""),
        *("https://img.example.evil.example/a.png", "https://evilimg.example/a.png"),
        *("https://cdn.example/a.png", "https://xcdn.example/a.png", "https://img.example./a.png"),
        *("https://img.example:8443/a.png", "https://img.example@evil.example/a.png"),
        *("https://user:secret@img.example/a.png", "https://evil.example\\@img.example/a.png"),
        *("https://img.example\\.evil.example/", "https://\u0131mg.example/a.png"),
        *("https:img.example/a.png", "https:/img.example/a.png", "https:///img.example/a.png"),
        *(
            "data:image/svg+xml,<svg onload=alert(1)>",
            "javascript:alert(1)",
            "blob:https://img.example/x",
        ),
        *(
            "https://img.example/\u00e9.png",
            " https://img.example/a.png",
            "ht\ttps://img.example/a",
        ),
        *("https://img.example/" + "a" * 2000, "https://" + "a." * 500 + "cdn.example/"),
    ],
)
def test_no_other_image_is_loaded(address: str) -> None:
    assert not ImageHosts.of(HOSTS).allow(address)
    html = markdown(f'<img src="{address.replace("<", "&lt;")}" alt="x">', *HOSTS)
    if "\t" not in address and not address.startswith(" "):  # the parser removes these
        assert "<img" not in html
    assert "secret@" not in "".join(re.findall(r"src=\S*", html))


def test_nothing_of_the_author_is_loaded_without_the_setting() -> None:
    assert "<img" not in markdown("![a](https://img.example/a.png)")


def test_class_of_a_row_is_not_the_authors() -> None:
    html = markdown(
        '<span class="im" id="x">a</span><p class="im only-dark">b</p><span class="im">c</span>'
    )

    assert "class" not in html


@pytest.mark.parametrize(
    "make",
    [
        lambda n: "![](x)" * n,
        lambda n: "![](https://a.example/x) " * n,
        lambda n: BADGE.format("a", "b", "c") * n,
        lambda n: '<a href="https://a.example">' * n + "x",
        lambda n: f"[{'![a](https://b.example/a) ' * n}](https://c.example/)",
        lambda n: f'<img src="https://img.example/x" alt="{"x" * n}">',
        lambda n: '<img src="https://img.example/x">' * n,
        lambda n: "[a](#b)" * n,
        lambda n: f"![a](https://img.example/{'a.' * n})",
    ],
    ids=["relative", "images", "badges", "links", "one link", "text", "loaded", "inner", "path"],
)
def test_hostile_images_and_links_are_rendered_in_time(make: Callable[[int], str]) -> None:
    for length in range(20_000, 1, -1):
        text = make(length)
        if len(text) <= 100_000:
            break
    assert safe_html(text, "markdown", "GFM", HOSTS, SOURCE) is not None
