"""Configuration to copy for what runs without people: CI, Renovate, and where credentials rest."""

from pyoci_flask.web.people.snippets import TOKEN, USER, Snippet, Target, Tool

_GITHUB = "ghcr.io"

_HINTS = {
    "ghcr.io": (
        "User: your GitHub name. Token: a personal access token (classic) with the scope "
        "read:packages, and write:packages to publish."
    ),
    ".azurecr.io": (
        "User and password of a repository-scoped token, or the user "
        "00000000-0000-0000-0000-000000000000 with what az acr login --expose-token prints."
    ),
    ".amazonaws.com": (
        "User: AWS. Token: what aws ecr get-login-password prints; it lives for 12 hours. "
        "Repositories have to exist before the first upload."
    ),
    ".pkg.dev": "User: oauth2accesstoken. Token: what gcloud auth print-access-token prints.",
    "docker.io": "User: your Docker ID. Token: a personal access token with read and write.",
}


def credentials_hint(registry: str) -> str:
    """Say what the credentials of a registry are; empty if nothing is known of it."""
    host = registry.partition(":")[0]
    return next((text for end, text in _HINTS.items() if host.endswith(end)), "")


def pipelines(target: Target) -> tuple[Tool, ...]:
    """How CI services, Renovate and the keepers of credentials are set up."""
    keepers = (_keepers(target),) if target.credentials else ()
    return (_github(target), _gitlab(target), _renovate(target), *keepers)


def _github(target: Target) -> Tool:
    own = target.registry == _GITHUB
    if not target.credentials:
        user, token = "any", "any"
    elif own:
        user, token = "${{ github.actor }}", "${{ secrets.GITHUB_TOKEN }}"
    else:
        user, token = f"${{{{ secrets.{USER} }}}}", f"${{{{ secrets.{TOKEN} }}}}"
    packages = "  packages: write\n" if own and target.credentials else ""
    workflow = f"""\
name: publish
on:
  push:
    tags: ["v*"]
permissions:
  contents: read
{packages}jobs:
  publish:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v5
      - uses: actions/setup-python@v6
        with:
          python-version: "3.13"
      - run: pip install build twine
      - run: python -m build
      - run: twine upload dist/*
        env:
          TWINE_REPOSITORY_URL: "{target.url}"
          TWINE_USERNAME: {user}
          TWINE_PASSWORD: {token}"""
    install = f"""\
- run: pip install {target.package}
  env:
    PIP_INDEX_URL: "{target.with_credentials(user, token)}"{_trust(target)}"""
    note = reads = ""
    if target.credentials:
        note = "The token of the workflow itself will do." if own else _secrets_note("repository")
        reads = "The workflow or job needs permissions: packages: read." if own else ""
    return Tool(
        "github",
        "GitHub Actions",
        (
            Snippet(".github/workflows/publish.yaml", workflow, note),
            Snippet("A step that installs", install, reads),
        ),
    )


def _gitlab(target: Target) -> Tool:
    user, token = (f"${USER}", f"${TOKEN}") if target.credentials else ("any", "any")
    job = f"""\
publish:
  image: python:3.13
  rules:
    - if: $CI_COMMIT_TAG
  variables:
    TWINE_REPOSITORY_URL: "{target.url}"
    TWINE_USERNAME: "{user}"
    TWINE_PASSWORD: "{token}"
  script:
    - pip install build twine
    - python -m build
    - twine upload dist/*"""
    install = f"""\
test:
  image: python:3.13
  variables:
    PIP_INDEX_URL: "{target.with_credentials(user, token)}"{_trust(target)}
  script:
    - pip install {target.package}"""
    note = _secrets_note("masked CI/CD variables") if target.credentials else ""
    return Tool(
        "gitlab",
        "GitLab CI",
        (Snippet(".gitlab-ci.yml", job, note), Snippet("A job that installs", install)),
    )


def _trust(target: Target) -> str:
    """A further line of variables in YAML, where pip would refuse the address."""
    return f'\n    PIP_TRUSTED_HOST: "{target.host}"' if target.in_the_clear else ""


def _secrets_note(kind: str) -> str:
    where = "secrets of the repository" if kind == "repository" else kind
    return f"Put {USER} and {TOKEN} into the {where}."


def _renovate(target: Target) -> Tool:
    rules = f"""\
  "hostRules": [
    {{
      "matchHost": "{target.url}",
      "username": "{{{{ secrets.{USER} }}}}",
      "password": "{{{{ secrets.{TOKEN} }}}}"
    }}
  ],
"""
    config = f"""\
{{
  "extends": ["config:recommended"],
{rules if target.credentials else ""}\
  "packageRules": [
    {{
      "matchDatasources": ["pypi"],
      "matchPackageNames": ["{target.package}"],
      "registryUrls": ["{target.url}"]
    }}
  ]
}}"""
    return Tool("renovate", "Renovate", (Snippet("renovate.json", config),))


def _keepers(target: Target) -> Tool:
    netrc = f"machine {target.hostname}\nlogin YOUR_USER_NAME\npassword YOUR_TOKEN"
    named = target.url.replace("://", f"://${USER}@", 1)
    # twine asks for the whole address, pip and uv for that first and for the host after it.
    keyring = f"""\
keyring set {target.bare_in_shell} "${USER}"
twine upload --username "${USER}" --repository-url {target.bare_in_shell} dist/*
pip install --keyring-provider subprocess {target.pip_trust}--index-url "{named}" {target.package}
uv pip install --keyring-provider subprocess --index-url "{named}" {target.package}"""
    return Tool(
        "keyring",
        ".netrc, keyring",
        (
            Snippet(
                "~/.netrc",
                netrc,
                "pip, uv and curl read it; chmod 600 keeps others from reading it. One machine "
                "has one login, whatever the registry.",
            ),
            Snippet(
                "keyring",
                keyring,
                "The first command asks for the token and puts it into the keyring of your system.",
            ),
        ),
    )
