"""Where pip looks for projects that the indexes of a run do not have."""

import os
import subprocess
import sys
from functools import lru_cache

_ASK = (
    "from pip._internal.commands import create_command;"
    "print(create_command('install').parser.get_default_values().index_url)"
)
_SECONDS = 30


@lru_cache(maxsize=1)
def pip_index() -> str | None:
    """Return the URL of the index that pip is configured for, or None if pip cannot say it.

    pip reads its variables and its files, and knows the public index.
    """
    try:
        asked = subprocess.run(  # noqa: S603 - no text of others is in it
            [sys.executable, "-c", _ASK],
            env=os.environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    url = asked.stdout.strip().rstrip("/")
    return url if url.startswith(("https://", "http://")) else None
