"""Renders one description. It reads the source from stdin and writes sanitised HTML to stdout.

Run as `python -m pyoci_flask.web.people.description_process markdown GFM` (or `markdown
CommonMark`, or `rst`). If stdout is empty, the description must be shown as plain text.

This removes more than readme_renderer does: images (loading them would reveal to a third party who
reads the page), forms, classes that could imitate parts of the page, ids that could clash with the
page's own ids, and relative links, which would lead to addresses on this server that the author of
the package chose.
"""

import html
import resource
import sys
from collections import defaultdict
from html.parser import HTMLParser

import nh3
from readme_renderer import markdown, rst

from pyoci_flask.common.url import is_web_url

_CPU_SECONDS = 3
_MEMORY = 512 * 1024 * 1024
_LONGEST_OUTPUT = 2 * 1024 * 1024
_PREFIX = "user-content-"
_SCHEMES = frozenset({"http", "https", "mailto"})
_VOID = frozenset({"br", "hr", "col", "img", "input"})
_RENAMED = {"section": "div", "aside": "div", "nav": "div", "tt": "code", "acronym": "abbr"}
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_TOP_LEVEL = 3
"""Level of the first heading of a description, which is below a heading of level 2."""

_TAGS = frozenset(
    {
        *("a", "abbr", "b", "blockquote", "br", "caption", "cite", "code", "dd", "del", "details"),
        *("div", "dl", "dt", "em", "figcaption", "figure", "h3", "h4", "h5", "h6", "hr", "i"),
        *("kbd", "li", "ol", "p", "pre", "span", "strong", "sub", "summary", "sup", "table"),
        *("tbody", "td", "th", "thead", "tr", "ul", "var"),
    }
)
_ATTRIBUTES = {
    "*": {"id"},
    "a": {"href", "title"},
    "abbr": {"title"},
    "ol": {"start"},
    "td": {"colspan", "rowspan"},
    "th": {"colspan", "rowspan"},
}
# The Pygments classes for which style.css has rules.
_TOKENS = frozenset(
    {
        *("k", "kc", "kd", "kn", "kr", "kt", "ow", "nt"),
        *("s", "s1", "s2", "sa", "sb", "sd", "gi"),
        *("mi", "mf", "mh", "nb", "nd", "na"),
        *("c", "c1", "ch", "cm", "cp", "gp", "go", "gd"),
    }
)


def main(kind: str, variant: str = "") -> None:
    """Render stdin to stdout."""
    resource.setrlimit(resource.RLIMIT_CPU, (_CPU_SECONDS, _CPU_SECONDS + 1))
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    # The process must not write files.
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    source = sys.stdin.buffer.read().decode()
    result = safe_html(source, kind, variant)
    if result is not None and len(result) <= _LONGEST_OUTPUT:
        sys.stdout.buffer.write(result.encode())


def safe_html(source: str, kind: str, variant: str = "") -> str | None:
    """Render and sanitise a description; return None if it cannot be rendered."""
    rendered = rst.render(source) if kind == "rst" else markdown.render(source, variant=variant)
    if not rendered:
        return None
    rewriter = _Rewriter()
    rewriter.feed(rendered)
    rewriter.close()
    return nh3.clean(
        "".join(rewriter.written),
        tags=_TAGS,
        attributes=_ATTRIBUTES,
        allowed_classes={"span": _TOKENS},
        url_schemes=_SCHEMES,
        url_relative=_own_fragment,
        id_prefix=_PREFIX,
        link_rel="nofollow noopener noreferrer",
        # Elements that scroll must be reachable by keyboard.
        set_tag_attribute_values={"pre": {"tabindex": "0"}},
    ).strip()


def _own_fragment(url: str) -> str | None:
    return url if url.startswith(f"#{_PREFIX}") else None


class _Rewriter(HTMLParser):
    """Rewrites sanitised HTML so that it fits into the page; its result is sanitised again."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.written: list[str] = []
        self._link: int | None = None
        """Position of the open link in `written`."""
        self._link_attributes: dict[str, str] = {}
        self._link_shows = False
        self._level = _TOP_LEVEL - 1
        self._renamed: defaultdict[str, list[str]] = defaultdict(list)
        """For each tag name, the names written for its open tags, or "" for an omitted tag."""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        if "id" in attributes:
            attributes["id"] = _PREFIX + attributes["id"].removeprefix(_PREFIX)
        if tag == "a":
            self._begin_link(attributes)
        elif tag == "img":
            self._image(attributes)
        elif tag == "input":
            if attributes.get("type") == "checkbox":
                self.handle_data("\u2611" if "checked" in attributes else "\u2610")
        else:
            name = self._name(tag, attributes)
            self._renamed[tag].append(name)
            if name:
                self._write_tag(name, attributes)

    def handle_endtag(self, tag: str) -> None:
        if tag == "a":
            self._end_link()
        elif tag not in _VOID and self._renamed[tag] and (name := self._renamed[tag].pop()):
            self.written.append(f"</{name}>")

    def handle_data(self, data: str) -> None:
        self._link_shows = self._link_shows or not data.isspace()
        self.written.append(html.escape(data, quote=False))

    def _name(self, tag: str, attributes: dict[str, str]) -> str:
        """Return the tag to write. Some classes are replaced with tags."""
        classes = attributes.get("class", "").split()
        if tag in _HEADINGS:
            # Screen readers need headings that do not skip levels.
            self._level = min(_HEADINGS[tag] + _TOP_LEVEL - 1, self._level + 1, 6)
            return f"h{self._level}"
        if tag == "span" and "literal" in classes:
            return "code"
        if tag == "span" and "id" not in attributes and not _TOKENS.intersection(classes):
            return ""
        if tag == "aside" and "admonition" in classes:
            return "blockquote"
        if tag == "p" and "admonition-title" in classes:
            return "strong"
        return _RENAMED.get(tag, tag)

    def _write_tag(self, tag: str, attributes: dict[str, str]) -> None:
        text = "".join(f' {name}="{html.escape(value)}"' for name, value in attributes.items())
        self.written.append(f"<{tag}{text}>")

    def _begin_link(self, attributes: dict[str, str]) -> None:
        self._link, self._link_shows = len(self.written), False
        href = attributes.get("href", "")
        if href.startswith("#"):
            attributes["href"] = f"#{_PREFIX}{href[1:].removeprefix(_PREFIX)}"
        self._link_attributes = attributes
        self.written.append("")

    def _end_link(self) -> None:
        """Write the link when it is known whether it has text. Without text, it is an anchor."""
        if self._link is None:
            return
        href = self._link_attributes.get("href", "")
        # The link leads to another site, or to another place in the description.
        leads_out = href.lower().startswith(("#", "mailto:")) or is_web_url(href)
        is_link = self._link_shows and leads_out
        kept = ("href", "title", "id") if is_link else ("id",)
        shown = {name: text for name, text in self._link_attributes.items() if name in kept}
        if shown:
            self._write_tag("a" if is_link else "span", shown)
            self.written[self._link] = self.written.pop()
            self.written.append("</a>" if is_link else "</span>")
        self._link = None

    def _image(self, attributes: dict[str, str]) -> None:
        """Write a link to the image, or only its text if the image is already in a link."""
        text = attributes.get("alt", "").strip() or "image"
        source = attributes.get("src", "")
        if self._link is None and is_web_url(source):
            self._write_tag("a", {"href": source})
            self.handle_data(text)
            self.written.append("</a>")
        else:
            self.handle_data(text)


if __name__ == "__main__":
    main(*sys.argv[1:])
