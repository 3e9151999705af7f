"""The commands `key create`, `key list` and `key revoke`.

Over HTTP they work on the tenant of the credential, which needs the scope `admin`. With --store, --tenant or --operator
they work on the store directly, with or without a running server, and need only access to it.
"""

import re
import time
from collections.abc import Iterator
from typing import Annotated, cast

import msgspec
from cyclopts import App, Parameter

from whence.cli.layout import Style, style_of_stdout
from whence.cli.local_store import in_store, settings_of_log
from whence.cli.profiles import ServerOptions, client_for
from whence.cli.terminal import JsonFlag, out, out_json, printable, say, table_or_lines
from whence.client import (
    CreatedKeyBody,
    KeyBody,
    KeysBody,
    Whence,
    create_key_request,
    error_of,
    list_keys_request,
    parse_body,
    revoke_key_request,
)
from whence.client.responses import next_link
from whence.errors import Invalid, NotFound
from whence.events import is_tenant
from whence.permissions import (
    OPERATORS_TENANT,
    SIGN_IN_CODE_S,
    key_hash,
    new_api_key,
    new_operator_key,
    new_sign_in_code,
    parse_key_name,
    parse_scopes,
    sign_in_code_hash,
)
from whence.settings import Settings
from whence.storage import Session, Store, backend_for
from whence.wire.keys import created_key_body, key_body
from whence.wire.times import format_time, parse_time

__all__ = ["app", "create", "list_keys", "make_key", "make_sign_in_code", "revoke"]

DEFAULT_TENANT = "default"

app = App(name="key", help_format="plaintext", version_flags=[])

StoreFlag = Annotated[
    str | None,
    Parameter(
        name="--store",
        help="Work on this store directly, like sqlite:///path. With --tenant or --operator: else WHENCE_STORE, else "
        "the profile's.",
    ),
]
TenantFlag = Annotated[str | None, Parameter(name="--tenant", help="The tenant. Only for a store directly.")]
OperatorFlag = Annotated[
    bool, Parameter(name="--operator", negative="", help="An operator's key, of no tenant. Only for a store directly.")
]

_DURATION = re.compile(r"([0-9]{1,6})([hdw])")
_UNIT_US = {"h": 3_600_000_000, "d": 86_400_000_000, "w": 604_800_000_000}


@app.command
def create(
    *,
    scope: Annotated[
        list[str],
        Parameter(
            negative="", help="events:read, events:read:<resource_type>, events:write or admin. May be repeated."
        ),
    ],
    tenant: TenantFlag = None,
    operator: OperatorFlag = False,
    name: Annotated[str, Parameter(help="A note on what the key is for.")] = "",
    expires: Annotated[
        str | None, Parameter(help="When it expires: after 12h, 30d or 8w, or at an RFC 3339 time.")
    ] = None,
    store: StoreFlag = None,
    json: JsonFlag = False,
    server: ServerOptions | None = None,
) -> None:
    """Create an API key and print it. It cannot be shown again.

    An operator's key (--operator) reads no events. It lists the tenants, and exchanges itself for
    tokens of single tenants, with at most the scopes that are given here.
    """
    now = _now_us()
    expires_at = None if expires is None else _expiry(expires, now)
    if operator:
        settings = settings_of_log(store)
        place = _place(settings)
        made = make_key(settings, _operators(tenant), scope, now, expires_at, name)
        say(f"Created in {place} for an operator.")
    elif store is None and tenant is None:
        when = None if expires_at is None else format_time(expires_at)
        with client_for(server) as whence:
            made = parse_body(whence.send(create_key_request(scope, name, when)), CreatedKeyBody)
    else:
        settings = settings_of_log(store)
        place = _place(settings)
        made = make_key(settings, _tenant(tenant), scope, now, expires_at, name)
        say(f"Created in {place} for the tenant {printable(made.tenant_id)}.")
    if json:
        out_json(msgspec.json.encode(made))
    else:
        out(printable(made.key))


@app.command(name="list")
def list_keys(
    *,
    tenant: TenantFlag = None,
    operator: OperatorFlag = False,
    store: StoreFlag = None,
    json: JsonFlag = False,
    server: ServerOptions | None = None,
) -> None:
    """List API keys, oldest first, with the revoked ones. The secrets are not stored."""
    if store is None and tenant is None and not operator:
        with client_for(server) as whence:
            keys = _all_keys(whence)
    else:
        of = _operators(tenant) if operator else _tenant(tenant)
        found = in_store(settings_of_log(store), lambda store: store.credentials.list_keys(of), may_create=False)
        keys = [key_body(key) for key in found]
    if json:
        out_json(msgspec.json.encode(KeysBody(keys)))
        return
    style = style_of_stdout()
    rows = [
        (key.id, " ".join(key.scopes), key.name, key.created_at, key.last_used_at or "never", _state(key))
        for key in keys
    ]
    lines = (line for key in keys for line in _key_lines(key, style))
    out(table_or_lines(("ID", "SCOPES", "NAME", "CREATED", "LAST USED", "STATE"), rows, lines, style.width))


