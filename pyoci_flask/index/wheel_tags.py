"""What a distribution file runs on, in words, from the tags in its name.

The format of the tags is that of the platform compatibility tags specification. A wheel's name has
three compressed sets of them: interpreters, ABIs and platforms. They are described set by set,
because a name of 255 characters can stand for more than 50,000 combinations. A tag that is not
known stays as it is.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from pyoci_flask.index.names import WHEEL, Filename

ANY = "Any system"
SEVERAL = "Several systems"
OTHER = "Other systems"
SOURCE = "Source"
SYSTEMS = (
    *(ANY, "Windows", "macOS", "Linux", "Android", "iOS", "WebAssembly"),
    *(SEVERAL, OTHER, SOURCE),
)
"""The kinds of systems, in the order in which they are listed."""

_MOST = 4
"""Maximum number of platforms, and of interpreters, that are described for one file."""
_MOST_READ = 16
"""Maximum number of tags of a set that are read. Real wheels have at most about ten."""

_ARCHITECTURES = {
    "x86_64": "x86-64",
    "amd64": "x86-64",
    "i686": "x86",
    "i386": "x86",
    "x86": "x86",
    "aarch64": "ARM64",
    "arm64": "ARM64",
    "arm64_v8a": "ARM64",
    "armv7l": "ARMv7",
    "armeabi_v7a": "ARMv7",
    "armv6l": "ARMv6",
    "ppc64le": "POWER (ppc64le)",
    "riscv64": "RISC-V",
    "loongarch64": "LoongArch",
}
_MAC_ARCHITECTURES = {
    "arm64": "Apple silicon",
    "x86_64": "Intel",
    "intel": "Intel",
    "universal2": "Apple silicon and Intel",
}
_WINDOWS = {"win32": "x86", "win_amd64": "x86-64", "win_arm64": "ARM64"}
_OLD_MANYLINUX = {"1": (2, 5), "2010": (2, 12), "2014": (2, 17)}
"""The glibc of the platforms that are named by a year or number (PEP 513, 571, 599)."""

_INTERPRETERS = {
    "cp": "CPython",
    "pp": "PyPy",
    "pypy": "PyPy",
    "graalpy": "GraalPy",
    "ip": "IronPython",
    "jy": "Jython",
    "py": "Python",
}
_INTERPRETER = re.compile(r"([a-z]+)([0-9])([0-9]{0,3})", re.ASCII)
_STABLE = {"abi3": "abi3", "abi3t": "free-threaded, abi3t"}
"""ABIs that later versions of CPython have as well (PEP 384, 803)."""


@dataclass(frozen=True, slots=True)
class RunsOn:
    """What a file runs on."""

    system: str
    """One of `SYSTEMS`."""
    words: str
    """Such as `Linux x86-64, CPython 3.12`."""
    details: tuple[str, ...] = ()
    """What else the system or the file has to be, such as `glibc 2.17 or newer`."""
    python: tuple[int, int] = (0, 0)
    """The newest version of Python that is named, for sorting."""


@dataclass(frozen=True, slots=True)
class _Platform:
    """One platform tag. Those that differ only in `minimum` are shown as one."""

    system: str
    name: str
    architecture: str = ""
    minimum: tuple[int, ...] = field(default=(), compare=False)
    library: str = ""
    """The library or API whose version `minimum` is, or empty if it is that of the system."""

    @property
    def words(self) -> str:
        if self.minimum and not self.library:
            newer = f"{self.name} {_version(self.minimum)} or newer"
            return f"{newer}, {self.architecture}" if self.architecture else newer
        return f"{self.name} {self.architecture}".rstrip()

    @property
    def details(self) -> str:
        if not self.library or not self.minimum:
            return ""
        return f"{self.library} {_version(self.minimum)} or newer"


def runs_on(filename: Filename) -> RunsOn:
    """Describe what a file runs on. An sdist is built on the system that installs it."""
    if not filename.is_wheel:
        return RunsOn(SOURCE, SOURCE)
    *build, interpreters, abis, platforms = filename.architecture.removesuffix(WHEEL).split("-")
    tags, unread = _parts(platforms)
    named = _merged(map(_platform, tags))
    details = [one.details for one in named]
    details += [f"build {number}" for number in build]
    words = (_joined([one.words for one in named], " and ", unread), _pythons(interpreters, abis))
    return RunsOn(
        _system({one.system for one in named}),
        ", ".join(filter(None, words)),
        tuple(dict.fromkeys(filter(None, details)))[:_MOST],
        max(map(_number, _parts(interpreters)[0]), default=(0, 0)),
    )


def _system(named: set[str]) -> str:
    if ANY in named:
        return ANY
    return SEVERAL if len(named) > 1 else next(iter(named), OTHER)


def _parts(compressed: str) -> tuple[list[str], int]:
    """Return the tags of a compressed set, each once, and how many more it has than are read."""
    tags = [*dict.fromkeys(filter(None, compressed.split(".")))]
    return tags[:_MOST_READ], len(tags[_MOST_READ:])


def _joined(words: Iterable[str], sign: str, more: int = 0) -> str:
    every = [*dict.fromkeys(words)]
    more += len(every[_MOST:])
    return sign.join([*every[:_MOST], *([f"{more} more"] if more else [])])


def _version(numbers: tuple[int, ...]) -> str:
    """Write a version. macOS and iOS are called `11`, not `11.0`."""
    major, *rest = numbers
    return ".".join(map(str, (major, *rest) if any(rest) else (major,)))


def _merged(platforms: Iterable[_Platform]) -> list[_Platform]:
    """Keep, of platforms that differ only in their minimum, the one that is oldest."""
    lowest: dict[_Platform, _Platform] = {}
    for one in platforms:
        known = lowest.get(one)
        if known is None or one.minimum < known.minimum:
            lowest[one] = one
    return [*lowest.values()]


def _platform(tag: str) -> _Platform:
    if tag == "any":
        return _Platform(ANY, ANY)
    if tag in _WINDOWS:
        return _Platform("Windows", "Windows", _WINDOWS[tag])
    kind = tag.partition("_")[0].rstrip("0123456789")
    for pattern, make in _PATTERNS.get(kind, ()):
        found = re.fullmatch(pattern, tag.removeprefix(kind), re.ASCII)
        if found is not None:
            return make(*found.groups())
    return _Platform(OTHER, tag)


def _architecture(tag: str) -> str:
    return _ARCHITECTURES.get(tag, tag)


def _linux(architecture: str) -> _Platform:
    return _Platform("Linux", "Linux", _architecture(architecture))


def _glibc(major: str, minor: str, architecture: str) -> _Platform:
    needed = (int(major), int(minor))
    return _Platform("Linux", "Linux", _architecture(architecture), needed, "glibc")


def _old_glibc(year: str, architecture: str) -> _Platform:
    needed = _OLD_MANYLINUX[year]
    return _Platform("Linux", "Linux", _architecture(architecture), needed, "glibc")


def _musl(major: str, minor: str, architecture: str) -> _Platform:
    needed = (int(major), int(minor))
    return _Platform("Linux", "musl Linux", _architecture(architecture), needed, "musl")


def _mac(major: str, minor: str, architecture: str) -> _Platform:
    name = _MAC_ARCHITECTURES.get(architecture, architecture)
    return _Platform("macOS", "macOS", name, (int(major), int(minor)))


def _android(level: str, architecture: str) -> _Platform:
    return _Platform(
        "Android", "Android", _architecture(architecture), (int(level),), "Android API level"
    )


def _ios(major: str, minor: str, architecture: str, device: str) -> _Platform:
    name = "iOS" if device == "iphoneos" else "iOS simulator"
    return _Platform("iOS", name, _architecture(architecture), (int(major), int(minor)))


def _pyodide(version: str) -> _Platform:
    return _Platform("WebAssembly", f"Pyodide {version.replace('_', '.')}", "(WebAssembly)")


def _emscripten(version: str) -> _Platform:
    return _Platform("WebAssembly", f"Emscripten {version.replace('_', '.')}", "(WebAssembly)")


def _wasi(version: str) -> _Platform:
    return _Platform("WebAssembly", f"WASI {version.replace('_', '.')}".rstrip(), "(WebAssembly)")


_NUMBER = "([0-9]{1,4})"
_PATTERNS: dict[str, tuple[tuple[str, Callable[..., _Platform]], ...]] = {
    "manylinux": (
        (rf"_{_NUMBER}_{_NUMBER}_(\w+)", _glibc),
        (r"(1|2010|2014)_(\w+)", _old_glibc),
    ),
    "musllinux": ((rf"_{_NUMBER}_{_NUMBER}_(\w+)", _musl),),
    "linux": ((r"_(\w+)", _linux),),
    "macosx": ((rf"_{_NUMBER}_{_NUMBER}_(\w+)", _mac),),
    "android": ((rf"_{_NUMBER}_(\w+)", _android),),
    "ios": ((rf"_{_NUMBER}_{_NUMBER}_(\w+?)_(iphoneos|iphonesimulator)", _ios),),
    "pyodide": ((r"_([0-9_]{1,20})_wasm32", _pyodide),),
    "pyemscripten": ((r"_([0-9_]{1,20})_wasm32", _pyodide),),
    "emscripten": ((r"_([0-9_]{1,20})_wasm32", _emscripten),),
    "wasi": ((r"_?([0-9_]{0,20}?)_wasm32", _wasi),),
}
"""Maps the letters at the beginning of a platform tag to what may follow them."""


def _number(interpreter: str) -> tuple[int, int]:
    found = _INTERPRETER.fullmatch(interpreter)
    return (int(found[2]), int(found[3] or 0)) if found and found[1] in _INTERPRETERS else (0, 0)


def _pythons(interpreters: str, abis: str) -> str:
    """Describe interpreters with their ABIs."""
    (tags, unread), (kinds, _) = _parts(interpreters), _parts(abis)
    majors = [tag[2:] for tag in tags if tag in {"py2", "py3"}]
    words = [f"Python {' and '.join(sorted(majors))}"] if majors else []
    words += [_python(tag, kinds) for tag in tags if tag not in {"py2", "py3"}]
    return _joined(words, ", ", unread)


def _python(tag: str, abis: list[str]) -> str:
    found = _INTERPRETER.fullmatch(tag)
    name = _INTERPRETERS.get(found[1]) if found else None
    if found is None or name is None:
        return tag
    version = f"{name} {found[2]}{'.' if found[3] else ''}{found[3]}"
    # In a set, the ABI of an interpreter begins with its tag.
    own = [abi for abi in abis if abi.startswith(tag)] or abis
    stable = [_STABLE[abi] for abi in own if abi in _STABLE]
    if stable:
        return f"{version} or newer ({_joined(stable, ', ')})"
    if own in ([tag], ["none"], [f"{tag}m"]) or name == "PyPy" or name == "GraalPy":
        # Pure Python for a version of Python also runs on the versions after it.
        return f"{version} or newer" if name == "Python" and found[3] else version
    if own == [f"{tag}t"]:
        return f"{version} free-threaded"
    return f"{version} ({_joined(own, ', ')})"
