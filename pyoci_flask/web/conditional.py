"""Answers with a strong ETag, and 304 to those who have them already (RFC 9110, section 13)."""

import hashlib

from flask import request
from werkzeug.wrappers import Response

PRIVATE = "private, no-cache"
"""To be asked for each time: a file may be deleted and published anew under its name."""


def page(body: str, media_type: str, *, vary: str) -> Response:
    """Answer a page of text, or 304."""
    content = body.encode()
    charset = "" if media_type.endswith("json") else "; charset=utf-8"
    response = Response(content, content_type=f"{media_type}{charset}")
    # The same text under another type is another answer.
    tag = hashlib.sha256(f"{media_type}\n".encode() + content).hexdigest()[:32]
    response.set_etag(tag)
    response.headers["Cache-Control"] = PRIVATE
    response.headers["Vary"] = vary
    response.make_conditional(request.environ)
    return response
