"""What the program overrides in other packages is still there, or the start says what is not."""

import inspect
import tomllib
import types
import zipfile

import pytest

from pyoci_flask.common.overrides import PYTHONS, Part, check, check_overrides, registered
from pyoci_flask.errors import ConfigurationError
from pyoci_flask.server import worker as serving
from pyoci_flask.transport import pools
from tests.servers import ROOT


def _part(theirs: str | None, ours: str) -> Part:
    """A method of a base class of gunicorn, and the one that overrides it, by their arguments."""
    methods = {} if theirs is None else {"read": eval(f"lambda {theirs}: None")}
    base = type("Base", (), methods)
    base.__module__ = "gunicorn.somewhere"
    return Part(base, "read", "Ours", eval(f"lambda {ours}: None"))


def test_the_installed_versions_have_all_that_is_overridden() -> None:
    check_overrides("pyoci_flask.telemetry.pipeline")
    assert {part.name for part in registered()} > {"_cap_keepalive", "_new_conn", "sendall"}


def test_a_missing_method_is_one_line_that_says_what_to_do() -> None:
    with pytest.raises(ConfigurationError) as caught:
        check(_part(None, "self, size"))
    [line] = str(caught.value).splitlines()
    assert line.startswith("gunicorn 27.")
    assert " has no Base.read, which Ours needs: install the version that " in line
    assert "requirements.txt" in line


def test_a_missing_part_of_the_standard_library_names_the_versions_of_python() -> None:
    with pytest.raises(ConfigurationError, match=r"Python .* has no zipfile\._Gone, .* 3\.11, "):
        check(Part(zipfile, "_Gone", "Ours"))


def test_a_class_that_cannot_be_imported_is_one_line() -> None:
    with pytest.raises(ConfigurationError, match=r"pyoci_flask\.gone does not work with pyoci"):
        check_overrides("pyoci_flask.gone")


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("self, size", "self, size"),
        ("self, size", "self, length"),
        ("self, size", "self, size, flags=0"),
        ("self, *args, **kwargs", "self, *args"),
        ("self, size, *, whole=False", "self, size, **options"),
    ],
)
def test_a_method_that_takes_what_it_is_called_with_passes(theirs: str, ours: str) -> None:
    check(_part(theirs, ours))


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("self, size, flags", "self, size"),
        ("self, size, flags=0", "self, size"),
        ("self, size=1", "self, size"),
        ("self, size, *, whole=False", "self, size"),
    ],
)
def test_a_method_that_is_called_in_another_way_is_one_line(theirs: str, ours: str) -> None:
    with pytest.raises(ConfigurationError, match=r"calls Base\.read with other arguments than Our"):
        check(_part(theirs, ours))


@pytest.mark.parametrize("module", [serving, pools])
def test_every_method_that_overrides_one_is_checked(module: types.ModuleType) -> None:
    checked = {(part.user, part.name) for part in registered()}
    missing = {
        (cls.__qualname__, name)
        for cls in vars(module).values()
        if isinstance(cls, type) and cls.__module__ == module.__name__
        for name, method in vars(cls).items()
        if inspect.isfunction(method) and not name.startswith("__")
        if any(hasattr(base, name) for base in cls.__mro__[1:])
    }
    assert missing <= checked


def test_the_versions_of_python_are_those_of_the_classifiers() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    prefix = "Programming Language :: Python :: 3."
    named = [line[len(prefix) - 2 :] for line in project["classifiers"] if line.startswith(prefix)]
    assert list(PYTHONS) == named
