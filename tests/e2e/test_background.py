import socket
import time
from pathlib import Path
from urllib.request import urlopen

from tests.doubles import LOOPBACK
from tests.patience import PATIENCE
from tests.servers import gunicorn

APP = """
from wsgi import app as served
from pyoci_flask.oci.client import RepositoryCaller
from pyoci_flask.oci.manifest_digests import head_manifest
from pyoci_flask.oci.reference import Registry, Repository, Tag
from pyoci_flask.web.services import EXTENSION

services = served.extensions[EXTENSION]
repository = Repository(Registry.parse({registry!r}), "team/hello")
caller = RepositoryCaller(services.transport, services.authenticator, repository, None)

def app(environ, start_response):
    if environ["QUERY_STRING"] == "begin":
        head = lambda: head_manifest(caller, Tag("1.0"))
        assert services.versions.pool.begin_background("registry", head)
    return served(environ, start_response)
"""


def test_a_registry_that_hangs_in_the_background_does_not_delay_the_stop(tmp_path: Path) -> None:
    with socket.create_server((LOOPBACK, 0)) as registry:
        registry.settimeout(PATIENCE)
        url = f"http://{LOOPBACK}:{registry.getsockname()[1]}"
        (tmp_path / "behind.py").write_text(APP.format(registry=url))
        paths = {"PYTHONPATH": str(tmp_path)}
        with gunicorn(tmp_path, paths, app="behind:app") as server:
            assert urlopen(f"{server.url}/?begin").status == 200
            called, _ = registry.accept()
            with called:
                called.settimeout(PATIENCE)
                assert called.recv(4096).startswith(b"HEAD /v2/team/hello/manifests/1.0 ")
                assert urlopen(f"{server.url}/health").status == 200
                began = time.monotonic()
                server.process.terminate()
                assert server.process.wait(PATIENCE) == 0
                # The call itself would take 12 seconds. The rest is for a slow machine.
                assert time.monotonic() - began < 6
                # Nothing was sent after the call, so the end of the connection is the next thing.
                assert called.recv(4096) == b""
