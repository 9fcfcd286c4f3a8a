"""The whole check of a registry and a namespace in it."""

import os
import tempfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from secrets import token_hex

from pyoci_flask.cli.check.probe import try_format
from pyoci_flask.cli.check.reach import reach
from pyoci_flask.cli.check.report import Report, StopError
from pyoci_flask.cli.check.rights import (
    at,
    may_delete,
    may_list,
    may_pull,
    may_push,
    shows_missing,
    sign_in,
    who,
)
from pyoci_flask.cli.login import FoundLogin
from pyoci_flask.cli.screen import Screen
from pyoci_flask.errors import ConfigurationError
from pyoci_flask.index.listing import PROBE
from pyoci_flask.index.lock import VersionLocks
from pyoci_flask.index.names import ProjectName
from pyoci_flask.index.project_repository import ProjectRepository
from pyoci_flask.oci.client import RepositoryCaller
from pyoci_flask.oci.reference import EMBEDDED, Repository
from pyoci_flask.server.start import check_paths
from pyoci_flask.settings import PinnedIndex, Settings
from pyoci_flask.transport.auth import Authenticator
from pyoci_flask.transport.network import Network, check_ca_bundle
from pyoci_flask.transport.observe import CallLog
from pyoci_flask.transport.request import Credentials
from pyoci_flask.transport.session import Transport

_CONNECTIONS = 4


def check(
    screen: Screen,
    index: PinnedIndex,
    credentials: Credentials | None,
    project: ProjectName | None,
    *,
    write: bool,
    login: FoundLogin | None = None,
) -> bool:
    """Try the steps one after another; return whether all of them passed.

    `project` is an existing project to check; by default, the check uses one that might not exist.
    With `write`, publish a probe and remove it. `login` is where `credentials` were found, if the
    user did not give them to this command.

    Raises:
        ConfigurationError: `index` is in the embedded registry, but PYOCI_STORAGE is not set; or a
        file that the environment refers to is missing.
    """
    check_ca_bundle(os.environ)
    network = Network.from_env(os.environ)
    transport = Transport(
        network=network,
        pool_size=_CONNECTIONS,
        observers=[CallLog()],
        # Behind a proxy, addresses cannot be checked; the user chose this registry.
        listed=(lambda _scheme, _host, _port: True) if network.proxies else None,
    )
    if index.registry == EMBEDDED:
        _mount_embedded(transport)
    report = Report(screen, index.registry)
    namespace = RepositoryCaller(
        transport,
        Authenticator(transport),
        Repository(index.registry, index.namespace),
        credentials,
    )
    screen.say(at(namespace), "bold")
    if login is not None:
        report.ok("login", f"{who(credentials)}, from {login.source}")
    with suppress(StopError):
        sign_in(report, reach(report, transport, network, index.registry), namespace)
        _try_rights(report, namespace, project, write=write)
    transport.close()
    return report.passed


def _try_rights(
    report: Report, namespace: RepositoryCaller, project: ProjectName | None, *, write: bool
) -> None:
    tried = _of_project(namespace, project or PROBE)
    may_pull(report, tried, exists=project is not None)
    shows_missing(report, _of_project(namespace, ProjectName(f"missing-{token_hex(8)}")))
    pushes = may_push(report, tried, needed=write)
    may_delete(report, tried, needed=write)
    may_list(report, namespace)
    report.all_rights()
    if not write:
        report.note("format", "not tried: --write publishes a tiny package and removes it")
    elif not pushes:
        report.note("format", "not tried, because nothing can be pushed")
    else:
        with tempfile.TemporaryDirectory(prefix="pyoci-check-") as folder:
            probed = ProjectRepository(PROBE, _of_project(namespace, PROBE))
            try_format(report, probed, VersionLocks(Path(folder) / "locks"))


def _of_project(namespace: RepositoryCaller, project: ProjectName) -> RepositoryCaller:
    name = f"{namespace.repository.name}/{project.repositories[0]}"
    return replace(namespace, repository=Repository(namespace.repository.registry, name))


def _mount_embedded(transport: Transport) -> None:
    settings = Settings.from_env(os.environ)
    if settings.storage is None:
        raise ConfigurationError("to check the embedded registry, set PYOCI_STORAGE to its folder")
    check_paths(settings)
    # Imported only if it is used.
    from pyoci_flask.registry import create_registry
    from pyoci_flask.registry.in_process import InProcess

    try:
        registry = create_registry(settings.storage, settings.storage_users)
    except ValueError as error:
        raise ConfigurationError(f"PYOCI_STORAGE_USERS: {error}") from error
    transport.mount(EMBEDDED.origin, InProcess(registry))
