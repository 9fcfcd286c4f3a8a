#!/usr/bin/env python3
"""Count what makes the program hard to maintain: `make counts`, or `scripts/counts.py FOLDER`.

The folder may be a clone of another commit. The script sends several requests to the program and
traces the last one of each kind. A request crosses a file of `pyoci_flask` if any function in the
file runs.
"""

import ast
import inspect
import io
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import coverage

PACKAGE = "pyoci_flask"
LONG, SHORT = 300, 30
MADE = re.compile(r"([\w.]+\.)?(OrderedDict|SizedCache|Weak(Key|Value)Dictionary)\b.*\(")
"""Matches code that makes a mapping which the code around it has to bound, lock and expire."""
OWN = frozenset({"memory.py", "bounded.py"})
"""Files of the shared mechanism, or of the helpers that memories in earlier commits shared."""


def statements_of(tree: Path, paths: list[Path]) -> int:
    """Return how many statements coverage counts."""
    counted = coverage.Coverage(data_file=None, config_file=str(tree / "pyproject.toml"))
    return sum(len(counted.analysis2(str(path))[1]) for path in paths)


def memories_of(source: str) -> Iterator[str]:
    """Yield the names of attributes and variables that are memories made by hand.

    These are the mappings that `MADE` matches, and dicts or sets that start empty in a class that
    guards them with a lock.
    """
    tree = ast.parse(source)
    locked = {
        id(node)
        for made in ast.walk(tree)
        if isinstance(made, ast.ClassDef) and "threading.Lock()" in ast.unparse(made)
        for node in ast.walk(made)
    }
    for node in ast.walk(tree):
        match node:
            case ast.Assign(targets=[target]) | ast.AnnAssign(target=target):
                name, value = ast.unparse(target), ast.unparse(node.value or target)
            case _:
                continue
        empty = value in {"{}", "set()", "dict()"} and name.startswith("self.")
        if MADE.match(value) or (empty and id(node) in locked):
            yield name.removeprefix("self.")


def crossed(tree: Path) -> dict[str, list[str]]:
    """Return the files that each kind of request crosses, traced in a process of its own."""
    command = [sys.executable, __file__, "--trace", str(tree)]
    environment = os.environ | {"PYTHONPATH": str(tree)}
    with tempfile.TemporaryDirectory() as folder:
        environment |= {"PYOCI_STORAGE": f"{folder}/storage", "PYOCI_SPOOL": folder}
        made = subprocess.run(  # noqa: S603 - this very file
            command, cwd=tree, env=environment, capture_output=True, check=False
        )
    if made.returncode:
        raise SystemExit(made.stderr.decode())
    found: dict[str, list[str]] = json.loads(made.stdout)
    return found


def trace(tree: Path) -> None:
    """Print which files the requests cross."""
    running: set[str] = set()
    package = f"{tree / PACKAGE}/"

    def note(frame: FrameType, _event: str, _argument: object) -> None:
        code = frame.f_code
        if code.co_flags & inspect.CO_OPTIMIZED and code.co_filename.startswith(package):
            running.add(code.co_filename.removeprefix(package))

    # This must come before any thread of the application begins.
    threading.setprofile(note)
    sys.setprofile(note)
    from werkzeug.test import Client

    from pyoci_flask.app import create_app_from_env

    client = Client(create_app_from_env(os.environ))

    def request(method: str, path: str, **options: Any) -> list[str]:  # noqa: ANN401 - werkzeug's
        running.clear()
        answer = client.open(path, method=method, **options)
        text = answer.get_data(as_text=True)
        answer.close()
        if answer.status_code != 200:
            raise SystemExit(f"{method} {path}: {answer.status} {text}")
        return sorted(running)

    def upload(version: str) -> list[str]:
        name = f"hello-{version}-py3-none-any.whl"
        fields = {":action": "file_upload", "name": "hello", "version": version}
        return request(
            "POST", "/embedded/team/", data=fields | {"content": (io.BytesIO(wheel(version)), name)}
        )

    page = {"Accept": "application/vnd.pypi.simple.v1+json"}
    found = {}
    for version in ("1.0", "2.0"):  # the first one of each request warms up
        found["upload"] = upload(version)
        for _ in range(2):
            found["warm page"] = request("GET", "/embedded/team/hello/", headers=page)
    for version in ("1.0", "2.0"):
        path = f"/embedded/team/hello/hello-{version}-py3-none-any.whl"
        found["delete"] = request("DELETE", path)
    sys.setprofile(None)
    print(json.dumps(found))  # noqa: T201 - the report


def wheel(version: str) -> bytes:
    """Return a small wheel."""
    info = f"hello-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: hello\nVersion: {version}\n"
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("hello.py", "")
        archive.writestr(f"{info}/METADATA", metadata)
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return made.getvalue()


def main() -> None:
    """Print the counts of a tree."""
    if sys.argv[1:2] == ["--trace"]:
        trace(Path(sys.argv[2]))
        return
    tree = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent.parent).resolve()
    paths = sorted((tree / PACKAGE).rglob("*.py"))
    texts = {str(path.relative_to(tree / PACKAGE)): path.read_text() for path in paths}
    lines = {name: text.count("\n") for name, text in texts.items()}
    short = [name for name, count in lines.items() if count < SHORT and "/__" not in f"/{name}"]
    memories = [
        f"{name}:{one}"
        for name, text in texts.items()
        if Path(name).name not in OWN
        for one in memories_of(text)
    ]
    longest = max(lines, key=lambda name: lines[name])
    rows = [
        ("statements", statements_of(tree, paths), []),
        ("modules", len(paths), []),
        ("longest module", lines[longest], [longest]),
        _counted(f"modules over {LONG} lines", [name for name in lines if lines[name] > LONG]),
        _counted(f"modules under {SHORT} lines", short),
        _counted("hand-made memories", memories),
    ]
    for kind, files in crossed(tree).items():
        own = [name for name in files if not name.startswith("registry/")]
        more = f"and {len(files) - len(own)} of the embedded registry"
        rows.append((f"files crossed: {kind}", len(own), [more]))
    for what, count, names in rows:
        print(f"{what:24}{count:>7}  {' '.join(names)}".rstrip())  # noqa: T201 - the report


def _counted(what: str, names: list[str]) -> tuple[str, int, list[str]]:
    return what, len(names), names


if __name__ == "__main__":
    main()
