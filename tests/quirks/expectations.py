"""The result of each operation on each registry: tests assert it, the documentation prints it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

OPERATIONS = (
    "list",
    "paged list",
    "download",
    "ranged download",
    "publish",
    "second file",
    "re-publish",
    "delete file",
    "delete version",
    "yank",
    "missing project",
    "denied",
    "anonymous",
)


@dataclass(frozen=True, slots=True)
class Cell:
    """A response of the application: its status, a part of its text, and its entry in the table."""

    status: int
    says: str = ""
    words: str = "yes"


OK = Cell(200)
STAYS = Cell(200, "keeps the bytes", "bytes kept")
OPEN = Cell(200, words="allowed")
EMPTY = Cell(200, words="empty page")
ASKED = Cell(401, words="401")
FORBIDDEN = Cell(403, words="403")
NOTHING = Cell(401, words="n/a")
"""There is no package to do this with."""
REFUSED = Cell(405, "does not seem to accept packages", "no (405)")

_USUAL: Mapping[str, Cell] = dict.fromkeys(OPERATIONS, OK) | {
    "ranged download": Cell(206),
    "re-publish": Cell(409, "already exists", "409"),
    "missing project": Cell(404, words="404"),
    "denied": ASKED,
    "anonymous": ASKED,
}
_KEEPS = {"delete file": STAYS, "delete version": STAYS}


def _with(**cells: Cell) -> Mapping[str, Cell]:
    return {**_USUAL, **{name.replace("_", " "): cell for name, cell in cells.items()}}


SIMULATED: Mapping[str, Mapping[str, Cell]] = {
    "ghcr": {**_USUAL, **_KEEPS},
    "acr": _USUAL,
    "ecr_private": {**_USUAL, **_KEEPS, "denied": FORBIDDEN},
    "ecr_public": _with(anonymous=OPEN),
    "google": _USUAL,
    "docker_hub": {**_USUAL, **_KEEPS, "missing project": ASKED, "anonymous": OPEN},
    "quay": _with(missing_project=ASKED),
    "harbor": _with(delete_file=STAYS),
    "gitlab": {
        **dict.fromkeys(OPERATIONS, NOTHING),
        "publish": REFUSED,
        "second file": REFUSED,
        "re-publish": REFUSED,
        "missing project": ASKED,
        "denied": ASKED,
        "anonymous": ASKED,
    },
    "jfrog": _USUAL,
    "gitea": _USUAL,
    "zot": {**_USUAL, **_KEEPS, "denied": FORBIDDEN},
    "distribution_2_8": _USUAL,
    "distribution_3": _USUAL,
}

TRIED: Mapping[str, Mapping[str, Cell]] = {
    "docker_open": _with(denied=OPEN, anonymous=OPEN),
    "docker_htpasswd": _USUAL,
    "zuul": {**_USUAL, **_KEEPS, "missing project": EMPTY},
    "embedded_socket": _USUAL,
    "embedded_in_process": _with(denied=OPEN, anonymous=OPEN),
}

NAMES: Mapping[str, str] = {
    "ghcr": "GitHub (ghcr.io)",
    "acr": "Azure ACR",
    "ecr_private": "AWS ECR, private",
    "ecr_public": "AWS ECR, public",
    "google": "Google Artifact Registry",
    "docker_hub": "Docker Hub",
    "quay": "Quay",
    "harbor": "Harbor",
    "gitlab": "GitLab",
    "jfrog": "JFrog Artifactory",
    "gitea": "Gitea, Forgejo",
    "zot": "zot",
    "distribution_2_8": "distribution 2.8, Bearer",
    "distribution_3": "distribution 3.x, Bearer",
    "docker_open": "distribution 2.8, open",
    "docker_htpasswd": "distribution 2.8, htpasswd",
    "zuul": "zuul-registry",
    "embedded_socket": "embedded, on a socket, with users",
    "embedded_in_process": "embedded, in the application",
}


def table(matrix: Mapping[str, Mapping[str, Cell]]) -> str:
    """Return the matrix as a Markdown table."""
    rows = [_row(["registry", *OPERATIONS]), _row(["---"] * (len(OPERATIONS) + 1))]
    for profile, cells in matrix.items():
        rows.append(_row([NAMES[profile], *(cells[name].words for name in OPERATIONS)]))
    return "\n".join(rows)


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
