import inspect
import logging
from collections.abc import Callable

import flask
import pytest
from flask.testing import FlaskClient
from werkzeug.exceptions import MethodNotAllowed

from pyoci_flask import errors
from pyoci_flask.index.versions import NotAPackageError
from pyoci_flask.oci.manifests import MissingContentError
from pyoci_flask.oci.model import MalformedDocumentError
from pyoci_flask.web.error_answers import UnmatchedError, register_error_handlers, status_of

EXPECTED: list[tuple[errors.PyOCIError, int]] = [
    (errors.InvalidRequestError("x"), 400),
    (errors.AuthenticationRequiredError("x"), 401),
    (errors.DeniedError("x", 401), 401),
    (errors.DeniedError("x", 403), 403),
    (errors.EgressError("x"), 403),
    (errors.CrossSiteError("x"), 403),
    (errors.NotFoundError("x"), 404),
    (errors.VersionNotFoundError("x", "1.0", ()), 404),
    (errors.UnsupportedError("x"), 405),
    (errors.LoginError("x"), 403),
    (errors.RefusedError("x"), 403),
    (errors.NotAcceptableError("x"), 406),
    (errors.ClientTimeoutError("x"), 408),
    (errors.AlreadyExistsError("x"), 409),
    (errors.GoneError("x"), 410),
    (errors.PreconditionFailedError("x"), 412),
    (errors.PayloadTooLargeError("x"), 413),
    (errors.RateLimitedError("x", None), 429),
    (errors.RateLimitedError("x", "1", 503), 503),
    (errors.RegistryError("x"), 502),
    (errors.OversizedError("x"), 502),
    (MalformedDocumentError("x"), 502),
    (MissingContentError("x", "BLOB_UNKNOWN"), 502),
    (errors.RegistryUnreachableError("x"), 502),
    (errors.TransferBrokenError("x"), 502),
    (errors.BusyError("x"), 503),
    (errors.RegistryTimeoutError("x"), 504),
    (errors.SpoolFullError("x"), 507),
]
# They stop the start, or never leave the index.
INTERNAL = {errors.PyOCIError, errors.ConfigurationError, NotAPackageError}


def client_of(fail: Callable[[], object]) -> FlaskClient:
    app = flask.Flask(__name__)
    register_error_handlers(app)

    @app.route("/", methods=["GET", "POST"])
    def view() -> str:
        fail()
        return "fine"

    return app.test_client()


def raising(error: BaseException) -> FlaskClient:
    def fail() -> None:
        raise error

    return client_of(fail)


@pytest.mark.parametrize(("error", "status"), EXPECTED, ids=lambda value: type(value).__name__)
def test_error_is_answered_with_its_status(error: errors.PyOCIError, status: int) -> None:
    assert status_of(error) == status
    answer = raising(error).get("/")
    assert answer.status_code == status
    assert answer.status == f"{status} x"
    assert answer.text == "x\n"
    assert answer.content_type == "text/plain; charset=utf-8"
    assert answer.headers["Cache-Control"] == "no-store"
    assert ("WWW-Authenticate" in answer.headers) is (status == 401)


def test_every_error_has_an_answer() -> None:
    tree = {
        kind
        for _, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, errors.PyOCIError)
    }
    assert tree - INTERNAL == {type(error) for error, _ in EXPECTED} & tree


@pytest.mark.parametrize(
    "error", [errors.AuthenticationRequiredError("x"), errors.DeniedError("x", 401)]
)
def test_401_asks_for_basic_credentials(error: errors.PyOCIError) -> None:
    challenge = raising(error).get("/").headers["WWW-Authenticate"]
    assert challenge.startswith('Basic realm="PyOCI"')


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (errors.RateLimitedError("x", "120"), "120"),
        (errors.RateLimitedError("x", None), None),
        (
            errors.RateLimitedError("x", "Sun, 06 Nov 1994 08:49:37 GMT"),
            "Sun, 06 Nov 1994 08:49:37 GMT",
        ),
        (errors.RateLimitedError("x", "5\r\nSet-Cookie: a=b"), None),
        (errors.RateLimitedError("x", "5\r\n folded"), None),
        (errors.RateLimitedError("x", "soon"), None),
        (errors.RateLimitedError("x", "-1"), None),
        (errors.BusyError("x"), "1"),
        (errors.RegistryTimeoutError("x"), None),
    ],
)
def test_retry_after_is_passed_on(error: errors.PyOCIError, seconds: str | None) -> None:
    assert raising(error).get("/").headers.get("Retry-After") == seconds


@pytest.mark.parametrize("accept", ["text/html", "application/problem+json"])
@pytest.mark.parametrize(
    "text",
    [
        "'http://alice:hunter2@ghcr.io' is not a registry",
        "no answer from https://s3.example/x?X-Amz-Signature=hunter2&a=b",
        "the registry said: Bearer hunter2hunter2 is no good",
    ],
)
def test_secret_in_a_text_is_not_answered(accept: str, text: str) -> None:
    answer = raising(errors.RegistryError(text)).get("/", headers={"Accept": accept})
    assert "hunter2" not in f"{answer.status} {answer.text}"
    assert "[redacted]" in answer.text


@pytest.mark.parametrize(
    "accept", ["application/problem+json", "text/html, application/problem+json"]
)
def test_clients_that_accept_problem_details_get_them(accept: str) -> None:
    answer = raising(errors.AlreadyExistsError("a already exists")).get(
        "/", headers={"Accept": accept}
    )
    assert answer.content_type == "application/problem+json"
    assert answer.json == {"title": "Conflict", "status": 409, "detail": "a already exists"}
    assert answer.status == "409 a already exists"


def test_reason_is_one_short_line_and_the_body_the_whole_text() -> None:
    text = "a\r\nX-Evil: 1\x00\x7f ä " + "x" * 500
    answer = raising(errors.InvalidRequestError(text)).get("/")
    reason = answer.status.removeprefix("400 ")
    assert reason.startswith("a??X-Evil: 1?? ? xxx")
    assert len(reason) == 200
    assert answer.text == f"{text}\n"
    assert "X-Evil" not in answer.headers


def test_unforeseen_error_is_logged_and_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        answer = raising(ZeroDivisionError("secret")).get(
            "/", environ_overrides={"pyoci.request_id": "r-7"}
        )
    assert answer.status_code == 500
    assert answer.text == "an unexpected error occurred; it was logged as r-7\n"
    (record,) = [one for one in caplog.records if one.name == "pyoci.web"]
    assert "r-7" in record.getMessage()
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], ZeroDivisionError)


def test_unmatched_path_may_be_cached_downstream() -> None:
    for answer in (
        raising(UnmatchedError()).get("/"),
        client_of(lambda: None).get("/.git/config"),
    ):
        assert answer.status_code == 404
        assert answer.headers["Cache-Control"] == "max-age=604800, public"
    missing = raising(errors.NotFoundError("x")).get("/")
    assert missing.headers["Cache-Control"] == "no-store"


def test_answer_to_a_wrong_method_names_the_right_ones() -> None:
    assert client_of(lambda: None).put("/").headers["Allow"]
    answer = raising(MethodNotAllowed(["GET"], "only so")).get("/")
    assert (answer.status, answer.headers["Allow"]) == ("405 only so", "GET")
