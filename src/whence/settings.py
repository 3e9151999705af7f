"""The settings of a server: one frozen value. No other module reads the environment.

Every setting has a variable `WHENCE_<NAME>`. Lists are separated by commas, durations are like `90s`, `15m`, `24h` or
`1d`, sizes like `64MiB`, switches `true` or `false`. A secret may be in a file, which `WHENCE_<NAME>_FILE` names. An
empty variable counts as not set. An invalid value is refused at start with a sentence that names the variable and
never repeats the value.
"""

import ipaddress
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import platformdirs

from whence.addresses import Allowed, is_loopback
from whence.errors import StoreRefused, WhenceError
from whence.events import EVENT_LOG, Vocabulary
from whence.payload_fields import FIELDS_MAX, PATH_RULE, is_path
from whence.payload_masking import MASKED_PATHS_MAX
from whence.retention import AGE_DAYS_MAX, Policy
from whence.sentences import load_grammar
from whence.storage.backends import engine_of

__all__ = ["FIELDS", "JWT_LIFETIME_MAX_S", "RECORDED", "SECRET_BYTES_MIN", "Settings", "default_store", "is_safe_url"]

JWT_LIFETIME_MAX_S = 24 * 3600
"""The longest lifetime of a JWT that an operator may allow, in seconds."""

SECRET_BYTES_MIN = 32
"""The shortest secret of tokens, and of a store. A shorter one could be guessed offline from one token."""

RECORDED = ("keys", "sessions", "reads", "exports", "retention")
"""What can be recorded as events of the tenant."""

_MIB = 1024 * 1024
# One tenant may use half of each: one batch, packed and unpacked, and one page.
_QUEUE_EVENTS_MIN = 2 * 1000
_BODIES_MIN = 2 * 12 * _MIB
_ANSWERS_MIN = 2 * 32 * _MIB
_STREAMS_MIN = 2
_PROCESSES_MAX = 64
_HMAC = ("HS256",)
_PUBLIC_KEY = ("RS256", "ES256", "EdDSA")
_ML_DSA_LOG_NAME_MAX = 160
"""A signature by ML-DSA-44 has the origin in at most 255 bytes: the log name, the tenant and the epoch's number."""

_LOG_LEVELS = ("debug", "info", "warning", "error")


