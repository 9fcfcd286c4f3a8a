"""The settings, read once from the environment into one frozen object."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self, TypeVar

from pyoci_flask.common.url import DEFAULT_PORTS
from pyoci_flask.errors import ConfigurationError, InvalidRequestError
from pyoci_flask.oci.reference import EMBEDDED, Registry, Repository
from pyoci_flask.oci.shares import Shares
from pyoci_flask.settings import values
from pyoci_flask.settings.origins import OriginPattern
from pyoci_flask.settings.values import Verify

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class PinnedIndex:
    """What `/simple/` serves: a registry and a namespace in it."""

    registry: Registry
    namespace: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse `ghcr.io/acme`, `http://localhost:5000/team/python` or `embedded/python`."""
        match = re.fullmatch(r"((?:https?://)?[^/]+)/+([^/].*?)/*", text)
        registry = match and Registry.parse(match[1], any_host=True)
        if not match or not registry:
            raise ValueError("a registry and a namespace, such as ghcr.io/acme")
        try:
            repository = Repository(registry, match[2].lower())
        except InvalidRequestError as error:
            raise ValueError(f"a registry and namespace, such as ghcr.io/acme ({error})") from error
        return cls(registry, repository.name)


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings, parsed. `docs/settings.md` describes each for operators."""

    port: int = 8080
    bind: str | None = None
    """The address to listen on, as gunicorn accepts it (`host:port` or `unix:/path`), if set."""
    path: str = ""
    """Sub-path with a leading but without a trailing slash; empty for the root."""
    url: str | None = None
    title: str | None = None
    """The name of this server on its web pages, if the operator has set one."""
    max_body: int = 50_000_000
    """Maximum size of an upload request, in bytes."""
    max_versions: int = 100
    """Maximum number of versions per project whose files are listed; 0 = all."""
    bearer_username: str | None = None
    otlp_endpoint: str | None = None
    otlp_auth: str | None = field(default=None, repr=False)
    metrics: bool = False
    """Whether `/metrics` is served."""
    deployment_environment: str | None = None
    container_app_name: str | None = None
    container_app_revision: str | None = None
    container_app_replica_name: str | None = None
    log_levels: Mapping[str, str] = field(default_factory=lambda: {"": "INFO"})
    """Logger name ("" = the root) to the name of its level."""
    log_json: bool = False
    """Whether log lines are JSON objects."""
    log_ignored: tuple[str, ...] = ()
    """Unsupported directives of RUST_LOG, which are logged as warnings at the start."""
    index: PinnedIndex | None = None
    storage: Path | None = None
    storage_users: Path | None = None
    registries: tuple[OriginPattern, ...] | None = None
    """Which registries may be called, or None if any may be."""
    only_index: bool = False
    """Whether only the registry and namespace of `index` may be addressed."""
    private_networks: bool = True
    """Whether registries on loopback and private addresses may be called."""
    publish_settle: float = 0.0
    """Seconds to wait before reading back what was written, needed if several hosts publish."""
    fallback_index: str | None = None
    """URL, without a slash at its end, of the Simple index for projects that are not here."""
    fallback_exclude: tuple[str, ...] = ()
    """Patterns of normalised names that never fall back."""
    fallback_denied: bool = False
    """Whether a denied project counts as missing, for registries that deny missing projects."""
    fallback_empty: bool = False
    """Whether a project without versions counts as missing, for registries that return no 404."""
    page_images: tuple[str, ...] = ()
    """Hosts whose images browsers load in descriptions: names, or `*.` and a domain."""
    skip_identical: bool = False
    cache_ttl: int = 60
    """Seconds for which listings are cached; 0 = no caching."""
    cache_stale: int = 86_400
    """Maximum number of seconds for which a version that has not changed for long is shown without
    waiting for the registry; 0 = only for `cache_ttl`."""
    cache_folder: Path | None = None
    """The folder that keeps the listing cache over restarts, if any."""
    verify_downloads: Verify = Verify.ONCE
    redirect_downloads: bool = False
    """Whether clients are redirected to the registry's storage for whole files."""
    spool: Path = field(default_factory=values.temporary_folder)
    client_timeout: int = 60
    """Seconds for which a client may be idle."""
    fetch_threads: int = 32
    web_concurrency: int = 2
    threads: int = 64

    def allows(self, registry: Registry, namespace: str) -> bool:
        """Return whether requests may address this namespace of this registry."""
        if self.only_index and self.index is not None:
            return (registry, namespace) == (self.index.registry, self.index.namespace)
        port = registry.port or DEFAULT_PORTS[registry.scheme]
        return self.registries is None or self.lists(registry.scheme, registry.host, port)

    def lists(self, scheme: str, host: str, port: int) -> bool:
        """Return whether the allow-list contains an origin; IPv6 hosts may be in brackets."""
        host = f"[{host}]" if ":" in host and not host.startswith("[") else host
        return any(one.matches(scheme, host, port) for one in self.registries or ())

    def names(self, registry: Registry) -> bool:
        """Return whether the allow-list contains this host in full, not only a pattern for it."""
        patterns = self.registries or ()
        return any(registry in {one.registry, one.every_port} for one in patterns)

    @property
    def shares(self) -> Shares:
        """Return how registries share the threads; each registry in a setting has its own share."""
        own = [None if self.index is None else self.index.registry]
        own.append(None if self.storage is None else EMBEDDED)
        patterns = self.registries or ()
        exact = [one for one in (*own, *(pattern.registry for pattern in patterns)) if one]
        return Shares.of(exact, [one.every_port for one in patterns if one.every_port])

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Self:
        """Read the environment; an empty variable counts as unset.

        The result does not depend on files, because later workers must get the same settings.

        Raises:
            ConfigurationError: a value cannot be used; the text names the variable.
        """
        read = _Reader(environ)
        storage = read("PYOCI_STORAGE", values.path, None)
        index = read("PYOCI_INDEX", PinnedIndex.parse, None)
        if index is not None and index.registry == EMBEDDED and storage is None:
            raise ConfigurationError(
                "PYOCI_INDEX points to the embedded registry, so set PYOCI_STORAGE as well"
            )
        registries = read("PYOCI_REGISTRIES", values.origins, None)
        only_index = registries is None and index is not None
        if index is not None and registries is None:
            registries = (OriginPattern.of(index.registry),)
        if index is None and storage is not None:
            index = PinnedIndex(EMBEDDED, "python")
        levels, ignored = _log_levels(read)
        nothing: tuple[str, ...] = ()
        exclude = read("PYOCI_FALLBACK_EXCLUDE", values.name_patterns, nothing)
        denied = read("PYOCI_FALLBACK_DENIED", values.redirect, default=False)
        if denied and not exclude:
            raise ConfigurationError(
                "PYOCI_FALLBACK_DENIED=redirect needs PYOCI_FALLBACK_EXCLUDE: without it, anybody "
                "who is denied a private package gets the public package of the same name"
            )
        empty = read("PYOCI_FALLBACK_EMPTY", values.redirect, default=False)
        if empty and not exclude:
            raise ConfigurationError(
                "PYOCI_FALLBACK_EMPTY=redirect needs PYOCI_FALLBACK_EXCLUDE: without it, a private "
                "project whose versions were all deleted is replaced by the public project of the "
                "same name"
            )
        metrics = read("PYOCI_METRICS", values.on_or_off, default=False)
        path = read("PYOCI_PATH", values.sub_path, "")
        if metrics and path == "/metrics":
            raise ConfigurationError("PYOCI_PATH must not be /metrics while PYOCI_METRICS is on")
        port = read("PORT", values.between(1, 65535), 8080)
        return cls(
            port=port,
            bind=read("PYOCI_BIND", values.bind_address(port), None),
            path=path,
            url=read("PYOCI_URL", values.http_url, None),
            title=read("PYOCI_TITLE", values.title, None),
            max_body=read("PYOCI_MAX_BODY", values.between(1), 50_000_000),
            max_versions=read("PYOCI_MAX_VERSIONS", values.between(0), 100),
            bearer_username=read("PYOCI_BEARER_USERNAME", str, None),
            otlp_endpoint=read("OTLP_ENDPOINT", values.http_url, None),
            otlp_auth=read("OTLP_AUTH", values.header_value, None),
            metrics=metrics,
            deployment_environment=read("DEPLOYMENT_ENVIRONMENT", str, None),
            container_app_name=read("CONTAINER_APP_NAME", str, None),
            container_app_revision=read("CONTAINER_APP_REVISION", str, None),
            container_app_replica_name=read("CONTAINER_APP_REPLICA_NAME", str, None),
            log_levels=levels,
            log_json=read("PYOCI_LOG_FORMAT", values.text_or_json, default=False),
            log_ignored=ignored,
            index=index,
            storage=storage,
            storage_users=read("PYOCI_STORAGE_USERS", values.path, None),
            registries=registries,
            only_index=only_index,
            private_networks=read("PYOCI_PRIVATE_NETWORKS", values.allow_or_deny, default=True),
            publish_settle=read("PYOCI_PUBLISH_SETTLE", values.seconds, 0.0),
            fallback_index=read("PYOCI_FALLBACK_INDEX", values.http_url, None),
            fallback_exclude=exclude,
            fallback_denied=denied,
            fallback_empty=empty,
            page_images=read("PYOCI_PAGE_IMAGES", values.image_hosts, nothing),
            skip_identical=read("PYOCI_SKIP_IDENTICAL", values.boolean, default=False),
            cache_ttl=read("PYOCI_CACHE_TTL", values.between(0, 86_400), 60),
            cache_stale=read("PYOCI_CACHE_STALE", values.between(0, 30 * 86_400), 86_400),
            cache_folder=read("PYOCI_CACHE_FOLDER", values.path, None),
            verify_downloads=read("PYOCI_VERIFY_DOWNLOADS", values.verify, Verify.ONCE),
            redirect_downloads=read("PYOCI_DOWNLOADS", values.proxy_or_redirect, default=False),
            spool=read("PYOCI_SPOOL", values.path, None) or values.temporary_folder(),
            client_timeout=read("PYOCI_CLIENT_TIMEOUT", values.between(1), 60),
            fetch_threads=read("PYOCI_FETCH_THREADS", values.between(1, 1024), 32),
            web_concurrency=read("WEB_CONCURRENCY", values.between(1, 1024), 2),
            threads=read("PYOCI_THREADS", values.between(1, 4096), 64),
        )