def _key_lines(key: KeyBody, style: Style) -> Iterator[str]:
    """A key in some lines, for a terminal that is too narrow for a table: what it is, and below it the rest."""
    yield from style.filled(" · ".join(filter(None, (key.id, printable(key.name), _state(key)))))
    scopes, used = " ".join(key.scopes), key.last_used_at or "never"
    yield from style.below(printable(f"{scopes} · created {key.created_at} · last used {used}"))


@app.command
def revoke(
    key_id: Annotated[str, Parameter(name="ID", help="The id of the key, from 'whence key list'.")],
    /,
    *,
    tenant: TenantFlag = None,
    operator: OperatorFlag = False,
    store: StoreFlag = None,
    server: ServerOptions | None = None,
) -> None:
    """Revoke an API key, and the sessions and tokens that it started. Repeating it changes nothing."""
    if store is None and tenant is None and not operator:
        with client_for(server) as whence:
            already = next((key.revoked_at for key in _all_keys(whence) if key.id == key_id), None)
            answer = whence.send(revoke_key_request(key_id))
        if answer.status >= 400:
            raise error_of(answer)
    else:
        of = _operators(tenant) if operator else _tenant(tenant)
        already = in_store(settings_of_log(store), lambda store: _revokein_store(store, of, key_id), may_create=False)
    say("Revoked." if already is None else f"This key was revoked already, at {printable(already)}.")


async def _revokein_store(store: Store, tenant: str, key_id: str) -> str | None:
    """Revoke a key. Returns when it had been revoked before, or None. Raises NotFound."""
    known = [key_body(key) for key in await store.credentials.list_keys(tenant)]
    if not await store.credentials.revoke_key(tenant, key_id, _now_us()):
        raise NotFound("There is no such API key.")
    return next((key.revoked_at for key in known if key.id == key_id), None)


def make_key(
    settings: Settings, tenant: str, scopes: list[str], now: int, expires_at: int | None = None, name: str = ""
) -> CreatedKeyBody:
    """Create an API key in the store of these settings: an operator's if `tenant` is `OPERATORS_TENANT`, whose ceiling
    the scopes are. Raises Invalid and StoreRefused. Times are in microseconds."""
    try:
        known = parse_scopes(scopes, settings.vocabulary)
    except ValueError as error:
        raise Invalid.at(("scope",), str(error)) from None
    try:
        kept_name = parse_key_name(name)
    except ValueError as error:
        raise Invalid.at(("name",), str(error)) from None
    if tenant == OPERATORS_TENANT:
        secret, key = new_operator_key(known, now, expires_at, kept_name)
    else:
        secret, key = new_api_key(_tenant(tenant), known, now, expires_at, kept_name)
    in_store(settings, lambda store: store.credentials.put_key(key))
    return created_key_body(key, secret)


def make_sign_in_code(settings: Settings, secret: str) -> str | None:
    """The code of a sign-in link for the holder of this key of the store; None if the key is not valid there. Raises as
    `make_key`."""
    hashed, now, code = key_hash(secret), _now_us(), new_sign_in_code()

    async def make(store: Store) -> str | None:
        key = None if hashed is None else await store.credentials.find_key(hashed)
        if key is None or key.ceiling is not None or not key.alive(now):
            return None
        link = Session(cast(bytes, sign_in_code_hash(code)), key.id, now + SIGN_IN_CODE_S * 1_000_000)
        await store.credentials.put_session(link)
        return code

    return in_store(settings, make)


def _all_keys(whence: Whence) -> list[KeyBody]:
    """The keys of every page."""
    keys: list[KeyBody] = []
    link: str | None = None
    while True:
        response = whence.send(list_keys_request(link))
        keys += parse_body(response, KeysBody).keys
        link = next_link(response)
        if link is None:
            return keys


def _place(settings: Settings) -> str:
    """How the store is named in a message, which says if a key is about to make a new log."""
    new = ", a new log," if backend_for(settings.store).creates_log(settings.store) else ""
    return printable(settings.shown_store) + new


def _operators(tenant: str | None) -> str:
    """The tenant in the rows of operators' keys. Raises Invalid if one was given."""
    if tenant is not None:
        raise Invalid.at((), "An operator's key belongs to no tenant: leave out --tenant or --operator.")
    return OPERATORS_TENANT


def _tenant(tenant: str | None) -> str:
    if tenant is not None and not is_tenant(tenant):
        raise Invalid.at((), "A tenant has 1 to 64 of the characters A-Z a-z 0-9 . _ -")
    return DEFAULT_TENANT if tenant is None else tenant


def _expiry(text: str, now: int) -> int:
    """When a key expires, in microseconds. Raises Invalid unless that is in the future."""
    span = _DURATION.fullmatch(text)
    try:
        at = now + int(span[1]) * _UNIT_US[span[2]] if span else parse_time(text)
    except ValueError:
        raise Invalid.at((), "--expires needs a duration like 12h, 30d or 8w, or an RFC 3339 time.") from None
    if at <= now:
        raise Invalid.at((), "--expires must be in the future.")
    return at


def _state(key: KeyBody) -> str:
    if key.revoked_at is not None:
        return "revoked"
    if key.expires_at is None:
        return "active"
    return "expired" if parse_time(key.expires_at) <= _now_us() else f"until {key.expires_at}"


def _now_us() -> int:
    return time.time_ns() // 1_000
