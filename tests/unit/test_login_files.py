"""Which login is found in the files of Docker and Podman, and where."""

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pyoci_flask.cli.login import FoundLogin, find_login


def entry(username: str, password: str) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{username}:{password}".encode()).decode()}


def write(path: Path, document: Any) -> Path:  # noqa: ANN401 - any JSON
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))
    return path


def environ_of(home: Path) -> Mapping[str, str]:
    return {"HOME": str(home), "XDG_RUNTIME_DIR": str(home / "run")}


def test_the_login_for_the_smallest_namespace_is_found(tmp_path: Path) -> None:
    auths = {
        "ghcr.io": entry("alice", "one"),
        "ghcr.io/acme": entry("bob", "two"),
        "ghcr.io/acme/team": entry("carol", "three"),
    }
    write(tmp_path / ".docker" / "config.json", {"auths": auths})
    shown = "~/.docker/config.json (auths, {})"
    for namespace, username, password, place in (
        ("acme/team/tools", "carol", "three", "ghcr.io/acme/team"),
        ("acme/team", "carol", "three", "ghcr.io/acme/team"),
        ("acme/teams", "bob", "two", "ghcr.io/acme"),
        ("other", "alice", "one", "ghcr.io"),
        ("", "alice", "one", "ghcr.io"),
    ):
        found = find_login("ghcr.io", namespace, environ_of(tmp_path))
        assert found == FoundLogin(username, password, shown.format(place))
    assert find_login("quay.io", "acme", environ_of(tmp_path)) is None
