"""A small internet in its own namespaces, in which a registry tries to lead the server astray.

Run it as a program inside `unshare --user --map-root-user --net --mount`, with a file to use as
/etc/hosts. Then every address below belongs to the loopback interface and has one server, which
records the connections. The application's response in each case is printed as JSON.
"""

import json
import logging
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import quote

import requests

from pyoci_flask.app import create_app
from pyoci_flask.settings import Settings
from pyoci_flask.web.services import EXTENSION
from tests.doubles import wsgi_server
from tests.integration.index_client import IndexClient, basic
from tests.packages import make_wheel
from tests.patience import PATIENCE

EVIL, ELSEWHERE, NEAR, NEXT_TO_IT = "8.8.8.8", "8.8.4.4", "10.0.0.5", "10.0.0.6"
"""A public registry, another public host, a private registry and another private host."""
USER = ("alice", "alice-secret")
CREDENTIAL = basic(*USER)
TOKEN = "issued-by-the-realm"

METADATA = {
    "metadata": "169.254.169.254",
    "containers": "169.254.170.2",
    "alibaba": "100.100.100.200",
    "azure": "168.63.129.16",
    "decimal": "2852039166",
    "hex": "0xa9fea9fe",
    "octal": "0251.0376.0251.0376",
    "short": "169.254.43518",
    "mapped": "[::ffff:169.254.169.254]",
    "mapped-hex": "[::ffff:a9fe:a9fe]",
    "compatible": "[::169.254.169.254]",
    "nat64": "[64:ff9b::a9fe:a9fe]",
    "sixtofour": "[2002:a9fe:a9fe::1]",
    "aws-ipv6": "[fd00:ec2::254]",
    "link-local": "[fe80::1]",
    "zero": "0.0.0.0",
    "zero-short": "0",
    "zero-ipv6": "[::]",
    "name": "metadata.test",
    "one-label": "metadata",
    "one-of-two": "mixed.test",
}
"""Never called, whatever refers to it."""
PRIVATE = {
    "loopback": "127.0.0.1",
    "loopback-2": "127.0.0.2",
    "loopback-short": "127.1",
    "loopback-decimal": "2130706433",
    "loopback-hex": "0x7f000001",
    "loopback-ipv6": "[::1]",
    "loopback-mapped": "[::ffff:127.0.0.1]",
    "loopback-name": "localhost",
    "private": NEAR,
    "private-mapped": f"[::ffff:{NEAR}]",
    "private-sixtofour": "[2002:a00:5::1]",
    "private-name": "near.test",
    "private-one-label": "registry",
    "disguised": "disguised.test",
}
"""Called if a user names it, unless that is denied; a public host never leads there."""
VECTORS = ("realm", "redirect", "location", "link", "blob")
_HOSTS = f"""\
127.0.0.1 localhost
{EVIL} evil.test
{ELSEWHERE} elsewhere.test
{NEAR} near.test disguised.test registry
{NEXT_TO_IT} next.test
169.254.169.254 metadata.test metadata
{EVIL} mixed.test
169.254.169.254 mixed.test
"""
_ADDRESSES = (EVIL, ELSEWHERE, NEAR, NEXT_TO_IT, "169.254.169.254", "169.254.170.2")
_MORE = ("100.100.100.200", "168.63.129.16", "fd00:ec2::254", "2002:a00:5::1", "64:ff9b::a9fe:a9fe")


@dataclass(frozen=True, slots=True)
class Outcome:
    """The effects of one request to the application."""

    status: int
    text: str
    connections: list[str] = field(default_factory=list)
    """The addresses that it connected to."""
    seen: dict[str, list[str]] = field(default_factory=dict)
    """Address to the Authorization headers that arrived there; an empty one if there was none."""


class _Internet(ThreadingHTTPServer):
    """One server on port 80 of every address."""

    address_family = socket.AF_INET6
    request_queue_size = 64

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.connections: list[str] = []
        self.seen: dict[str, list[str]] = {}
        super().__init__(("::", 80), _Host)

    def server_bind(self) -> None:
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()


