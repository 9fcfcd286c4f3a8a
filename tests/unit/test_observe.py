import logging
from urllib.parse import urlsplit

import pytest

from pyoci_flask.transport.observe import CallLog, redacted


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://ghcr.io/v2/acme/hello/tags/list", "https://ghcr.io/v2/acme/hello/tags/list"),
        ("https://user:secret@ghcr.io/v2/", "https://ghcr.io/v2/"),
        ("https://user:se@cret@ghcr.io:5000/v2/", "https://ghcr.io:5000/v2/"),
        ("https://s3/blob?X-Amz-Signature=secret&n=1#secret", "https://s3/blob"),
        ("http://user:secret@[::1]:5000/v2/?n=1", "http://[::1]:5000/v2/"),
        ("https://[broken/secret", "[redacted]"),
    ],
)
def test_redacted_url_keeps_nothing_that_can_hold_a_credential(url: str, expected: str) -> None:
    assert redacted(url) == expected


def _line_of_call(
    caplog: pytest.LogCaptureFixture,
    url: str,
    *,
    status: int | None = 200,
    error: Exception | None = None,
) -> str:
    with caplog.at_level(logging.INFO, logger="pyoci.registry"):
        CallLog().call_started("GET", url).finished(
            status=status, error=error, sent=17, received=4096
        )
    (record,) = caplog.records
    assert record.name == "pyoci.registry"
    assert record.levelno == logging.INFO
    return record.getMessage()


def test_call_log_writes_one_line_at_the_end_of_a_call(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="pyoci.registry"):
        call = CallLog().call_started("GET", "https://ghcr.io/v2/acme/hello/tags/list")
        assert caplog.records == []
        call.finished(status=200, error=None, sent=17, received=4096)
    (record,) = caplog.records
    words = record.getMessage().split()
    assert words[:4] == [
        "method=GET",
        "host=ghcr.io",
        "path=/v2/acme/hello/tags/list",
        "status=200",
    ]
    assert words[4].startswith("duration_ms=")
    assert words[5:] == ["bytes_in=4096", "bytes_out=17"]


def test_call_log_never_shows_userinfo_or_query(caplog: pytest.LogCaptureFixture) -> None:
    line = _line_of_call(caplog, "https://user:secret@ghcr.io/v2/?sig=secret#secret")
    assert "secret" not in line
    assert "user" not in line
    assert "host=ghcr.io path=/v2/ " in line


@pytest.mark.parametrize(
    "url",
    [
        "https://ghcr.io/v2/a/tags/list",
        "http://localhost:5000/v2/",
        "https://ghcr.io",
        "https://ghcr.io/v2/a/blobs/sha256:12",
        "https://ghcr.io:50000x/v2/",
        "https://user:secret/v2/",
        "https://ghcr.io/eyJabcdefghijk",
        "https://eyjabcdefghijk.ghcr.io/v2/",
        "https://ghcr.io/" + "a" * 2000,
    ],
)
def test_call_log_shows_as_much_as_a_redacted_url(
    caplog: pytest.LogCaptureFixture, url: str
) -> None:
    safe = urlsplit(redacted(url))
    assert f"host={safe.netloc} path={safe.path or '/'} " in _line_of_call(caplog, url)


def test_call_log_names_the_error_of_a_call_without_an_answer(
    caplog: pytest.LogCaptureFixture,
) -> None:
    line = _line_of_call(
        caplog, "https://ghcr.io/v2/", status=None, error=ConnectionRefusedError("secret")
    )
    assert "status=- error=ConnectionRefusedError " in line
    assert "secret" not in line


def test_call_log_names_both_where_an_answer_broke_off(caplog: pytest.LogCaptureFixture) -> None:
    line = _line_of_call(caplog, "https://ghcr.io/v2/", status=200, error=EOFError())
    assert "status=200 error=EOFError " in line


def test_redirect_target_cannot_forge_a_line_or_a_field(caplog: pytest.LogCaptureFixture) -> None:
    line = _line_of_call(caplog, "https://evil/a b\x1b[2J status=200 x\u2028y")
    assert line.isprintable()
    assert line.count(" status=") == 1


def test_call_log_costs_nothing_where_the_level_hides_it(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="pyoci.registry"):
        CallLog().call_started("GET", "https://ghcr.io/").finished(
            status=200, error=None, sent=0, received=0
        )
    assert caplog.records == []
