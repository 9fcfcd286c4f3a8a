"""The package clients as users run them: processes with no settings except those passed here."""

import importlib.metadata
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from tests.patience import PATIENCE
from tests.servers import environment

PATIENT = {
    "PIP_DEFAULT_TIMEOUT": str(int(PATIENCE)),
    "UV_HTTP_TIMEOUT": str(int(PATIENCE)),
    "POETRY_REQUESTS_TIMEOUT": str(int(PATIENCE)),
    "PDM_REQUEST_TIMEOUT": str(int(PATIENCE)),
}
"""Time-outs for the clients, for a machine on which the server is slow."""


def run(
    home: Path,
    *command: str | Path,
    environ: Mapping[str, str] | None = None,
    succeeds: bool = True,
) -> str:
    """Run a client to its end and return its output. It must succeed, or must fail."""
    done = subprocess.run(
        [sys.executable, "-m", *map(str, command)],
        env=environment(
            home,
            {"PIP_CONFIG_FILE": os.devnull, "UV_NO_CONFIG": "1", **PATIENT, **(environ or {})},
        ),
        cwd=home,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=PATIENCE,
        check=False,
        text=True,
    )
    assert (done.returncode == 0) is succeeds, done.stdout
    return done.stdout


def twine_upload(
    home: Path,
    url: str,
    *arguments: str | Path,
    auth: tuple[str, str] = ("", ""),
    succeeds: bool = True,
) -> str:
    """Publish files; the list may contain options of twine."""
    username, password = auth
    options = ["--disable-progress-bar", "--username", username, "--password", password]
    upload = [*options, "--repository-url", url, *arguments]
    return run(home, "twine", "upload", *upload, succeeds=succeeds)


def uv_publish(home: Path, url: str, *arguments: str | Path, succeeds: bool = True) -> str:
    """Publish files; the list may contain options of uv."""
    options = ["--no-progress", "--publish-url", url]
    return run(home, "uv", "publish", *options, *arguments, succeeds=succeeds)


def pip_install(home: Path, index: str, target: Path, *arguments: str | Path) -> dict[str, str]:
    """Install requirements; return the installed versions by the name in their metadata."""
    options: list[str | Path] = [
        "--no-cache-dir",
        "--disable-pip-version-check",
        "--target",
        target,
    ]
    run(home, "pip", "install", *options, "--index-url", index, *arguments)
    return installed(target)


def uv_install(home: Path, index: str, target: Path, *arguments: str | Path) -> dict[str, str]:
    """Install requirements with uv; return the installed versions."""
    options: list[str | Path] = ["--no-cache", "--python", sys.executable, "--target", target]
    run(home, "uv", "pip", "install", *options, "--default-index", index, *arguments)
    return installed(target)


def installed(target: Path) -> dict[str, str]:
    """Return the versions of the packages in a folder, by the name in their metadata."""
    found = importlib.metadata.distributions(path=[str(target)])
    return {each.metadata["Name"]: each.version for each in found}


def with_credentials(url: str, username: str, password: str) -> str:
    """Return the URL with user and password in it."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{quote(username, safe='')}:{quote(password, safe='')}@{rest}"
