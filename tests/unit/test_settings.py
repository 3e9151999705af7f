"""Settings: their sources, the values that are refused at start, and the secrets that their text never shows."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from whence.settings import Settings, default_store

SECRET = "a shared secret of thirty-two by"
JWKS = "https://issuer.example/jwks.json"


def read(flags: dict[str, Any] | None = None, **environ: str) -> Settings:
    return Settings.from_environment({f"WHENCE_{name}": value for name, value in environ.items()}, **(flags or {}))


def test_defaults_serve_this_machine_alone() -> None:
    settings = read()
    assert (settings.host, settings.port, settings.root_path) == ("127.0.0.1", 8700, "")
    assert settings.store == default_store()
    assert settings.store.startswith("sqlite:////")
    assert settings.algorithms == ()
    assert settings.jwt_max_lifetime_s == 24 * 3600
    assert settings.trusted_proxies == settings.cors_origins == ()


def test_every_field_is_read_from_its_variable(tmp_path: Path) -> None:
    pem = tmp_path / "tls.pem"
    pem.write_text("")
    settings = read(
        STORE="sqlite:///x.db",
        HOST="::1",
        PORT="0",
        METRICS_HOST="::1",
        METRICS_PORT="9100",
        ROOT_PATH="/log/whence",
        CORS_ORIGINS="https://a.example, http://b.example:8080,",
        TRUSTED_PROXIES="10.0.0.0/8,::1",
        TLS_CERT=str(pem),
        TLS_KEY=str(pem),
        JWT_JWKS_URL=JWKS,
        JWT_ALGORITHMS="ES256,EdDSA",
        JWT_ISSUER="https://issuer.example",
        JWT_AUDIENCE="whence",
        JWT_TENANT_CLAIM="org",
        JWT_SCOPES_CLAIM="permissions",
        JWT_MAX_LIFETIME="90m",
        RESOURCE_TYPES="invoice",
        ACTOR_TYPES="robot",
        BAD_CREDENTIALS_PER_MINUTE="7",
        QUEUE_EVENTS_MAX="5000",
        BODIES_IN_FLIGHT_MAX="32MiB",
        ANSWERS_IN_FLIGHT_MAX="96MiB",
        CONNECTIONS_MAX="50",
        STREAMS_MAX="20",
        TENANT_STREAMS_MAX="5",
        TENANT_EVENTS_PER_S="100",
        TENANT_BYTES_MAX="1GiB",
        DISK_FREE_MIN="1GiB",
        STORE_SECRET="s" * 32,
        RECORD="keys,reads",
        LOG_LEVEL="DEBUG",
        COOKIE_SECURE="true",
        POSTGRES_POOLER="on",
        UNSAFE_DURABILITY="yes",
        LISTEN_URL="postgresql://u@h/d",
        PROCESSES="3",
        WEBHOOK_ALLOW="10.1.0.0/16, hooks.internal:9000",
        CONSOLE="off",
        SENTENCES=str(pem),
        OIDC_ISSUER="https://id.example",
        OIDC_CLIENT_ID="whence",
        OIDC_CLIENT_SECRET="hidden",
        OIDC_SCOPES="openid,profile",
        SEAL="off",
        LOG_NAME="log.example.com/whence",
        PAYLOAD_FIELDS="tool, order.currency",
        RETENTION="365d",
        REDACT="card.number",
    )
    plain = read()
    changed = {name for name in Settings.__struct_fields__ if getattr(settings, name) != getattr(plain, name)}
    assert changed == set(Settings.__struct_fields__) - {"jwt_secret", "seal_ml_dsa", "witness_policy"}
    assert (settings.tls_cert, settings.sentences) == (pem, pem)


def test_a_text_becomes_what_its_field_holds() -> None:
    """Lists, times, sizes, switches and paths."""
    settings = read(
        CORS_ORIGINS="https://a.example, http://b.example:8080,",
        JWT_JWKS_URL=JWKS,
        JWT_ALGORITHMS="ES256,EdDSA",
        JWT_MAX_LIFETIME="90m",
        BODIES_IN_FLIGHT_MAX="32MiB",
        LOG_LEVEL="DEBUG",
        COOKIE_SECURE="true",
        RESOURCE_TYPES="invoice",
        ACTOR_TYPES="robot",
        WITNESS_POLICY="policy",
        SEAL_ML_DSA="true",
    )
    assert settings.cors_origins == ("https://a.example", "http://b.example:8080")
    assert settings.algorithms == ("ES256", "EdDSA")
    assert (settings.jwt_max_lifetime_s, settings.bodies_in_flight_max) == (5400, 32 * 1024 * 1024)
    assert (settings.log_level, settings.cookie_secure) == ("debug", True)
    assert "invoice" in settings.vocabulary.resource_types
    assert "robot" in settings.vocabulary.actor_types
    assert (settings.witness_policy, settings.seal_ml_dsa) == (Path("policy"), True)


def test_flags_go_over_the_environment_unless_they_were_not_given() -> None:
    flags = {
        "port": 1,
        "host": None,
        "cors_origins": ["https://f.example"],
        "trusted_proxies": (),
        "store": "sqlite:///f",
    }
    settings = read(flags, PORT="2", HOST="::1", CORS_ORIGINS="https://e.example", TRUSTED_PROXIES="::1")
    assert (settings.port, settings.host, settings.store) == (1, "::1", "sqlite:///f")
    assert (settings.cors_origins, settings.trusted_proxies) == (("https://f.example",), ("::1",))


def test_a_flag_that_does_not_exist_is_an_error_of_the_caller() -> None:
    with pytest.raises(TypeError, match="hots"):
        read({"hots": "x"})


def test_an_empty_variable_counts_as_not_set() -> None:
    assert read(PORT="", JWT_SECRET="", STORE="") == read()


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        read().port = 1  # type: ignore[misc]  # the test expects this to raise


def test_a_secret_may_lie_in_a_file(tmp_path: Path) -> None:
    """A secret may be read from a file; one line end after it is removed."""
    file = tmp_path / "secret"
    file.write_text(SECRET + "\n")
    assert read(JWT_SECRET_FILE=str(file)).jwt_secret == SECRET
    with pytest.raises(ValueError, match=r"^Set either WHENCE_JWT_SECRET or WHENCE_JWT_SECRET_FILE, not both\.$"):
        read(JWT_SECRET_FILE=str(file), JWT_SECRET=SECRET)
    with pytest.raises(ValueError, match=r"^WHENCE_JWT_SECRET_FILE must name"):
        read(JWT_SECRET_FILE=str(tmp_path / "none"))


def test_the_text_of_settings_masks_the_secret() -> None:
    settings = read(JWT_SECRET=SECRET)
    for text in (repr(settings), str(settings), f"{settings}", repr(settings.__rich_repr__())):
        assert SECRET not in text
        assert "jwt_secret" in text
    assert "jwt_secret=None" in repr(read())


@pytest.mark.parametrize(
    ("store", "shown"),
    [
        ("postgresql://whence:hidden@db.example:5432/log?sslmode=require", "postgresql://whence@db.example:5432/log"),
        ("postgresql://whence:hid@den@db/log", "postgresql://whence@db/log"),
        ("postgresql:///log?host=/run&password=hidden", "postgresql:///log"),
        ("sqlite:////var/a@b?c.db", "sqlite:////var/a@b?c.db"),
    ],
)
def test_the_store_is_shown_without_its_password(store: str, shown: str) -> None:
    """Neither `shown_store` nor the text of the settings contains user, password or options of the store's URL."""
    settings = read(STORE=store, LISTEN_URL="postgresql://whence:hidden@direct/log?password=hidden")
    assert settings.shown_store == shown
    assert "hid" not in repr(settings)
    assert "listen_url='postgresql://whence@direct/log'" in repr(settings)


