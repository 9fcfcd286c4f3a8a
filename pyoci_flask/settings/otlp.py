"""The telemetry endpoints, from our own settings or else from the `OTEL_*` variables.

OpenTelemetry's SDK reads all variables that are not checked here.
"""

import os
import re
from collections.abc import Mapping
from importlib.metadata import entry_points

from pyoci_flask.errors import ConfigurationError
from pyoci_flask.settings import Settings, values

TRACES, METRICS, LOGS = "TRACES", "METRICS", "LOGS"
_SIGNALS = (TRACES, METRICS, LOGS)
_PROTOCOL = "http/protobuf"
_HEADER = re.compile(r"[!#-'*+.0-9A-Z^-z|~-]+[ \t]*=[ !#-+\--:<-\[\]-~]*")
"""The syntax that the SDK accepts. It logs anything else, including the secret in it."""


def endpoints(settings: Settings, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the URL of each signal that is exported.

    Raises:
        ConfigurationError: a variable is not valid or asks for something that is not supported.
    """
    if _value(environ, "OTEL_SDK_DISABLED").lower() == "true":
        return {}
    found = {}
    for signal in _SIGNALS:
        endpoint = _endpoint(settings, environ, signal)
        if endpoint is not None and _wanted(environ, signal):
            _check(environ, signal)
            found[signal] = endpoint
    if found:
        _check_propagators(environ)
    return found


def _value(environ: Mapping[str, str], name: str) -> str:
    """Return the value of a variable; an empty one counts as unset."""
    return environ.get(name, "").strip()


def _of_signal(environ: Mapping[str, str], signal: str, name: str) -> tuple[str, str]:
    """Return the name and value of a signal's own variable, or of the one for all signals."""
    own, common = f"OTEL_EXPORTER_OTLP_{signal}_{name}", f"OTEL_EXPORTER_OTLP_{name}"
    value = _value(environ, own)
    return (own, value) if value else (common, _value(environ, common))


def _endpoint(settings: Settings, environ: Mapping[str, str], signal: str) -> str | None:
    path = f"/v1/{signal.lower()}"
    if settings.otlp_endpoint is not None:
        return f"{settings.otlp_endpoint}{path}"
    name, url = _of_signal(environ, signal, "ENDPOINT")
    if not url:
        return None
    try:
        base = values.http_url(url)
    except ValueError as error:
        raise ConfigurationError(f"{name} must be {error}") from error
    return url if signal in name else f"{base}{path}"


def _wanted(environ: Mapping[str, str], signal: str) -> bool:
    name = f"OTEL_{signal}_EXPORTER"
    exporter = _value(environ, name).lower() or "otlp"
    if exporter not in {"otlp", "none"}:
        raise ConfigurationError(f"{name} must be otlp or none, not {exporter!r}")
    return exporter == "otlp"


def _check(environ: Mapping[str, str], signal: str) -> None:
    """Check the protocol, the files and the headers of a signal's calls."""
    name, protocol = _of_signal(environ, signal, "PROTOCOL")
    if protocol.lower() not in {"", _PROTOCOL}:
        raise ConfigurationError(
            f"{name} must be {_PROTOCOL}, not {protocol!r}; the endpoint must then use "
            "the collector's port for HTTP (usually 4318)"
        )
    for kind in ("CERTIFICATE", "CLIENT_CERTIFICATE", "CLIENT_KEY"):
        name, path = _of_signal(environ, signal, kind)
        if path and not os.access(path, os.R_OK):
            raise ConfigurationError(f"{name} must be a file that can be read, not {path!r}")
    name, headers = _of_signal(environ, signal, "HEADERS")
    if not all(_HEADER.fullmatch(one) for one in map(str.strip, headers.split(",")) if one):
        raise ConfigurationError(
            f"{name} must be a list of name=value, with values that are percent-encoded"
        )


def _check_propagators(environ: Mapping[str, str]) -> None:
    known = {one.name for one in entry_points(group="opentelemetry_propagator")} | {"none"}
    for name in filter(None, map(str.strip, _value(environ, "OTEL_PROPAGATORS").split(","))):
        if name not in known:
            raise ConfigurationError(
                f"OTEL_PROPAGATORS contains {name!r}, which is not installed; installed "
                f"propagators: {', '.join(sorted(known))}"
            )
