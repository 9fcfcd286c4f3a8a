"""The WSGI application, for gunicorn (`gunicorn wsgi:app`) or any other WSGI server."""

import os

from pyoci_flask.app import create_app
from pyoci_flask.settings import Settings

app = create_app(Settings.from_env(os.environ))
application = app
