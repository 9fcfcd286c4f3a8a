"""Text that is searched for secrets before it is logged or answered."""

import http.client

from benchmarks.hostile.attack import Attack, Target
from tests.servers import LOOPBACK


def _long_action(target: Target) -> str:
    name = 'Content-Disposition: form-data; name=":action"'
    file = 'Content-Disposition: form-data; name="content"; filename="a-1.0.tar.gz"'
    parts = [f"--b\r\n{name}\r\n\r\n{'=a:' * 16_000} @", f"--b\r\n{file}\r\n\r\nx", "--b--\r\n"]
    body = "\r\n".join(parts).encode()
    connection = http.client.HTTPConnection(LOOPBACK, target.port, timeout=120)
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    connection.request("POST", "/localhost:1/acme/", body, headers)
    return str(connection.getresponse().status)


ATTACKS = [Attack("8", "48 KB in the form field `:action`", _long_action)]