class _Host(BaseHTTPRequestHandler):
    server: _Internet

    def setup(self) -> None:
        super().setup()
        self.address = self.connection.getsockname()[0].removeprefix("::ffff:")
        with self.server.lock:
            self.server.connections.append(self.address)

    def log_message(self, *_: object) -> None:
        """Write nothing."""

    def _answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", "0")))
        sent = self.headers.get("Authorization", "")
        with self.server.lock:
            self.server.seen.setdefault(self.address, []).append(sent)
        path = self.path.partition("?")[0]
        if path == "/token":
            self._say(200, {"token": TOKEN})
        elif path.startswith("/v2/"):
            _, _, vector, target, rest = path.split("/", 4)
            self._registry(vector, target, rest, sent)
        else:
            self._say(200, {"tags": []})

    def _registry(self, vector: str, target: str, rest: str, sent: str) -> None:
        target = target.replace("_", "-")  # like the names of repositories
        away = f"http://{ {**METADATA, **PRIVATE}.get(target, f'{target}.test') }"
        if vector == "realm" and sent != f"Bearer {TOKEN}":
            self._say(401, {}, ("WWW-Authenticate", f'Bearer realm="{away}/token",service="x"'))
        elif not sent:
            self._say(401, {}, ("WWW-Authenticate", 'Basic realm="x"'))
        elif vector == "redirect" and rest == "tags/list":
            self._say(307, {}, ("Location", f"{away}/stolen"))
        elif vector == "location" and self.command == "POST":
            self._say(202, {}, ("Location", f"{away}/upload"))
        elif vector == "blob" and rest.startswith("manifests/"):
            self._say(307, {}, ("Location", f"{away}/stolen"))
        elif rest == "tags/list" and "?" not in self.path:
            link = ("Link", f'<{away}/stolen?last=1.0>; rel="next"') if vector == "link" else None
            self._say(200, {"tags": []}, link)
        elif rest == "tags/list":
            self._say(200, {"tags": []})
        else:
            self._say(404, {})

    def _say(self, status: int, body: object, header: tuple[str, str] | None = None) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        if header is not None:
            self.send_header(*header)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _answer  # noqa: N815 - http.server's


def _ask(internet: _Internet, request: Callable[[], requests.Response]) -> Outcome:
    with internet.lock:
        internet.connections.clear()
        internet.seen.clear()
    response = request()
    with internet.lock:
        seen = {address: sorted(set(sent)) for address, sent in internet.seen.items()}
        connections = sorted(set(internet.connections))
    return Outcome(response.status_code, response.text, connections, seen)


@contextmanager
def _application(environ: dict[str, str]) -> Iterator[str]:
    app = create_app(Settings.from_env(environ), transport_timeouts=(2.0, PATIENCE))
    logging.disable()
    services = app.extensions[EXTENSION]
    try:
        with wsgi_server(app) as url:
            yield url
    finally:
        services.transport.close()
        services.versions.close()


def main(hosts: Path) -> dict[str, Outcome]:
    """Run all cases."""
    _set_up(hosts)
    internet = _Internet()
    threading.Thread(target=internet.serve_forever, daemon=True).start()
    found: dict[str, Outcome] = {}
    with requests.Session() as http, TemporaryDirectory() as folder:
        http.trust_env = False

        def led(app: str, registry: str, vector: str, target: str) -> Outcome:
            base = f"{app}/{quote(f'http://{registry}', safe='')}/{vector}"
            index = IndexClient(base, USER, http)
            if vector == "location":
                named = make_wheel(Path(folder), target, "1.0")
                return _ask(internet, lambda: index.publish(named, target, "1.0"))
            filename = f"{target.replace('-', '_')}-1.0.tar.gz"
            path = f"/{target}/{filename}" if vector == "blob" else f"/{target}/"
            return _ask(internet, lambda: index.get(path))

        for vector in VECTORS:
            with _application({}) as app:
                for target in (*METADATA, *PRIVATE, "elsewhere"):
                    found[f"{vector} {target}"] = led(app, "evil.test", vector, target)
                for target in ("next", "elsewhere"):
                    found[f"near {vector} {target}"] = led(app, "near.test", vector, target)
            listed = {"PYOCI_REGISTRIES": "http://near.test, http://evil.test, http://next.test"}
            with _application(listed) as app:
                for target in ("next", "metadata"):
                    found[f"listed {vector} {target}"] = led(app, "evil.test", vector, target)
        for setting in ("allow", "deny"):
            with _application({"PYOCI_PRIVATE_NETWORKS": setting}) as app:
                for target, host in {**METADATA, **PRIVATE, "evil": "evil.test"}.items():
                    found[f"{setting} {target}"] = led(app, host, "plain", target)
        with _application({}) as app:
            found["before rebinding"] = led(app, "evil.test", "plain", "foo")
            for number, address in enumerate(("127.0.0.1", NEAR, "169.254.169.254", EVIL)):
                hosts.write_text(_HOSTS.replace(f"{EVIL} evil.test", f"{address} evil.test"))
                found[f"rebinding {number}"] = led(app, "evil.test", "plain", "foo")

    internet.shutdown()
    internet.server_close()
    return found


def _set_up(hosts: Path) -> None:
    hosts.write_text(_HOSTS)
    subprocess.run(["mount", "--bind", str(hosts), "/etc/hosts"], check=True)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    for address in (*_ADDRESSES, *_MORE):
        length = "128" if ":" in address else "32"
        subprocess.run(["ip", "address", "add", f"{address}/{length}", "dev", "lo"], check=True)


def read(document: str) -> dict[str, Outcome]:
    """Parse the output of the program."""
    return {name: Outcome(**members) for name, members in json.loads(document).items()}


if __name__ == "__main__":
    outcomes = main(Path(sys.argv[1]))
    json.dump({name: asdict(outcome) for name, outcome in outcomes.items()}, sys.stdout)
