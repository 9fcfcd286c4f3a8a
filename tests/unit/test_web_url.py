import re
from html import unescape

import pytest

from pyoci_flask.common.url import is_web_url
from pyoci_flask.web.people.description_process import safe_html

LINKS = [
    *("https://example.org", "http://example.org/", "HTTPS://Example.org/a?b#c"),
    *("https://example.org:8443/x", "http://[::1]:80/", "https://user@example.org/x"),
    *("https://example.org/a b", "https://example.org?x=\\", "https://b\u00fccher.example/"),
]
NO_LINKS = [
    *(
        "https:/ui/simple/",
        "https:ui/",
        "http:/x",
        "http:x",
        "HTTPS:/x",
        "https:///x",
        "http:////x",
    ),
    *(
        "//example.org/x",
        "/ui/",
        "ui/",
        "\\\\example.org",
        "/\\example.org",
        "https:\\\\x",
        "http:\\x",
    ),
    *(
        "https:/\\x",
        "https://\\x/",
        "https://x\\@evil/",
        "ht\ttps://x/",
        "https:\t//x",
        "https:/\t/x",
    ),
    *(
        "https:/\n/x",
        " https://x/",
        "\x01https://x/",
        "https://\x00x/",
        "https://x/\ny",
        "https://",
    ),
    *("https://?x", "https://#x", "https://:80/", "https://@/x", "https://user@/x", "https://[/"),
    *("javascript:alert(1)", "data:text/html,x", "file:///etc/passwd", "ftp://x/", "", "https"),
]


@pytest.mark.parametrize("text", LINKS)
def test_an_absolute_url_is_a_link(text: str) -> None:
    assert is_web_url(text)


@pytest.mark.parametrize("text", NO_LINKS)
def test_what_a_browser_reads_otherwise_is_none(text: str) -> None:
    assert not is_web_url(text)


@pytest.mark.parametrize("text", NO_LINKS)
def test_a_description_does_not_link_to_this_server(text: str) -> None:
    escaped = "".join(f"&#x{ord(char):x};" for char in text)
    source = f'x <a href="{escaped}">one</a> <img src="{escaped}" alt="two"> [three](<{text}>)'
    html = safe_html(source, "markdown", "GFM") or ""
    # The renderer encodes some of them, so that they become other URLs.
    assert all(is_web_url(unescape(href)) for href in re.findall('href="([^"]*)"', html)), html
