import hashlib

import hypothesis
import pytest
from hypothesis import strategies as st

from pyoci_flask.common.grammar import MAX_REPOSITORY_NAME
from pyoci_flask.errors import InvalidRequestError
from pyoci_flask.oci.reference import (
    EMBEDDED,
    Digest,
    Registry,
    Repository,
    Tag,
)

HEX = "0123456789abcdef" * 4
GHCR = Registry("https", "ghcr.io")


@pytest.mark.parametrize(
    ("text", "registry", "origin"),
    [
        ("ghcr.io", GHCR, "https://ghcr.io"),
        ("GHCR.io", GHCR, "https://ghcr.io"),
        ("ghcr.io:8443", Registry("https", "ghcr.io", 8443), "https://ghcr.io:8443"),
        ("ghcr.io:443", GHCR, "https://ghcr.io"),
        ("https://ghcr.io:0443", GHCR, "https://ghcr.io"),
        ("ghcr.io:80", Registry("https", "ghcr.io", 80), "https://ghcr.io:80"),
        ("http://ghcr.io:80", Registry("http", "ghcr.io"), "http://ghcr.io"),
        ("http://ghcr.io:443", Registry("http", "ghcr.io", 443), "http://ghcr.io:443"),
        ("localhost:443", Registry("https", "localhost"), "https://localhost"),
        ("[::1]:443", Registry("https", "[::1]"), "https://[::1]"),
        ("docker.io:443", Registry("https", "docker.io"), "https://registry-1.docker.io"),
        ("http://ghcr.io", Registry("http", "ghcr.io"), "http://ghcr.io"),
        ("HTTPS://ghcr.io/", GHCR, "https://ghcr.io"),
        ("http:/localhost:5000", Registry("http", "localhost", 5000), "http://localhost:5000"),
        ("http://localhost:5000", Registry("http", "localhost", 5000), "http://localhost:5000"),
        ("http://localhost", Registry("http", "localhost"), "http://localhost"),
        ("localhost:5000", Registry("https", "localhost", 5000), "https://localhost:5000"),
        ("127.0.0.1", Registry("https", "127.0.0.1"), "https://127.0.0.1"),
        ("127.0.0.1:5000", Registry("https", "127.0.0.1", 5000), "https://127.0.0.1:5000"),
        ("[::1]", Registry("https", "[::1]"), "https://[::1]"),
        (
            "[2001:DB8::1]:5000",
            Registry("https", "[2001:db8::1]", 5000),
            "https://[2001:db8::1]:5000",
        ),
        ("http://[::1]:5000", Registry("http", "[::1]", 5000), "http://[::1]:5000"),
        ("a-b.c-d.example", Registry("https", "a-b.c-d.example"), "https://a-b.c-d.example"),
        ("xn--mnchen-3ya.de", Registry("https", "xn--mnchen-3ya.de"), "https://xn--mnchen-3ya.de"),
        ("embedded", EMBEDDED, "http://embedded"),
        ("docker.io", Registry("https", "docker.io"), "https://registry-1.docker.io"),
        ("registry:5000", Registry("https", "registry", 5000), "https://registry:5000"),
        ("registry:443", Registry("https", "registry"), "https://registry"),
        ("https://registry", Registry("https", "registry"), "https://registry"),
        ("http://Registry", Registry("http", "registry"), "http://registry"),
        ("http://registry:5000/", Registry("http", "registry", 5000), "http://registry:5000"),
        ("my_registry:5000", Registry("https", "my_registry", 5000), "https://my_registry:5000"),
        ("embedded:5000", Registry("https", "embedded", 5000), "https://embedded:5000"),
        ("https://embedded", Registry("https", "embedded"), "https://embedded"),
    ],
)
def test_registry_is_read_in_all_its_forms(text: str, registry: Registry, origin: str) -> None:
    parsed = Registry.parse(text)
    assert parsed == registry
    assert parsed.origin == origin
    assert Registry.parse(parsed.address) == parsed


def test_a_repository_has_one_location_however_its_registry_is_written() -> None:
    names = ["docker.io", "docker.io:443", "registry-1.docker.io", "https://registry-1.docker.io"]
    found = {Repository(registry, "acme/hello").location for registry in map(_registry, names)}
    assert found == {"https://registry-1.docker.io/acme/hello"}
    assert (
        Repository(_registry("http://ghcr.io"), "a").location
        != Repository(_registry("ghcr.io"), "a").location
    )


def _registry(text: str) -> Registry:
    registry = Registry.parse(text)
    assert registry is not None
    return registry


