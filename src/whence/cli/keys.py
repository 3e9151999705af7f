"""`key create`, `key list` and `key revoke`: over HTTP, or on the store itself.

Over HTTP they act on the tenant of the credential, which needs the scope admin. With --store or --tenant they act on
the store itself, beside a server or without one, and need no credential but access to it.
"""

import asyncio
import os
import re
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import msgspec
from cyclopts import App, Parameter

from whence.cli.profile import Connection, connect
from whence.cli.terminal import out, out_json, printable, say, table
from whence.client import (
    CreatedKeyBody,
    KeyBody,
    KeysBody,
    create_key_request,
    error_of,
    list_keys_request,
    parse_body,
    revoke_key_request,
)
from whence.errors import Invalid, NotFound
from whence.events import is_tenant
from whence.permissions import new_api_key, parse_key_name, parse_scopes
from whence.settings import Settings
from whence.wire.keys import created_key_body, key_body
from whence.wire.times import format_time, parse_time

if TYPE_CHECKING:
    from whence.storage import Store

__all__ = ["app", "create", "list_keys", "make_key", "revoke"]

DEFAULT_TENANT = "default"

app = App(name="key", help_format="plaintext", help_formatter="plain", version_flags=[])

T = TypeVar("T")

StoreFlag = Annotated[
    str | None, Parameter(name="--store", help="Act on this store itself, like sqlite:///path; else WHENCE_STORE.")
]
TenantFlag = Annotated[str | None, Parameter(name="--tenant", help="The tenant; only on the store itself.")]
Json = Annotated[bool, Parameter(name="--json", negative="", help="Print JSON.")]

_DURATION = re.compile(r"([0-9]{1,6})([hdw])")
_UNIT_US = {"h": 3_600_000_000, "d": 86_400_000_000, "w": 604_800_000_000}


@app.command
def create(
    *,
    scope: Annotated[
        list[str],
        Parameter(negative="", help="events:read, events:read:<resource_type>, events:write or admin; repeat it."),
    ],
    tenant: TenantFlag = None,
    name: Annotated[str, Parameter(help="What the key is for.")] = "",
    expires: Annotated[str | None, Parameter(help="After 12h, 30d or 8w, or at a time as RFC 3339.")] = None,
    store: StoreFlag = None,
    json: Json = False,
    connection: Connection | None = None,
) -> None:
    """Create an API key and print it, alone. It is shown this once."""
    now = _now_us()
    expires_at = None if expires is None else _expiry(expires, now)
    if store is None and tenant is None:
        when = None if expires_at is None else format_time(expires_at)
        with connect(connection) as whence:
            made = parse_body(whence.send(create_key_request(scope, name, when)), CreatedKeyBody)
    else:
        settings = _settings(store)
        made = make_key(settings, tenant or DEFAULT_TENANT, scope, now, expires_at, name)
        say(f"Made in {printable(settings.shown_store)} for the tenant {printable(made.tenant_id)}.")
    if json:
        out_json(msgspec.json.encode(made))
    else:
        out(printable(made.key))


@app.command(name="list")
def list_keys(
    *,
    tenant: TenantFlag = None,
    store: StoreFlag = None,
    json: Json = False,
    connection: Connection | None = None,
) -> None:
    """List API keys, oldest first, revoked ones too. Their secrets are not kept."""
    if store is None and tenant is None:
        with connect(connection) as whence:
            keys = parse_body(whence.send(list_keys_request()), KeysBody).keys
    else:
        of = _tenant(tenant)
        found = _in_store(_settings(store), lambda opened: opened.credentials.list_keys(of), make=False)
        keys = [key_body(key) for key in found]
    if json:
        out_json(msgspec.json.encode(KeysBody(keys)))
        return
    rows = [
        (key.id, " ".join(key.scopes), key.name, key.created_at, key.last_used_at or "never", _state(key))
        for key in keys
    ]
    out(table(("ID", "SCOPES", "NAME", "CREATED", "LAST USED", "STATE"), rows))