def default_store() -> str:
    """The default store: a SQLite file in the user's data directory."""
    return f"sqlite:///{Path(platformdirs.user_data_dir('whence', appauthor=False)) / 'whence.db'}"


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of a server. They are checked however they are made; `from_environment` parses them from text.

    Empty `jwt_algorithms` mean all that the configured key allows: HS256 for a secret, RS256, ES256 and EdDSA for a
    JWKS URL. `trusted_proxies` are addresses or networks whose X-Forwarded-* headers are believed. None for `processes`
    means as many as the processors allow, and for `retention_days` for ever.
    """

    store: str = msgspec.field(default_factory=default_store)
    listen_url: str | None = None
    host: str = "127.0.0.1"
    port: int = 8700
    metrics_host: str = "127.0.0.1"
    metrics_port: int | None = None
    root_path: str = ""
    cors_origins: tuple[str, ...] = ()
    trusted_proxies: tuple[str, ...] = ()
    tls_cert: Path | None = None
    tls_key: Path | None = None
    jwt_secret: str | None = None
    jwks_url: str | None = None
    jwt_algorithms: tuple[str, ...] = ()
    jwt_issuer: str | None = None
    jwt_audience: str | None = None
    jwt_tenant_claim: str = "tenant_id"
    jwt_scopes_claim: str = "scope"
    jwt_max_lifetime_s: int = JWT_LIFETIME_MAX_S
    resource_types: tuple[str, ...] = ()
    actor_types: tuple[str, ...] = ()
    bad_credentials_per_minute: int = 60
    queue_events_max: int = 20_000
    bodies_in_flight_max: int = 64 * _MIB
    answers_in_flight_max: int = 128 * _MIB
    connections_max: int = 1_000
    streams_max: int = 500
    tenant_streams_max: int = 200
    tenant_events_per_s: int = 0
    tenant_bytes_max: int = 0
    disk_free_min: int = 64 * _MIB
    store_secret: str | None = None
    record: tuple[str, ...] = ()
    log_level: str = "info"
    cookie_secure: bool = False
    postgres_pooler: bool = False
    unsafe_durability: bool = False
    processes: int | None = None
    webhook_allow: tuple[str, ...] = ()
    console: bool = True
    sentences: Path | None = None
    oidc_issuer: str | None = None
    oidc_client_id: str | None = None
    oidc_client_secret: str | None = None
    oidc_scopes: tuple[str, ...] = ("openid",)
    seal: bool = True
    seal_ml_dsa: bool = False
    log_name: str | None = None
    payload_fields: tuple[str, ...] = ()
    retention_days: int | None = None
    redact: tuple[str, ...] = ()
    witness_policy: Path | None = None

    def __post_init__(self) -> None:
        _check_service(self)
        _check_jwt(self)
        _check_oidc(self)
        _check_limits(self)
        self.vocabulary  # noqa: B018  (an added word outside the grammar must be refused at start)

    @classmethod
    def from_environment(cls, environ: Mapping[str, str], **flags: Any) -> "Settings":
        """The settings in these variables, overridden by `flags`.

        Flags have the names of fields, and are text or of the field's own type; None and an empty list mean that the
        flag was not given. Raises ValueError with a sentence for an invalid value, and TypeError for an unknown flag.
        """
        unknown = flags.keys() - FIELDS.keys()
        if unknown:
            raise TypeError(f"No such setting: {', '.join(sorted(unknown))}.")
        values: dict[str, Any] = {}
        for field, (variable, parse) in FIELDS.items():
            given = flags.get(field)
            if given is None or given in ((), []):
                given = _from_environment(environ, variable, secret=field in _FROM_FILE)
            if isinstance(given, str):
                values[field] = _parsed(variable, parse, given)
            elif given is not None:
                values[field] = tuple(given) if isinstance(given, list) else given
        return cls(**values)

    @property
    def vocabulary(self) -> Vocabulary:
        """The resource types and actor types of this installation. With `record`, that of the log itself is one."""
        recorded = (EVENT_LOG,) if self.record else ()
        try:
            return Vocabulary.extended((*self.resource_types, *recorded), self.actor_types)
        except ValueError as error:
            raise ValueError(f"WHENCE_RESOURCE_TYPES, WHENCE_ACTOR_TYPES: {error}") from None

    @property
    def default_policy(self) -> Policy:
        """The policy of the tenants that have none of their own."""
        return Policy(max_age_days=self.retention_days)

    def part_of(self, number: int) -> "Settings":
        """The settings of one of so many processes: its part of each total, but enough for a tenant to do everything.

        So several processes together may use more than a total that is near its minimum.
        """

        def part(total: int, least: int) -> int:
            return max(-(-total // number), least)

        return msgspec.structs.replace(
            self,
            queue_events_max=part(self.queue_events_max, _QUEUE_EVENTS_MIN),
            bodies_in_flight_max=part(self.bodies_in_flight_max, _BODIES_MIN),
            answers_in_flight_max=part(self.answers_in_flight_max, _ANSWERS_MIN),
            connections_max=part(self.connections_max, 1),
            streams_max=part(self.streams_max, _STREAMS_MIN),
            tenant_streams_max=part(self.tenant_streams_max, 1),
        )

    @property
    def shown_store(self) -> str:
        """The URL of the store without its password, for output and logs."""
        return _without_password(self.store)

    @property
    def absolute_store(self) -> str:
        """The URL of the store as `shown_store`, with the real path of a file: the same in every working directory."""
        prefix = engine_of(self.store).url_prefix
        if not self.store.startswith("sqlite:"):
            return self.shown_store
        return prefix + os.path.realpath(self.store.removeprefix(prefix))

    @property
    def algorithms(self) -> tuple[str, ...]:
        """The JWT algorithms that are accepted. Without a configured key there are none, and no JWT is valid."""
        if self.jwt_secret is not None:
            return self.jwt_algorithms or _HMAC
        if self.jwks_url is not None:
            return self.jwt_algorithms or _PUBLIC_KEY
        return ()

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        values = [(name, getattr(self, name)) for name in self.__struct_fields__]
        values = [
            (name, _without_password(value) if name in _URLS and value is not None else value) for name, value in values
        ]
        return [(name, "…" if name in _SECRETS and value is not None else value) for name, value in values]

    def __repr__(self) -> str:
        return f"Settings({', '.join(f'{name}={value!r}' for name, value in self.__rich_repr__())})"


def _check_service(settings: Settings) -> None:
    """Raise ValueError for an invalid address, path or other setting of the service."""
    try:
        engine_of(settings.store)
    except StoreRefused as error:
        raise ValueError(f"WHENCE_STORE: {error}") from None
    if settings.listen_url is not None and not re.fullmatch(r"postgresql://.+", settings.listen_url):
        raise ValueError("WHENCE_LISTEN_URL must be a URL like postgresql://user@host:5432/database.")
    if not 0 <= settings.port <= 65_535:
        raise ValueError("WHENCE_PORT must be a number from 0 to 65535.")
    if settings.metrics_port is not None and not 0 <= settings.metrics_port <= 65_535:
        raise ValueError("WHENCE_METRICS_PORT must be a number from 0 to 65535.")
    if settings.root_path and not re.fullmatch(r"(/[A-Za-z0-9._~-]+)+", settings.root_path):
        raise ValueError("WHENCE_ROOT_PATH must begin with a slash and not end with one, like /whence.")
    for origin in settings.cors_origins:
        if not re.fullmatch(r"https?://[^/?#@*\s]+", origin):
            raise ValueError("WHENCE_CORS_ORIGINS must list origins like https://app.example.com; * is not allowed.")
    for proxy in settings.trusted_proxies:
        try:
            ipaddress.ip_network(proxy, strict=False)
        except ValueError:
            raise ValueError("WHENCE_TRUSTED_PROXIES must list IP addresses or networks, like 10.0.0.0/8.") from None
    try:
        Allowed.parse(settings.webhook_allow)
    except ValueError as error:
        raise ValueError(f"WHENCE_WEBHOOK_ALLOW {error}") from None
    if settings.sentences is not None:
        try:
            load_grammar(settings.sentences)
        except WhenceError as error:
            raise ValueError(str(error)) from None
    if settings.log_name is not None and not re.fullmatch(r"[A-Za-z0-9.-]+(/[A-Za-z0-9._-]+)*", settings.log_name):
        raise ValueError("WHENCE_LOG_NAME must look like a URL without its scheme, such as log.example.com/whence.")
    if len(settings.payload_fields) > FIELDS_MAX or not all(map(is_path, settings.payload_fields)):
        raise ValueError(f"WHENCE_PAYLOAD_FIELDS lists at most {FIELDS_MAX} paths. {PATH_RULE}")
    if len(settings.redact) > MASKED_PATHS_MAX or not all(map(is_path, settings.redact)):
        raise ValueError(f"WHENCE_REDACT lists at most {MASKED_PATHS_MAX} paths. {PATH_RULE}")
    if settings.seal_ml_dsa and len(settings.log_name or "") > _ML_DSA_LOG_NAME_MAX:
        raise ValueError(f"WHENCE_LOG_NAME has at most {_ML_DSA_LOG_NAME_MAX} characters with WHENCE_SEAL_ML_DSA.")
    if settings.seal_ml_dsa and not settings.seal:
        raise ValueError("WHENCE_SEAL_ML_DSA needs WHENCE_SEAL: it adds a second signature to what is sealed.")
    if settings.witness_policy is not None and not settings.seal:
        raise ValueError("WHENCE_WITNESS_POLICY needs WHENCE_SEAL: witnesses cosign what is sealed.")
    if (settings.tls_cert is None) != (settings.tls_key is None):
        raise ValueError("WHENCE_TLS_CERT and WHENCE_TLS_KEY belong together: set both or neither.")
    for variable, path in (("WHENCE_TLS_CERT", settings.tls_cert), ("WHENCE_TLS_KEY", settings.tls_key)):
        if path is not None and not path.is_file():
            raise ValueError(f"{variable} must name a file that exists.")
    if settings.log_level not in _LOG_LEVELS:
        raise ValueError(f"WHENCE_LOG_LEVEL must be one of {', '.join(_LOG_LEVELS)}.")
    if not set(settings.record) <= set(RECORDED):
        raise ValueError(f"WHENCE_RECORD must list some of {', '.join(RECORDED)}.")
    if settings.store_secret is not None and len(settings.store_secret.encode()) < SECRET_BYTES_MIN:
        raise ValueError(f"WHENCE_STORE_SECRET must have at least {SECRET_BYTES_MIN} bytes.")


def _check_jwt(settings: Settings) -> None:
    """Raise ValueError for an invalid setting of tokens. A secret and public keys are never allowed together, because
    attackers sign tokens with a public key that a server takes for a shared secret."""
    secret, url = settings.jwt_secret, settings.jwks_url
    if secret is not None and url is not None:
        raise ValueError("Set either WHENCE_JWT_SECRET or WHENCE_JWT_JWKS_URL, not both.")
    if secret is not None and len(secret.encode()) < SECRET_BYTES_MIN:
        raise ValueError(f"WHENCE_JWT_SECRET must have at least {SECRET_BYTES_MIN} bytes.")
    if secret is not None and ("-----BEGIN" in secret or secret.startswith(("ssh-", "ecdsa-"))):
        raise ValueError("WHENCE_JWT_SECRET must not be a key file: a public key is no secret. Use a JWKS URL.")
    if url is not None and not is_safe_url(url):
        raise ValueError(
            "WHENCE_JWT_JWKS_URL must be an https URL without user or fragment; http only to a loopback address."
        )
    allowed = _HMAC if secret is not None else _PUBLIC_KEY if url is not None else (*_HMAC, *_PUBLIC_KEY)
    if not set(settings.jwt_algorithms) <= set(allowed):
        raise ValueError(
            "WHENCE_JWT_ALGORITHMS must be HS256 with a secret, or of RS256, ES256 and EdDSA with a JWKS URL."
        )
    if not 1 <= settings.jwt_max_lifetime_s <= JWT_LIFETIME_MAX_S:
        raise ValueError("WHENCE_JWT_MAX_LIFETIME must be from 1s to 24h.")
    if not settings.jwt_tenant_claim or not settings.jwt_scopes_claim:
        raise ValueError("WHENCE_JWT_TENANT_CLAIM and WHENCE_JWT_SCOPES_CLAIM must not be empty.")


def _check_oidc(settings: Settings) -> None:
    """Raise ValueError for an invalid setting of the sign-in by OpenID Connect."""
    if (settings.oidc_issuer is None) != (settings.oidc_client_id is None):
        raise ValueError("WHENCE_OIDC_ISSUER and WHENCE_OIDC_CLIENT_ID belong together: set both or neither.")
    if settings.oidc_issuer is None:
        if settings.oidc_client_secret is not None:
            raise ValueError("WHENCE_OIDC_CLIENT_SECRET needs WHENCE_OIDC_ISSUER.")
    elif not is_safe_url(settings.oidc_issuer) or "?" in settings.oidc_issuer:
        raise ValueError(
            "WHENCE_OIDC_ISSUER must be an https URL without user, query or fragment; http only to a loopback address."
        )
    if "openid" not in settings.oidc_scopes or not all(map(str.isprintable, settings.oidc_scopes)):
        raise ValueError("WHENCE_OIDC_SCOPES must list openid, and others like profile if the claims need them.")


def _check_limits(settings: Settings) -> None:
    """Raise ValueError for a limit that is too small for the server to work."""
    if settings.bad_credentials_per_minute < 1:
        raise ValueError("WHENCE_BAD_CREDENTIALS_PER_MINUTE must be at least 1.")
    if settings.queue_events_max < _QUEUE_EVENTS_MIN:
        raise ValueError(f"WHENCE_QUEUE_EVENTS_MAX must be at least {_QUEUE_EVENTS_MIN}, the size of two batches.")
    if settings.bodies_in_flight_max < _BODIES_MIN:
        raise ValueError("WHENCE_BODIES_IN_FLIGHT_MAX must be at least 24MiB: two batches, packed and unpacked.")
    if settings.answers_in_flight_max < _ANSWERS_MIN:
        raise ValueError("WHENCE_ANSWERS_IN_FLIGHT_MAX must be at least 64MiB, the size of two pages.")
    if settings.connections_max < 1:
        raise ValueError("WHENCE_CONNECTIONS_MAX must be at least 1.")
    if settings.streams_max < _STREAMS_MIN or settings.tenant_streams_max < 1:
        raise ValueError("WHENCE_STREAMS_MAX must be at least 2, and WHENCE_TENANT_STREAMS_MAX 1.")
    if settings.retention_days is not None and not 1 <= settings.retention_days <= AGE_DAYS_MAX:
        raise ValueError(f"WHENCE_RETENTION must be from 1d to {AGE_DAYS_MAX}d, or 'forever'.")
    if settings.processes is not None and not 1 <= settings.processes <= _PROCESSES_MAX:
        raise ValueError(f"WHENCE_PROCESSES must be 'auto' or a number from 1 to {_PROCESSES_MAX}.")


def _without_password(url: str) -> str:
    """The URL of a store without its password."""
    if url.startswith("sqlite:"):
        return url
    place, _, _ = url.partition("?")
    scheme, _, rest = place.partition("://")
    login, at, host = rest.rpartition("@")
    return f"{scheme}://{login.partition(':')[0]}{at}{host}"


def is_safe_url(url: str) -> bool:
    """Whether secrets may be asked for at this URL: by https, or at a loopback address, without user or fragment."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return False
    if not host or port == 0 or parts.username is not None or parts.password is not None or parts.fragment:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host))


