"""docs/settings.md says of every variable what `Settings` makes of it."""

import re
import tempfile
from pathlib import Path

import pytest

from pyoci_flask.settings import Settings
from tests.documents import documents
from tests.servers import ROOT
from tests.setting_names import setting_names

_ROW = re.compile(r"^\| (`[A-Z_`, ]+`) \| ([^|]+) \|", re.MULTILINE)
_NOTHING = {
    "none",
    "from the request",
    "the registry of `PYOCI_INDEX` if you set it, otherwise any",
    "`embedded/python` if `PYOCI_STORAGE` is set",
}
_COMMAND_LINE = re.compile(
    r"PYOCI_(?:USERNAME|PASSWORD|(?:SOURCE|TARGET)_(?:USERNAME|PASSWORD))|PYOCI_TEST_\w+"
)


def _documented() -> dict[str, str]:
    """The default of each variable, as the tables say."""
    text = (ROOT / "docs" / "settings.md").read_text()
    return {
        name: default.strip()
        for names, default in _ROW.findall(text)
        for name in re.findall(r"[A-Z_]+", names)
    }


DOCUMENTED = _documented()


def test_every_variable_is_documented_and_none_that_is_not_read() -> None:
    assert DOCUMENTED.keys() == setting_names()


@pytest.mark.parametrize("name", sorted(DOCUMENTED))
def test_the_default_is_the_one_that_stands_there(name: str) -> None:
    unset, stands = Settings.from_env({}), DOCUMENTED[name]
    if stands in _NOTHING:
        assert not getattr(unset, name.removeprefix("PYOCI_").lower(), None)
    elif stands == "the system's temporary folder":
        assert unset.spool == Path(tempfile.gettempdir())
    else:
        assert Settings.from_env({name: stands}) == unset


def test_the_documents_name_no_variable_that_is_not_read() -> None:
    named = {
        name
        for path in documents()
        for name in re.findall(r"\b(?:PYOCI|OTLP)_[A-Z]+(?:_[A-Z]+)*\b", path.read_text())
    }
    assert {
        name for name in named - DOCUMENTED.keys() if not _COMMAND_LINE.fullmatch(name)
    } == set()
