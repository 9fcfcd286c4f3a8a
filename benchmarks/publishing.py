"""Rows about uploads: a large wheel against one PUT, a small one against six calls.

Also a small one into a project of many versions, against a new project.
"""

import hashlib
import itertools
import time
from dataclasses import dataclass, field

from benchmarks.calls import connections, longest_chain
from benchmarks.clients import digests, publish
from benchmarks.filling import LayoutWriter, RegistryWriter
from benchmarks.floors import publish_in_six, put_blob
from benchmarks.lab import MEGABYTE, NAMESPACE, Lab, repository, say, version_numbers
from benchmarks.machine import touch_memory
from benchmarks.results import Result, Series, Target, interleave
from pyoci_flask.oci.model import EMPTY_CONFIG

_SMALL = 10_000
"""Bytes of a small wheel, about."""
_VERSIONS = 3000
"""Of the project in the embedded registry."""
_FLOOR = repository("small-floor")


def publish_large(lab: Lab) -> list[Result]:
    """Measure a large wheel, from the first byte of the form to the response."""
    megabytes = 40 if lab.quick else 300
    counts: list[int] = []
    needed = 4 * megabytes * MEGABYTE  # the spool, the registry's file, and some spare room

    def figure() -> float:
        version = f"1.{len(counts)}"
        wheel = lab.wheel("large", version, megabytes * MEGABYTE)
        fields = digests(wheel)
        touch_memory(needed)
        with lab.registry.counting() as count:
            seconds = publish(lab.index(lab.warm), wheel, "large", version, fields)
        counts.append(len(count))
        wheel.unlink()
        return seconds

    def floor() -> float:
        wheel = lab.wheel("floor", f"1.{len(counts)}", megabytes * MEGABYTE)
        digest = digests(wheel)["sha256_digest"]
        touch_memory(needed)
        seconds = put_blob(lab.registry.url, repository("floor"), wheel, digest)
        wheel.unlink()
        return seconds

    figures, floors = interleave(lab.rounds(5, 1), figure, floor)
    return [
        Result(
            "publish-large",
            f"publish {megabytes} MB",
            "s",
            figures,
            floors,
            "POST and PUT of as many bytes straight to the registry",
            "ratio",
            Target(2.0),
            max(counts),
        )
    ]


def publish_small(lab: Lab) -> list[Result]:
    """Measure the calls of a small wheel, and their time here and over the slow link."""
    here, far = _SmallWheels(lab, lab.registry.url), _SmallWheels(lab, lab.far.url)
    away = f", {lab.delay * 1000:g} ms away"
    timed = [
        _timed(here, "publish a small wheel", lab.rounds(15, 3)),
        _timed(far, f"publish a small wheel{away}", lab.rounds(15, 3)),
    ]
    chains = Series(tuple(float(length) for length in far.chains))
    chain = Result(
        "publish-small",
        "publish a small wheel, registry calls in sequence",
        "calls",
        chains,
        Series((6.0,)),
        target=Target(8),
        calls=max(far.counts),
        notes=(f"{far.opened[-1]} connections opened, each at the cost of a round trip",),
    )
    return [*timed, chain]


def publish_embedded(lab: Lab) -> list[Result]:
    """Measure a small wheel into an embedded project of many versions, and into a new one."""
    storage = lab.folder / "embedded"
    project = f"versions-{_VERSIONS}"
    say(f"filling the embedded registry: {_VERSIONS} versions of three files")
    LayoutWriter(storage / repository(project)).fill(project, version_numbers(_VERSIONS))
    server = lab.server(PYOCI_STORAGE=str(storage))
    url, numbers = f"{server.url}/embedded/{NAMESPACE}/", itertools.count()

    def into(name: str, version: str) -> float:
        wheel = lab.wheel(name, version, _SMALL)
        seconds = publish(url, wheel, name, version, digests(wheel))
        wheel.unlink()
        return seconds

    def figure() -> float:
        return into(project, f"2.{next(numbers)}")

    def floor() -> float:
        return into(f"new-{next(numbers)}", "1.0")

    figure()  # from here on the layout is as the registry writes it
    figures, floors = interleave(lab.rounds(25, 7), figure, floor)
    return [
        Result(
            "publish-embedded",
            f"publish a small wheel, embedded registry, project of {_VERSIONS:,} versions",
            "ms",
            figures.times(1000),
            floors.times(1000),
            "the same into a new project each time",
            "ratio",
            Target(1.5),
        )
    ]


@dataclass
class _SmallWheels:
    """Publishes small wheels, each a version of its own, to the registry at `url`."""

    lab: Lab
    url: str
    counts: list[int] = field(default_factory=list)
    """Calls of each."""
    chains: list[int] = field(default_factory=list)
    """Calls of each that came one after the other; seen behind the slow link only."""
    opened: list[int] = field(default_factory=list)
    """Connections that were opened for each, there."""
    _numbers: "itertools.count[int]" = field(default_factory=itertools.count)

    def publish(self) -> float:
        """Publish through the application; return the seconds."""
        lab, version = self.lab, f"1.{next(self._numbers)}"
        project = "small-far" if self.url == lab.far.url else "small"
        wheel = lab.wheel(project, version, _SMALL)
        fields = digests(wheel)
        begun, before = time.monotonic(), lab.far.calls()
        with lab.registry.counting() as count:
            seconds = publish(lab.index(lab.warm, self.url), wheel, project, version, fields)
        wheel.unlink()
        calls = lab.far.calls(begun)
        self.counts.append(len(count))
        self.chains.append(len(longest_chain(calls)))
        self.opened.append(connections(calls, before))
        return seconds

    def floor(self) -> float:
        """Publish with six calls on one connection; return the seconds."""
        version = f"1.{next(self._numbers)}"
        content = hashlib.sha256(f"{self.url} {version}".encode()).digest() * (_SMALL // 32)
        writer = RegistryWriter(self.url, _FLOOR)
        writer.find("manifests/none")  # the connection is open from here on
        return publish_in_six(writer, content, version)


def _timed(wheels: _SmallWheels, title: str, rounds: int) -> Result:
    RegistryWriter(wheels.url, _FLOOR).push_blob(
        EMPTY_CONFIG
    )  # the config that the calls of the floor refer to
    wheels.publish()
    figures, floors = interleave(rounds, wheels.publish, wheels.floor)
    return Result(
        "publish-small",
        title,
        "ms",
        figures.times(1000),
        floors.times(1000),
        "6 calls to the registry in sequence",
        "ratio",
        calls=max(wheels.counts),
    )
