"""Lists in pages: tags (distribution specification, section Listing Tags) and the catalog."""

import json
from collections.abc import Sequence
from urllib.parse import quote, urlencode

from werkzeug.wrappers import Request, Response

from pyoci_flask.registry.errors import name_unknown, unsupported
from pyoci_flask.registry.layout import Repository
from pyoci_flask.registry.storage import Storage


def list_tags(request: Request, repository: Repository) -> Response:
    """`GET /v2/<name>/tags/list`."""
    if not repository.exists():
        raise name_unknown(repository.name)
    page, link = _page(request, sorted(repository.index().tags))
    return _answer({"name": repository.name, "tags": page}, link)


def list_repositories(request: Request, storage: Storage) -> Response:
    """`GET /v2/_catalog`: the repositories, as Docker's registry lists them."""
    page, link = _page(request, sorted(storage.repositories()))
    return _answer({"repositories": page}, link)


def _page(request: Request, names: Sequence[str]) -> tuple[list[str], str | None]:
    """Return the names after `last`, at most `n` of them, and the address of the next page."""
    last = request.args.get("last", "")
    rest = [name for name in names if name > last]
    if "n" not in request.args:
        return rest, None
    text = request.args["n"]
    if not (text.isascii() and text.isdigit()):
        raise unsupported("n is not a number of names", status=400)
    page = rest[: int(text[:9])]
    if not page or len(page) == len(rest):
        return page, None
    query = urlencode({"n": text, "last": page[-1]})
    return page, f"{quote(request.root_path + request.path)}?{query}"


def _answer(document: dict[str, object], link: str | None) -> Response:
    response = Response(json.dumps(document), mimetype="application/json")
    if link is not None:
        response.headers["Link"] = f'<{link}>; rel="next"'
    return response
