"""What `Mount` does with a path: the sub-path, the root, and the embedded registry."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import pytest
from werkzeug.test import Client

from pyoci_flask.web.routes import Mount

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment


def named(name: str) -> "WSGIApplication":
    """An application that answers its name and the path that it gets."""

    def app(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        start_response("200 OK", [])
        return [f"{name} {environ['SCRIPT_NAME']}|{environ['PATH_INFO']}".encode()]

    return app


def asked(mount: Mount, path: str, sent: str | None = None) -> str:
    environ = {} if sent is None else {"RAW_URI": sent, "REQUEST_URI": sent}
    return Client(mount).get(path, environ_overrides=environ).text


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/", "app |/"),
        ("/simple/", "app |/simple/"),
        ("/health", "app |/health"),
        ("/v2", "app |/v2"),
        ("/v2/", "registry |/v2/"),
        ("/v2/acme/tags/list", "registry |/v2/acme/tags/list"),
    ],
)
def test_registry_is_at_v2_and_the_application_everywhere_else(path: str, expected: str) -> None:
    assert asked(Mount(named("app"), "", named("registry")), path) == expected


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ("/v2/x", "registry"),
        ("http://packages.example.com/v2/x?y", "registry"),
        ("/v2%2Fx", "app"),
        ("/%76%32/x", "app"),
    ],
)
def test_v2_that_is_percent_encoded_is_not_the_registry(sent: str, expected: str) -> None:
    """A browser would send a password for it to the whole server."""
    assert asked(Mount(named("app"), "", named("registry")), "/v2/x", sent).split()[0] == expected


def test_without_a_registry_v2_belongs_to_the_application() -> None:
    assert asked(Mount(named("app"), "", None), "/v2/x") == "app |/v2/x"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/acme", "app /acme|/"),
        ("/acme/", "app /acme|/"),
        ("/acme/simple/", "app /acme|/simple/"),
        ("/acmes/", "app |/.outside"),
        ("/simple/", "app |/.outside"),
        ("/health", "app |/health"),
        ("/acme/health", "app /acme|/health"),
        ("/metrics", "app |/metrics"),
        ("/v2/x", "registry |/v2/x"),
    ],
)
def test_sub_path_moves_all_but_what_is_at_the_root(path: str, expected: str) -> None:
    mount = Mount(named("app"), "/acme", named("registry"), metrics=True)
    assert asked(mount, path) == expected


def test_metrics_are_at_the_root_only_if_there_are_any() -> None:
    assert asked(Mount(named("app"), "/acme", None), "/metrics") == "app |/.outside"
