"""Credentials that a user wrote into an address reach no log, no telemetry and no response."""

import http.client
import itertools
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.doubles import tripwire, wsgi_server
from tests.otlp_collector import OTLPCollector
from tests.servers import LOOPBACK, gunicorn, wait_until

SECRET = "hunter2"
BROWSER = "text/html,application/xhtml+xml,*/*;q=0.8"
PROBLEM = "application/problem+json"
SIMPLE = "application/vnd.pypi.simple.v1+json"

WRITTEN = (
    "alice:hunter2@ghcr.io",
    "ghp_hunter2@ghcr.io",
    "hunter2@ghcr.io:443",
    ":hunter2@ghcr.io",
    "alice:hunter2@",
    "alice:hunter2@localhost:5000",
    "alice:hunter2@[::1]:5000",
    "alice:hunter2@registry",
    "alice:pass/hunter2@ghcr.io",
    "alice:hunter2/word@ghcr.io",
    "first.last:12/hunter2@ghcr.io",
    "hunter2/hunter2@ghcr.io",
    "a/b/hunter2/c@ghcr.io",
    "alice:hunter2@x@ghcr.io",
    "alice@example.com:hunter2@ghcr.io",
    "alice:@hunter2@ghcr.io",
    "alice:hunter2:more@ghcr.io",
    "alice:hunter2?a=b@ghcr.io",
    "alice:hunter2#a@ghcr.io",
    "alice:hunter2&a=(b);c,d'e!$*+~@ghcr.io",
    'alice:a"hunter2<b>@ghcr.io',
    "alice:a hunter2@ghcr.io",
    "alice:\u00fc\u4e16hunter2@ghcr.io",
    "https://bob:hunter2@ghcr.io",
    "robot$acme+ci:hunter2@ghcr.io",
    "alice:hunter2%2F%40@ghcr.io",
)
"""Return userinfo in front of a host, as people write it who have seen it work elsewhere."""

PLACES = (
    "/{}",
    "/{}/acme/x/",
    "/{}/acme/x",
    "/{}/acme/x/x-1.0.tar.gz",
    "/https://{}/acme/x/",
    "/https:/{}/acme/x/",
    "/https%3A%2F%2F{}/acme/x/",
    "/https%253A%252F%252F{}/acme/x/",
    "/ui/{}/acme/x/",
    "/ui/http://{}/acme/x/",
    "/embedded/{}/x/",
    "/embedded/acme/{}",
    "/embedded/acme/{}/",
    "/embedded/acme/x/{}",
    "/embedded/acme/x/{}.tar.gz",
    "/ghcr.io/{}/x/",
    "/simple/{}",
    "/simple/{}/",
    "/simple/x/{}",
    "/ui/simple/{}/1.0/",
    "/v2/{}/manifests/1.0",
    "/v2/acme/x/manifests/{}",
    "/?registry={}&namespace=acme",
    "/?registry=https://{}&namespace=acme",
    "/?registry=ghcr.io&namespace={}",
    "/ui/simple/?project={}",
    "/ui/simple/?q={}",
    "/simple/x?password={}",
)


@dataclass(frozen=True, slots=True)
class Answer:
    """Return everything that a client sees of a response."""

    target: str
    status: int
    text: str


def _spellings(written: str) -> list[str]:
    """Return `written` as it is, if a request line can contain it, and percent-encoded."""
    once = quote(written, safe="")
    twice = quote(once, safe="")
    parts = quote(written, safe=":/@")
    plain = [written] if written.isascii() and " " not in written else []
    return [*plain, parts, once, once.lower(), twice, quote(twice, safe="")]


TARGETS = sorted(
    {
        place.format(spelled)
        for written, place in itertools.product(WRITTEN, PLACES)
        for spelled in _spellings(written)
    }
)


def _ask(client: http.client.HTTPConnection, method: str, target: str, accept: str) -> Answer:
    client.putrequest(method, target)
    client.putheader("Accept", accept)
    client.putheader("Content-Length", "0")
    client.endheaders()
    answer = client.getresponse()
    body = answer.read().decode("latin-1")
    return Answer(f"{method} {target}", answer.status, f"{answer.reason} {answer.headers} {body}")


@pytest.mark.acceptance
@pytest.mark.parametrize("own", ["embedded", "elsewhere"])
def test_no_spelling_of_userinfo_is_logged_traced_or_answered(tmp_path: Path, own: str) -> None:
    accepts = itertools.cycle((BROWSER, PROBLEM, SIMPLE, "*/*"))
    methods = itertools.cycle(("GET", "GET", "GET", "HEAD", "POST", "DELETE", "PATCH"))
    with (
        OTLPCollector() as collector,
        wsgi_server(tripwire()) as registry,
        gunicorn(
            tmp_path,
            {
                "OTLP_ENDPOINT": collector.url,
                "LOG_LEVEL": "debug",
                "PYOCI_STORAGE": str(tmp_path / "storage"),
                **({"PYOCI_REGISTRIES": "embedded"} if own == "embedded" else {}),
                **({"PYOCI_INDEX": f"{registry}/acme"} if own == "elsewhere" else {}),
            },
        ) as server,
    ):
        client = http.client.HTTPConnection(LOOPBACK, server.port, timeout=60)
        answers = [_ask(client, next(methods), target, next(accepts)) for target in TARGETS]
        client.close()
        wait_until(lambda: server.logged().count("logger=pyoci.access") >= len(TARGETS))
    exported = "\n".join(str(export.message) for export in collector.exports)

    assert exported.count("url.path") >= len(TARGETS)
    leaking = [answer.target for answer in answers if SECRET in answer.text]
    # To a server, the part of a password after a bare ? is a query.
    assert [target for target in leaking if "?a=b@" not in target] == []
    assert [line for line in server.logged().splitlines() if SECRET in line] == []
    assert [line for line in exported.splitlines() if SECRET in line] == []
    assert {answer.status for answer in answers} >= {200, 400, 404}
