"""The WSGI application, for gunicorn (`gunicorn wsgi:app`) or any other WSGI server."""

import os
from pathlib import Path

from pyoci_flask.app import create_app
from pyoci_flask.settings import Settings

# gunicorn.conf.py makes it, for all its workers.
_folder = os.environ.get("PYOCI_FLASK_CACHE_FOLDER")

app = create_app(Settings.from_env(os.environ), cache_folder=Path(_folder) if _folder else None)
application = app
