"""A registry with thousands of projects, all of which have the content of one."""

import json
import re
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from werkzeug.wrappers import Request, Response

from tests.patience import PATIENCE

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

CATALOG = "/v2/_catalog"


@dataclass(slots=True)
class ManyProjects:
    """Lists `names` below `team`, and answers for each of them like `app` for `team/model`.

    `calls` are the paths of all requests. Requests for a project wait while `released` is not set.
    """

    app: "WSGIApplication"
    names: list[str]
    calls: list[str] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.released.set()

    def __call__(self, environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
        path = Request(environ).path
        self.calls.append(path)
        if path == CATALOG:
            listed = json.dumps({"repositories": [f"team/{name}" for name in self.names]})
            return Response(listed, content_type="application/json")(environ, start)
        assert self.released.wait(PATIENCE)
        environ["PATH_INFO"] = re.sub("^/v2/team/[^/]+/", "/v2/team/model/", path)
        return self.app(environ, start)

    def taken(self) -> list[str]:
        """Return the calls since the last time."""
        calls, self.calls[:] = self.calls[:], []
        return calls
