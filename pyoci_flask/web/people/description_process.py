"""Renders one description. It reads it from stdin and writes sanitised HTML to stdout.

Run as `python -m pyoci_flask.web.people.description_process markdown GFM` (or `markdown
CommonMark`, or `rst`). The first line of stdin is a JSON object: `images`, the hosts whose images
are shown, and `source`, the arguments of `Source` or null. The rest is the description. If stdout
is empty, the description must be shown as plain text.

This removes more than readme_renderer does: images (loading them would reveal to a third party who
reads the page) unless the operator allowed their host, forms, classes that could imitate parts of
the page, ids that could clash with the page's own ids, and relative links, which would lead to
addresses on this server that the author of the package chose.
"""

import json
import resource
import sys
from collections.abc import Callable, Iterable

import nh3
from readme_renderer import markdown

from pyoci_flask.web.people.description_images import ImageHosts
from pyoci_flask.web.people.description_rewriter import PREFIX, ROW, TOKENS, Rewriter
from pyoci_flask.web.people.description_sources import Source

_CPU_SECONDS = 3
_MEMORY = 512 * 1024 * 1024
_LONGEST_OUTPUT = 2 * 1024 * 1024
_SCHEMES = frozenset({"http", "https", "mailto"})

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
_IMAGE = {"src", "alt", "width", "height", "loading", "referrerpolicy"}
_CLASSES = {
    "a": {"only-dark", "only-light"},
    "img": {"only-dark", "only-light"},
    "span": {ROW, *TOKENS},
}


def main(kind: str, variant: str = "") -> None:
    """Render stdin to stdout."""
    resource.setrlimit(resource.RLIMIT_CPU, (_CPU_SECONDS, _CPU_SECONDS + 1))
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    # The process must not write files.
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    options, _, text = sys.stdin.buffer.read().partition(b"\n")
    given = json.loads(options)
    source = given["source"] and Source(*given["source"])
    result = safe_html(text.decode(), kind, variant, given["images"], source)
    if result is not None and len(result) <= _LONGEST_OUTPUT:
        sys.stdout.buffer.write(result.encode())


def safe_html(
    text: str,
    kind: str,
    variant: str = "",
    images: Iterable[str] = (),
    source: Source | None = None,
) -> str | None:
    """Render and sanitise a description; return None if it cannot be rendered.

    `images` are the hosts whose images are shown, and `source` is where relative links lead.
    """
    if kind == "rst":
        from readme_renderer import rst  # imports docutils, which takes longer than all others

        rendered = rst.render(text)
    else:
        rendered = markdown.render(text, variant=variant)
    if not rendered:
        return None
    hosts = ImageHosts.of(images)
    rewriter = Rewriter(hosts, source)
    rewriter.feed(rendered)
    rewritten = rewriter.rewritten()
    if len(rewritten) > _LONGEST_OUTPUT:
        return None
    return nh3.clean(
        rewritten,
        tags=_TAGS | ({"img"} if hosts.hosts else set()),
        attributes=_ATTRIBUTES | {"img": _IMAGE},
        attribute_filter=_only_from(hosts) if hosts.hosts else None,
        allowed_classes=_CLASSES,
        url_schemes=_SCHEMES,
        url_relative=_own_fragment,
        id_prefix=PREFIX,
        link_rel="nofollow noopener noreferrer",
        # Elements that scroll must be reachable by keyboard.
        set_tag_attribute_values={"pre": {"tabindex": "0"}},
    ).strip()


def _own_fragment(url: str) -> str | None:
    return url if url.startswith(f"#{PREFIX}") else None


def _only_from(hosts: ImageHosts) -> Callable[[str, str, str], str | None]:
    """Return a filter of attributes that removes the addresses of all other images."""

    def kept(tag: str, name: str, value: str) -> str | None:
        return None if (tag, name) == ("img", "src") and not hosts.allow(value) else value

    return kept


if __name__ == "__main__":
    main(*sys.argv[1:])
