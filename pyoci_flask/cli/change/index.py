"""One index in a registry, as the application of a server changes it, but in this process."""

import dataclasses
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

from packaging.version import Version
from werkzeug.test import Client, EnvironBuilder

from pyoci_flask.app import create_app
from pyoci_flask.errors import ConfigurationError, PyOCIError
from pyoci_flask.index.names import Filename, ProjectName, version_or_none
from pyoci_flask.oci.reference import EMBEDDED
from pyoci_flask.server.start import check_paths
from pyoci_flask.settings import PinnedIndex, Settings
from pyoci_flask.settings.origins import OriginPattern
from pyoci_flask.transport.network import check_ca_bundle
from pyoci_flask.transport.request import Credentials
from pyoci_flask.web.address import Base
from pyoci_flask.web.incoming import CREDENTIALS

_SETTINGS = (
    "PYOCI_FETCH_THREADS",
    "PYOCI_PRIVATE_NETWORKS",
    "PYOCI_PUBLISH_SETTLE",
    "PYOCI_REGISTRIES",
    "PYOCI_SPOOL",
    "PYOCI_STORAGE",
    "PYOCI_STORAGE_USERS",
    "PYOCI_THREADS",
)
"""The settings that mean something for these commands. The others are those of a server."""
_JSON = "application/vnd.pypi.simple.v1+json"


class ChangeError(PyOCIError):
    """A change that was refused or failed. `status` is the one of the HTTP response."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Listed:
    """A version of a project, and its files with their sizes in bytes (None if not known)."""

    version: str
    files: Mapping[str, int | None]


class Index:
    """Lists and changes an index by the requests that a server of this program answers."""

    def __init__(self, index: PinnedIndex, credentials: Credentials | None) -> None:
        """Build the application for `index`. Calls to the registry use `credentials`.

        Raises:
            ConfigurationError: a setting cannot be used, or the index is in the embedded registry
                and PYOCI_STORAGE is not set.
        """
        settings = _settings(index, os.environ)
        check_paths(settings)
        check_ca_bundle(os.environ)
        self._client = Client(create_app(settings, one_user=True))
        self._base = Base(index.registry, index.namespace).path
        self._credentials = credentials

    def versions(self, project: ProjectName) -> list[Listed]:
        """Return all versions of a project, the newest first.

        Raises:
            ChangeError: the project does not exist or cannot be listed.
        """
        document = json.loads(self._send("GET", f"{project.normalized}/", accept=_JSON))
        files: dict[Version | None, dict[str, int | None]] = {}
        for file in document["files"]:
            version = version_or_none(Filename.parse(file["filename"], project).version)
            files.setdefault(version, {})[file["filename"]] = file.get("size")
        return [Listed(one, files.get(version_or_none(one), {})) for one in document["versions"]]

    def delete(self, project: ProjectName, what: str, *, blobs: bool) -> str:
        """Delete a version or a file; return what was done. `blobs` deletes its bytes as well.

        Raises:
            ChangeError: it does not exist, or the registry refuses it.
        """
        query = {"blobs": "delete"} if blobs else {}
        return self._send("DELETE", f"{project.normalized}/{quote(what, safe='')}", query=query)

    def yank(self, project: ProjectName, what: str, reason: str | None) -> str:
        """Yank a version or a file, or take it back if `reason` is None; return what was done.

        Raises:
            ChangeError: it does not exist, or the registry refuses it.
        """
        value = False if reason is None else reason or True
        body = json.dumps({"yanked": value}).encode()
        return self._send("PATCH", f"{project.normalized}/{quote(what, safe='')}", body=body)

    def _send(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: bytes | None = None,
        accept: str = "text/plain",
    ) -> str:
        builder = EnvironBuilder(
            f"{self._base}/{path}",
            method=method,
            query_string=query,
            data=body,
            headers=[("Accept", accept)],
            environ_overrides={CREDENTIALS: self._credentials},
        )
        with self._client.open(builder, buffered=True) as response:
            text = response.get_data(as_text=True).strip()
            if response.status_code != 200:
                raise ChangeError(text, response.status_code)
            return text


def _settings(index: PinnedIndex, environ: Mapping[str, str]) -> Settings:
    kept = {name: environ[name] for name in _SETTINGS if name in environ}
    settings = Settings.from_env(kept)
    if index.registry == EMBEDDED and settings.storage is None:
        raise ConfigurationError(
            "set PYOCI_STORAGE to the folder of the embedded registry, because its packages are "
            "changed there"
        )
    # What is shown must be what is stored now, and all of it.
    return dataclasses.replace(
        settings,
        registries=(OriginPattern.of(index.registry), *(settings.registries or ())),
        cache_ttl=0,
        max_versions=0,
    )
