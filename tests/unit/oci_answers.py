"""Answers of registries."""

import json

from tests.unit.doubles import Answer


def error(status: int, code: str) -> Answer:
    body = json.dumps({"errors": [{"code": code, "message": "so it is"}]})
    return Answer(status, body.encode())


def page(tags: object, link: str | None = None) -> Answer:
    body = json.dumps({"name": "acme/hello", "tags": tags}).encode()
    return Answer(body=body, headers={} if link is None else {"Link": link})
