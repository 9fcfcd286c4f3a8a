from pathlib import Path

import pytest

from pyoci_flask.errors import ConfigurationError
from pyoci_flask.transport.network import Network, check_ca_bundle

PROXY = "http://proxy:3128"


@pytest.mark.parametrize(
    ("environ", "proxies"),
    [
        ({}, {}),
        ({"HTTP_PROXY": PROXY}, {"http": PROXY}),
        ({"https_proxy": PROXY}, {"https": PROXY}),
        ({"ALL_PROXY": PROXY, "HTTPS_PROXY": ""}, {"all": PROXY}),
        (
            {"HTTP_PROXY": "http://a", "HTTPS_PROXY": "http://b", "all_proxy": "socks5://c"},
            {"http": "http://a", "https": "http://b", "all": "socks5://c"},
        ),
        ({"FTP_PROXY": PROXY}, {}),
    ],
)
def test_proxies_are_those_of_the_environment_in_either_case(
    environ: dict[str, str], proxies: dict[str, str]
) -> None:
    network = Network.from_env(environ)
    assert network.proxies_for("https://ghcr.io/v2/") == proxies


def test_header_of_a_cgi_client_is_no_proxy() -> None:
    environ = {"REQUEST_METHOD": "GET", "HTTP_PROXY": "http://evil", "HTTPS_PROXY": PROXY}
    assert Network.from_env(environ).proxies_for("http://x/") == {"https": PROXY}


def test_operators_lower_case_proxy_holds_under_cgi_too() -> None:
    environ = {"REQUEST_METHOD": "GET", "HTTP_PROXY": "http://evil", "http_proxy": PROXY}
    assert Network.from_env(environ).proxies_for("http://x/") != {"http": "http://evil"}


def test_password_of_a_proxy_does_not_stand_in_the_repr() -> None:
    network = Network.from_env({"HTTPS_PROXY": "http://user:hunter2@proxy:3128"})
    assert "hunter2" not in repr(network)


@pytest.mark.parametrize(
    ("no_proxy", "url", "direct"),
    [
        ("", "https://ghcr.io/", False),
        ("ghcr.io", "https://ghcr.io/v2/", True),
        ("ghcr.io", "https://quay.io/v2/", False),
        ("quay.io, ghcr.io", "https://ghcr.io/v2/", True),
        ("quay.io ghcr.io", "https://ghcr.io/v2/", True),
        (".example.com", "https://registry.example.com/", True),
        ("example.com", "https://registry.example.com/", True),
        ("example.com", "https://notexample.com/", False),
        ("localhost,127.0.0.1", "http://127.0.0.1:5000/", True),
        ("10.0.0.0/8", "http://10.1.2.3:5000/", True),
        ("10.0.0.0/8", "http://11.1.2.3:5000/", False),
        ("::1", "http://[::1]:5000/", True),
        ("registry:5000", "http://registry:5000/", True),
        ("registry:5000", "http://registry:5001/", False),
        ("*", "https://ghcr.io/", True),
        ("a, *", "https://ghcr.io/", True),
    ],
)
def test_no_proxy_names_hosts_that_are_called_directly(
    no_proxy: str, url: str, direct: bool
) -> None:
    network = Network.from_env({"HTTPS_PROXY": PROXY, "HTTP_PROXY": PROXY, "NO_PROXY": no_proxy})
    assert (network.proxies_for(url) == {}) is direct


@pytest.mark.parametrize(
    ("environ", "bundle"),
    [
        ({}, None),
        ({"SSL_CERT_FILE": "c"}, "c"),
        ({"CURL_CA_BUNDLE": "b", "SSL_CERT_FILE": "c"}, "b"),
        ({"REQUESTS_CA_BUNDLE": "a", "CURL_CA_BUNDLE": "b", "SSL_CERT_FILE": "c"}, "a"),
        ({"REQUESTS_CA_BUNDLE": "", "SSL_CERT_FILE": "c"}, "c"),
        ({"REQUESTS_CA_BUNDLE": ".", "SSL_CERT_FILE": "missing"}, "."),
    ],
)
def test_ca_bundle_has_one_of_the_usual_names(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    environ: dict[str, str],
    bundle: str | None,
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in "abc":
        Path(name).touch()
    assert Network.from_env(environ).ca_bundle == bundle


@pytest.mark.parametrize("name", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"])
def test_a_ca_bundle_that_is_not_there_is_named(name: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^{name} must be a file .* '/nonexistent'$"):
        check_ca_bundle({name: "/nonexistent"})
    # A worker that is started again must not end the server because of it.
    assert Network.from_env({name: "/nonexistent"}).ca_bundle == "/nonexistent"


def test_a_ca_bundle_that_is_there_or_not_named_is_taken(tmp_path: Path) -> None:
    check_ca_bundle({})
    check_ca_bundle({"SSL_CERT_FILE": str(tmp_path)})
