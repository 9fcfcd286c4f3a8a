"""Changes an index in its registry: the application of a server answers, in this process."""

import dataclasses
import os
from collections.abc import Mapping

from werkzeug.test import Client, EnvironBuilder

from pyoci_flask.app import create_app
from pyoci_flask.cli.change.index import Call, Send
from pyoci_flask.errors import ConfigurationError
from pyoci_flask.oci.reference import EMBEDDED
from pyoci_flask.server.start import check_paths
from pyoci_flask.settings import PinnedIndex, Settings
from pyoci_flask.settings.origins import OriginPattern
from pyoci_flask.transport.network import check_ca_bundle
from pyoci_flask.transport.request import Credentials
from pyoci_flask.web.address import Base
from pyoci_flask.web.incoming import CREDENTIALS

_SETTINGS = (
    "PYOCI_FETCH_THREADS",
    "PYOCI_PRIVATE_NETWORKS",
    "PYOCI_PUBLISH_SETTLE",
    "PYOCI_REGISTRIES",
    "PYOCI_SPOOL",
    "PYOCI_STORAGE",
    "PYOCI_STORAGE_USERS",
    "PYOCI_THREADS",
)
"""The settings that apply to these commands. The others are only for a server."""


def in_registry(index: PinnedIndex, credentials: Credentials | None) -> Send:
    """Build the application for `index`. Its calls to the registry use `credentials`.

    Raises:
        ConfigurationError: a setting cannot be used, or the index is in the embedded registry and
            PYOCI_STORAGE is not set.
    """
    settings = _settings(index, os.environ)
    check_paths(settings)
    check_ca_bundle(os.environ)
    client = Client(create_app(settings, one_user=True))
    base = Base(index.registry, index.namespace).path

    def send(call: Call) -> tuple[int, str]:
        request = EnvironBuilder(
            f"{base}/{call.path}",
            method=call.method,
            query_string=call.query,
            data=call.body,
            headers=list(call.headers.items()),
            environ_overrides={CREDENTIALS: credentials},
        )
        with client.open(request, buffered=True) as response:
            return response.status_code, response.get_data(as_text=True).strip()

    return send


def _settings(index: PinnedIndex, environ: Mapping[str, str]) -> Settings:
    kept = {name: environ[name] for name in _SETTINGS if name in environ}
    settings = Settings.from_env(kept)
    if index.registry == EMBEDDED and settings.storage is None:
        raise ConfigurationError(
            "set PYOCI_STORAGE to the folder of the embedded registry, because its packages are "
            "changed there"
        )
    # What is shown must be what is stored now, and all of it.
    return dataclasses.replace(
        settings,
        registries=(OriginPattern.of(index.registry), *(settings.registries or ())),
        cache_ttl=0,
        max_versions=0,
    )
