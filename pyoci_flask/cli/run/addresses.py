"""The addresses of `run`: one that is the same for everybody, and one to publish to.

Lock files contain the address of an index, so it must not depend on the machine or on a port. The
host below never resolves (RFC 6761, section 6.4); COMMAND reaches it through the proxy of this run.
"""

from urllib.parse import urlsplit

from pyoci_flask.settings import PinnedIndex
from pyoci_flask.web.address import Base

HOST = "run.pyoci.invalid"
USER = "run"
"""The user name that belongs to the secret of a run."""
LOOPBACK = "127.0.0.1"
WITH_FALLBACK = "+simple/"
"""What pip's address ends with. Projects that are missing there are looked up elsewhere."""


def fixed(index: PinnedIndex) -> str:
    """Return the address of an index, which is the same in every run."""
    return f"http://{HOST}{_path(index)}"


def publishing(index: PinnedIndex, port: int) -> str:
    """Return the address of this run to which files of an index are published."""
    return f"http://{LOOPBACK}:{port}{_path(index)}"


def is_run_proxy(url: str) -> bool:
    """Return whether a proxy is that of a run."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return (parts.username, parts.hostname) == (USER, LOOPBACK)


def _path(index: PinnedIndex) -> str:
    return f"{Base(index.registry, index.namespace).path}/"
