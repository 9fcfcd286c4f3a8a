import hypothesis
import pytest
from hypothesis import strategies as st
from packaging.version import VERSION_PATTERN, Version

from pyoci_flask.errors import InvalidRequestError
from pyoci_flask.index.names import (
    Filename,
    ProjectName,
    is_filename,
    parse_version,
    tag_of,
    tags_of,
    version_of,
    version_or_none,
)

_NUMBER = st.integers(0, 99_999).map(str)
_RELEASE = st.lists(_NUMBER, min_size=1, max_size=4).map(".".join)
_SUFFIX = st.sampled_from(["", "a1", "b2", "rc3", ".post4", ".dev5", "rc1.post2.dev3", ".RC1"])
_LOCAL = st.lists(st.from_regex("[a-zA-Z0-9]{1,6}", fullmatch=True), min_size=1, max_size=3).map(
    lambda parts: "+" + ".".join(parts)
)
_VERSIONS = st.builds(
    "{}{}{}{}".format,
    st.sampled_from(["", "1!", "2024!", "v"]),
    _RELEASE,
    _SUFFIX,
    st.just("") | _LOCAL,
)


@pytest.mark.parametrize(
    ("version", "tag"),
    [
        ("1.0", "1.0"),
        ("1.0+cpu", "1.0-cpu"),
        ("1!2.0", "1_2.0"),
        ("1!2.0+cpu", "1_2.0-cpu"),
        ("1.0+cpu.1", "1.0-cpu.1"),
        ("1.0+ubuntu_1", "1.0-ubuntu_1"),
        ("1.0.dev4+g1664eb2.d20231017", "1.0.dev4-g1664eb2.d20231017"),
        ("v1.0", "v1.0"),
        ("1.0.RC1", "1.0.RC1"),
        ("1.0_rc1", "1.0_rc1"),
        ("01.0", "01.0"),
    ],
)
def test_version_becomes_a_tag_and_comes_back(version: str, tag: str) -> None:
    assert str(tag_of(version)) == tag
    assert version_of(tag) == version


@hypothesis.given(_VERSIONS)
def test_every_version_comes_back_from_its_tag_as_it_was_written(version: str) -> None:
    assert version_of(str(tag_of(version))) == version


@hypothesis.given(
    st.from_regex(VERSION_PATTERN.replace(r"\s*", ""), fullmatch=True).filter(str.isascii)
)
def test_every_form_of_a_version_is_refused_or_means_the_same_when_it_comes_back(
    version: str,
) -> None:
    try:
        tag = tag_of(version)
    except InvalidRequestError:
        assert "-" in version or len(version) > 128 or version != version.strip()
        return
    assert Version(version_of(str(tag))) == Version(version)


@pytest.mark.parametrize("tag", ["latest", "sha256-abc.sig", "_", "1_x", "v1_2", "1_2_3", "-"])
def test_tag_that_is_no_version_is_read_as_some_text(tag: str) -> None:
    assert isinstance(version_of(tag), str)


@pytest.mark.parametrize("version", ["1.0-1", "1.0-rc1", "1!1-1", "1.0+a-b"])
def test_version_with_a_dash_is_refused(version: str) -> None:
    with pytest.raises(InvalidRequestError, match="contains a '-'"):
        tag_of(version)


@pytest.mark.parametrize("version", ["", "x", "1..0", "1.0+", "latest", "1.0/2", "../1", "1.0\x00"])
def test_what_is_no_version_is_refused(version: str) -> None:
    with pytest.raises(InvalidRequestError, match="is not a version"):
        parse_version(version)


def test_version_longer_than_a_tag_is_refused() -> None:
    assert str(tag_of("1." + "0" * 126))
    with pytest.raises(InvalidRequestError, match="does not fit into a tag of 128"):
        tag_of("1." + "0" * 127)


@pytest.mark.parametrize("version", [" 1.0", "1.0 ", "1.0\n", "１.0"])  # noqa: RUF001 - on purpose
def test_version_that_a_tag_cannot_hold_is_refused(version: str) -> None:
    with pytest.raises(InvalidRequestError):
        tag_of(version)


