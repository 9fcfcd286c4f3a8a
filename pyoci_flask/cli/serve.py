"""`serve`: gunicorn with the shipped settings, from a checkout or an installed wheel."""

import os
import sys
from pathlib import Path
from typing import NoReturn

from flask import Flask

from pyoci_flask.app import create_app_from_env
from pyoci_flask.settings import Settings

_APPLICATION = "pyoci_flask.cli.serve:application()"
_PACKAGE = Path(__file__).resolve().parent.parent


def application() -> Flask:
    """Build the application from the environment; gunicorn calls this in each worker."""
    return create_app_from_env(os.environ)


def serve(bind: tuple[str, ...]) -> NoReturn:
    """Become gunicorn: it keeps this process's id and gets its signals.

    Raises:
        ConfigurationError: a setting cannot be used.
    """
    settings = Settings.from_env(os.environ)
    # gunicorn reads it by itself, when it is imported, and takes an empty one for a number.
    os.environ["WEB_CONCURRENCY"] = str(settings.web_concurrency)
    addresses = [part for address in bind for part in ("--bind", address)]
    command = [sys.executable, "-m", "gunicorn", "--config", str(configuration()), *addresses]
    sys.stdout.flush()
    os.execv(sys.executable, [*command, _APPLICATION])  # noqa: S606 - nothing of it is a shell's


def configuration() -> Path:
    """The wheel carries gunicorn's settings inside the package; a checkout has them beside it."""
    packaged = _PACKAGE / "gunicorn.conf.py"
    return packaged if packaged.is_file() else _PACKAGE.parent / packaged.name
