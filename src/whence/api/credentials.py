"""The routes of API keys and browser sessions.

`GET` and `POST /api/v1/keys` and `DELETE /api/v1/keys/{key_id}` need the scope admin, and reach the keys of the
credential's own tenant. A key gets only scopes of its maker, and no longer life. `POST /api/v1/session` exchanges an
API key for a session, whose secret it puts into a cookie; `DELETE` ends the session. The secret of a key or a session
is shown once, when it is made.
"""

from collections.abc import Mapping
from typing import Any, cast

import msgspec
from litestar import Response, delete, post
from litestar.handlers import HTTPRouteHandler

from whence.api.auth import COOKIE, read_cookies
from whence.api.context import context_of, now_us, principal_of
from whence.api.headers import media_type
from whence.api.operation import Json, Operation, ResponseSpec, listing_route, ref
from whence.api.reads import next_page_link
from whence.api.request import Request
from whence.api.request_body import read_body
from whence.api.responses import JSON, JsonResponse
from whence.errors import Forbidden, Invalid, NotFound, Problem, UnsupportedMedia
from whence.events import Vocabulary
from whence.permissions import (
    ADMIN,
    OPERATOR,
    Principal,
    new_api_key,
    new_session_secret,
    parse_key_name,
    parse_scopes,
    session_hash,
)
from whence.storage.credentials import KeyPlace, Session
from whence.wire.keys import CreatedKeyBody, KeysBody, SessionBody, created_key_body, key_body
from whence.wire.query import parse_listing, seal_listing
from whence.wire.times import format_time, parse_time

__all__ = ["ROUTES", "SESSION_S", "NewKey", "check_json_media", "parse_new_key", "parse_scopes_of"]

SESSION_S = 12 * 3600
"""The longest life of a session, in seconds. It ends earlier if its API key does."""

_BODY_MAX = 16 * 1024
_SET_COOKIE: Json = {"Set-Cookie": {"description": COOKIE, "schema": {"type": "string"}}}


def _operation(summary: str, status: int, response: ResponseSpec, *errors: int, **more: Any) -> Json:
    """The entry of a handler's `opt`."""
    return {
        "operation": Operation(tag="Credentials", summary=summary, responses={status: response}, errors=errors, **more)
    }


class NewKey(msgspec.Struct, frozen=True, kw_only=True):
    """A request for a new API key. `expires_at` is in microseconds, None for a key that does not expire."""

    scopes: tuple[str, ...]
    name: str = ""
    expires_at: int | None = None


@listing_route(
    "/api/v1/keys", "List Keys", "keys", ADMIN, ResponseSpec("The tenant's keys, oldest first", KeysBody), "Credentials"
)
async def list_keys(request: Request) -> JsonResponse:
    """A page of the tenant's API keys, oldest first, expired and revoked ones too."""
    context, tenant = context_of(request), principal_of(request).tenant
    asked = parse_listing("keys", request.scope["query_string"], sealer=context.cursors, bound=tenant)
    after = None if asked.after is None else msgspec.json.decode(asked.after, type=KeyPlace)
    keys = await context.store.credentials.list_keys(tenant, after, asked.limit + 1)
    cursor = None
    if len(keys) > asked.limit:
        keys = keys[: asked.limit]
        last = msgspec.json.encode((keys[-1].created_at, keys[-1].id))
        cursor = seal_listing("keys", last, sealer=context.cursors, bound=tenant)
    body = msgspec.json.encode(KeysBody([key_body(key) for key in keys]))
    context.admission.hold_answer(request, tenant, len(body))
    return JsonResponse(body, headers=next_page_link(request, cursor))


