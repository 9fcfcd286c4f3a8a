"""A real nginx in front of the registry, with limits of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.conftest import AppServer
from tests.doubles import LOOPBACK
from tests.integration.index_client import IndexClient, address
from tests.packages import make_wheel
from tests.ports import free_port
from tests.registries import RunningRegistry
from tests.servers import nginx_site


@pytest.fixture
def small_uploads(docker_open: RunningRegistry, tmp_path: Path) -> Iterator[str]:
    """nginx that takes a megabyte, as it does unless it is told otherwise."""
    port = free_port()
    site = (
        f"server {{ listen {LOOPBACK}:{port};"
        f" location / {{ proxy_pass {docker_open.url}; proxy_set_header Host $http_host; }} }}\n"
    )
    with nginx_site(tmp_path, port, site) as running:
        yield running.url


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
