"""Traces, metrics and logs to a collector, and metrics for Prometheus, where they are wanted."""

import os
from typing import TYPE_CHECKING

from pyoci_flask.errors import ConfigurationError
from pyoci_flask.telemetry.otlp import endpoints

if TYPE_CHECKING:
    from flask import Flask

    from pyoci_flask.settings import Settings
    from pyoci_flask.telemetry.pipeline import Telemetry
    from pyoci_flask.telemetry.prometheus import Prometheus


def start(settings: "Settings", app: "Flask") -> "Telemetry | None":
    """Begin to export if there is a collector; call it once in each worker process.

    The caller passes the result's `request_observer` to the access log and its `call_observer` to
    the transport. Without a collector nothing of OpenTelemetry is even imported.

    Raises:
        ConfigurationError: an `OTEL_*` variable cannot be used.
    """
    found = endpoints(settings, os.environ)
    if not found:
        return None
    # Here, so that a server without a collector pays neither the memory nor the time.
    from pyoci_flask.telemetry.pipeline import Telemetry

    try:
        return Telemetry(settings, found, app)
    except ValueError as error:
        raise ConfigurationError(f"a variable OTEL_... cannot be used: {error}") from error


def metrics(settings: "Settings", app: "Flask") -> "Prometheus | None":
    """Serve `/metrics` if it is turned on; the result has the observers that `start` has."""
    if not settings.metrics:
        return None
    from pyoci_flask.telemetry.prometheus import Prometheus

    return Prometheus(app)
