"""What is read from a request."""

import flask
import pytest

from pyoci_flask.web.incoming import sent_path, visit


@pytest.mark.parametrize("key", ["RAW_URI", "REQUEST_URI"])
@pytest.mark.parametrize(
    ("sent", "path"),
    [
        ("/ghcr.io/acme/x%2Fy/", "/ghcr.io/acme/x%2Fy/"),
        ("/simple/?format=json&x=?", "/simple/"),
        ("/", "/"),
        ("http://packages.example.com:8080/simple/x?a=/b", "/simple/x"),
        ("HTTPS://packages.example.com", ""),
        ("http://packages.example.com?a=/b", ""),
        ("/http://localhost:5000/acme/", "/http://localhost:5000/acme/"),
        ("//host/x", "//host/x"),
        ("http://[::1/x", "/x"),
        ("*", "*"),
    ],
)
def test_sent_path_is_without_origin_and_query(key: str, sent: str, path: str) -> None:
    assert sent_path({key: sent, "PATH_INFO": "/decoded"}) == path


def test_sent_path_is_unknown_where_the_server_does_not_keep_it() -> None:
    assert sent_path({"PATH_INFO": "/simple/"}) is None


def test_each_request_has_a_state_of_its_own() -> None:
    app = flask.Flask(__name__)
    with app.test_request_context("/"):
        first = visit()
        assert visit() is first
    with app.test_request_context("/"):
        assert visit() is not first
