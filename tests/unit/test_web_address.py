import hypothesis
import pytest
from hypothesis import strategies as st

from pyoci_flask.errors import EgressError, InvalidRequestError, NotFoundError, PyOCIError
from pyoci_flask.oci.reference import Registry
from pyoci_flask.settings import PinnedIndex, Settings
from pyoci_flask.settings.origins import OriginPattern
from pyoci_flask.web.address import (
    Base,
    FileAddress,
    JsonAddress,
    ListAddress,
    MetadataAddress,
    ProjectAddress,
    VersionAddress,
)
from pyoci_flask.web.paths import AddressParser

GHCR = Registry("https", "ghcr.io")
LOCAL = Registry("http", "localhost", 5000)
PINNED = Settings(index=PinnedIndex(GHCR, "acme/python"))


def told(address: object) -> tuple[object, ...] | None:
    """The parts of an address, short enough for a table."""
    match address:
        case ListAddress(base):
            return ("list", base.namespace)
        case ProjectAddress(base, project, slash):
            return ("project", base.namespace, project.text, slash)
        case JsonAddress(base, project):
            return ("json", base.namespace, project.text)
        case FileAddress(base, project, filename):
            return ("file", base.namespace, project.text, filename.text)
        case MetadataAddress(base, project, filename):
            return ("metadata", base.namespace, project.text, filename.text)
        case VersionAddress(base, project, version):
            return ("version", base.namespace, project.text, version)
    return None


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/ghcr.io/acme/hello/", ("project", "acme", "hello", True)),
        ("/ghcr.io/acme/hello", ("project", "acme", "hello", False)),
        ("/ghcr.io/Acme/My.Pkg/", ("project", "acme", "My.Pkg", True)),
        ("/ghcr.io/a/b/c/hello/", ("project", "a/b/c", "hello", True)),
        ("/ghcr.io/acme/", ("list", "acme")),
        ("/ghcr.io/acme", ("list", "acme")),
        ("/ghcr.io/acme/json", ("project", "acme", "json", False)),
        ("/ghcr.io/acme/hello/json", ("json", "acme", "hello")),
        ("/ghcr.io/acme/hello/json/", ("json", "acme", "hello")),
        ("/ghcr.io/a/b/hello/json", ("json", "a/b", "hello")),
        (
            "/ghcr.io/acme/hello/hello-1.0.tar.gz",
            ("file", "acme", "hello", "hello-1.0.tar.gz"),
        ),
        (
            "/ghcr.io/a/b/hello/hello-1.0-py3-none-any.whl",
            ("file", "a/b", "hello", "hello-1.0-py3-none-any.whl"),
        ),
        (
            "/ghcr.io/acme/hello/hello-1.0-py3-none-any.whl.metadata",
            ("metadata", "acme", "hello", "hello-1.0-py3-none-any.whl"),
        ),
        ("/ghcr.io/acme/+simple/", ("list", "acme")),
        ("/ghcr.io/a/b/+simple/", ("list", "a/b")),
        ("/ghcr.io/acme/+simple/hello/", ("project", "acme", "hello", True)),
        ("/ghcr.io/acme/+simple/json", ("project", "acme", "json", False)),
        ("/ghcr.io/acme/+simple/hello/json", ("json", "acme", "hello")),
        (
            "/ghcr.io/acme/+simple/hello/hello-1.0.tar.gz",
            ("file", "acme", "hello", "hello-1.0.tar.gz"),
        ),
        ("//ghcr.io//acme///hello//", ("project", "acme", "hello", True)),
        ("/http://localhost:5000/acme/hello/", ("project", "acme", "hello", True)),
        ("/http:/localhost:5000/acme/hello/", ("project", "acme", "hello", True)),
        ("/HTTP:/localhost:5000/acme/hello/", ("project", "acme", "hello", True)),
        ("/localhost:5000/acme/hello/", ("project", "acme", "hello", True)),
        ("/registry:5000/acme/hello/", ("project", "acme", "hello", True)),
        ("/http://registry:5000/acme/hello/", ("project", "acme", "hello", True)),
        ("/https:/registry/acme/hello/", ("project", "acme", "hello", True)),
        ("/my_registry:5000/acme/", ("list", "acme")),
        ("/127.0.0.1/acme/hello/", ("project", "acme", "hello", True)),
        ("/[::1]:5000/acme/hello/", ("project", "acme", "hello", True)),
        ("/simple/", ("list", "acme/python")),
        ("/simple", ("list", "acme/python")),
        ("/simple/hello/", ("project", "acme/python", "hello", True)),
        ("/simple/hello", ("project", "acme/python", "hello", False)),
        ("/simple/json", ("project", "acme/python", "json", False)),
        ("/simple/hello/json", ("json", "acme/python", "hello")),
        (
            "/simple/hello/hello-1.0.tar.gz",
            ("file", "acme/python", "hello", "hello-1.0.tar.gz"),
        ),
        ("/simple/+simple/hello/", ("project", "acme/python", "hello", True)),
        ("/simple/a/b/c/", None),
        ("/", None),
        ("", None),
        ("/ghcr.io", None),
        ("/ghcr.io/", None),
        ("/ghcr.io/+simple/", None),
        ("/.git/config", None),
        ("/.env", None),
        ("/wp-login.php/", None),
        ("/wp-admin/setup-config.php", None),
        ("/acme/hello/", None),
        ("/localhost/acme/hello/", None),
        ("/admin:hunter2/acme/hello/", None),
        ("/embedded.git/HEAD/x", ("project", "head", "x", False)),
        ("/cgi-bin/../../etc/passwd", None),
        ("/_/oidc/audience", None),
        ("/health/x", None),
        ("/robots.txt/", None),
        ("/favicon.ico", None),
        ("/v2/_catalog", None),
    ],
)
def test_path_of_a_get(path: str, expected: tuple[object, ...] | None) -> None:
    settings = Settings(index=PINNED.index)
    assert told(AddressParser(settings).read(path)) == expected


