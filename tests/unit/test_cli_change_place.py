"""Which texts name an index at a server, and which name one in a registry."""

import click
import pytest

from pyoci_flask.cli.arguments import Address
from pyoci_flask.cli.change.place import parse

_CONTEXT = click.Context(click.Command("yank"))
_PARAMETER = click.Argument(["index"])


@pytest.mark.parametrize(
    "text",
    [
        "https://packages.example.com/ghcr.io/acme/",
        "https://packages.example.com/ghcr.io/acme",
        "https://packages.example.com/simple/",
        "https://packages.example.com/simple",
        "http://127.0.0.1:8080/http%3A%2F%2Flocalhost%3A5000/team/",
        "http://127.0.0.1:8080/localhost:5000/team/python/",
        "https://example.com/packages/ghcr.io/acme/",
        "https://example.com/packages/simple/",
        "https://alice:s3cret@packages.example.com/ghcr.io/acme/",
    ],
)
def test_a_registry_below_a_host_belongs_to_a_server(text: str) -> None:
    found = parse(_CONTEXT, _PARAMETER, text)
    assert isinstance(found, Address)
    assert "s3cret" not in found.url


@pytest.mark.parametrize(
    ("text", "registry", "namespace"),
    [
        ("ghcr.io/acme", "ghcr.io", "acme"),
        ("ghcr.io/acme/team/", "ghcr.io", "acme/team"),
        ("http://127.0.0.1:5000/acme", "http://127.0.0.1:5000", "acme"),
        ("http://127.0.0.1:5000/acme/", "http://127.0.0.1:5000", "acme"),
        ("https://registry.example.com/my.team", "registry.example.com", "my.team"),
        ("https://registry.example.com/acme/my.team", "registry.example.com", "acme/my.team"),
        ("https://packages.example.com/python/", "packages.example.com", "python"),
        ("embedded/python", "embedded", "python"),
    ],
)
def test_other_addresses_are_those_of_registries(text: str, registry: str, namespace: str) -> None:
    found = parse(_CONTEXT, _PARAMETER, text)
    assert not isinstance(found, Address)
    assert (found.registry.address, found.namespace) == (registry, namespace)


@pytest.mark.parametrize(
    "text",
    ["", "acme", "http://", "https:///simple/", "https://example.com", "alice:s3cret@ghcr.io/acme"],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter) as refused:
        parse(_CONTEXT, _PARAMETER, text)
    assert "s3cret" not in str(refused.value)
