"""Descriptions of packages are shown as their authors wrote them, and are harmless."""

import os
import re
from concurrent.futures import ThreadPoolExecutor
from html.parser import HTMLParser
from pathlib import Path

import pytest

from pyoci_flask.web.people import description
from pyoci_flask.web.people.description import LONGEST, Description, DescriptionRenderer
from pyoci_flask.web.people.description_process import safe_html

MARKDOWN = "text/markdown"
RST = "text/x-rst"
# Nested so deeply that no machine sanitises it within a second.
PATHOLOGICAL = "<div>" * 50_000


class _Parsed(HTMLParser):
    """The tags, and every attribute with its tag."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]


def render(text: str, content_type: str | None) -> Description:
    return DescriptionRenderer().render(text, content_type)


def markdown(text: str) -> str:
    html = safe_html(text, "markdown", "GFM")
    assert html is not None
    return html


HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<svg onload=alert(1)><script>alert(1)</script></svg>",
    "<style>body { display: none }</style>",
    '<p style="position: fixed" onclick="alert(1)" class="card" id="main">x</p>',
    '<span class="tag bad hidden-visually">x</span>',
    "<iframe src=https://evil.example></iframe>",
    "<form action=https://evil.example><input name=password><button>go</button></form>",
    "<base href=https://evil.example><meta http-equiv=refresh content=0>",
    "<math><mtext><table><mglyph><style><img src=x onerror=alert(1)>",
    "[x](javascript:alert(1)) [x](JaVaScRiPt:alert(1)) [x](&#106;avascript:alert(1))",
    "[x](data:text/html,<script>alert(1)</script>) [x](vbscript:x) [x](file:///etc/passwd)",
    '<a href="java\tscript:alert(1)">x</a> <a href=" javascript:alert(1)">x</a>',
    "![x](javascript:alert(1)) ![x](https://evil.example/pixel.png)",
    "<a href=https://evil.example target=_top ping=https://evil.example>x</a>",
    '<a id="said" name="said" href="#main">x</a>',
    "</div></main></body><h1>x</h1>",
    "```html onmouseover=alert(1)\n<script>alert(1)</script>\n```",
    "<template><img src=x onerror=alert(1)></template><noscript><p title='</noscript><img src=x>'>",
    "<!--><img src=x onerror=alert(1)>-->",
]
KNOWN_ATTRIBUTES = {
    *{("a", "href"), ("a", "rel"), ("a", "title"), ("pre", "tabindex"), ("span", "class")},
    *{("td", "colspan"), ("td", "rowspan"), ("th", "colspan"), ("th", "rowspan"), ("ol", "start")},
}


@pytest.mark.parametrize("variant", ["GFM", "CommonMark"])
@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_markdown_is_inert(text: str, variant: str) -> None:
    parsed = _Parsed(safe_html(f"before\n\n{text}\n", "markdown", variant) or "")

    assert not {*parsed.tags} & {
        *("script", "style", "img", "svg", "math", "iframe", "form", "input", "button", "base"),
        *("meta", "link", "object", "template", "noscript", "main", "body", "h1", "h2", "section"),
    }
    for tag, name, value in parsed.attributes:
        assert (tag, name) in KNOWN_ATTRIBUTES or name == "id", (tag, name)
        if name == "href":
            assert re.match(r"(https?://|mailto:|#user-content-)", value), value
        if name == "id":
            assert value.startswith("user-content-")
        if name == "class":
            assert len(value) <= 2
        if name == "rel":
            assert value == "nofollow noopener noreferrer"


@pytest.mark.parametrize(
    "text",
    [
        ".. raw:: html\n\n   <script>alert(1)</script>",
        ".. include:: /etc/passwd",
        ".. literalinclude:: /etc/passwd",
        ".. csv-table:: x\n   :file: /etc/passwd",
        ".. image:: https://evil.example/pixel.png",
        ".. figure:: https://evil.example/pixel.png\n\n   caption",
        "`x <javascript:alert(1)>`_",
        ".. _x: javascript:alert(1)\n\nx_",
        ".. role:: raw-html(raw)\n   :format: html\n\n:raw-html:`<script>alert(1)</script>`",
        '.. container:: card alert\n\n   x\n\n.. class:: "onclick=alert(1)"\n\nx',
        ".. meta::\n   :refresh: 0",
    ],
)
def test_hostile_restructuredtext_is_inert(text: str) -> None:
    html = safe_html(f"before\n\n{text}\n", "rst") or ""

    assert "root:" not in html
    parsed = _Parsed(html)
    assert not {*parsed.tags} & {"script", "img", "object", "meta"}
    assert {(tag, name) for tag, name, _ in parsed.attributes} <= KNOWN_ATTRIBUTES
    assert not re.search(r"javascript:", "".join(value for *_, value in parsed.attributes))


def test_links_lead_out_or_to_the_description_itself() -> None:
    html = markdown(
        "# Use it\n\n[a](https://a.example) [b](mailto:b@example.com) [c](#use-it) [d](docs/d.md) "
        "[e](/attacker.example/x/) [f](//attacker.example/x/) [g](../../x) [h](?x=1)"
    )

    hrefs = [value for tag, name, value in _Parsed(html).attributes if name == "href"]
    assert hrefs == ["https://a.example", "mailto:b@example.com", "#user-content-use-it"]
    assert '<h3 id="user-content-use-it">Use it</h3>' in html


def test_images_become_links_and_those_inside_of_links_text() -> None:
    html = markdown(
        "![a logo](https://a.example/logo.png) "
        "[![build](https://b.example/b.svg)](https://b.example/) "
        "![](https://c.example/c.png) ![relative](c.png)"
    )

    assert re.findall(r'<a href="([^"]+)"[^>]*>([^<]+)</a>', html) == [
        ("https://a.example/logo.png", "a logo"),
        ("https://b.example/", "build"),
        ("https://c.example/c.png", "c.png"),
    ]
    assert html.endswith("relative</p>")


def test_headings_stand_below_those_of_the_page_and_leave_none_out() -> None:
    html = markdown("# one\n\n#### two\n\n# three\n\n###### four\n\n## five")

    assert re.findall(r"<(h\d)", html) == ["h3", "h4", "h3", "h4", "h4"]


def test_markdown_of_github_is_understood() -> None:
    html = markdown(
        "| a |\n|---|\n| 1 |\n\n- [x] done\n- [ ] open\n\n~~gone~~ https://auto.example\n\n"
        '```python\nprint("x")  # y\n```\n\n> [!NOTE]\n> mind\n\nfoot[^1]\n\n[^1]: note\n'
    )

    assert "<td>1</td>" in html
    assert "\u2611 done" in html
    assert "\u2610 open" in html
    assert "<del>gone</del>" in html
    assert 'href="https://auto.example"' in html
    assert '<span class="nb">print</span>(<span class="s2">"x"</span>)' in html
    assert "<blockquote>\n<strong>Note</strong>" in html
    assert 'href="#user-content-fn-1" id="user-content-fnref-1"' in html
    assert 'id="user-content-fn-1"' in html


def test_commonmark_has_no_tables() -> None:
    table = "| a |\n|---|\n| 1 |\n"

    html = render(table, "text/markdown; charset=UTF-8; variant=CommonMark").html
    assert html is not None
    assert "<table>" not in html
    assert "<table>" in (render(table, "Text/Markdown; charset=UTF-8").html or "")


def test_restructuredtext_is_rendered_and_so_is_what_has_no_type() -> None:
    text = (
        "Title\n=====\n\nSome ``code``.\n\n.. note:: Mind.\n\n.. code-block:: python\n\n   x = 1\n"
    )

    for content_type in (RST, "text/x-rst; charset=UTF-8", None, ""):
        html = render(text, content_type).html
        assert html is not None
        assert "<h3>Title</h3>" in html
        assert "<code>code</code>" in html
        assert "<blockquote>" in html
        assert "<pre tabindex" in html


@pytest.mark.parametrize(
    ("text", "content_type"),
    [
        ("a <b>b</b>", "text/plain"),
        ("a <b>b</b>", "text/html"),
        ("a <b>b</b>", "nonsense"),
        ("Title\n==\n\n`broken", RST),
        (".. nothing", RST),
        ("", MARKDOWN),
    ],
)
def test_what_cannot_be_rendered_is_plain_text(text: str, content_type: str) -> None:
    assert render(text, content_type) == Description(None, text, cut=False)


def test_long_description_is_plain_text_and_cut() -> None:
    shown = render("x" * LONGEST + "y", MARKDOWN)

    assert shown == Description(None, "x" * LONGEST, cut=True)


def test_text_that_takes_too_long_is_plain_text() -> None:
    renderer = DescriptionRenderer(seconds=1.0)

    assert renderer.render(PATHOLOGICAL, MARKDOWN).html is None
    assert DescriptionRenderer(seconds=0.0).render("# x", MARKDOWN).html is None
    assert renderer.render("# x", MARKDOWN).html is not None


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program in place of Python that records its runs and prints its environment."""
    path = tmp_path / "python"
    path.write_text(f"#!/bin/sh\necho ran >>{tmp_path}/runs\necho $2 $5\nenv\npwd\n")
    path.chmod(0o755)
    monkeypatch.setattr(description.sys, "executable", str(path))
    return path


