"""The documents lead where they say, and their examples are what they claim to be."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import yaml

from tests.documents import anchors, blocks, documents, links
from tests.servers import ROOT

DOCUMENTS = documents()
_NAMES = [str(path.relative_to(ROOT)) for path in DOCUMENTS]


@pytest.mark.parametrize("document", DOCUMENTS, ids=_NAMES)
def test_every_link_to_a_file_or_heading_leads_there(document: Path) -> None:
    for target in links(document):
        parts = urlsplit(target)
        if parts.scheme:
            assert parts.scheme in {"https", "http"}, target
            continue
        path = (document.parent / unquote(parts.path)).resolve() if parts.path else document
        assert path.is_relative_to(ROOT), target
        assert path.exists(), target
        if parts.fragment:
            assert parts.fragment in anchors(path), target


def test_every_document_is_in_the_list_of_documents() -> None:
    listed = {(ROOT / "docs" / target).resolve() for target in links(ROOT / "docs" / "README.md")}
    assert {path for path in DOCUMENTS if path.parent == ROOT / "docs"} <= {
        *listed,
        ROOT / "docs" / "README.md",
    }
    assert (ROOT / "docs" / "README.md").resolve() in {
        (ROOT / target).resolve() for target in links(ROOT / "README.md")
    }


@pytest.mark.parametrize("document", DOCUMENTS, ids=_NAMES)
def test_examples_in_yaml_and_json_are_that(document: Path) -> None:
    readers: dict[str, Callable[[str], object]] = {"yaml": yaml.safe_load, "json": json.loads}
    for block in blocks(document):
        if block.language in readers:
            assert isinstance(readers[block.language](block.text), dict | list), block.text


@pytest.mark.parametrize("document", DOCUMENTS, ids=_NAMES)
def test_blocks_are_closed_and_tables_even(document: Path) -> None:
    text = document.read_text()
    assert len(re.findall(r"^ *```", text, re.MULTILINE)) % 2 == 0
    outside = re.sub(r"^ *```.*?^ *```$", "", text, flags=re.MULTILINE | re.DOTALL)
    for table in re.findall(r"(?:^\|.*\n)+", outside, re.MULTILINE):
        cells = {len(re.findall(r"(?<!\\)\|", row)) for row in table.splitlines()}
        assert len(cells) == 1, table


def test_the_files_that_the_architecture_names_are_there() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    named = set(re.findall(r"`((?:\w+/)*\w+\.py)`", text))
    there = {str(path.relative_to(ROOT)) for path in (ROOT / "pyoci_flask").rglob("*.py")}
    missing = {name for name in named if not any(path.endswith(f"/{name}") for path in there)}
    assert not missing
    packages = {
        path.name
        for path in (ROOT / "pyoci_flask").iterdir()
        if path.is_dir() and any(path.glob("*.py"))
    }
    assert {name for name in packages if f"`{name}/`" not in text} == set()
