"""Configuration to copy, which sets up each tool for an index.

The texts are templates in `templates/snippets`. They never contain secrets. Where a tool needs
credentials, a command first asks for both, and passes them on in variables or in a private file,
so that they stand neither in an address nor on a command line. They may contain any character.
"""

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from urllib.parse import urlsplit

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from pyoci_flask.oci.reference import EMBEDDED, Registry
from pyoci_flask.web import TEMPLATES
from pyoci_flask.web.services import services

PACKAGE = "PACKAGE"
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_NAMES = {
    "pip": "pip",
    "uv": "uv",
    "poetry": "Poetry",
    "pdm": "PDM",
    "twine": "twine",
    "hatch": "Hatch",
    "github": "GitHub Actions",
    "gitlab": "GitLab CI",
    "renovate": "Renovate",
    "keyring": ".netrc, keyring",
}

_HINTS = {
    "ghcr.io": (
        "User: your GitHub name. Token: a personal access token (classic) with the scope "
        "read:packages, and write:packages to publish."
    ),
    ".azurecr.io": (
        "User and password of a repository-scoped token, or the user "
        "00000000-0000-0000-0000-000000000000 and the token that az acr login --expose-token "
        "prints."
    ),
    ".amazonaws.com": (
        "User: AWS. Token: the output of aws ecr get-login-password, which is valid for 12 hours. "
        "Repositories must exist before the first upload."
    ),
    ".pkg.dev": "User: oauth2accesstoken. Token: the output of gcloud auth print-access-token.",
    "docker.io": "User: your Docker ID. Token: a personal access token with read and write access.",
}

_environment = Environment(
    autoescape=False,  # noqa: S701 - these are not HTML; the page that shows them escapes them
    auto_reload=False,
    loader=FileSystemLoader(TEMPLATES),
    lstrip_blocks=True,
    trim_blocks=True,
    undefined=StrictUndefined,
)
_environment.filters["quoted"] = shlex.quote


@dataclass(frozen=True, slots=True)
class Snippet:
    """A text to copy. `title` says where it belongs, and `note` what users should know about it."""

    title: str
    text: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Tool:
    """The snippets for one tool. `key` is used in addresses and ids."""

    key: str
    name: str
    snippets: tuple[Snippet, ...]


class Needs(Enum):
    """Where the dependencies of a package are, as far as that is known."""

    NOTHING = "nothing"
    """There are none."""
    HERE = "here"
    """All of them are in the same index."""
    ELSEWHERE = "elsewhere"
    """None of them is in the same index."""
    UNKNOWN = "unknown"
    """Some are in the same index and some are not, or it is not known."""


@dataclass(frozen=True, slots=True)
class Target:
    """The index that a tool is set up for."""

    url: str
    """URL of the index, with a slash at its end."""
    registry: str
    """Host of the registry that contains the index."""
    credentials: bool
    """Whether the registry asks for credentials."""
    package: str = PACKAGE
    """The requirement that the commands install."""
    exact: str = ""
    """The same with its version. It is empty if there is none."""
    needs: Needs = Needs.NOTHING
    """Where the dependencies of the package are."""
    fallback: bool = False
    """Whether installers are redirected to another index for what this one does not have."""

    @property
    def complete(self) -> bool:
        """Whether installers need no other index for this package."""
        return self.fallback or self.needs in {Needs.NOTHING, Needs.HERE}

    @property
    def host(self) -> str:
        """Host and port of this server."""
        return urlsplit(self.url).netloc

    @property
    def hostname(self) -> str:
        """Host of this server without a port, as `.netrc` expects it."""
        return urlsplit(self.url).hostname or ""

    @property
    def in_the_clear(self) -> bool:
        """Whether pip refuses the address unless its host is marked as trusted."""
        return self.url.startswith("http://") and self.hostname not in _LOOPBACK


def installers(target: Target) -> tuple[Tool, ...]:
    """Return the commands with which each installer installs a package, the best one first."""
    keys = ("pip", "uv", "poetry") if target.complete else ("uv", "poetry", "pip")
    return tuple(_tool("install", key, target) for key in keys)


def tools(target: Target) -> tuple[Tool, ...]:
    """Return the configuration of each tool that people run themselves."""
    keys = ("pip", "uv", "poetry", "pdm", "twine", "hatch")
    return tuple(_tool("setup", key, target) for key in keys)


def pipelines(target: Target) -> tuple[Tool, ...]:
    """Return the configuration of CI services, Renovate and credential stores."""
    keys = ("github", "gitlab", "renovate", *(("keyring",) if target.credentials else ()))
    return tuple(_tool("setup", key, target) for key in keys)


def credentials_hint(registry: str) -> str:
    """Return a hint about the credentials of a registry. It is empty if they are not known."""
    host = registry.partition(":")[0]
    return next((text for end, text in _HINTS.items() if host.endswith(end)), "")


def wants_credentials(registry: Registry) -> bool:
    """Return whether a registry is known to ask for credentials. It is not called."""
    found = services()
    if registry == EMBEDDED:
        return found.settings.storage_users is not None
    asked = found.authenticator.was_challenged(registry.origin)
    return asked or bool(credentials_hint(registry.netloc))


def _tool(folder: str, key: str, target: Target) -> Tool:
    """Render the template of a tool, which calls `snippet` for each of its snippets."""
    snippets: list[Snippet] = []

    def snippet(title: str, note: str = "", *, caller: Callable[[], str]) -> str:
        snippets.append(Snippet(title, caller().rstrip("\n"), note))
        return ""

    template = _environment.get_template(f"snippets/{folder}/{key}.j2")
    template.render(target=target, snippet=snippet)
    return Tool(key, _NAMES[key], tuple(snippets))
