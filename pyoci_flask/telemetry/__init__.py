"""If turned on, exports telemetry to a collector and serves metrics to Prometheus."""

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
    """Start exporting to the collector, if there is one. Call this once in each worker process.

    The caller passes the result's `request_observer` to the access log and its `call_observer` to
    the transport. Without a collector, OpenTelemetry is not imported at all.

    Raises:
        ConfigurationError: an `OTEL_*` variable is not valid.
    """
    found = endpoints(settings, os.environ)
    if not found:
        return None
    # Imported here to save memory and time on servers without a collector.
    from pyoci_flask.telemetry.pipeline import Telemetry

    try:
        return Telemetry(settings, found, app)
    except ValueError as error:
        raise ConfigurationError(f"an OTEL_... variable is not valid: {error}") from error


def metrics(settings: "Settings", app: "Flask") -> "Prometheus | None":
    """Serve `/metrics` if it is turned on. The result has the same observers as `start` returns."""
    if not settings.metrics:
        return None
    from pyoci_flask.telemetry.prometheus import Prometheus

    return Prometheus(app)
