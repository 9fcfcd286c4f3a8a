"""The parts that all web pages share: frame, security policy, static files and formats."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import cast
from urllib.parse import urlencode

from flask import current_app, render_template, request
from werkzeug.wrappers import Response

from pyoci_flask import __version__
from pyoci_flask.web.address import Base
from pyoci_flask.web.conditional import Page, is_current
from pyoci_flask.web.people.description import DescriptionRenderer
from pyoci_flask.web.people.times import as_ago, as_moment
from pyoci_flask.web.services import services

EXTENSION = "pyoci.people"

_THOUSAND = 1000.0

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'{images}; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""The Content-Security-Policy, which allows nothing inline, and nothing from other sites except the
images that the operator allows."""

_TYPES = {
    "style.css": "text/css; charset=utf-8",
    "script.js": "text/javascript; charset=utf-8",
    "favicon.svg": "image/svg+xml",
}


@dataclass(frozen=True, slots=True)
class Asset:
    """A static file. `version`, a hash of its content, is part of its address."""

    content: bytes
    content_type: str
    version: str

    def answer(self) -> Response:
        """Return the file, or a 304. An address with its version may be cached for a year."""
        response = Response(self.content, content_type=self.content_type)
        current = request.args.get("v") == self.version
        lifetime = "public, max-age=31536000, immutable" if current else "public, no-cache"
        response.headers["Cache-Control"] = lifetime
        is_current(response, self.version)
        return response


@dataclass(frozen=True, slots=True)
class People:
    """The objects of one worker that only the web pages need."""

    assets: Mapping[str, Asset]
    descriptions: DescriptionRenderer

    @classmethod
    def create(cls, folder: Path, images: Sequence[str] = ()) -> "People":
        """Read the static files from `folder`. Descriptions show images of the hosts `images`."""
        assets = {name: _asset(folder / name, kind) for name, kind in _TYPES.items()}
        return cls(assets, DescriptionRenderer(images))


def people() -> People:
    """Return the objects of the application that serves this request."""
    return cast("People", current_app.extensions[EXTENSION])


def browse_path(base: Base) -> str:
    """Return the path of the page about an index, below the root of the application."""
    if base.pinned or "/" not in base.namespace:
        return f"/ui{base.path}/"
    # Without /+simple/, the last segment of the namespace would be read as a project.
    return f"/ui{base.path}/+simple/"


def server_title() -> str:
    """Return the name of this server on its pages."""
    return services().settings.title or "PyOCI for Flask"


def index_label(base: Base) -> str:
    """Return the name of an index on the pages: the registry and namespace that its address names.

    The own index of a server does not show where its packages are, which may be an internal
    address. It has the name that the operator has given.
    """
    if base.pinned:
        return services().settings.title or "Python packages"
    return f"{base.registry.netloc}/{base.namespace}"


def signed_in() -> bool:
    """Return whether the request has credentials. If so, other tools probably need them as well."""
    return "Authorization" in request.headers


def setup_path(base: Base | None) -> str:
    """Return the path of the landing page with its form filled in for this index."""
    root = f"{services().origin.path()}/"
    if base is None or base.pinned:
        return root
    fields = {"registry": base.registry.address, "namespace": base.namespace}
    fields |= {"credentials": "1"} if signed_in() else {}
    return f"{root}?{urlencode(fields)}"


def answer(template: str, status: int = 200, /, **context: object) -> Response:
    """Return a web page. With status 200, it has an ETag or becomes a 304."""
    found = people()
    root = services().origin.path()
    assets = {name: f"{root}/{name}?v={asset.version}" for name, asset in found.assets.items()}
    html = render_template(
        f"people/{template}",
        status=status,
        root=root,
        assets=assets,
        running=__version__,
        server_title=server_title(),
        index_label=index_label,
        pinned=services().settings.index is not None,
        as_size=as_size,
        as_ago=partial(as_ago, now=datetime.now(UTC)),
        as_moment=as_moment,
        **context,
    )
    if status == 200:
        response = Page.of(html, "text/html").answer(vary="Authorization")
    else:
        response = Response(
            html, status, {"Cache-Control": "no-store"}, content_type="text/html; charset=utf-8"
        )
    shows_images = context.get("description") is not None
    response.headers["Content-Security-Policy"] = _policy(shows_images=shows_images)
    return response


def _policy(*, shows_images: bool) -> str:
    hosts = services().settings.page_images if shows_images else ()
    return _POLICY.format(images="".join(f" https://{host}" for host in hosts))


def as_size(size: int | None) -> str:
    """Format a number of bytes with a decimal unit. The text is empty if the size is not known."""
    if size is None:
        return ""
    if size < _THOUSAND:
        return f"{size} bytes"
    value, unit = size / _THOUSAND, "kB"
    for larger in ("MB", "GB", "TB"):
        if value >= _THOUSAND:
            value, unit = value / _THOUSAND, larger
    return f"{value:.1f} {unit}"


def _asset(path: Path, content_type: str) -> Asset:
    content = path.read_bytes()
    return Asset(content, content_type, hashlib.sha256(content).hexdigest()[:16])
