"""Checks made once per start, before any worker: settings, folders, addresses to listen on.

The server listens on `PYOCI_BIND`. If this is not set, it listens on all interfaces, or only on the
loopback interface if no password is required.
"""

import ipaddress
import logging
import os
import socket
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urlsplit

from pyoci_flask.errors import ConfigurationError
from pyoci_flask.index.lock import VersionLocks
from pyoci_flask.index.store_folder import prepare_kept, remove_kept
from pyoci_flask.logs import configure_logging
from pyoci_flask.settings import Settings
from pyoci_flask.settings.otlp import endpoints
from pyoci_flask.transport.network import Network, check_ca_bundle

logger = logging.getLogger("pyoci")

STARTED = "PYOCI_FLASK_STARTED"
"""The variable with which gunicorn's master passes the result of `seen_at_start` to workers."""


def check_start(settings: Settings) -> None:
    """Log warnings, and check the files and folders that settings refer to.

    Raises:
        ConfigurationError: a file or folder cannot be used.
    """
    configure_logging(settings.log_levels)
    check_paths(settings)
    check_ca_bundle(os.environ)
    endpoints(settings, os.environ)
    for directive in settings.log_ignored:
        logger.warning("RUST_LOG: ignoring unsupported directive %r", directive)
    for name, similar in settings.unknown.items():
        hint = f"did you mean {similar}?" if similar else "docs/settings.md lists all settings"
        logger.warning("%s is not a setting and has no effect: %s", name, hint)
    if settings.fallback_index is not None and not settings.fallback_exclude:
        logger.warning(
            "PYOCI_FALLBACK_INDEX is set without PYOCI_FALLBACK_EXCLUDE: if a private project is "
            "deleted or misspelled, the project of that name in the fallback index is installed, "
            "no matter who published it"
        )
    if settings.fallback_index is not None and settings.fallback_empty:
        logger.warning(
            "PYOCI_FALLBACK_EMPTY=redirect: a private project without versions, or whose versions "
            "were all deleted, is installed from PYOCI_FALLBACK_INDEX unless "
            "PYOCI_FALLBACK_EXCLUDE matches it"
        )
    if settings.registries is None and Network.from_env(os.environ).proxies:
        logger.warning(
            "set PYOCI_REGISTRIES or PYOCI_INDEX: a proxy is configured (HTTPS_PROXY, HTTP_PROXY "
            "or ALL_PROXY), and without either setting, calls through the proxy are refused with "
            "403, because this server cannot see which address the proxy connects to"
        )
    elif settings.registries is None and not open_to_everyone(settings):  # else only on loopback
        logger.warning(
            "neither PYOCI_REGISTRIES nor PYOCI_INDEX is set: anybody who reaches this server can "
            "make it call any host (%s)",
            "private addresses included" if settings.private_networks else "public ones only",
        )
    if settings.url is not None and not urlsplit(settings.url).path.endswith(settings.path):
        logger.warning(
            "the path of PYOCI_URL (%s) does not end in PYOCI_PATH (%s), so the links and "
            "addresses on pages are wrong",
            settings.url,
            settings.path,
        )
    if settings.storage is not None and settings.storage_users is not None:
        # Imported only if it is used.
        from pyoci_flask.registry.users import Access

        try:
            Access(settings.storage_users).check_file()
        except ValueError as error:
            raise ConfigurationError(f"PYOCI_STORAGE_USERS: {error}") from error


def seen_at_start(settings: Settings) -> str:
    """Return an identifier of the storage folder, to notice later if another one replaced it."""
    if settings.storage is None:
        return "no storage"
    found = settings.storage.stat()
    return f"{found.st_dev}:{found.st_ino}"


def prepare_folders(settings: Settings, started: str | None = None) -> None:
    """Make the folders that uploads need; call this as the user that the workers run as.

    `started` is what `seen_at_start` returned when the server started, if it was called then. If
    the disk of the storage has been unmounted since, nothing is made at its mount point, because
    the result would look like an empty storage.

    Raises:
        ConfigurationError: a folder cannot be made, or belongs to another user.
    """
    VersionLocks.in_spool(settings.spool).prepare()
    if settings.storage is not None:
        from pyoci_flask.registry.storage import Storage

        storage = Storage(settings.storage)
        try:
            changed = started is not None and started != seen_at_start(settings)
            if changed and not storage.uploads.is_dir():
                raise ConfigurationError(
                    "PYOCI_STORAGE is not the same folder as at startup; is its disk mounted?"
                )
            storage.prepare()
        except OSError as error:
            raise ConfigurationError(
                f"PYOCI_STORAGE must be a writable folder ({error.strerror})"
            ) from error


