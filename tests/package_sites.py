"""Other package indexes: pypiserver, and a server with configurable responses."""

import contextlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import requests
from werkzeug.wrappers import Request, Response

from tests.doubles import wsgi_server
from tests.patience import PATIENCE
from tests.ports import free_port
from tests.servers import LOOPBACK, wait_until

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

SIMPLE_JSON = "application/vnd.pypi.simple.v1+json"

Answer = Callable[[Request], Response]


@dataclass(slots=True)
class Site:
    """A server that gives a set response for each path, and records the requests."""

    pages: dict[str, Answer | bytes | str] = field(default_factory=dict)
    calls: list[Request] = field(default_factory=list)
    url: str = ""

    def __call__(self, environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
        request = Request(environ)
        request.get_data()
        self.calls.append(request)
        return self._answer(request)(environ, start)

    def _answer(self, request: Request) -> Response:
        page = self.pages.get(request.path)
        if page is None:
            return Response("nothing here", 404)
        if isinstance(page, str):
            return Response(page, content_type="text/html")
        return Response(page) if isinstance(page, bytes) else page(request)

    def show(self, project: str, *files: dict[str, object], **more: object) -> None:
        """Set the response for a project's page in JSON."""
        page = {"meta": {"api-version": "1.1"}, "name": project, "files": list(files), **more}
        self.pages[f"/simple/{project}/"] = lambda _: Response(
            json.dumps(page), content_type=SIMPLE_JSON
        )

    def asked(self, path: str) -> list[Request]:
        """Return the requests for a path."""
        return [call for call in self.calls if call.path == path]


@contextlib.contextmanager
def odd_site() -> Iterator[Site]:
    site = Site()
    with wsgi_server(site) as url:
        site.url = url
        yield site


@contextlib.contextmanager
def pypiserver(folder: Path, *options: str) -> Iterator[str]:
    """Run pypiserver on a folder of packages, without passwords; yield its URL without a slash."""
    port = free_port()
    program = [sys.executable, "-m", "pypiserver", "run", "--disable-fallback"]
    where = ["--interface", LOOPBACK, "--port", str(port), "--server", "wsgiref"]
    process = subprocess.Popen(
        [*program, *where, "-a", ".", "-P", ".", *options, str(folder)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"http://{LOOPBACK}:{port}"
    try:
        wait_until(lambda: _answers(url))
        yield url
    finally:
        process.terminate()
        process.wait(PATIENCE)


def _answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=PATIENCE).ok
    except requests.ConnectionError:
        return False
