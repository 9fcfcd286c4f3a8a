"""Small valid wheels and sdists, made without a build backend, the same bytes every time.

A package contains one module (`module_name`) with its version as `__version__`. The sdist contains
its own build backend, so that pip can install it without an index of build requirements.
"""

import base64
import gzip
import hashlib
import io
import re
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

_CHUNK = 1 << 20

_BACKEND = '''\
"""Hands out the wheel that the sdist carries."""
import pathlib
import shutil

_WHEEL = next(pathlib.Path(__file__).parent.glob("*.whl"))


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    shutil.copy(_WHEEL, wheel_directory)
    return _WHEEL.name
'''

_PYPROJECT = """\
[build-system]
requires = []
build-backend = "prebuilt"
backend-path = ["."]
"""


def module_name(name: str) -> str:
    """Return the module that the package `name` installs."""
    return re.sub(r"[-_.]+", "_", name).lower()


def make_wheel(
    folder: Path,
    name: str,
    version: str,
    *,
    build: str | None = None,
    tag: str = "py3-none-any",
    requires_python: str | None = None,
    requires: Iterable[str] = (),
    summary: str | None = None,
    size: int = 0,
) -> Path:
    """Write a wheel; `size` adds a member of this many zero bytes, stored uncompressed.

    The filename keeps the dots and the case of `name`, as in many published wheels.
    """
    stem = f"{_escaped(name)}-{version}"
    info = f"{stem}.dist-info"
    metadata = _metadata(name, version, requires_python, tuple(requires), summary)
    described = (
        f"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: {tag}\n"
        + (f"Build: {build}\n" if build else "")
    ).encode()
    members = {
        f"{module_name(name)}/__init__.py": f'__version__ = "{version}"\n'.encode(),
        f"{info}/METADATA": metadata,
        f"{info}/WHEEL": described,
    }
    path = folder / "-".join(filter(None, (stem, build, f"{tag}.whl")))
    record = []
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for member, content in members.items():
            record.append(_add(archive, member, len(content), iter((content,))))
        if size:
            record.append(_add(archive, f"{module_name(name)}/zeros.bin", size, _zeros(size)))
        record.append(f"{info}/RECORD,,")
        lines = "".join(f"{line}\n" for line in record).encode()
        _add(archive, f"{info}/RECORD", len(lines), iter((lines,)))
    return path


def make_sdist(
    folder: Path,
    name: str,
    version: str,
    *,
    requires_python: str | None = None,
    requires: Iterable[str] = (),
    summary: str | None = None,
    size: int = 0,
) -> Path:
    """Write an sdist that installs with pip; `size` adds a member of this many zero bytes."""
    stem = f"{_escaped(name)}-{version}"
    requires = tuple(requires)
    path = folder / f"{stem}.tar.gz"
    with tempfile.TemporaryDirectory() as inner:
        wheel = make_wheel(
            Path(inner),
            name,
            version,
            requires_python=requires_python,
            requires=requires,
            summary=summary,
        )
        carried = wheel.read_bytes()
    members = {
        "PKG-INFO": _metadata(name, version, requires_python, requires, summary),
        "pyproject.toml": _PYPROJECT.encode(),
        "prebuilt.py": _BACKEND.encode(),
        wheel.name: carried,
    }
    if size:
        members["zeros.bin"] = bytes(size)
    with (
        path.open("wb") as raw,
        gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for member, content in members.items():
            entry = tarfile.TarInfo(f"{stem}/{member}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


def _escaped(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9.]+", "_", name)


def _metadata(
    name: str,
    version: str,
    requires_python: str | None,
    requires: tuple[str, ...],
    summary: str | None,
) -> bytes:
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    if summary is not None:
        lines.append(f"Summary: {summary}")
    if requires_python is not None:
        lines.append(f"Requires-Python: {requires_python}")
    lines += [f"Requires-Dist: {requirement}" for requirement in requires]
    return "".join(f"{line}\n" for line in lines).encode()


def _add(archive: zipfile.ZipFile, member: str, size: int, chunks: Iterator[bytes]) -> str:
    """Write one member; return its line of RECORD."""
    entry = zipfile.ZipInfo(member)  # its default date, 1980-01-01, keeps the bytes the same
    entry.external_attr = 0o644 << 16
    entry.file_size = size
    digest = hashlib.sha256()
    with archive.open(entry, "w", force_zip64=size > (1 << 31) - 1) as out:
        for chunk in chunks:
            out.write(chunk)
            digest.update(chunk)
    hashed = base64.urlsafe_b64encode(digest.digest()).rstrip(b"=").decode()
    return f"{member},sha256={hashed},{size}"


def _zeros(size: int) -> Iterator[bytes]:
    block = bytes(_CHUNK)
    for start in range(0, size, _CHUNK):
        yield block[: min(_CHUNK, size - start)]
