"""A fallback index, and how to check that a request leads there or stays."""

import requests

FALLBACK = "https://public.example/simple"
SETTINGS = {"PYOCI_FALLBACK_INDEX": f"{FALLBACK}/", "PYOCI_FALLBACK_EXCLUDE": "acme-*, Secret.Tool"}
DENIED = SETTINGS | {"PYOCI_FALLBACK_DENIED": "redirect"}
EMPTY = SETTINGS | {"PYOCI_FALLBACK_EMPTY": "redirect"}


def assert_leads_to_the_fallback(response: requests.Response, name: str) -> None:
    assert response.status_code == 302, response.text
    assert response.headers["Location"] == f"{FALLBACK}/{name}/"
    assert response.headers["Cache-Control"] == "no-store"
    assert "Set-Cookie" not in response.headers


def assert_stays(response: requests.Response, status: int) -> None:
    assert response.status_code == status, response.text
    assert "Location" not in response.headers
    assert FALLBACK not in response.text