def test_process_gets_nothing_of_the_environment(
    program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(os.environ, "OTLP_AUTH", "Bearer hunter2")

    html = render("# x", MARKDOWN).html

    assert html is not None
    assert "hunter2" not in html
    assert {line.partition("=")[0] for line in html.splitlines()[1:] if "=" in line} <= {
        *("PYTHONPATH", "LANG", "PWD", "OLDPWD", "SHLVL", "_")
    }
    assert html.splitlines()[-1] == "/"
    assert program.exists()


def test_what_was_rendered_is_remembered_by_its_text_and_type(program: Path) -> None:
    renderer = DescriptionRenderer()
    runs = program.with_name("runs")

    for text, content_type in (("a", MARKDOWN), ("a", MARKDOWN), ("a", RST), ("b", MARKDOWN)):
        assert renderer.render(text, content_type).html is not None
    assert runs.read_text().split() == ["ran"] * 3


def test_failure_is_remembered_too(program: Path, caplog: pytest.LogCaptureFixture) -> None:
    program.write_text(program.read_text() + "exit 7\n")
    renderer = DescriptionRenderer()

    assert [renderer.render("a", MARKDOWN).html for _ in range(2)] == [None, None]
    assert program.with_name("runs").read_text().split() == ["ran"]
    assert "exit 7" in caplog.text


def test_time_out_is_not_remembered(program: Path, caplog: pytest.LogCaptureFixture) -> None:
    good = program.read_text()
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    renderer = DescriptionRenderer(seconds=0.2)
    assert renderer.render("a", MARKDOWN).html is None
    assert "TimeoutExpired" in caplog.text

    program.write_text(good)
    renderer._seconds = 60.0
    assert renderer.render("a", MARKDOWN).html is not None


def test_all_are_rendered_where_many_look_at_once(caplog: pytest.LogCaptureFixture) -> None:
    renderer = DescriptionRenderer()
    texts = [f"# Project {number}" for number in range(8)] * 3
    with ThreadPoolExecutor(8) as pool:
        shown = list(pool.map(lambda text: renderer.render(text, MARKDOWN), texts))
    assert all(one.html is not None for one in shown)
    assert caplog.text == ""


def test_one_text_is_rendered_once_for_all_who_wait(program: Path) -> None:
    renderer = DescriptionRenderer()
    with ThreadPoolExecutor(8) as pool:
        shown = list(pool.map(lambda _: renderer.render("a", MARKDOWN), range(16)))
    assert all(one.html is not None for one in shown)
    # As many as may run at the same time start before one of them has finished.
    assert len(program.with_name("runs").read_text().split()) <= description._AT_ONCE


def test_old_ones_are_forgotten_when_there_are_too_many(
    program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(description, "_MOST_CACHED", 2)
    renderer = DescriptionRenderer()
    runs = program.with_name("runs")

    for text in ("a", "b", "c", "c", "a"):
        renderer.render(text, MARKDOWN)
    assert runs.read_text().split() == ["ran"] * 4


def test_busy_renderer_shows_plain_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(description, "_AT_ONCE", 0)
    monkeypatch.setattr(description, "_PATIENCE", 0.0)

    assert render("# x", MARKDOWN).html is None


def test_plain_text_keeps_its_lines_and_loses_control_characters() -> None:
    found = render("a\x1b[2J\r\n\tb\x00\u202ec\u3000d\u200de", "text/plain")

    assert found.text == "a[2J\n\tbc\u3000d\u200de"
