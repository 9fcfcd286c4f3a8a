"""Workers with one registry: two that share a cache, one on another host, and one without cache."""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import requests
from werkzeug.wrappers import Response

from pyoci_flask.app import create_app
from pyoci_flask.index import rewrite
from pyoci_flask.index.cache import CachedReader
from pyoci_flask.index.project_repository import RecentCallers
from pyoci_flask.index.store import SQLiteStore
from pyoci_flask.settings import Settings
from pyoci_flask.web.services import EXTENSION
from tests.doubles import wsgi_server
from tests.fuzz.index_model import TTL
from tests.integration.registry_doubles import serving
from tests.quirks.profiles import PROFILES
from tests.quirks.registry import QuirkyRegistry, quirky_registry
from tests.quirks.switches import Auth, Manifests, Quirks
from tests.registries import RunningRegistry

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

HOSTS: Mapping[str, str | None] = {"one": "near", "other": "near", "far": "far", "fresh": None}
"""The workers, and the host whose cache each one uses; None if it has no cache."""
LIMITS = {"far": 2}
"""The number of versions whose files a worker lists, if not all."""
KEEPING = frozenset({"ghcr", "ecr_private"})
"""Profiles that delete nothing: a version can only be emptied."""


def quirks_of(profile: str) -> Quirks:
    """The behaviour of a registry, open to all: access rights are not tested here."""
    if profile == "immutable":
        return Quirks(manifests=Manifests(immutable=400))
    quirks = PROFILES.get(profile, Quirks())
    return replace(quirks, auth=Auth(), blobs=replace(quirks.blobs, premade=False), throttled=0)


@dataclass(slots=True)
class Hook:
    """Lets something happen after one of the next calls to a registry."""

    app: "WSGIApplication"
    calls: int = 0
    action: Callable[[], object] | None = None

    def __call__(self, environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
        if self.action is None:
            return self.app(environ, start)
        answer = Response.from_app(self.app, environ, buffered=True)
        self.calls -= 1
        if self.calls <= 0 and self.action is not None:
            action, self.action = self.action, None
            action()
        return answer(environ, start)


@dataclass(slots=True)
class Site:
    """The workers' URLs by their names, and the clock that all share."""

    profile: str
    registry: QuirkyRegistry
    hook: Hook
    direct: RunningRegistry
    """The registry without its quirks."""
    storage: Path
    session: requests.Session
    workers: dict[str, str] = field(default_factory=dict)
    now: float = 1_000_000.0


@contextlib.contextmanager
def running_site(folder: Path, profile: str) -> Iterator[Site]:
    """Serve a registry and its workers until the block ends."""
    with contextlib.ExitStack() as running:
        storage = folder / "registry"
        registry = running.enter_context(quirky_registry(storage, quirks_of(profile)))
        direct = running.enter_context(serving(registry.inner))
        registry.inner = hook = Hook(registry.inner)
        session = running.enter_context(requests.Session())
        session.trust_env = False
        site = Site(profile, registry, hook, direct, storage, session)
        # A registry with delay shows new content at the second read, however soon that comes.
        patch = running.enter_context(pytest.MonkeyPatch.context())
        patch.setattr(rewrite, "_STALE_PAUSE", 0.0)
        for name in HOSTS:
            site.workers[name] = running.enter_context(_worker(folder, name, site))
        yield site


@contextlib.contextmanager
def _worker(folder: Path, name: str, site: Site) -> Iterator[str]:
    host = HOSTS[name]
    environ = {
        "PYOCI_CACHE_TTL": str(TTL if host else 0),
        "PYOCI_MAX_VERSIONS": str(LIMITS.get(name, 0)),
        "PYOCI_SKIP_IDENTICAL": "false" if host else "true",
        # One call after the other, so that interruptions always happen at the same place.
        "PYOCI_FETCH_THREADS": "4" if name == "far" else "1",
    }
    app = create_app(Settings.from_env(environ))
    services = app.extensions[EXTENSION]
    # As it is: a probe would tell only once there is a wheel of the original that is not gone.
    services.metadata._ranges.put(site.registry.url, value=True)
    if host:
        cache = folder / host
        store = SQLiteStore(cache, cache, lambda: site.now)
        reader = CachedReader(services.versions.pool, store, TTL, lambda: site.now)
        # A proof that runs out would hide what the cache itself shows for too long.
        proven = TTL if name == "one" else float("inf")
        reader._proofs = RecentCallers(proven, lambda: site.now)
        app.extensions[EXTENSION] = replace(services, versions=reader)
    try:
        with wsgi_server(app) as url:
            yield url
    finally:
        services.transport.close()
        services.versions.pool.close()
