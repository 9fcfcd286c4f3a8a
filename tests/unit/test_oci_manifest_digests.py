from collections.abc import Callable
from dataclasses import replace

import pytest

from pyoci_flask.errors import (
    AuthenticationRequiredError,
    DeniedError,
    PyOCIError,
    RateLimitedError,
    RegistryError,
)
from pyoci_flask.oci.manifest_digests import UnconfirmedMissingError, head_manifest
from pyoci_flask.oci.manifests import UNCHANGED, Manifest, read_manifest
from pyoci_flask.oci.model import INDEX_TYPE
from pyoci_flask.oci.reference import Digest, Tag
from pyoci_flask.transport.request import BearerCredentials
from tests.unit.conftest import Callers
from tests.unit.doubles import Answer, Received, http_double, in_turn
from tests.unit.oci_answers import error

TAG = Tag("1.0")
DOCUMENT = b'{"schemaVersion": 2, "mediaType": "' + INDEX_TYPE.encode() + b'", "manifests": []}'
DIGEST = Digest.of(DOCUMENT)
OTHER = Digest.of(b"other")
TOKEN = BearerCredentials("t0ken")


def stating(digest: object, status: int = 200) -> Answer:
    return Answer(status, headers={"Docker-Content-Digest": str(digest)})


def test_head_returns_the_digest_that_the_registry_states(caller_of: Callers) -> None:
    with http_double(lambda _: stating(DIGEST)) as server:
        assert head_manifest(caller_of(server.url), TAG) == DIGEST
        assert server.calls == [("HEAD", "/v2/acme/hello/manifests/1.0")]
        assert server.received[0].headers["Accept"].split(", ")[0] == INDEX_TYPE


@pytest.mark.parametrize(
    "answer",
    [
        Answer(),
        stating(""),
        stating("sha256:abc"),
        stating(f"sha512:{'0' * 128}"),
        stating(DIGEST.text.upper()),
        Answer(405),
        Answer(501),
    ],
)
def test_head_returns_none_where_no_digest_is_stated(caller_of: Callers, answer: Answer) -> None:
    with http_double(lambda _: answer) as server:
        assert head_manifest(caller_of(server.url), TAG) is None
        assert len(server.received) == 1


@pytest.mark.parametrize(
    ("status", "raised"),
    [
        (404, UnconfirmedMissingError),
        (401, DeniedError),
        (403, DeniedError),
        (429, RateLimitedError),
        (500, RegistryError),
        (304, RegistryError),
    ],
)
def test_head_raises_for_other_answers_and_keeps_its_connection(
    caller_of: Callers, status: int, raised: type[PyOCIError]
) -> None:
    with http_double(in_turn(Answer(status), stating(DIGEST))) as server:
        caller = replace(caller_of(server.url, credentials=TOKEN), may_wait=False)
        with pytest.raises(raised) as caught:
            head_manifest(caller, TAG)
        assert type(caught.value) is raised
        if status != 429:
            assert head_manifest(caller, TAG) == DIGEST
        assert {one.connection for one in server.received} == {0}


def test_head_without_credentials_asks_for_them(caller_of: Callers) -> None:
    with (
        http_double(lambda _: Answer(401)) as server,
        pytest.raises(AuthenticationRequiredError),
    ):
        head_manifest(caller_of(server.url), TAG)


def test_head_follows_a_redirect(caller_of: Callers) -> None:
    def redirecting(received: Received) -> Answer:
        if received.path.startswith("/v2/"):
            return Answer(307, headers={"Location": "/elsewhere"})
        return stating(DIGEST)

    with http_double(redirecting) as server:
        assert head_manifest(caller_of(server.url), TAG) == DIGEST
        assert [one.method for one in server.received] == ["HEAD", "HEAD"]


def read(
    caller_of: Callers, answer: Callable[[Received], Answer], known: Digest = DIGEST
) -> tuple[object, list[Received], list[Manifest]]:
    """Read the tag with a known digest; return the result, the calls and what was parsed."""
    parsed: list[Manifest] = []

    def parse(manifest: Manifest) -> str:
        parsed.append(manifest)
        return "parsed"

    with http_double(answer) as server:
        found = read_manifest(caller_of(server.url), TAG, parse, known)
        return found, server.received, parsed


@pytest.mark.parametrize(
    "answer", [Answer(304), stating(DIGEST, 304), stating("?", 304), Answer(body=DOCUMENT)]
)
def test_a_known_manifest_is_unchanged(caller_of: Callers, answer: Answer) -> None:
    found, received, parsed = read(caller_of, lambda _: answer)
    assert found is UNCHANGED
    assert parsed == []
    assert [one.headers["If-None-Match"] for one in received] == [f'"{DIGEST}"']


def test_a_known_manifest_that_changed_is_parsed(caller_of: Callers) -> None:
    found, _, parsed = read(caller_of, lambda _: Answer(body=DOCUMENT), OTHER)
    assert found == "parsed"
    assert [one.digest for one in parsed] == [DIGEST]


def test_a_known_manifest_that_is_gone_is_none(caller_of: Callers) -> None:
    gone = error(404, "MANIFEST_UNKNOWN")
    assert read(caller_of, lambda _: gone)[0] is None


def test_a_304_about_another_manifest_is_an_error(caller_of: Callers) -> None:
    with pytest.raises(RegistryError, match="304"):
        read(caller_of, lambda _: stating(OTHER, 304))


def test_a_304_that_was_not_asked_for_is_an_error(caller_of: Callers) -> None:
    with http_double(lambda _: Answer(304)) as server:
        with pytest.raises(RegistryError, match="304"):
            read_manifest(caller_of(server.url), TAG, lambda manifest: manifest)
        assert "If-None-Match" not in server.received[0].headers
