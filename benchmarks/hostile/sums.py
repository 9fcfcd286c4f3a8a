"""Many documents, each within its limit, whose total is expensive."""

import hashlib
import http.client
import json
import re
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from benchmarks.hostile.attack import Attack, Target
from tests.doubles import wsgi_server
from tests.servers import LOOPBACK

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

LIMIT = 4 * 1024 * 1024
_TAG = re.compile(r"/manifests/(?P<tag>.+)$")
_PATIENCE = 120.0


def entry(number: int, version: str, **members: object) -> dict[str, object]:
    """Return an entry of an image index, as short as the entry of a file can be."""
    return {
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "digest": f"sha256:{hashlib.sha256(f'{version} {number}'.encode()).hexdigest()}",
        "size": 1,
        "platform": {"architecture": f"py3-none-a{number}.whl", "os": "any"},
        **members,
    }


def index(entries: str = "", more: str = "") -> bytes:
    """An image index of JSON texts."""
    return (
        '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json",'
        f'"artifactType":"application/pyoci.package.v1","manifests":[{entries}]{more}}}'
    ).encode()


def _filled(make: Callable[[int], str], size: int) -> str:
    parts, number = list[str](), 0
    while size > 0:
        parts.append(make(number))
        size -= len(parts[-1]) + 1
        number += 1
    return ",".join(parts[:-1])


def of_files(size: int, version: str = "1.0") -> bytes:
    """Return an index of as many files as fit."""
    return index(_filled(lambda number: json.dumps(entry(number, version)), size - 200))


def of_others(size: int) -> bytes:
    """Return an index of entries that are not files."""
    descriptor = f'{{"mediaType":"a/b","digest":"sha256:{"0" * 64}","size":1}}'
    return index(_filled(lambda _: descriptor, size - 200))


def of_junk(size: int) -> bytes:
    """Return an index with a member that holds as many empty objects as fit."""
    return index(more=f',"junk":[{_filled(lambda _: "{}", size - 220)}]')


def of_long_text(size: int) -> bytes:
    """Return an index of 4,000 files with long texts: few values, many bytes."""
    notes = {"com.pyoci.requires_python": ">=3" + "0" * (size // 4000 - 300)}
    return index(
        ",".join(json.dumps(entry(number, "1.0", annotations=notes)) for number in range(3900))
    )


@dataclass(frozen=True, slots=True)
class Registry:
    """A registry that has every project, with a number of versions that are the same document."""

    document: bytes
    versions: int

    def __call__(self, environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
        """Answer a call."""
        kind = "application/vnd.oci.image.index.v1+json"
        body = self.document
        if not _TAG.search(environ["PATH_INFO"]):
            kind = "application/json"
            body = json.dumps({"tags": [f"1.{number}" for number in range(self.versions)]}).encode()
        start("200 OK", [("Content-Type", kind), ("Content-Length", str(len(body)))])
        return [body]


def fetch(port: int, path: str, patience: float = _PATIENCE) -> str:
    """Return the status of a page, or the error."""
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=patience)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        answer.read()
    except (OSError, http.client.HTTPException) as error:
        return type(error).__name__
    finally:
        connection.close()
    return str(answer.status)


def _pages(
    registry: "WSGIApplication", count: int, path: str = "", patience: float = _PATIENCE
) -> Callable[[Target], str]:
    """Ask for the pages of `count` projects concurrently."""

    def send(target: Target) -> str:
        found: list[str] = []
        with wsgi_server(registry) as url:
            base = f"/{path}http%3A%2F%2F{urlsplit(url).netloc}/acme"

            def ask(number: int) -> None:
                found.append(fetch(target.port, f"{base}/hello{number}/", patience))

            threads = [threading.Thread(target=ask, args=[number]) for number in range(count)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        return ", ".join(f"{found.count(one)} x {one}" for one in sorted(set(found)))

    return send


def _attack(
    what: str, document: bytes, versions: int, count: int, environ: dict[str, str] | None = None
) -> Attack:
    send = _pages(Registry(document, versions), count, patience=40)
    return Attack("8", what, send, environ or {})


ATTACKS = [
    _attack("100 versions of 4 MiB of files, 1 client", of_files(LIMIT), 100, 1),
    _attack("100 versions of 256 KiB of files, 8 clients", of_files(256 * 1024), 100, 8),
    _attack("100 versions of 4 MiB of long texts, 8 clients", of_long_text(LIMIT), 100, 8),
    _attack("100 versions of 1 MiB of empty objects, 8 clients", of_junk(1024 * 1024), 100, 8),
    _attack("100 versions of 4 MiB of no files, 1 client", of_others(LIMIT), 100, 1),
    _attack(
        "1,000 versions of 64 KiB, all listed, 8 clients",
        of_files(64 * 1024),
        1000,
        8,
        {"PYOCI_MAX_VERSIONS": "0"},
    ),
]
