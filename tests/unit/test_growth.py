"""The processor time of every parser grows no faster than its input, hostile input included.

One row of the table is one family of inputs for one parser: `parse` takes what `make(n)` returns,
of about n bytes. A new parser is one more row.
"""

import gc
import gzip
import io
import json
import struct
import tarfile
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterable
from contextlib import suppress
from itertools import islice, product
from pathlib import Path
from string import ascii_lowercase
from typing import Any

import pytest
from packaging.version import InvalidVersion
from werkzeug.exceptions import HTTPException
from werkzeug.test import EnvironBuilder
from werkzeug.wrappers import Request

from pyoci_flask.app import create_app
from pyoci_flask.cli.copy.errors import CopyError
from pyoci_flask.cli.copy.pages import parse_list, parse_project
from pyoci_flask.errors import PyOCIError
from pyoci_flask.index import listing
from pyoci_flask.index.archive import check_archive, read_metadata
from pyoci_flask.index.details import parse_details
from pyoci_flask.index.fields import check_requirements, description_below, parse_fields
from pyoci_flask.index.names import Filename, ProjectName
from pyoci_flask.index.project import files_of
from pyoci_flask.oci.model import ImageIndex, ImageManifest
from pyoci_flask.oci.reference import Digest, Registry, Repository, Tag
from pyoci_flask.oci.tags import next_page
from pyoci_flask.registry.documents import parse_manifest
from pyoci_flask.registry.errors import DistributionError
from pyoci_flask.registry.names import parse_name
from pyoci_flask.settings import Settings
from pyoci_flask.transport.challenge import parse_challenges
from pyoci_flask.web.api.body import RequestBody
from pyoci_flask.web.api.form import read_form
from pyoci_flask.web.api.simple import negotiate
from pyoci_flask.web.api.upload import read_upload
from pyoci_flask.web.incoming import read_credentials
from pyoci_flask.web.paths import AddressParser
from pyoci_flask.web.people.description_process import safe_html
from pyoci_flask.web.people.description_sources import Source
from tests.unit.index_doubles import PROJECT

REPEATS = 2
ROUNDS = 3
GROWTH = 4
MOST = 8.0
"""Times the processor time that an input of `GROWTH` times the size may take; linear is 4."""
NEGLIGIBLE = 0.01
"""Seconds; what the larger input costs less than is not compared, as it is within the noise."""

WHEEL = Filename.parse("hello-1.0-py3-none-any.whl", PROJECT)
SDIST = Filename.parse("hello-1.0.tar.gz", PROJECT)
ADDRESSES = AddressParser(Settings.from_env({}))
DIGEST = "sha256:" + "0" * 64
ERRORS = (PyOCIError, CopyError, DistributionError, HTTPException, InvalidVersion)

Parse = Callable[[Any], object]
Make = Callable[[int], Any]


