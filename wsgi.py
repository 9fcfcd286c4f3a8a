"""The WSGI application, for gunicorn (`gunicorn wsgi:app`) or any other WSGI server."""

import os

from pyoci_flask.app import create_app_from_env

app = create_app_from_env(os.environ)
application = app
