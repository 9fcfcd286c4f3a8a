"""The list of what single registries do differently."""

import re
from pathlib import Path

import pytest

import pyoci_flask
from pyoci_flask.oci import peculiarities

PACKAGE = Path(pyoci_flask.__file__).parent
ROWS = [
    [cell.strip() for cell in line.strip("| ").split("|")]
    for line in (peculiarities.__doc__ or "").splitlines()
    if line.startswith("| ") and "`" in line
]


def test_the_table_has_rows() -> None:
    assert len(ROWS) > 20
    assert {len(row) for row in ROWS} == {3}


@pytest.mark.parametrize("place", sorted({row[2] for row in ROWS}))
def test_each_place_that_the_table_names_exists(place: str) -> None:
    assert (PACKAGE / place.strip("`")).is_file()


def test_each_code_stands_for_one_meaning_at_one_registry() -> None:
    for table in (
        peculiarities.MISSING_REPOSITORY,
        peculiarities.MISSING_CONTENT,
        peculiarities.MISSING_PART,
        peculiarities.IMMUTABLE_TAG,
    ):
        assert len(peculiarities.codes(table)) == sum(len(codes) for codes in table.values())
        assert all(re.fullmatch(r"[A-Za-z_ ]+", code) for code in peculiarities.codes(table))
