"""What the page of a project says about a version: its metadata, its dependencies."""

from collections.abc import Sequence
from datetime import UTC, datetime

import pytest
from packaging.utils import canonicalize_name

from pyoci_flask.index.details import Dependency, Person, all_links, parse_details
from pyoci_flask.index.names import Filename, ProjectName
from pyoci_flask.index.project import File, Project
from pyoci_flask.index.releases import Release, preferred, releases_of
from pyoci_flask.oci.model import Descriptor
from pyoci_flask.oci.reference import Digest

DIGEST = Digest.of(b"x")
HELLO = ProjectName("hello")


def metadata(*fields: str, body: str = "") -> bytes:
    head = ("Metadata-Version: 2.4", "Name: hello", "Version: 1.0", *fields)
    return ("\n".join(head) + f"\n\n{body}").encode()


def file(version: str, yanked: str | None = None, uploaded: datetime | None = None) -> File:
    return File(
        filename=Filename.parse(f"hello-{version}.tar.gz", HELLO),
        entry=Descriptor("x", DIGEST, 1),
        digest=None,
        size=None,
        uploaded=uploaded,
        requires_python=None,
        core_metadata=None,
        yanked=yanked,
        project_urls={},
    )


@pytest.mark.parametrize(
    ("versions", "yanked", "expected"),
    [
        (["2.0", "1.0"], [], "2.0"),
        (["2.0rc1", "1.0"], [], "1.0"),
        (["2.0.dev1", "2.0rc1"], [], "2.0.dev1"),
        (["2.0", "1.0"], ["2.0"], "1.0"),
        (["2.0", "1.0rc1"], ["2.0"], "1.0rc1"),
        (["2.0", "1.0"], ["2.0", "1.0"], "2.0"),
        ([], [], None),
    ],
)
def test_shown_first_is_the_newest_that_is_neither_yanked_nor_a_prerelease(
    versions: list[str], yanked: list[str], expected: str | None
) -> None:
    files = tuple(file(version, "" if version in yanked else None) for version in versions)
    project = Project(canonicalize_name("hello"), tuple(versions), files)

    shown = preferred(releases_of(project))

    assert (shown and shown.version) == expected


def test_version_without_listed_files_is_a_release_but_not_shown_first() -> None:
    project = Project(canonicalize_name("hello"), ("2.0", "1.0"), (file("1.0"),))

    releases = releases_of(project)

    assert [(one.version, len(one.files)) for one in releases] == [("2.0", 0), ("1.0", 1)]
    shown = preferred(releases)
    assert shown is not None
    assert shown.version == "1.0"


@pytest.mark.parametrize(
    ("reasons", "expected"),
    [([None], None), (["a", None], None), ([""], ""), (["a", "b", "a"], "a; b"), ([], None)],
)
def test_version_is_yanked_if_all_its_files_are(
    reasons: Sequence[str | None], expected: str | None
) -> None:
    release = Release("1.0", tuple(file("1.0", reason) for reason in reasons))
    assert release.yanked == expected


def test_version_was_uploaded_when_its_first_file_was() -> None:
    days = [datetime(2026, 11, day, tzinfo=UTC) for day in (3, 2)]
    release = Release("1.0", (file("1.0"), *(file("1.0", None, day) for day in days)))
    assert release.uploaded == days[1]


def test_fields_of_the_metadata_are_read() -> None:
    details = parse_details(
        metadata(
            "Summary: Says  hello",
            "Keywords: a,b",
            "Requires-Python: >=3.11",
            "License-Expression: MIT",
            "Home-page: https://home.example",
            "Project-URL: Source, https://git.example/x",
            "Project-URL: Evil, javascript:alert(1)",
            "Description-Content-Type: text/markdown",
            body="# Hello\n\nworld\n",
        )
    )

    assert details.summary == "Says hello"
    assert details.keywords == ("a", "b")
    assert details.requires_python == ">=3.11"
    assert details.licence == "MIT"
    assert details.urls == {"Homepage": "https://home.example", "Source": "https://git.example/x"}
    assert (details.description, details.description_type) == ("# Hello\n\nworld", "text/markdown")


def test_long_fields_are_cut_and_what_is_left_out_is_counted() -> None:
    many = range(1200)
    details = parse_details(
        metadata(
            f"Keywords: {','.join(f'k{n}' for n in many)}",
            *(f"Project-URL: l{n}, https://l.example/{n}" for n in many),
            *(f"Requires-Dist: r{n}" for n in many),
            *(f"Provides-Extra: x{n}" for n in many),
        )
    )

    assert (len(details.keywords), len(details.urls), len(details.dependencies)) == (50, 1000, 1000)
    assert details.left_out == {"keywords": 1150, "urls": 200, "dependencies": 200, "extras": 200}


