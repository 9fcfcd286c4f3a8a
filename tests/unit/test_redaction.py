"""Credentials in text of others, and what it costs to look for them."""

import logging
import time
from collections.abc import Callable

import flask
import pytest
from opentelemetry.sdk._logs import LoggerProvider

from pyoci_flask import errors
from pyoci_flask.common.redaction import (
    FIELD_LIMIT,
    REDACTED,
    TEXT_LIMIT,
    field,
    redact,
    redacted_traceback,
    shortened,
    shown,
    without_userinfo,
)
from pyoci_flask.logs import one_line, quoted
from pyoci_flask.oci.answers import ErrorBody
from pyoci_flask.server.log import keep_secrets_out
from pyoci_flask.telemetry.exports import LogExport
from pyoci_flask.transport.observe import redacted
from pyoci_flask.web.access_log import AccessLog
from pyoci_flask.web.error_answers import register_error_handlers


@pytest.mark.parametrize(
    "text",
    [
        "Authorization: Basic dXNlcjpodW50ZXIy",
        "authorization: bearer s3cret-hunter2",
        "{'Authorization': 'Bearer hunter2'}",
        "Basic%20hunter2",
        "Basic%2520hunter2",
        "Bearer in-hunter2",
        "https://user:hunter2@ghcr.io/v2/",
        "https://hunter2@ghcr.io/v2/",
        "see https://hunter2@ghcr.io, please",
        "http://user:hunt@er2@localhost:5000",
        "http:/user:hunter2@localhost/ns/pkg/",
        "https://user:hunt/er2@ghcr.io/acme/",
        "https://user:hunt%2Fer2@ghcr.io/acme/",
        "https://hunt/er2@ghcr.io/acme/",
        "https://first.last:12/hunter2@ghcr.io/acme/",
        "https://ghcr.io/a https://user:hunter2@ghcr.io/",
        "https://ghcr.io/a,https://user:hunter2@ghcr.io/",
        "https://user:hunt?er2@ghcr.io",
        "https://user:hunter2",
        "https%3A%2F%2Fuser%3Ahunter2",
        "path=/user:hunter2@ghcr.io/acme/pkg/",
        "path=/hunter2@ghcr.io/acme/pkg/",
        "user:hunter2@[::1]:5000",
        "('user:hunter2@ghcr.io',)",
        "http%3A%2F%2Fuser%3Ahunter2%40localhost%3A5000",
        "http%253A%252F%252Fuser%253Ahunter2%2540localhost",
        "http%25253A%25252F%25252Fuser%25253Ahunter2%252540localhost",
        "GET /blob?X-Amz-Signature=hunter2&n=1",
        "GET /blob?se=1&sig=hunter2%3D",
        "GET /blob?X-Amz-Security-Token=hunter2",
        "GET /blob%3Ftoken%3Dhunter2",
        "token eyJhbGciOiJIUzI1NiJ9.hunter2.hunter2",
        "token eyJhbGciOiJIUzI1hunter2",
    ],
)
def test_credentials_are_redacted(text: str) -> None:
    safe = redact(text)
    assert REDACTED in safe
    assert "dXNlcjpodW50ZXIy" not in safe
    assert "hunt" not in safe
    assert "er2" not in safe
    assert redact(safe) == safe


@pytest.mark.parametrize(
    "text",
    [
        "the registry asks for Basic authentication",
        "a Bearer token, or Basic.",
        'Basic realm="PyOCI"',
        "https://ghcr.io/v2/acme/hello/tags/list?n=100",
        "https://ghcr.io/a@b",
        "pushed hello@sha256:abc to localhost:5000/ns",
        "https://ghcr.io/v2/acme/hello@sha256:abc",
        "Listening at: http://127.0.0.1:8080,http://[::1]:8080 (7)",
        "http://localhost:5000: no connection",
        "as http%3A%2F%2Flocalhost%3A5000)",
        "the setting PYOCI_SPOOL:/tmp",
        "[redacted]@ghcr.io/acme",
    ],
)
def test_other_text_is_left_alone(text: str) -> None:
    assert redact(text) == text


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("hello", "'hello'"),
        ("user:hunter2@ghcr.io", "'[redacted]@ghcr.io'"),
        ("a b'c\"hunter2 d@ghcr.io", "'[redacted]@ghcr.io'"),
        ("https://user:hunter2@ghcr.io", "'https://[redacted]@ghcr.io'"),
        ("hunter2%2540ghcr.io", "'[redacted]%2540ghcr.io'"),
        ("user:hunter2", "'[redacted]'"),
        ("localhost:5000", "'localhost:5000'"),
        ("sha256:abc", "'sha256:abc'"),
        ("line\nbreak", r"'line\nbreak'"),
    ],
)
def test_a_field_is_quoted_without_what_stands_before_an_at_sign(text: str, safe: str) -> None:
    assert shown(text) == safe


@pytest.mark.parametrize("length", [200, 201, 5000, 100_000])
def test_a_field_is_cut(length: int) -> None:
    assert len(field("x" * length)) == FIELD_LIMIT
    assert field("x" * length).endswith("..." if length > FIELD_LIMIT else "x")


def test_text_is_cut_at_a_word() -> None:
    text = "word " * 10_000
    assert len(redact(text)) <= TEXT_LIMIT + 3
    assert redact(text).endswith("word ...")


