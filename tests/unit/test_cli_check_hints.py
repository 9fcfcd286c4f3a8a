"""What is said to do about a step of a check that failed."""

import pytest

from pyoci_flask.cli.check.report import hint_for
from pyoci_flask.errors import (
    AuthenticationRequiredError,
    DeniedError,
    EgressError,
    NotFoundError,
    PyOCIError,
    RateLimitedError,
    RegistryError,
    RegistryTimeoutError,
    UnsupportedError,
)
from pyoci_flask.oci.reference import Registry

_DENIED = DeniedError("no", 403)


@pytest.mark.parametrize(
    ("host", "step", "error", "said"),
    [
        ("ghcr.io", "push", _DENIED, "write:packages"),
        ("acme.azurecr.io", "delete", _DENIED, "AcrDelete"),
        ("1.dkr.ecr.eu-west-1.amazonaws.com", "sign-in", _DENIED, "12 hours"),
        ("europe-docker.pkg.dev", "sign-in", _DENIED, "oauth2accesstoken"),
        ("docker.io", "push", _DENIED, "read and write"),
        ("quay.io", "sign-in", _DENIED, "robot account"),
        ("quay.io", "push", _DENIED, "the right to push"),
        ("example.com", "sign-in", _DENIED, "check the user name and password"),
        ("example.com", "pull", _DENIED, "--project NAME"),
        ("example.com", "pull", AuthenticationRequiredError("no"), "--password-stdin"),
        ("example.com", "push", NotFoundError("no"), "make the repository of each project"),
        ("example.com", "publish", NotFoundError("no"), "make the repository acme/pyoci_probe"),
        ("acme.azurecr.io", "publish", _DENIED, "make the repository acme/pyoci_probe"),
        ("example.com", "pull", RateLimitedError("slow", None), "wait"),
        ("example.com", "pull", RegistryTimeoutError("slow"), "try again"),
        ("example.com", "pull", RegistryError("odd"), "try again"),
        ("example.com", "publish", UnsupportedError("no"), "another registry"),
    ],
)
def test_a_hint_fits_the_registry_the_step_and_the_error(
    host: str, step: str, error: PyOCIError, said: str
) -> None:
    hint = hint_for(error, step, Registry("https", host), "acme/pyoci_probe")
    assert hint is not None
    assert said in hint


@pytest.mark.parametrize("error", [EgressError("x"), NotFoundError("x"), UnsupportedError("x")])
def test_what_says_it_all_gets_no_hint(error: PyOCIError) -> None:
    assert hint_for(error, "list", Registry("https", "example.com")) is None
