"""What the application under gunicorn has logged of its requests."""

import re
from urllib.parse import unquote

from tests.servers import RunningServer, wait_until


def answers(
    server: RunningServer, method: str, url: str, expected: int = 0
) -> list[dict[str, str]]:
    """The fields of the access log's lines about a URL, oldest first.

    A line is written when the answer has been sent, so that a client may be done before it is
    there: wait for as many lines as are expected.
    """
    path = re.escape(unquote(url.removeprefix(server.url)))  # as it is logged
    pattern = re.compile(rf"(?m)^.* logger=pyoci\.access .*\bmethod={method} path={path} .*$")

    def found() -> list[dict[str, str]]:
        return [dict(re.findall(r"(\w+)=(\S+)", line)) for line in pattern.findall(server.logged())]

    wait_until(lambda: len(found()) >= expected)
    return found()