@pytest.mark.parametrize(
    "path",
    [
        "/ghcr.io/acme/..",
        "/ghcr.io/../hello/",
        "/ghcr.io/acme/../hello/",
        "/ghcr.io/acme/a..b/hello/",
        "/ghcr.io/acme/he..llo/",
        "/ghcr.io/acme/hello/hello-1..0.tar.gz",
        "/ghcr.io/acme/hello/../hello-1.0.tar.gz",
        "/simple/../",
        "/simple/hello/..",
        "/ghcr.io/a b/hello/",
        "/ghcr.io/acme/h\xe4llo/",
        "/ghcr.io/acme/-hello/",
        "/ghcr.io/_acme/hello/",
        "/ghcr.io/acme/hello/foo.whl",
        "/ghcr.io/acme/hello/foo.tar.gz",
        "/ghcr.io/acme/hello/other-1.0.tar.gz",
        "/simple/hello/.env",
        "/ghcr.io/" + "a/" * 200,
        "/http://user:pass@localhost:5000/acme/hello/",
        "/http://-acme/hello/x/",
        "/http://embedded/hello/x/",
        "/http://localhost:99999/acme/hello/",
        "/https://ghcr.io\x00/acme/hello/",
    ],
)
def test_path_that_names_a_registry_but_nothing_in_it_is_refused(path: str) -> None:
    with pytest.raises(InvalidRequestError):
        AddressParser(PINNED).read(path)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/ghcr.io/acme/hello/1.0", ("version", "acme", "hello", "1.0")),
        ("/ghcr.io/acme/hello/1.0/", ("version", "acme", "hello", "1.0")),
        ("/ghcr.io/a/b/hello/1!2.0+cpu", ("version", "a/b", "hello", "1!2.0+cpu")),
        (
            "/ghcr.io/acme/hello/hello-1.0.tar.gz",
            ("file", "acme", "hello", "hello-1.0.tar.gz"),
        ),
        ("/simple/hello/1.0", ("version", "acme/python", "hello", "1.0")),
        ("/simple/hello", None),
        ("/simple/a/hello/1.0", None),
        ("/ghcr.io/acme/hello", None),
        ("/ghcr.io/acme", None),
        ("/.git/a/b/c", None),
    ],
)
def test_path_of_a_delete(path: str, expected: tuple[object, ...] | None) -> None:
    assert told(AddressParser(PINNED).change(path)) == expected


