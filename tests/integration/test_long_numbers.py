"""Numbers of thousands of digits, which Python does not convert, are bad requests or ignored."""

import json
from pathlib import Path

import pytest
import requests

from tests.conftest import AppServer
from tests.integration.index_client import IndexClient
from tests.integration.test_names_of_this_machine import ask
from tests.packages import make_wheel

DIGITS = "9" * 5000
# What str.isdigit() accepts but int() does not, and what int() accepts but is not valid here.
ODD = ["\u00b2", "\u0661", "1_0", "+1", "-1", "0x1", "1e3", " 1"]


@pytest.mark.parametrize("text", [DIGITS, f"1.{DIGITS}", f"{DIGITS}!1.0", f"1.0.dev{DIGITS}"])
def test_a_version_of_thousands_of_digits_is_no_version(
    shared_app: str, http: requests.Session, text: str
) -> None:
    base = f"{shared_app}/simple/foo"
    answers = [
        *(http.request(method, f"{base}/{text}") for method in ("GET", "DELETE", "OPTIONS")),
        *(http.get(f"{base}/foo-{text}{end}") for end in (".tar.gz", "-py3-none-any.whl")),
        http.delete(f"{base}/foo-{text}.tar.gz"),
        http.patch(f"{base}/{text}", json={"yanked": True}),
        http.get(f"{shared_app}/ui/simple/foo/{text}/"),
        http.get(f"{shared_app}/v2/python/foo/manifests/{text}"),
        http.get(f"{shared_app}/v2/python/foo/tags/list", params={"n": text, "last": text}),
    ]
    assert {answer.status_code for answer in answers} <= {400, 404, 405, 204, 200}
    assert all(len(answer.reason) <= 200 for answer in answers)


@pytest.mark.parametrize("text", [DIGITS, *ODD])
def test_numbers_in_headers_that_are_none_are_refused_or_ignored(
    shared_app: str, http: requests.Session, tmp_path: Path, text: str
) -> None:
    index = IndexClient(f"{shared_app}/simple", None, http)
    name = f"pkg{abs(hash(text))}"
    wheel = index.published(make_wheel(tmp_path, name, "1.0"), name, "1.0")
    sent = text.encode().decode("latin-1")
    for header in (f"bytes={sent}-", f"bytes=-{sent}", f"bytes=0-{sent}"):
        answer = ask(
            shared_app, f"/simple/{name}/{wheel.name}", {"Host": "localhost", "Range": header}
        )
        assert answer.status in {200, 206, 416}, header
    for path, method in (("/simple/", "POST"), ("/v2/a/blobs/uploads/", "POST")):
        headers = {"Host": "localhost", "Content-Length": sent, "Connection": "close"}
        assert ask(shared_app, path, headers, method).status < 500
    assert ask(shared_app, "/v2/", {"Host": f"localhost:{sent}"}).status in {200, 400, 403}


@pytest.mark.parametrize("n", ["", *ODD])
def test_a_page_size_that_is_no_number_is_refused(
    shared_app: str, http: requests.Session, n: str
) -> None:
    assert http.get(f"{shared_app}/v2/_catalog", params={"n": n}).status_code == 400


def test_requires_python_that_installers_cannot_read_is_not_published(
    app_server: AppServer, http: requests.Session, tmp_path: Path
) -> None:
    url = app_server({"PYOCI_STORAGE": str(tmp_path / "storage"), "PYOCI_CACHE_TTL": "0"})
    index = IndexClient(f"{url}/simple", None, http)
    index.published(make_wheel(tmp_path, "foo", "1.0"), "foo", "1.0")
    manifest = f"{url}/v2/python/foo/manifests"
    stored = http.get(f"{manifest}/1.0")
    document = stored.json()
    notes = document["manifests"][0]["annotations"]
    notes |= {"com.pyoci.requires_python": f">={DIGITS}", "com.pyoci.size": DIGITS}
    kind = {"Content-Type": stored.headers["Content-Type"]}
    for tag in ("1.0", "9" * 128, "9" * 100 + "_1"):
        pushed = http.put(f"{manifest}/{tag}", data=json.dumps(document), headers=kind)
        assert pushed.status_code == 201
    for path in ("simple/foo/", "simple/foo/json", "ui/simple/foo/", "ui/simple/foo/1.0/"):
        for accept in ("text/html", "application/vnd.pypi.simple.v1+json"):
            page = http.get(f"{url}/{path}", headers={"Accept": accept})
            assert page.status_code == 200, path
            assert DIGITS not in page.text


@pytest.mark.parametrize(
    "field", [("version", DIGITS), ("requires_python", f">={DIGITS}"), ("requires_python", DIGITS)]
)
def test_an_upload_that_states_thousands_of_digits_is_refused(
    shared_app: str, http: requests.Session, tmp_path: Path, field: tuple[str, str]
) -> None:
    index = IndexClient(f"{shared_app}/simple", None, http)
    answer = index.publish(make_wheel(tmp_path, "digits", "1.0"), "digits", "1.0", field)
    assert answer.status_code == 400
    assert index.get("/digits/").status_code == 404
