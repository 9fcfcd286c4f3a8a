"""The paths that belong to no index: landing page, health, robots.txt and static files."""

import re
from dataclasses import dataclass
from urllib.parse import unquote

from flask import Blueprint, request
from werkzeug.wrappers import Response

from pyoci_flask.common.redaction import field, redact, shown
from pyoci_flask.errors import EgressError, InvalidRequestError, NotFoundError
from pyoci_flask.oci.reference import EMBEDDED
from pyoci_flask.web.address import Base
from pyoci_flask.web.people.frame import answer, browse_path, people
from pyoci_flask.web.people.rows import latest
from pyoci_flask.web.people.snippets import (
    Target,
    credentials_hint,
    pipelines,
    tools,
    wants_credentials,
)
from pyoci_flask.web.services import services

blueprint = Blueprint("pages", __name__)

_ENCODED_URL = re.compile(r"https?%3a", re.IGNORECASE)


@blueprint.get("/health")
def health() -> Response:
    """Report that this worker is alive, without calling a registry."""
    return Response(
        "ok\n", content_type="text/plain; charset=utf-8", headers={"Cache-Control": "no-store"}
    )


@blueprint.get("/robots.txt")
def robots() -> Response:
    """Keep crawlers away, because each page that they read causes calls to a registry."""
    return Response("User-agent: *\nDisallow: /\n", content_type="text/plain; charset=utf-8")


@blueprint.get("/style.css", defaults={"name": "style.css"})
@blueprint.get("/script.js", defaults={"name": "script.js"})
@blueprint.get("/favicon.svg", defaults={"name": "favicon.svg"})
def asset(name: str) -> Response:
    """Return the style sheet, the script or the icon."""
    return people().assets[name].answer()


@dataclass(frozen=True, slots=True)
class _Form:
    """The fields of the form on the landing page."""

    registry: str
    namespace: str
    credentials: bool
    tool: str
    base: Base | None = None
    """The index that the fields specify, or None if they are not valid."""
    error: str = ""
    wrong: str = ""
    """The name of the field with the error."""


@blueprint.get("/")
def landing() -> Response:
    """Show what this server is, and how to set up tools for an index."""
    settings = services().settings
    form = _read_form()
    filled_in = bool(form.registry or form.namespace)
    begins_here = form.base is not None and not filled_in
    context: dict[str, object] = {}
    if form.base is not None:
        target = Target(
            services().origin.index_url(form.base),
            form.base.registry.netloc,
            form.credentials,
            fallback=settings.fallback_index is not None,
        )
        chosen = [*tools(target), *pipelines(target)]
        keys = [tool.key for tool in chosen]
        context = {
            "base": form.base,
            "target": target,
            "tools": chosen,
            "selected": form.tool if form.tool in keys else keys[0],
            "browse": browse_path(form.base),
            "hint": credentials_hint(form.base.registry.netloc) if form.credentials else "",
        }
    return answer(
        "landing.html",
        form=form,
        filled_in=filled_in,
        begins_here=begins_here,
        latest=latest(form.base) if begins_here and form.base else [],
        public=services().origin.url(),
        own=settings.index,
        registries=_suggestions(),
        fallback=settings.fallback_index,
        **context,
    )


def _read_form() -> _Form:
    """Read the form. An empty form stands for the index of this server, if it has one."""
    sent = "registry" in request.args
    boxes = request.args.getlist("credentials")  # a box that is not ticked sends nothing
    registry = request.args.get("registry", "").strip()
    if _ENCODED_URL.match(registry):
        registry = unquote(registry)  # it was copied from the address of an index
    namespace = request.args.get("namespace", "").strip().strip("/")
    tool = request.args.get("tool", "")
    base, error = None, ""
    if registry or namespace:
        base, error = _find_index(f"/{registry}/{namespace}/")
    elif services().settings.index is not None:
        base = services().addresses.publish("/simple/")
    wrong = ""
    if base is None and (error or sent or namespace):
        wrong, about_registry = _wrong_field(registry)
        error = about_registry or error or _what_is_missing(registry, namespace, wrong)
    credentials = "1" in boxes if boxes else base is None or wants_credentials(base.registry)
    # `field` removes credentials that were typed into an address.
    return _Form(field(registry), field(namespace), credentials, tool, base, error, wrong)


def _find_index(path: str) -> tuple[Base | None, str]:
    """Return the index at a path, or the reason why it cannot be used, or neither."""
    try:
        return services().addresses.publish(path), ""
    except (InvalidRequestError, NotFoundError, EgressError) as refused:
        return None, redact(str(refused))


def _wrong_field(registry: str) -> tuple[str, str]:
    """Return the wrong field, and what is wrong with the registry if that is known.

    It is the registry unless that is valid with another namespace.
    """
    settings = services().settings
    other = settings.index.namespace if settings.only_index and settings.index else "x"
    base, error = _find_index(f"/{registry}/{other}/") if registry else (None, "")
    return ("registry", error) if base is None else ("namespace", "")


def _what_is_missing(registry: str, namespace: str, wrong: str) -> str:
    if not registry:
        return "The registry is missing. Enter a host name such as ghcr.io."
    if not namespace and wrong == "namespace":
        return (
            "The namespace is missing. For most registries, it is your user name or organisation."
        )
    return (
        f"{shown(registry)} is not a registry: enter a host name such as ghcr.io, a host and port, "
        "or a URL with both."
    )


def _suggestions() -> list[str]:
    """Return the registries that the operator's allow-list contains without wildcards.

    Where only the own index may be used, its registry is not shown: it may be an internal address.
    """
    settings = services().settings
    patterns = () if settings.only_index else settings.registries or ()
    found = [one.registry.address for one in patterns if one.registry is not None]
    if settings.storage is not None and settings.registries is None:
        found.append(EMBEDDED.address)
    return list(dict.fromkeys(found))
