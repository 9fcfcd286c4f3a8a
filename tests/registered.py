"""This package as keyring finds it where both are installed, without installing it."""

import os
import sys
import tomllib
from pathlib import Path

from tests.servers import ROOT


def register(folder: Path) -> str:
    """Write the metadata that an installation would have; return the PYTHONPATH that finds it.

    The entry points are those of pyproject.toml.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    metadata = folder / "site" / "pyoci_flask-0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: pyoci-flask\nVersion: 0\n")
    lines = [
        f"[{group}]\n" + "".join(f"{name} = {target}\n" for name, target in entries.items())
        for group, entries in project["entry-points"].items()
    ]
    (metadata / "entry_points.txt").write_text("".join(lines))
    return f"{metadata.parent}{os.pathsep}{ROOT}"


def keyring_program(folder: Path, path: str) -> Path:
    """Make a folder with the program `keyring`, as `uv tool install` does; return the folder.

    `path` is the PYTHONPATH of that program, which the clients that call it do not have. Each call
    adds a line with its arguments to the file `calls` in the folder.
    """
    programs = folder / "programs"
    programs.mkdir()
    program = programs / "keyring"
    program.write_text(
        f'#!/bin/sh\necho "$*" >> "{programs}/calls"\n'
        f'PYTHONPATH="{path}" exec "{sys.executable}" -m keyring "$@"\n'
    )
    program.chmod(0o755)
    return programs
