"""The compiled requirements install with every pip, also one that is strict about extras."""

import re
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.servers import ROOT

FILES = sorted(ROOT.glob("requirements*.txt"))


def test_the_three_files_are_there() -> None:
    assert [file.name for file in FILES] == [
        "requirements-demo.txt",
        "requirements-dev.txt",
        "requirements.txt",
    ]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_extra_that_a_pinned_package_requires_is_pinned_with_the_extra(file: Path) -> None:
    """In hash mode, pip up to 23.2.1 does not accept `name==1.0` for `name[extra]>=1`.

    It accepts it as long as 1.0 is the newest version, so the fault shows on another day.
    """
    pins = _pins(file)
    missing = {
        f"{name} requires {requirement}"
        for name, pin in pins.items()
        for requirement in _requirements(name, pin.extras)
        if not requirement.extras <= pins[canonicalize_name(requirement.name)].extras
    }
    assert missing == set()


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_requirement_of_a_pinned_package_is_pinned(file: Path) -> None:
    pins = _pins(file)
    missing = {
        f"{name} requires {requirement}"
        for name, pin in pins.items()
        for requirement in _requirements(name, pin.extras)
        if canonicalize_name(requirement.name) not in pins
    }
    assert missing == set()


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_no_package_needs_a_compiler(file: Path) -> None:
    """These are known to come without wheels; `make demo` and `make unit` work without gcc."""
    assert not {"sha256", "zuul-registry"} & _pins(file).keys()


def _pins(file: Path) -> dict[str, Requirement]:
    """The requirements that apply to this interpreter, by their normalized names."""
    text = re.sub(r" *\\\n *--hash=\S+", "", file.read_text())
    lines = (line for line in text.splitlines() if re.match(r"[a-z0-9]", line, re.IGNORECASE))
    found = (Requirement(line) for line in lines)
    return {
        canonicalize_name(each.name): each
        for each in found
        if each.marker is None or each.marker.evaluate()
    }


def _requirements(name: str, extras: set[str]) -> Iterator[Requirement]:
    """What an installed package requires here, with these of its extras."""
    for text in metadata.requires(name) or ():
        requirement = Requirement(text)
        environments = ({"extra": extra} for extra in extras or {""})
        marker = requirement.marker
        if marker is None or any(marker.evaluate(each) for each in environments):
            yield requirement
