"""Settings: read from the environment, with errors that name the variable."""

from pathlib import Path

import pytest

from glue import db, settings
from glue.errors import SettingsError
from glue.settings import Address, parse_origin


def test_nothing_set_means_the_embedded_server() -> None:
    found = settings.load({})
    assert found.dsn is None
    assert found.listen_address == Address("127.0.0.1", 8017)
    assert found.topic == "fx-stream-global"


@pytest.mark.parametrize("variable", ["PGHOST", "PGHOSTADDR", "PGSERVICE", "PGDATABASE"])
def test_libpq_variables_mean_ones_own_server(variable: str) -> None:
    assert settings.load({variable: "x"}).dsn == ""
    assert settings.load({variable: "x", "TIDEMARK_DSN": "host=y"}).dsn == "host=y"


def test_an_empty_variable_is_one_that_is_not_set() -> None:
    assert settings.load({"TIDEMARK_DSN": "", "TIDEMARK_LOG": ""}) == settings.load({})


def test_paths_are_made_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert settings.load({"TIDEMARK_HOME": "here"}).home == tmp_path / "here"


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("TIDEMARK_LISTEN", "8017"),
        ("TIDEMARK_LISTEN", "localhost:99999"),
        ("TIDEMARK_METRICS_LISTEN", "x"),
        ("TIDEMARK_LOG", "xml"),
        ("TIDEMARK_TRUSTED_PROXIES", "10.0.0.1/8"),
        ("TIDEMARK_ALLOWED_ORIGINS", "desk.example"),
        ("TIDEMARK_RECONCILE_BEAT", "0"),
        ("TIDEMARK_RECONCILE_BEAT", "nan"),
        ("TIDEMARK_RECONCILE_BEAT", "often"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(variable: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"{variable}.*{value}"):
        settings.load({variable: value})


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:80", Address("127.0.0.1", 80)),
        ("[::1]:80", Address("::1", 80)),
        (":80", Address("0.0.0.0", 80)),
    ],
)
def test_addresses_are_read_and_written(text: str, address: Address) -> None:
    assert Address.parse(text) == address
    assert Address.parse(str(address)) == address


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("https://desk.example", "https://desk.example"),
        ("HTTPS://Desk.Example:443/", "https://desk.example"),
        ("http://desk.example:80", "http://desk.example"),
        ("http://desk.example:443", "http://desk.example:443"),
        ("https://desk.example:8443", "https://desk.example:8443"),
        ("http://127.0.0.1:5173/", "http://127.0.0.1:5173"),
        ("http://[0:0::1]:8080", "http://[::1]:8080"),
        ("capacitor://localhost", "capacitor://localhost"),
    ],
)
def test_an_origin_is_written_as_a_browser_does(text: str, origin: str) -> None:
    assert parse_origin(text) == origin


@pytest.mark.parametrize(
    "text",
    [
        *("desk.example", "desk.example:443", "//desk.example", "null", "*"),
        *("https://", "https://*.example", "https://desk.example/page", "https://desk.example//"),
        *("https://desk.example?x", "https://me@desk.example", "https://b\u00fccher.example"),
        *("https://desk.example:", "https://desk.example:0", "https://desk.example:65536"),
        *("https://desk.example:https", "http://[::1", "http://[::12345]", "https://a b"),
        *("https://desk.example\n", ""),
    ],
)
def test_what_no_browser_sends_is_no_origin(text: str) -> None:
    with pytest.raises(ValueError, match="not an origin like") as refused:
        parse_origin(text)
    assert str(refused.value).endswith(f": {text!r}")


def test_a_connection_string_that_cannot_be_read_is_told() -> None:
    with pytest.raises(SettingsError, match="cannot be read") as raised:
        db.connect("trading")
    assert "TIDEMARK_DSN" in raised.value.remedy


def test_what_the_relay_is_told() -> None:
    found = settings.load(
        {
            "TIDEMARK_ALLOWED_ORIGINS": "https://a.example, HTTPS://B.example:443/",
            "TIDEMARK_TRUSTED_PROXIES": "127.0.0.1, 10.0.0.0/8",
            "TIDEMARK_MAX_CLIENTS": "7",
        }
    )
    assert found.origins == ["https://a.example", "https://b.example"]
    assert [str(network) for network in found.proxies] == ["127.0.0.1/32", "10.0.0.0/8"]
    assert (found.max_clients, found.scheme) == (7, "http")
    assert settings.load({}).proxies == settings.load({}).origins == []


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"TIDEMARK_TLS_CERT": "a.pem"}, "TIDEMARK_TLS_CERT and TIDEMARK_TLS_KEY"),
        ({"TIDEMARK_MAX_CLIENTS": "0"}, "TIDEMARK_MAX_CLIENTS is at least 1"),
        ({"TIDEMARK_MAX_CLIENTS_PER_TOKEN": "many"}, "max_clients_per_token"),
    ],
)
def test_what_the_relay_cannot_be_told(environment: dict[str, str], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        settings.load(environment)


def test_a_token_or_a_file_with_one_means_a_broker(tmp_path: Path) -> None:
    assert not settings.load({}).has_broker
    assert settings.load({"TIDEMARK_OANDA_TOKEN": "x"}).has_broker
    assert settings.load({"TIDEMARK_OANDA_TOKEN_FILE": str(tmp_path / "token")}).has_broker
