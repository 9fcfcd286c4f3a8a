"""Packages and forms that take long to parse."""

import gzip
import http.client
import io
import struct
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterable
from contextlib import closing
from itertools import product
from typing import TYPE_CHECKING

from werkzeug.wrappers import Request, Response

from benchmarks.hostile.attack import Attack, Target
from tests.doubles import wsgi_server
from tests.servers import LOOPBACK

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

_PATIENCE = 30.0
"""Seconds for an answer."""
_EMBEDDED = {"PYOCI_STORAGE": "{folder}/storage"}
_BOUNDARY = "boundary-of-the-form"
_HEADERS = "".join(
    f"{''.join(name)}:\N{LATIN SMALL LETTER A WITH DIAERESIS}\n"
    for name in product("aA", "bB", "cC", "dD", "eE", "fF", "gG", "hH", "iI", "jJ")
).encode()
_NAMED = b"Metadata-Version: 2.1\nName: a\nVersion: 1.0\n"


def _upload(port: int, path: str, filename: str, content: bytes) -> str:
    """POST a file as version 1.0 of `a` and return the status."""
    fields = {":action": "file_upload", "name": "a", "version": "1.0"}
    parts = [
        f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    ]
    disposition = f'form-data; name="content"; filename="{filename}"'
    head = f"{''.join(parts)}--{_BOUNDARY}\r\nContent-Disposition: {disposition}\r\n\r\n"
    body = head.encode() + content + f"\r\n--{_BOUNDARY}--\r\n".encode()
    kind = {"Content-Type": f"multipart/form-data; boundary={_BOUNDARY}"}
    with closing(http.client.HTTPConnection(LOOPBACK, port, timeout=_PATIENCE)) as connection:
        try:
            connection.request("POST", path, body, kind)
            return str(connection.getresponse().status)
        except (OSError, http.client.HTTPException):
            return "no answer"


def _wheel(metadata: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a-1.0.dist-info/METADATA", metadata)
        archive.writestr("a-1.0.dist-info/WHEEL", b"Wheel-Version: 1.0\n")
    return packed.getvalue()


def _headers(target: Target) -> str:
    wheel = _wheel(_NAMED + _HEADERS)
    return _upload(target.port, "/simple/", "a-1.0-py3-none-any.whl", wheel)


def _sdist(members: int) -> bytes:
    """An sdist of empty members, packed a thousand headers at a time."""
    header = tarfile.TarInfo("a-1.0/x").tobuf(tarfile.GNU_FORMAT)
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", compresslevel=6, mtime=0) as archive:
        for _ in range(members // 1000):
            archive.write(header * 1000)
    return packed.getvalue()


def _members(target: Target) -> str:
    return _upload(target.port, "/simple/", "a-1.0.tar.gz", _sdist(2_000_000))


def _deny(environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
    """Answer as a registry whose packages everyone may read but may not write."""
    request = Request(environ)
    request.get_data()
    if request.method in {"GET", "HEAD"}:
        unknown = '{"errors": [{"code": "NAME_UNKNOWN"}]}'
        return Response(unknown, 404, mimetype="application/json")(environ, start)
    return Response("", 401, {"WWW-Authenticate": 'Basic realm="x"'})(environ, start)


def _stranger(target: Target) -> str:
    with wsgi_server(_deny) as url:
        path = f"/{url.replace(':', '%3A').replace('/', '%2F')}/acme/"
        return _upload(target.port, path, "a-1.0.tar.gz", _sdist(1_000_000))


def _side_by_side(number: int, send: Callable[[], str]) -> str:
    answers: list[str] = []
    threads = [threading.Thread(target=lambda: answers.append(send())) for _ in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    counts = {answer: answers.count(answer) for answer in sorted(set(answers))}
    return ", ".join(f"{count} x {answer}" for answer, count in counts.items())


def _directory(entries: int) -> bytes:
    """A zip of a directory alone."""
    entry = struct.pack("<4s4B4HL2L5H2L", b"PK\1\2", 20, 3, 20, *[0] * 15)[:42]
    listed = (entry[:28] + struct.pack("<H", 1) + entry[30:] + bytes(4) + b"x") * entries
    counted = min(entries, 0xFFFF)
    return listed + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, counted, counted, len(listed), 0, 0)


def _directories(target: Target) -> str:
    wheel = _directory(50_000)
    name = "a-1.0-py3-none-any.whl"
    return _side_by_side(24, lambda: _upload(target.port, "/simple/", name, wheel))


def _specifiers(target: Target) -> str:
    metadata = b"".join(b"Requires-Dist: a%s\n" % (b">=1," * 100) for _ in range(2000))
    status = _upload(target.port, "/simple/", "a-1.0-py3-none-any.whl", _wheel(_NAMED + metadata))
    with closing(
        http.client.HTTPConnection(LOOPBACK, target.port, timeout=_PATIENCE)
    ) as connection:
        try:
            connection.request("GET", "/ui/simple/a/1.0/")
            return f"{status}, page {connection.getresponse().status}"
        except (OSError, http.client.HTTPException):
            return f"{status}, page without an answer"


ATTACKS = [
    Attack(
        "8",
        "METADATA with one header name in 1,000 cases (14 KB)",
        _headers,
        _EMBEDDED,
    ),
    Attack("8", "an sdist of 2,000,000 empty members (5 MB)", _members, _EMBEDDED),
    Attack("8", "a stranger's sdist of 1,000,000 members, to a registry that denies", _stranger),
    Attack("8", "24 wheels of 50,000 members side by side", _directories, _EMBEDDED),
    Attack(
        "8", "a page of a wheel with 2,000 requirements of 100 specifiers", _specifiers, _EMBEDDED
    ),
]