def _from_environment(environ: Mapping[str, str], variable: str, *, secret: bool) -> str | None:
    text = environ.get(variable) or None
    path = environ.get(variable + "_FILE") if secret else None
    if not path:
        return text
    if text is not None:
        raise ValueError(f"Set either {variable} or {variable}_FILE, not both.")
    try:
        content = Path(path).read_text(encoding="utf-8")
    except (OSError, ValueError):
        raise ValueError(f"{variable}_FILE must name a text file that can be read.") from None
    return content.removesuffix("\n").removesuffix("\r")


def _parsed(variable: str, parse: Callable[[str], Any], text: str) -> Any:
    try:
        return parse(text)
    except ValueError as error:
        raise ValueError(f"{variable} {error}") from None


def _text(text: str) -> str:
    return text


def _list(text: str) -> tuple[str, ...]:
    return tuple(item for item in (part.strip() for part in text.split(",")) if item)


def _number(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,12}", text):
        raise ValueError("must be a whole number.")
    return int(text)


def _processes(text: str) -> int | None:
    return None if text.lower() == "auto" else _number(text)


def _scaled(units: Mapping[str, int], example: str) -> Callable[[str], int]:
    def parse(text: str) -> int:
        found = re.fullmatch(r"([0-9]{1,12})([A-Za-z]*)", text)
        if found is None or found[2] not in units:
            raise ValueError(f"must be a number with a unit, like {example}.")
        return int(found[1]) * units[found[2]]

    return parse


