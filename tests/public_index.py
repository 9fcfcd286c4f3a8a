"""The public index that this machine installs from, and the settings needed to reach it."""

import os
import subprocess
import sys
from urllib.parse import urlsplit

from pip._internal.models.index import PyPI

from tests.servers import LOOPBACK

_VARIABLES = ("PYOCI_TEST_FALLBACK_INDEX", "PIP_INDEX_URL", "UV_DEFAULT_INDEX", "UV_INDEX_URL")
_PASSED_ON = frozenset(
    {
        "HTTPS_PROXY",
        "HTTP_PROXY",
        "PIP_CERT",
        "PIP_DEFAULT_TIMEOUT",
        "PIP_TRUSTED_HOST",
        "REQUESTS_CA_BUNDLE",
        "SSL_CERT_DIR",
        "SSL_CERT_FILE",
        "UV_INSECURE_HOST",
    }
)
# It is far away, and the network between is not what these tests are about.
_PATIENT = {
    "PIP_DEFAULT_TIMEOUT": "60",
    "PIP_RETRIES": "8",
    "UV_HTTP_CONNECT_TIMEOUT": "60",
    "UV_HTTP_TIMEOUT": "60",
    "UV_HTTP_RETRIES": "8",
}


def public_index() -> str:
    """Return its URL, without a slash at its end: the one configured here, or pip's default."""
    for variable in _VARIABLES:
        if os.environ.get(variable):
            return os.environ[variable].rstrip("/")
    asked = subprocess.run(
        [sys.executable, "-m", "pip", "config", "get", "global.index-url"],
        capture_output=True,
        check=False,
        text=True,
    )
    return (asked.stdout.strip() or PyPI.simple_url).rstrip("/")


def reaching_it() -> dict[str, str]:
    """Return this machine's network settings, with loopback servers excluded from proxies."""
    passed_on = {name: value for name, value in os.environ.items() if name.upper() in _PASSED_ON}
    excepted = (
        f"{LOOPBACK},localhost,{os.environ.get('NO_PROXY') or os.environ.get('no_proxy', '')}"
    )
    return {**_PATIENT, **passed_on, "NO_PROXY": excepted, "no_proxy": excepted}


def host(url: str) -> str:
    """Return the host of a URL."""
    return urlsplit(url).hostname or ""
