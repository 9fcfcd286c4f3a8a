import base64

import hypothesis
import pytest
from hypothesis import strategies as st

from pyoci_flask.errors import InvalidRequestError
from pyoci_flask.transport.request import BasicCredentials, BearerCredentials, Credentials
from pyoci_flask.web.incoming import read_credentials


def basic(pair: str, encoding: str = "utf-8") -> str:
    return "Basic " + base64.b64encode(pair.encode(encoding)).decode()


@pytest.mark.parametrize(
    ("header", "credentials"),
    [
        (None, None),
        ("", None),
        ("   ", None),
        (basic(":"), None),
        (basic("alice:secret"), BasicCredentials("alice", "secret")),
        (basic("alice:a:b:c"), BasicCredentials("alice", "a:b:c")),
        (basic("alice:"), BasicCredentials("alice", "")),
        (basic(":secret"), BasicCredentials("", "secret")),
        (basic("jörg:£"), BasicCredentials("jörg", "£")),
        (basic("jörg:£", "latin-1"), BasicCredentials("jörg", "£")),
        (basic("token:t0ken", "latin-1"), BearerCredentials("t0ken")),
        (f"  {basic('a:b').replace('Basic', 'bAsIc  ')} ", BasicCredentials("a", "b")),
        ("Bearer t0ken", BearerCredentials("t0ken")),
        ("bearer  t0ken ", BearerCredentials("t0ken")),
        (basic("token:t0ken"), BearerCredentials("t0ken")),
        (basic("Token:t0ken"), BasicCredentials("Token", "t0ken")),
    ],
)
def test_header_is_read(header: str | None, credentials: Credentials | None) -> None:
    assert read_credentials(header, "token") == credentials


def test_no_user_name_means_a_token_unless_it_is_set() -> None:
    assert read_credentials(basic("token:x"), None) == BasicCredentials("token", "x")


@pytest.mark.parametrize(
    "header",
    [
        "Digest username=x",
        "Negotiate abc",
        "Basic",
        "Basic ???",
        "Basic YQ",
        "Basic YQ==",
        basic("nocolon"),
        basic("a:b\r\nX-Evil: 1"),
        basic("a\x00:b"),
        basic("a\x7f:b"),
        "Bearer",
        "Bearer ",
        "Bearer a b",
        "Bearer ä",
        basic("token:"),
        basic("token:a b"),
        basic("token:ä"),
        basic("token:ä", "latin-1"),
        basic("jörg", "latin-1"),
        "Basic ä",
    ],
)
def test_malformed_header_is_refused(header: str) -> None:
    with pytest.raises(InvalidRequestError):
        read_credentials(header, "token")


@pytest.mark.parametrize("header", ["Bearer hunter2 x", basic("hunter2"), basic("a:hunter2\n")])
def test_secret_of_a_refused_header_is_not_quoted(header: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        read_credentials(header, "token")
    assert "hunter2" not in str(caught.value)
    assert header.split()[1] not in str(caught.value)


@hypothesis.given(st.text() | st.text().map("Basic {}".format) | st.text().map(basic))
def test_any_header_gives_credentials_or_our_error(header: str) -> None:
    try:
        credentials = read_credentials(header, "token")
    except InvalidRequestError:
        return
    if credentials is not None:
        assert credentials.header.isascii()
        assert credentials.header.isprintable()
