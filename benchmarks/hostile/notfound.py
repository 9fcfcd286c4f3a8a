"""A proxy in front of the registry that answers 404 by itself."""

import requests
from werkzeug.wrappers import Response

from benchmarks.hostile.attack import Attack, Target
from tests.doubles import answering, wsgi_server
from tests.integration.index_client import IndexClient, address
from tests.packages import make_wheel
from tests.proxy_answers import PROXY_BODIES


def _proxied(target: Target) -> str:
    pages, uploads = set[int](), set[int]()
    wheel = make_wheel(target.folder, "internal-tool", "1.0")
    with requests.Session() as session:
        session.trust_env = False
        for body in PROXY_BODIES.values():
            with wsgi_server(answering(Response(body, 404))) as proxy:
                index = IndexClient(f"{target.url}/{address(proxy)}/team", None, session)
                pages.add(index.get("/internal-tool/").status_code)
                uploads.add(index.publish(wheel, "internal-tool", "1.0").status_code)
    return f"page {_shown(pages)}, upload {_shown(uploads)}"


def _shown(statuses: set[int]) -> str:
    return "/".join(str(status) for status in sorted(statuses))


ATTACKS = [
    Attack(
        "14",
        f"{len(PROXY_BODIES)} kinds of a proxy's own 404, with a fallback index",
        _proxied,
        {
            "PYOCI_FALLBACK_INDEX": "https://public.example/simple",
            "PYOCI_FALLBACK_EXCLUDE": "acme-*",
        },
    )
]
