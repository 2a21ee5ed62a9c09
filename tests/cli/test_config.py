from __future__ import annotations

from pathlib import Path

import pytest

from photondb.config import DEFAULT_ADDRESSES, OPTIONS, Settings, StartupError


def test_defaults() -> None:
    settings = Settings.load({}, {})
    assert settings == Settings()
    assert (settings.bind, settings.driver_port, settings.http_port) == ("127.0.0.1", 28015, 8080)


def test_a_flag_wins_over_the_environment() -> None:
    environ = {"PHOTONDB_DRIVER_PORT": "1111", "PHOTONDB_HTTP_PORT": "2222"}
    settings = Settings.load({"driver_port": "3333"}, environ)
    assert (settings.driver_port, settings.http_port) == (3333, 2222)


def test_an_empty_variable_counts_as_unset() -> None:
    assert Settings.load({}, {"PHOTONDB_NATS_URL": "", "PHOTONDB_DRIVER_PORT": ""}) == Settings()


@pytest.mark.parametrize(
    ("field", "text", "value"),
    [
        ("driver_port", "0", 0),
        ("http_port", "65535", 65535),
        ("processes", "yes", True),
        ("processes", "OFF", False),
        ("data_dir", "/var/lib/photondb", Path("/var/lib/photondb")),
        ("nats_url", "tls://a:4222,nats://b", "tls://a:4222,nats://b"),
        ("query_address", "unix:/run/query.sock", "unix:/run/query.sock"),
        ("storage_address", "tcp:storage:28102", "tcp:storage:28102"),
        ("auth_address", "tcp:[::1]:28103", "tcp:[::1]:28103"),
        ("log_format", "json", "json"),
    ],
)
def test_good_values(field: str, text: str, value: object) -> None:
    assert getattr(Settings.load({field: text}, {}), field) == value


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("PHOTONDB_DRIVER_PORT", "65536"),
        ("PHOTONDB_DRIVER_PORT", "-1"),
        ("PHOTONDB_HTTP_PORT", "http"),
        ("PHOTONDB_HTTP_PORT", "²"),
        ("PHOTONDB_PROCESSES", "maybe"),
        ("PHOTONDB_BIND", "two words"),
        ("PHOTONDB_NATS_URL", "127.0.0.1:4222"),
        ("PHOTONDB_NATS_URL", "nats://host:port"),
        ("PHOTONDB_QUERY_ADDRESS", "/run/query.sock"),
        ("PHOTONDB_QUERY_ADDRESS", "unix:"),
        ("PHOTONDB_QUERY_ADDRESS", "unix:/" + "x" * 107),
        ("PHOTONDB_QUERY_ADDRESS", "tcp:host"),
        ("PHOTONDB_QUERY_ADDRESS", "tcp:host:0"),
        ("PHOTONDB_LOG_LEVEL", "loud"),
    ],
)
def test_a_bad_variable_is_named_with_what_is_right(variable: str, text: str) -> None:
    option = next(option for option in OPTIONS if option.variable == variable)
    with pytest.raises(StartupError) as caught:
        Settings.load({}, {variable: text})
    message = str(caught.value)
    assert message == f"{variable} must be {option.expected}, not {text!r}"
    assert "\n" not in message


def test_a_bad_flag_is_named_as_the_user_typed_it() -> None:
    with pytest.raises(StartupError, match=r"^--driver-port must be a port number .*, not 'x'$"):
        Settings.load({"driver_port": "x"}, {})


def test_two_services_cannot_have_one_port() -> None:
    with pytest.raises(StartupError, match="both 5000"):
        Settings.load({"driver_port": "5000", "http_port": "5000"}, {})
    Settings.load({"driver_port": "0", "http_port": "0"}, {})


def test_a_certificate_needs_its_key() -> None:
    with pytest.raises(StartupError, match="PHOTONDB_RPC_TLS_KEY"):
        Settings.load({}, {"PHOTONDB_RPC_TLS_CERT": "cert.pem"})


def test_settings_survive_the_way_through_an_environment() -> None:
    settings = Settings.load(
        {"data_dir": "/d", "processes": "1", "nats_url": "nats://h:1", "http_port": "0", "log_level": "debug"},
        {"PHOTONDB_AUTH_ADDRESS": "unix:/a", "PHOTONDB_RPC_TLS_CERT": "c", "PHOTONDB_RPC_TLS_KEY": "k"},
    )
    assert Settings.load({}, settings.to_environment()) == settings


def test_addresses_are_filled_in_only_where_none_was_set() -> None:
    settings = Settings.load({}, {"PHOTONDB_AUTH_ADDRESS": "unix:/mine"})
    assert settings.address_of("query") == DEFAULT_ADDRESSES["query"]
    filled = settings.with_addresses({"auth": "unix:/other", "query": "unix:/query"})
    assert (filled.address_of("auth"), filled.address_of("query")) == ("unix:/mine", "unix:/query")


def test_every_field_can_be_set() -> None:
    assert {option.field for option in OPTIONS} == set(Settings.__dataclass_fields__)


def test_a_value_may_be_in_a_file(tmp_path: Path) -> None:
    secret = tmp_path / "nats"
    secret.write_text("nats://token@nats:4222\n")
    environ = {"PHOTONDB_NATS_URL_FILE": str(secret)}
    assert Settings.load({}, environ).nats_url == "nats://token@nats:4222"
    assert Settings.load({}, {**environ, "PHOTONDB_NATS_URL": "nats://other"}).nats_url == "nats://other"


def test_a_file_that_is_no_good_is_named_and_its_content_is_not(tmp_path: Path) -> None:
    secret = tmp_path / "nats"
    environ = {"PHOTONDB_NATS_URL_FILE": str(secret)}
    with pytest.raises(StartupError, match=r"the file of PHOTONDB_NATS_URL_FILE cannot be read: .*nats: No such file"):
        Settings.load({}, environ)
    secret.write_text("secret")
    with pytest.raises(StartupError) as caught:
        Settings.load({}, environ)
    assert str(caught.value).startswith("what is in the file of PHOTONDB_NATS_URL_FILE must be a URL")
    assert "secret" not in str(caught.value)
    secret.write_bytes(b"\xff")
    with pytest.raises(StartupError, match="is no text"):
        Settings.load({}, environ)


def test_a_password_is_not_shown() -> None:
    settings = Settings.load({}, {"PHOTONDB_ADMIN_PASSWORD": "p w"})
    assert settings.admin_password == "p w"
    assert "p w" not in repr(settings)