@pytest.mark.parametrize(
    "text",
    [
        "",
        "localhost",
        "acme",
        "acme:x",
        "admin:hunter2",
        "_acme:5000",
        "acme_:5000",
        f"{'a' * 64}:5000",
        "2130706433:5000",
        "http://2130706433",
        "http://0x7f000001",
        "http://0",
        ".git",
        ".env",
        "-a.b",
        "a-.b",
        "a..b",
        "a.b.",
        "wp-login.php/",
        "user@ghcr.io",
        "user:pass@ghcr.io",
        "ghcr.io:",
        "ghcr.io:0",
        "ghcr.io:65536",
        "ghcr.io:999999",
        "ghcr.io:80:80",
        "ghcr.io:٣",
        "ghcr.io/path",
        "https://ghcr.io/path",
        "https://ghcr.io?x=y",
        "https://ghcr.io#x",
        "ftp://ghcr.io",
        "https:///ghcr.io",
        "https://",
        "a_b.c",
        "ä.de",
        "a b.c",
        "a.b\n",
        "[::1",
        "::1",
        "[]",
        "[::g]",
        "[127.0.0.1]",
        "[fe80::1%25eth0]",
        f"{'a' * 64}.io",
        ".".join(["a" * 60] * 5),
        "http://embedded",
        "http://embedded:80",
        "EMBEDDED",
    ],
)
def test_what_is_no_registry_gives_none(text: str) -> None:
    assert Registry.parse(text) is None


@pytest.mark.parametrize(
    "text", ["registry", "registry:5000", "http://registry:5000", "localhost", "my_registry"]
)
def test_operators_own_setting_may_name_any_host(text: str) -> None:
    assert Registry.parse(text, any_host=True) is not None
    assert Registry.parse("-x", any_host=True) is None


@hypothesis.given(st.text(max_size=60))
def test_every_text_is_a_registry_or_none(text: str) -> None:
    registry = Registry.parse(text)
    if registry is not None:
        assert Registry.parse(registry.address) == registry
        assert registry.origin.isascii()
        assert registry.origin.isprintable()


def test_digest_is_sha256_of_the_content() -> None:
    digest = Digest.of(b"abc")
    assert digest.hex == hashlib.sha256(b"abc").hexdigest()
    assert str(digest) == f"sha256:{digest.hex}"
    assert Digest.from_hex(digest.hex) == digest


@pytest.mark.parametrize(
    "text",
    [
        "",
        HEX,
        "sha256:",
        f"sha256:{HEX[:-1]}",
        f"sha256:{HEX}0",
        f"sha256:{HEX.upper()}",
        f"SHA256:{HEX}",
        f"sha512:{HEX * 2}",
        f"sha256:{HEX}\n",
        f"sha256:{HEX[:-1]}g",
        f"sha256:{HEX[:-4]}/../",
    ],
)
def test_anything_else_is_no_digest(text: str) -> None:
    with pytest.raises(InvalidRequestError, match="is not a sha256 digest"):
        Digest(text)


@pytest.mark.parametrize("text", ["1.0", "v1", "_", "latest", "1_2.0-cpu", "A.b-C_d", "a" * 128])
def test_tag_follows_the_grammar_of_the_specification(text: str) -> None:
    assert str(Tag(text)) == text


@pytest.mark.parametrize(
    "text", ["", ".a", "-a", "a/b", "a:b", "a+b", "a b", "ä", "a\n", "a" * 129]
)
def test_anything_else_is_no_tag(text: str) -> None:
    with pytest.raises(InvalidRequestError, match="cannot be the tag"):
        Tag(text)


@pytest.mark.parametrize(
    "name", ["a", "a/b", "a.b_c__d-e---f/0", "team/python/my_pkg", "a" * MAX_REPOSITORY_NAME]
)
def test_repository_follows_the_grammar_of_the_specification(name: str) -> None:
    repository = Repository(Registry("https", "ghcr.io", 5000), name)
    assert str(repository) == f"ghcr.io:5000/{name}"


@pytest.mark.parametrize(
    "name",
    [
        "",
        "/",
        "a/",
        "/a",
        "a//b",
        "A",
        "a/../b",
        "..",
        ".a",
        "a.",
        "a..b",
        "a___b",
        "a._b",
        "-a",
        "a-",
        "a b",
        "a%2fb",
        "a?b",
        "a#b",
        "ä",
        "a\n",
        "a" * (MAX_REPOSITORY_NAME + 1),
    ],
)
def test_anything_else_is_no_repository(name: str) -> None:
    with pytest.raises(InvalidRequestError):
        Repository(GHCR, name)
