"""What the application under gunicorn has logged about its requests."""

import re
from urllib.parse import unquote

from tests.servers import RunningServer, wait_until


def answers(
    server: RunningServer, method: str, url: str, expected: int = 0
) -> list[dict[str, str]]:
    """Return the fields of the access log's lines about a URL, oldest first.

    A line is written after the response was sent, so a client may be done before the line exists:
    wait until there are as many lines as expected.
    """
    path = re.escape(unquote(url.removeprefix(server.url)))  # as it is logged
    pattern = re.compile(rf"(?m)^.* logger=pyoci\.access .*\bmethod={method} path={path} .*$")

    def found() -> list[dict[str, str]]:
        return [dict(re.findall(r"(\w+)=(\S+)", line)) for line in pattern.findall(server.logged())]

    wait_until(lambda: len(found()) >= expected)
    return found()
