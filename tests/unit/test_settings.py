import dataclasses
import tempfile
from pathlib import Path

import pytest

from pyoci_flask.errors import ConfigurationError
from pyoci_flask.oci.reference import EMBEDDED, Registry
from pyoci_flask.settings import PinnedIndex, Settings
from pyoci_flask.settings.values import Verify

NUMBERS = {
    "PORT": ("port", 8080, 1, 65535),
    "PYOCI_MAX_BODY": ("max_body", 50_000_000, 1, None),
    "PYOCI_MAX_VERSIONS": ("max_versions", 100, 0, None),
    "PYOCI_CLIENT_TIMEOUT": ("client_timeout", 60, 1, None),
    "PYOCI_FETCH_THREADS": ("fetch_threads", 32, 1, 1024),
    "PYOCI_CACHE_STALE": ("cache_stale", 86_400, 0, 2_592_000),
    "WEB_CONCURRENCY": ("web_concurrency", 2, 1, 1024),
    "PYOCI_THREADS": ("threads", 64, 1, 4096),
}
TEXTS = {
    "PYOCI_BEARER_USERNAME": "bearer_username",
    "PYOCI_TITLE": "title",
    "OTLP_AUTH": "otlp_auth",
    "DEPLOYMENT_ENVIRONMENT": "deployment_environment",
    "CONTAINER_APP_NAME": "container_app_name",
    "CONTAINER_APP_REVISION": "container_app_revision",
    "CONTAINER_APP_REPLICA_NAME": "container_app_replica_name",
}
URLS = {"PYOCI_URL": "url", "OTLP_ENDPOINT": "otlp_endpoint"}


@pytest.mark.parametrize("url", ["https://pakete.büro.example", "https://h.example/a b"])
def test_a_url_need_not_be_ascii(url: str) -> None:
    assert Settings.from_env({"PYOCI_URL": f"{url}/"}).url == url


def test_empty_environment_gives_the_documented_defaults() -> None:
    settings = Settings.from_env({})
    assert settings == Settings()
    assert dataclasses.asdict(settings) == {
        "port": 8080,
        "bind": None,
        "path": "",
        "url": None,
        "title": None,
        "max_body": 50_000_000,
        "max_versions": 100,
        "bearer_username": None,
        "otlp_endpoint": None,
        "otlp_auth": None,
        "metrics": False,
        "deployment_environment": None,
        "container_app_name": None,
        "container_app_revision": None,
        "container_app_replica_name": None,
        "log_levels": {"": "INFO"},
        "log_json": False,
        "log_ignored": (),
        "index": None,
        "storage": None,
        "storage_users": None,
        "registries": None,
        "only_index": False,
        "private_networks": True,
        "publish_settle": 0.0,
        "fallback_index": None,
        "fallback_exclude": (),
        "fallback_denied": False,
        "fallback_empty": False,
        "page_images": (),
        "skip_identical": False,
        "cache_ttl": 60,
        "cache_stale": 86_400,
        "cache_folder": None,
        "verify_downloads": Verify.ONCE,
        "redirect_downloads": False,
        "spool": Path(tempfile.gettempdir()),
        "client_timeout": 60,
        "fetch_threads": 32,
        "web_concurrency": 2,
        "threads": 64,
    }


@pytest.mark.parametrize("value", ["", "  "])
def test_empty_variable_counts_as_unset(value: str) -> None:
    names = [*NUMBERS, *TEXTS, *URLS, "PYOCI_PATH", "PYOCI_INDEX", "PYOCI_STORAGE", "PYOCI_SPOOL"]
    names += ["PYOCI_STORAGE_USERS", "PYOCI_REGISTRIES", "LOG_LEVEL", "RUST_LOG"]
    names += [
        "PYOCI_PAGE_IMAGES",
        "PYOCI_FALLBACK_INDEX",
        "PYOCI_FALLBACK_EXCLUDE",
        "PYOCI_FALLBACK_DENIED",
    ]
    names += ["PYOCI_FALLBACK_EMPTY"]
    names += ["PYOCI_SKIP_IDENTICAL", "PYOCI_PRIVATE_NETWORKS", "PYOCI_PUBLISH_SETTLE"]
    assert Settings.from_env(dict.fromkeys(names, value)) == Settings()


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Settings().port = 1  # type: ignore[misc]