def _repeated(unit: str, before: str = "", after: str = "") -> Callable[[int], str]:
    return lambda n: before + unit * (n // len(unit)) + after


def _numbered(unit: str, before: str = "", after: str = "") -> Callable[[int], str]:
    return lambda n: before + "".join(unit.format(i) for i in range(n // (len(unit) + 3))) + after


def _fields(make: Callable[[int], str]) -> Callable[[int], bytes]:
    return lambda n: b"Metadata-Version: 2.1\nName: hello\nVersion: 1.0\n" + make(n).encode()


# --- archives ------------------------------------------------------------------------------------


def _directory(entries: Iterable[bytes], *, comment: bytes = b"", extra: bytes = b"") -> bytes:
    entry = struct.Struct("<4s4x2H4x3L3H8xL")
    listed = b"".join(
        entry.pack(b"PK\1\2", 0, 0, 0, 0, 0, len(name), len(extra), 0, 0) + name + extra
        for name in entries
    )
    end = struct.pack("<4s8x2LH", b"PK\5\6", len(listed), 0, len(comment))
    return listed + end + comment


def _tar(*headers: bytes) -> bytes:
    return gzip.compress(b"".join(headers), 1)


def _header(name: str, size: int = 0, kind: bytes = tarfile.REGTYPE) -> bytes:
    entry = tarfile.TarInfo(name)
    entry.size, entry.type = size, kind
    return entry.tobuf(tarfile.GNU_FORMAT)


def _extended(content: bytes, kind: bytes) -> bytes:
    padded = content + bytes(-len(content) % 512)
    return _header("x", len(content), kind) + padded


def _sdist(content: bytes) -> object:
    return read_metadata(io.BytesIO(content), SDIST)


def _wheel(content: bytes) -> object:
    return read_metadata(io.BytesIO(content), WHEEL)


def _sparse(blocks: int) -> list[bytes]:
    header = bytearray(_header("x", 0, tarfile.GNUTYPE_SPARSE))
    header[482] = 1
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    block = bytes(504) + b"\1" + bytes(7)
    return [bytes(header), *[block] * blocks]


def _bomb(size: int) -> bytes:
    """Zeros that unpack to a hundred times `size` bytes."""
    packer = zlib.compressobj(1, wbits=31)
    parts = [packer.compress(_header("x", 100 * size))]
    parts += [packer.compress(bytes(size)) for _ in range(100)]
    return b"".join((*parts, packer.flush()))


WHEELS: dict[str, Make] = {
    "many members": lambda n: _directory([b"x"] * (n // 47)),
    "many METADATA": lambda n: _directory([b"x.dist-info/METADATA"] * (n // 66)),
    "many extra fields": lambda n: _directory(
        [b"x.dist-info/METADATA"] * (n // 20_066), extra=b"\2\0\0\0" * 5000
    ),
    "many ends": lambda n: b"PK\5\6" * (n // 4),
}


def _whole_wheel(content: bytes) -> object:
    return check_archive(io.BytesIO(content), WHEEL, PROJECT)


def _zip(members: int, content: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(members):
            archive.writestr(str(number), content)
    return packed.getvalue()


def _one_member_again_and_again(n: int) -> bytes:
    archive = _zip(1, bytes(n))
    start = archive.find(b"PK\1\2")
    directory = archive[start:-22] * (n // 47)
    end = struct.pack("<4s8x2LH", b"PK\5\6", len(directory), start, 0)
    return archive[:start] + directory + end


WHOLE_WHEELS: dict[str, Make] = {
    "many empty members": lambda n: _zip(n // 100, b""),
    "many small members": lambda n: _zip(n // 120, b"x" * 100),
    "a bomb": lambda n: _zip(1, bytes(100 * n)),
    "many bombs": lambda n: _zip(n // 5000, bytes(500_000)),
    "one member again and again": _one_member_again_and_again,
    **WHEELS,
}
SDISTS: dict[str, Make] = {
    "many members": lambda n: _tar(_header("x") * (n // 512)),
    "many members with content": lambda n: _tar((_header("x", 1) + bytes(512)) * (n // 1024)),
    "a long name": lambda n: _tar(_extended(b"x" * n, tarfile.GNUTYPE_LONGNAME)),
    "many long names": lambda n: _tar(_extended(b"x", tarfile.GNUTYPE_LONGNAME) * (n // 1024)),
    "many pax records": lambda n: _tar(_extended(b"6 a=b\n" * (n // 6), b"x")),
    "many sparse blocks": lambda n: _tar(*_sparse(n // 512)),
    "many gzip streams": lambda n: gzip.compress(b"") * (n // 20),
    "zeros between gzip streams": lambda n: (
        gzip.compress(b"") + bytes(n) + gzip.compress(_header("x"))
    ),
    "a bomb": _bomb,
}

# --- core metadata -------------------------------------------------------------------------------


def _cases(size: int) -> str:
    """One name in many mixtures of upper and lower case, with values that are not ASCII."""
    names = islice(product(*(letter + letter.upper() for letter in ascii_lowercase)), size // 30)
    return "".join(f"{''.join(name)}:ä\n" for name in names)


FIELDS: dict[str, Callable[[int], str]] = {
    "one name in different cases": _cases,
    "different names": _numbered("X-{}: y\n"),
    "one unknown name": _repeated("X: y\n"),
    "one known name": _repeated("Classifier: y\n"),
    "empty values": _repeated("A:\n"),
    "one long value": _repeated("x", "Summary: "),
    "continuation lines": _repeated(" x\n", "Summary: x\n"),
    "continuation lines of nothing": _repeated(" \n"),
    "one long line without a colon": _repeated("x"),
    "lines without a colon": _repeated("x\n"),
    "encoded words": _repeated("=?a?q? ", "Summary: "),
    "encoded words, not ASCII": _repeated("=?utf-8?q?a?= ", "Summary: ä"),
    "carriage returns": _repeated("\r", "Summary: "),
    "carriage returns and lines": _repeated("\r\n ", "Summary: "),
    "a long description": _repeated("x" * 70 + "\n        ", "Description: "),
    "blank lines below": _repeated("\n"),
    "nested comments": _repeated("(", "Author-email: "),
    "nested comments that end": lambda n: f"Author-email: {'(' * (n // 2)}{')' * (n // 2)}",
    "addresses": _repeated("a@b,", "Author-email: "),
    "quotes": _repeated('"', "Author-email: "),
    "angle brackets": _repeated("<", "Author-email: "),
    "backslashes": _repeated("\\", "Author-email: "),
    "keywords": _repeated("a,", "Keywords: "),
    "empty keywords": _repeated(",", "Keywords: "),
    "project URLs": _numbered("Project-URL: l{}, https://x/\n"),
    "one project URL again and again": _repeated("Project-URL: a, https://x/\n"),
    "extras": _numbered("Provides-Extra: e{}\n"),
    "licence classifiers": _repeated("Classifier: License :: a\n"),
    "licence lines of a text": _repeated("\n        Copyright", "License: "),
    "licence lines": _repeated("\n x", "License: "),
    "requirements": _numbered("Requires-Dist: a{}; extra == 'b'\n"),
    "requirements of many extras": _repeated(
        "Requires-Dist: a; " + " or ".join(f"extra == 'e{i}'" for i in range(25)) + "\n"
    ),
    "requirements with parentheses": _repeated("Requires-Dist: a; " + "(" * 480 + "\n"),
    "requirements with nested markers": _repeated(
        "Requires-Dist: a; " + "(" * 200 + "os_name == 'a'" + ")" * 200 + "\n"
    ),
    "one long requirement": _repeated("(", "Requires-Dist: a; "),
    "requirements of many specifiers": _repeated("Requires-Dist: a" + ">=1," * 100 + "\n"),
    "requirements of long versions": _repeated("Requires-Dist: a==" + "1" * 450 + "\n"),
    "a content type of many parameters": _repeated(";a=b", "Description-Content-Type: text/plain"),
}

# --- forms ---------------------------------------------------------------------------------------

_FILE = '--B\r\nContent-Disposition: form-data; name="content"; filename="a-1.tar.gz"\r\n\r\nx\r\n'
_PART = '--B\r\nContent-Disposition: form-data; name="{}"\r\n\r\n'


def _form(content: str | bytes) -> object:
    body = content if isinstance(content, bytes) else content.encode()
    environ: Any = {"wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(len(body))}
    kind = "multipart/form-data; boundary=B"
    folder = Path(tempfile.gettempdir())
    with read_form(RequestBody(environ, 1 << 30), kind, folder) as form:
        return read_upload(form)


def _upload(**fields: Callable[[int], str]) -> Make:
    def make(n: int) -> str:
        known = {":action": "file_upload", "name": "hello", "version": "1.0"}
        texts = {**known, **{name: value(n) for name, value in fields.items()}}
        parts = [_PART.format(name) + text + "\r\n" for name, text in texts.items()]
        return "".join(parts) + _FILE.replace("a-1.tar.gz", SDIST.text) + "--B--\r\n"

    return make


FORMS: dict[str, Make] = {
    "many parts": _repeated(_PART.format("x") + "\r\n", after=_FILE + "--B--\r\n"),
    "many known parts": _repeated(_PART.format("classifiers") + "\r\n", after=_FILE + "--B--\r\n"),
    "delimiters without headers": _repeated("--B\r\n"),
    "many header lines": _repeated("a: b\r\n", "--B\r\n"),
    "a long header line": _repeated("a", "--B\r\na: "),
    "header parameters": _repeated("; a=b", "--B\r\nContent-Disposition: form-data"),
    "what looks like a boundary": _repeated("\r\n--", _FILE[:-3]),
    "the beginning of a boundary": _repeated("\r\n--C", _FILE[:-3]),
    "dashes": _repeated("-", _FILE[:-3]),
    "line ends": _repeated("\r\n", _FILE[:-3]),
    "line ends in front": _repeated("\r\n"),
    "an epilogue": _repeated("--B", _FILE + "--B--\r\n"),
    ":action": _upload(**{":action": _repeated("=a:")}),
    "name": _upload(name=_repeated("a-")),
    "version of digits": _upload(version=_repeated("1")),
    "version of numbers": _upload(version=_repeated("1.", after="x")),
    "version of local labels": _upload(version=_repeated("a.", "1+", "-")),
    "requires_python": _upload(requires_python=_repeated(">=1,", after=">=1")),
    "requires_python of digits": _upload(requires_python=_repeated("1", ">=")),
    "requires_python of spaces": _upload(requires_python=_repeated(" ", ">=1", "x")),
    "requires_dist": _upload(requires_dist=_repeated(">=1,", "a")),
    "requires_dist of parentheses": _upload(requires_dist=_repeated("(", "a; ")),
    "labels": _upload(classifiers=_repeated(" :: ", "PyOCI :: Label :: ")),
    "labels of lines": _upload(classifiers=_repeated("\n", "PyOCI :: Label :: ")),
    "project_urls": _upload(project_urls=_repeated(", ")),
    "digests": _upload(sha256_digest=_repeated("a")),
}

REQUIREMENTS: dict[str, Make] = {
    "one of many specifiers": _repeated(">=1,", "a", ">=1"),
    "many of many specifiers": _repeated("a" + ">=1," * 2000 + ">=1\n"),
    "extras": _repeated("b,", "a[", "b]"),
    "markers": _repeated("os_name == 'a' and ", "a; ", "os_name == 'a'"),
    "parentheses": _repeated("(", "a; "),
}


def _requirements(texts: str) -> None:
    # Each is another one: the same text would be parsed once.
    check_requirements(f"a{i}{text}" for i, text in enumerate(texts.splitlines()))


# --- requests ------------------------------------------------------------------------------------


def _path(path: str) -> None:
    for read in (ADDRESSES.read, ADDRESSES.change, ADDRESSES.publish):
        with suppress(PyOCIError):
            read(path, path)


PATHS: dict[str, Make] = {
    "slashes": _repeated("/"),
    "segments": _repeated("/a"),
    "dots": _repeated("/.."),
    "a registry and segments": _repeated("a/", "/reg.example/"),
    "a registry's URL": _repeated("/", "/http:"),
    "a registry's URL with colons": _repeated(":", "/http://"),
    "labels of a host": _repeated("a.", "/"),
    "dashes in a host": _repeated("-", "/a", ".example/x/"),
    "an IPv6 address": _repeated(":", "/["),
    "a repository's dashes": _repeated("-", "/reg.example/a", "/b/"),
    "a repository's underscores": _repeated("_", "/reg.example/a", "/b/"),
    "a repository's dots": _repeated("a.", "/reg.example/", "/b/"),
    "a filename's dashes": _repeated("-", "/reg.example/a/b/b", ".tar.gz"),
    "a version's digits": _repeated("1", "/reg.example/a/b/"),
    "percent signs": _repeated("%2F", "/http:%2F%2F"),
    "markers of the simple API": _repeated("+simple/", "/reg.example/"),
    "metadata": _repeated(".metadata", "/reg.example/a/b/b-1.tar.gz"),
}


def _headers(*names: str) -> Parse:
    app = create_app(Settings.from_env({}))

    def parse(value: str) -> None:
        headers = [(name, value) for name in names]
        with app.test_request_context("/", headers=headers) as context:
            request = context.request
            with suppress(HTTPException):
                _ = request.if_none_match.contains_weak("a"), request.if_match.contains("a")
                _ = request.range, request.if_range, request.content_length, request.args
            negotiate()

    return parse


HEADERS: dict[str, Make] = {
    "types": _numbered("a/{},"),
    "one type again and again": _repeated("a/b,"),
    "parameters": _repeated(";q=0", "text/html"),
    "ranges of types": _repeated("*/*;q=0.1,"),
    "tags": _numbered('"{}", '),
    "weak tags": _repeated('W/"a",'),
    "quotes": _repeated('"'),
    "backslashes": _repeated("\\", '"'),
    "commas": _repeated(","),
    "spaces": _repeated(" ", "a", "b"),
    "ranges of bytes": _repeated("1-2,", "bytes="),
    "digits": _repeated("1", "bytes="),
}


def _query(text: str) -> object:
    return Request(EnvironBuilder(query_string=text).get_environ()).args.get("format")


def _sorted_tags(tags: list[str]) -> None:
    listing._key.cache_clear()  # else only the smaller of two inputs fits into it
    listing.newest_first(tags)


def _credentials(text: str) -> object:
    return read_credentials(text, None)


# --- registries ----------------------------------------------------------------------------------

CHALLENGES: dict[str, Make] = {
    "schemes": _repeated("a,"),
    "schemes and spaces": _repeated("a "),
    "parameters": _repeated("a=b,", "Bearer "),
    "spaces before a parameter": _repeated(" ", "Bearer ", "a"),
    "spaces after a word": _repeated("a ", "Bearer a="),
    "commas": _repeated(","),
    "an open quote": _repeated("a", 'Bearer a="'),
    "backslashes": _repeated("\\", 'Bearer a="'),
    "quotes": _repeated('"', "Bearer a="),
    "escaped quotes": _repeated('\\"', 'Bearer a="', '"'),
    "one word": _repeated("a"),
    "equals signs": _repeated("=", "Negotiate a"),
    "tokens": _repeated("Negotiate a=="),
    "open parameters": _repeated('a="b ', "Bearer "),
}
LINKS: dict[str, Make] = {
    "angle brackets": _repeated("<"),
    "pairs of angle brackets": _repeated("<>"),
    "parameters": _repeated(";a=b", "<x>"),
    "semicolons": _repeated(";", "<x>"),
    "semicolons and spaces": _repeated("; ", "<x>"),
    "spaces": _repeated(" ", "<x>;", "a"),
    "spaces and equals signs": _repeated(" =", "<x>;a"),
    "an open quote": _repeated('a="', "<x>;"),
    "quotes": _repeated('a="";', "<x>;"),
    "links": _repeated("<x>;rel=prev,"),
    "links of many parameters": _repeated("<x>" + ";a=b" * 50 + ";"),
    "relations": _repeated(";rel=", "<x>"),
    "relations and spaces": _repeated("; rel ", "<x>"),
    "a name that does not end": _repeated("a", "<x>;"),
    "a value that does not end": _repeated("a", "<x>;a="),
}

_ENTRY = {
    "mediaType": "application/vnd.oci.image.manifest.v1+json",
    "digest": DIGEST,
    "size": 1,
    "platform": {"architecture": "py3-none-any.whl", "os": "any"},
}


def _index(**members: object) -> bytes:
    return json.dumps({"schemaVersion": 2, "manifests": [], **members}).encode()


def _entries(make: Callable[[int], dict[str, Any]]) -> Make:
    return lambda n: _index(manifests=[make(i) for i in range(n // 300)])


DOCUMENTS: dict[str, Make] = {
    "lists in lists": lambda n: b'{"a":' + b"[" * n,
    "nested members": lambda n: _index(a=json.loads("[" * 90 + "]" * 90), b="x" * n),
    "many members": lambda n: _index(**{f"m{i}": [[]] for i in range(n // 12)}),
    "digits": lambda n: b'{"schemaVersion":' + b"1" * n + b"}",
    "escapes": lambda n: b'{"schemaVersion": "' + b"\\u0041" * (n // 6) + b'"}',
    "backslashes": lambda n: b'{"a": "' + b"\\" * n,
    "spaces": lambda n: b" " * n,
    "a long artifactType": lambda n: _index(artifactType="a" * n),
    "annotations": lambda n: _index(annotations={f"a{i}": "b" for i in range(n // 12)}),
    "entries": _entries(lambda _: _ENTRY),
    "entries without a platform": _entries(lambda _: {**_ENTRY, "platform": None}),
    "entries of long architectures": _entries(
        lambda i: {**_ENTRY, "platform": {"architecture": f"{'a-' * 60}{i}.whl", "os": "x"}}
    ),
    "entries of long titles": _entries(
        lambda i: {
            **_ENTRY,
            "annotations": {"org.opencontainers.image.title": f"{'h-' * 100}{i}.whl"},
        }
    ),
    "entries of odd times": _entries(
        lambda i: {
            **_ENTRY,
            "annotations": {"org.opencontainers.image.created": "1" * 100 + str(i)},
        }
    ),
    "a time of digits": lambda n: _index(
        manifests=[{**_ENTRY, "annotations": {"org.opencontainers.image.created": "1" * n}}]
    ),
    "a size of digits": lambda n: _index(
        manifests=[{**_ENTRY, "annotations": {"com.pyoci.size": "1" * n}}]
    ),
    "project URLs": lambda n: _index(
        manifests=[{**_ENTRY, "annotations": {"com.pyoci.project_urls": "[" * n}}]
    ),
}


def _document(document: bytes) -> None:
    with suppress(PyOCIError):
        files_of(ImageIndex.parse(document), "1.0", PROJECT, "hello")
    with suppress(PyOCIError):
        ImageManifest.parse(document)
    with suppress(DistributionError):
        parse_manifest(document, None)


def _names(text: str) -> None:
    reads: list[Callable[[str], object]] = [
        Tag,
        Digest,
        ProjectName,
        Registry.parse,
        parse_name,
        lambda text: Filename.parse(text, PROJECT),
        lambda text: Repository(Registry("https", "reg.example"), text),
    ]
    for read in reads:
        with suppress(*ERRORS):
            read(text)


NAMES: dict[str, Make] = {
    "letters": _repeated("a"),
    "dashes": _repeated("-", "a", "!"),
    "dots": _repeated("a.", after="!"),
    "underscores": _repeated("a__", after="!"),
    "slashes": _repeated("a/", after="!"),
    "colons": _repeated(":", "["),
    "dashes of a file": _repeated("-", "hello", ".whl"),
    "digits": _repeated("1", "hello-", ".tar.gz"),
}

# --- pages of other indexes ----------------------------------------------------------------------


def _pages(content: str | bytes) -> None:
    body = content if isinstance(content, bytes) else content.encode()
    html = not body.startswith(b"{")
    kind = "text/html" if html else "application/vnd.pypi.simple.v1+json"
    with suppress(CopyError):
        page = parse_project(body, kind, "https://a.example/hello/", PROJECT)
        _ = page.unlisted_versions
    with suppress(CopyError):
        parse_list(body, kind, "https://a.example/")


def _simple(**members: object) -> bytes:
    return json.dumps({"meta": {"api-version": "1.1"}, "files": [], **members}).encode()


PAGES: dict[str, Make] = {
    "angle brackets": _repeated("<"),
    "open tags": _repeated("<a "),
    "open tags with attributes": _repeated("<a href="),
    "open quotes": _repeated('<a href="'),
    "end tags": _repeated("</a"),
    "comments": _repeated("<!--"),
    "declarations": _repeated("<!"),
    "declarations of marked sections": _repeated("<![CDATA["),
    "instructions": _repeated("<?"),
    "ampersands": _repeated("&"),
    "references": _repeated("&amp"),
    "numeric references": _repeated("&#1"),
    "attributes": _repeated(" a=b", "<a"),
    "open scripts": _repeated("<script>"),
    "script ends": _repeated("</script", "<script>"),
    "titles": _repeated("<title>"),
    "links": _numbered("<a href='hello-{}.tar.gz'>x</a>"),
    "links that are not ended": _numbered("<a href='hello-{}.tar.gz'>"),
    "bases": _repeated("../", "<base href='", "'><a href='x.whl'>"),
    "versions": lambda n: _simple(versions=[f"1.{i}" for i in range(n // 10)]),
    "versions and other kinds": lambda n: _simple(
        versions=[f"1.{i}" for i in range(n // 20)],
        files=[{"filename": f"hello-{i}.zip", "url": "x"} for i in range(n // 80)],
    ),
    "one long version": lambda n: _simple(versions=["1" * n, "1." * (n // 2) + "x"]),
    "files": lambda n: _simple(
        files=[{"filename": f"hello-{i}.tar.gz", "url": f"{i}"} for i in range(n // 50)]
    ),
    "a long URL": lambda n: _simple(files=[{"filename": SDIST.text, "url": "../" * (n // 3)}]),
}


def _description(text: str) -> object:
    return safe_html(text, "markdown", "GFM", ["img.example", "*.cdn.example"], SOURCE)


SOURCE = Source("https://github.com/a/b/blob/HEAD/", "https://img.example/", "packages/one")
DESCRIPTIONS: dict[str, Make] = {
    "images": _repeated("![](https://a.example/x) "),
    "images to load": _repeated('<img src="https://img.example/x">'),
    "badges": _repeated("[![a](https://b.example/b.svg)](https://c.example/)"),
    "images in one link": _repeated("![a](https://b.example/a) ", "[", "](https://c.example)"),
    "links in links": _repeated('<a href="https://a.example">'),
    "a long text of an image": _repeated("x", '<img src="https://img.example/x" alt="', '">'),
    "a host of many labels": _repeated("a.", "![a](https://", "cdn.example/x)"),
    "relative links": _repeated("[a](b)"),
    "steps up": _repeated("../a/", "[a](", ")"),
    "relative images": _repeated("![](x)"),
    "links to places": _repeated("[a](#b)"),
    "places": _numbered('<a id="a{}"></a>'),
}

KIBIBYTE = 1024
METADATA = {family: _fields(make) for family, make in FIELDS.items()}
PARSERS: list[tuple[str, Parse, dict[str, Make], int]] = [
    ("wheel", _wheel, WHEELS, 256 * KIBIBYTE),
    ("whole wheel", _whole_wheel, WHOLE_WHEELS, 256 * KIBIBYTE),
    ("sdist", _sdist, SDISTS, 256 * KIBIBYTE),
    ("parse_fields", parse_fields, METADATA, 32 * KIBIBYTE),
    ("description_below", description_below, METADATA, 32 * KIBIBYTE),
    ("parse_details", parse_details, METADATA, 32 * KIBIBYTE),
    ("description", _description, DESCRIPTIONS, 32 * KIBIBYTE),
    ("form", _form, FORMS, 32 * KIBIBYTE),
    ("requirements", _requirements, REQUIREMENTS, 64 * KIBIBYTE),
    ("path", _path, PATHS, 32 * KIBIBYTE),
    ("Accept", _headers("Accept"), HEADERS, 16 * KIBIBYTE),
    ("If-None-Match, If-Match", _headers("If-None-Match", "If-Match"), HEADERS, 16 * KIBIBYTE),
    ("Range, If-Range", _headers("Range", "If-Range"), HEADERS, 16 * KIBIBYTE),
    ("WWW-Authenticate", parse_challenges, CHALLENGES, 8 * KIBIBYTE),
    ("Link", next_page, LINKS, 16 * KIBIBYTE),
    ("document", _document, DOCUMENTS, 32 * KIBIBYTE),
    ("name", _names, NAMES, 64 * KIBIBYTE),
    ("page of another index", _pages, PAGES, 12 * KIBIBYTE),
    (
        "query",
        _query,
        {"fields": _numbered("a{}=b&"), "percent signs": _repeated("%")},
        16 * KIBIBYTE,
    ),
    (
        "Authorization",
        _credentials,
        {
            "spaces": _repeated(" ", "Basic "),
            "Basic": _repeated("QUJD", "Basic "),
            "Bearer": _repeated("a", "Bearer "),
        },
        64 * KIBIBYTE,
    ),
    (
        "tags",
        _sorted_tags,
        {
            "versions": lambda n: [f"1.{i}" for i in range(n // 8)],
            "no versions": lambda n: ["1." * 60 + f"x{i}" for i in range(n // 128)],
        },
        16 * KIBIBYTE,
    ),
]
ROWS = [
    pytest.param(parse, make, size, id=f"{parser}: {family}")
    for parser, parse, families, size in PARSERS
    for family, make in families.items()
]


def _seconds(parse: Parse, text: object) -> float:
    """The processor time of this thread for one call, the least of a few."""
    times = []
    gc.disable()  # its full collections come in steps
    try:
        for _ in range(REPEATS):
            begun = time.thread_time()
            with suppress(*ERRORS):
                parse(text)
            times.append(time.thread_time() - begun)
            if times[-1] < NEGLIGIBLE:
                break
    finally:
        gc.enable()
    return min(times)


@pytest.mark.acceptance
@pytest.mark.parametrize(("parse", "make", "size"), ROWS)
def test_processor_time_grows_no_faster_than_the_input(parse: Parse, make: Make, size: int) -> None:
    few, many = make(size), make(GROWTH * size)
    measured = []
    for _ in range(ROUNDS):  # a busy machine disturbs one or the other; growth is seen each time
        large = _seconds(parse, many)
        if large < NEGLIGIBLE:
            return
        small = _seconds(parse, few)
        if large <= MOST * max(small, NEGLIGIBLE / GROWTH):
            return
        measured.append(f"{size} bytes take {small:.3f} s, {GROWTH} times as many {large:.3f} s")
    pytest.fail("; ".join(measured))
