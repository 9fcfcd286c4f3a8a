"""What is said, and logged, about a registry that does not answer. All on real sockets."""

import logging
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pyoci_flask.errors import PyOCIError, RegistryTimeoutError, RegistryUnreachableError
from pyoci_flask.transport.network import Network
from pyoci_flask.transport.request import Request
from pyoci_flask.transport.session import Transport
from tests.doubles import closed_port
from tests.patience import PATIENCE
from tests.servers import LOOPBACK
from tests.unit.doubles import Answer, http_double

Failing = Callable[..., PyOCIError]


@pytest.fixture
def failing(caplog: pytest.LogCaptureFixture) -> Failing:
    """Return the error of a call, after a check that it was logged once, as a warning."""

    def call(url: str, network: Network | None = None, *, seconds: float = PATIENCE) -> PyOCIError:
        transport = Transport(
            network=network or Network(),
            pool_size=1,
            connect_timeout=seconds,
            read_timeout=seconds,
            listed=lambda *_: True,
        )
        caplog.clear()
        try:
            with caplog.at_level(logging.WARNING), pytest.raises(PyOCIError) as caught:
                transport.send(Request("GET", f"{url}/v2/", url, idempotent=True)).read(10)
        finally:
            transport.close()
        (logged,) = [one for one in caplog.records if one.name == "pyoci.registry"]
        assert logged.levelno == logging.WARNING
        assert str(caught.value) in logged.getMessage()
        return caught.value

    return call


def test_port_that_nobody_listens_on_is_a_registry_that_is_down(
    failing: Failing, caplog: pytest.LogCaptureFixture
) -> None:
    with closed_port() as url:
        error = failing(url)

    assert isinstance(error, RegistryUnreachableError)
    assert error.text == (
        f"Check that {url[7:]} is running and that the port is right. "
        f"no connection to {url[7:]}: it is down, or the port is wrong"
    ).replace(" no connection", " No connection")
    assert "(ConnectionRefusedError: [Errno 111] Connection refused)" in caplog.text


def test_name_that_cannot_exist_is_unknown(
    failing: Failing, caplog: pytest.LogCaptureFixture
) -> None:
    name = f"{'a' * 64}.example"
    error = failing(f"http://{name}")

    assert error.advice.startswith(f"Check the spelling of {name}, ")
    assert str(error) == f"no connection to {name}: its name is unknown"
    assert "(gaierror: " in caplog.text or "(UnicodeError: " in caplog.text


def test_connection_that_is_closed_at_once_is_told_from_a_closed_port(failing: Failing) -> None:
    with _server(lambda sock: sock.close()) as port:
        error = failing(f"http://{LOOPBACK}:{port}")

    assert str(error).endswith("or it was closed without an answer")


@pytest.mark.parametrize(
    ("names", "days", "said", "todo"),
    [
        ("IP:127.0.0.1", ("-2", "-1"), "its certificate has expired", "Renew the certificate of"),
        ("IP:127.0.0.1", ("+5", "+9"), "its certificate is not valid yet", "Check the clocks"),
        ("DNS:other.example", ("-1", "+9"), "is for another host", "Use the host name"),
    ],
)
def test_reason_why_a_trusted_certificate_is_not_accepted_is_said(
    failing: Failing,
    tmp_path: Path,
    names: str,
    days: tuple[str, str],
    said: str,
    todo: str,
) -> None:
    made = _certificate(tmp_path, names, *days)
    network = Network(ca_bundle=str(made[0]), ca_variable="SSL_CERT_FILE")
    with http_double(lambda _: Answer(), made) as server:
        error = failing(server.url, network)

    assert said in str(error)
    assert error.advice.startswith(todo)


@pytest.mark.parametrize(
    ("environ", "named"),
    [
        ({}, "the certifi package"),
        ({"SSL_CERT_FILE": "{0}"}, "SSL_CERT_FILE"),
        ({"SSL_CERT_FILE": "{1}", "CURL_CA_BUNDLE": "{0}"}, "CURL_CA_BUNDLE"),
        ({"CURL_CA_BUNDLE": "{1}", "REQUESTS_CA_BUNDLE": "{0}"}, "REQUESTS_CA_BUNDLE"),
    ],
)
def test_variable_that_wins_is_named_where_a_certificate_is_not_trusted(
    failing: Failing,
    certificate: tuple[Path, Path],
    tmp_path: Path,
    environ: dict[str, str],
    named: str,
) -> None:
    other = _certificate(tmp_path, "IP:127.0.0.1", "-1", "+9")[0]
    # The variable that wins has another certificate; the one that loses has the right one.
    files = {name: value.format(other, certificate[0]) for name, value in environ.items()}
    with http_double(lambda _: Answer(), certificate) as server:
        error = failing(server.url, Network.from_env(files))

    assert f"its certificate is not trusted by {named} (self-signed certificate)" in str(error)
    assert error.advice.startswith("Set REQUESTS_CA_BUNDLE to a file with the certificate")


