"""The Markdown files of the repository: their sections, blocks of code, anchors and links."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.servers import ROOT

_FENCE = re.compile(r"```(\w*)")
_NOT_RUN = re.compile(r"<!-- not run: (.+) -->")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block of code."""

    section: str
    """The second-level heading above it; empty before the first."""
    language: str
    text: str
    not_run: str | None
    """The reason for not running it, from the comment above it."""


def documents() -> list[Path]:
    """Return every document that people read: those in the root and those in `docs`."""
    return sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def blocks(path: Path) -> Iterator[Block]:
    """Return the blocks of a document, in their order."""
    section, before, lines = "", "", iter(path.read_text().splitlines())
    for line in lines:
        if line.startswith("## "):
            section = line.removeprefix("## ")
        if fence := _FENCE.fullmatch(line.strip()):
            inside = []
            for inner in lines:
                if inner.strip() == "```":
                    break
                inside.append(f"{inner}\n")
            reason = _NOT_RUN.fullmatch(before)
            yield Block(section, fence[1], "".join(inside), reason and reason[1])
        before = line


def prose(path: Path) -> str:
    """Return a document without its blocks and spans of code."""
    text = re.sub(r"^ *```.*?^ *```$", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"`[^`\n]+`", "code", text)


def links(path: Path) -> list[str]:
    """Return the targets of its links and images, as they are written."""
    return re.findall(r"\]\(([^()\s]+)\)", prose(path))


def anchors(path: Path) -> set[str]:
    """Return what may follow a `#` in a link to it, as GitHub and GitLab derive it."""
    text = re.sub(r"^ *```.*?^ *```$", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    shown = (re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading) for heading in headings)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in shown}
