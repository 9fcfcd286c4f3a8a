"""A registry with Bearer tokens, whose token service is also reached through a relay."""

import contextlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import urllib3

from benchmarks.filling import RegistryWriter, basic
from benchmarks.processes import answers, running
from tests.client_tools import client_tool
from tests.ports import free_port
from tests.servers import LOOPBACK


@dataclass(frozen=True, slots=True)
class TokenRegistry:
    """zuul-registry, configured for the address `public`, while it listens on `port`."""

    port: int
    public: int
    username: str
    password: str


@contextlib.contextmanager
def token_registry(folder: Path) -> Iterator[TokenRegistry]:
    """Run it until the block ends; a relay has to listen on its public port.

    Challenges name the token service by the public port, so a relay there sees those calls too.
    """
    program = str(client_tool("zuul-registry"))
    root = folder / "token-registry"
    root.mkdir()
    registry = TokenRegistry(free_port(), free_port(), "writer", "write-password")
    user = {"name": registry.username, "pass": registry.password, "access": "write"}
    reader = {"name": "reader", "pass": "read-password", "access": "read"}
    config = {
        "address": LOOPBACK,
        "port": registry.port,
        "public-url": f"http://{LOOPBACK}:{registry.public}",
        "secret": "unused by the program",
        "users": [user, reader],
        "storage": {"driver": "filesystem", "root": str(root / "storage")},
    }
    file = root / "registry.yaml"
    file.write_text(json.dumps({"registry": config}))  # JSON is YAML
    with running([program, "-c", str(file)], root / "log", lambda: answers(registry.port, "/v2/")):
        yield registry


def fill(registry: TokenRegistry, name: str, project: str, versions: Sequence[str]) -> None:
    """Write versions of a project into the repository `name`, past the relay."""
    url = f"http://{LOOPBACK}:{registry.port}"
    answer = urllib3.request(
        "GET",
        f"{url}/auth/token?scope=repository:{name}:pull,push",
        headers={"Authorization": basic(registry.username, registry.password)},
    )
    RegistryWriter(url, name, f"Bearer {answer.json()['token']}").fill(project, versions)
