"""The routes of API keys.

`GET` and `POST /api/v1/keys` and `DELETE /api/v1/keys/{key_id}` need the scope admin, and reach the keys of the
credential's own tenant. A key gets only scopes of its maker, and no longer life. The secret of a key is shown once,
when it is made.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import msgspec
from litestar import Response, delete, post
from litestar.handlers import HTTPRouteHandler

from whence.api.context import context_of, now_us, principal_of
from whence.api.headers import header, media_type
from whence.api.operation import ResponseSpec, entries_of, listing_route, ref
from whence.api.reads import next_page_link
from whence.api.request import Request
from whence.api.request_body import read_body
from whence.api.responses import JSON, JsonResponse
from whence.errors import Forbidden, Invalid, NotFound, Problem, Unauthenticated, UnsupportedMedia
from whence.events import Vocabulary
from whence.permissions import (
    ADMIN,
    ApiKey,
    Principal,
    new_api_key,
    parse_key_name,
    parse_scopes,
)
from whence.storage.base import Store
from whence.storage.credentials import KeyPlace
from whence.wire.keys import CreatedKeyBody, KeysBody, created_key_body, key_body
from whence.wire.problems import json_object, unknown_names
from whence.wire.query import parse_listing, seal_listing
from whence.wire.times import parse_time

__all__ = ["ROUTES", "NewKey", "check_json_media", "parse_new_key", "parse_scopes_of"]

_BODY_MAX = 16 * 1024


_operation = partial(entries_of, "Credentials", None)


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
    await _refuse_if_ended(context.store, principal, key)
    await context.recorder.key_created(principal, key, now)
    # no-transform: compressed, the size of the answer would tell about the secret.
    headers = {"Cache-Control": "no-store, no-transform"}
    body = msgspec.json.encode(created_key_body(key, secret))
    return Response(body, status_code=201, media_type=JSON, headers=headers)


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
    return Response(None, status_code=204)


ROUTES: list[HTTPRouteHandler] = [list_keys, create_key, revoke_key]
"""The handlers of this module."""


def parse_new_key(body: bytes, vocabulary: Vocabulary, now: int) -> NewKey:
    """Parse the body of a request for a new API key. Raises Invalid with every problem."""
    asked = json_object(body)
    sentence = "There is no such field; known are scopes, name and expiresAt."
    problems = unknown_names(asked, ("scopes", "name", "expiresAt"), ("body",), lambda _name: sentence)
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


async def _refuse_if_ended(store: Store, principal: Principal, made: ApiKey) -> None:
    """Raise Unauthenticated, and revoke the key that was made, if the key that made it has ended by now: it was known
    to be alive a moment before. Otherwise a tenant could keep a key beyond its deletion."""
    if principal.key_id is None:
        return
    maker = await store.credentials.get_key(principal.key_id)
    if maker is None or not maker.alive(now_us()):
        await store.credentials.revoke_key(made.tenant, made.id, now_us())
        raise Unauthenticated


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
    if header(request.scope, b"content-type") is not None and media_type(request.scope) != JSON:
        raise UnsupportedMedia("Send the body as JSON, with the header Content-Type: application/json.")
