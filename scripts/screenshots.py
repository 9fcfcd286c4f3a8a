#!/usr/bin/env python3
"""Take the pictures for docs/images: pages of a server with a few packages, in Chromium.

Each page is taken in light mode, in dark mode, and on a phone.
"""

import sys
import tempfile
from pathlib import Path

import requests

_ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(_ROOT))

from tests.browser import DESKTOP, PHONE, Colours, chromium, window  # noqa: E402 - needs the path
from tests.clients import twine_upload  # noqa: E402 - needs the path
from tests.described import make_described_wheel  # noqa: E402 - needs the path
from tests.packages import make_wheel  # noqa: E402 - needs the path
from tests.servers import gunicorn  # noqa: E402 - needs the path

_IMAGES = _ROOT / "docs" / "images"
_PUBLIC_URL = "https://packages.example.com"
_REQUEST_ID = "3f1c9a52b7e84d06"
_PAGES = {
    "landing": "/",
    "browse": "/ui/simple/",
    "project": "/ui/simple/acme-weather/",
    "error": "/ui/simple/acme-wether/",
}
_LOOKS: tuple[tuple[str, tuple[int, int], Colours], ...] = (
    ("light", DESKTOP, "light"),
    ("dark", DESKTOP, "dark"),
    ("phone", PHONE, "light"),
)
_OTHERS = ("acme-billing", "acme-geo", "acme-http", "acme-logging", "acme-tables", "acme-units")
_FIELDS = (
    ("Summary", "Forecasts from the weather stations of Acme"),
    ("Requires-Python", ">=3.11"),
    ("License-Expression", "MIT"),
    ("Author-email", "Weather team <weather@example.com>"),
    ("Keywords", "weather,forecast"),
    ("Project-URL", "Documentation, https://weather.example.com/docs/"),
    ("Project-URL", "Changes, https://weather.example.com/changes/"),
    ("Requires-Dist", "acme-http>=2.1"),
    ("Requires-Dist", "acme-units"),
    ("Provides-Extra", "maps"),
    ("Requires-Dist", "acme-geo>=0.9; extra == 'maps'"),
    ("Description-Content-Type", "text/markdown"),
)
_DESCRIPTION = """\
# acme-weather

Reads the stations' measurements and says what tomorrow brings.

```python
from acme_weather import forecast

print(forecast("Ghent").temperature)
```

- Answers from a cache where a station is **silent**.
- Units are those of `acme-units`, so nothing is ever in the wrong one.

| station | measures each |
|---|---|
| coast | 5 minutes |
| hills | 15 minutes |
"""


def main() -> None:
    """Write all pictures."""
    _IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="pyoci-screenshots-") as folder:
        tmp = Path(folder)
        settings = {"PYOCI_STORAGE": str(tmp / "storage"), "PYOCI_URL": _PUBLIC_URL}
        with gunicorn(tmp, settings) as server:
            _publish(tmp, f"{server.url}/simple/")
            _take_all(server.url)


def _publish(folder: Path, index: str) -> None:
    weather = "acme-weather"
    files = [
        make_described_wheel(folder, weather, version, *_FIELDS, description=_DESCRIPTION)
        for version in ("1.2.0", "1.3.0", "1.3.1", "2.0.0b1")
    ]
    files += [make_wheel(folder, name, "1.0.0") for name in _OTHERS]
    twine_upload(folder, index, *files, auth=("any", "any"))
    with requests.Session() as session:
        session.trust_env = False
        reason = {"yanked": "forecasts were a day late"}
        session.patch(f"{index}{weather}/1.3.0", json=reason, timeout=30).raise_for_status()


def _take_all(root: str) -> None:
    with chromium() as browser:
        for kind, size, colours in _LOOKS:
            with window(browser, size=size, colours=colours) as opened:
                # The error page shows the request id; a fixed id keeps the picture the same.
                opened.page.set_extra_http_headers({"X-Request-Id": _REQUEST_ID})
                for name, path in _PAGES.items():
                    opened.page.goto(f"{root}{path}")
                    picture = _IMAGES / f"{name}-{kind}.png"
                    opened.page.screenshot(path=picture, animations="disabled")
                    sys.stdout.write(f"{picture.relative_to(_ROOT)} {picture.stat().st_size} B\n")


if __name__ == "__main__":
    main()
