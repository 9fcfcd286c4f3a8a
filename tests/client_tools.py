"""Programs that need an environment of their own, because their dependencies conflict.

Each is installed once, into a folder of the checkout that git ignores, from
`requirements-{tool}.txt`. That file contains hashes and no addresses; `make requirements` compiles
it from the `.in` file next to it.
"""

import fcntl
import hashlib
import os
import subprocess
import sys
from pathlib import Path

from tests.clients import PATIENT
from tests.patience import PATIENCE
from tests.public_index import public_index
from tests.servers import ROOT, environment

_TOOLS = ROOT / ".tools"
_SECONDS = 120


def client_tool(name: str, program: str | None = None) -> Path:
    """Return the path of the program (`name`, if not given); install it first if needed."""
    requirements = Path(__file__).with_name(f"requirements-{name}.txt")
    wanted = hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()
    folder = _TOOLS / name
    installed = folder / "installed"
    _TOOLS.mkdir(exist_ok=True)
    with (_TOOLS / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not installed.exists() or installed.read_text() != wanted:
            _uv("venv", "--clear", "--python", sys.executable, folder)
            hashed = ["--require-hashes", "--requirement", str(requirements)]
            _uv("pip", "install", "--python", folder, *hashed)
            installed.write_text(wanted)
    return folder / "bin" / (program or name)


def run_tool(
    tool: Path, cwd: Path, *arguments: str | Path, environ: dict[str, str] | None = None
) -> str:
    """Run a program to its end, with `cwd` as its home too; return its output. It must succeed."""
    done = subprocess.run(
        [str(tool), *map(str, arguments)],
        env=environment(cwd, {**_ALONE, **PATIENT, **(environ or {})}),
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=PATIENCE,
        check=False,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


_ALONE = {
    # No key ring of the desktop, and no search for newer versions of the program itself.
    "PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring",
    "PYTHONWARNINGS": "ignore",  # the variables of the programs
    "PDM_CHECK_UPDATE": "false",
    "NO_COLOR": "1",
}


def _uv(*arguments: str | Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "uv", "--quiet", *map(str, arguments)],
        env={"UV_DEFAULT_INDEX": public_index(), **os.environ},
        check=True,
        timeout=4 * PATIENCE,
    )
