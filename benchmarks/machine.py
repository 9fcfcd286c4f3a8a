"""The machine of a run, as far as it matters for the results."""

import hashlib
import mmap
import os
import platform
import re
import time
from importlib.metadata import version
from pathlib import Path

from benchmarks.processes import MASK, output_of

_PIECE = bytes(256 * 1024)
_PIECES = 64


def describe(folder: Path) -> dict[str, str]:
    """Return processors, memory, programs and the file system of `folder`."""
    changed = output_of("git", "status", "--porcelain")
    commit = output_of("git", "rev-parse", "--short", "HEAD") or "unknown"
    packages = ("gunicorn", "flask", "requests", "urllib3")
    registry = (output_of("docker-registry", "--version") or "").split(" ")[-1]
    memory = int(_first(r"MemTotal:\s+(\d+)", Path("/proc/meminfo")) or 0)
    return {
        "processor": f"{os.cpu_count()} x "
        + (_first(r"model name\s*:\s*(.*)", Path("/proc/cpuinfo")) or platform.machine()),
        "sha256": _hashing(),
        "memory": f"{memory / 2**20:.0f} GiB",
        "kernel": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "packages": ", ".join(f"{name} {version(name)}" for name in packages),
        "registry": f"docker-registry {registry}, its files on {_file_system(folder)}",
        "congestion control": _content(Path("/proc/sys/net/ipv4/tcp_congestion_control")),
        "load before": _content(Path("/proc/loadavg"), "").rsplit(" ", 2)[0],
        "commit": commit + (" with changes that are not committed" if changed else ""),
    }


def processor_times() -> tuple[float, float]:
    """Return what the kernel has counted since its start: all time, and time taken by the host."""
    fields = [
        float(text) for text in _content(Path("/proc/stat"), "cpu 0").split("\n")[0].split()[1:]
    ]
    return sum(fields[:8]), fields[7] if len(fields) > 7 else 0.0


def hashing_seconds(name: str, size: int) -> float:
    """Return the processor seconds for this digest of so many bytes, computed in this process."""
    digest, begun = hashlib.new(name), time.process_time()
    while size > 0:
        digest.update(memoryview(_PIECE)[:size])
        size -= len(_PIECE)
    return time.process_time() - begun


def touch_memory(size: int) -> None:
    """Use this many bytes of memory and free them.

    If a virtual machine has never used memory, or not for long, its host has to find it first. That
    alone can double the time to write a file, and it affects one round but not the next.
    """
    mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE).close()


def _hashing() -> str:
    """Return how fast sha256 is, and whether it uses the processor's instructions for it."""
    size = _PIECES * len(_PIECE)
    sha256, sha512 = (
        size / min(hashing_seconds(name, size) for _ in range(8)) / 1_000_000
        for name in ("sha256", "sha512")
    )
    # Without them it is slower than sha512, which takes more bytes at a time.
    used = "with" if sha256 > sha512 else "without"
    has = bool(_first(r"\b(sha_ni|sha2)\b", Path("/proc/cpuinfo")))
    mask = f", {MASK}={os.environ[MASK]}" if MASK in os.environ else ""
    return (
        f"{sha256:.0f} MB/s in hashlib, {used} SHA instructions "
        f"(the processor has {'them' if has else 'none'}){mask}"
    )


def _file_system(folder: Path) -> str:
    found = "unknown", ""
    for line in _content(Path("/proc/mounts"), "").splitlines():
        _, mounted, kind, *_ = line.split()
        if folder.resolve().is_relative_to(mounted) and len(mounted) >= len(found[1]):
            found = kind, mounted
    return found[0]


def _first(pattern: str, path: Path) -> str | None:
    match = re.search(pattern, _content(path))
    return match[1] if match else None


def _content(path: Path, missing: str = "unknown") -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return missing
