"""What `run` serves. Its imports take most of the time of a start, so COMMAND runs meanwhile."""

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from pyoci_flask.app import create_app
from pyoci_flask.cli.run.addresses import is_run_proxy
from pyoci_flask.cli.run.allowed import Allowed
from pyoci_flask.cli.run.failures import Failures
from pyoci_flask.cli.run.forward import Forward
from pyoci_flask.cli.run.front import Front
from pyoci_flask.cli.run.indexes import Indexes
from pyoci_flask.cli.run.logins import Logins
from pyoci_flask.settings import PinnedIndex, Settings
from pyoci_flask.transport.network import Network

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
    application = create_app(settings, one_user=True)
    network = Network.from_env(os.environ)
    forward = Forward(network)
    outer = forward if is_run_proxy(network.proxies.get("http", "")) else None
    allowed = Allowed(settings, indexes, publish=publish)
    served = Indexes(application, allowed, fallback, logins, failures, outer)
    return Front(secret, served, forward)
