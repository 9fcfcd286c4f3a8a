"""Names from addresses, forms and registries: files, tags, projects, registries, paths."""

from hypothesis import assume, given
from hypothesis import strategies as st

from pyoci_flask.errors import InvalidRequestError, PyOCIError
from pyoci_flask.index.names import Filename, ProjectName, tag_of, version_of
from pyoci_flask.oci.reference import Digest, Registry, Repository, Tag
from pyoci_flask.settings import Settings
from pyoci_flask.web.address import Base
from pyoci_flask.web.paths import AddressParser
from tests.fuzz.strategies import fuzzed, near

_PROJECT = ProjectName("my-pkg")
_PARSER = AddressParser(Settings())
_VERSIONS = st.from_regex(
    r"\A([0-9]{1,2}!)?[0-9]{1,3}(\.[0-9]{1,3}){0,3}((a|b|rc)[0-9])?(\.post[0-9])?(\.dev[0-9])?"
    r"(\+[a-z0-9]{1,4}(\.[a-z0-9]{1,4})?)?\Z"
)


@fuzzed
@given(
    near(
        "my_pkg-1.0-py3-none-any.whl",
        "my-pkg-1.0.tar.gz",
        "My.Pkg-1!2.0+cpu-1-cp311-cp311-linux_x86_64.whl",
        alphabet="mypkg-_.+!0123456789whltarz/%",
    )
)
def test_a_filename_is_refused_or_taken_apart_into_what_it_is_made_of(text: str) -> None:
    try:
        filename = Filename.parse(text, _PROJECT)
    except InvalidRequestError:
        return
    assert filename.text == text
    assert text.endswith(filename.architecture)
    assert filename.version in text
    assert not set(text) & set("/\\\"' \r\n\0")
    assert ".." not in text


@fuzzed
@given(_VERSIONS)
def test_a_version_survives_its_tag(version: str) -> None:
    tag = tag_of(version)
    assert version_of(tag.text) == version
    assert Filename.parse(f"my_pkg-{version}.tar.gz", _PROJECT).version == version


@fuzzed
@given(near("1.0", "1_2.0-cpu", "latest", alphabet="0123456789._-+!abc/"))
def test_any_tag_reads_as_some_text_and_only_sound_ones_are_tags(text: str) -> None:
    version_of(text)
    try:
        tag = Tag(text)
    except InvalidRequestError:
        return
    assert 0 < len(tag.text) <= 128
    assert tag.text.isascii()
    assert not set(tag.text) & set("/?#% :\r\n")


@fuzzed
@given(
    near(
        "ghcr.io",
        "http://localhost:5000",
        "https:/[::1]:8080",
        "127.0.0.1:80",
        "embedded",
        alphabet="htps:/[]@.-0123456789abcdef%?#",
    )
)
def test_a_registry_is_scheme_host_and_port_or_nothing(text: str) -> None:
    registry = Registry.parse(text)
    if registry is None:
        return
    assert registry.scheme in {"http", "https"}
    assert registry.port is None or 0 < registry.port < 65536
    assert not set(registry.netloc) & set("/@?#% \\\r\n")
    assert registry.origin.isascii()
    if text != "embedded":
        assert Registry.parse(registry.origin) is not None


@fuzzed
@given(near("team/my_pkg", "a/b/c-d.e", alphabet="abc/._-ABC%:"))
def test_a_repository_name_never_climbs_out_of_its_path(text: str) -> None:
    try:
        repository = Repository(Registry("https", "example.org"), text)
    except InvalidRequestError:
        return
    assert all(part.strip("._-") == part != "" for part in repository.name.split("/"))


@fuzzed
@given(near(f"sha256:{'0' * 64}", f"sha512:{'a' * 128}", alphabet="sha256:0123456789abcdefABCDEF"))
def test_a_digest_is_64_hex_digits(text: str) -> None:
    try:
        digest = Digest(text)
    except InvalidRequestError:
        return
    assert len(digest.hex) == 64
    assert int(digest.hex, 16) >= 0


@fuzzed
@given(
    near(
        "/ghcr.io/acme/my-pkg/",
        "/simple/my-pkg/my_pkg-1.0.tar.gz.metadata",
        "/http:/localhost:5000/a/b/+simple/my-pkg/json",
        alphabet="/.:%+-_abcsimplejon[]@",
    ),
    st.sampled_from(["read", "change", "publish"]),
)
def test_any_path_names_something_or_nothing_or_is_refused(path: str, kind: str) -> None:
    assume(path.startswith("/"))
    parse = {"read": _PARSER.read, "change": _PARSER.change, "publish": _PARSER.publish}[kind]
    try:
        address = parse(path)
    except PyOCIError:
        return
    base = address if address is None or isinstance(address, Base) else address.base
    assert base is None or ".." not in base.namespace
