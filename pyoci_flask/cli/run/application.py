"""What `run` serves. Its imports take most of the time of a start, so COMMAND runs meanwhile."""

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from pyoci_flask.app import create_app
from pyoci_flask.cli.run.addresses import is_run_proxy
from pyoci_flask.cli.run.failures import Failures
from pyoci_flask.cli.run.forward import Forward
from pyoci_flask.cli.run.front import Front
from pyoci_flask.cli.run.logins import Logins
from pyoci_flask.settings import PinnedIndex, Settings
from pyoci_flask.transport.network import Network
from pyoci_flask.web.paths import AddressParser

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication


def create_application(
    secret: str,
    settings: Settings,
    indexes: Sequence[PinnedIndex],
    fallback: Callable[[PinnedIndex], str | None],
    logins: Logins,
    failures: Failures,
    *,
    publish: bool,
) -> "WSGIApplication":
    """Return the application that serves `indexes`. Under another run, that one serves the others.

    Raises:
        ConfigurationError: the version of a package does not work on this machine.
    """
    application = create_app(settings, in_memory=True)
    network = Network.from_env(os.environ)
    return Front(
        secret,
        lambda: application,
        Forward(network),
        AddressParser(settings),
        indexes,
        fallback,
        logins,
        failures,
        publish=publish,
        has_outer=is_run_proxy(network.proxies.get("http", "")),
    )