@post(
    "/api/v1/keys",
    opt={"scope": ADMIN}
    | _operation(
        "Create Key",
        201,
        ResponseSpec("The key. Its secret is shown only here", CreatedKeyBody),
        *(413, 415, 422),
        request_content={JSON: ref("NewKey")},
    ),
)
async def create_key(request: Request) -> Response[bytes]:
    """Make an API key of this tenant, with scopes that the caller has and no longer life. Only this answer contains its
    secret."""
    principal = principal_of(request)
    context, now = context_of(request), now_us()
    async with read_body(request, context.admission, principal.tenant, _BODY_MAX) as body:
        check_json_media(request)
        asked = parse_new_key(body, context.vocabulary, now)
    secret, key = new_api_key(principal.tenant, asked.scopes, now, _expiry_within(principal, asked), asked.name)
    await context.store.credentials.put_key(key, limited=True)
    await context.recorder.key_created(principal, key, now)
    return _answer(201, created_key_body(key, secret))


@delete(
    "/api/v1/keys/{key_id:str}",
    status_code=204,
    opt={"scope": ADMIN} | _operation("Revoke Key", 204, ResponseSpec("Revoked"), 404),
)
async def revoke_key(request: Request) -> Response[None]:
    """End an API key of this tenant, and its sessions. Repeating it changes nothing."""
    principal = principal_of(request)
    key_id = str(request.path_params["key_id"])
    context = context_of(request)
    now = now_us()
    if not await context.store.credentials.revoke_key(principal.tenant, key_id, now):
        raise NotFound("There is no such API key.")
    context.authenticator.forget_key(key_id)
    await context.recorder.key_revoked(principal, key_id, now)
    return _no_content()