def _switch(text: str) -> bool:
    word = text.lower()
    if word in ("true", "1", "yes", "on"):
        return True
    if word in ("false", "0", "no", "off"):
        return False
    raise ValueError("must be true or false.")


def _lower(text: str) -> str:
    return text.lower()


def _days(text: str) -> int | None:
    if text.lower() == "forever":
        return None
    found = re.fullmatch(r"([0-9]{1,5})d", text)
    if found is None:
        raise ValueError("must be a number of days, like 365d, or 'forever'.")
    return int(found[1])


_duration = _scaled({"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}, "24h")
_size = _scaled({"": 1, "KiB": 1024, "MiB": _MIB, "GiB": 1024 * _MIB}, "64MiB")

_SECRETS = frozenset({"jwt_secret", "oidc_client_secret", "store_secret"})
_URLS = frozenset({"store", "listen_url"})
_FROM_FILE = _SECRETS | _URLS  # a URL may hold a password

FIELDS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "store": ("WHENCE_STORE", _text),
    "listen_url": ("WHENCE_LISTEN_URL", _text),
    "host": ("WHENCE_HOST", _text),
    "port": ("WHENCE_PORT", _number),
    "metrics_host": ("WHENCE_METRICS_HOST", _text),
    "metrics_port": ("WHENCE_METRICS_PORT", _number),
    "root_path": ("WHENCE_ROOT_PATH", _text),
    "cors_origins": ("WHENCE_CORS_ORIGINS", _list),
    "trusted_proxies": ("WHENCE_TRUSTED_PROXIES", _list),
    "tls_cert": ("WHENCE_TLS_CERT", Path),
    "tls_key": ("WHENCE_TLS_KEY", Path),
    "jwt_secret": ("WHENCE_JWT_SECRET", _text),
    "jwks_url": ("WHENCE_JWT_JWKS_URL", _text),
    "jwt_algorithms": ("WHENCE_JWT_ALGORITHMS", _list),
    "jwt_issuer": ("WHENCE_JWT_ISSUER", _text),
    "jwt_audience": ("WHENCE_JWT_AUDIENCE", _text),
    "jwt_tenant_claim": ("WHENCE_JWT_TENANT_CLAIM", _text),
    "jwt_scopes_claim": ("WHENCE_JWT_SCOPES_CLAIM", _text),
    "jwt_max_lifetime_s": ("WHENCE_JWT_MAX_LIFETIME", _duration),
    "resource_types": ("WHENCE_RESOURCE_TYPES", _list),
    "actor_types": ("WHENCE_ACTOR_TYPES", _list),
    "bad_credentials_per_minute": ("WHENCE_BAD_CREDENTIALS_PER_MINUTE", _number),
    "queue_events_max": ("WHENCE_QUEUE_EVENTS_MAX", _number),
    "bodies_in_flight_max": ("WHENCE_BODIES_IN_FLIGHT_MAX", _size),
    "answers_in_flight_max": ("WHENCE_ANSWERS_IN_FLIGHT_MAX", _size),
    "connections_max": ("WHENCE_CONNECTIONS_MAX", _number),
    "streams_max": ("WHENCE_STREAMS_MAX", _number),
    "tenant_streams_max": ("WHENCE_TENANT_STREAMS_MAX", _number),
    "tenant_events_per_s": ("WHENCE_TENANT_EVENTS_PER_S", _number),
    "tenant_bytes_max": ("WHENCE_TENANT_BYTES_MAX", _size),
    "disk_free_min": ("WHENCE_DISK_FREE_MIN", _size),
    "store_secret": ("WHENCE_STORE_SECRET", _text),
    "record": ("WHENCE_RECORD", _list),
    "log_level": ("WHENCE_LOG_LEVEL", _lower),
    "cookie_secure": ("WHENCE_COOKIE_SECURE", _switch),
    "postgres_pooler": ("WHENCE_POSTGRES_POOLER", _switch),
    "unsafe_durability": ("WHENCE_UNSAFE_DURABILITY", _switch),
    "processes": ("WHENCE_PROCESSES", _processes),
    "webhook_allow": ("WHENCE_WEBHOOK_ALLOW", _list),
    "console": ("WHENCE_CONSOLE", _switch),
    "sentences": ("WHENCE_SENTENCES", Path),
    "oidc_issuer": ("WHENCE_OIDC_ISSUER", _text),
    "oidc_client_id": ("WHENCE_OIDC_CLIENT_ID", _text),
    "oidc_client_secret": ("WHENCE_OIDC_CLIENT_SECRET", _text),
    "oidc_scopes": ("WHENCE_OIDC_SCOPES", _list),
    "seal": ("WHENCE_SEAL", _switch),
    "seal_ml_dsa": ("WHENCE_SEAL_ML_DSA", _switch),
    "log_name": ("WHENCE_LOG_NAME", _text),
    "payload_fields": ("WHENCE_PAYLOAD_FIELDS", _list),
    "retention_days": ("WHENCE_RETENTION", _days),
    "redact": ("WHENCE_REDACT", _list),
    "witness_policy": ("WHENCE_WITNESS_POLICY", Path),
}
"""The variable of each field, and the function that parses its value."""
