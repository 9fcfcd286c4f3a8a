"""What a file runs on, from the tags in its name."""

import time

import pytest

from pyoci_flask.index.names import Filename, ProjectName
from pyoci_flask.index.wheel_tags import SYSTEMS, runs_on

PROJECT = ProjectName("demo")


@pytest.mark.parametrize(
    ("tags", "system", "words", "details"),
    [
        ("py3-none-any", "Any system", "Any system, Python 3", ()),
        ("py2.py3-none-any", "Any system", "Any system, Python 2 and 3", ()),
        ("py310-none-any", "Any system", "Any system, Python 3.10 or newer", ()),
        ("1-py3-none-any", "Any system", "Any system, Python 3", ("build 1",)),
        (
            "cp312-cp312-manylinux_2_17_x86_64.manylinux2014_x86_64",
            "Linux",
            "Linux x86-64, CPython 3.12",
            ("glibc 2.17 or newer",),
        ),
        (
            "cp312-cp312-manylinux_2_28_aarch64.manylinux1_aarch64",
            "Linux",
            "Linux ARM64, CPython 3.12",
            ("glibc 2.5 or newer",),
        ),
        ("cp312-cp312-linux_s390x", "Linux", "Linux s390x, CPython 3.12", ()),
        (
            "cp313-cp313t-musllinux_1_2_x86_64",
            "Linux",
            "musl Linux x86-64, CPython 3.13 free-threaded",
            ("musl 1.2 or newer",),
        ),
        (
            "py3-none-manylinux2014_i686.musllinux_1_1_i686",
            "Linux",
            "Linux x86 and musl Linux x86, Python 3",
            ("glibc 2.17 or newer", "musl 1.1 or newer"),
        ),
        (
            "cp38-abi3-macosx_11_0_arm64",
            "macOS",
            "macOS 11 or newer, Apple silicon, CPython 3.8 or newer (abi3)",
            (),
        ),
        (
            "cp39-cp39-macosx_10_9_intel.macosx_10_9_x86_64.macosx_10_10_x86_64",
            "macOS",
            "macOS 10.9 or newer, Intel, CPython 3.9",
            (),
        ),
        (
            "cp312-cp312-macosx_10_13_universal2",
            "macOS",
            "macOS 10.13 or newer, Apple silicon and Intel, CPython 3.12",
            (),
        ),
        ("cp36-cp36m-win32", "Windows", "Windows x86, CPython 3.6", ()),
        ("cp27-cp27mu-win_amd64", "Windows", "Windows x86-64, CPython 2.7 (cp27mu)", ()),
        ("cp312-cp312-win_arm64", "Windows", "Windows ARM64, CPython 3.12", ()),
        ("cp312-none-win32", "Windows", "Windows x86, CPython 3.12", ()),
        ("pp310-pypy310_pp73-win_amd64", "Windows", "Windows x86-64, PyPy 3.10", ()),
        (
            "graalpy311-graalpy242_311_native-linux_x86_64",
            "Linux",
            "Linux x86-64, GraalPy 3.11",
            (),
        ),
        (
            "cp313-cp313-android_21_arm64_v8a",
            "Android",
            "Android ARM64, CPython 3.13",
            ("Android API level 21 or newer",),
        ),
        (
            "cp313-cp313-ios_13_0_arm64_iphoneos",
            "iOS",
            "iOS 13 or newer, ARM64, CPython 3.13",
            (),
        ),
        (
            "cp313-cp313-ios_13_4_x86_64_iphonesimulator",
            "iOS",
            "iOS simulator 13.4 or newer, x86-64, CPython 3.13",
            (),
        ),
        (
            "cp312-cp312-pyodide_2024_0_wasm32",
            "WebAssembly",
            "Pyodide 2024.0 (WebAssembly), CPython 3.12",
            (),
        ),
        (
            "cp312-cp312-emscripten_3_1_58_wasm32",
            "WebAssembly",
            "Emscripten 3.1.58 (WebAssembly), CPython 3.12",
            (),
        ),
        ("cp314-cp314-wasi_wasm32", "WebAssembly", "WASI (WebAssembly), CPython 3.14", ()),
        (
            "py3-none-macosx_11_0_arm64.win_amd64",
            "Several systems",
            "macOS 11 or newer, Apple silicon and Windows x86-64, Python 3",
            (),
        ),
        ("py3-none-win_amd64.any", "Any system", "Windows x86-64 and Any system, Python 3", ()),
        ("xx9-yy-zz_1", "Other systems", "zz_1, xx9", ()),
        ("cp-none-solaris", "Other systems", "solaris, cp", ()),
        ("cp312-odd-solaris", "Other systems", "solaris, CPython 3.12 (odd)", ()),
        ("cp39999999-abi3-any", "Any system", "Any system, cp39999999", ()),
        (
            "py3-none-macosx_99999_0_arm64",
            "Other systems",
            "macosx_99999_0_arm64, Python 3",
            (),
        ),
        (
            "py3-none-a.b.c.d.e.f.a",
            "Other systems",
            "a and b and c and d and 2 more, Python 3",
            (),
        ),
    ],
)
def test_tags_in_words(tags: str, system: str, words: str, details: tuple[str, ...]) -> None:
    found = runs_on(Filename.parse(f"demo-1.0-{tags}.whl", PROJECT))

    assert (found.system, found.words, found.details) == (system, words, details)
    assert found.system in SYSTEMS


def test_sdist_is_source() -> None:
    found = runs_on(Filename.parse("demo-1.0.tar.gz", PROJECT))

    assert (found.system, found.words) == ("Source", "Source")


@pytest.mark.parametrize("tag", ["a", "cp39", "manylinux_2_17_x86_64"])
def test_longest_name_is_described_quickly_and_in_few_words(tag: str) -> None:
    """Its combinations would be tens of thousands."""
    some = ".".join(f"{tag}{number}" for number in range(78 // (len(tag) + 3)))
    filename = Filename.parse(f"demo-1.0-{some}-{some}-{some}.whl", PROJECT)
    begun = time.process_time()

    for _ in range(100):
        words = runs_on(filename).words

    assert time.process_time() - begun < 1
    assert len(words) < 1000
