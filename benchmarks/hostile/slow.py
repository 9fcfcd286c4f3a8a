"""Crowds of clients that wait, or that make the server wait."""

import contextlib
import http.client
import socket
import time
from pathlib import Path

from benchmarks.hostile.attack import Attack, Target
from tests.packages import make_wheel
from tests.servers import LOOPBACK
from tests.slow_clients import Slow, crowd, half_sent, reader, uploader

_WATCHED = 8.0
"""Seconds for which a crowd stays."""
_OWN_REGISTRY = {"PYOCI_STORAGE": "{folder}/storage", "PYOCI_MAX_BODY": "100000000"}
_SIZE = 50_000_000


def _publish(target: Target) -> str:
    """Publish a wheel and return its path on the server."""
    wheel = make_wheel(target.folder, "big", "1.0", size=_SIZE)
    fields = {":action": "file_upload", "protocol_version": "1", "name": "big", "version": "1.0"}
    parts = [
        f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{text}\r\n'
        for name, text in fields.items()
    ]
    file = f'--b\r\nContent-Disposition: form-data; name="content"; filename="{wheel.name}"'
    head = "".join([*parts, f"{file}\r\n\r\n"]).encode()
    body = head + Path(wheel).read_bytes() + b"\r\n--b--\r\n"
    connection = http.client.HTTPConnection(LOOPBACK, target.port, timeout=60)
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    with contextlib.closing(connection):
        connection.request("POST", "/simple/", body, headers)
        status = connection.getresponse().status
    if status != http.client.OK:
        raise RuntimeError(f"the wheel was not published: {status}")
    return f"/simple/big/{wheel.name}"


def _stay(target: Target, behaviour: Slow) -> str:
    with crowd(behaviour, target.port):
        time.sleep(_WATCHED)
        return f"an honest page: {_page(target)}"


def _page(target: Target) -> str:
    connection = http.client.HTTPConnection(LOOPBACK, target.port, timeout=10)
    with contextlib.closing(connection):
        try:
            connection.request("GET", "/simple/big/")
            return str(connection.getresponse().status)
        except TimeoutError:
            return "no answer"


def _readers(target: Target) -> str:
    return _stay(target, reader(_publish(target)))


def _halves(target: Target) -> str:
    _publish(target)
    return _stay(target, half_sent("/simple/big/"))


def _uploads(target: Target) -> str:
    _publish(target)
    return _stay(target, uploader("/simple/"))


def _refused(target: Target) -> str:
    """Each client goes on sending after its upload was refused; the server reads for a while."""
    _publish(target)
    head = b"POST /simple/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 999999999\r\n\r\n"
    return _stay(target, Slow(head, sends=bytes(1024)))


def _many_ports(target: Target) -> str:
    _publish(target)
    with contextlib.ExitStack() as opened:
        for _ in range(70):
            silent = opened.enter_context(socket.create_server((LOOPBACK, 0)))
            path = f"/http%3A%2F%2F{LOOPBACK}%3A{silent.getsockname()[1]}/acme/project/"
            for _ in range(3):
                client = opened.enter_context(socket.create_connection((LOOPBACK, target.port)))
                client.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        time.sleep(1)
        return f"an honest page: {_page(target)}"


ATTACKS = [
    Attack("13", "300 downloads that are read at 8 KB/s", _readers, _OWN_REGISTRY),
    Attack("13", "300 half-sent requests", _halves, _OWN_REGISTRY),
    Attack("13", "300 uploads at 2 KB/s", _uploads, _OWN_REGISTRY),
    Attack("13", "300 refused uploads that go on", _refused, _OWN_REGISTRY),
    Attack("13", "a registry that hangs on 70 ports, 3 requests each", _many_ports, _OWN_REGISTRY),
]