@pytest.mark.parametrize(
    ("name", "version"),
    [
        ("hello-0.1.1_git84k-py3-none-any.whl", "0.1.1+git84k"),
        ("hello-1.0_ubuntu_1-py3-none-any.whl", "1.0+ubuntu.1"),
        ("hello-1.0_1-py3-none-any.whl", "1.0.post1"),
        ("hello-1.0_rc1-py3-none-any.whl", "1.0_rc1"),
        ("hello-1.0+git.1-2-py3-none-any.whl", "1.0+git.1"),
    ],
)
def test_wheel_of_an_older_tool_has_the_version_that_was_meant(name: str, version: str) -> None:
    filename = Filename.parse(name, ProjectName("hello"))
    assert (filename.text, filename.version) == (name, version)


@pytest.mark.parametrize(
    ("name", "normalized", "repositories"),
    [
        ("hello", "hello", ("hello",)),
        ("My_Pkg", "my-pkg", ("my_pkg",)),
        ("my--pkg", "my-pkg", ("my_pkg",)),
        ("zope.interface", "zope-interface", ("zope_interface", "zope.interface")),
        ("Zope.Interface-x", "zope-interface-x", ("zope_interface_x", "zope.interface_x")),
        ("a", "a", ("a",)),
        ("0", "0", ("0",)),
    ],
)
def test_project_has_a_repository_and_maybe_a_dotted_one(
    name: str, normalized: str, repositories: tuple[str, ...]
) -> None:
    project = ProjectName(name)
    assert (project.normalized, project.repositories) == (normalized, repositories)
    assert str(project) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "-a",
        "a-",
        "_a",
        "a.",
        ".env",
        "a..b",
        "a b",
        "a/b",
        "ä",
        "a\n",
        "a%2e",
        "a" * 256,
    ],
)
def test_what_is_no_project_name_is_refused(name: str) -> None:
    with pytest.raises(InvalidRequestError, match="is not a project name"):
        ProjectName(name)


