import contextvars
import json
import logging
import re
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from pyoci_flask.logs import LINE_LIMIT, configure_logging, quoted, request_id
from tests.patience import PATIENCE


@pytest.fixture(autouse=True)
def _logging_restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    configure_logging({})
    for handler in [one for one in root.handlers if one not in handlers]:
        root.removeHandler(handler)
    root.setLevel(level)


def _lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().err.splitlines()


def test_record_is_one_line_of_key_value_pairs(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging({"": "INFO"})
    logging.getLogger("pyoci.index").info("tag %s left out", "1.0")
    (line,) = _lines(capsys)
    assert re.fullmatch(
        r"time=\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z level=INFO logger=pyoci\.index"
        r' request_id=- message="tag 1\.0 left out"',
        line,
    )


def test_line_carries_the_id_of_the_request(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging({})
    context = contextvars.copy_context()
    context.run(request_id.set, "abc-1")
    context.run(logging.getLogger("pyoci").info, "inside")
    logging.getLogger("pyoci").info("outside")
    inside, outside = _lines(capsys)
    assert " request_id=abc-1 " in inside
    assert " request_id=- " in outside


def test_message_of_fields_is_written_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging({})
    logging.getLogger("pyoci.access").info("status=%d", 200, extra={"fields": True})
    assert _lines(capsys)[0].endswith(" request_id=- status=200")


@pytest.mark.parametrize("separator", ["\n", "\r", "\x0b", "\x1c", "\x85", "\u2028", "\u2029"])
@pytest.mark.parametrize("fields", [True, False])
def test_hostile_text_forges_no_line(
    capsys: pytest.CaptureFixture[str], separator: str, fields: bool
) -> None:
    configure_logging({})
    forged = f'x"{separator}time=2026-01-01T00:00:00.000Z level=ERROR message="forged'
    logging.getLogger("pyoci").info("%s", forged, extra={"fields": fields})
    (line,) = _lines(capsys)
    assert line.isprintable()
    assert line.startswith("time=")


def test_quotes_of_a_message_cannot_end_its_value() -> None:
    assert quoted('a" level="ERROR\\') == r'"a\" level=\"ERROR\\"'


def test_traceback_stays_on_the_line_without_its_secrets(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure_logging({})
    try:
        raise ValueError("cannot use https://user:hunter2@ghcr.io/\nlevel=ERROR")
    except ValueError:
        logging.getLogger("pyoci").exception("failed")
    (line,) = _lines(capsys)
    assert 'message="failed" exception="Traceback' in line
    assert "ValueError: cannot use https://[redacted]@ghcr.io/" in line
    assert "hunter2" not in line


@pytest.mark.parametrize("piece", ["a", "a ", "\n", '"', "\\", "\x00 ", "\U0001f600 ", "?key=a& "])
@pytest.mark.parametrize("fields", [True, False])
def test_no_line_is_longer_than_its_limit(
    capsys: pytest.CaptureFixture[str], piece: str, *, fields: bool
) -> None:
    configure_logging({})
    text = piece * 100_000
    logging.getLogger("pyoci").info("begin %s", text, extra={"fields": fields})
    try:
        raise ValueError(text)
    except ValueError:
        logging.getLogger("pyoci").exception("failed: %s", text)
    lines = _lines(capsys)
    assert len(lines) == 2
    for line in lines:
        assert len(line.encode()) < LINE_LIMIT
    assert lines[1].endswith('"')
    assert 'message="failed: ' in lines[1]
    assert ' exception="' in lines[1]


def test_the_end_of_a_long_traceback_is_kept(capsys: pytest.CaptureFixture[str]) -> None:
    def deeper(depth: int) -> None:
        if not depth:
            raise ValueError("the cause")
        deeper_still(depth)

    def deeper_still(depth: int) -> None:
        deeper(depth - 1)

    configure_logging({})
    try:
        deeper(100)
    except ValueError:
        logging.getLogger("pyoci").exception("failed")
    (line,) = _lines(capsys)
    assert line.endswith('ValueError: the cause"')


def test_credentials_in_a_message_never_reach_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging({})
    logging.getLogger("pyoci").info("%s", "Authorization: Basic dXNlcjpwdw==")
    logging.getLogger("pyoci").info("%s %s", "Basic", "dXNlcjpwdw==", extra={"fields": True})
    assert all("dXNl" not in line and "[redacted]" in line for line in _lines(capsys))


def test_second_call_adds_no_second_handler(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging({})
    configure_logging({})
    logging.getLogger("pyoci").info("once")
    assert len(_lines(capsys)) == 1


def test_levels_go_by_logger(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging({"": "WARNING", "pyoci": "DEBUG"})
    logging.getLogger("other").info("hidden")
    logging.getLogger("pyoci.index").debug("shown")
    (line,) = _lines(capsys)
    assert "level=DEBUG logger=pyoci.index" in line


def test_levels_of_an_earlier_call_are_forgotten(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging({"pyoci": "ERROR"})
    configure_logging({"": "INFO"})
    logging.getLogger("pyoci").info("shown")
    assert len(_lines(capsys)) == 1


@pytest.mark.parametrize(
    "levels",
    [{"": "DEBUG"}, {"urllib3": "DEBUG"}, {"": "DEBUG", "urllib3.connectionpool": "DEBUG"}],
)
def test_urllib3_shows_no_urls_at_any_level(levels: dict[str, str]) -> None:
    configure_logging(levels)
    assert not logging.getLogger("urllib3.connectionpool").isEnabledFor(logging.DEBUG)
    assert logging.getLogger("urllib3.connectionpool").isEnabledFor(logging.INFO)


def test_broken_log_call_neither_raises_nor_prints_its_arguments() -> None:
    script = (
        "import logging\n"
        "from pyoci_flask.logs import configure_logging\n"
        "configure_logging({})\n"
        "logging.getLogger('pyoci').info('%d bytes', 'hunter2')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.stderr == "logging failed: TypeError in a record of pyoci\n"


def test_closed_stderr_fails_nothing() -> None:
    script = (
        "import logging, os, sys\n"
        "from pyoci_flask.logs import configure_logging\n"
        "configure_logging({})\n"
        "os.close(2)\n"
        "logging.getLogger('pyoci').info('no one reads this')\n"
        "print('alive')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        check=False,
        stdout=subprocess.PIPE,
        text=True,
        timeout=PATIENCE,
    )
    assert done.stdout == "alive\n"


@pytest.mark.parametrize(
    "piece", ["a", "a ", "\n", '"', "\\", "\x00 ", "\u2028", "\U0001f600 ", "?key=a& "]
)
def test_a_json_line_is_one_object_of_limited_size(
    capsys: pytest.CaptureFixture[str], piece: str
) -> None:
    configure_logging({}, as_json=True)
    text = piece * 100_000
    logging.getLogger("pyoci").info("begin %s", text, extra={"members": {"path": text, "n": 1}})
    try:
        raise ValueError(text[:100_000] + "\nthe cause")
    except ValueError:
        logging.getLogger("pyoci").exception("failed: %s", text)
    first, second = _lines(capsys)
    assert all(line.isascii() and len(line) < LINE_LIMIT for line in (first, second))
    assert json.loads(first)["message"].startswith("begin ")
    assert (json.loads(first)["n"], json.loads(first)["level"]) == (1, "INFO")
    assert json.loads(second)["exception"].endswith("the cause")


def test_a_json_line_has_no_secrets(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging({}, as_json=True)
    url = "https://bob:hunter2@ghcr.io/"
    try:
        raise ValueError(url)
    except ValueError:
        logging.getLogger("pyoci").exception("%s", url, extra={"members": {"path": url}})
    (line,) = _lines(capsys)
    assert "hunter2" not in line
    members = json.loads(line)
    assert members["message"] == members["path"] == "https://[redacted]@ghcr.io/"


def test_a_later_call_returns_to_text_and_to_the_hooks_of_python(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure_logging({}, as_json=True)
    hooks = sys.excepthook, threading.excepthook
    configure_logging({})
    logging.getLogger("pyoci").info("text")
    assert _lines(capsys)[0].startswith("time=")
    assert hooks != (sys.excepthook, threading.excepthook)
    assert (sys.excepthook, threading.excepthook) == (sys.__excepthook__, threading.__excepthook__)
