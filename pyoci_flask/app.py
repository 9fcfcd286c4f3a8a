"""The wiring: settings in, WSGI application out."""

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flask import Flask

from pyoci_flask import telemetry
from pyoci_flask.common.cross_site import LocalHosts
from pyoci_flask.common.overrides import check_overrides
from pyoci_flask.errors import ConfigurationError
from pyoci_flask.index.artifact import KnownConfigs
from pyoci_flask.index.cache import CachedReader
from pyoci_flask.index.core_metadata import CoreMetadataReader
from pyoci_flask.index.fetch import FetchPool
from pyoci_flask.index.lock import VersionLocks
from pyoci_flask.index.project_repository import Guesses
from pyoci_flask.index.reader import VersionReader
from pyoci_flask.index.store import SQLiteStore, Store
from pyoci_flask.index.store_folder import kept_folder
from pyoci_flask.index.store_memory import MemoryStore
from pyoci_flask.index.verified import VerifiedBlobs
from pyoci_flask.logs import configure_logging
from pyoci_flask.oci.reference import EMBEDDED
from pyoci_flask.server.start import (
    STARTED,
    check_start,
    keep_cache,
    open_to_everyone,
    prepare_folders,
)
from pyoci_flask.settings import Settings
from pyoci_flask.transport.auth import Authenticator
from pyoci_flask.transport.network import Network
from pyoci_flask.transport.observe import CallLog
from pyoci_flask.transport.session import Transport
from pyoci_flask.web import TEMPLATES
from pyoci_flask.web.access_log import AccessLog
from pyoci_flask.web.api import blueprint as index
from pyoci_flask.web.conditional import PRIVATE, ProjectPages
from pyoci_flask.web.error_answers import register_error_handlers
from pyoci_flask.web.gate import RegistryGate
from pyoci_flask.web.links import PublicOrigin
from pyoci_flask.web.paths import AddressParser
from pyoci_flask.web.people import browse
from pyoci_flask.web.people import frame as people
from pyoci_flask.web.people import landing as pages
from pyoci_flask.web.people.error_page import error_page
from pyoci_flask.web.proxies import DEFAULT_PROXIES
from pyoci_flask.web.routes import Mount
from pyoci_flask.web.services import EXTENSION, Services

logger = logging.getLogger("pyoci")


def create_app(
    settings: Settings,
    *,
    transport_timeouts: tuple[float, float] = (5.0, 12.0),
    cache_folder: Path | None = None,
    started: str | None = None,
    one_user: bool = False,
) -> Flask:
    """Build the application for one worker.

    `transport_timeouts` are the seconds to connect to a registry and to wait for its next byte.
    `cache_folder` is the folder of the listing cache that workers share, or None if none was
    prepared for them. `started` is the result of `seen_at_start` if the start-up checks have
    already been made. `one_user` is for an application of one user in one process: the caller has
    made the checks and configured the log, the listing cache is kept in memory, no file or folder
    is made before something is published, and there are no pages for people.

    Raises:
        ConfigurationError: a setting, or the version of a package, does not work on this machine.
    """
    check_overrides()
    if not one_user:
        _check(settings, started)
    app = Flask("pyoci_flask", static_folder=None, template_folder=str(TEMPLATES))
    app.url_map.merge_slashes = False
    app.url_map.strict_slashes = False
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    register_error_handlers(app, None if one_user else error_page)
    app.after_request(_guarded)
    exports = [
        one for one in (telemetry.metrics(settings, app), telemetry.start(settings, app)) if one
    ]
    app.register_blueprint(index.blueprint)
    if not one_user:
        app.register_blueprint(pages.blueprint)
        app.register_blueprint(browse.blueprint)
        app.extensions[people.EXTENSION] = people.People.create(TEMPLATES, settings.page_images)

    connect, read = transport_timeouts
    transport = Transport(
        network=Network.from_env(os.environ),
        pool_size=settings.fetch_threads + settings.threads,
        connect_timeout=connect,
        read_timeout=read,
        observers=[CallLog(), *(one.call_observer for one in exports)],
        private_networks=settings.private_networks,
        listed=None if settings.registries is None else settings.lists,
    )
    registry = _embedded(settings, transport)
    shares = settings.shares
    others = settings.threads // 2 if shares.named else None
    pool = FetchPool(
        settings.fetch_threads,
        lambda registry: shares(registry).pool,
        EMBEDDED if settings.storage else None,
    )
    store = _store(settings, cache_folder, one_user=one_user)
    app.extensions[EXTENSION] = Services(
        settings=settings,
        addresses=AddressParser(settings),
        origin=PublicOrigin(settings, os.environ.get("FORWARDED_ALLOW_IPS", DEFAULT_PROXIES)),
        transport=transport,
        authenticator=Authenticator(transport),
        versions=CachedReader(pool, store, settings.cache_ttl, stale=settings.cache_stale)
        if store
        else VersionReader(pool),
        pages=ProjectPages(),
        locks=VersionLocks.in_spool(settings.spool),
        configs=KnownConfigs(),
        metadata=CoreMetadataReader(store=store),
        gate=RegistryGate(settings.threads, others),
        guesses=Guesses(settings.cache_ttl),
        verified=VerifiedBlobs(store),
        shares=shares,
    )
    mounted: Any = Mount(app.wsgi_app, settings.path, registry, metrics=settings.metrics)
    if open_to_everyone(settings):
        mounted = LocalHosts(mounted, settings.url)
    # Flask documents this assignment as the way to add middleware to an application.
    app.wsgi_app = AccessLog(mounted, [one.request_observer for one in exports])  # type: ignore[method-assign] # see above
    return app