def keep_cache(settings: Settings) -> Path | None:
    """Prepare `PYOCI_CACHE_FOLDER`; call this as the user that the workers run as.

    Return the folder for the listing cache, or None if no folder is kept. A folder that cannot be
    used causes a warning, because the server works without it.
    """
    if settings.cache_folder is None:
        return None
    if not settings.cache_ttl:
        # Nothing counts changes now. A later start must not believe what is there.
        remove_kept(settings.cache_folder)
        return None
    try:
        return prepare_kept(settings.cache_folder)
    except OSError as error:
        logger.warning(
            "PYOCI_CACHE_FOLDER cannot be used, so the listing cache ends with this server: %s",
            error if error.strerror is None else f"{error.filename}: {error.strerror}",
        )
        return None


def check_paths(settings: Settings) -> None:
    """Make the folder of the embedded registry, and check that the other paths exist.

    Raises:
        ConfigurationError: a path cannot be used; the text names the variable.
    """
    if settings.storage is not None:
        try:
            settings.storage.mkdir(0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(
                "PYOCI_STORAGE must be a folder that can be created and written "
                f"({error.strerror}), not {str(settings.storage)!r}"
            ) from error
    if settings.storage_users is not None and not settings.storage_users.is_file():
        raise ConfigurationError(
            "PYOCI_STORAGE_USERS must be an existing file (htpasswd -B creates one), "
            f"not {str(settings.storage_users)!r}"
        )
    if settings.bind is not None and settings.bind.startswith("unix:"):
        folder = Path(settings.bind.removeprefix("unix:")).parent
        if not folder.is_dir():
            raise ConfigurationError(
                f"PYOCI_BIND must name a socket in an existing folder, not in {str(folder)!r}"
            )
    if not settings.spool.is_dir():
        raise ConfigurationError(
            f"PYOCI_SPOOL must be an existing folder, not {str(settings.spool)!r}"
        )


def open_to_everyone(settings: Settings) -> bool:
    """Return whether every client may publish to and delete from the embedded registry."""
    return settings.storage is not None and settings.storage_users is None


def bind_addresses(settings: Settings) -> list[str]:
    """Return the addresses to listen on, for gunicorn's `bind`: IPv4, and IPv6 if available."""
    if settings.bind is not None:
        return [settings.bind]
    if open_to_everyone(settings):
        hosts = ["127.0.0.1"] if _takes_ipv4("::1") is None else ["127.0.0.1", "[::1]"]
    else:
        takes_ipv4 = _takes_ipv4("::")
        hosts = [] if takes_ipv4 is None else ["[::]"]
        if not takes_ipv4:
            hosts.append("0.0.0.0")  # noqa: S104 -- serving the network is the purpose
    return [f"{host}:{settings.port}" for host in hosts]


def refuse_public(addresses: Iterable[object]) -> None:
    """Check that all addresses are loopback addresses.

    Args:
        addresses: (host, port, ...) for TCP, anything else for other sockets, which are local.

    Raises:
        ConfigurationError: one of them is reachable from the network.
    """
    for address in addresses:
        if isinstance(address, tuple) and not _is_loopback(str(address[0])):
            raise ConfigurationError(
                "PYOCI_STORAGE without PYOCI_STORAGE_USERS lets everyone publish and delete, so it "
                f"is served on a loopback address only, not on {address[0]} port {address[1]}: "
                "set PYOCI_STORAGE_USERS to an htpasswd file, or set PYOCI_BIND=127.0.0.1"
            )


def _is_loopback(host: str) -> bool:
    try:
        found = socket.getaddrinfo(host, None)
    except OSError:
        return False
    addresses = [ipaddress.ip_address(info[4][0]) for info in found]
    return all((getattr(a, "ipv4_mapped", None) or a).is_loopback for a in addresses)


def _takes_ipv4(host: str) -> bool | None:
    """Return whether a socket on this IPv6 address also takes IPv4, or None without IPv6.

    `net.ipv6.bindv6only` decides this, and gunicorn does not change it.
    """
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind((host, 0))
            return not probe.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
    except OSError:
        return None
