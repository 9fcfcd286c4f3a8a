"""The addresses of an index, with a class for each kind of resource.

Traces and metrics identify a request by `operation` and `route`.
"""

from dataclasses import dataclass
from typing import ClassVar
from urllib.parse import quote

from pyoci_flask.index.names import Filename, ProjectName
from pyoci_flask.oci.reference import Registry

PINNED = "simple"
"""The first path segment of the server's own index."""


@dataclass(frozen=True, slots=True)
class Base:
    """The `{base}` of an address, which consists of a registry and a namespace in it."""

    registry: Registry
    namespace: str
    pinned: bool = False
    """Whether this is the server's own index at `/simple`."""

    @property
    def path(self) -> str:
        """The percent-encoded path of the base, in its preferred spelling."""
        if self.pinned:
            return f"/{PINNED}"
        name = self.registry.address
        if "/" in name:
            name = quote(name, safe="")
        return f"/{name}/{quote(self.namespace)}"


@dataclass(frozen=True, slots=True)
class ListAddress:
    """The project list of a base."""

    operation: ClassVar = "list_projects"
    route: ClassVar = "/"
    base: Base
    slash: bool


@dataclass(frozen=True, slots=True)
class _InProject:
    base: Base
    project: ProjectName


@dataclass(frozen=True, slots=True)
class ProjectAddress(_InProject):
    """The page of a project."""

    operation: ClassVar = "list"
    route: ClassVar = "/{project}/"
    slash: bool
    """Whether the path ends with a slash. Relative links need one."""


@dataclass(frozen=True, slots=True)
class JsonAddress(_InProject):
    """The legacy JSON document of a project, or of one of its versions."""

    operation: ClassVar = "json"
    version: str | None = None

    @property
    def route(self) -> str:
        """The path below the base, for traces and metrics."""
        return "/{project}/json" if self.version is None else "/{project}/{version}/json"


@dataclass(frozen=True, slots=True)
class FileAddress(_InProject):
    """A file of a project."""

    operation: ClassVar = "download"
    route: ClassVar = "/{project}/{filename}"
    filename: Filename

    @property
    def version(self) -> str:
        """The version that the file belongs to."""
        return self.filename.version


@dataclass(frozen=True, slots=True)
class MetadataAddress(_InProject):
    """The core metadata of a file."""

    operation: ClassVar = "metadata"
    route: ClassVar = "/{project}/{filename}.metadata"
    filename: Filename


@dataclass(frozen=True, slots=True)
class VersionAddress(_InProject):
    """A version of a project."""

    route: ClassVar = "/{project}/{version}"
    version: str


ReadAddress = ListAddress | ProjectAddress | JsonAddress | FileAddress | MetadataAddress
ChangeAddress = FileAddress | VersionAddress