def test_the_store_may_lie_in_a_file(tmp_path: Path) -> None:
    """The store's URL, which may hold a password, can be read from a file too."""
    file = tmp_path / "store"
    file.write_text("postgresql://whence:hidden@db/log\n")
    assert read(STORE_FILE=str(file)).store == "postgresql://whence:hidden@db/log"
    assert read(LISTEN_URL_FILE=str(file)).listen_url == "postgresql://whence:hidden@db/log"


def test_a_key_decides_which_algorithms_hold() -> None:
    assert read(JWT_SECRET=SECRET).algorithms == ("HS256",)
    assert read(JWT_JWKS_URL=JWKS).algorithms == ("RS256", "ES256", "EdDSA")
    assert read(JWT_ALGORITHMS="RS256").algorithms == ()


@pytest.mark.parametrize("length", [31, 32])
def test_a_short_secret_is_refused_by_its_bytes(length: int) -> None:
    if length < 32:
        with pytest.raises(ValueError, match=r"^WHENCE_JWT_SECRET must have at least 32 bytes\.$"):
            read(JWT_SECRET="x" * length)
    else:
        assert read(JWT_SECRET="x" * length).jwt_secret == "x" * length
        assert read(JWT_SECRET="é" * 16).jwt_secret == "é" * 16


