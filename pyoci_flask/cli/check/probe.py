"""The last steps of a check: a tiny package is published, read back, yanked and removed."""

import base64
import hashlib
import io
import secrets
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from pyoci_flask.cli.check.report import Report, StopError
from pyoci_flask.errors import NotFoundError, PyOCIError, RegistryError
from pyoci_flask.index.artifact import Upload
from pyoci_flask.index.delete import delete_version
from pyoci_flask.index.download import find_file, open_file, verified
from pyoci_flask.index.fetch import FetchPool
from pyoci_flask.index.listing import PROBE, find_project
from pyoci_flask.index.lock import VersionLocks
from pyoci_flask.index.names import Filename, tag_of
from pyoci_flask.index.project_repository import ProjectRepository
from pyoci_flask.index.publish import publish
from pyoci_flask.index.reader import VersionReader
from pyoci_flask.index.yank import set_yanked
from pyoci_flask.oci.reference import Digest

_UNCACHED = VersionReader(FetchPool(1))


@dataclass(frozen=True, slots=True)
class Probe:
    """A wheel whose version is not used anywhere else."""

    filename: Filename
    content: bytes
    metadata: bytes

    @classmethod
    def make(cls) -> "Probe":
        """Make a wheel in memory (PEP 427)."""
        version = f"0.{time.time_ns() // 10**9}.{secrets.randbelow(10**6)}"
        stem = f"pyoci_probe-{version}"
        metadata = (
            f"Metadata-Version: 2.1\nName: {PROBE}\nVersion: {version}\n"
            "Summary: Published by `pyoci-flask check --write`; may be deleted\n"
        ).encode()
        return cls(
            Filename.parse(f"{stem}-py3-none-any.whl", PROBE), _wheel(stem, metadata), metadata
        )


def _wheel(stem: str, metadata: bytes) -> bytes:
    members = {
        f"{stem}.dist-info/METADATA": metadata,
        f"{stem}.dist-info/WHEEL": (
            b"Wheel-Version: 1.0\nGenerator: pyoci-flask\nRoot-Is-Purelib: true\n"
            b"Tag: py3-none-any\n"
        ),
    }
    record = "".join(f"{name},{_recorded(content)}\n" for name, content in members.items())
    members[f"{stem}.dist-info/RECORD"] = f"{record}{stem}.dist-info/RECORD,,\n".encode()
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return file.getvalue()


def _recorded(content: bytes) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=")
    return f"sha256={digest.decode()},{len(content)}"


def try_format(report: Report, repository: ProjectRepository, locks: VersionLocks) -> None:
    """Publish a probe; list, download and yank it; then remove it."""
    probe = Probe.make()
    with suppress(StopError), _published(report, repository, locks, probe):
        _read_back(report, repository, probe)
        with report.step("yank"):
            version = probe.filename.version
            set_yanked([repository], version, probe.filename, "a probe", locks)
            if find_file([repository], probe.filename, _UNCACHED).file.yanked != "a probe":
                raise RegistryError("the registry does not keep the annotations of index entries")
        report.ok("yank", "the file was yanked")


@contextmanager
def _published(
    report: Report, repository: ProjectRepository, locks: VersionLocks, probe: Probe
) -> Iterator[None]:
    with report.step("publish", repository.caller.repository.name):
        upload = Upload(
            probe.filename,
            Digest.of(probe.content),
            len(probe.content),
            io.BytesIO(probe.content),
            probe.metadata,
        )
        try:
            publish(repository, upload, locks)
        except BaseException:
            # A failure halfway might have left an entry in the index.
            with suppress(PyOCIError):
                delete_version([repository], probe.filename.version, locks)
            raise
    report.ok("publish", f"{probe.filename.text} ({len(probe.content)} bytes)")
    try:
        yield
    finally:
        with suppress(StopError):
            _remove(report, repository, locks, probe)


def _read_back(report: Report, repository: ProjectRepository, probe: Probe) -> None:
    with report.step("list"):
        try:
            _, tags = find_project([repository])
        except NotFoundError as error:
            raise RegistryError(
                "the registry accepted the package, but does not list its tags, so no version can "
                "be found"
            ) from error
        if str(tag_of(probe.filename.version)) not in tags:
            raise RegistryError("the list of tags does not contain the published version")
    report.ok("list", f"it is listed ({len(tags)} {'version' if len(tags) == 1 else 'versions'})")
    with report.step("download"):
        stored = find_file([repository], probe.filename, _UNCACHED)
        size = len(probe.content)
        content = b"".join(verified(open_file(stored), stored.digest, size))
        if content != probe.content:
            raise RegistryError("the downloaded file differs from the published file")
    report.ok("download", "the downloaded file is identical to the published file")


def _remove(
    report: Report, repository: ProjectRepository, locks: VersionLocks, probe: Probe
) -> None:
    name = repository.caller.repository.name
    version = probe.filename.version
    try:
        with report.step("remove"):
            gone = delete_version([repository], version, locks)
            tags = find_project([repository])[1]
    except StopError:
        report.note("left", f"{name}:{tag_of(version)}: delete it in the registry's own interface")
        raise
    if gone:
        report.ok("remove", "the version was deleted")
        left = f"the {'empty ' if not tags else ''}repository {name}, and its bytes until the "
        report.note("left", f"{left}registry's garbage collection")
    else:
        report.ok("remove", "the version was removed from the index")
        report.note(
            "left",
            f"its bytes in {name}: this registry does not delete them",
            "delete them in the registry's own interface if you do not want to keep them",
        )
