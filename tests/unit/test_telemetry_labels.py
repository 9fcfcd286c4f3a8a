"""The names and labels of spans and metrics: few, whatever a registry or a client sends."""

import pytest

from pyoci_flask.telemetry.labels import call_purpose, status_label

NAME = "/v2/{name}/"
DIGEST = f"sha256:{'a' * 64}"


@pytest.mark.parametrize(
    ("status", "label"),
    [(None, "error"), (200, "200"), (429, "429"), (299, "2xx"), (520, "5xx"), (999, "9xx")],
)
def test_a_status_that_http_does_not_define_counts_with_its_class(
    status: int | None, label: str
) -> None:
    assert status_label(status) == label


def test_registries_can_begin_few_series() -> None:
    assert len({status_label(status) for status in range(100, 1000)}) < 80


@pytest.mark.parametrize(
    ("method", "path", "purpose", "template"),
    [
        ("GET", "/v2/", "check registry", "/v2/"),
        ("GET", "/v2/_catalog?n=100", "list repositories", "/v2/_catalog"),
        ("GET", "/v2/a/b/tags/list?n=1&last=x", "list tags", f"{NAME}tags/list"),
        ("GET", "/v2/a/manifests/1.0", "read manifest", f"{NAME}manifests/{{reference}}"),
        ("HEAD", f"/v2/a/manifests/{DIGEST}", "look up manifest", f"{NAME}manifests/{{reference}}"),
        ("PUT", "/v2/a/b/c/manifests/1.0", "write manifest", f"{NAME}manifests/{{reference}}"),
        ("DELETE", "/v2/a/manifests/1.0", "delete manifest", f"{NAME}manifests/{{reference}}"),
        ("GET", f"/v2/a/blobs/{DIGEST}", "read blob", f"{NAME}blobs/{{digest}}"),
        ("POST", "/v2/a/blobs/uploads/", "start upload", f"{NAME}blobs/uploads/"),
        ("PATCH", "/v2/a/blobs/uploads/x?s=1", "upload blob", f"{NAME}blobs/uploads/{{session}}"),
        ("PUT", "/v2/a/blobs/uploads/x", "finish upload", f"{NAME}blobs/uploads/{{session}}"),
        ("DELETE", "/v2/a/blobs/uploads/x", "cancel upload", f"{NAME}blobs/uploads/{{session}}"),
        ("GET", f"/v2/a/referrers/{DIGEST}", "list referrers", f"{NAME}referrers/{{digest}}"),
        ("GET", "/service/auth?service=s&scope=repository:a:pull", "get token", None),
        ("POST", "/oauth2/token", "get token", None),
        ("GET", "/bucket/data?X-Amz-Signature=s", "read from storage", None),
        ("PUT", "/v2/a/tags/list", "other", None),
        ("GET", "/v2/a", "other", None),
    ],
)
def test_purpose_is_told_from_method_and_address(
    method: str, path: str, purpose: str, template: str | None
) -> None:
    assert call_purpose(method, f"https://ghcr.io{path}") == (purpose, template)
