"""What COMMAND may do with the indexes of a run.

COMMAND runs code of many authors, such as build scripts of dependencies. It may use only what the
user named.
"""

from collections.abc import Collection
from typing import TYPE_CHECKING

from pyoci_flask.errors import EgressError, RefusedError
from pyoci_flask.oci.reference import EMBEDDED
from pyoci_flask.settings import PinnedIndex, Settings
from pyoci_flask.web.address import PINNED, Base
from pyoci_flask.web.incoming import sent_path
from pyoci_flask.web.paths import AddressParser

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

_OF_SERVERS = frozenset({PINNED, "pypi", EMBEDDED.host})
"""The first segments of paths that only a server with settings of its own has."""


class NotServedError(RefusedError):
    """The request is not for an index of this run."""


class Allowed:
    """The indexes that may be read, and perhaps published to. Nothing is changed or deleted."""

    def __init__(
        self, settings: Settings, indexes: Collection[PinnedIndex], *, publish: bool
    ) -> None:
        """Allow `indexes`. `settings` must allow their registries."""
        self._addresses = AddressParser(settings)
        self._indexes = frozenset(indexes)
        self._publish = publish

    def index_of(self, environ: "WSGIEnvironment") -> PinnedIndex:
        """Return the index that a request is for.

        Raises:
            NotServedError: the request is not for one of the indexes.
            RefusedError: the request is not allowed.
            PyOCIError: the path is not that of an index, a project or a file.
        """
        method = environ["REQUEST_METHOD"]
        if method == "POST" and not self._publish:
            raise RefusedError(
                "this run only reads: to publish, start it as `pyoci-flask run --publish ...`"
            )
        if method not in {"GET", "HEAD", "POST"}:
            raise RefusedError(f"{method[:20]} is not allowed under `pyoci-flask run`")
        base = self._base(environ)
        index = None if base is None else PinnedIndex(base.registry, base.namespace)
        if index is None or index not in self._indexes:
            named = ", ".join(sorted(f"{i.registry.address}/{i.namespace}" for i in self._indexes))
            raise NotServedError(
                f"this run serves only {named}: name other indexes by --index or in pyproject.toml"
            )
        return index

    def _base(self, environ: "WSGIEnvironment") -> Base | None:
        path = environ["PATH_INFO"].encode("latin-1").decode("utf-8", "replace")
        if path.lstrip("/").partition("/")[0] in _OF_SERVERS:
            return None
        try:
            if environ["REQUEST_METHOD"] == "POST":
                return self._addresses.publish(path, sent_path(environ))
            address = self._addresses.read(path, sent_path(environ))
        except EgressError:
            return None  # its text names settings of a server
        return None if address is None else address.base
