"""docs/registries.md names the same error codes as the program."""

from pathlib import Path

from pyoci_flask.oci.peculiarities import MISSING_CONTENT, MISSING_REPOSITORY

DOCUMENT = Path(__file__).parents[2] / "docs" / "registries.md"


def test_error_codes_are_those_of_the_documentation() -> None:
    rows = [
        "| registry | no such repository | no such manifest, tag or blob |",
        "| --- | --- | --- |",
    ]
    for registry in MISSING_REPOSITORY | MISSING_CONTENT:
        cells = [_cell(table.get(registry)) for table in (MISSING_REPOSITORY, MISSING_CONTENT)]
        rows.append(f"| {registry} |{cells[0]}|{cells[1]}|")
    assert "\n{}\n\n".format("\n".join(rows)) in DOCUMENT.read_text()


def _cell(codes: frozenset[str] | None) -> str:
    return f" {', '.join(f'`{code}`' for code in sorted(codes))} " if codes else " "
