"""A quirky registry with the application in front of it, and the story that must succeed."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import requests
from werkzeug.wrappers import Request

from tests.integration.index_client import IndexClient, address
from tests.packages import make_sdist, make_wheel
from tests.quirks.registry import QuirkyRegistry
from tests.quirks.switches import Quirks
from tests.quirks.tokens import OWNER

WHEEL, SDIST = "foo-1.0-py3-none-any.whl", "foo-1.0.tar.gz"
REPOSITORY = "/v2/team/foo"


@dataclass(frozen=True, slots=True)
class Site:
    """The registry, and the index over its namespace `team`."""

    registry: QuirkyRegistry
    app: str
    session: requests.Session
    folder: Path

    def index(self, user: tuple[str, str] | None = OWNER) -> IndexClient:
        """The index with these credentials."""
        base = f"{self.app}/{address(self.registry.url)}/team"
        return IndexClient(base, user, self.session)

    def wheel(self, version: str = "1.0") -> Path:
        """Publish a wheel of the project foo, which must be accepted."""
        return self.index().published(make_wheel(self.folder, "foo", version), "foo", version)

    def sdist(self, version: str = "1.0") -> Path:
        """Publish an sdist of it."""
        return self.index().published(make_sdist(self.folder, "foo", version), "foo", version)

    def round_trip(self) -> None:
        """Publish two files of a version, list them, and download them."""
        files = [self.wheel(), self.sdist()]
        assert set(self.index().filenames("foo")) == {WHEEL, SDIST}
        for file in files:
            response = self.index().get(f"/foo/{file.name}")
            assert response.status_code == 200, response.text
            assert response.content == file.read_bytes()

    def calls(self, method: str | None = None, part: str = "/v2/") -> list[Request]:
        """Return the calls to the registry with this method, and with this text in the path."""
        return [
            call
            for call in self.registry.calls
            if part in call.path and method in {None, call.method}
        ]

    def document(self, reference: str = "1.0") -> dict[str, object]:
        """Return a manifest or index of the project, as the registry has it."""
        answer = self.registry.ask("GET", f"{REPOSITORY}/manifests/{reference}")
        assert answer.status_code == 200
        found: dict[str, object] = answer.get_json()
        return found


MakeSite = Callable[[Quirks], Site]
