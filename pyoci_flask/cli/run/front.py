"""What stands in front of everything in `run`: who may use it.

Other users of the machine and pages in a browser can reach the port, but do not know the secret.
"""

import base64
import hmac
from collections.abc import Iterable
from typing import TYPE_CHECKING

from pyoci_flask.cli.run.addresses import HOST, USER
from pyoci_flask.cli.run.answers import answer
from pyoci_flask.cli.run.target import TARGET, Target

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_CHALLENGE = 'Basic realm="pyoci-flask run", charset="UTF-8"'


class Front:
    """WSGI middleware (PEP 3333) that asks for the secret of this run.

    A request with a URL is one to a proxy (RFC 9112, section 3.2.2), which forwards it unless the
    URL is that of an index. Every other request is one to a publish address.
    """

    def __init__(self, secret: str, indexes: "WSGIApplication", forward: "WSGIApplication") -> None:
        """Pass requests on to one of two applications, which find the target in the environ."""
        self._pair = f"{USER}:{secret}".encode()
        self._indexes = indexes
        self._forward = forward

    def __call__(
        self, environ: "WSGIEnvironment", start_response: "StartResponse"
    ) -> Iterable[bytes]:
        """Answer one request."""
        target: Target = environ[TARGET]
        is_proxied = target.host is not None
        header = "HTTP_PROXY_AUTHORIZATION" if is_proxied else "HTTP_AUTHORIZATION"
        if not self._knows_secret(environ.get(header, "")):
            text = "this address belongs to a `pyoci-flask run`, and needs its user and secret"
            status, name = (407, "Proxy-Authenticate") if is_proxied else (401, "WWW-Authenticate")
            return answer(environ, start_response, status, text, (name, _CHALLENGE))
        if environ["REQUEST_METHOD"] == "CONNECT":
            text = "this proxy forwards plain http only; https goes without it"
            return answer(environ, start_response, 405, text, ("Allow", "GET, HEAD, POST"))
        if not is_proxied or target.netloc == HOST:
            return self._indexes(environ, start_response)
        if target.host == HOST:
            text = f"the address of an index under `pyoci-flask run` is http://{HOST}, with no port"
            return answer(environ, start_response, 403, text)
        return self._forward(environ, start_response)

    def _knows_secret(self, header: str) -> bool:
        scheme, _, value = header.strip().partition(" ")
        if scheme.lower() != "basic":
            return False
        try:
            given = base64.b64decode(value.strip(), validate=True)
        except ValueError:
            return False
        return hmac.compare_digest(given, self._pair)
