"""A package index as a source and as a target: pages, files, uploads, yanks."""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import quote

from packaging.utils import NormalizedName

from pyoci_flask.cli.copy.entries import ACCEPT
from pyoci_flask.cli.copy.errors import CopyError, ExistsError
from pyoci_flask.cli.copy.exchange import Exchange, Text, refusal, understood
from pyoci_flask.cli.copy.form import UploadBody
from pyoci_flask.cli.copy.pages import ListedFile, ProjectPage, parse_list, parse_project
from pyoci_flask.errors import PyOCIError
from pyoci_flask.index.names import Filename, ProjectName
from pyoci_flask.transport.reply import Reply

_PAGE_LIMIT = 64 * 1024 * 1024
_UPLOAD_PATIENCE = 600.0
"""Seconds to wait for the response to an upload, because the target stores the file first."""
_DIGEST_TAG = re.compile(r'"sha256:([0-9a-f]{64})"')
_ALREADY = re.compile(r"already (exists|been taken|uploaded)|file exists", re.IGNORECASE)


class Index(Exchange):
    """A package index."""

    def projects(self) -> list[NormalizedName]:
        """List the projects.

        Raises:
            CopyError: the index has no project list.
        """
        found = self._page(self.end.url)
        if found is None:
            raise CopyError(
                f"{self.host} has no project list at {self.end.url}; name the projects to be copied"
            )
        return parse_list(*found)

    def project(self, project: ProjectName) -> ProjectPage | None:
        """Read a project's page, or return None if the project does not exist.

        Raises:
            CopyError: the index does not respond, or its page is not valid.
        """
        found = self._page(f"{self.end.url}{project.normalized}/")
        return None if found is None else parse_project(*found, project)

    def _page(self, url: str) -> tuple[bytes, str, str] | None:
        reply = self.get(url, accept=ACCEPT)
        if reply is None:
            return None
        with reply:
            try:
                body = reply.read(_PAGE_LIMIT)
            except PyOCIError as error:
                raise understood(error, url) from error
        return body, reply.headers.get("Content-Type", ""), reply.url

    @contextmanager
    def open(self, url: str) -> Iterator[Reply]:
        """Begin to read a file.

        Raises:
            CopyError: the file does not exist.
        """
        reply = self.get(url, leaves=True)
        if reply is None:
            raise CopyError(f"{self.host} lists the file, but does not have it (404)")
        with reply:
            try:
                yield reply
            except CopyError:
                raise
            except PyOCIError as error:
                raise understood(error, url) from error

    def file_url(self, project: ProjectName, filename: Filename) -> str:
        """Return the URL that a file has in PyOCI, even if no page lists it."""
        return f"{self.end.url}{project.normalized}/{quote(filename.text)}"

    def tagged_digest(self, project: ProjectName, filename: Filename) -> str | None:
        """Return the SHA-256 of a file that no page lists; PyOCI sends it as the ETag."""
        with self.send("HEAD", self.file_url(project, filename)) as reply:
            match = _DIGEST_TAG.fullmatch(reply.headers.get("ETag", ""))
            return match[1] if match and reply.status == 200 else None

    def upload(self, body: UploadBody, watch: Callable[[], object]) -> None:
        """Upload a file (the legacy upload API); call `watch`, which may raise, before each read.

        Raises:
            ExistsError: the target already has a file of that name.
            CopyError: the upload failed.
        """
        with self.send(
            "POST",
            self.end.upload_url,
            headers={"Content-Type": body.content_type},
            body=body.open(watch),
            length=body.length,
            patience=_UPLOAD_PATIENCE,
        ) as reply:
            if 200 <= reply.status < 300:
                return
            text = Text.read(reply)
        if reply.status == 409 or (reply.status == 400 and _ALREADY.search(text.whole)):
            raise ExistsError(f"{self.host} already has a file of that name{text.first}")
        raise refusal(reply, text)

    def yank(self, file: ListedFile) -> bool:
        """Yank a file if the target is a PyOCI server; return whether it was yanked.

        Raises:
            CopyError: the target supports yanking, but the request failed.
        """
        document = json.dumps({"yanked": file.yanked or True}).encode()
        with self.send(
            "PATCH",
            self.file_url(file.project, file.filename),
            headers={"Content-Type": "application/json"},
            body=document,
        ) as reply:
            if reply.status in {200, 404, 405, 501}:
                return reply.status == 200
            raise refusal(reply)
