"""Parsers of settings, one for each kind of value.

A parser raises `ValueError` with the expected value: a text that follows the variable's name and
`must be`. It never quotes the value, which may be a secret.
"""

import ipaddress
import re
import tempfile
from collections.abc import Callable, Mapping
from enum import Enum
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

from pyoci_flask.common.url import usable_url
from pyoci_flask.errors import ConfigurationError
from pyoci_flask.settings.origins import OriginPattern

_T = TypeVar("_T")

LEVELS = {
    "trace": "DEBUG",
    "debug": "DEBUG",
    "info": "INFO",
    "warn": "WARNING",
    "warning": "WARNING",
    "error": "ERROR",
    "critical": "CRITICAL",
    "off": "CRITICAL",
}
"""Maps log levels, including those of Rust programs, to the names that `logging` uses."""
_BIND = re.compile(r"(?P<host>\[[^\]%]+\]|[^:\[\]]+)(?::(?P<port>[0-9]{1,5}))?")
_LONGEST_TITLE = 60
_PATH = re.compile(r"(/[A-Za-z0-9._~-]+)+")
_LONGEST_HOST = 253
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_MOST_IMAGE_HOSTS = 50
"""Maximum number of hosts. They are all in a header of each page with a description."""
_IMAGE_HOST = re.compile(
    r"(?:\*\.(?=[^.]+\.))?(?:_LABEL\.)*(?!\d+\Z)_LABEL".replace("_LABEL", _LABEL)
)
_HEADER_VALUE = re.compile(r"[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?")


class Verify(Enum):
    """Which downloads are compared with the digest of the file."""

    ALWAYS = "always"
    ONCE = "once"
    """A file that was verified once is afterwards sent with only its length checked."""
    NEVER = "never"


def temporary_folder() -> Path:
    """Return the system's temporary folder.

    Raises:
        ConfigurationError: no temporary folder can be written.
    """
    try:
        return Path(tempfile.gettempdir())
    except FileNotFoundError as error:
        raise ConfigurationError(
            "PYOCI_SPOOL must be set to a writable folder, because no temporary folder can be used"
        ) from error


def between(low: int, high: int | None = None) -> Callable[[str], int]:
    """Return a parser of whole numbers from `low` to `high`, inclusive (None = no upper bound)."""

    def parse(text: str) -> int:
        wanted = f"a whole number of at least {low}" if high is None else f"{low} to {high}"
        if not re.fullmatch(r"[0-9]{1,18}", text) or int(text) < low or (high and int(text) > high):
            raise ValueError(wanted)
        return int(text)

    return parse


def bind_address(port: int) -> Callable[[str], str]:
    """Return a parser of addresses for gunicorn's `bind`; `port` is the default port."""

    def parse(text: str) -> str:
        if text.startswith("unix:/") and not text.endswith("/"):
            return text
        match = _BIND.fullmatch(text)
        number = port if match is None or match["port"] is None else int(match["port"])
        if match is None or not _is_bindable(match["host"]) or not 0 < number < 65536:
            raise ValueError(
                "an IP address, alone or with a port (127.0.0.1, 127.0.0.1:8080, [::1]:8080), "
                "or unix: and the absolute path of a socket"
            )
        return f"{match['host']}:{number}"

    return parse


def _is_bindable(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        version = ipaddress.ip_address(host.strip("[]")).version
    except ValueError:
        return False
    return (version == 6) == host.startswith("[")


def sub_path(text: str) -> str:
    """Parse the path under which the application is served: empty, or with a leading slash."""
    path = "/" + text.strip("/") if text.strip("/") else ""
    if path and (not _PATH.fullmatch(path) or ".." in path):
        raise ValueError("a path such as /acme-corp")
    if path == "/health" or f"{path}/".startswith("/v2/"):
        raise ValueError("another path, because this one is always served at the root")
    return path


def http_url(text: str) -> str:
    """Parse a URL, and remove the slashes at its end."""
    # What is not ASCII is percent-encoded where the URL is used.
    parts = usable_url(quote(text, safe="%/:=&?~#+!$,;'@()*[]"))
    if parts is None or parts.username is not None or parts.query or parts.fragment:
        raise ValueError("an http or https URL without credentials, query or fragment")
    return text.rstrip("/")


def title(text: str) -> str:
    """Parse the name of the server on its web pages: one line of plain text."""
    if len(text) > _LONGEST_TITLE or not text.isprintable():
        raise ValueError(f"one line of at most {_LONGEST_TITLE} characters")
    return text


def header_value(text: str) -> str:
    """Parse the value of a header."""
    if not _HEADER_VALUE.fullmatch(text):
        raise ValueError("a complete Authorization header value in printable ASCII")
    return text


def origins(text: str) -> tuple[OriginPattern, ...]:
    """Parse the registries that may be addressed."""
    try:
        return tuple(OriginPattern.parse(part) for part in re.split(r"[,\s]+", text) if part)
    except ValueError as error:
        raise ValueError(
            "registries such as ghcr.io, *.azurecr.io or http://localhost:5000, without a "
            "namespace, separated by commas"
        ) from error


def image_hosts(text: str) -> tuple[str, ...]:
    """Parse hosts whose images a browser may load, in the form of the Content-Security-Policy.

    `*.example.com` means every host below example.com, but not example.com itself (CSP Level 3,
    section 6.7.2.8).
    """
    hosts = tuple(dict.fromkeys(part.lower() for part in re.split(r"[,\s]+", text) if part))
    if len(hosts) > _MOST_IMAGE_HOSTS or not all(
        len(host) <= _LONGEST_HOST and _IMAGE_HOST.fullmatch(host) for host in hosts
    ):
        raise ValueError(
            f"at most {_MOST_IMAGE_HOSTS} names of hosts such as img.shields.io or *.example.com, "
            "without https:// and without a port, separated by commas"
        )
    return hosts


def name_patterns(text: str) -> tuple[str, ...]:
    """Parse patterns of project names, normalised like the names that they are compared with."""
    patterns = [part.lower() for part in re.split(r"[,\s]+", text) if part]
    if not all(re.fullmatch(r"[a-z0-9._*?-]+", pattern) for pattern in patterns):
        raise ValueError("project names or patterns like acme-*, separated by commas")
    return tuple(re.sub(r"[-_.]+", "-", pattern) for pattern in patterns)


def choice(expected: str, words: Mapping[str, _T]) -> Callable[[str], _T]:
    """Return a parser of `words`, in any case; `expected` is the text of the error."""

    def parse(text: str) -> _T:
        if text.lower() not in words:
            raise ValueError(expected)
        return words[text.lower()]

    return parse


level = choice("one of debug, info, warning, error", LEVELS)
redirect = choice("redirect, or unset", {"redirect": True})
allow_or_deny = choice("allow or deny", {"allow": True, "deny": False})
on_or_off = choice("on or off", {"on": True, "off": False})
proxy_or_redirect = choice("proxy or redirect", {"proxy": False, "redirect": True})
text_or_json = choice("text or json", {"text": False, "json": True})
verify = choice("always, once or never", {one.value: one for one in Verify})
boolean = choice(
    "true or false",
    {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False},
)


def seconds(text: str) -> float:
    """Parse a number of seconds, with up to three decimals."""
    if not re.fullmatch(r"[0-9]{1,2}(\.[0-9]{1,3})?", text):
        raise ValueError("seconds, 0 to 99, such as 0.5")
    return float(text)


def path(text: str) -> Path:
    """Parse the path of a file or folder; `pyoci_flask.server.start` checks whether it exists."""
    return Path(text).absolute()
