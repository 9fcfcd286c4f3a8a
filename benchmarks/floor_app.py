"""The floor of warm pages a second: a route that makes one call and returns a constant page.

It runs under the same gunicorn settings as the application.
"""

import os
from pathlib import Path

import requests
from flask import Flask, Response
from requests.adapters import HTTPAdapter

_URL = os.environ["BENCHMARK_TAGS"]
_PAGE = Path(os.environ["BENCHMARK_PAGE"]).read_bytes()

app = Flask(__name__)
_session = requests.Session()
_session.mount("http://", HTTPAdapter(pool_maxsize=64))


@app.get("/")
def page() -> Response:
    """Ask for the tags and return the page."""
    _session.get(_URL).raise_for_status()
    return Response(_PAGE, content_type="application/vnd.pypi.simple.v1+json")
