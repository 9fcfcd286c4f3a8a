"""Traces, metrics and logs for a collector, and metrics for Prometheus, if they are turned on."""

import os
from typing import TYPE_CHECKING

from pyoci_flask.errors import ConfigurationError
from pyoci_flask.settings.otlp import endpoints

if TYPE_CHECKING:
    from flask import Flask

    from pyoci_flask.settings import Settings
    from pyoci_flask.telemetry.pipeline import Telemetry
    from pyoci_flask.telemetry.prometheus import Prometheus


def start(settings: "Settings", app: "Flask") -> "Telemetry | None":
    """Start the export to the collector, if there is one. Call this once in each worker process.

    The caller passes the result's `request_observer` to the access log and its `call_observer` to
    the transport. Without a collector, OpenTelemetry is not imported at all.

    Raises:
        ConfigurationError: an `OTEL_*` variable is not valid.
    """
    found = endpoints(settings, os.environ)
    if not found:
        return None
    # Imported here, because it costs memory and time that a server without a collector can save.
    from pyoci_flask.telemetry.pipeline import Telemetry

    try:
        return Telemetry(settings, found, app)
    except ValueError as error:
        raise ConfigurationError(f"a variable OTEL_... cannot be used: {error}") from error


def metrics(settings: "Settings", app: "Flask") -> "Prometheus | None":
    """Serve `/metrics` if it is turned on. The result has the same observers as that of `start`."""
    if not settings.metrics:
        return None
    from pyoci_flask.telemetry.prometheus import Prometheus

    return Prometheus(app)