@pytest.mark.parametrize(
    "environ",
    [
        {"JWT_SECRET": SECRET, "JWT_JWKS_URL": JWKS},
        {"JWT_JWKS_URL": JWKS, "JWT_ALGORITHMS": "HS256"},
        {"JWT_JWKS_URL": JWKS, "JWT_ALGORITHMS": "RS256,HS256"},
        {"JWT_SECRET": SECRET, "JWT_ALGORITHMS": "RS256"},
        {"JWT_SECRET": SECRET, "JWT_ALGORITHMS": "none"},
        {"JWT_SECRET": SECRET, "JWT_ALGORITHMS": "HS512"},
        {"JWT_SECRET": "-----BEGIN PUBLIC KEY-----" + "x" * 32},
        {"JWT_JWKS_URL": "http://issuer.example/jwks"},
        {"JWT_JWKS_URL": "http://127.1/jwks"},
        {"JWT_JWKS_URL": "http://127.0.0.1.example/jwks"},
        {"JWT_JWKS_URL": "https://user:hidden@issuer.example/"},
        {"JWT_JWKS_URL": "file:///etc/passwd"},
        {"JWT_JWKS_URL": "https://"},
        {"JWT_JWKS_URL": "https://issuer.example:notaport/"},
        {"JWT_MAX_LIFETIME": "25h"},
        {"JWT_MAX_LIFETIME": "0"},
        {"JWT_MAX_LIFETIME": "1w"},
        {"JWT_MAX_LIFETIME": "-1h"},
        {"STORE": "mysql://x"},
        {"STORE": "sqlite:///"},
        {"STORE": "postgresql://"},
        {"LISTEN_URL": "sqlite:///hidden"},
        {"LISTEN_URL": "postgresql://"},
        {"PORT": "65536"},
        {"PORT": "80 "},
        {"PORT": "1_0"},
        {"PORT": "\u0661"},
        {"ROOT_PATH": "whence"},
        {"ROOT_PATH": "/whence/"},
        {"ROOT_PATH": "/a b"},
        {"LOG_NAME": "https://log.example.com"},
        {"LOG_NAME": "log example"},
        {"SEAL_ML_DSA": "true", "SEAL": "false"},
        {"SEAL_ML_DSA": "true", "LOG_NAME": "n" * 161},
        {"REDACT": "a b"},
        {"PAYLOAD_FIELDS": "a..b"},
        {"PAYLOAD_FIELDS": "a,b,c,d,e,f,g,h,i"},
        {"SEAL": "perhaps"},
        {"CORS_ORIGINS": "*"},
        {"CORS_ORIGINS": "https://*.example"},
        {"CORS_ORIGINS": "null"},
        {"CORS_ORIGINS": "https://a.example/"},
        {"TRUSTED_PROXIES": "proxy.example"},
        {"TLS_CERT": __file__},
        {"TLS_CERT": __file__, "TLS_KEY": "/no/such/file"},
        {"LOG_LEVEL": "loud"},
        {"COOKIE_SECURE": "perhaps"},
        {"OIDC_ISSUER": "https://id.example"},
        {"OIDC_CLIENT_SECRET": "alone"},
        {"OIDC_ISSUER": "http://id.example", "OIDC_CLIENT_ID": "whence"},
        {"OIDC_ISSUER": "https://id.example", "OIDC_CLIENT_ID": "whence", "OIDC_SCOPES": "profile"},
        {"BAD_CREDENTIALS_PER_MINUTE": "0"},
        {"QUEUE_EVENTS_MAX": "1999"},
        {"BODIES_IN_FLIGHT_MAX": "23MiB"},
        {"BODIES_IN_FLIGHT_MAX": "64MB"},
        {"ANSWERS_IN_FLIGHT_MAX": "63MiB"},
        {"CONNECTIONS_MAX": "0"},
        {"RESOURCE_TYPES": "Invoice"},
        {"ACTOR_TYPES": "a-b"},
    ],
)
def test_what_cannot_hold_is_refused_with_a_sentence(environ: dict[str, str]) -> None:
    """The message names the variable and never repeats its value."""
    with pytest.raises(ValueError, match=r"WHENCE_[A-Z_]+.*\.$") as caught:
        Settings.from_environment({f"WHENCE_{name}": value for name, value in environ.items()})
    for value in ("hidden", SECRET, "mysql", "perhaps", "loud", "Invoice"):
        assert value not in str(caught.value)


def test_http_is_spoken_to_this_machine_alone() -> None:
    for host in ("127.0.0.1:9", "localhost", "[::1]:80"):
        assert read(JWT_JWKS_URL=f"http://{host}/jwks").jwks_url == f"http://{host}/jwks"


def test_settings_made_directly_are_checked_too() -> None:
    with pytest.raises(ValueError, match="WHENCE_PORT"):
        Settings(port=-1)
    with pytest.raises(ValueError, match="WHENCE_JWT_SECRET"):
        msgspec.structs.replace(Settings(), jwt_secret="short")


def test_a_star_admits_any_resource_type() -> None:
    """Of the grammar. The words that are known by name stay, and further ones may stand beside it."""
    words = read(RESOURCE_TYPES="*,invoice").vocabulary
    assert words.any_resource_type and "*" not in words.resource_types
    assert all(map(words.has_resource_type, ("invoice", "action_run", "never_seen", "a" * 63)))
    assert not any(map(words.has_resource_type, ("*", "", "A", "a-b", "9a", "a" * 64, "a\n")))
    assert not read(RESOURCE_TYPES="invoice").vocabulary.has_resource_type("never_seen")
