"""The servers that a user trusts with the login for a registry, and the file that lists them.

The key ring imports this module, so it imports neither click nor anything of the server.
"""

import ipaddress
import json
import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from pyoci_flask.cli.login.files import home_folder
from pyoci_flask.common.files import read_bounded
from pyoci_flask.common.url import usable_url
from pyoci_flask.errors import ConfigurationError
from pyoci_flask.oci.reference import EMBEDDED, Registry

_PATH = re.compile(r"/(?:[A-Za-z0-9_~-][A-Za-z0-9._~-]*/)*")
"""The sub-path of a server. No segment begins with a dot, so `..` has no meaning in it."""
_SERVER = (
    "must be the http or https URL of a server, such as https://packages.example.com, with its "
    "sub-path if it has one, but without credentials, query and fragment"
)


@dataclass(frozen=True, slots=True)
class Server:
    """A server of this program: where it answers, and the sub-path of `PYOCI_PATH`."""

    origin: Registry
    """Scheme, host and port, which a server and a registry spell in the same way."""
    path: str
    """Begins and ends with a slash."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse the URL of a server.

        Raises:
            ValueError: it is no such URL, or it uses http and its host is not on loopback. The
                text of the error does not quote it, because it might contain a password.
        """
        parts = usable_url(text)
        if parts is None or any(sign in text for sign in "@?#\\%"):
            raise ValueError(_SERVER)
        origin = Registry.parse(f"{parts.scheme}://{parts.netloc}", any_host=True)
        path = f"{parts.path.rstrip('/')}/"
        if origin is None or not _PATH.fullmatch(path):
            raise ValueError(_SERVER)
        if origin.scheme == "http" and not _is_loopback(origin.host):
            raise ValueError(
                "must use https, because everybody on the way can read a login that is sent over "
                "http; only a server on this machine (localhost, 127.0.0.1 or [::1]) may use http"
            )
        return cls(origin, path)

    def __str__(self) -> str:
        return f"{self.origin.scheme}://{self.origin.netloc}{self.path.rstrip('/')}"


@dataclass(frozen=True, slots=True)
class Pair:
    """A server that gets the login for one registry."""

    server: Server
    registry: Registry

    @classmethod
    def parse(cls, server: str, registry: str) -> Self:
        """Parse both.

        Raises:
            ValueError: one of them is not valid; the text names neither.
        """
        return cls(Server.parse(server), parse_registry(registry))


def parse_registry(text: str) -> Registry:
    """Parse a registry as it is written in the address of an index, without a namespace.

    Raises:
        ValueError: it is none, or the embedded registry, which has no login of its own.
    """
    found = Registry.parse(text)
    if found == EMBEDDED:
        raise ValueError(
            "must be a registry outside the server; logins for the embedded registry are those of "
            "the server itself, which other key rings and .netrc can hold"
        )
    if found is None:
        raise ValueError(
            "must be a registry without a namespace: a host such as ghcr.io, host:port, or a URL "
            "such as http://localhost:5000 if it does not use TLS"
        )
    return found


def trust_file() -> Path:
    """Return the path of the user's list (XDG Base Directory Specification)."""
    base = os.environ.get("XDG_CONFIG_HOME", "")
    # The specification says to ignore a relative path.
    folder = Path(base) if base.startswith("/") else home_folder(os.environ) / ".config"
    return folder / "pyoci-flask" / "trust.json"


def read_pairs(file: Path) -> frozenset[Pair]:
    """Return the pairs in the file; none if there is no file.

    Raises:
        ConfigurationError: the file cannot be read, is too large, or is not such a list.
    """
    try:
        content = read_bounded(file)
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{file} cannot be read: {_reason(error)}") from error
    if content is None:
        return frozenset()
    try:
        document = json.loads(content)
        return frozenset(
            Pair.parse(each["server"], each["registry"]) for each in document["trusted"]
        )
    # Deep nesting is a RecursionError, and a value of another type a TypeError, ...
    except (ValueError, RecursionError, TypeError, KeyError, AttributeError) as error:
        raise ConfigurationError(
            f"{file} is damaged: remove it, and trust the servers again"
        ) from error


def in_order(pairs: Iterable[Pair]) -> list[Pair]:
    """Return the pairs sorted by server and registry, as they are listed."""
    return sorted(pairs, key=lambda one: (str(one.server), one.registry.address))


def add(file: Path, pair: Pair) -> bool:
    """Add a pair to the file; return whether it was missing.

    Raises:
        ConfigurationError: the file is damaged, or cannot be read or written.
    """
    with _changing(file):
        pairs = read_pairs(file)
        if pair not in pairs:
            _write(file, pairs | {pair})
    return pair not in pairs


def remove(file: Path, pair: Pair) -> bool:
    """Remove a pair from the file; return whether it was there.

    Raises:
        ConfigurationError: the file is damaged, or cannot be read or written.
    """
    with _changing(file):
        pairs = read_pairs(file)
        if pair in pairs:
            _write(file, pairs - {pair})
    return pair in pairs


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


@contextmanager
def _changing(file: Path) -> Iterator[None]:
    """Lock the folder of the list, so that no change of another process is lost meanwhile."""
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with ExitStack() as stack:
            if os.name == "posix":  # elsewhere, two changes at once may lose one of them
                import fcntl

                descriptor = os.open(file.parent, os.O_RDONLY)
                stack.callback(os.close, descriptor)
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
    except OSError as error:
        raise ConfigurationError(f"{file} cannot be written: {error.strerror}") from error


def _write(file: Path, pairs: Iterable[Pair]) -> None:
    entries = [
        {"server": str(one.server), "registry": one.registry.address} for one in in_order(pairs)
    ]
    target = file.resolve()  # the file may be a link into a folder of the user's settings
    # The temporary file is private from its beginning, and so is what it replaces afterwards.
    descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=".trust-")
    new = Path(name)
    try:
        with os.fdopen(descriptor, "w") as opened:
            json.dump({"trusted": entries}, opened, indent=2)
            opened.write("\n")
            opened.flush()
            os.fsync(opened.fileno())
        new.replace(target)
    finally:
        new.unlink(missing_ok=True)


def _reason(error: OSError | ValueError) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
