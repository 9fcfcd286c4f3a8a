"""What the target of a request to the server of `run` names."""

import pytest

from pyoci_flask.cli.run.target import Target, parse_target


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/", Target(path="/")),
        ("/ghcr.io/acme/?a=b", Target(path="/ghcr.io/acme/", query="a=b")),
        ("/http://other.example/", Target(path="/http://other.example/")),
        ("/a%2fb;c=d//e", Target(path="/a%2fb;c=d//e")),
        ("/a?", Target(path="/a", query="")),
        ("http://run.pyoci.invalid", Target("run.pyoci.invalid")),
        ("http://run.pyoci.invalid?a", Target("run.pyoci.invalid", query="a")),
        ("HTTP://Run.PyOCI.invalid:80/A", Target("run.pyoci.invalid", path="/A")),
        ("http://run.pyoci.invalid./a", Target("run.pyoci.invalid", path="/a")),
        ("http://run.pyoci.invalid:/a", Target("run.pyoci.invalid", path="/a")),
        ("http://run.pyoci.invalid:8080/a", Target("run.pyoci.invalid", 8080, "/a")),
        ("http://[::1]:81/a", Target("[::1]", 81, "/a")),
        ("http://a.example//b//c", Target("a.example", path="//b//c")),
        (r"http://a.example/\@evil?\\", Target("a.example", path=r"/\@evil", query=r"\\")),
    ],
)
def test_a_path_or_an_http_url_is_read_without_changing_it(text: str, expected: Target) -> None:
    assert parse_target("GET", text) == expected


@pytest.mark.parametrize(
    "text",
    [
        *("", "*", "a", "?a", "#", "ghcr.io/acme", "run.pyoci.invalid:80"),
        *("http:", "http:/a", "http:///a", "http://", "http://:80/", "http:run.pyoci.invalid/a"),
        *("http://run.pyoci.invalid:0/", "http://run.pyoci.invalid:65536/", "http://a:b/"),
        *("http://run.pyoci.invalid:000080/", "http://[::1/", "http://[::1]x/", "http://a b/"),
        *("http://u:p@run.pyoci.invalid/", "http://run.pyoci.invalid@evil.example/"),
        *(r"http://run.pyoci.invalid\@evil.example/", r"http:\\run.pyoci.invalid\a"),
        *("http://run.pyoci.invalid%2f/", "http://r%75n.pyoci.invalid/", "http://a,b/"),
        *("/a#b", "/a\tb", "/a\nb", "/a b", "/\x00", "/\x7f", "/\xe9", "/\uff0f"),
        *("https://run.pyoci.invalid/a", "HTTPS://a/", "ftp://a/", "file:///etc/passwd"),
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"address|URL|https"):
        parse_target("GET", text)


def test_connect_is_not_read() -> None:
    assert parse_target("CONNECT", "a.example:443").host is not None


@pytest.mark.parametrize(
    ("method", "text", "expected"),
    [
        ("GET", "http://a.example", "/"),
        ("GET", "http://a.example?b", "/?b"),
        ("OPTIONS", "http://a.example", "*"),
        ("OPTIONS", "http://a.example/", "/"),
        ("GET", "http://a.example/%7eb/../c?d=%2f?", "/%7eb/../c?d=%2f?"),
    ],
)
def test_the_form_for_the_server_itself_is_what_was_sent(
    method: str, text: str, expected: str
) -> None:
    assert parse_target(method, text).origin_form(method) == expected