def create_app_from_env(environ: Mapping[str, str] = os.environ) -> Flask:
    """Build the application of one worker from the environment, as WSGI servers start it.

    Raises:
        ConfigurationError: a setting cannot be used.
    """
    # gunicorn.conf.py makes this folder and does the checks once for all workers.
    folder = environ.get("PYOCI_FLASK_CACHE_FOLDER")
    return create_app(
        Settings.from_env(environ),
        cache_folder=Path(folder) if folder else None,
        started=environ.get(STARTED) or None,
    )


def _check(settings: Settings, started: str | None) -> None:
    if started is None:
        check_start(settings)
        prepare_folders(settings)
        return
    configure_logging(settings.log_levels, as_json=settings.log_json)
    try:
        prepare_folders(settings, started)
    except ConfigurationError as error:
        # A folder became unusable after the start; only requests that need it fail.
        logger.error("%s", error)  # noqa: TRY400 - a traceback would add nothing


def _store(settings: Settings, folder: Path | None, *, one_user: bool) -> Store | None:
    if one_user:
        return MemoryStore() if settings.cache_ttl else None
    if folder is None:
        folder = keep_cache(settings)
    if not settings.cache_ttl:
        return None
    kept = settings.cache_folder and kept_folder(settings.cache_folder)
    return SQLiteStore(folder, settings.spool, kept=folder is not None and folder == kept)


def _embedded(settings: Settings, transport: Transport) -> Any:  # noqa: ANN401 - a WSGI application or None
    """Return the embedded registry, if any, and let the client call it without a socket."""
    if settings.storage is None:
        return None
    # Imported only if it is used.
    from pyoci_flask.registry import create_registry
    from pyoci_flask.registry.in_process import InProcess

    registry = create_registry(
        settings.storage, settings.storage_users, prepare=False, public_url=settings.url
    )
    transport.mount(EMBEDDED.origin, InProcess(registry))
    return registry


def _guarded(response: Any) -> Any:  # noqa: ANN401 - Flask's own type
    """Add the headers that restrict browsers and caches, unless the view has set them.

    Browsers must not guess types, show responses in frames or run scripts. Shared caches must not
    keep a response unless it is the same for all clients.
    """
    response.headers.setdefault("Cache-Control", PRIVATE)
    if not response.cache_control.public:
        response.vary.add("Authorization")
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    response.headers.setdefault(
        "Content-Security-Policy",
        "default-src 'none'; style-src 'self'; frame-ancestors 'none'; "
        "base-uri 'none'; form-action 'self'",
    )
    response.headers.setdefault("Referrer-Policy", "no-referrer")
    return response
