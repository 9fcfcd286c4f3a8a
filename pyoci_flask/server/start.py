"""What is judged, and warned of, once per start, whatever number of workers follows."""

import logging
import os
from pathlib import Path
from urllib.parse import urlsplit

from pyoci_flask.errors import ConfigurationError
from pyoci_flask.index.lock import VersionLocks
from pyoci_flask.logs import configure_logging
from pyoci_flask.server.binding import open_to_everyone
from pyoci_flask.settings import Settings
from pyoci_flask.settings.otlp import endpoints
from pyoci_flask.transport.network import check_ca_bundle

logger = logging.getLogger("pyoci")

STARTED = "PYOCI_FLASK_STARTED"
"""In the environment of workers whose master has done this already: `seen_at_start`."""


def check_start(settings: Settings) -> None:
    """Write warnings, and look at what may turn bad later without ending a running server.

    Raises:
        ConfigurationError: a file or folder that a setting names cannot be used.
    """
    configure_logging(settings.log_levels)
    check_paths(settings)
    check_ca_bundle(os.environ)
    endpoints(settings, os.environ)
    for directive in settings.log_ignored:
        logger.warning("RUST_LOG: %r means nothing here and is ignored", directive)
    if settings.fallback_index is not None and not settings.fallback_exclude:
        logger.warning(
            "PYOCI_FALLBACK_INDEX is set without PYOCI_FALLBACK_EXCLUDE: a private project that is "
            "deleted or misspelled is then installed from there, whoever published it"
        )
    if settings.fallback_index is not None and settings.fallback_empty:
        logger.warning(
            "PYOCI_FALLBACK_EMPTY=redirect: a private project without versions, deleted ones "
            "included, is installed from PYOCI_FALLBACK_INDEX unless PYOCI_FALLBACK_EXCLUDE names "
            "it"
        )
    if settings.registries is None and not open_to_everyone(settings):  # that is for loopback only
        logger.warning(
            "neither PYOCI_REGISTRIES nor PYOCI_INDEX is set: anybody who reaches this server can "
            "make it call any host, with %s",
            "private addresses included" if settings.private_networks else "public ones only",
        )
    if settings.url is not None and not urlsplit(settings.url).path.endswith(settings.path):
        logger.warning(
            "the path of PYOCI_URL (%s) does not end in PYOCI_PATH (%s): the links and addresses "
            "that pages show lead elsewhere",
            settings.url,
            settings.path,
        )
    if settings.storage is not None and settings.storage_users is not None:
        # Only who uses it pays for it.
        from pyoci_flask.registry.users import Access

        try:
            Access(settings.storage_users).check_file()
        except ValueError as error:
            raise ConfigurationError(f"PYOCI_STORAGE_USERS: {error}") from error


def seen_at_start(settings: Settings) -> str:
    """Return what tells the storage from another folder that may lie at its path later."""
    if settings.storage is None:
        return "no storage"
    found = settings.storage.stat()
    return f"{found.st_dev}:{found.st_ino}"


def prepare_folders(settings: Settings, started: str | None = None) -> None:
    """Make, as the user that serves, what uploads need in the folders of the settings.

    `started` is what `seen_at_start` returned, if that is past: in a mount point whose disk has
    gone since then nothing is made, as that would let it pass for an empty storage.

    Raises:
        ConfigurationError: it cannot be made, or belongs to another user.
    """
    VersionLocks.in_spool(settings.spool).prepare()
    if settings.storage is not None:
        from pyoci_flask.registry.storage import Storage

        storage = Storage(settings.storage)
        try:
            changed = started is not None and started != seen_at_start(settings)
            if changed and not storage.uploads.is_dir():
                raise ConfigurationError(
                    "PYOCI_STORAGE is not the folder that it was at the start: is its disk mounted?"
                )
            storage.prepare()
        except OSError as error:
            raise ConfigurationError(
                f"PYOCI_STORAGE must be a folder that can be written ({error.strerror})"
            ) from error


def check_paths(settings: Settings) -> None:
    """Make the folder of the embedded registry, and see that the other paths exist.

    Raises:
        ConfigurationError: one cannot be used; the text names the variable.
    """
    if settings.storage is not None:
        try:
            settings.storage.mkdir(0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(
                "PYOCI_STORAGE must be a folder that can be made and written "
                f"({error.strerror}), not {str(settings.storage)!r}"
            ) from error
    if settings.storage_users is not None and not settings.storage_users.is_file():
        raise ConfigurationError(
            "PYOCI_STORAGE_USERS must be an existing file (htpasswd -B makes one), "
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
