"""What a deletion says of the blobs of the deleted files, and does with them."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.index_client import IndexClient
from tests.integration.oci_client import OCIClient, push_original
from tests.packages import make_wheel
from tests.registries import IN_PROCESS, RunningRegistry

READABLE = "; its bytes can be read by digest until the registry collects garbage"
OCIOf = Callable[[str], OCIClient]


@pytest.mark.parametrize("path", ["1.0", "my_pkg-1.0-py3-none-any.whl"])
def test_a_deletion_says_that_the_bytes_can_be_read_by_digest_where_they_can(
    index: IndexClient, registry: RunningRegistry, repository: OCIOf, tmp_path: Path, path: str
) -> None:
    wheel = index.published(make_wheel(tmp_path, "my_pkg", "1.0"), "my-pkg", "1.0")

    text = index.request("DELETE", f"/my-pkg/{path}").text

    assert repository("my_pkg").has_blob(wheel.read_bytes())
    # The embedded registry of this server keeps blobs until its command is run, as its page says.
    assert text.endswith(f"{READABLE}\n") is (registry.can_delete and registry.kind != IN_PROCESS)
    assert text.startswith("deleted my")


def test_a_deletion_says_nothing_of_bytes_that_are_gone(
    index: IndexClient, registry: RunningRegistry, repository: OCIOf, tmp_path: Path
) -> None:
    if not registry.can_delete:
        pytest.skip("nothing can be deleted there")
    wheel = index.published(make_wheel(tmp_path, "my_pkg", "1.0"), "my-pkg", "1.0")
    oci = repository("my_pkg")
    (entry,) = oci.document("1.0")["manifests"]
    (layer,) = oci.document(entry["digest"])["layers"]
    assert oci.request("DELETE", f"blobs/{layer['digest']}").status_code == 202

    text = index.request("DELETE", f"/my-pkg/{wheel.name}").text

    assert text == f"deleted {wheel.name}\n"


def test_a_deletion_says_so_of_a_file_whose_entry_does_not_tell_its_digest(
    index: IndexClient, registry: RunningRegistry, repository: OCIOf
) -> None:
    push_original(repository("my_pkg"), "1.0", {".tar.gz": b"old"}, digest_annotation=False)

    text = index.request("DELETE", "/my-pkg/my_pkg-1.0.tar.gz").text

    assert (READABLE in text) is (registry.can_delete and registry.kind != IN_PROCESS)
