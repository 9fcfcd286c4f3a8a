"""Configuration to copy: how each tool is told of an index.

Secrets never stand in it. What needs credentials names the environment variables `REGISTRY_USER`
and `REGISTRY_TOKEN`, or says where a tool keeps its own.
"""

import shlex
from dataclasses import dataclass
from urllib.parse import urlsplit

USER = "REGISTRY_USER"
TOKEN = "REGISTRY_TOKEN"  # noqa: S105 - the name of a variable
PACKAGE = "PACKAGE"
_NAME = "private"
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, slots=True)
class Snippet:
    """A piece of text to copy. `title` says where it goes, `note` what to know about it."""

    title: str
    text: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Tool:
    """What one tool needs; `key` stands in addresses and ids."""

    key: str
    name: str
    snippets: tuple[Snippet, ...]


@dataclass(frozen=True, slots=True)
class Target:
    """The index that is configured."""

    url: str
    """With its slash."""
    registry: str
    """Host of the registry behind it."""
    credentials: bool
    """Whether the registry asks for credentials."""
    package: str = PACKAGE
    """The requirement that the commands install."""

    @property
    def host(self) -> str:
        """Host and port of this server."""
        return urlsplit(self.url).netloc

    @property
    def hostname(self) -> str:
        """Host of this server without a port, as `.netrc` names it."""
        return urlsplit(self.url).hostname or ""

    @property
    def in_the_clear(self) -> bool:
        """Whether pip refuses the address unless it is told to trust it."""
        return self.url.startswith("http://") and self.hostname not in _LOOPBACK

    @property
    def pip_trust(self) -> str:
        """The option with which pip takes the address, with a space behind it; mostly empty."""
        return f"--trusted-host {self.host} " if self.in_the_clear else ""

    def with_credentials(self, user: str, token: str) -> str:
        """The URL with what stands for user and password before its host."""
        if not self.credentials:
            return self.url
        scheme, _, rest = self.url.partition("://")
        return f"{scheme}://{user}:{token}@{rest}"

    @property
    def in_shell(self) -> str:
        """The URL as a shell takes it, with its variables."""
        if not self.credentials:
            return shlex.quote(self.url)
        return f'"{self.with_credentials(f"${USER}", f"${TOKEN}")}"'

    @property
    def package_in_shell(self) -> str:
        """The requirement as a shell takes it."""
        return shlex.quote(self.package)

    @property
    def bare_in_shell(self) -> str:
        """The URL without credentials as a shell takes it."""
        return shlex.quote(self.url)

    @property
    def login(self) -> str:
        """Options of twine and uv for an upload; they want some even where nobody asks."""
        if not self.credentials:
            return "--username any --password any"
        return f'--username "${USER}" --password "${TOKEN}"'


def installers(target: Target) -> tuple[Tool, ...]:
    """How to install one package: a command for each installer."""
    add = f"uv add --index {shlex.quote(f'{_NAME}={target.url}')} {target.package_in_shell}"
    source = f"poetry source add --priority=explicit {_NAME} {target.bare_in_shell}"
    return (
        Tool("pip", "pip", (_pip_command(target),)),
        Tool(
            "uv",
            "uv",
            (
                Snippet("Into an environment", _uv_install(target)),
                Snippet("Into a project", f"{_exports(target, 'UV_INDEX_PRIVATE')}{add}"),
            ),
        ),
        Tool(
            "poetry",
            "Poetry",
            (
                Snippet(
                    "Into a project",
                    f"{source}\n{_exports(target, 'POETRY_HTTP_BASIC_PRIVATE')}"
                    f"poetry add --source {_NAME} {target.package_in_shell}",
                ),
            ),
        ),
    )


def tools(target: Target) -> tuple[Tool, ...]:
    """How each tool that installs or publishes is set up."""
    return tuple(tool(target) for tool in (_pip, _uv, _poetry, _pdm, _twine, _hatch))


def _pip_command(target: Target) -> Snippet:
    return Snippet(
        "Command",
        f"pip install {target.pip_trust}--index-url {target.in_shell} {target.package_in_shell}",
        _encode_note(target),
    )


def _pip(target: Target) -> Tool:
    trust = f"\ntrusted-host = {target.host}" if target.in_the_clear else ""
    line = f"--trusted-host {target.host}\n" if target.in_the_clear else ""
    url = target.with_credentials(f"${{{USER}}}", f"${{{TOKEN}}}")
    note = "pip.conf holds no secrets and reads no variables: pip finds them in .netrc or keyring."
    return Tool(
        "pip",
        "pip",
        (
            _pip_command(target),
            Snippet(
                "pip.conf (pip config debug says where)",
                f"[global]\nindex-url = {target.url}{trust}",
                note if target.credentials else "",
            ),
            Snippet("requirements.txt", f"{line}--index-url {url}\n{target.package}"),
        ),
    )


