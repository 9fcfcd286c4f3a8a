"""A home folder with logins, and credential helpers on the PATH."""

import base64
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pyoci_flask.cli.login import FoundLogin, find_login

DOCKER = ".docker/config.json"
SECRET = "s3cret-of-the-login"
"""The secret of every login in these tests, for which all texts are searched."""


def auth(username: str = "alice", password: str = SECRET) -> dict[str, str]:
    """Return an entry as `docker login` writes it."""
    return {"auth": base64.b64encode(f"{username}:{password}".encode()).decode()}


@dataclass(slots=True)
class Home:
    """The home folder of a user whose environment is `environ`."""

    folder: Path
    environ: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.bin.mkdir(parents=True)
        self.environ |= {
            "HOME": str(self.folder),
            "XDG_RUNTIME_DIR": str(self.folder / "run"),
            "PATH": str(self.bin),
        }

    @property
    def bin(self) -> Path:
        """The only folder on the PATH."""
        return self.folder / "bin"

    def write(self, name: str, content: object) -> Path:
        """Write a file: bytes or text as they are, anything else as JSON."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    def helper(self, name: str, body: str) -> Path:
        """Put a helper on the PATH: Python code, for which `server` is what it was asked for."""
        path = self.bin / f"docker-credential-{name}"
        path.write_text(
            f"#!{sys.executable} -S\n"
            "import json, os, sys\n"
            "assert sys.argv[1:] == ['get']\n"
            "server = sys.stdin.read()\n"
            f"{body}\n"
        )
        path.chmod(0o755)
        return path

    def keeper(self, name: str, logins: dict[str, tuple[str, str]]) -> Path:
        """Put a helper on the PATH that has these logins, and writes down what it is asked for."""
        return self.helper(
            name,
            f"open({str(self.folder / 'asked')!r}, 'a').write(server + '\\n')\n"
            f"logins = {logins!r}\n"
            "if server not in logins:\n"
            "    print('credentials not found in native keychain')\n"
            "    sys.exit(1)\n"
            "username, secret = logins[server]\n"
            "print(json.dumps({'ServerURL': server, 'Username': username, 'Secret': secret}))",
        )

    @property
    def asked(self) -> list[str]:
        """What the helpers were asked for, in order."""
        path = self.folder / "asked"
        return path.read_text().splitlines() if path.exists() else []

    def find(self, host: str, namespace: str = "") -> FoundLogin | None:
        """Search for a login as this user."""
        return find_login(host, namespace, self.environ)


def texts_of(error: BaseException) -> Iterator[str]:
    """Yield everything that a traceback could show of an exception and its causes."""
    seen: Any = error
    while seen is not None:
        yield f"{seen!s} {seen!r} {seen.args!r}"
        seen = seen.__cause__ or (None if seen.__suppress_context__ else seen.__context__)
