"""What an upload may look like, and how it is held against the archive that comes with it."""

import bz2
import gzip
import hashlib
import io
import lzma
import re
import struct
import tarfile
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import requests

from pyoci_flask.registry import create_registry
from tests.conftest import AppServer
from tests.doubles import Recorder, wsgi_server
from tests.integration.index_client import IndexClient, address, upload_form
from tests.integration.oci_client import sha256
from tests.packages import make_sdist, make_wheel

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

JSON = "application/vnd.pypi.simple.v1+json"
PROBLEM = "application/problem+json"
UV_ACCEPT = "application/json;q=0.9, application/problem+json, text/plain;q=0.8"
WHEEL = "my_pkg-1.0-py3-none-any.whl"
SDIST = "my_pkg-1.0.tar.gz"
Part = tuple[str, tuple[str | None, bytes | str]]


@dataclass(frozen=True, slots=True)
class Lab:
    """An index over a registry that remembers what it was asked."""

    index: IndexClient
    calls: Recorder

    def send(self, parts: list[Part], **headers: str) -> requests.Response:
        """POST these parts in this order."""
        return self.index.request("POST", "/", files=parts, headers=headers)

    def upload(self, filename: str, content: bytes, *more: tuple[str, str]) -> requests.Response:
        """Upload `content` under `filename` as my-pkg 1.0."""
        return self.send(parts(filename, content, *more))

    @property
    def filenames(self) -> list[str]:
        return self.index.filenames("my-pkg")

    def refused(self, response: requests.Response, status: int = 400) -> str:
        """Assert the refusal, and that nothing was pushed; its text."""
        assert response.status_code == status, response.text
        assert self.calls.writes == []
        return response.text


def parts(filename: str, content: bytes, *more: tuple[str, str]) -> list[Part]:
    """The parts of an upload as twine orders them: the file comes last."""
    fields = upload_form("my-pkg", "1.0", filename, content, *more)
    found: list[Part] = [(name, (None, text)) for name, text in fields]
    return [*found, ("content", (filename, content))]


@pytest.fixture
def lab(app_server: AppServer, http: requests.Session, tmp_path: Path) -> Iterator[Lab]:
    calls = Recorder(create_registry(tmp_path / "registry"))
    with wsgi_server(calls) as url:
        yield Lab(IndexClient(f"{app_server()}/{address(url)}/team", None, http), calls)


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
    # What the form does not tell, the archive does.
    assert files[0]["requires-python"] == ">=3.8"


@pytest.mark.parametrize("field", ["name", "version", ":action"])
@pytest.mark.parametrize("value", ["", " ", None])
def test_an_empty_field_that_is_needed_is_missing(
    lab: Lab, wheel: bytes, field: str, value: str | None
) -> None:
    sent = [part for part in parts(WHEEL, wheel) if part[0] != field]
    if value is not None:
        sent.insert(0, (field, (None, value)))

    assert field in lab.refused(lab.send(sent))


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


