"""The embedded registry with faults that can be switched on, and files to publish to it."""

import io
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from werkzeug.test import EnvironBuilder
from werkzeug.wrappers import Request, Response

from pyoci_flask.index.artifact import Upload
from pyoci_flask.index.names import Filename, ProjectName, tag_of
from pyoci_flask.index.project import File
from pyoci_flask.index.project_repository import ProjectRepository
from pyoci_flask.index.versions import read_version
from pyoci_flask.oci.reference import EMBEDDED, Digest
from tests.unit.conftest import Callers
from tests.wsgi_adapter import WSGIAdapter

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

PROJECT = ProjectName("hello")
Fault = Callable[["FaultyRegistry", Request], Response | None]


@dataclass(slots=True)
class FaultyRegistry:
    """Hands requests on to `app`, unless one of the faults answers first."""

    app: "WSGIApplication"
    faults: list[Fault] = field(default_factory=list)
    calls: list[tuple[str, str]] = field(default_factory=list)

    def __call__(
        self, environ: "WSGIEnvironment", start_response: "StartResponse"
    ) -> Iterable[bytes]:
        request = Request(environ)
        self.calls.append((request.method, request.path))
        for fault in self.faults:
            response = fault(self, request)
            if response is not None:
                return response(environ, start_response)
        return self.app(environ, start_response)

    @property
    def changes(self) -> list[tuple[str, str]]:
        """The calls that were to change something."""
        return [call for call in self.calls if call[0] not in {"GET", "HEAD"}]

    def ask(self, method: str, path: str, body: bytes = b"", media_type: str = "") -> Response:
        """Ask the registry itself, past all faults."""
        builder = EnvironBuilder(
            method=method, path=path, data=body, content_type=media_type or None
        )
        response = Response.from_app(self.app, builder.get_environ(), buffered=True)
        builder.close()
        return response

    def document(self, path: str) -> dict[str, Any]:
        """A manifest or index as it is stored."""
        loaded: dict[str, Any] = json.loads(self.ask("GET", path).get_data())
        return loaded


def refusing(
    methods: set[str], part: str, status: int, code: str, *, times: int = 1_000_000
) -> Fault:
    """Answer an OCI error to calls with a method and a part in their path."""
    left = [times]

    def fault(_: FaultyRegistry, request: Request) -> Response | None:
        if request.method not in methods or part not in request.path or not left[0]:
            return None
        left[0] -= 1
        request.get_data()
        body = json.dumps({"errors": [{"code": code, "message": "so it is"}]})
        return Response(body, status, content_type="application/json")

    return fault


def seeing_late(tag: str, reads: int) -> Fault:
    """Show what a tag held before a PUT to so many reads after it."""
    before: list[Response] = []

    def fault(registry: FaultyRegistry, request: Request) -> Response | None:
        if not request.path.endswith(f"/manifests/{tag}"):
            return None
        if request.method == "PUT":
            old = registry.ask("GET", request.path)
            before[:] = [old] * reads
        elif request.method == "GET" and before:
            return before.pop()
        return None

    return fault


def overwriting(tag: str, document: bytes, media_type: str, times: int) -> Fault:
    """Let another writer put its own document in place of each of the first PUTs to a tag.

    Every time it is another document: it ends in one more space.
    """
    left = [times]

    def fault(registry: FaultyRegistry, request: Request) -> Response | None:
        if request.method != "PUT" or not request.path.endswith(f"/manifests/{tag}"):
            return None
        if not left[0]:
            return None
        left[0] -= 1
        body = request.get_data()
        answer = registry.ask("PUT", request.path, body, request.headers["Content-Type"])
        assert answer.status_code == 201
        theirs = document + b" " * left[0]
        assert registry.ask("PUT", request.path, theirs, media_type).status_code == 201
        return answer

    return fault


@dataclass(frozen=True, slots=True)
class Store:
    """A project's repository in the faulty registry."""

    registry: FaultyRegistry
    repository: ProjectRepository

    def manifest(self, reference: object) -> str:
        """The path of a manifest or index."""
        return f"/v2/{self.repository.caller.repository.name}/manifests/{reference}"

    def files(self, version: str) -> list[File] | None:
        """The files of a version as they are stored, past all faults; None = no such tag."""
        faults, self.registry.faults[:] = self.registry.faults[:], []
        found = read_version(self.repository, version, tag_of(version))
        self.registry.faults[:] = faults
        return None if found is None else list(found.files)

    def names(self, version: str) -> list[str] | None:
        """The names of those files."""
        files = self.files(version)
        return None if files is None else [file.filename.text for file in files]

    def holds(self, reference: object) -> bool:
        """Whether a manifest is there."""
        return self.registry.ask("GET", self.manifest(reference)).status_code == 200


def make_store(callers: Callers, app: "WSGIApplication", segment: str = "hello") -> Store:
    """Mount the registry and point to a project in it."""
    registry = FaultyRegistry(app)
    callers.transport.mount(EMBEDDED.origin, WSGIAdapter(registry))
    caller = callers("embedded", f"python/{segment}")
    return Store(registry, ProjectRepository(PROJECT, caller))


def make_upload(filename: str, content: bytes | None = None, **members: Any) -> Upload:  # noqa: ANN401 - the fields of Upload
    """A file to publish, by default one that holds its own name."""
    data = filename.encode() if content is None else content
    return Upload(
        filename=Filename.parse(filename, PROJECT),
        digest=Digest.of(data),
        size=len(data),
        content=io.BytesIO(data),
        **members,
    )
