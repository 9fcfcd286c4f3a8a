"""`serve`: run gunicorn with the shipped settings, from a checkout or an installed wheel."""

import os
import sys
from importlib import import_module
from pathlib import Path
from typing import NoReturn

from pyoci_flask.errors import ConfigurationError
from pyoci_flask.settings import Settings

_APPLICATION = "pyoci_flask.app:create_app_from_env()"
_PACKAGE = Path(__file__).resolve().parent.parent


def serve(bind: tuple[str, ...]) -> NoReturn:
    """Replace this process with gunicorn, which keeps the process id and receives the signals.

    Raises:
        ConfigurationError: a setting cannot be used, or gunicorn is not installed.
    """
    try:
        import_module("gunicorn")
    except ImportError as error:
        raise ConfigurationError(
            "serve needs gunicorn, which is not installed or does not run here"
        ) from error
    settings = Settings.from_env(os.environ)
    # gunicorn reads this variable itself and fails if it is empty.
    os.environ["WEB_CONCURRENCY"] = str(settings.web_concurrency)
    addresses = [part for address in bind for part in ("--bind", address)]
    command = [sys.executable, "-m", "gunicorn", "--config", str(configuration()), *addresses]
    sys.stdout.flush()
    os.execv(sys.executable, [*command, _APPLICATION])  # noqa: S606 - it starts no shell


def configuration() -> Path:
    """Return the path of gunicorn's settings: in the package, or next to it in a checkout."""
    packaged = _PACKAGE / "gunicorn.conf.py"
    return packaged if packaged.is_file() else _PACKAGE.parent / packaged.name
