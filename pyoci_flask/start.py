"""What is judged, and warned of, once per start, whatever number of workers follows."""

import logging
from urllib.parse import urlsplit

from pyoci_flask.binding import open_to_everyone
from pyoci_flask.errors import ConfigurationError
from pyoci_flask.logs import configure_logging
from pyoci_flask.settings import Settings

logger = logging.getLogger("pyoci")

STARTED = "PYOCI_FLASK_STARTED"
"""Set in the environment of workers whose master has done this already."""


def check_start(settings: Settings) -> None:
    """Write warnings, and look at what may turn bad later without ending a running server.

    Raises:
        ConfigurationError: the users file cannot be used.
    """
    configure_logging(settings.log_levels)
    for directive in settings.log_ignored:
        logger.warning("RUST_LOG: %r means nothing here and is ignored", directive)
    if settings.fallback_index is not None and not settings.fallback_exclude:
        logger.warning(
            "PYOCI_FALLBACK_INDEX is set without PYOCI_FALLBACK_EXCLUDE: a private project that is "
            "deleted or misspelled is then installed from there, whoever published it"
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
        from pyoci_flask.registry.auth import Access

        try:
            Access(settings.storage_users).check_file()
        except ValueError as error:
            raise ConfigurationError(f"PYOCI_STORAGE_USERS: {error}") from error
