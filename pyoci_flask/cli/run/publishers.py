"""Which commands publish, so that they need no `--publish`."""

from collections.abc import Sequence
from pathlib import PurePath

_ACTIONS = {
    "uv": "publish",
    "twine": "upload",
    "hatch": "publish",
    "flit": "publish",
    "pdm": "publish",
    "poetry": "publish",
}
_WRAPPERS = (("uvx",), ("pipx", "run"), ("uv", "tool", "run"))


def is_publish_command(command: Sequence[str]) -> bool:
    """Return whether a command publishes, such as `uv publish` or `python -m twine upload`.

    Options before the action are not understood, because some of them have a value.
    """
    words = [PurePath(command[0]).name, *command[1:]]
    for wrapper in _WRAPPERS:
        if tuple(words[: len(wrapper)]) == wrapper:
            words = words[len(wrapper) :]
            break
    if words[0].startswith("python") and words[1:2] == ["-m"]:
        words = words[2:]
    return len(words) > 1 and _ACTIONS.get(words[0]) == words[1]