@app.command
def revoke(
    key_id: Annotated[str, Parameter(name="ID", help="The key's id, as in 'whence key list'.")],
    /,
    *,
    tenant: TenantFlag = None,
    store: StoreFlag = None,
    connection: Connection | None = None,
) -> None:
    """Revoke an API key, and the sessions that were made with it."""
    if store is None and tenant is None:
        with connect(connection) as whence:
            answer = whence.send(revoke_key_request(key_id))
        if answer.status >= 400:
            raise error_of(answer)
    else:
        of, now = _tenant(tenant), _now_us()
        if not _in_store(_settings(store), lambda opened: opened.credentials.revoke_key(of, key_id, now), make=False):
            raise NotFound("There is no such API key.")
    say("Revoked.")


def make_key(
    settings: Settings, tenant: str, scopes: list[str], now: int, expires_at: int | None = None, name: str = ""
) -> CreatedKeyBody:
    """Make an API key in the store of these settings. Raises Invalid for what it cannot be, and StoreRefused."""
    try:
        known = parse_scopes(scopes, settings.vocabulary)
    except ValueError as error:
        raise Invalid.at(("scope",), str(error)) from None
    try:
        kept_name = parse_key_name(name)
    except ValueError as error:
        raise Invalid.at(("name",), str(error)) from None
    secret, key = new_api_key(_tenant(tenant), known, now, expires_at, kept_name)
    _in_store(settings, lambda opened: opened.credentials.put_key(key))
    return created_key_body(key, secret)


def _in_store(settings: Settings, act: "Callable[[Store], Awaitable[T]]", *, make: bool = True) -> T:
    """What `act` gives for the opened store. Raises NotFound for a file that is not there, unless it may be made."""
    from whence.cli.logs import tell_plainly  # noqa: PLC0415  (needs the extra `server`; over HTTP nothing does)
    from whence.storage import is_postgres, open_store, sqlite_path  # noqa: PLC0415  (as above)

    if not make and not is_postgres(settings.store):
        path = Path(sqlite_path(settings.store))
        if not path.exists() and (path.parent.is_dir() or not path.parent.exists()):  # else opening it says why not
            raise NotFound("There is no log in this place. Check --store.")

    tell_plainly()

    async def opened() -> T:
        store = open_store(
            settings.store,
            serving=False,
            unsafe_durability=settings.unsafe_durability,
            pooler=settings.postgres_pooler,
        )
        try:
            return await act(store)
        finally:
            await store.close()

    return asyncio.run(opened())


def _settings(store: str | None) -> Settings:
    try:
        return Settings.from_environment(os.environ, store=store)
    except ValueError as error:
        raise Invalid.at((), str(error)) from None


def _tenant(tenant: str | None) -> str:
    if tenant is not None and not is_tenant(tenant):
        raise Invalid.at((), "A tenant has 1 to 64 characters of A-Z a-z 0-9 . _ -")
    return tenant or DEFAULT_TENANT


def _expiry(text: str, now: int) -> int:
    """Microseconds at which a key ends. Raises Invalid for what is no time in the future."""
    span = _DURATION.fullmatch(text)
    try:
        at = now + int(span[1]) * _UNIT_US[span[2]] if span else parse_time(text)
    except ValueError:
        raise Invalid.at((), "--expires takes a span like 12h, 30d or 8w, or a time as RFC 3339.") from None
    if at <= now:
        raise Invalid.at((), "--expires must lie in the future.")
    return at


def _state(key: KeyBody) -> str:
    if key.revoked_at is not None:
        return "revoked"
    if key.expires_at is None:
        return "active"
    return "expired" if parse_time(key.expires_at) <= _now_us() else f"until {key.expires_at}"


def _now_us() -> int:
    return time.time_ns() // 1_000
