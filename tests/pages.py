"""Reading the pages for people as a browser gets them."""

import re
from html import unescape

import requests

BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
"""The header that distinguishes a browser from an installer; Firefox sends this one."""


def shown(response: requests.Response) -> str:
    """Return the HTML of a page that must exist."""
    assert response.status_code == 200, response.text
    assert response.headers["Content-Type"] == "text/html; charset=utf-8"
    return response.text


def text_of(page: str) -> str:
    """Return the text of a page, on one line."""
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", page)).split())


def heading(page: str) -> str:
    """Return the text of the page's only h1."""
    (found,) = re.findall(r"<h1>(.*?)</h1>", page, re.DOTALL)
    return text_of(found)


def snippets_of(page: str) -> dict[str, str]:
    """Return the snippets that it offers to copy, by tool and number: `pip-1`."""
    found = re.findall(r'<pre id="snippet-([a-z-]+-\d)"[^>]*><code>(.*?)</code>', page, re.DOTALL)
    return {key: unescape(text) for key, text in found}
