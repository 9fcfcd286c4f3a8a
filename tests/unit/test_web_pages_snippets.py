"""Configuration to copy."""

import pytest

from pyoci_flask.web.people.snippets import (
    Needs,
    Snippet,
    Target,
    credentials_hint,
    installers,
    pipelines,
    tools,
)


def every(target: Target) -> dict[str, tuple[Snippet, ...]]:
    made = (*installers(target), *tools(target), *pipelines(target))
    return {tool.key: tool.snippets for tool in made}


def test_credentials_are_named_where_they_are_needed_and_nowhere_else() -> None:
    url = "https://packages.example.com/ghcr.io/acme/"
    asked = every(Target(url, "ghcr.io", credentials=True))
    free = every(Target(url, "ghcr.io", credentials=False))

    assert set(asked) - set(free) == {"keyring"}
    text = "\n".join(one.text for snippets in free.values() for one in snippets)
    assert "REGISTRY" not in text
    assert "@packages" not in text
    assert all(" && echo &&" not in one.text for snippets in free.values() for one in snippets)
    assert f"\npip install --index-url {url} PACKAGE\n" in asked["pip"][0].text
    assert free["pip"][0].text == f"pip install --index-url {url} PACKAGE"


def test_a_command_asks_before_it_needs_the_login_and_no_address_contains_it() -> None:
    asked = every(Target("https://p.example/ghcr.io/acme/", "quay.io", credentials=True))

    for key in ("pip", "uv", "poetry", "pdm", "twine", "hatch"):
        for one in asked[key]:
            text = one.text
            if "$REGISTRY_TOKEN" in text:
                start = text.index("printf 'User: ' && read -r REGISTRY_USER &&\n")
                assert text.index("read -rs REGISTRY_TOKEN") < text.index('"$REGISTRY_TOKEN"')
                # A shell without bracketed paste would give the following lines to `read`.
                body = text[start:].removesuffix("\n)").splitlines()
                assert all(line.endswith(" &&") for line in body[:-1]), text
            if key != "pdm":  # which encodes what it puts into an address
                assert "REGISTRY_TOKEN}@" not in text
                assert "REGISTRY_TOKEN@" not in text


@pytest.mark.parametrize(
    ("needs", "fallback", "first", "pip", "poetry"),
    [
        (Needs.NOTHING, False, "pip", "{} a", "--priority=explicit private"),
        (Needs.HERE, False, "pip", "{} a", "--priority=supplemental PyPI"),
        (Needs.UNKNOWN, False, "uv", "pip install uv && uv pip install --index private", "PyPI"),
        (Needs.ELSEWHERE, False, "uv", "{} --no-deps a==1 &&\npip install a==1", "explicit"),
        *((needs, True, "pip", "{} a", "poetry source add private") for needs in Needs),
    ],
)
def test_commands_depend_on_where_the_dependencies_are(
    needs: Needs, fallback: bool, first: str, pip: str, poetry: str
) -> None:
    url = "https://p.example/ghcr.io/acme/"
    target = Target(url, "ghcr.io", False, "a", "a==1", needs, fallback)
    found = {tool.key: tool.snippets for tool in installers(target)}

    assert next(iter(found)) == first
    assert pip.format(f"pip install --index-url {url}") in found["pip"][0].text
    assert poetry in found["poetry"][0].text
    assert ("--default-index" in found["uv"][0].text) is fallback
    assert ("explicit = true" in found["uv"][1].text) is (first == "uv" and "--no" in pip)
    assert "extra-index-url" not in str(found)


def test_words_for_a_shell_are_quoted() -> None:
    target = Target(
        "https://[::1]:8443/ghcr.io/acme/", "ghcr.io", credentials=False, package="a==1!2"
    )

    assert installers(target)[0].snippets[0].text == (
        "pip install --index-url 'https://[::1]:8443/ghcr.io/acme/' 'a==1!2'"
    )


@pytest.mark.parametrize(
    ("url", "trusted"),
    [
        ("http://packages.example.com:8080/simple/", True),
        ("http://localhost:8080/simple/", False),
        ("http://127.0.0.1/simple/", False),
        ("http://[::1]:8080/simple/", False),
        ("https://packages.example.com/simple/", False),
    ],
)
def test_host_without_tls_is_marked_as_trusted(url: str, trusted: bool) -> None:
    target = Target(url, "ghcr.io", credentials=True)
    found = every(target)
    for key, number in (("pip", 0), ("pip", 1), ("pip", 2), ("keyring", 1)):
        text = found[key][number].text.lower().replace("_", "-").replace('"', "")
        assert (f"trusted-host {target.host}" in text.replace(" = ", " ")) is trusted, key
    for key in ("github", "gitlab"):
        assert (f'    PIP_TRUSTED_HOST: "{target.host}"' in found[key][1].text) is trusted
    assert ("verify_ssl = false" in found["pdm"][0].text) is trusted


def test_jobs_of_gitlab_stand_in_one_file_without_sharing_variables() -> None:
    found = every(Target("https://p.example/x/", "quay.io", credentials=True))["gitlab"]

    begins = [line for one in found for line in one.text.splitlines() if not line.startswith(" ")]
    # The last two do the same, with pip and with uv.
    assert begins == ["publish:", "test:", "test:"]
    # GitLab expands a `$` in variables, also one that is part of a token.
    assert not any(
        "REGISTRY" in line and ": " in line
        for one in found
        for line in one.text.split("script:")[0].splitlines()
    )


def test_jobs_that_publish_can_run_again() -> None:
    target = Target("https://p.example/x/", "quay.io", credentials=True)

    for service in pipelines(target)[:2]:
        assert (
            'TWINE_REPOSITORY_URL: "https://p.example/x/?existing=skip"' in service.snippets[0].text
        )


def test_workflow_of_github_uses_its_own_token_at_its_own_registry_only() -> None:
    (own, own_step, _), (other, other_step, _) = (
        pipelines(Target("https://p.example/x/", registry, credentials=True))[0].snippets
        for registry in ("ghcr.io", "quay.io")
    )
    assert "packages: read" in own_step.note
    assert "packages: read" not in other_step.note
    own, other = own.text, other.text

    assert "packages: write" in own
    assert "TWINE_PASSWORD: ${{ secrets.GITHUB_TOKEN }}" in own
    assert "packages: write" not in other
    assert "TWINE_PASSWORD: ${{ secrets.REGISTRY_TOKEN }}" in other


@pytest.mark.parametrize(
    ("registry", "words"),
    [
        ("ghcr.io", "write:packages"),
        ("acme.azurecr.io", "az acr login"),
        ("1.dkr.ecr.eu-west-1.amazonaws.com:443", "AWS"),
        ("europe-python.pkg.dev", "oauth2accesstoken"),
        ("quay.io", ""),
    ],
)
def test_hint_says_what_a_registrys_credentials_are(registry: str, words: str) -> None:
    hint = credentials_hint(registry)
    assert words in hint
    assert bool(hint) is bool(words)
