"""Which commands publish, so that they need no `--publish`."""

from collections.abc import Sequence
from pathlib import PurePath

from pyoci_flask.errors import ConfigurationError

_ACTIONS = {
    "uv": "publish",
    "twine": "upload",
    "hatch": "publish",
    "flit": "publish",
    "pdm": "publish",
    "poetry": "publish",
}
_WRAPPERS = (
    ("uvx",),
    ("pipx", "run"),
    ("uv", "tool", "run"),
    ("uv", "run"),
    ("poetry", "run"),
    ("pdm", "run"),
    ("hatch", "run"),
    ("pipenv", "run"),
)


def is_publish_command(command: Sequence[str]) -> bool:
    """Return whether a command publishes, such as `uv publish` or `python -m twine upload`.

    Options before the action are not understood, because some of them have a value.

    Raises:
        ConfigurationError: the command would publish, but to the public index.
    """
    words = _without_wrapper(command)
    # `uvx twine@6` runs a certain version.
    program = words[0].partition("@")[0] if words else ""
    if len(words) < 2 or _ACTIONS.get(program) != words[1]:
        return False
    if program == "poetry" and not _names_repository(words[2:]):
        # No variable chooses where poetry publishes.
        raise ConfigurationError(
            "poetry would publish to the public index: use `poetry publish -r run`"
        )
    return True


def _without_wrapper(command: Sequence[str]) -> list[str]:
    words = [PurePath(command[0]).name, *command[1:]]
    for wrapper in _WRAPPERS:
        if tuple(words[: len(wrapper)]) == wrapper:
            words = words[len(wrapper) :]
            break
    if words and words[0].startswith("python") and words[1:2] == ["-m"]:
        words = words[2:]
    return words


def _names_repository(words: Sequence[str]) -> bool:
    """Return whether a repository is named, or poetry only shows its help."""
    return any(word.startswith(("-r", "--repository", "-h", "--help")) for word in words)