@pytest.mark.parametrize("name", NUMBERS)
def test_number_is_read_within_its_limits(name: str) -> None:
    field, _, low, high = NUMBERS[name]
    for value in {low, low + 1, 999, high or 10**17}:
        assert getattr(Settings.from_env({name: f" {value} "}), field) == value


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", ["x", "1.5", "-1", "+1", "1_000", "0x10", "٣", "9" * 19, "1e3"])
def test_what_is_no_number_stops_the_start_with_the_variable(name: str, value: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"^{name} must be .*{NUMBERS[name][2]}"):
        Settings.from_env({name: value})


@pytest.mark.parametrize("name", NUMBERS)
def test_number_out_of_its_limits_stops_the_start(name: str) -> None:
    _, _, low, high = NUMBERS[name]
    beyond = [low - 1] if low else []
    beyond += [] if high is None else [high + 1]
    for value in beyond:
        with pytest.raises(ConfigurationError, match=rf"^{name} must be .*'{value}'"):
            Settings.from_env({name: str(value)})


@pytest.mark.parametrize("value", ["x" * 61, "two\nlines", "a\tb", "\u202ebackwards"])
def test_title_is_one_short_line(value: str) -> None:
    with pytest.raises(ConfigurationError, match="PYOCI_TITLE must be one line"):
        Settings.from_env({"PYOCI_TITLE": value})
    assert Settings.from_env({"PYOCI_TITLE": "x" * 60}).title == "x" * 60


@pytest.mark.parametrize("name", TEXTS)
def test_text_is_taken_as_it_is(name: str) -> None:
    assert getattr(Settings.from_env({name: "some text"}), TEXTS[name]) == "some text"


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ("/", ""),
        ("//", ""),
        ("acme", "/acme"),
        ("/acme-corp", "/acme-corp"),
        ("/acme/", "/acme"),
        ("/a/b.c_d~e/", "/a/b.c_d~e"),
        ("/v2x", "/v2x"),
        ("/acme/v2", "/acme/v2"),
    ],
)
def test_sub_path_is_normalised(value: str, path: str) -> None:
    assert Settings.from_env({"PYOCI_PATH": value}).path == path


