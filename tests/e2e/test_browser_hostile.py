"""What a browser must not do for malicious packages and pages, with gunicorn."""

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from playwright.sync_api import Browser, expect
from werkzeug.wrappers import Response

from tests.browser import chromium, serious_findings, window
from tests.described import make_described_wheel
from tests.doubles import Recorder, answering, tripwire, wsgi_server
from tests.integration.index_client import IndexClient, upload_form
from tests.packages import make_wheel
from tests.registries import RunningRegistry
from tests.servers import RunningServer, gunicorn

MARKDOWN = ("Description-Content-Type", "text/markdown")
EMBEDDED = "embedded/team"

# Only its words may remain. ELSEWHERE is a server that must not be called.
HOSTILE = """\
# Harmless title

<script>alert("script"); window.harmed = 1</script>
<script src="ELSEWHERE/script.js"></script>
<img src="ELSEWHERE/pixel.png" onerror="alert('image')" onload="alert('loaded')">
<img src="x" onerror="window.harmed = 1; alert('missing')">
<svg onload="alert('svg')"><script>alert("in svg")</script><image href="ELSEWHERE/svg.png"/></svg>
<iframe src="ELSEWHERE/frame" srcdoc="<script>parent.alert('frame')</script>"></iframe>
<object data="ELSEWHERE/object"></object><embed src="ELSEWHERE/embed">
<style>@import url("ELSEWHERE/style.css"); body { display: none }</style>
<link rel="stylesheet" href="ELSEWHERE/link.css"><base href="ELSEWHERE/">
<meta http-equiv="refresh" content="0; url=ELSEWHERE/refresh">
<form action="ELSEWHERE/form"><input name="password" autofocus onfocus="alert('focus')">
<button>Sign in</button></form>
<video src="ELSEWHERE/video" autoplay></video><audio src="ELSEWHERE/audio" autoplay></audio>
<p style="position: fixed; background: url(ELSEWHERE/background.png)" onclick="alert('click')"
   onmouseover="alert('over')">hover here</p>
<a href="javascript:alert('raw')">raw link</a>
<a href=" java&#10;script:alert('broken')">broken link</a>

[marked link](javascript:alert('marked')) and
[data link](data:text/html,<script>alert('data')</script>)

![picture](ELSEWHERE/markdown.png)

Harmless end
"""
HARMFUL = """<!DOCTYPE html><title>x</title><img src="ELSEWHERE/pixel.png">
<script>alert("script")</script>"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    tmp = tmp_path_factory.mktemp("browser")
    with gunicorn(tmp, {"PYOCI_STORAGE": str(tmp / "storage")}) as running:
        yield running


@pytest.fixture
def team(server: RunningServer, http: requests.Session) -> IndexClient:
    """An index of the embedded registry."""
    return IndexClient(f"{server.url}/{EMBEDDED}", None, http)


@pytest.fixture
def elsewhere() -> Iterator[tuple[str, Recorder]]:
    """A server that a page must not call, and the requests to it."""
    record = tripwire()
    with wsgi_server(record) as url:
        yield url, record


def test_hostile_description_is_inert(
    browser: Browser,
    server: RunningServer,
    team: IndexClient,
    elsewhere: tuple[str, Recorder],
    tmp_path: Path,
) -> None:
    url, record = elsewhere
    text = HOSTILE.replace("ELSEWHERE", url)
    wheel = make_described_wheel(tmp_path, "evil", "1.0", MARKDOWN, description=text)
    team.published(wheel, "evil", "1.0")
    with window(browser) as opened:
        page = opened.page
        page.goto(f"{server.url}/ui/{EMBEDDED}/evil/", wait_until="networkidle")
        shown = page.locator(".description")
        expect(shown.get_by_role("heading", name="Harmless title")).to_be_visible()
        expect(shown).to_contain_text("Harmless end")
        for words in ("hover here", "raw link", "broken link", "marked link", "data link"):
            target = shown.get_by_text(words)
            target.hover()
            target.click()
        assert page.url == f"{server.url}/ui/{EMBEDDED}/evil/"
        assert page.evaluate("window.harmed") is None
        forbidden = "script, style, iframe, form, input, img, svg, object, embed, video, meta, base"
        assert shown.locator(forbidden).count() == 0
        assert shown.locator("[style], [onclick], [onmouseover]").count() == 0
        assert opened.seen.dialogs == []
        assert opened.seen.errors == []
        assert opened.seen.requests_elsewhere(server.url) == []
    assert record.calls == []


def test_the_test_notices_hostile_content_that_is_not_blocked(
    browser: Browser, elsewhere: tuple[str, Recorder]
) -> None:
    url, record = elsewhere
    page = HARMFUL.replace("ELSEWHERE", url)
    policy = {"Content-Security-Policy": "default-src 'none'"}
    with (
        wsgi_server(answering(Response(page, content_type="text/html"))) as free,
        wsgi_server(answering(Response(page, 200, policy, content_type="text/html"))) as guarded,
    ):
        with window(browser) as opened:
            opened.page.goto(free, wait_until="networkidle")
            assert opened.seen.dialogs == ["script"]
            assert any(found.startswith("image-alt: ") for found in serious_findings(opened.page))
            assert opened.seen.requests_elsewhere(free) == [f"{url}/pixel.png"]
            assert [call.path for call in record.calls] == ["/pixel.png"]
        with window(browser) as opened:
            opened.page.goto(guarded, wait_until="networkidle")
            told = [text for text in opened.seen.errors if text.startswith("policy: ")]
            assert len(told) >= 2
            assert opened.seen.dialogs == []


# The fields and the file of an upload, and a form that sends them: a page can fill in both.
SEND = """({fields, filename, content, action}) => {
  const form = document.createElement("form");
  Object.assign(form, {method: "post", enctype: "multipart/form-data", action});
  for (const [name, value] of fields) {
    const input = document.createElement("input");
    Object.assign(input, {name, value});
    form.append(input);
  }
  const bytes = Uint8Array.from(atob(content), (character) => character.charCodeAt(0));
  const carried = new DataTransfer();
  carried.items.add(new File([bytes], filename));
  const file = document.createElement("input");
  Object.assign(file, {type: "file", name: "content", files: carried.files});
  form.append(file);
  document.body.append(form);
  SUBMIT
}"""
BY_FORM = SEND.replace("SUBMIT", "form.submit();")
BY_FETCH = SEND.replace(
    "SUBMIT",
    "return fetch(action, {method: 'post', body: new FormData(form)}).then((got) => got.status);",
)


@pytest.mark.parametrize("site", ["localhost", "127.0.0.1"], ids=["other-site", "other-port"])
def test_upload_that_another_sites_form_sends_with_the_browsers_credentials_is_refused(
    browser: Browser,
    server: RunningServer,
    docker_htpasswd: RunningRegistry,
    http: requests.Session,
    tmp_path: Path,
    site: str,
) -> None:
    namespace = f"browser-{site.replace('.', '-')}"
    base = f"{docker_htpasswd.address}/{namespace}"
    index = IndexClient(f"{server.url}/{base}", docker_htpasswd.auth, http)
    wheel = make_wheel(tmp_path, "forged", "1.0")
    content = wheel.read_bytes()
    upload = {
        "fields": upload_form("forged", "1.0", wheel.name, content),
        "filename": wheel.name,
        "content": base64.b64encode(content).decode(),
        "action": f"{index.base}/",
    }
    lure = Response("<!DOCTYPE html><title>Win</title><h1>Win</h1>", content_type="text/html")
    with (
        wsgi_server(answering(lure)) as url,
        window(browser, auth=docker_htpasswd.auth) as opened,
    ):
        page = opened.page
        # At the address of the upload, where the browser then sends them without being asked.
        signed_in = page.goto(f"{index.base}/")
        assert signed_in is not None
        assert signed_in.status == 200

        page.goto(url.replace("127.0.0.1", site))
        with page.expect_navigation() as navigation:
            page.evaluate(BY_FORM, upload)
        answer = navigation.value
        assert (answer.status, answer.url) == (403, upload["action"])
        assert answer.request.method == "POST"
        assert "authorization" in answer.request.all_headers()
        expect(page.get_by_role("heading", level=1)).to_have_text(
            "This request came from another site"
        )
        assert index.get("/forged/").status_code == 404

        # The same form and credentials work from a page of the server itself.
        page.goto(f"{server.url}/ui/{base}/")
        assert page.evaluate(BY_FETCH, upload) == 200
        assert index.get("/forged/").status_code == 200
