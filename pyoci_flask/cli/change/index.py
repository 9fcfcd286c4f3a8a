"""One index: what it lists, and the changes that a server of this program makes on request."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import quote, urlencode

from packaging.version import Version

from pyoci_flask.errors import PyOCIError, RegistryError
from pyoci_flask.index.names import Filename, ProjectName, version_or_none

_JSON = "application/vnd.pypi.simple.v1+json"


class ChangeError(PyOCIError):
    """A request that was refused or failed. `status` is that of the response, 0 for none."""

    def __init__(self, message: str, status: int, *, advice: str = "") -> None:
        super().__init__(message, advice=advice)
        self.status = status


@dataclass(frozen=True, slots=True)
class Call:
    """A request to an index: `path` is below the index and percent-encoded."""

    method: str
    path: str
    query: str = ""
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=lambda: {"Accept": "text/plain"})


Send = Callable[[Call], tuple[int, str]]
"""Sends a request; returns the status and the text of the response."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A version of a project, and its files with their sizes in bytes (None if not known)."""

    version: str
    files: Mapping[str, int | None]


class Index:
    """Lists and changes an index by requests; `advice` is put before the text of a denial."""

    def __init__(self, send: Send, advice: str) -> None:
        self._send_call = send
        self._advice = advice

    def versions(self, project: ProjectName) -> list[Listed]:
        """Return all versions of a project, the newest first. Files may be missing for old ones.

        Raises:
            ChangeError: the project does not exist or cannot be listed.
            RegistryError: the answer is not a list of files.
        """
        text = self._send(Call("GET", f"{project.normalized}/", headers={"Accept": _JSON}))
        files: dict[Version | None, dict[str, int | None]] = {}
        try:
            document = json.loads(text)
            for file in document["files"]:
                version = version_or_none(Filename.parse(file["filename"], project).version)
                files.setdefault(version, {})[file["filename"]] = file.get("size")
            return [
                Listed(one, files.get(version_or_none(one), {})) for one in document["versions"]
            ]
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise RegistryError(
                "check the address, because it does not list files as a server of this program"
            ) from error

    def delete(self, project: ProjectName, what: str, *, blobs: bool) -> str:
        """Delete a version or a file; return what was done. `blobs` deletes its bytes as well.

        Raises:
            ChangeError: it does not exist, or the registry refuses it.
        """
        query = urlencode({"blobs": "delete"}) if blobs else ""
        return self._send(Call("DELETE", _path(project, what), query))

    def yank(self, project: ProjectName, what: str, reason: str | None) -> str:
        """Yank a version or a file, or take it back if `reason` is None; return what was done.

        Raises:
            ChangeError: it does not exist, or the registry refuses it.
        """
        value = False if reason is None else reason or True
        return self._send(
            Call("PATCH", _path(project, what), body=json.dumps({"yanked": value}).encode())
        )

    def _send(self, call: Call) -> str:
        status, text = self._send_call(call)
        if status != 200:
            raise ChangeError(text, status, advice=self._advice if status in {401, 403} else "")
        return text


def _path(project: ProjectName, what: str) -> str:
    return f"{project.normalized}/{quote(what, safe='')}"
