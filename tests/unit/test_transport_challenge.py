import hypothesis
import pytest
from hypothesis import strategies as st

from pyoci_flask.transport.challenge import parse_challenges

Challenges = list[tuple[str, dict[str, str]]]

GHCR = 'Bearer realm="https://ghcr.io/token",service="ghcr.io",scope="repository:a/b:pull"'
GHCR_PARSED = (
    "bearer",
    {"realm": "https://ghcr.io/token", "service": "ghcr.io", "scope": "repository:a/b:pull"},
)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        pytest.param("", [], id="Harbor, empty"),
        pytest.param(GHCR, [GHCR_PARSED], id="ghcr"),
        pytest.param(
            'Bearer realm="https://gcr.io/v2/token",service=gcr.io',
            [("bearer", {"realm": "https://gcr.io/v2/token", "service": "gcr.io"})],
            id="Google, unquoted service",
        ),
        pytest.param(
            "Bearer realm=https://gcr.io/v2/token,service=gcr.io,scope=aws",
            [
                (
                    "bearer",
                    {"realm": "https://gcr.io/v2/token", "service": "gcr.io", "scope": "aws"},
                )
            ],
            id="all unquoted",
        ),
        pytest.param(
            'Basic realm="https://1.dkr.ecr.amazonaws.com/",service="ecr.amazonaws.com"',
            [
                (
                    "basic",
                    {"realm": "https://1.dkr.ecr.amazonaws.com/", "service": "ecr.amazonaws.com"},
                )
            ],
            id="ECR",
        ),
        pytest.param("Basic", [("basic", {})], id="bare Basic"),
        pytest.param("basic  ", [("basic", {})], id="bare Basic, spaces"),
        pytest.param(
            'Bearer realm="http://h/v2/token", Basic realm="h"',
            [("bearer", {"realm": "http://h/v2/token"}), ("basic", {"realm": "h"})],
            id="Gitea, two headers joined",
        ),
        pytest.param(f"Basic, {GHCR}", [("basic", {}), GHCR_PARSED], id="bare Basic first"),
        pytest.param(f"{GHCR}, Basic", [GHCR_PARSED, ("basic", {})], id="bare Basic last"),
        pytest.param(f"Negotiate, {GHCR}", [("negotiate", {}), GHCR_PARSED], id="Negotiate"),
        pytest.param(
            f"Negotiate YIIabc==, {GHCR}", [("negotiate", {}), GHCR_PARSED], id="token68 first"
        ),
        pytest.param(f"{GHCR}, NTLM TlRMTVNTUAAC", [GHCR_PARSED, ("ntlm", {})], id="token68 last"),
        pytest.param(
            'bEaReR ReAlM="x",SERVICE="y"', [("bearer", {"realm": "x", "service": "y"})], id="case"
        ),
        pytest.param(
            'Bearer  realm = "x" ,\t service="y"',
            [("bearer", {"realm": "x", "service": "y"})],
            id="white space",
        ),
        pytest.param(
            ',, Bearer realm="x",,service="y",',
            [("bearer", {"realm": "x", "service": "y"})],
            id="empty elements",
        ),
        pytest.param(
            r'Bearer realm="a\"b\\c, Basic d",service=""',
            [("bearer", {"realm": r'a"b\c, Basic d', "service": ""})],
            id="quoted pairs and commas",
        ),
        pytest.param(
            'Bearer realm="x",realm="y"',
            [("bearer", {"realm": "x"})],
            id="repeated, the first counts",
        ),
        pytest.param(
            'Bearer realm="x",scope="repository:a:pull,push repository:b:pull",'
            'error="insufficient_scope"',
            [
                (
                    "bearer",
                    {
                        "realm": "x",
                        "scope": "repository:a:pull,push repository:b:pull",
                        "error": "insufficient_scope",
                    },
                )
            ],
            id="commas inside of the scope",
        ),
        pytest.param("=", [], id="garbage"),
        pytest.param('"', [], id="a quote"),
        pytest.param(f'{GHCR}, Basic realm="unclosed', [GHCR_PARSED, ("basic", {})], id="cut off"),
        pytest.param(f"{GHCR}, ä=ö", [GHCR_PARSED], id="garbage at the end"),
    ],
)
def test_challenges_are_read_as_registries_write_them(header: str, expected: Challenges) -> None:
    found = [(one.scheme, dict(one.parameters)) for one in parse_challenges(header)]
    assert found == expected


def test_parameter_that_is_not_there_is_none() -> None:
    (challenge,) = parse_challenges('Bearer realm="x"')
    assert challenge["realm"] == "x"
    assert challenge["service"] is None


@pytest.mark.parametrize(
    ("header", "size"),
    [("Basic", 500), ('Bearer realm="abc"', 608), ('Bearer realm="abc",service=x', 716)],
)
def test_each_parameter_counts_with_its_text_in_memory(header: str, size: int) -> None:
    (challenge,) = parse_challenges(header)
    assert challenge.size == size


@hypothesis.given(
    st.text()
    | st.lists(
        st.sampled_from(
            ["Bearer", "Basic", " ", ",", "=", '"', "\\", "realm", "x", "a==", "\t", "ä"]
        )
    ).map("".join)
)
def test_any_header_is_read_without_an_error(header: str) -> None:
    for challenge in parse_challenges(header):
        assert challenge.scheme
        assert challenge.scheme == challenge.scheme.lower()


def test_long_garbage_is_read_in_linear_time() -> None:
    # What takes quadratic time would take hours at these lengths.
    for header in (
        'Bearer realm="' + "\\" * 200_000,
        "Bearer " + "a" * 200_000 + '"',
        "Bearer a" + " " * 200_000 + '"',
        "," * 200_000,
        'Bearer x="' * 20_000,
    ):
        assert len(parse_challenges(header)) <= 20_000
