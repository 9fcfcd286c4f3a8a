"""Where pip looks for projects that the indexes of a run do not have."""

import logging
import os
import subprocess
import sys
from collections.abc import Sequence
from functools import lru_cache
from pathlib import PurePath
from urllib.parse import urlsplit

from pyoci_flask.cli.run.addresses import WITH_FALLBACK, fixed
from pyoci_flask.settings import PinnedIndex

logger = logging.getLogger("pyoci.run")

_ASK = (
    "from pip._internal.commands import create_command;"
    "print(create_command('install').parser.get_default_values().index_url)"
)
_SECONDS = 30
NO_FALLBACK = "none"
"""The value of `--fallback` for no other index."""
CONFIGURED = "PYOCI_RUN_PIP_INDEX_URL"
"""Keeps `PIP_INDEX_URL` as it was outside of all runs."""


def index_after(
    index: PinnedIndex,
    indexes: Sequence[PinnedIndex],
    fallback: str | None,
    command: Sequence[str],
) -> str | None:
    """Return the URL of the index that pip asks after `index`, without a slash at its end.

    It is the next one of `indexes`. After the last one, it is `fallback`; if that is None, the
    index that pip is configured for; if it is `none`, there is none.
    """
    position = indexes.index(index) + 1
    if position < len(indexes):
        return _for_pip(indexes[position])
    if fallback == NO_FALLBACK:
        return None
    found = pip_index() if fallback is None else fallback.rstrip("/")
    if fallback is None and found in {_for_pip(one) for one in indexes}:
        # A run around this one serves the same index. pip must not be sent in a circle.
        found = pip_index(outside=True)
    return None if found is None else for_command(found, command)


def _for_pip(index: PinnedIndex) -> str:
    return f"{fixed(index)}{WITH_FALLBACK}".rstrip("/")


def pip_index(*, outside: bool = False) -> str | None:
    """Return the URL of the index that pip is configured for, or None if pip cannot say it.

    `outside`: the index for which pip was configured before the outermost run was started.

    pip reads its variables and its files, and knows the public index. It is asked once. If it
    cannot say it, for example because Ctrl-C has ended it, it is asked again the next time.
    """
    try:
        return _ask_pip(outside=outside)
    except _NoAnswerError as error:
        logger.error("%s", error)  # noqa: TRY400 - it is all there is to say
        return None


class _NoAnswerError(Exception):
    """pip did not say its index. The text says why."""


@lru_cache(maxsize=2)
def _ask_pip(*, outside: bool) -> str:
    environ = dict(os.environ)
    if outside:
        environ.pop("PIP_INDEX_URL", None)
        if environ.get(CONFIGURED):
            environ["PIP_INDEX_URL"] = environ[CONFIGURED]
    try:
        asked = subprocess.run(  # noqa: S603 - no text of others is in it
            # Without -P, modules in the folder of the project would take the place of Python's.
            [sys.executable, "-P", "-c", _ASK],
            env=environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        why = f"pip cannot be asked for its index ({type(error).__name__})"
        raise _NoAnswerError(why) from error
    url = asked.stdout.strip().rstrip("/")
    if not url.startswith(("https://", "http://")):
        raise _NoAnswerError("pip did not say which index it is configured for; use --fallback")
    return url


def for_command(url: str, command: Sequence[str]) -> str:
    """Return the URL of an index without its credentials if `command` would write them to a file.

    pip was redirected to this URL. It writes the resulting addresses of files, with the credentials
    in them, into a lock file or a report. Without them, it uses `.netrc` or asks for them.
    """
    if not _is_pip_that_writes(command):
        return url
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _is_pip_that_writes(command: Sequence[str]) -> bool:
    is_pip = any(PurePath(word).name.rstrip("0123456789.") == "pip" for word in command)
    return is_pip and any(word == "lock" or word.startswith("--report") for word in command)