@pytest.mark.parametrize(
    "path",
    [
        "/ghcr.io/acme/hello/latest",
        "/ghcr.io/acme/hello/1.0-1-1",
        "/ghcr.io/acme/hello/..",
        "/ghcr.io/acme/../1.0",
        "/simple/hello/other-1.0.tar.gz",
        "/simple/-x/1.0",
    ],
)
def test_delete_of_what_is_no_version_is_refused(path: str) -> None:
    with pytest.raises(InvalidRequestError):
        AddressParser(PINNED).change(path)


@pytest.mark.parametrize(
    ("path", "base"),
    [
        ("/ghcr.io/acme/", Base(GHCR, "acme")),
        ("/ghcr.io/acme", Base(GHCR, "acme")),
        ("/ghcr.io/a/B/c", Base(GHCR, "a/b/c")),
        ("/http:/localhost:5000/acme/", Base(LOCAL, "acme")),
        ("/simple/", Base(GHCR, "acme/python", pinned=True)),
        ("/simple", Base(GHCR, "acme/python", pinned=True)),
        ("/simple/hello", None),
        ("/ghcr.io/", None),
        ("/.git/config", None),
        ("/", None),
    ],
)
def test_path_of_an_upload(path: str, base: Base | None) -> None:
    assert AddressParser(PINNED).publish(path) == base


@pytest.mark.parametrize("method", ["read", "change", "publish"])
def test_simple_without_an_index_names_both_settings(method: str) -> None:
    with pytest.raises(NotFoundError, match=r"PYOCI_INDEX .* PYOCI_STORAGE"):
        getattr(AddressParser(Settings()), method)("/simple/hello/1.0")


@pytest.mark.parametrize("method", ["read", "change", "publish"])
def test_registry_that_is_not_allowed_is_refused(method: str) -> None:
    parser = AddressParser(Settings(registries=(OriginPattern.parse("ghcr.io"),)))
    with pytest.raises(EgressError, match=r"does not call quay\.io: PYOCI_REGISTRIES"):
        getattr(parser, method)("/quay.io/acme/hello/1.0")
    assert getattr(parser, method)("/ghcr.io/acme/hello/1.0.0/") is not None


@pytest.mark.parametrize("method", ["read", "change", "publish"])
@pytest.mark.parametrize(
    "base",
    [
        "ghcr.io/other",
        "ghcr.io/acme/python/sub",
        "ghcr.io/acme",
        "http:/ghcr.io/acme/python",
        "http://ghcr.io:443/acme/python",
        "ghcr.io:8443/acme/python",
        "quay.io/acme/python",
    ],
)
def test_an_index_allows_its_origin_and_namespace_alone(method: str, base: str) -> None:
    parser = AddressParser(Settings.from_env({"PYOCI_INDEX": "ghcr.io/acme/python"}))
    rest = "" if method == "publish" else "/hello/1.0"
    with pytest.raises(
        EgressError, match=r"only the index of PYOCI_INDEX, because PYOCI_REGISTRIES is not set"
    ):
        getattr(parser, method)(f"/{base}{rest}")


@pytest.mark.parametrize("base", ["ghcr.io", "GHCR.io:443", "https:/ghcr.io", "https://ghcr.io"])
def test_an_index_allows_every_spelling_of_its_own_address(base: str) -> None:
    parser = AddressParser(Settings.from_env({"PYOCI_INDEX": "ghcr.io/acme/python"}))
    own = Base(GHCR, "acme/python")
    assert parser.publish(f"/{base}/acme/Python/") == own
    assert told(parser.read(f"/{base}/acme/python/hello/")) == (
        *("project", "acme/python", "hello", True),
    )
    assert told(parser.change("/simple/hello/1.0")) is not None


