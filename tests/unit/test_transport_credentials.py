import pytest

from pyoci_flask.transport.request import (
    BasicCredentials,
    BearerCredentials,
    Credentials,
    fingerprint,
)


def test_basic_credentials_are_sent_as_base64_of_utf8() -> None:
    assert BasicCredentials("Aladdin", "open sesame").header == "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="
    assert BasicCredentials("test", "123£").header == "Basic dGVzdDoxMjPCow=="  # RFC 7617, 2.1


def test_bearer_credentials_are_sent_as_they_are() -> None:
    assert BearerCredentials("a.b-c").header == "Bearer a.b-c"


@pytest.mark.parametrize(
    "credentials", [BasicCredentials("user", "hunter2"), BearerCredentials("hunter2")]
)
def test_secret_does_not_stand_in_the_repr_nor_the_fingerprint(credentials: Credentials) -> None:
    assert "hunter2" not in repr(credentials)
    assert "hunter2" not in fingerprint(credentials)
    assert credentials.header not in fingerprint(credentials)


def test_fingerprints_tell_all_credentials_apart() -> None:
    all_of_them: list[Credentials | None] = [
        None,
        BasicCredentials("", ""),
        BasicCredentials("a", "b"),
        BasicCredentials("a", "c"),
        BasicCredentials("c", "b"),
        BearerCredentials("b"),
        BearerCredentials("YTpi"),  # what Basic a:b looks like
    ]
    assert len({fingerprint(one) for one in all_of_them}) == len(all_of_them)
    assert fingerprint(BasicCredentials("a", "b")) == fingerprint(BasicCredentials("a", "b"))