@pytest.mark.parametrize(
    "secret",
    [
        "https://user:hunter2@ghcr.io/",
        "https://hunter2@ghcr.io/",
        "user:hunter2@ghcr.io",
        "hunter2@ghcr.io",
        "https%3A%2F%2Fuser%3Ahunter2%40ghcr.io",
        "https://user:hun/hunter2@ghcr.io/",
        "Bearer hunter2hunter2",
        "eyJhbGciOiJIUzI1NiJ9.hunter2.hunter2",
        "https://x.example/?token=hunter2",
    ],
)
@pytest.mark.parametrize("cut", [redact, shortened], ids=["text", "sentence"])
def test_a_secret_that_a_cut_splits_is_not_shown(cut: Callable[[str], str], secret: str) -> None:
    limit = TEXT_LIMIT if cut is redact else FIELD_LIMIT
    for before in range(limit - len(secret) - 10, limit + 1):
        filler = ("ab " * limit)[: before - 1] + " "
        assert "hunt" not in cut(f"{filler}{secret} and more {'x ' * TEXT_LIMIT}")


def test_a_registrys_message_is_cut_without_splitting_a_secret() -> None:
    class Reply:
        def __init__(self, message: str) -> None:
            self.message = message

        def __enter__(self) -> "Reply":
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def read(self, _: int) -> bytes:
            return b'{"errors": [{"code": "X", "message": "%s"}]}' % self.message.encode()

    for before in range(150, 210):
        body = ErrorBody.read(Reply(f"{'a ' * before}"[:before] + " https://hunter2@ghcr.io/"))  # type: ignore[arg-type]
        assert "hunt" not in body.message
        assert len(body.message) <= FIELD_LIMIT


FAMILIES: dict[str, Callable[[int], str]] = {
    "keys": lambda n: "=a:" * (n // 3) + " @",
    "userinfo": lambda n: "a:b@" * (n // 4),
    "encoded userinfo": lambda n: "a%3Ab%2540" * (n // 10),
    "percent": lambda n: "%25" * (n // 3),
    "one percent": lambda n: "%" + "25" * (n // 2),
    "schemes": lambda n: "://" * (n // 3) + " @",
    "encoded schemes": lambda n: "%3A%2F%2F" * (n // 9) + "@",
    "hosts": lambda n: "https://ghcr.io/" + "@a.b" * (n // 4),
    "labels": lambda n: "https://" + "a." * (n // 2) + "@a.b",
    "brackets": lambda n: "https://[" + ":" * n + "@[" * 3,
    "words": lambda n: "a " * (n // 2) + "@",
    "colons": lambda n: ":" * n + "@",
    "Basic": lambda n: "Basic " * (n // 6),
    "encoded Basic": lambda n: "Basic%20" * (n // 8) + "!",
    "spaces": lambda n: "Bearer" + " " * n + "!",
    "prose": lambda n: "Bearer auth" + "a" * n + "!",
    "queries": lambda n: "?token" * (n // 6),
    "long query": lambda n: "?" + "a" * n + "token",
    "tokens": lambda n: "eyJaaaaaaaa-" * (n // 12),
    "dots": lambda n: "eyJaaaaaaaaa" + "." * n,
    "quotes": lambda n: '"' * n,
    "backslashes": lambda n: "\\" * n,
    "control characters": lambda n: "\x00" * n,
    "letters": lambda n: "a" * n,
    "wide": lambda n: "\U0001f600" * n,
}


APP = flask.Flask(__name__)
register_error_handlers(APP)
PROVIDER = LoggerProvider(shutdown_on_exit=False)


def _answered(text: str) -> None:
    with APP.test_request_context():
        APP.handle_user_exception(errors.RegistryError(text))


def _served(path: str, agent: str) -> None:
    environ = {"PATH_INFO": path, "HTTP_USER_AGENT": agent, "REQUEST_METHOD": "GET"}
    app = AccessLog(lambda _environ, _start: [b""])
    app(environ, lambda *_: lambda _: None).close()  # type: ignore[arg-type, attr-defined]


def _filtered(text: str) -> None:
    keep_secrets_out()
    log = logging.getLogger("gunicorn.error")
    record = log.makeRecord(log.name, logging.WARNING, "", 0, "Invalid request %s", (text,), None)
    log.filter(record)


def _exported(text: str) -> None:
    log = logging.getLogger("pyoci")
    error = ValueError(text)
    caught = (ValueError, error, None)
    LogExport(PROVIDER).emit(
        log.makeRecord(log.name, logging.ERROR, "", 0, "failed: %s", (text,), caught)
    )


ENTRANCES: dict[str, Callable[[str], object]] = {
    "redact": redact,
    "shortened": shortened,
    "shown": shown,
    "without_userinfo": without_userinfo,
    "traceback": redacted_traceback,
    "one_line": one_line,
    "quoted": quoted,
    "error answer": _answered,
    "path": lambda text: _served(text, ""),
    "user agent": lambda text: _served("", text),
    "gunicorn's log": _filtered,
    "telemetry": _exported,
    "call log": lambda text: redacted(f"https://ghcr.io/{text}"),
}


def _cost(function: Callable[[str], object], text: str) -> float:
    """Seconds of the processor, the least of a few tries."""
    least = float("inf")
    for _ in range(4):
        begun = time.process_time()
        function(text)
        least = min(least, time.process_time() - begun)
    return least


@pytest.mark.parametrize("entrance", ENTRANCES)
def test_cost_grows_no_faster_than_the_text(entrance: str) -> None:
    function = ENTRANCES[entrance]
    for name, family in FAMILIES.items():
        for length in (1000, 16_000):
            few, many = (_cost(function, family(size)) for size in (length, 4 * length))
            # Four times the text; what is quadratic costs sixteen times as much.
            assert many < 10 * max(few, 2e-4), (name, length, few, many)
