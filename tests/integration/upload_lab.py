"""An index to upload to, and the single parts of an upload."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests

from pyoci_flask.registry import create_registry
from tests.conftest import AppServer
from tests.doubles import Recorder, wsgi_server
from tests.integration.index_client import IndexClient, address, upload_form

Part = tuple[str, tuple[str | None, bytes | str]]


@dataclass(frozen=True, slots=True)
class Lab:
    """An index for a registry that records the requests."""

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
        """Assert the refusal, and that nothing was pushed; return its text."""
        assert response.status_code == status, response.text
        # An upload may be started to see whether the caller may write; then it is cancelled.
        writes = [call.method for call in self.calls.writes]
        assert writes in ([], ["POST", "DELETE"]), self.calls.writes
        return response.text


def parts(filename: str, content: bytes, *more: tuple[str, str]) -> list[Part]:
    """Return the parts of an upload in twine's order: the file comes last."""
    fields = upload_form("my-pkg", "1.0", filename, content, *more)
    found: list[Part] = [(name, (None, text)) for name, text in fields]
    return [*found, ("content", (filename, content))]


@contextmanager
def upload_lab(
    app_server: AppServer, http: requests.Session, folder: Path, settings: dict[str, str]
) -> Iterator[Lab]:
    """Serve a new registry, and an application with these settings in front of it."""
    calls = Recorder(create_registry(folder / "upload-registry"))
    with wsgi_server(calls) as url:
        index = IndexClient(f"{app_server(settings)}/{address(url)}/team", None, http)
        yield Lab(index, calls)
