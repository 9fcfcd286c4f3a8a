"""What a request is for, in the words of traces and metrics: few names, whatever the address is."""

from dataclasses import dataclass
from functools import lru_cache

from flask import request
from werkzeug.routing import Rule

from pyoci_flask.errors import PyOCIError
from pyoci_flask.web.address import (
    Base,
    FileAddress,
    JsonAddress,
    ListAddress,
    MetadataAddress,
    ProjectAddress,
)
from pyoci_flask.web.services import raw_path, services

OPERATION = "pyoci.operation"
"""Key of the WSGI environ: the request's `Operation`, where it has one."""

_INDEX = "index."
_CHANGES = {"DELETE": "delete", "PATCH": "yank"}


@dataclass(frozen=True, slots=True)
class Operation:
    """What is asked for: `download`, and the pattern of its address."""

    name: str
    route: str


def operation() -> Operation | None:
    """Return what the current request is for; None if its address is none of this program's."""
    rule = request.url_rule
    if rule is None or "." not in rule.endpoint:
        return None
    if not rule.endpoint.startswith(_INDEX):
        return Operation(_page(rule), rule.rule)
    try:
        return _of_index(f"/{(request.view_args or {}).get('path', '')}")
    except PyOCIError:
        return None


def name_operation() -> None:
    """Note the operation, and make its route the request's: for `before_request`.

    To Flask, all addresses of an index have one route.
    """
    if OPERATION in request.environ:
        return  # traces and Prometheus both ask for it
    found, rule = operation(), request.url_rule
    if found is None or rule is None:
        return
    request.environ[OPERATION] = found
    if found.route != rule.rule:
        request.url_rule = _rule(found.route, rule.endpoint)


@lru_cache(maxsize=64)
def _rule(route: str, endpoint: str) -> Rule:
    return Rule(route, endpoint=endpoint)


def _page(rule: Rule) -> str:
    blueprint, _, view = str(rule.endpoint).partition(".")
    return view if view == "health" else blueprint


def _of_index(path: str) -> Operation | None:
    method, addresses = request.method, services().addresses
    if method == "POST":
        place = addresses.publish(path, raw_path())
        return None if place is None else Operation("publish", f"{_base(place)}/")
    if method in _CHANGES:
        changed = addresses.change(path, raw_path())
        if changed is None:
            return None
        last = "{filename}" if isinstance(changed, FileAddress) else "{version}"
        return Operation(_CHANGES[method], f"{_base(changed.base)}/{{project}}/{last}")
    address = addresses.read(path, raw_path())
    if address is None:
        return None
    base = _base(address.base)
    match address:
        case ListAddress():
            found = Operation("list_projects", f"{base}/")
        case ProjectAddress():
            found = Operation("list", f"{base}/{{project}}/")
        case JsonAddress(version=None):
            found = Operation("json", f"{base}/{{project}}/json")
        case JsonAddress():
            found = Operation("json", f"{base}/{{project}}/{{version}}/json")
        case MetadataAddress():
            found = Operation("metadata", f"{base}/{{project}}/{{filename}}.metadata")
        case FileAddress():
            found = Operation("download", f"{base}/{{project}}/{{filename}}")
    return Operation("options", found.route) if method == "OPTIONS" else found


def _base(base: Base) -> str:
    return base.path if base.pinned else "/{registry}/{namespace}"
