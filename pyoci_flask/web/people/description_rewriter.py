"""Rewrites the sanitised HTML of a description so that it fits into the page of a package.

Headings are below those of the page, and ids do not clash with the page's own. Links lead to
other sites, to the project's repository, or to another place in the description. Images become
labels.
"""

import html
from collections import defaultdict
from dataclasses import dataclass
from html.parser import HTMLParser
from urllib.parse import unquote

from pyoci_flask.common.url import is_web_url
from pyoci_flask.web.people.description_images import DARK, Image, ImageHosts, shortened
from pyoci_flask.web.people.description_sources import Source

PREFIX = "user-content-"
"""Begins every id of a description."""
ROW = "im"
"""Class of a row of labels that stand for images."""
# The Pygments classes for which style.css has rules.
TOKENS = frozenset(
    {
        *("k", "kc", "kd", "kn", "kr", "kt", "ow", "nt"),
        *("s", "s1", "s2", "sa", "sb", "sd", "gi"),
        *("mi", "mf", "mh", "nb", "nd", "na"),
        *("c", "c1", "ch", "cm", "cp", "gp", "go", "gd"),
    }
)

_VOID = frozenset({"br", "hr", "col", "img", "input"})
_RENAMED = {"section": "div", "aside": "div", "nav": "div", "tt": "code", "acronym": "abbr"}
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_TOP_LEVEL = 3
"""Level of the first heading of a description, which is below a heading of level 2."""


@dataclass(slots=True)
class _Link:
    """A link whose end has not been read. Nothing of it is written before that."""

    attributes: dict[str, str]
    start: int
    """Position in `written` of the place for its start tag."""
    images: list[tuple[int, Image]]
    """The images in it, each with the position of its place in `written`."""
    shows: bool = False
    """Whether it contains text."""
    wraps: bool = False
    """Whether it contains other elements than images."""


