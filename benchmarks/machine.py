"""The machine of a run, as far as it matters for the results."""

import mmap
import os
import platform
import re
from importlib.metadata import version
from pathlib import Path

from benchmarks.processes import output_of


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


def touch_memory(size: int) -> None:
    """Use this many bytes of memory and free them.

    If a virtual machine has never used memory, or not for long, its host has to find it first. That
    alone can double the time to write a file, and it affects one round but not the next.
    """
    mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE).close()


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
