"""What an upload may look like, and how it is compared with the archive in it."""

import hashlib
import io
import re
import tarfile
from pathlib import Path

import pytest

from tests.described import make_described_wheel
from tests.integration.index_client import links
from tests.integration.oci_client import sha256
from tests.integration.upload_lab import Lab, Part, parts
from tests.packages import make_sdist, make_wheel

JSON = "application/vnd.pypi.simple.v1+json"
PROBLEM = "application/problem+json"
UV_ACCEPT = "application/json;q=0.9, application/problem+json, text/plain;q=0.8"
WHEEL = "my_pkg-1.0-py3-none-any.whl"
SDIST = "my_pkg-1.0.tar.gz"


@pytest.fixture
def wheel(tmp_path: Path) -> bytes:
    return make_wheel(tmp_path, "my_pkg", "1.0", requires_python=">=3.8").read_bytes()


@pytest.mark.parametrize("position", ["first", "middle", "last"])
def test_the_order_of_the_fields_does_not_matter(lab: Lab, wheel: bytes, position: str) -> None:
    *fields, content = parts(WHEEL, wheel, ("md5_digest", hashlib.md5(wheel).hexdigest()))
    at = {"first": 0, "middle": len(fields) // 2, "last": len(fields)}[position]
    fields.insert(at, content)

    assert lab.send(fields).status_code == 200
    assert lab.filenames == [WHEEL]


@pytest.mark.parametrize("field", ["sha256_digest", "blake2_256_digest", "md5_digest"])
@pytest.mark.parametrize("content_first", [True, False])
def test_every_digest_is_checked_wherever_it_stands(
    lab: Lab, wheel: bytes, field: str, *, content_first: bool
) -> None:
    length = 32 if field == "md5_digest" else 64
    sent = parts(WHEEL, wheel, (field, "0" * length))
    if content_first:
        sent.insert(0, sent.pop())

    assert field in lab.refused(lab.send(sent))


def test_attestations_signatures_and_unknown_fields_pass_by(lab: Lab, wheel: bytes) -> None:
    before: list[Part] = [
        ("attestations", (None, '[{"version": 1}]')),
        ("gpg_signature", (f"{WHEEL}.asc", b"-----BEGIN PGP SIGNATURE-----")),
        ("something_new", (None, "x" * 100_000)),
        ("something_new", (None, b"\xff\xfe not text")),
    ]
    after: list[Part] = [("attestations", (None, "[]")), ("comment", (None, ""))]

    assert lab.send(before + parts(WHEEL, wheel) + after).status_code == 200
    assert lab.filenames == [WHEEL]


def test_empty_fields_count_as_absent(lab: Lab, wheel: bytes) -> None:
    empty = ("sha256_digest", "blake2_256_digest", "md5_digest", "requires_python", "filetype")
    more = [(name, "") for name in (*empty, "protocol_version", "home_page", "project_urls")]

    assert lab.upload(WHEEL, wheel, *more).status_code == 200
    files = lab.index.get("/my-pkg/", headers={"Accept": JSON}).json()["files"]
    # What the form does not say, the archive does.
    assert files[0]["requires-python"] == ">=3.8"


@pytest.mark.parametrize("field", ["name", ":action"])
@pytest.mark.parametrize("value", ["", " ", None])
def test_an_empty_field_that_is_needed_is_missing(
    lab: Lab, wheel: bytes, field: str, value: str | None
) -> None:
    sent = [part for part in parts(WHEEL, wheel) if part[0] != field]
    if value is not None:
        sent.insert(0, (field, (None, value)))

    assert field in lab.refused(lab.send(sent))


def test_the_filename_gives_the_version_if_the_form_does_not(lab: Lab, wheel: bytes) -> None:
    sent = [part for part in parts(WHEEL, wheel) if part[0] != "version"]

    assert lab.send(sent).status_code == 200
    assert lab.filenames == [WHEEL]


def test_the_archive_is_of_the_filenames_version_where_the_form_has_none(
    lab: Lab, wheel: bytes
) -> None:
    name = WHEEL.replace("1.0", "2.0")
    sent = [part for part in parts(name, wheel) if part[0] != "version"]

    assert "version '1.0', not '2.0'" in lab.refused(lab.send(sent))


def test_two_fields_and_a_file_are_an_upload(lab: Lab, wheel: bytes) -> None:
    sent: list[Part] = [
        (":action", (None, "file_upload")),
        ("name", (None, "my-pkg")),
        ("content", (WHEEL, wheel)),
    ]

    assert lab.send(sent).status_code == 200
    assert lab.filenames == [WHEEL]


@pytest.mark.parametrize(
    ("action", "status"),
    [
        ("submit", 410),
        ("submit_pkg_info", 410),
        ("doc_upload", 410),
        ("remove_pkg", 400),
        ("FILE_UPLOAD", 400),
    ],
)
def test_no_other_action_is_served(lab: Lab, wheel: bytes, action: str, status: int) -> None:
    text = lab.refused(lab.upload(WHEEL, wheel, (":action", action)), status)

    assert action in text


def test_an_unknown_protocol_version_is_refused(lab: Lab, wheel: bytes) -> None:
    assert "protocol_version" in lab.refused(lab.upload(WHEEL, wheel, ("protocol_version", "2")))


def test_a_filetype_that_is_not_the_files_is_refused(lab: Lab, wheel: bytes) -> None:
    assert "filetype" in lab.refused(lab.upload(WHEEL, wheel, ("filetype", "sdist")))


@pytest.mark.parametrize("twice", ["content"])
def test_two_files_in_one_form_are_refused(lab: Lab, wheel: bytes, twice: str) -> None:
    sent = [*parts(WHEEL, wheel), (twice, (WHEEL, wheel))]

    assert twice in lab.refused(lab.send(sent))


MISMATCHES = [
    # the form's name, the form's version, the filename, the archive's name and version
    pytest.param("other", "1.0", WHEEL, ("my_pkg", "1.0"), ("name", "other"), id="form-name"),
    pytest.param("my-pkg", "2.0", WHEEL, ("my_pkg", "1.0"), ("version", "2.0"), id="form-version"),
    pytest.param("my-pkg", "1.0", WHEEL, ("other", "1.0"), ("other", "my-pkg"), id="archive-name"),
    pytest.param(
        "my-pkg", "1.0", WHEEL, ("my_pkg", "2.0"), ("version", "2.0"), id="archive-version"
    ),
    pytest.param("my-pkg", "x", WHEEL, ("my_pkg", "1.0"), ("version", "x"), id="no-version"),
    pytest.param(
        "my-pkg",
        "2.0",
        WHEEL.replace("1.0", "2.0"),
        ("my_pkg", "1.0"),
        ("version", "1.0"),
        id="renamed-wheel",
    ),
]


@pytest.mark.parametrize("kind", ["wheel", "sdist"])
@pytest.mark.parametrize(("name", "version", "filename", "inside", "told"), MISMATCHES)
def test_names_and_versions_that_do_not_agree_are_refused_and_named(
    lab: Lab,
    tmp_path: Path,
    kind: str,
    name: str,
    version: str,
    filename: str,
    inside: tuple[str, str],
    told: tuple[str, ...],
) -> None:
    make = make_wheel if kind == "wheel" else make_sdist
    content = make(tmp_path, *inside).read_bytes()
    filename = (
        filename if kind == "wheel" else filename.removesuffix("-py3-none-any.whl") + ".tar.gz"
    )

    sent = parts(filename, content, ("name", name), ("version", version))
    text = lab.refused(lab.send(sent))

    for word in told:
        assert word in text


@pytest.mark.parametrize(
    ("name", "version", "filename", "inside"),
    [
        ("My.Pkg", "1.0", WHEEL, ("my_pkg", "1.0")),
        ("my_pkg", "1.0.0", WHEEL, ("MY-PKG", "1.0")),
        ("my-pkg", "1.0", WHEEL, ("my.pkg", "1.0.0")),
        ("my-pkg", "1.0+CPU", WHEEL.replace("1.0", "1.0+cpu"), ("my-pkg", "1.0+cpu")),
    ],
)
def test_spellings_of_the_same_name_and_version_agree(
    lab: Lab, tmp_path: Path, name: str, version: str, filename: str, inside: tuple[str, str]
) -> None:
    content = make_wheel(tmp_path, *inside).read_bytes()

    response = lab.send(parts(filename, content, ("name", name), ("version", version)))

    assert response.status_code == 200, response.text
    assert lab.filenames == [filename]


@pytest.mark.parametrize("value", ["three", ">=3.8 or so", "<4; rm -rf"])
def test_a_requires_python_that_is_no_specifier_is_refused(
    lab: Lab, wheel: bytes, value: str
) -> None:
    assert value in lab.refused(lab.upload(WHEEL, wheel, ("requires_python", value)))


REQUIREMENT = "my-pkg >dev (what?"


@pytest.mark.parametrize("version", ["3.0", "banana", "2", "0"])
def test_a_metadata_version_that_does_not_exist_is_refused(
    lab: Lab, wheel: bytes, tmp_path: Path, version: str
) -> None:
    inside = make_described_wheel(tmp_path, "my_pkg", "1.0", metadata_version=version).read_bytes()

    for response in (
        lab.upload(WHEEL, wheel, ("metadata_version", version)),
        lab.upload(WHEEL, inside),
    ):
        assert f"Metadata-Version is '{version}'" in lab.refused(response)


def test_an_archive_without_metadata_version_is_refused(lab: Lab, tmp_path: Path) -> None:
    wheel = make_described_wheel(tmp_path, "my_pkg", "1.0", metadata_version=None).read_bytes()

    assert "Metadata-Version is ''" in lab.refused(lab.upload(WHEEL, wheel))


@pytest.mark.parametrize(
    "version", ["1.0", "1.1", "1.2", "2.0", "2.1", "2.2", "2.3", "2.4", "2.5", "2.6"]
)
def test_every_metadata_version_is_published(lab: Lab, tmp_path: Path, version: str) -> None:
    wheel = make_described_wheel(tmp_path, "my_pkg", "1.0", metadata_version=version).read_bytes()

    assert lab.upload(WHEEL, wheel, ("metadata_version", version)).status_code == 200


@pytest.mark.parametrize("where", ["form", "archive"])
@pytest.mark.parametrize(
    "text",
    [REQUIREMENT, "a ==", "a; extra = 'b'", "a; " + "(" * 2000, "a" + ">=1," * 3000 + ">=1"],
    ids=["text", "without version", "one equals sign", "parentheses", "long"],
)
def test_a_requirement_that_cannot_be_parsed_is_refused(
    lab: Lab, wheel: bytes, tmp_path: Path, text: str, where: str
) -> None:
    if where == "form":
        response = lab.upload(WHEEL, wheel, ("requires_dist", "a>=1"), ("requires_dist", text))
    else:
        field = ("Requires-Dist", text)
        inside = make_described_wheel(tmp_path, "my_pkg", "1.0", field).read_bytes()
        response = lab.upload(WHEEL, inside)

    refused = lab.refused(response)
    assert "Requires-Dist" in refused
    assert text[:20] in refused


def test_a_requirement_in_the_form_of_an_sdist_without_metadata_is_checked(lab: Lab) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        archive.addfile(tarfile.TarInfo("my_pkg-1.0/setup.py"))

    response = lab.upload(SDIST, packed.getvalue(), ("requires_dist", REQUIREMENT))

    assert REQUIREMENT in lab.refused(response)


@pytest.mark.parametrize(
    "text",
    ["a", "a (>=1)", "a [b,c] >=1,<2; extra == 'x'", "a @ https://a.example/a.zip", "A.b"],
)
def test_a_requirement_that_installers_parse_is_published(
    lab: Lab, tmp_path: Path, text: str
) -> None:
    field = ("Requires-Dist", text)
    wheel = make_described_wheel(tmp_path, "my_pkg", "1.0", field).read_bytes()

    response = lab.upload(WHEEL, wheel, ("requires_dist", text), ("requires_dist", ""))

    assert response.status_code == 200, response.text


@pytest.mark.parametrize(
    "value",
    [
        ">=3.6.*",
        "!=3.0*",
        ">=2.7,!=3.0*,!=3.1*",
        ">=3.6.*,<4",
        ">=3.7,",
        "<3.10.*",
        ">=3 <4",
        ">='3.6'",
    ],
)
def test_a_requires_python_of_which_installers_only_warn_is_published_unchanged(
    lab: Lab, tmp_path: Path, value: str
) -> None:
    wheel = make_wheel(tmp_path, "my_pkg", "1.0", requires_python=value).read_bytes()
    sdist = make_sdist(tmp_path, "my_pkg", "1.0").read_bytes()

    assert lab.upload(WHEEL, wheel).status_code == 200
    assert lab.upload(SDIST, sdist, ("requires_python", value)).status_code == 200

    listed = lab.index.get("/my-pkg/", headers={"Accept": JSON}).json()["files"]
    page = lab.index.get("/my-pkg/").text
    assert [file["requires-python"] for file in listed] == [value, value]
    assert {link.attributes["data-requires-python"] for link in links(page)} == {value}
    assert lab.index.get("/my-pkg/json").json()["info"]["requires_python"] == value


@pytest.mark.parametrize("value", ["3.6", ">=", "=>3.6", ">=3.6;", "~> 3"])
def test_a_requires_python_that_no_installer_reads_is_refused(
    lab: Lab, tmp_path: Path, value: str
) -> None:
    wheel = make_wheel(tmp_path, "my_pkg", "1.0", requires_python=value).read_bytes()

    assert value in lab.refused(lab.upload(WHEEL, wheel))


def test_an_error_is_text_with_its_reason_in_the_status_line(lab: Lab) -> None:
    response = lab.upload(WHEEL, b"no wheel")

    assert response.status_code == 400
    assert response.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert f"{response.reason}\n" == response.text


@pytest.mark.parametrize(
    ("content", "status", "title"),
    [(b"no wheel", 400, "Bad Request"), (None, 409, "Conflict")],
)
def test_an_error_is_a_problem_for_clients_that_take_one(
    lab: Lab, wheel: bytes, content: bytes | None, status: int, title: str
) -> None:
    if content is None:
        assert lab.upload(WHEEL, wheel).status_code == 200

    response = lab.send(parts(WHEEL, content or wheel), Accept=UV_ACCEPT)

    assert response.status_code == status
    assert response.headers["Content-Type"] == PROBLEM
    problem = response.json()
    assert (problem["title"], problem["status"]) == (title, status)
    assert "wheel" in problem["detail"] or WHEEL in problem["detail"]


@pytest.mark.parametrize("accept", ["*/*", "text/plain", f"{PROBLEM};q=0, */*"])
def test_an_error_is_text_for_all_others(lab: Lab, accept: str) -> None:
    response = lab.send(parts(WHEEL, b"no wheel"), Accept=accept)

    assert response.headers["Content-Type"] == "text/plain; charset=utf-8"


def test_the_published_file_is_what_the_archive_says(lab: Lab, wheel: bytes) -> None:
    assert lab.upload(WHEEL, wheel).status_code == 200

    (file,) = lab.index.get("/my-pkg/", headers={"Accept": JSON}).json()["files"]
    assert file["hashes"] == {"sha256": sha256(wheel)}
    assert re.fullmatch("[0-9a-f]{64}", file["core-metadata"]["sha256"])


def test_answer_says_that_attestations_and_signatures_are_not_stored(
    lab: Lab, wheel: bytes, tmp_path: Path
) -> None:
    attested = parts(WHEEL, wheel)
    attested.insert(-1, ("attestations", (None, '[{"version": 1}]')))
    attested.append(("gpg_signature", (f"{WHEEL}.asc", b"-----BEGIN PGP SIGNATURE-----")))
    plain = parts(SDIST, make_sdist(tmp_path, "my_pkg", "1.0").read_bytes())

    answer, other = lab.send(attested), lab.send(plain)

    assert answer.status_code == 200
    assert answer.text == (
        f"published {WHEEL}; its attestations and its signature were not stored: this index does "
        "not keep them\n"
    )
    assert other.text == f"published {SDIST}\n"


@pytest.mark.parametrize("action", ["submit", "submit_pkg_info", "doc_upload"])
@pytest.mark.parametrize("multipart", [True, False])
def test_action_that_no_index_serves_any_more_is_gone(
    lab: Lab, action: str, *, multipart: bool
) -> None:
    fields = {":action": action, "name": "my-pkg", "version": "1.0", "metadata_version": "1.0"}
    form = {name: (None, text) for name, text in fields.items()}
    answer = (
        lab.index.request("POST", "/", files=form)
        if multipart
        else lab.index.request("POST", "/", data=fields)
    )
    text = lab.refused(answer, 410)
    assert text == f":action={action} is no longer supported; upload files with file_upload\n"


def test_upload_without_a_file_is_refused(lab: Lab) -> None:
    fields = {":action": "file_upload", "name": "my-pkg", "version": "1.0"}
    form = {name: (None, text) for name, text in fields.items()}
    assert "no file" in lab.refused(lab.index.request("POST", "/", files=form))
    assert "multipart" in lab.refused(lab.index.request("POST", "/", data=fields))


def test_wheel_named_by_an_older_tool_is_published_and_comes_back(lab: Lab, tmp_path: Path) -> None:
    """PEP 427 wrote `+` as `_`, in the filename and in the name of the metadata's folder."""
    wheel = make_wheel(tmp_path, "my_pkg", "0.1.1+git84k")
    name = "my_pkg-0.1.1_git84k-py3-none-any.whl"
    form = [("name", "my-pkg"), ("version", "0.1.1+git84k"), (":action", "file_upload")]
    answer = lab.send(
        [
            *((field, (None, text)) for field, text in form),
            ("content", (name, wheel.read_bytes())),
        ]
    )
    assert answer.status_code == 200, answer.text
    assert lab.filenames == [name]
    assert lab.index.get(f"/my-pkg/{name}").content == wheel.read_bytes()
    assert "Version: 0.1.1+git84k" in lab.index.get(f"/my-pkg/{name}.metadata").text
    assert lab.index.request("DELETE", f"/my-pkg/{name}").ok
    assert lab.filenames == []
