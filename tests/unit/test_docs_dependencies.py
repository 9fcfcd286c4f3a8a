"""docs/dependencies.md tells of every package that pyproject.toml names."""

import re
import tomllib

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.servers import ROOT

_TEXT = (ROOT / "docs" / "dependencies.md").read_text()
_PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def _named(requirements: list[str | dict[str, str]]) -> set[str]:
    texts = (each for each in requirements if isinstance(each, str))  # not included groups
    return {canonicalize_name(Requirement(each).name) for each in texts}


def _listed(heading: str) -> set[str]:
    """The packages in the first column of the table below a heading."""
    section = _TEXT.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| ([a-z][^|]*) \|", section, re.MULTILINE)
    return {name for row in rows for name in row.split(", ")} - {"package"}


def test_every_runtime_dependency_is_told_of_and_no_other() -> None:
    assert _listed("Runtime") == _named(_PROJECT["project"]["dependencies"])


def test_every_development_dependency_is_told_of_and_no_other() -> None:
    groups = _PROJECT["dependency-groups"]
    assert _listed("Development") == _named(groups["dev"] + groups["demo"])