def test_control_characters_are_left_out() -> None:
    details = parse_details(
        metadata(
            "Summary: a\x1b[2Jb\u202ec\u200dd\u3000e",
            "Project-URL: So\x07urce, https://git.example/\x08x",
            "Requires-Dist: six\x1b>1",
            "Author: A\x9bda",
        )
    )

    assert details.summary == "a[2Jbc\u200dd e"
    assert details.urls == {"Source": "https://git.example/x"}
    assert details.dependencies == (Dependency("six>1"),)
    assert details.authors == (Person("Ada"),)


def test_empty_metadata_has_empty_details() -> None:
    for content in (b"", b"\n\n", b"\xff\xfe\x00", metadata()):
        details = parse_details(content)
        assert details.summary == ""
        assert details.dependencies == ()


def test_description_of_old_metadata_stands_in_a_header_behind_a_margin() -> None:
    old = "Description: Title\n        =====\n        \n        text\n       |  code"
    assert parse_details(metadata(old)).description == "Title\n=====\n\ntext\n  code"


AUTHORS = """\
``docopt`` creates *beautiful* command-line interfaces
======================================================

Video introduction to **docopt**::

    New in version 0.6.1:

    | a | table |

- \u00e9t\u00e9
"""


@pytest.mark.parametrize("version", ["1.0", "1.1", "1.2", "2.0"])
@pytest.mark.parametrize("margin", [" " * 8, " " * 7 + "|"], ids=["spaces", "bar"])
@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["unix", "dos"])
@pytest.mark.parametrize("first", ["", "\n"], ids=["title-first", "blank-first"])
@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
@pytest.mark.parametrize("below", ["", "\n\n", "\nUNKNOWN\n"])
def test_description_that_distutils_wrote_is_shown_as_its_author_wrote_it(
    version: str, margin: str, end: str, first: str, encoding: str, below: str
) -> None:
    """distutils.util.rfc822_escape, and PEP 345 for the bar."""
    folded = f"\n{margin}".join((first + AUTHORS).split("\n"))
    head = f"Metadata-Version: {version}\nName: docopt\nVersion: 0.6.2\n"
    text = f"{head}Description: {folded}\nKeywords: a b\nPlatform: UNKNOWN\n{below}"
    shown = parse_details(text.replace("\n", end).encode(encoding)).description
    assert shown == AUTHORS.strip()


def test_description_below_a_licence_of_several_lines_is_found() -> None:
    """distutils wrote the licence as it came."""
    text = (
        "Metadata-Version: 1.1\nName: a\nVersion: 1\nLicense: Copyright (c)\nAll rights reserved"
        "\n\nNo warranty\nDescription: Title\n        =====\n        text\nPlatform: any\n"
    )
    assert parse_details(text.encode()).description == "Title\n=====\ntext"


@pytest.mark.parametrize("version", ["1.0", "1.1", "1.2", "2.0", "2.1"])
def test_description_that_is_unknown_is_empty(version: str) -> None:
    head = f"Metadata-Version: {version}\nName: a\nVersion: 1\n"
    for rest in ("Description: UNKNOWN\n", "Description: UNKNOWN\r\n\n", "\nUNKNOWN\n\n"):
        assert parse_details((head + rest).encode()).description == ""


def test_body_is_never_taken_for_a_mail_with_parts() -> None:
    nested = 'Content-Type: multipart/mixed; boundary="x"\n\n--x\n' * 3000
    content = metadata('Content-Type: multipart/mixed; boundary="x"', body=nested)
    assert parse_details(content).description.startswith("Content-Type: multipart")


@pytest.mark.parametrize(
    ("fields", "persons"),
    [
        (["Author: Ada"], (Person("Ada"),)),
        (["Author-email: ada@example.com"], (Person("ada@example.com", "ada@example.com"),)),
        (["Author: Ada", "Author-email: ada@example.com"], (Person("Ada", "ada@example.com"),)),
        (["Author-email: Ada <ada@example.com>"], (Person("Ada", "ada@example.com"),)),
        (
            ["Author: Ada", "Author-email: Ada <ada@example.com>"],
            (Person("Ada", "ada@example.com"),),
        ),
        (
            ["Author: Ada", "Author-email: Bob <bob@example.com>, Cy <cy@example.com>"],
            (Person("Ada"), Person("Bob", "bob@example.com"), Person("Cy", "cy@example.com")),
        ),
        (["Author-email: Eve <eve?bcc=all@example.com>"], (Person("Eve"),)),
        ([], ()),
    ],
)
def test_authors_have_a_name_and_maybe_an_address(
    fields: list[str], persons: tuple[Person, ...]
) -> None:
    assert parse_details(metadata(*fields)).authors == persons


@pytest.mark.parametrize(
    ("fields", "licence"),
    [
        (["License: MIT", "License-Expression: Apache-2.0"], "Apache-2.0"),
        (["License: MIT License\n        \n        Permission is granted"], "MIT License"),
        (["Classifier: License :: OSI Approved :: MIT License"], "MIT License"),
        (["Classifier: Programming Language :: Python"], ""),
    ],
)
def test_licence_is_one_line(fields: list[str], licence: str) -> None:
    assert parse_details(metadata(*fields)).licence == licence