@pytest.mark.parametrize(
    ("entries", "named"),
    [
        ("registry", True),
        ("ghcr.io, https://Registry:443", True),
        ("registry:*", True),
        ("*", False),
        ("registr?", False),
        ("http://registry", False),
        ("registry:5000", False),
        (None, False),
    ],
)
def test_host_of_one_label_stands_alone_where_the_allow_list_names_it(
    entries: str | None, *, named: bool
) -> None:
    environ = {} if entries is None else {"PYOCI_REGISTRIES": entries}
    parser = AddressParser(Settings.from_env(environ))
    expected = Base(Registry("https", "registry"), "acme") if named else None
    assert parser.publish("/registry/acme/") == expected
    assert parser.publish("/other/acme/") is None


def test_index_at_a_host_of_one_label_is_addressed_by_its_name() -> None:
    parser = AddressParser(Settings.from_env({"PYOCI_INDEX": "registry/acme"}))
    assert parser.publish("/registry/acme/") == Base(Registry("https", "registry"), "acme")


def test_embedded_registry_has_to_be_there() -> None:
    with pytest.raises(NotFoundError, match="PYOCI_STORAGE is not set"):
        AddressParser(Settings()).read("/embedded/python/hello/")


@pytest.mark.parametrize(
    ("path", "raw", "good"),
    [
        ("/http://localhost:5000/acme/hello/", "/http%3A%2F%2Flocalhost%3A5000/acme/hello/", True),
        ("/http://localhost:5000/acme/hello/", "/http%3a%2f%2flocalhost:5000%2f/acme/hello/", True),
        ("/http://localhost:5000/acme/hello/", "/http://localhost:5000/acme/hello/?a=%2F", True),
        ("/http://localhost:5000/x/acme/hello/", "/http%3A%2F%2Flocalhost%2Fx/acme/hello/", False),
        (
            "/http://localhost:5000/acme/hello/",
            "/sub/http%3A%2F%2Flocalhost%3A5000%2Facme/hello/",
            False,
        ),
    ],
)
def test_registry_url_with_a_path_is_refused(path: str, raw: str, good: bool) -> None:
    parser = AddressParser(Settings())
    if good:
        assert told(parser.read(path, raw)) == ("project", "acme", "hello", True)
    else:
        with pytest.raises(InvalidRequestError, match="must end after its host and port"):
            parser.read(path, raw)


@pytest.mark.parametrize(
    ("base", "path"),
    [
        (Base(GHCR, "acme"), "/ghcr.io/acme"),
        (Base(GHCR, "a/b"), "/ghcr.io/a/b"),
        (Base(LOCAL, "acme"), "/http%3A%2F%2Flocalhost%3A5000/acme"),
        (Base(Registry("http", "ghcr.io", 80), "acme"), "/http%3A%2F%2Fghcr.io/acme"),
        (Base(Registry("https", "localhost", 443), "acme"), "/https%3A%2F%2Flocalhost/acme"),
        (Base(Registry("https", "registry"), "acme"), "/https%3A%2F%2Fregistry/acme"),
        (Base(Registry("https", "registry", 5000), "acme"), "/registry:5000/acme"),
        (Base(Registry("http", "embedded"), "python"), "/embedded/python"),
        (Base(GHCR, "acme", pinned=True), "/simple"),
    ],
)
def test_base_is_written_as_people_should_write_it(base: Base, path: str) -> None:
    assert base.path == path


_SEGMENTS = st.sampled_from(
    [
        *("ghcr.io", "http:", "", "localhost:5000", "simple", "+simple", "..", "json", "hello"),
        *("1.0", "hello-1.0.tar.gz", "hello-1.0.tar.gz.metadata", "\x00", "ä", "embedded", "%2e"),
    ]
)


@hypothesis.given(st.lists(_SEGMENTS).map("/".join) | st.text(), st.none() | st.text())
def test_any_path_is_an_address_or_one_of_our_errors(path: str, raw: str | None) -> None:
    parser = AddressParser(PINNED)
    for method in (parser.read, parser.change, parser.publish):
        try:
            method(f"/{path}", raw)
        except PyOCIError:
            continue
