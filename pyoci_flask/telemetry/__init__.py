"""OpenTelemetry: traces, metrics and logs to a collector, where one is configured."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flask import Flask

    from pyoci_flask.settings import Settings
    from pyoci_flask.telemetry.pipeline import Telemetry


def start(settings: "Settings", app: "Flask") -> "Telemetry | None":
    """Begin to export if `settings.otlp_endpoint` is set; call it once in each worker process.

    The caller passes the result's `request_observer` to the access log and its `call_observer` to
    the transport. Without an endpoint nothing of OpenTelemetry is even imported.
    """
    if settings.otlp_endpoint is None:
        return None
    # Here, so that a server without a collector pays neither the memory nor the time.
    from pyoci_flask.telemetry.pipeline import Telemetry

    return Telemetry(settings, settings.otlp_endpoint, app)