class _Reader:
    """Reads one variable at a time; turns a parser's ValueError into a ConfigurationError."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def __call__(self, name: str, parse: Callable[[str], _T], default: _T) -> _T:
        text = self._environ.get(name, "").strip()
        if not text:
            return default
        try:
            return parse(text)
        except ValueError as error:
            # Like the parsers, do not quote a value that is a secret or might contain one.
            secret = name == "OTLP_AUTH" or "@" in text
            shown = "" if secret else f", not {text!r}"
            raise ConfigurationError(f"{name} must be {error}{shown}") from error


def _log_levels(read: _Reader) -> tuple[Mapping[str, str], tuple[str, ...]]:
    """Read `LOG_LEVEL` (one level), or `RUST_LOG` (a list of `level` and `target=level`)."""
    level = read("LOG_LEVEL", values.level, None)
    if level is not None:
        return {"": level}, ()
    levels, ignored = {"": "INFO"}, []
    for directive in read("RUST_LOG", str, "").split(","):
        target, _, name = directive.strip().rpartition("=")
        target = target.strip().replace("::", ".")
        known = values.LEVELS.get(name.strip().lower())
        if not directive.strip():
            continue
        if known is None or not re.fullmatch(r"(pyoci[a-z0-9_.]*)?", target):
            ignored.append(directive.strip())
        else:
            levels[target] = known
    return levels, tuple(ignored)
