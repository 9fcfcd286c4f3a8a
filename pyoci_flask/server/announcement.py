"""What the log says when the server is ready: what it serves, and where packages are kept."""

from collections.abc import Iterable
from dataclasses import replace

from pyoci_flask.oci.reference import EMBEDDED
from pyoci_flask.settings import Settings

HOW_TO = "PYOCI_FLASK_HOW_TO"
"""If this variable is set, as `make run` does, the commands that publish and install are shown."""


def listening(settings: Settings, addresses: Iterable[object]) -> Settings:
    """Return the settings with the port of the first TCP socket in `addresses`.

    `addresses` are the names of the sockets. `--bind`, `PYOCI_BIND` and systemd can choose a port
    that differs from `PORT`. A Unix socket has no port; the settings are then returned unchanged.
    """
    ports = (address[1] for address in addresses if isinstance(address, tuple))
    return replace(settings, port=next(ports, settings.port))


def where_kept(settings: Settings) -> str:
    """Return one sentence that says where packages are kept."""
    index = settings.index
    if index is None:
        return (
            "Packages are kept in the registry and namespace that each address contains, such as "
            f"{_base(settings)}/ghcr.io/acme/"
        )
    if index.registry == EMBEDDED:
        return (
            f"Packages are kept in the folder {settings.storage} (embedded/{index.namespace}), "
            f"index: {_base(settings)}/simple/"
        )
    return (
        f"Packages are kept in the registry {index.registry.address}/{index.namespace}, "
        f"index: {_base(settings)}/simple/"
    )


def how_to(settings: Settings) -> str:
    """Return the lines that `make run` shows: the commands that publish and install."""
    index = settings.index
    base = _base(settings)
    if index is None:
        at, login = f"{base}/REGISTRY/NAMESPACE/", "of the registry"
    else:
        at, login = f"{base}/simple/", f"of {index.registry.address}"
    is_open = index is not None and index.registry == EMBEDDED and settings.storage_users is None
    asked = "press Enter at both, none is needed" if is_open else f"use those {login}"
    lines = [
        f"PyOCI for Flask: {base}",
        where_kept(settings),
        "",
        f"  Publish:  twine upload --repository-url {at} dist/*",
        f"            (twine asks for a user and a password: {asked})",
        f"  Install:  pip install --index-url {at} NAME",
    ]
    if is_open and not settings.path:
        lines.append(f"  Try it:   make demo PORT={settings.port}")
    return "\n".join([*lines, "", "Stop it with Ctrl-C.", ""])


def _base(settings: Settings) -> str:
    return settings.url or f"http://localhost:{settings.port}{settings.path}"
