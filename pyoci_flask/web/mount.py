"""Where things stand below the server's root: sub-path, health and the embedded registry."""

from collections.abc import Iterable
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment


class Mount:
    """WSGI middleware: `PYOCI_PATH`, and what always stands at the root."""

    def __init__(
        self,
        app: "WSGIApplication",
        prefix: str,
        registry: "WSGIApplication | None",
        *,
        metrics: bool = False,
    ) -> None:
        """Serve `app` below `prefix` ("" or "/acme") and `registry` at `/v2/`.

        `/health` stays at the root, and so does `/metrics` where there are `metrics`.
        """
        self._app = app
        self._prefix = prefix
        self._registry = registry
        self._at_root = ("/health", "/metrics") if metrics else ("/health",)

    def __call__(
        self, environ: "WSGIEnvironment", start_response: "StartResponse"
    ) -> Iterable[bytes]:
        """Hand the request on (PEP 3333)."""
        path = environ.get("PATH_INFO", "")
        if self._registry is not None and _is_below_v2(path) and _is_below_v2(_sent(environ)):
            return self._registry(environ, start_response)
        if self._prefix and path not in self._at_root:
            if path == self._prefix or path.startswith(f"{self._prefix}/"):
                environ["SCRIPT_NAME"] = environ.get("SCRIPT_NAME", "") + self._prefix
                environ["PATH_INFO"] = path[len(self._prefix) :] or "/"
            else:
                # Outside of the sub-path nothing is matched, whatever it looks like.
                environ["PATH_INFO"] = "/.outside"
        return self._app(environ, start_response)


def _is_below_v2(path: str) -> bool:
    return path.startswith("/v2/")


def _sent(environ: "WSGIEnvironment") -> str:
    """The path as the client sent it, where the server tells.

    To a browser, `/v2` and `/v2%2F` lie in the folder `/`: it would send a password for them to the
    whole server.
    """
    raw = environ.get("RAW_URI") or environ.get("REQUEST_URI")
    if not isinstance(raw, str):
        return str(environ.get("PATH_INFO", ""))
    return raw.split("?")[0] if raw.startswith("/") else urlsplit(raw).path