MIT = "Permission is hereby granted, free of charge, to any person obtaining a copy"


@pytest.mark.parametrize("margin", ["        ", "       |"])
@pytest.mark.parametrize(
    ("lines", "fields", "name"),
    [
        (["Copyright (c) 2020 Ada", "", "MIT License", MIT], [], "MIT License"),
        (["(c) Ada", "\u00a9 Bob", "Zlib"], [], "Zlib"),
        (["Copyright 2020 Ada", "copyright Bob"], [], "Licence text"),
        (
            ["Copyright 2020", MIT],
            ["Classifier: License :: OSI Approved :: MIT License"] * 2,
            "MIT License",
        ),
        (["Copyright 2020", MIT], ["License-Expression: MIT"], "MIT"),
        ([MIT, MIT], [], MIT),
    ],
)
def test_licence_text_has_a_name(
    lines: list[str], fields: list[str], name: str, margin: str
) -> None:
    details = parse_details(metadata("License: " + f"\n{margin}".join(lines), *fields))

    assert (details.licence, details.licence_text) == (name, "\n".join(lines))


def test_one_line_that_is_too_long_for_a_name_is_a_text() -> None:
    details = parse_details(metadata(f"License: {MIT * 3}"))

    assert details.licence == f"{(MIT * 3)[:150]}..."
    assert details.licence_text == MIT * 3


def test_long_licence_text_is_cut_and_has_no_control_characters() -> None:
    lines = "\n        ".join(["BSD\x1b[2J", *(f"\u202eline {number}" for number in range(20_000))])
    details = parse_details(metadata(f"License: {lines}"))

    assert details.licence == "BSD[2J"
    assert details.licence_text.startswith("BSD[2J\nline 0\nline 1\n")
    assert details.licence_text.endswith("\n...")
    assert len(details.licence_text) < 20_010


def test_url_with_several_labels_is_one_link() -> None:
    details = parse_details(
        metadata(
            "Home-page: https://a.example/",
            "Download-URL: https://a.example/files",
            "Project-URL: home-page, https://a.example",
            "Project-URL: Source, https://a.example",
            "Project-URL: Docs, https://docs.example",
        )
    )

    assert all_links(details, []) == (
        [
            ("Homepage, Source", "https://a.example/"),
            ("Download", "https://a.example/files"),
            ("Docs", "https://docs.example"),
        ],
        0,
    )


@pytest.mark.parametrize(
    ("requirement", "always", "extras"),
    [
        ("a>=1,<2", [("a<2,>=1", "")], {}),
        ('a; python_version < "3.12"', [("a", 'python_version < "3.12"')], {}),
        ('a; extra == "x"', [], {"x": [("a", "")]}),
        ('a; os_name == "nt" and extra == "x"', [], {"x": [("a", 'os_name == "nt"')]}),
        ('a; extra == "x" and os_name == "nt"', [], {"x": [("a", 'os_name == "nt"')]}),
        (
            'a; (os_name == "nt" or os_name == "posix") and extra == "x"',
            [],
            {"x": [("a", 'os_name == "nt" or os_name == "posix"')]},
        ),
        (
            'a; extra == "x" or extra == "y"',
            [],
            {one: [("a", 'extra == "x" or extra == "y"')] for one in ("x", "y")},
        ),
        (
            'a; os_name == "nt" or extra == "x"',
            [],
            {"x": [("a", 'os_name == "nt" or extra == "x"')]},
        ),
        ("a @ https://x.example/a.whl", [("a @ https://x.example/a.whl", "")], {}),
        ("no (requirement", [("no (requirement", "")], {}),
        ("a; " + "(" * 400, [("a; " + "(" * 400, "")], {}),
        ("a" * 600, [("a" * 500 + "...", "")], {}),
    ],
)
def test_dependencies_are_sorted_by_the_extra_that_needs_them(
    requirement: str,
    always: list[tuple[str, str]],
    extras: dict[str, list[tuple[str, str]]],
) -> None:
    details = parse_details(metadata(f"Requires-Dist: {requirement}"))

    assert details.dependencies == tuple(Dependency(*one) for one in always)
    assert details.extras == {
        name: tuple(Dependency(*one) for one in found) for name, found in extras.items()
    }


def test_extra_without_dependencies_is_listed() -> None:
    assert parse_details(metadata("Provides-Extra: none")).extras == {"none": ()}


def test_fields_that_are_too_long_or_too_many_are_cut() -> None:
    details = parse_details(
        metadata(
            f"Summary: {'x' * 10_000}",
            *(f"Requires-Dist: p{number}" for number in range(1100)),
            *(f"Provides-Extra: e{number}" for number in range(1100)),
            *(f"Project-URL: l{number}, https://x.example" for number in range(1100)),
        )
    )

    assert len(details.summary) == 503
    assert [len(details.dependencies), len(details.extras), len(details.urls)] == [1000] * 3
