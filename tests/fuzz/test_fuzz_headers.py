"""Headers that registries and clients invent: challenges, Link, Range."""

from hypothesis import example, given
from hypothesis import strategies as st

from pyoci_flask.errors import InvalidRequestError
from pyoci_flask.oci.tags import next_page
from pyoci_flask.transport.challenge import parse_challenges
from pyoci_flask.web.incoming import read_credentials
from tests.fuzz.strategies import fuzzed, near

_TOKEN = st.text("abcXYZ019._~-", min_size=1, max_size=12)


@fuzzed
@given(
    near(
        'Bearer realm="https://auth.example/token",service="registry",scope="repository:a:pull"',
        "Basic",
        'Bearer realm=https://a/token,service=gcr.io, Basic realm="x"',
        "Negotiate YII=, Digest a=b",
        alphabet='Bearer Basic="\\,;:/-_ \t',
    )
)
@example("," * 5000)
@example('Bearer a="' + "\\" * 5000)
def test_any_challenge_header_parses_into_lower_case_names(header: str) -> None:
    for challenge in parse_challenges(header):
        assert challenge.scheme == challenge.scheme.lower() != ""
        assert all(name == name.lower() for name in challenge.parameters)


@fuzzed
@given(st.dictionaries(_TOKEN.map(str.lower), st.text(max_size=20), min_size=1, max_size=4))
def test_a_quoted_challenge_is_read_as_it_was_written(parameters: dict[str, str]) -> None:
    quoted = {
        name: value.replace("\\", "\\\\").replace('"', '\\"') for name, value in parameters.items()
    }
    header = "Bearer " + ",".join(f'{name}="{value}"' for name, value in quoted.items())
    if any("\n" in value for value in parameters.values()):
        return  # no header contains a line break
    [challenge] = parse_challenges(header)
    assert (challenge.scheme, dict(challenge.parameters)) == ("bearer", parameters)


@fuzzed
@given(
    near(
        '</v2/a/tags/list?last=1.0&n=100>; rel="next"',
        "<https://other.example/v2/_catalog?n=2>; rel=next, <x>; rel=prev",
        alphabet='<>;,="? relnxt&%/:[]',
    )
)
@example("<" * 5000)
@example("<a>" + ";a=b" * 2000)
def test_a_link_gives_a_query_that_can_stand_in_a_url_or_none(header: str) -> None:
    query = next_page(header)
    assert query is None or (query.isascii() and query.isprintable() and "#" not in query)


@fuzzed
@given(st.text("abc=&%0123456789-", min_size=1, max_size=40))
def test_the_query_of_the_next_page_is_kept_as_it_stands(query: str) -> None:
    assert next_page(f'<https://elsewhere.example/x?{query}>; rel="next"') == query


@fuzzed
@given(
    near("Basic dXNlcjpwYXNz", "Bearer abc.def-ghi", alphabet="BasicBearer =+/abcXYZ\t"),
    st.none() | st.text(max_size=8),
)
def test_an_authorization_header_is_read_or_refused(header: str, username: str | None) -> None:
    try:
        credentials = read_credentials(header, username)
    except InvalidRequestError:
        return
    if credentials is not None:
        assert credentials.header.isascii()
        assert credentials.header.isprintable()