def _uv_install(target: Target) -> str:
    return f"uv pip install --index-url {target.in_shell} {target.package_in_shell}"


def _uv(target: Target) -> Tool:
    always = '\nauthenticate = "always"' if target.credentials else ""
    table = (
        f'[[tool.uv.index]]\nname = "{_NAME}"\nurl = "{target.url}"\n'
        f'publish-url = "{target.url}"\nexplicit = true{always}\n\n'
        f'[tool.uv.sources]\n{target.package} = {{ index = "{_NAME}" }}'
    )
    publish = f"uv publish --publish-url {target.bare_in_shell} {target.login} dist/*"
    environment = _exports(target, "UV_INDEX_PRIVATE").rstrip()
    keys = (Snippet("Credentials of that index", environment),) if environment else ()
    return Tool(
        "uv",
        "uv",
        (
            Snippet("Install", _uv_install(target), _encode_note(target)),
            Snippet(
                "pyproject.toml",
                table,
                "explicit: only the packages that [tool.uv.sources] names come from here.",
            ),
            *keys,
            Snippet("Publish", publish),
        ),
    )


def _poetry(target: Target) -> Tool:
    table = f'[[tool.poetry.source]]\nname = "{_NAME}"\nurl = "{target.url}"\npriority = "explicit"'
    environment = _exports(target, "POETRY_HTTP_BASIC_PRIVATE")
    login = "" if target.credentials else " --username any --password any"
    return Tool(
        "poetry",
        "Poetry",
        (
            Snippet("pyproject.toml", table),
            Snippet(
                "Install", f"{environment}poetry add --source {_NAME} {target.package_in_shell}"
            ),
            Snippet(
                "Publish",
                f"poetry config repositories.{_NAME} {target.bare_in_shell}\n"
                f"{environment}poetry publish --build --repository {_NAME}{login}",
            ),
        ),
    )


def _pdm(target: Target) -> Tool:
    url = target.with_credentials(f"${{{USER}}}", f"${{{TOKEN}}}")
    trust = "verify_ssl = false\n" if target.in_the_clear else ""
    table = (
        f'[[tool.pdm.source]]\nname = "{_NAME}"\nurl = "{url}"\n{trust}'
        f'include_packages = ["{target.package}"]'
    )
    return Tool(
        "pdm",
        "PDM",
        (
            Snippet("pyproject.toml", table, "PDM fills in the variables when it runs."),
            Snippet("Install", f"pdm add {target.package_in_shell}"),
            Snippet("Publish", f"pdm publish --repository {target.bare_in_shell} {target.login}"),
        ),
    )


def _twine(target: Target) -> Tool:
    account = "\nusername = YOUR_USER_NAME" if target.credentials else ""
    config = f"[distutils]\nindex-servers =\n    {_NAME}\n\n[{_NAME}]\n"
    return Tool(
        "twine",
        "twine",
        (
            Snippet(
                "Publish",
                f"twine upload {target.login} --repository-url {target.bare_in_shell} dist/*",
            ),
            Snippet(
                "~/.pypirc",
                f"{config}repository = {target.url}{account}",
                "twine asks for the password, or takes it from keyring or TWINE_PASSWORD.",
            ),
            Snippet("Publish with ~/.pypirc", f"twine upload --repository {_NAME} dist/*"),
        ),
    )


def _hatch(target: Target) -> Tool:
    login = "--user any --auth any"
    if target.credentials:
        login = f'--user "${USER}" --auth "${TOKEN}"'
    inside = target.with_credentials(f"{{env:{USER}}}", f"{{env:{TOKEN}}}")
    trust = f'\nPIP_TRUSTED_HOST = "{target.host}"' if target.in_the_clear else ""
    return Tool(
        "hatch",
        "Hatch",
        (
            Snippet("Publish", f"hatch publish --repo {target.bare_in_shell} {login}"),
            Snippet(
                "pyproject.toml, for what its environments install",
                f'[tool.hatch.envs.default.env-vars]\nPIP_INDEX_URL = "{inside}"\n'
                f'UV_DEFAULT_INDEX = "{inside}"{trust}',
            ),
        ),
    )


def _exports(target: Target, prefix: str) -> str:
    if not target.credentials:
        return ""
    return f'export {prefix}_USERNAME="${USER}"\nexport {prefix}_PASSWORD="${TOKEN}"\n'


def _encode_note(target: Target) -> str:
    if not target.credentials:
        return ""
    return f"In an address, characters such as @ : / in ${TOKEN} have to be percent-encoded."
