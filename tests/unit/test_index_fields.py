import pytest
from packaging.metadata import parse_email

from pyoci_flask.index.fields import (
    FIELDS_LIMIT,
    MOST_FIELDS,
    TooManyFieldsError,
    description_below,
    parse_fields,
)

SOUND = """Metadata-Version: 2.4
Name: hello
version: 1.0
Summary: größer
Keywords: a, b,c
Author-email: Ann <ann@example.org>
Classifier: One
Classifier: Two
Project-URL: Home, https://example.org/
Project-URL: Docs,https://example.org/docs
Requires-Dist: a; extra == "b"
Provides-Extra: b
License-File: LICENSE
License: one
        two
Requires-Python: >=3.9
X-Unknown: x
"""


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_a_sound_file_is_read_as_packaging_reads_it(line_end: str) -> None:
    content = SOUND.replace("\n", line_end).encode()
    expected = parse_email(content)[0]
    expected.pop("description", None)

    assert parse_fields(content) == expected
    assert parse_fields(content + line_end.encode() + b"Name: below") == expected


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"Name: a\nName: b\nVersion: 1\n", {"version": "1"}),
        (b"Name: \xff\nVersion: 1\n", {"version": "1"}),
        (b" continued\nName: a\n", {"name": "a"}),
        (b"Name: a\nno field\nVersion: 1\n", {"name": "a"}),
        (b"", {}),
        (b"Project-URL: a, x\nProject-URL: a, y\n", {"project_urls": {"a": "x"}}),
    ],
)
def test_what_is_not_sound_is_left_out(content: bytes, expected: dict[str, object]) -> None:
    assert parse_fields(content) == expected


@pytest.mark.parametrize("separator", [b"\n\n", b"\r\n\r\n", b"\n\r\n"])
def test_the_description_stands_below_the_first_empty_line(separator: bytes) -> None:
    assert description_below(b"Name: a" + separator + b"Text\n\nmore") == "Text\n\nmore"
    assert description_below(b"Name: a\n") == ""


@pytest.mark.parametrize(
    ("content", "bound"),
    [
        (b"X-Unknown: y\n" * (MOST_FIELDS + 1), str(MOST_FIELDS)),
        (b"License: " + b"x" * FIELDS_LIMIT, str(FIELDS_LIMIT)),
        (b"X-Unknown: " + b"\n x" * FIELDS_LIMIT, str(FIELDS_LIMIT)),
    ],
)
def test_fields_over_a_bound_are_refused_with_the_bound(content: bytes, bound: str) -> None:
    with pytest.raises(TooManyFieldsError, match=bound):
        parse_fields(content)


def test_a_long_description_among_the_fields_is_read() -> None:
    content = b"Name: a\nDescription: " + b"x\n        " * 500_000

    assert len(parse_fields(content)["description"]) > 4_000_000


def test_unknown_which_setuptools_writes_for_an_empty_field_is_empty() -> None:
    content = (
        b"Metadata-Version: 1.0\nName: UNKNOWN\nVersion: 1.0\nSummary: UNKNOWN\n"
        b"Home-page: UNKNOWN\nPlatform: UNKNOWN\nPlatform: any\nLicense: UNKNOWN licence\n"
        b"Description: UNKNOWN\n\nUNKNOWN\n"
    )
    assert parse_fields(content) == {
        "metadata_version": "1.0",
        "name": "UNKNOWN",
        "version": "1.0",
        "platforms": ["any"],
        "license": "UNKNOWN licence",
    }
    assert description_below(content) == ""
    assert description_below(b"Name: a\n\nUNKNOWN things\n") == "UNKNOWN things\n"
