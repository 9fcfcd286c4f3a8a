"""The login that `.netrc` has for a host."""

from collections.abc import Mapping
from netrc import NetrcParseError, netrc
from pathlib import Path
from urllib.parse import urlsplit

from pyoci_flask.cli.login.files import home_folder, shown_path
from pyoci_flask.cli.login.found import FoundLogin

_NAMES = (".netrc", "_netrc")
_LIMIT = 1024 * 1024
"""Bytes of a file. Larger files are ignored."""


def login_in_netrc(host: str, environ: Mapping[str, str]) -> FoundLogin | None:
    """Return the login for a host, whose port does not matter, or None.

    `$NETRC` names the file. A file that cannot be parsed is ignored, as requests does, because
    people have one for other programs.
    """
    home, chosen = home_folder(environ), environ.get("NETRC")
    paths = [home / name for name in _NAMES] if chosen is None else [_expanded(chosen, home)]
    name = urlsplit(f"//{host}").hostname
    if name is None:
        return None
    try:
        path = next((path for path in paths if path.exists()), None)
        # Opening a named pipe would wait for a writer.
        if path is None or not path.is_file() or path.stat().st_size > _LIMIT:
            return None
        found = netrc(str(path)).authenticators(name)
    except (NetrcParseError, OSError, UnicodeDecodeError):
        return None
    if found is None or not any(found):
        return None
    login, account, password = found
    return FoundLogin(login or account or "", password or "", shown_path(path, home))


def _expanded(text: str, home: Path) -> Path:
    return home / text.removeprefix("~/") if text.startswith("~/") else Path(text)
