"""A copy from its parts: the two ends, and how the network is reached."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field

from pyoci_flask.cli.copy.errors import CopyError
from pyoci_flask.cli.copy.exchange import Exchange
from pyoci_flask.cli.copy.index import Index
from pyoci_flask.cli.copy.run import Copy
from pyoci_flask.cli.screen import Screen
from pyoci_flask.index.names import ProjectName
from pyoci_flask.transport.credentials import BasicCredentials
from pyoci_flask.transport.network import Network, check_ca_bundle
from pyoci_flask.transport.observe import CallLog
from pyoci_flask.transport.session import Transport

_CONNECT_SECONDS = 10.0
_READ_SECONDS = 60.0
_READING_ONLY = "+simple/"


@dataclass(frozen=True, slots=True)
class End:
    """One of the two indexes, as it was named."""

    url: str
    """With a slash at its end, without credentials."""
    credentials: BasicCredentials | None = field(default=None)
    upload_url: str | None = None
    """Where it takes files; None = at `url`, less what PyOCI and devpi add for reading."""
    upload_credentials: BasicCredentials | None = field(default=None)
    """For uploads, wherever they go."""


def copy(
    screen: Screen,
    source: End,
    target: End,
    projects: Sequence[ProjectName],
    *,
    jobs: int,
    dry_run: bool,
) -> int:
    """Copy packages; give the exit status: 0, 1 = not all of them, 130 = stopped by the user.

    All projects of the source are copied where none are named; `jobs` files at once.

    Raises:
        CopyError: both ends are the same index.
        ConfigurationError: the CA bundle that the environment names is not there.
    """
    if source.url == target.url:
        raise CopyError("the two indexes are the same")
    check_ca_bundle(os.environ)
    network = Network.from_env(os.environ)
    transport = Transport(
        network=network,
        pool_size=2 * jobs,
        connect_timeout=_CONNECT_SECONDS,
        read_timeout=_READ_SECONDS,
        observers=[CallLog()],
        # Behind a proxy it cannot be seen what is connected to; without one, a public index
        # cannot lead to a private address.
        listed=(lambda _scheme, _host, _port: True) if network.proxies else None,
    )
    try:
        ends = _index(transport, source), _index(transport, target)
        return Copy(screen, *ends, jobs).run(projects, dry_run=dry_run)
    finally:
        transport.close()


def _index(transport: Transport, end: End) -> Index:
    upload_url = end.upload_url or end.url.removesuffix(_READING_ONLY)
    return Index(Exchange(transport, end.url, end.credentials, upload_url, end.upload_credentials))
