"""Changes an index by requests to a server of this program."""

import os
from urllib.parse import urlsplit

from pyoci_flask.cli.change.index import Call, Send
from pyoci_flask.transport.network import Network, check_ca_bundle
from pyoci_flask.transport.observe import CallLog
from pyoci_flask.transport.request import BasicCredentials, Request
from pyoci_flask.transport.session import Transport

_SECONDS = 300.0
"""How long a deletion of bytes may take: the server reads what all tags refer to."""
_MOST_BYTES = 64 * 1024 * 1024
"""Maximum size of an answer. The list of a project with 10,000 files is about 10 MB."""


def at_server(url: str, credentials: BasicCredentials | None) -> Send:
    """Send requests to the index at `url`, which ends with a slash, and nowhere else.

    Raises:
        ConfigurationError: the CA bundle that the environment specifies does not exist.
    """
    check_ca_bundle(os.environ)
    network = Network.from_env(os.environ)
    transport = Transport(
        network=network,
        pool_size=1,
        observers=[CallLog()],
        # Behind a proxy, addresses cannot be checked; the user chose this server.
        listed=(lambda _scheme, _host, _port: True) if network.proxies else None,
    )
    parts = urlsplit(url)
    origin = f"{parts.scheme}://{parts.netloc}"
    login = {} if credentials is None else {"Authorization": credentials.header}

    def send(call: Call) -> tuple[int, str]:
        request = Request(
            call.method,
            f"{url}{call.path}{'?' if call.query else ''}{call.query}",
            origin,
            {**call.headers, **login},
            call.body or None,
            len(call.body),
            idempotent=call.method == "GET",
            patience=_SECONDS,
        )
        with transport.send(request) as reply:
            return reply.status, reply.read(_MOST_BYTES).decode("utf-8", "replace").strip()

    return send
