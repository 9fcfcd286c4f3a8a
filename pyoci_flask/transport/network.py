"""How this server reaches the network: the proxies and the CA bundle from its environment."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import urlsplit

from pyoci_flask.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Network:
    """The network settings of the environment, read once at startup and then passed on.

    With `trust_env`, requests would read the environment itself, but it would also read a `.netrc`,
    which overwrites the Authorization of the user who is being served.
    """

    proxies: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Maps a scheme (or `all`) to the proxy's URL, which may contain a password."""
    no_proxy: str = ""
    ca_bundle: str | None = None
    """A file or folder with trusted CA certificates, or None for those of the certifi package."""
    ca_variable: str = ""
    """The environment variable that names `ca_bundle`, or empty."""

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Self:
        """Read `HTTP_PROXY` and similar variables (in either case), and those for a CA bundle."""
        lower = {name.lower(): value for name, value in environ.items() if value}
        proxies = {
            scheme: lower[f"{scheme}_proxy"]
            for scheme in ("http", "https", "all")
            if f"{scheme}_proxy" in lower
        }
        if "REQUEST_METHOD" in environ:
            proxies.pop("http", None)  # under CGI, HTTP_PROXY is a client's header (httpoxy)
        variable, ca_bundle = _ca_bundle(environ)
        return cls(proxies, lower.get("no_proxy", ""), ca_bundle, variable)

    def proxies_for(self, url: str) -> dict[str, str]:
        """Return the proxies to use for `url`: none if `NO_PROXY` contains its host."""
        if not self.proxies or _bypassed(url, self.no_proxy):
            return {}
        return dict(self.proxies)

    @property
    def proxied_schemes(self) -> list[str]:
        """The schemes of URLs that are called through a proxy, unless `NO_PROXY` has their host."""
        if _bypasses_all(self.no_proxy):
            return []
        return [one for one in ("https", "http") if {"all", one} & self.proxies.keys()]


def check_ca_bundle(environ: Mapping[str, str]) -> None:
    """Check that the CA bundle that the environment specifies can be read.

    Raises:
        ConfigurationError: it cannot be read.
    """
    name, path = _ca_bundle(environ)
    if path is not None and not os.access(path, os.R_OK):
        raise ConfigurationError(f"{name} must be a file or folder that can be read, not {path!r}")


def _ca_bundle(environ: Mapping[str, str]) -> tuple[str, str | None]:
    """Return the name of the variable that is set, and its value."""
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
        if environ.get(name):
            return name, environ[name]
    return "", None


def _bypasses_all(no_proxy: str) -> bool:
    return re.search(r"(^|[,\s])\*($|[,\s])", no_proxy) is not None


def _bypassed(url: str, no_proxy: str) -> bool:
    if _bypasses_all(no_proxy):
        return True
    if not no_proxy:
        return False
    from requests.utils import should_bypass_proxies  # slow to import, and seldom needed

    host = urlsplit(url).hostname or ""
    return bool(
        should_bypass_proxies(url, no_proxy=no_proxy.replace(" ", ","))
    ) or host in no_proxy.split(",")