class Rewriter(HTMLParser):
    """Rewrites one description. Its result must be sanitised again."""

    def __init__(self, hosts: ImageHosts, source: Source | None) -> None:
        """`source` is where relative links lead; without it, they become text."""
        super().__init__(convert_charrefs=True)
        self._hosts = hosts
        self._source = source
        self._written: list[str] = []
        self._link: _Link | None = None
        self._in_row = False
        """Whether a row of labels is open."""
        self._level = _TOP_LEVEL - 1
        self._renamed: defaultdict[str, list[str]] = defaultdict(list)
        """For each tag name, the names written for its open tags, or "" for an omitted tag."""
        self._ids: dict[str, str] = {}
        """The ids, by themselves and by their spelling in lower case."""
        self._inner: list[tuple[int, int, str, dict[str, str]]] = []
        """Links to places in the description: start, end, target, and attributes."""

    def rewritten(self) -> str:
        """Return the result, after the whole description was fed."""
        self.close()
        self._end_row()
        for start, end, target, attributes in self._inner:
            found = self._ids.get(target) or self._ids.get(target.lower())
            if found:
                self._written[start] += _tag("a", {"href": f"#{found}", **attributes})
                self._written[end] = "</a>"
            else:
                self._written[start] += _tag("span", _only(attributes, "id"))
                self._written[end] = "</span>"
        return "".join(self._written)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Rewrite a start tag."""
        attributes = {name: value or "" for name, value in attrs}
        if "id" in attributes:
            attributes["id"] = PREFIX + attributes["id"].removeprefix(PREFIX)
        if tag == "a":
            self._begin_link(attributes)
        elif tag == "img":
            self._image(attributes)
        elif tag == "input":
            if attributes.get("type") == "checkbox":
                self.handle_data("\u2611" if "checked" in attributes else "\u2610")
        elif tag != "picture":
            name = self._name(tag, attributes)
            self._renamed[tag].append(name)
            if name:
                self._begin_other()
                self._note_id(attributes)
                self._written.append(_tag(name, attributes))

    def handle_endtag(self, tag: str) -> None:
        """Rewrite an end tag."""
        if tag == "a":
            self._end_link()
        elif tag not in _VOID and self._renamed[tag] and (name := self._renamed[tag].pop()):
            self._begin_other()
            self._written.append(f"</{name}>")

    def handle_data(self, data: str) -> None:
        """Rewrite text."""
        if not data.isspace():
            if self._link is None:
                self._end_row()
            else:
                self._link.shows = True
        self._written.append(html.escape(data, quote=False))

    def _begin_other(self) -> None:
        """Handle an element that is neither a link nor an image."""
        if self._link is None:
            self._end_row()
        else:
            self._link.wraps = True

    def _end_row(self) -> None:
        if self._in_row:
            self._written.append("</span>")
            self._in_row = False

    def _note_id(self, attributes: dict[str, str]) -> None:
        if "id" in attributes:
            name = attributes["id"]
            self._ids.setdefault(name.lower(), name)
            self._ids[name] = name

    def _name(self, tag: str, attributes: dict[str, str]) -> str:
        """Return the tag to write. Some classes are replaced with tags."""
        classes = attributes.pop("class", "").split()
        tokens = TOKENS.intersection(classes)
        if tokens:
            attributes["class"] = " ".join(sorted(tokens))
        if tag in _HEADINGS:
            # Screen readers need headings that do not skip levels.
            self._level = min(_HEADINGS[tag] + _TOP_LEVEL - 1, self._level + 1, 6)
            return f"h{self._level}"
        if tag == "span" and "literal" in classes:
            return "code"
        if tag == "span" and "id" not in attributes and not tokens:
            return ""
        if tag == "aside" and "admonition" in classes:
            return "blockquote"
        if tag == "p" and "admonition-title" in classes:
            return "strong"
        return _RENAMED.get(tag, tag)

    def _begin_link(self, attributes: dict[str, str]) -> None:
        self._note_id(attributes)
        self._link = _Link(attributes, len(self._written), [])
        self._written.append("")

    def _end_link(self) -> None:
        """Write the link when it is known what it contains. Without contents, it is an anchor."""
        link, self._link = self._link, None
        if link is None:
            return
        href = self._leading_to(link.attributes.get("href", ""))
        attributes = _only(link.attributes, "title", "id")
        only_images = bool(link.images) and not link.shows and not link.wraps
        if only_images and all(self._is_left_out(image) for _, image in link.images):
            return
        if not href or not (link.shows or link.images):
            self._write_anchor(link)
            return
        if only_images:
            attributes |= self._write_image_link(link)
        else:
            self._end_row_before(link)
            for place, image in link.images:
                self._written[place] = self._loaded(image) or _text(image)
        self._written.append("")
        end = len(self._written) - 1
        if href.startswith("#"):
            target = PREFIX + unquote(href[1:]).removeprefix(PREFIX)
            self._inner.append((link.start, end, target, attributes))
        else:
            self._written[link.start] += _tag("a", {"href": href, **attributes})
            self._written[end] = "</a>"

    def _leading_to(self, href: str) -> str:
        """Return where a link leads: to another site, or to another place in the description."""
        if href.lower().startswith("mailto:") or is_web_url(href) or href.startswith("#"):
            return href
        return (self._source and self._source.file(href)) or ""

    def _write_anchor(self, link: _Link) -> None:
        """Write what remains of a link that leads nowhere: its contents, and its id."""
        if link.shows or link.wraps or link.images:
            self._end_row_before(link)
        if anchor := _only(link.attributes, "id"):
            self._written[link.start] += f"{_tag('span', anchor)}</span>"
        for place, image in link.images:
            self._written[place] = self._loaded(image) or _text(image)

    def _end_row_before(self, link: _Link) -> None:
        if self._in_row:
            self._written[link.start] = "</span>"
            self._in_row = False

    def _write_image_link(self, link: _Link) -> dict[str, str]:
        """Write the images of a link without other contents; return attributes of the link."""
        loaded = [self._loaded(image) for _, image in link.images]
        if all(loaded):
            self._end_row_before(link)
            for (place, _), text in zip(link.images, loaded, strict=True):
                self._written[place] = text
            schemes = {image.scheme for _, image in link.images}
            return {"class": schemes.pop()} if len(schemes) == 1 and "" not in schemes else {}
        self._written[link.start] = self._begun_row()
        shown = [image.text for _, image in link.images if not self._is_left_out(image)]
        text = html.escape(shortened(" ".join(dict.fromkeys(shown))), quote=False)
        # The spaces around the images are left out as well.
        self._written[link.start + 1 :] = [text]
        return {}

    def _image(self, attributes: dict[str, str]) -> None:
        """Write an image, or keep a place for it in the open link."""
        source = attributes.get("src", "")
        url = source if is_web_url(source) else (self._source and self._source.image(source)) or ""
        image = Image.read(attributes, url)
        if self._link is not None:
            self._link.images.append((len(self._written), image))
            self._written.append("")
            return
        if self._is_left_out(image):
            return
        loaded = self._loaded(image)
        if loaded or not image.url:
            self._end_row()
            self._written.append(loaded or _text(image))
        else:
            label = f"{_tag('a', {'href': image.url})}{_text(image)}</a>"
            self._written.append(self._begun_row() + label)

    def _is_left_out(self, image: Image) -> bool:
        """Return whether a label would repeat that of the same image for the light scheme."""
        return image.scheme == DARK and not self._hosts.allow(image.url)

    def _loaded(self, image: Image) -> str:
        """Return the image for the browser to load, or an empty text if it must not."""
        if not self._hosts.allow(image.url):
            return ""
        attributes = {"src": image.url, "alt": image.text, **image.sizes}
        attributes |= {"loading": "lazy", "referrerpolicy": "no-referrer"}
        return _tag("img", attributes | ({"class": image.scheme} if image.scheme else {}))

    def _begun_row(self) -> str:
        """Return the start tag of a row of labels, or an empty text if a row is open."""
        if self._in_row:
            return ""
        self._in_row = True
        return _tag("span", {"class": ROW})


def _text(image: Image) -> str:
    return html.escape(image.text, quote=False)


def _only(attributes: dict[str, str], *names: str) -> dict[str, str]:
    return {name: attributes[name] for name in names if name in attributes}


def _tag(tag: str, attributes: dict[str, str]) -> str:
    text = "".join(f' {name}="{html.escape(value)}"' for name, value in attributes.items())
    return f"<{tag}{text}>"
