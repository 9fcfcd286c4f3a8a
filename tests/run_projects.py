"""Projects whose private package needs a private and a public one, and what becomes of them."""

import re
import subprocess
from pathlib import Path

from tests.run_lab import PASSWORD, USER, PublicIndex, RunLab, auth, write_config

NEEDS_APP = (
    '[project]\nname = "user"\nversion = "1"\nrequires-python = ">=3.11"\n'
    'dependencies = ["acme-app"]\n'
)
INSTALLED = ["acme_app 1.0", "acme_lib 1.0", "common_lib 2.0"]
SHOW = (
    "import acme_app, acme_lib, common_lib;"
    "print(*(f'{m.__name__} {m.__version__}' for m in (acme_app, acme_lib, common_lib)), sep='\\n')"
)
"""Python code that prints `INSTALLED`."""


def settings(public: PublicIndex) -> dict[str, str]:
    """Return the settings of a user whose public index is `public`."""
    return {
        "UV_DEFAULT_INDEX": public.url,
        "PIP_INDEX_URL": public.url,
        "PDM_PYPI_URL": public.url,
        "POETRY_VIRTUALENVS_IN_PROJECT": "true",
        "PIPENV_VENV_IN_PROJECT": "1",
    }


def second_machine(lab: RunLab) -> dict[str, str]:
    """Make the home `second`; return the variable for the file in which its login is."""
    home = lab.home("second", login=None)
    write_config(home, {"auths": {f"{lab.registry.netloc}/acme": auth(USER, PASSWORD)}})
    return {"REGISTRY_AUTH_FILE": str((home / ".docker").rename(home / "auth") / "config.json")}


def shown(project: Path) -> list[str]:
    """Return what the project's own environment imports."""
    command = [str(project / ".venv" / "bin" / "python"), "-c", SHOW]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()


def distributions(folder: Path) -> list[str]:
    """Return name and version of the packages that are installed in a folder."""
    return sorted(path.name.removesuffix(".dist-info") for path in folder.glob("*.dist-info"))


def urls(lock: str) -> set[str]:
    """Return the URLs in a lock file."""
    return set(re.findall(r"[a-z]+://[^\s\"'<>]*", lock))
