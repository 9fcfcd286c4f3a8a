"""Registries with limits, usually those of a real nginx in front of them."""

import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import requests
from werkzeug.wrappers import Request, Response

from pyoci_flask.registry import create_registry
from tests.conftest import AppServer
from tests.doubles import LOOPBACK, wsgi_server
from tests.integration.index_client import IndexClient, address
from tests.integration.oci_client import OCIClient, push_original
from tests.packages import make_wheel
from tests.ports import free_port
from tests.registries import RunningRegistry
from tests.servers import nginx_site

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment


@pytest.fixture
def small_uploads(docker_open: RunningRegistry, tmp_path: Path) -> Iterator[str]:
    """nginx that accepts a megabyte, which is its default."""
    port = free_port()
    site = (
        f"server {{ listen {LOOPBACK}:{port};"
        f" location / {{ proxy_pass {docker_open.url}; proxy_set_header Host $http_host; }} }}\n"
    )
    with nginx_site(tmp_path, port, site) as running:
        yield running.url


@pytest.fixture
def twenty_a_second(docker_open: RunningRegistry, tmp_path: Path) -> Iterator[str]:
    """nginx that refuses a request less than 50 ms after the previous one."""
    port = free_port()
    site = (
        "limit_req_zone $binary_remote_addr zone=one:1m rate=20r/s;\n"
        "limit_req_status 429;\n"
        f"server {{ listen {LOOPBACK}:{port}; location / {{ limit_req zone=one;"
        f" proxy_pass {docker_open.url}; proxy_set_header Host $http_host; }} }}\n"
    )
    with nginx_site(tmp_path, port, site) as running:
        yield running.url


@pytest.mark.acceptance
def test_a_page_of_sixty_versions_takes_one_try_where_twenty_requests_a_second_are_taken(
    app_server: AppServer,
    docker_open: RunningRegistry,
    twenty_a_second: str,
    namespace: str,
    http: requests.Session,
) -> None:
    oci = OCIClient(docker_open, f"{namespace}/foo", http)
    for number in range(60):
        push_original(oci, f"1.{number}", {".tar.gz": str(number).encode()})
    index = IndexClient(f"{app_server()}/{address(twenty_a_second)}/{namespace}", None, http)

    assert len(index.filenames("foo")) == 60


def test_a_file_is_published_where_twenty_requests_a_second_are_taken(
    app_server: AppServer,
    twenty_a_second: str,
    namespace: str,
    http: requests.Session,
    tmp_path: Path,
) -> None:
    index = IndexClient(f"{app_server()}/{address(twenty_a_second)}/{namespace}", None, http)

    index.published(make_wheel(tmp_path, "foo", "1.0"), "foo", "1.0")

    assert index.filenames("foo") == ["foo-1.0-py3-none-any.whl"]


@dataclass(slots=True)
class Quota:
    """Allows this many reads of manifests, and then asks the client to come back later."""

    app: "WSGIApplication"
    status: int
    left: int = 10**6
    read: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
        request = Request(environ)
        if request.method == "GET" and "/manifests/" in request.path:
            with self.lock:
                if not self.left:
                    headers = {"Retry-After": "7"}
                    return Response("slow down", self.status, headers)(environ, start)
                self.left -= 1
                self.read.append(request.path)
        return self.app(environ, start)


@pytest.mark.parametrize("status", [429, 503])
def test_the_next_try_goes_on_from_what_was_read_before_a_refusal(
    app_server: AppServer, http: requests.Session, tmp_path: Path, status: int
) -> None:
    quota = Quota(create_registry(tmp_path / "storage"), status)
    with wsgi_server(quota) as url:
        base = f"{address(url)}/team"
        publisher = IndexClient(f"{app_server()}/{base}", None, http)
        for number in range(12):
            version = f"1.{number}"
            publisher.published(make_wheel(tmp_path, "foo", version), "foo", version)
        index = IndexClient(f"{app_server()}/{base}", None, http)
        quota.read.clear()

        for _ in range(2):
            quota.left = 5
            refused = index.get("/foo/")
            assert refused.status_code == status, refused.text
            assert refused.headers["Retry-After"] == "7"
        quota.left = 5
        assert len(index.filenames("foo")) == 12

    assert len(set(quota.read)) == 12


def test_a_file_that_the_proxy_of_the_registry_does_not_take_is_a_413(
    app_server: AppServer,
    small_uploads: str,
    namespace: str,
    http: requests.Session,
    tmp_path: Path,
) -> None:
    index = IndexClient(f"{app_server()}/{address(small_uploads)}/{namespace}", None, http)

    small = index.publish(make_wheel(tmp_path, "foo", "1.0"), "foo", "1.0")
    large = index.publish(make_wheel(tmp_path, "foo", "2.0", size=3_000_000), "foo", "2.0")

    assert small.status_code == 200, small.text
    assert large.status_code == 413, large.text
    assert "the limit is the registry's" in large.text
    assert index.filenames("foo") == ["foo-1.0-py3-none-any.whl"]
