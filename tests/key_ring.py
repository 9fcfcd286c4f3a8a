"""A key ring for the clients that tests run, in place of the desktop's."""

from pathlib import Path

_MODULE = """\
import json
import os
from pathlib import Path

from keyring.backend import KeyringBackend

_FILE = Path(os.environ["HOME"], "key-ring.json")


class FileKeyring(KeyringBackend):
    priority = 1

    def get_password(self, service, username):
        return self._read().get(f"{service} {username}")

    def set_password(self, service, username, password):
        _FILE.write_text(json.dumps({**self._read(), f"{service} {username}": password}))

    def _read(self):
        return json.loads(_FILE.read_text()) if _FILE.exists() else {}
"""


def key_ring(folder: Path) -> dict[str, str]:
    """Write a keyring backend that keeps passwords in a file of $HOME; return how to use it."""
    (folder / "file_key_ring.py").write_text(_MODULE)
    return {
        "PYTHONPATH": str(folder),
        "PYTHON_KEYRING_BACKEND": "file_key_ring.FileKeyring",
    }