@pytest.mark.parametrize(
    "value",
    [
        "/a b",
        "/a//b",
        "/../x",
        "/a/..",
        "/ä",
        "/a?b",
        "/a#b",
        "/%41",
        "http://x/y",
        "/v2",
        "/health/",
    ],
)
def test_unusable_sub_path_stops_the_start(value: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^PYOCI_PATH must be"):
        Settings.from_env({"PYOCI_PATH": value})


@pytest.mark.parametrize("name", URLS)
@pytest.mark.parametrize(
    ("value", "url"),
    [
        ("https://pkg.example.com", "https://pkg.example.com"),
        ("http://localhost:4318/", "http://localhost:4318"),
        ("https://example.com/otlp/v1/", "https://example.com/otlp/v1"),
        ("http://[::1]:80", "http://[::1]:80"),
    ],
)
def test_url_loses_its_trailing_slash(name: str, value: str, url: str) -> None:
    assert getattr(Settings.from_env({name: value}), URLS[name]) == url


@pytest.mark.parametrize("name", URLS)
@pytest.mark.parametrize(
    "value",
    [
        "example.com",
        "ftp://example.com",
        "https://",
        "https://user@example.com",
        "https://user:secret@example.com",
        "https://example.com/?a=b",
        "https://example.com/#a",
        "https://example.com:0",
        "https://example.com:99999",
        "https://[broken",
    ],
)
def test_unusable_url_stops_the_start(name: str, value: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^{name} must be an http or https URL"):
        Settings.from_env({name: value})


@pytest.mark.parametrize("name", URLS)
def test_password_in_a_url_is_not_shown(name: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Settings.from_env({name: "https://user:hunter2@example.com"})
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("value", ["Basic aHVudGVyMg==\n x", "Bearer hunter2\x00", "hunter2ä"])
def test_unusable_otlp_auth_stops_the_start_without_showing_it(value: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^OTLP_AUTH must be") as caught:
        Settings.from_env({"OTLP_AUTH": value})
    assert "hunter2" not in str(caught.value)
    assert "aHVudGVyMg" not in str(caught.value)


def test_otlp_auth_does_not_stand_in_the_repr() -> None:
    settings = Settings.from_env({"OTLP_AUTH": "Bearer hunter2"})
    assert settings.otlp_auth == "Bearer hunter2"
    assert "hunter2" not in repr(settings)


@pytest.mark.parametrize(
    ("value", "index"),
    [
        ("ghcr.io/acme", PinnedIndex(Registry("https", "ghcr.io"), "acme")),
        ("ghcr.io/Acme/Python/", PinnedIndex(Registry("https", "ghcr.io"), "acme/python")),
        ("https://ghcr.io/acme", PinnedIndex(Registry("https", "ghcr.io"), "acme")),
        (
            "http://localhost:5000/team/python",
            PinnedIndex(Registry("http", "localhost", 5000), "team/python"),
        ),
        ("http://registry:5000/team", PinnedIndex(Registry("http", "registry", 5000), "team")),
        ("registry/team", PinnedIndex(Registry("https", "registry"), "team")),
        ("[::1]:5000/team", PinnedIndex(Registry("https", "[::1]", 5000), "team")),
    ],
)
def test_index_is_a_registry_and_a_namespace(value: str, index: PinnedIndex) -> None:
    assert Settings.from_env({"PYOCI_INDEX": value}).index == index


@pytest.mark.parametrize(
    "value",
    [
        "ghcr.io",
        "ghcr.io/",
        "/acme",
        "https://ghcr.io",
        "ftp://ghcr.io/acme",
        "ghcr.io/a b",
        "ghcr.io/a/../b",
        "ghcr.io/_a",
        "user@ghcr.io/acme",
        "ghcr.io:99999/acme",
        "ghcr.io/" + "a" * 256,
        "-x/acme",
    ],
)
def test_unusable_index_stops_the_start(value: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^PYOCI_INDEX must be a registry and"):
        Settings.from_env({"PYOCI_INDEX": value})


def test_embedded_index_needs_a_storage(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"PYOCI_INDEX .* set PYOCI_STORAGE"):
        Settings.from_env({"PYOCI_INDEX": "embedded/team"})
    settings = Settings.from_env({"PYOCI_INDEX": "embedded/team", "PYOCI_STORAGE": str(tmp_path)})
    assert settings.index == PinnedIndex(EMBEDDED, "team")


def test_storage_alone_pins_an_index_in_it_and_allows_every_registry(tmp_path: Path) -> None:
    settings = Settings.from_env({"PYOCI_STORAGE": str(tmp_path / "new" / "folder")})
    assert settings.index == PinnedIndex(EMBEDDED, "python")
    assert settings.registries is None
    assert settings.storage == tmp_path / "new" / "folder"


def test_a_system_without_a_temporary_folder_needs_a_spool(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none() -> str:
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr(tempfile, "gettempdir", none)
    assert Settings.from_env({"PYOCI_SPOOL": str(tmp_path)}).spool == tmp_path
    with pytest.raises(ConfigurationError, match=r"^PYOCI_SPOOL must be set "):
        Settings.from_env({})


def test_paths_are_taken_as_they_are_and_made_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names = ("PYOCI_STORAGE", "PYOCI_STORAGE_USERS", "PYOCI_SPOOL")
    settings = Settings.from_env(dict.fromkeys(names, "missing"))
    missing = tmp_path / "missing"
    assert (settings.storage, settings.storage_users, settings.spool) == (missing,) * 3
    assert not missing.exists()


@pytest.mark.parametrize(
    ("entries", "allowed", "refused"),
    [
        (None, ["ghcr.io", "http://localhost:5000"], []),
        (
            "ghcr.io, *.AzureCR.io localhost:*",
            ["ghcr.io", "ghcr.io:443", "https://GHCR.io", "acme.azurecr.io", "localhost:5000"],
            [
                *("azurecr.io", "notghcr.io", "ghcr.io.evil.com", "acme.azurecr.io.evil.com"),
                *("ghcr.io:8443", "http://ghcr.io", "http://ghcr.io:443", "acme.azurecr.io:444"),
                *("http://acme.azurecr.io", "http://localhost:5000"),
            ],
        ),
        ("ghcr.io:443", ["ghcr.io", "ghcr.io:443"], ["http://ghcr.io:443", "ghcr.io:80"]),
        ("https://ghcr.io/", ["ghcr.io"], ["http://ghcr.io", "ghcr.io:444"]),
        ("ghcr.io:80", ["ghcr.io:80"], ["http://ghcr.io", "ghcr.io"]),
        ("ghcr.io:0443", ["ghcr.io"], ["http://ghcr.io"]),
        ("HTTP://ghcr.io", ["http://ghcr.io", "http://ghcr.io:80"], ["ghcr.io", "ghcr.io:80"]),
        (
            "http://*.internal:5000",
            ["http://a.internal:5000", "http://a.b.internal:5000"],
            ["a.internal:5000", "http://a.internal", "http://internal.evil.com:5000"],
        ),
        ("http://localhost:5000", ["http://localhost:5000"], ["localhost:5000", "localhost:443"]),
        ("http://10.0.0.?", ["http://10.0.0.5"], ["http://10.0.0.55", "10.0.0.5"]),
        ("*", ["ghcr.io", "quay.io:443"], ["quay.io:444", "http://quay.io", "embedded"]),
        ("http://*:*", ["http://quay.io:5000", "http://quay.io"], ["quay.io"]),
        ("[::1]:443", ["[::1]", "[::1]:443"], ["[::1]:444", "http://[::1]:443"]),
        ("http://[::1]:5000", ["http://[::1]:5000"], ["[::1]:5000", "http://[::2]:5000"]),
        (
            "docker.io",
            ["docker.io", "index.docker.io", "registry-1.docker.io", "https://docker.io:443"],
            ["http://docker.io", "hub.docker.io", "registry-1.docker.io:444"],
        ),
        ("registry-1.docker.io", ["docker.io", "index.docker.io"], ["evil-docker.io"]),
        ("*.docker.io", ["docker.io", "registry-1.docker.io"], ["ghcr.io"]),
        ("embedded", ["embedded"], ["ghcr.io"]),
        ("ghcr.io", ["ghcr.io"], ["embedded"]),
    ],
)
def test_allow_list_names_origins(
    entries: str | None, allowed: list[str], refused: list[str]
) -> None:
    settings = Settings.from_env({} if entries is None else {"PYOCI_REGISTRIES": entries})
    for text in allowed + refused:
        registry = Registry.parse(text)
        assert registry is not None
        assert settings.allows(registry, "team") is (text in allowed), text


@pytest.mark.parametrize(
    ("index", "registry", "namespace", "allowed"),
    [
        ("ghcr.io/acme", "ghcr.io", "acme", True),
        ("ghcr.io/acme", "https://GHCR.io:443", "acme", True),
        ("ghcr.io/acme", "ghcr.io", "other", False),
        ("ghcr.io/acme", "ghcr.io", "acme/sub", False),
        ("ghcr.io/acme/sub", "ghcr.io", "acme", False),
        ("ghcr.io/acme", "ghcr.io:444", "acme", False),
        ("ghcr.io/acme", "http://ghcr.io", "acme", False),
        ("ghcr.io/acme", "http://ghcr.io:443", "acme", False),
        ("ghcr.io/acme", "ghcr.io.evil.com", "acme", False),
        ("http://localhost:5000/acme", "http://localhost:5000", "acme", True),
        ("http://localhost:5000/acme", "localhost:5000", "acme", False),
        ("http://localhost:80/acme", "http://localhost", "acme", True),
        ("http://localhost:80/acme", "http://127.0.0.1", "acme", False),
    ],
)
def test_index_alone_allows_its_own_origin_and_namespace(
    index: str, registry: str, namespace: str, *, allowed: bool
) -> None:
    settings = Settings.from_env({"PYOCI_INDEX": index})
    found = Registry.parse(registry)
    assert found is not None
    assert settings.allows(found, namespace) is allowed


def test_allow_list_beside_an_index_decides_what_else_may_be_addressed() -> None:
    environ = {"PYOCI_REGISTRIES": "quay.io", "PYOCI_INDEX": "ghcr.io/acme"}
    settings = Settings.from_env(environ)
    assert settings.allows(Registry("https", "quay.io"), "any")
    assert not settings.allows(Registry("https", "ghcr.io"), "acme")


@pytest.mark.parametrize(
    "value",
    [
        "ghcr.io/acme",
        "http://ghcr.io/v2/",
        "ftp://ghcr.io",
        "http:/ghcr.io",
        "alice:hunter2@ghcr.io",
        "gh cr;io",
        "ghcr.io:x",
        "ghcr.io:0",
        "ghcr.io:99999",
        "ghcr.io.",
        "-x.io",
        "[::1",
        "[::g]:5000",
        "http://",
        "!",
    ],
)
def test_unusable_allow_list_stops_the_start(value: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^PYOCI_REGISTRIES must be reg") as refused:
        Settings.from_env({"PYOCI_REGISTRIES": value})
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    ("value", "level"),
    [
        ("debug", "DEBUG"),
        ("trace", "DEBUG"),
        ("Info", "INFO"),
        ("WARN", "WARNING"),
        ("warning", "WARNING"),
        ("error", "ERROR"),
        ("off", "CRITICAL"),
    ],
)
def test_log_level_is_that_of_the_root(value: str, level: str) -> None:
    settings = Settings.from_env({"LOG_LEVEL": value, "RUST_LOG": "pyoci=trace,nonsense!"})
    assert (settings.log_levels, settings.log_ignored) == ({"": level}, ())


def test_unknown_log_level_stops_the_start() -> None:
    with pytest.raises(ConfigurationError, match=r"^LOG_LEVEL must be one of debug"):
        Settings.from_env({"LOG_LEVEL": "loud"})


@pytest.mark.parametrize(
    ("value", "levels", "ignored"),
    [
        ("debug", {"": "DEBUG"}, ()),
        ("pyoci=debug,info", {"": "INFO", "pyoci": "DEBUG"}, ()),
        ("warn, pyoci::index = trace ,", {"": "WARNING", "pyoci.index": "DEBUG"}, ()),
        ("hyper=debug,tower_http=warn", {"": "INFO"}, ("hyper=debug", "tower_http=warn")),
        ("pyoci", {"": "INFO"}, ("pyoci",)),
        ("pyoci=loud,error", {"": "ERROR"}, ("pyoci=loud",)),
        ("pyoci[span{x=1}]=debug", {"": "INFO"}, ("pyoci[span{x=1}]=debug",)),
    ],
)
def test_rust_log_sets_levels_and_keeps_what_it_ignored_for_a_warning(
    value: str, levels: dict[str, str], ignored: tuple[str, ...]
) -> None:
    settings = Settings.from_env({"RUST_LOG": value})
    assert (settings.log_levels, settings.log_ignored) == (levels, ignored)


@pytest.mark.parametrize(
    ("text", "patterns"),
    [
        ("acme-*", ("acme-*",)),
        ("Acme.Billing, acme__tools", ("acme-billing", "acme-tools")),
        ("a b\tc", ("a", "b", "c")),
    ],
)
def test_names_that_never_fall_back_are_normalised(text: str, patterns: tuple[str, ...]) -> None:
    assert Settings.from_env({"PYOCI_FALLBACK_EXCLUDE": text}).fallback_exclude == patterns


@pytest.mark.parametrize(
    ("environ", "name"),
    [
        ({"PYOCI_FALLBACK_EXCLUDE": "a/b"}, "PYOCI_FALLBACK_EXCLUDE"),
        ({"PYOCI_FALLBACK_EXCLUDE": "a", "PYOCI_FALLBACK_DENIED": "yes"}, "PYOCI_FALLBACK_DENIED"),
        ({"PYOCI_FALLBACK_DENIED": "redirect"}, "PYOCI_FALLBACK_EXCLUDE"),
        ({"PYOCI_FALLBACK_EXCLUDE": "a", "PYOCI_FALLBACK_EMPTY": "yes"}, "PYOCI_FALLBACK_EMPTY"),
        ({"PYOCI_FALLBACK_EMPTY": "redirect"}, "PYOCI_FALLBACK_EXCLUDE"),
        ({"PYOCI_FALLBACK_INDEX": "index.example.com"}, "PYOCI_FALLBACK_INDEX"),
        ({"PYOCI_SKIP_IDENTICAL": "maybe"}, "PYOCI_SKIP_IDENTICAL"),
    ],
)
def test_unsafe_or_unreadable_fallback_stops_the_start(environ: dict[str, str], name: str) -> None:
    with pytest.raises(ConfigurationError, match=name):
        Settings.from_env(environ)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("true", True), ("1", True), ("YES", True), ("false", False), ("0", False)],
)
def test_switch_is_read(text: str, expected: bool) -> None:
    assert Settings.from_env({"PYOCI_SKIP_IDENTICAL": text}).skip_identical is expected


def test_private_networks_are_allowed_or_denied() -> None:
    assert Settings.from_env({"PYOCI_PRIVATE_NETWORKS": "Deny"}).private_networks is False
    assert Settings.from_env({"PYOCI_PRIVATE_NETWORKS": "allow"}).private_networks is True
    with pytest.raises(ConfigurationError, match=r"^PYOCI_PRIVATE_NETWORKS must be allow or deny"):
        Settings.from_env({"PYOCI_PRIVATE_NETWORKS": "no"})


@pytest.mark.parametrize(
    ("value", "seconds"), [("0", 0.0), ("0.5", 0.5), ("2", 2.0), ("99.999", 99.999)]
)
def test_settle_time_is_seconds(value: str, seconds: float) -> None:
    assert Settings.from_env({"PYOCI_PUBLISH_SETTLE": value}).publish_settle == seconds


@pytest.mark.parametrize("value", ["-1", "100", "1e1", "nan", "inf", ".5", "1.", "1s", "0.1234"])
def test_what_is_no_settle_time_stops_the_start(value: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^PYOCI_PUBLISH_SETTLE must be seconds"):
        Settings.from_env({"PYOCI_PUBLISH_SETTLE": value})


@pytest.mark.parametrize(
    ("entries", "origin", "listed"),
    [
        (None, ("https", "ghcr.io", 443), False),
        ("ghcr.io", ("https", "ghcr.io", 443), True),
        ("ghcr.io", ("https", "ghcr.io", 8443), False),
        ("ghcr.io", ("http", "ghcr.io", 443), False),
        ("ghcr.io", ("https", "ghcr.io.evil.example", 443), False),
        ("ghcr.io:443", ("https", "ghcr.io", 443), True),
        ("*.azurecr.io:*", ("https", "a.azurecr.io", 80), True),
        ("*.azurecr.io", ("https", "azurecr.io", 443), False),
        ("*:5000", ("https", "10.0.0.5", 5000), True),
        ("*:5000", ("http", "10.0.0.5", 5000), False),
        ("http://*:5000", ("http", "10.0.0.5", 5000), True),
        ("[::1]", ("https", "::1", 443), True),
        ("[::1]:5000", ("https", "::1", 5000), True),
        ("[::1]:5000", ("https", "::1", 5001), False),
        ("[::1]", ("https", "::2", 443), False),
    ],
)
def test_what_a_registry_leads_to_is_compared_with_the_list(
    entries: str | None, origin: tuple[str, str, int], *, listed: bool
) -> None:
    environ = {} if entries is None else {"PYOCI_REGISTRIES": entries}
    assert Settings.from_env(environ).lists(*origin) is listed


def test_index_alone_lists_its_own_origin() -> None:
    settings = Settings.from_env({"PYOCI_INDEX": "ghcr.io/acme"})
    assert settings.lists("https", "ghcr.io", 443)
    assert not settings.lists("http", "ghcr.io", 80)


@pytest.mark.parametrize("path", ["/health", "/v2", "/v2/x", "v2/"])
def test_sub_path_that_stands_at_the_root_for_something_else_is_refused(path: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^PYOCI_PATH"):
        Settings.from_env({"PYOCI_PATH": path})


@pytest.mark.parametrize("verify", list(Verify))
def test_downloads_are_verified_as_set(verify: Verify) -> None:
    settings = Settings.from_env({"PYOCI_VERIFY_DOWNLOADS": verify.value.upper()})
    assert settings.verify_downloads is verify


def test_verify_downloads_must_be_a_known_word() -> None:
    with pytest.raises(ConfigurationError, match=r"^PYOCI_VERIFY_DOWNLOADS must be always, once"):
        Settings.from_env({"PYOCI_VERIFY_DOWNLOADS": "sometimes"})


def test_the_cache_folder_is_an_absolute_path(tmp_path: Path) -> None:
    settings = Settings.from_env({"PYOCI_CACHE_FOLDER": str(tmp_path)})
    assert settings.cache_folder == tmp_path


def test_docker_hub_is_one_registry_whatever_its_host_is_called() -> None:
    for host in ("docker.io", "index.docker.io", "registry-1.docker.io"):
        settings = Settings.from_env({"PYOCI_INDEX": f"{host}/acme"})
        assert settings.index == PinnedIndex(Registry("https", "docker.io"), "acme")
        assert settings.lists("https", "registry-1.docker.io", 443)


@pytest.mark.parametrize(
    ("text", "hosts"),
    [
        ("img.shields.io", ("img.shields.io",)),
        ("IMG.shields.io, *.cdn.example,img.shields.io", ("img.shields.io", "*.cdn.example")),
        ("xn--bcher-kva.example assets", ("xn--bcher-kva.example", "assets")),
        (" ".join(f"h{number}.example" for number in range(50)), None),
    ],
)
def test_hosts_of_images_are_names_and_domains(text: str, hosts: tuple[str, ...] | None) -> None:
    found = Settings.from_env({"PYOCI_PAGE_IMAGES": text}).page_images
    assert len(found) == 50 if hosts is None else found == hosts


@pytest.mark.parametrize(
    "text",
    [
        *(
            "*",
            "*.",
            "*.com",
            "a.*.example",
            "*a.example",
            "**.a.example",
            ".example",
            "a..b",
            "a.",
        ),
        *("https://a.example", "a.example:443", "a.example/x", "user@a.example", "'self'", "data:"),
        *("a.example; script-src *", "b\u00fccher.example", "127.0.0.1", "[::1]", "-a.example"),
        *("a" * 64 + ".example", "a." * 130 + "example"),
        " ".join(f"h{number}.example" for number in range(51)),
    ],
)
def test_what_is_no_host_of_images_stops_the_start(text: str) -> None:
    with pytest.raises(ConfigurationError, match="PYOCI_PAGE_IMAGES must be at most 50 names"):
        Settings.from_env({"PYOCI_PAGE_IMAGES": text})