def test_a_protocol_version_that_nobody_speaks_is_refused(lab: Lab, wheel: bytes) -> None:
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
def test_names_and_versions_that_do_not_agree_are_refused_and_told(
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


def _zip(members: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", compression) as opened:
        for name, content in members.items():
            opened.writestr(name, content)
    return archive.getvalue()


def _tar(members: dict[str, bytes]) -> bytes:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as opened:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            opened.addfile(entry, io.BytesIO(content))
    return archive.getvalue()


METADATA = b"Metadata-Version: 2.1\nName: my-pkg\nVersion: 1.0\n"
MEMBER = "my_pkg-1.0.dist-info/METADATA"
LIMIT = 4 << 20
SOUND = _zip({MEMBER: METADATA, "my_pkg/__init__.py": b"x = 1\n" * 1000})


def _lying(archive: bytes, size: int) -> bytes:
    """A zip whose directory gives another size for its last member."""
    changed = bytearray(archive)
    at = changed.rfind(b"PK\1\2")
    changed[at + 24 : at + 28] = struct.pack("<I", size)
    return bytes(changed)


def _broken_lzma() -> bytes:
    changed = bytearray(_zip({MEMBER: METADATA * 50}, zipfile.ZIP_LZMA))
    at = changed.find(MEMBER.encode()) + len(MEMBER)
    changed[at + 4] = 0xFF
    return bytes(changed)


BROKEN_WHEELS = {
    "no-zip": b"this is no archive",
    "tar": _tar({MEMBER: METADATA}),
    "without-metadata": _zip({"my_pkg/__init__.py": b""}),
    "metadata-too-deep": _zip({f"src/{MEMBER}": METADATA}),
    "two-metadata": _zip({MEMBER: METADATA, "other-1.0.dist-info/METADATA": METADATA}),
    "empty-metadata": _zip({MEMBER: b""}),
    "metadata-without-name": _zip({MEMBER: b"Metadata-Version: 2.1\nVersion: 1.0\n"}),
    "metadata-without-version": _zip({MEMBER: b"Metadata-Version: 2.1\nName: my-pkg\n"}),
    "two-names": _zip({MEMBER: METADATA + b"Name: other\n"}),
    "binary-metadata": _zip({MEMBER: bytes(range(256)) * 10}),
    "cut": SOUND[: len(SOUND) // 2],
    "without-its-end": SOUND[:-22],
    "without-its-start": SOUND[60:],
    "wrong-crc": SOUND.replace(SOUND[14:18], b"\0\0\0\0"),
    "said-to-be-small": _lying(_zip({MEMBER: METADATA * 1000}), 10),
    "said-to-be-huge": _lying(_zip({MEMBER: METADATA}), 1 << 31),
    "bomb": _zip({MEMBER: METADATA + b"\n" * (64 << 20)}),
    "bomb-that-lies": _lying(_zip({MEMBER: METADATA + b"\n" * (64 << 20)}), LIMIT - 1),
    "bzip2-bomb-that-lies": _lying(
        _zip({MEMBER: METADATA + b"\n" * (16 << 20)}, zipfile.ZIP_BZIP2), 100
    ),
    "broken-lzma": _broken_lzma(),
}


@pytest.mark.parametrize("content", BROKEN_WHEELS.values(), ids=BROKEN_WHEELS)
def test_a_wheel_that_is_broken_or_lacks_its_metadata_is_refused(lab: Lab, content: bytes) -> None:
    assert re.search("wheel|[Mm]etadata|METADATA", lab.refused(lab.upload(WHEEL, content)))


def _gzip_of_zeros(mebibytes: int) -> bytes:
    """A tar of one member of zeros that unpacks to about so many MiB, made of gzip members."""
    entry = tarfile.TarInfo("my_pkg-1.0/zeros")
    entry.size = mebibytes << 20
    zeros = gzip.compress(bytes(16 << 20), 9)
    return gzip.compress(entry.tobuf()) + zeros * (mebibytes // 16)


PKG_INFO = "my_pkg-1.0/PKG-INFO"
TAR = _tar({PKG_INFO: METADATA, "my_pkg-1.0/setup.py": b"x = 1\n" * 1000})
BROKEN_SDISTS = {
    "no-gzip": b"this is no archive",
    "zip": SOUND,
    "bare-tar": gzip.decompress(TAR),
    "gzip-of-text": gzip.compress(b"just text, " * 100),
    "cut": TAR[: len(TAR) // 2],
    "bzip2": bz2.compress(gzip.decompress(TAR)),
    "xz": lzma.compress(gzip.decompress(TAR)),
    "broken-header": gzip.compress(b"\xff" * 10_240),
    "huge-pkg-info": _tar({PKG_INFO: METADATA + b"\n" * (5 << 20)}),
    "empty-pkg-info": _tar({PKG_INFO: b""}),
    "binary-pkg-info": _tar({PKG_INFO: bytes(range(256)) * 10}),
    "bomb": _gzip_of_zeros(1088),
}


@pytest.mark.parametrize("content", BROKEN_SDISTS.values(), ids=BROKEN_SDISTS)
def test_an_sdist_that_is_broken_is_refused(lab: Lab, content: bytes) -> None:
    text = lab.refused(lab.upload(SDIST, content))

    assert re.search("sdist|PKG-INFO|metadata|gzipped tar archive", text)


def test_an_sdist_without_pkg_info_is_as_old_ones_are(lab: Lab) -> None:
    response = lab.upload(SDIST, _tar({"my_pkg-1.0/setup.py": b"x = 1\n"}))

    assert response.status_code == 200, response.text
    assert lab.filenames == [SDIST]


@pytest.mark.parametrize("prefix", ["", "./"])
def test_pkg_info_is_found_wherever_it_stands_in_the_archive(lab: Lab, prefix: str) -> None:
    members = {f"{prefix}my_pkg-1.0/file_{number}.py": b"x" * 3000 for number in range(300)}
    wrong = METADATA.replace(b"my-pkg", b"other")
    members[f"{prefix}my_pkg-1.0/my_pkg.egg-info/PKG-INFO"] = wrong
    members[f"{prefix}{PKG_INFO}"] = METADATA

    assert lab.upload(SDIST, _tar(members)).status_code == 200


def test_an_empty_file_is_refused(lab: Lab) -> None:
    assert WHEEL in lab.refused(lab.upload(WHEEL, b""))


@pytest.mark.parametrize("value", ["three", ">=3.8 or so", "<4; rm -rf"])
def test_a_requires_python_that_is_no_specifier_is_refused(
    lab: Lab, wheel: bytes, value: str
) -> None:
    assert value in lab.refused(lab.upload(WHEEL, wheel, ("requires_python", value)))


@pytest.fixture
def skipping(app_server: AppServer, http: requests.Session, tmp_path: Path) -> Iterator[Lab]:
    """Where a byte-identical upload is no error."""
    calls = Recorder(create_registry(tmp_path / "skipping"))
    with wsgi_server(calls) as url:
        root = app_server({"PYOCI_SKIP_IDENTICAL": "true"})
        yield Lab(IndexClient(f"{root}/{address(url)}/team", None, http), calls)


def test_an_identical_upload_is_a_conflict_by_default(lab: Lab, wheel: bytes) -> None:
    assert lab.upload(WHEEL, wheel).status_code == 200
    lab.calls.calls.clear()

    assert "already exists" in lab.refused(lab.upload(WHEEL, wheel), 409)


def test_an_identical_upload_is_accepted_and_nothing_pushed_where_that_is_set(
    skipping: Lab, wheel: bytes
) -> None:
    assert skipping.upload(WHEEL, wheel).status_code == 200
    skipping.calls.calls.clear()

    assert "already" in skipping.refused(skipping.upload(WHEEL, wheel), 200)
    assert skipping.filenames == [WHEEL]


def test_another_file_under_the_name_stays_a_conflict(
    skipping: Lab, wheel: bytes, tmp_path: Path
) -> None:
    assert skipping.upload(WHEEL, wheel).status_code == 200
    skipping.calls.calls.clear()
    (tmp_path / "other").mkdir()
    other = make_wheel(tmp_path / "other", "my_pkg", "1.0", summary="other").read_bytes()

    skipping.refused(skipping.upload(WHEEL, other), 409)
    assert skipping.index.get(f"/my-pkg/{WHEEL}").content == wheel


@dataclass(slots=True)
class Overtaking:
    """Lets `overtake` run once before the first manifest is put, as a faster writer would."""

    app: "WSGIApplication"
    overtake: list[Any] = field(default_factory=list)

    def __call__(self, environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] == "PUT" and "/manifests/" in environ["PATH_INFO"]:
            while self.overtake:
                self.overtake.pop()()
        return self.app(environ, start)


def test_an_identical_upload_that_is_overtaken_by_another_is_accepted(
    app_server: AppServer, http: requests.Session, tmp_path: Path, wheel: bytes
) -> None:
    """Clients send an upload again while the first one is still under way."""
    registry = create_registry(tmp_path / "registry")
    slow = Overtaking(registry)
    root = app_server({"PYOCI_SKIP_IDENTICAL": "true"})
    with wsgi_server(slow) as url, wsgi_server(registry) as direct, requests.Session() as session:
        first = Lab(IndexClient(f"{root}/{address(url)}/team", None, http), Recorder(slow))
        other = Lab(IndexClient(f"{root}/{address(direct)}/team", None, session), Recorder(slow))
        answers: list[int] = []
        slow.overtake.append(lambda: answers.append(other.upload(WHEEL, wheel).status_code))

        answers.append(first.upload(WHEEL, wheel).status_code)

    assert answers == [200, 200]


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