@pytest.mark.parametrize(
    ("project", "text", "version", "architecture"),
    [
        ("hello", "hello-1.0.tar.gz", "1.0", ".tar.gz"),
        ("hello", "hello-1.0-py3-none-any.whl", "1.0", "py3-none-any.whl"),
        ("hello", "Hello-1.0-py3-none-any.whl", "1.0", "py3-none-any.whl"),
        (
            "hello",
            "hello-1.0-1-cp311-cp311-linux_x86_64.whl",
            "1.0",
            "1-cp311-cp311-linux_x86_64.whl",
        ),
        ("hello", "hello-1.0-1abc_d.e-py3-none-any.whl", "1.0", "1abc_d.e-py3-none-any.whl"),
        ("hello", "hello-1.0+cpu-py3-none-any.whl", "1.0+cpu", "py3-none-any.whl"),
        ("hello", "hello-2!1.0-py3-none-any.whl", "2!1.0", "py3-none-any.whl"),
        ("hello", "hello-1.0.RC1.tar.gz", "1.0.RC1", ".tar.gz"),
        ("my-pkg", "my-pkg-1.0.tar.gz", "1.0", ".tar.gz"),
        ("my-pkg", "my_pkg-1.0.tar.gz", "1.0", ".tar.gz"),
        ("My_Pkg", "my.pkg-1.0.tar.gz", "1.0", ".tar.gz"),
        ("zope.interface", "zope.interface-5.0.tar.gz", "5.0", ".tar.gz"),
        ("zope.interface", "zope_interface-5.0-py3-none-any.whl", "5.0", "py3-none-any.whl"),
        ("a-1", "a-1-2.tar.gz", "2", ".tar.gz"),
        ("a", "a-1.tar.gz", "1", ".tar.gz"),
        ("py", "py-1.0-py2.py3-none-any.whl", "1.0", "py2.py3-none-any.whl"),
    ],
)
def test_filename_is_taken_apart(project: str, text: str, version: str, architecture: str) -> None:
    filename = Filename.parse(text, ProjectName(project))
    assert (filename.text, filename.version, filename.architecture) == (text, version, architecture)
    assert filename.is_wheel is text.endswith(".whl")
    assert is_filename(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello",
        "foo.whl",
        "foo.tar.gz",
        ".env",
        ".tar.gz",
        ".whl",
        "hello.tar.gz",
        "hello-.tar.gz",
        "hello-1.0.zip",
        "hello-1.0.tar.bz2",
        "hello-1.0.whl",
        "hello-1.0-py3.whl",
        "hello-1.0-py3-none.whl",
        "hello-1.0-x-py3-none-any.whl",
        "hello-1.0-1-2-py3-none-any.whl",
        "hello-1.0--none-any.whl",
        "hello-1.0-py3-none-.whl",
        "hello-x-py3-none-any.whl",
        "hello-1.0-1-1.tar.gz",
        "hello-x.tar.gz",
        "other-1.0.tar.gz",
        "helloworld-1.0.tar.gz",
        "hello-world-1.0.tar.gz",
        "../hello-1.0.tar.gz",
        "a/hello-1.0.tar.gz",
        "hello-1.0/../x.tar.gz",
        "hello-1..0.tar.gz",
        "hello-1.0.tar.gz\n",
        "hello-1.0\x00.tar.gz",
        'hello-1.0".tar.gz',
        "hello-1.0.tar.gz.asc",
        "hällo-1.0.tar.gz",
        "hello-1.0 .tar.gz",
        f"hello-1.0+{'a' * 250}.tar.gz",
    ],
)
def test_what_is_no_filename_of_the_project_is_refused_with_its_text(text: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        Filename.parse(text, ProjectName("hello"))
    version = text.removeprefix("hello-").removesuffix(".tar.gz").partition("-py3")[0]
    assert repr(text)[:190] in str(caught.value) or (version and repr(version) in str(caught.value))


@pytest.mark.parametrize(
    ("segment", "version", "architecture", "text"),
    [
        ("my_pkg", "1.0", ".tar.gz", "my_pkg-1.0.tar.gz"),
        ("my_pkg", "1.0", "py3-none-any.whl", "my_pkg-1.0-py3-none-any.whl"),
    ],
)
def test_filename_is_rebuilt_as_the_original_does(
    segment: str, version: str, architecture: str, text: str
) -> None:
    assert Filename.build(segment, version, architecture) == text


@hypothesis.given(st.text(max_size=40) | st.text(max_size=20).map("hello-{}.tar.gz".format))
def test_any_text_is_a_filename_or_refused(text: str) -> None:
    try:
        filename = Filename.parse(text, ProjectName("hello"))
    except InvalidRequestError:
        return
    assert filename.text == text
    assert Version(filename.version)


@pytest.mark.parametrize(
    ("version", "others"),
    [
        ("1.0", ["1", "1.0.0", "v1.0", "01.00", "0_1.0"]),
        ("1!2.0", ["1_2", "1_2.0.0"]),
        ("1.0rc1", ["1.0.RC.1", "1c1", "1.0.0rc01"]),
        ("1.0a0", ["1.0a", "1.0.alpha"]),
        ("2.0.post1", ["2.post1", "2.0.r1", "2.0.0.post01"]),
        ("1.0+cpu.1", ["1-cpu.1", "1.0.0-CPU_1"]),
        ("0", ["0.0", "v0"]),
    ],
)
def test_all_tags_of_a_version_are_found(version: str, others: list[str]) -> None:
    own = str(tag_of(version))
    tags = [*others, "latest", own, "1.1", "10", "2.0", "1.0rc11", "1.0-1", "sha256-0a1"]
    found = tags_of(tags, version)
    expected = [tag for tag in tags if version_or_none(version_of(tag)) == Version(version)]
    assert found == expected
    assert own in found
    assert set(found) >= {tag for tag in others if version_or_none(version_of(tag)) is not None}