def test_registry_without_tls_is_written_as_a_url(failing: Failing) -> None:
    with http_double(lambda _: Answer()) as server:
        error = failing(server.url.replace("http:", "https:"))

    assert "it does not answer with TLS (" in str(error)
    encoded = server.netloc.replace(":", "%3A")
    assert f"as a URL, http://{server.netloc}, which is http%3A%2F%2F{encoded}" in error.advice


def test_server_that_never_answers_took_too_long(failing: Failing) -> None:
    go_on = threading.Event()
    with _server(lambda _: go_on.wait(PATIENCE)) as port:
        error = failing(f"http://{LOOPBACK}:{port}", seconds=0.3)
        go_on.set()

    assert isinstance(error, RegistryTimeoutError)
    assert str(error) == f"{LOOPBACK}:{port} did not answer in time"
    assert error.advice.startswith("Try again later, and ask the administrator of ")


def test_body_that_breaks_off_is_logged(failing: Failing, caplog: pytest.LogCaptureFixture) -> None:
    def answer(sock: socket.socket) -> None:
        sock.recv(4096)
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")
        sock.close()

    with _server(answer) as port:
        error = failing(f"http://{LOOPBACK}:{port}")

    assert "broke off" in str(error)
    assert "IncompleteRead" in caplog.text


def test_proxy_that_is_down_is_told_from_a_registry_that_is_down(failing: Failing) -> None:
    with closed_port() as proxy:
        error = failing("https://registry.example", Network(proxies={"https": proxy}))

    assert str(error).startswith("the proxy could not connect to registry.example: there is no ")
    assert "HTTPS_PROXY" in error.advice


@pytest.mark.parametrize(
    ("status", "said", "todo"),
    [
        ("407 Proxy Authentication Required", "it requires a user name", "Put a valid user name"),
        ("403 Forbidden", "it refused the connection", "Ask the administrator of the proxy"),
    ],
)
def test_proxy_that_refuses_is_not_taken_for_the_registry(
    failing: Failing, caplog: pytest.LogCaptureFixture, status: str, said: str, todo: str
) -> None:
    def refuse(sock: socket.socket) -> None:
        sock.recv(4096)
        sock.sendall(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode())
        sock.close()

    with _server(refuse) as port:
        proxy = f"http://alice:hunter2@{LOOPBACK}:{port}"
        error = failing("https://registry.example", Network(proxies={"https": proxy}))

    assert said in str(error)
    assert error.advice.startswith(todo)
    assert "hunter2" not in caplog.text


def test_host_that_the_registry_refers_to_is_named_as_such(
    caplog: pytest.LogCaptureFixture,
) -> None:
    transport = Transport(network=Network(), pool_size=1)
    with (
        closed_port() as url,
        caplog.at_level(logging.WARNING),
        pytest.raises(RegistryUnreachableError) as caught,
    ):
        transport.send(Request("GET", f"{url}/token", "http://127.0.0.1:1"))
    transport.close()

    assert f"{url[7:]} (127.0.0.1:1 refers to it for tokens or content)" in str(caught.value)


@contextmanager
def _server(serve: Callable[[socket.socket], object]) -> Iterator[int]:
    """Accept connections on a port, and pass each to `serve`."""
    with socket.create_server((LOOPBACK, 0)) as listening:

        def run() -> None:
            try:
                while True:
                    with listening.accept()[0] as one:
                        serve(one)
            except OSError:
                return

        threading.Thread(target=run, daemon=True).start()
        try:
            yield listening.getsockname()[1]
        finally:
            # This wakes a thread that waits for a connection.
            listening.shutdown(socket.SHUT_RDWR)


def _certificate(folder: Path, names: str, begin: str, end: str) -> tuple[Path, Path]:
    """Make a certificate that is valid between two days from now, and its key."""
    key, request, made = folder / "key.pem", folder / "request.pem", folder / "certificate.pem"
    settings = folder / "ca.cnf"
    settings.write_text(
        "[ca]\ndefault_ca = own\n"
        f"[own]\ndatabase = {folder}/database\nnew_certs_dir = {folder}\nrand_serial = yes\n"
        "default_md = sha256\npolicy = names\nx509_extensions = extensions\n"
        "[names]\ncommonName = supplied\n"
        f"[extensions]\nsubjectAltName = {names}\nbasicConstraints = CA:TRUE\n"
    )
    (folder / "database").touch()
    now = datetime.now(UTC)
    start, stop = (f"{now + timedelta(days=int(day)):%Y%m%d%H%M%SZ}" for day in (begin, end))
    kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    for command in (
        ["req", "-new", *kind, "-subj", "/CN=test", "-keyout", str(key), "-out", str(request)],
        [
            *("ca", "-config", str(settings), "-batch", "-notext", "-selfsign"),
            *("-keyfile", str(key), "-in", str(request), "-out", str(made)),
            *("-startdate", start, "-enddate", stop),
        ],
    ):
        subprocess.run(["openssl", *command], check=True, capture_output=True)
    return made, key
