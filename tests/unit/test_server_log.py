"""gunicorn's own messages. test_secrets.py has them from a running server."""

import logging
from collections.abc import Iterator

import pytest

from pyoci_flask.server.master import keep_secrets_out

_LOG = logging.getLogger("gunicorn.error")


@pytest.fixture(autouse=True)
def _filtered(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(_LOG, "propagate", True)
    before = list(_LOG.filters)
    keep_secrets_out()
    yield
    _LOG.filters[:] = before


@pytest.mark.parametrize(
    ("message", "written"),
    [
        (
            "Invalid request from ip=::1: Invalid HTTP header name: 'Basic: hunter2'",
            "Invalid request from ip=::1: Invalid HTTP header name",
        ),
        (
            "Invalid request from ip=: Request Line is too large (9000 > 8190)",
            "Invalid request from ip=: Request Line is too large (9000 > 8190)",
        ),
        (
            "Invalid request from ip=1.2.3.4: [SSL: HTTP_REQUEST] http request (_ssl.c:1006)",
            "Invalid request from ip=1.2.3.4: [SSL: HTTP_REQUEST] http request",
        ),
        ("Worker (pid:7) was sent SIGKILL!", "Worker (pid:7) was sent SIGKILL!"),
        ("Listening at: http://[::1]:8080 (7)", "Listening at: http://[::1]:8080 (7)"),
    ],
)
def test_of_what_cannot_be_read_only_the_kind_of_fault_is_told(
    caplog: pytest.LogCaptureFixture, message: str, written: str
) -> None:
    with caplog.at_level("INFO", "gunicorn.error"):
        _LOG.warning(message)
    assert caplog.messages == [written]


def test_a_request_that_fails_is_told_of_without_the_password_in_its_address(
    caplog: pytest.LogCaptureFixture,
) -> None:
    address = "/https://bob:hunter2@ghcr.io/acme/"
    try:
        raise ValueError(address)
    except ValueError:
        _LOG.exception("Error handling request %s %s", "GET", address)
    assert "Error handling request GET /https://[redacted]@ghcr.io/acme/" in caplog.text
    assert "ValueError: /https://[redacted]@ghcr.io/acme/" in caplog.text
    assert "hunter2" not in caplog.text


def test_the_access_log_of_gunicorn_holds_no_password_of_an_address() -> None:
    log = logging.getLogger("gunicorn.access")
    before = list(log.filters)
    atoms = {"r": "GET /bob:hun/ter2@ghcr.io/acme/ HTTP/1.1", "s": "404"}
    record = log.makeRecord(log.name, logging.INFO, "", 0, '"%(r)s" %(s)s', (atoms,), None)
    keep_secrets_out()
    try:
        assert log.filter(record)
    finally:
        log.filters[:] = before
    assert record.getMessage() == '"GET /[redacted]@ghcr.io/acme/ HTTP/1.1" 404'
