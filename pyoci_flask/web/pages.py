"""Pages that belong to no index: health, landing page, robots.txt."""

from flask import Blueprint, render_template, request
from werkzeug.wrappers import Response

from pyoci_flask import __version__
from pyoci_flask.web.services import services

blueprint = Blueprint("pages", __name__)


@blueprint.get("/health")
def health() -> Response:
    """Say that this worker answers; asks no registry."""
    response = Response("ok\n", content_type="text/plain; charset=utf-8")
    response.headers["Cache-Control"] = "no-store"
    return response


@blueprint.get("/robots.txt")
def robots() -> Response:
    """Keep crawlers away: every address is a call to somebody's registry."""
    return Response("User-agent: *\nDisallow: /\n", content_type="text/plain; charset=utf-8")


@blueprint.get("/style.css")
def style() -> Response:
    """The look of the pages for people."""
    response = Response(render_template("style.css"), content_type="text/css; charset=utf-8")
    response.headers["Cache-Control"] = "public, max-age=3600"
    return response


@blueprint.get("/")
def landing() -> Response:
    """Tell people what this is and how to use it."""
    settings = services().settings
    root = settings.url or request.url_root.rstrip("/")
    html = render_template(
        "landing.html", root=root, version=__version__, pinned=settings.index is not None
    )
    return Response(html, content_type="text/html; charset=utf-8")
