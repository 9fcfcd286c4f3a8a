"""Who changed what: one log line for each change that the registry accepted, and its span."""

import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from flask import request

from pyoci_flask.common.redaction import redact, user_name
from pyoci_flask.index.project_repository import ProjectRepository
from pyoci_flask.logs import quoted
from pyoci_flask.oci.reference import Digest
from pyoci_flask.transport.request import BasicCredentials, BearerCredentials, IdentityToken
from pyoci_flask.web.address import Base
from pyoci_flask.web.services import services

logger = logging.getLogger("pyoci.changes")

CHANGE = "pyoci.change"
"""Key of the WSGI environ. The value is the `Change` that was logged for the request."""

PUBLISH, DELETE, YANK, UNYANK = "publish", "delete", "yank", "unyank"
SKIP = "skip"
"""The action of a request that the registry accepted and that changed nothing."""

_RESULT_LIMIT = 600
_FILES_LIMIT = 1500
"""Bytes of the names and digests of files in one line. Further files are in further lines."""
_BASIC = re.compile(r"\s*basic\s", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Change:
    """What a request has changed."""

    action: str
    project: str
    version: str
    files: Sequence[tuple[str, Digest | None]]
    """The names of the files and their digests, as far as the index states them."""
    result: str
    """The text of the response, or of the error that followed a part of the change."""
    user: str | None
    client: str | None


def log_change(
    action: str,
    base: Base,
    repository: ProjectRepository,
    version: str,
    files: Sequence[tuple[str, Digest | None]],
    result: str,
) -> None:
    """Log what the current request has changed. Call this when the registry has accepted it."""
    change = Change(
        action,
        repository.project.normalized,
        version,
        files,
        redact(result),
        _user(repository),
        services().origin.proxies.client_address(
            request.remote_addr, request.headers.get("X-Forwarded-For", "")
        ),
    )
    request.environ[CHANGE] = change
    parts = list(_parts(files)) or [()]
    for number, part in enumerate(parts, 1):
        _write(change, base, part, f"{number}/{len(parts)}" if len(parts) > 1 else None)


def _write(
    change: Change, base: Base, files: Sequence[tuple[str, Digest | None]], part: str | None
) -> None:
    named = "".join(f" file={name} digest={digest or '-'}" for name, digest in files)
    place = {
        "client": change.client,
        "registry": base.registry.address,
        "namespace": base.namespace,
        "project": change.project,
        "version": change.version,
    }
    user = "-" if change.user is None else quoted(change.user)
    fields = "".join(f" {name}={value or '-'}" for name, value in place.items())
    result = quoted(change.result, _RESULT_LIMIT)
    counted = "" if part is None else f" part={part}"
    logger.info(
        "%s",
        f"action={change.action} user={user}{fields}{named}{counted} result={result}",
        extra={
            "fields": True,
            "safe": True,
            "members": {
                "message": change.result[:_RESULT_LIMIT],
                "action": change.action,
                "user": change.user,
                **place,
                "files": [
                    {"file": name, "digest": None if digest is None else str(digest)}
                    for name, digest in files
                ],
                **({} if part is None else {"part": part}),
            },
        },
    )


def _parts(
    files: Sequence[tuple[str, Digest | None]],
) -> Iterator[Sequence[tuple[str, Digest | None]]]:
    """Divide files among lines, so that no line is too long and no file is left out."""
    part: list[tuple[str, Digest | None]] = []
    size = 0
    for name, digest in files:
        length = len(name) + len(str(digest)) + len(" file= digest=")
        if part and size + length > _FILES_LIMIT:
            yield part
            part, size = [], 0
        part.append((name, digest))
        size += length
    if part:
        yield part


def _user(repository: ProjectRepository) -> str | None:
    """Return the user name that was sent to the registry, or None if there was none.

    Registries that accept any name with a token do not check it.
    """
    credentials = repository.caller.credentials
    if isinstance(credentials, BasicCredentials):
        return user_name(credentials.username, credentials.password) or None
    if isinstance(credentials, IdentityToken):
        return user_name(credentials.username, credentials.token) or None
    if isinstance(credentials, BearerCredentials) and _BASIC.match(
        request.headers.get("Authorization", "")
    ):
        return services().settings.bearer_username
    return None
