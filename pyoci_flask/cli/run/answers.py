"""Responses that `run` makes without the application."""

import json
from collections.abc import Iterable
from http import HTTPStatus
from typing import TYPE_CHECKING

from pyoci_flask.web.error_answers import PROBLEM_TYPE, reason

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment


def answer(
    environ: "WSGIEnvironment",
    start_response: "StartResponse",
    status: int,
    text: str,
    *headers: tuple[str, str],
) -> Iterable[bytes]:
    """Answer with a text for people, which is in the status line as well.

    Some clients show only the status line (twine); others show RFC 9457 problem details (uv).
    """
    if PROBLEM_TYPE in environ.get("HTTP_ACCEPT", ""):
        title = HTTPStatus(status).phrase
        kind, body = PROBLEM_TYPE, json.dumps({"title": title, "status": status, "detail": text})
    else:
        kind, body = "text/plain; charset=utf-8", f"{text}\n"
    content = body.encode()
    own = [
        ("Content-Type", kind),
        ("Content-Length", str(len(content))),
        ("Cache-Control", "no-store"),
    ]
    start_response(f"{status} {reason(text)}", [*own, *headers])
    return [content]