@post("/api/v1/session", opt=_operation("Create Session", 201, ResponseSpec("The session", SessionBody, _SET_COOKIE)))
async def create_session(request: Request) -> Response[bytes]:
    """Exchange an API key for a session cookie, which scripts cannot read, so that a browser need not keep the key."""
    context = context_of(request)
    principal = principal_of(request)
    if principal.key_id is None or principal.via_cookie:
        raise Forbidden("A session is made with an API key, sent in a header.")
    if OPERATOR in principal.scopes:
        raise Forbidden("An operator's key reads no events. Exchange it for a token of a tenant first.")
    now = now_us()
    expires_at = now + SESSION_S * 1_000_000
    if principal.expires_at is not None:
        expires_at = min(expires_at, principal.expires_at)
    secret = new_session_secret()
    session = Session(
        hash=cast(bytes, session_hash(secret)),
        key_id=principal.key_id,
        expires_at=expires_at,
        tenant=principal.tenant if principal.via_operator else None,
        scopes=tuple(sorted(principal.scopes)) if principal.via_operator else None,
    )
    await context.store.credentials.put_session(session)
    await context.recorder.session_created(principal, expires_at, now)
    body = SessionBody(
        tenant_id=principal.tenant, scopes=tuple(sorted(principal.scopes)), expires_at=format_time(expires_at)
    )
    return _answer(201, body, cookie=_cookie(request, secret, max(0, (expires_at - now) // 1_000_000)))


@delete(
    "/api/v1/session",
    status_code=204,
    opt=_operation("End Session", 204, ResponseSpec("Ended", headers=_SET_COOKIE)),
)
async def end_session(request: Request) -> Response[None]:
    """End the session, on the server too, and clear the cookie."""
    context = context_of(request)
    for secret in read_cookies(request.scope):
        hashed = session_hash(secret)
        if hashed is not None:
            await context.store.credentials.end_session(hashed)
            context.authenticator.forget(hashed)
            await context.recorder.session_ended(principal_of(request), now_us())
    return _no_content(_cookie(request, "", 0))


ROUTES: list[HTTPRouteHandler] = [list_keys, create_key, revoke_key, create_session, end_session]
"""The handlers of this module."""


def parse_new_key(body: bytes, vocabulary: Vocabulary, now: int) -> NewKey:
    """Parse the body of a request for a new API key. Raises Invalid with every problem."""
    try:
        asked = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        raise Invalid.at(("body",), "The body must be JSON.", "json_invalid") from None
    if not isinstance(asked, dict):
        raise Invalid.at(("body",), "The body must be a JSON object.", "dict_type")
    problems = [
        Problem(("body", name), "There is no such field; known are scopes, name and expiresAt.", "extra_forbidden")
        for name in asked.keys() - {"scopes", "name", "expiresAt"}
    ]
    scopes = parse_scopes_of(asked, vocabulary, problems)
    name = asked.get("name", "")
    try:
        parse_key_name(name if isinstance(name, str) else "\0")
    except ValueError as error:
        problems.append(Problem(("body", "name"), str(error), "name"))
    expires_at = _expiry(asked, now, problems)
    if problems:
        raise Invalid(problems)
    return NewKey(scopes=scopes, name=name, expires_at=expires_at)


def parse_scopes_of(asked: Mapping[str, Any], vocabulary: Vocabulary, problems: list[Problem]) -> tuple[str, ...]:
    """The field `scopes` of a request. Adds what is wrong with it to `problems`."""
    scopes = asked.get("scopes")
    if "scopes" not in asked:
        problems.append(Problem(("body", "scopes"), "scopes is required.", "missing"))
    elif not isinstance(scopes, list) or not all(isinstance(scope, str) for scope in scopes):
        problems.append(Problem(("body", "scopes"), "scopes must be a list of texts.", "list_type"))
    else:
        try:
            return parse_scopes(scopes, vocabulary)
        except ValueError as error:
            problems.append(Problem(("body", "scopes"), str(error), "value_error"))
    return ()


def _expiry(asked: Mapping[str, Any], now: int, problems: list[Problem]) -> int | None:
    text = asked.get("expiresAt")
    if text is None:
        return None
    try:
        if not isinstance(text, str):
            raise ValueError("expiresAt must be a time as text.")
        expires_at = parse_time(text)
        if expires_at <= now:
            raise ValueError("expiresAt must lie in the future.")
    except ValueError as error:
        problems.append(Problem(("body", "expiresAt"), str(error), "value_error"))
        return None
    return expires_at


def _expiry_within(principal: Principal, asked: NewKey) -> int | None:
    """When the new key expires: when asked, and no later than the caller's credential.

    Raises Forbidden for a scope that the caller may not give, and Invalid for a later time.
    """
    for scope in asked.scopes:
        if not principal.may_give(scope):
            raise Forbidden(f"This credential lacks the scope {scope}, and a key gets only scopes of its maker.")
    if principal.expires_at is None or asked.expires_at is None:
        return asked.expires_at or principal.expires_at
    if asked.expires_at > principal.expires_at:
        raise Invalid.at(
            ("body", "expiresAt"), "A key may not outlive the credential that makes it.", "expires_after_its_maker"
        )
    return asked.expires_at


def check_json_media(request: Request) -> None:
    """Raise UnsupportedMedia unless the body is JSON, or says nothing of what it is."""
    if media_type(request.scope) not in ("", JSON):
        raise UnsupportedMedia("Send the body as JSON, with the header Content-Type: application/json.")


def _cookie(request: Request, value: str, max_age_s: int) -> str:
    """A cookie that scripts cannot read, and that browsers do not send with requests of other sites' pages."""
    context = context_of(request)
    origin = context.authenticator.own_origin(request.scope) or str(request.scope["scheme"])
    secure = origin.startswith("https") or context.settings.cookie_secure
    cookie = f"{COOKIE}={value}; Max-Age={max_age_s}; Path=/; HttpOnly; SameSite=Strict"
    return cookie + "; Secure" if secure else cookie


def _answer(status: int, body: msgspec.Struct, cookie: str | None = None) -> Response[bytes]:
    headers = {} if cookie is None else {"Set-Cookie": cookie}
    if status == 201:  # a secret was made; compressed, the size of the answer would tell about it
        headers["Cache-Control"] = "no-store, no-transform"
    return Response(msgspec.json.encode(body), status_code=status, media_type=JSON, headers=headers)


def _no_content(cookie: str | None = None) -> Response[None]:
    return Response(None, status_code=204, headers={} if cookie is None else {"Set-Cookie": cookie})
