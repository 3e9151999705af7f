"""The routes of browser sessions.

`POST /api/v1/session` exchanges an API key for a session, whose secret it puts into a cookie; `GET` says who is signed
in, and `DELETE` ends the session. `POST /api/v1/session/links` makes the code of a sign-in link, which
`POST /api/v1/session/redeem` exchanges for a session, once and within a minute. So a program that has a key can open
the console in a browser without giving the key to it.
"""

from functools import partial
from typing import cast

import msgspec
from litestar import Response, delete, post
from litestar.handlers import HTTPRouteHandler

from whence.api.auth import COOKIE, read_cookies
from whence.api.context import context_of, now_us, principal_of
from whence.api.credentials import check_json_media
from whence.api.operation import Json, ResponseSpec, entries_of, ref, signed_in_route
from whence.api.request import Request
from whence.api.request_body import read_body
from whence.api.responses import JSON, JsonResponse
from whence.errors import Forbidden, Invalid, Problem
from whence.permissions import (
    OPERATOR,
    SIGN_IN_CODE_S,
    Principal,
    new_session_secret,
    new_sign_in_code,
    session_grants,
    session_hash,
    sign_in_code_hash,
)
from whence.storage.credentials import Session
from whence.wire.keys import CurrentSessionBody, SessionBody, SessionLinkBody
from whence.wire.problems import json_object, unknown_names
from whence.wire.times import format_time

__all__ = [
    "ROUTES",
    "SESSION_RESPONSE",
    "SESSION_S",
    "answer_with_session",
    "cookie_line",
    "end_sessions",
    "keep_session",
    "session_cookie",
    "text_member",
]

SESSION_S = 12 * 3600
"""The longest life of a session, in seconds. It ends earlier if its API key does."""

_BODY_MAX = 1024
_SET_COOKIE: Json = {"Set-Cookie": {"description": COOKIE, "schema": {"type": "string"}}}
SESSION_RESPONSE = ResponseSpec("The session", SessionBody, _SET_COOKIE)
"""The answer that begins a session."""


_operation = partial(entries_of, "Credentials", None)


@signed_in_route("/api/v1/session", "Get Session", ResponseSpec("Who is signed in", CurrentSessionBody), "Credentials")
async def current_session(request: Request) -> JsonResponse:
    """Who the credential stands for: the tenant, what it may do, and when it ends."""
    context, principal = context_of(request), principal_of(request)
    key = None if principal.key_id is None else await context.store.credentials.get_key(principal.key_id)
    expires_at = principal.expires_at
    for secret in read_cookies(request.scope) if principal.via_cookie else ():
        hashed = session_hash(secret)
        session = None if hashed is None else await context.store.credentials.find_session(hashed)
        if session is not None:
            expires_at = session.expires_at
    body = CurrentSessionBody(
        carrier="cookie" if principal.via_cookie else "header",
        expires_at=None if expires_at is None else format_time(expires_at),
        key_name=None if key is None else key.name,
        scopes=tuple(sorted(principal.scopes)),
        tenant_id=principal.tenant,
    )
    return JsonResponse(msgspec.json.encode(body))


@post("/api/v1/session", opt=_operation("Create Session", 201, SESSION_RESPONSE))
async def create_session(request: Request) -> Response[bytes]:
    """Exchange an API key for a session cookie, which scripts cannot read, so that a browser need not keep the key."""
    return await _begin(request, _key_holder(request), now_us())


@delete(
    "/api/v1/session",
    status_code=204,
    opt=_operation("End Session", 204, ResponseSpec("Ended", headers=_SET_COOKIE)),
)
async def end_session(request: Request) -> Response[None]:
    """End the session, on the server too, and clear the cookie."""
    await end_sessions(request)
    return Response(None, status_code=204, headers={"Set-Cookie": session_cookie(request, "", 0)})


async def end_sessions(request: Request) -> None:
    """End the session of the cookie that the request came with, on the server too, and record it."""
    context = context_of(request)
    for secret in read_cookies(request.scope):
        hashed = session_hash(secret)
        if hashed is not None:
            await context.store.credentials.end_session(hashed)
            context.authenticator.forget(hashed)
            await context.recorder.session_ended(principal_of(request), now_us())


@post(
    "/api/v1/session/links",
    opt=_operation(
        "Create Session Link",
        201,
        ResponseSpec("The code of the link. It is shown only here", SessionLinkBody),
        description=f"The link is /login#code=… of this server. It works once, within {SIGN_IN_CODE_S} seconds.",
    ),
)
async def create_link(request: Request) -> Response[bytes]:
    """Make the code of a link that signs a browser in as the API key that asks for it."""
    principal, now = _key_holder(request), now_us()
    if principal.via_operator:
        raise Forbidden("A sign-in link is made with an API key of the tenant.")
    code, expires_at = new_sign_in_code(), now + SIGN_IN_CODE_S * 1_000_000
    hashed = cast(bytes, sign_in_code_hash(code))
    link = Session(hashed, cast(str, principal.key_id), min(expires_at, principal.expires_at or expires_at))
    await context_of(request).store.credentials.put_session(link)
    return _secret_answer(SessionLinkBody(code=code, expires_at=format_time(link.expires_at)))


@post(
    "/api/v1/session/redeem",
    opt={"open": True}
    | _operation(
        "Redeem Session Link",
        201,
        SESSION_RESPONSE,
        *(401, 403, 413, 415, 422, 429),
        request_content={JSON: ref("SignInCode")},
    ),
)
async def redeem_link(request: Request) -> Response[bytes]:
    """Exchange the code of a sign-in link for a session cookie, as the API key that made the link would."""
    context = context_of(request)
    async with read_body(request, context.admission, "", _BODY_MAX) as body:
        check_json_media(request)
        code = text_member(body, "code")
    principal = await context.authenticator.redeem(request, code)
    return await _begin(request, principal, now_us())


ROUTES: list[HTTPRouteHandler] = [current_session, create_session, end_session, create_link, redeem_link]
"""The handlers of this module."""


def _key_holder(request: Request) -> Principal:
    """Who holds the API key that the request carries. Raises Forbidden for any other credential."""
    principal = principal_of(request)
    if principal.key_id is None or principal.via_cookie:
        raise Forbidden("A session is made with an API key, sent in a header.")
    if OPERATOR in principal.scopes:
        raise Forbidden("An operator's key belongs to no tenant. POST /api/v1/session/tenant opens one with it.")
    return principal


async def _begin(request: Request, principal: Principal, now: int) -> Response[bytes]:
    """Make a session for the holder of a key, and answer with its cookie."""
    expires_at = now + SESSION_S * 1_000_000
    if principal.expires_at is not None:
        expires_at = min(expires_at, principal.expires_at)
    secret = await keep_session(request, principal, expires_at, now)
    return answer_with_session(request, principal, secret, expires_at, now)


async def keep_session(request: Request, principal: Principal, expires_at: int, now: int) -> str:
    """Store and record a new session of this principal, and return its secret. Times are in microseconds."""
    context, secret = context_of(request), new_session_secret()
    of_key = principal.key_id is not None and not principal.via_operator  # it is what its key is
    session = Session(
        hash=cast(bytes, session_hash(secret)),
        key_id=principal.key_id or principal.subject,
        expires_at=expires_at,
        tenant=None if of_key else principal.tenant,
        scopes=None if of_key else session_grants(principal),
    )
    await context.store.credentials.put_session(session)
    await context.recorder.session_created(principal, expires_at, now)
    return secret


def answer_with_session(
    request: Request, principal: Principal, secret: str, expires_at: int, now: int
) -> Response[bytes]:
    """The answer that begins a session in the browser: what it is, and its cookie."""
    body = SessionBody(
        tenant_id=principal.tenant, scopes=tuple(sorted(principal.scopes)), expires_at=format_time(expires_at)
    )
    return _secret_answer(body, session_cookie(request, secret, max(0, (expires_at - now) // 1_000_000)))


def text_member(body: bytes, wanted: str) -> str:
    """The one member that the object in a body has, which is text. Raises Invalid with every problem."""
    asked = json_object(body)
    sentence = f"There is no such field; known is {wanted}."
    problems = unknown_names(asked, (wanted,), ("body",), lambda _name: sentence)
    if wanted not in asked:
        problems.append(Problem(("body", wanted), f"{wanted} is required.", "missing"))
    elif not isinstance(asked[wanted], str):
        problems.append(Problem(("body", wanted), f"{wanted} must be text.", "string_type"))
    if problems:
        raise Invalid(problems)
    return str(asked[wanted])


def session_cookie(request: Request, value: str, max_age_s: int) -> str:
    """A cookie that browsers do not send with requests of other sites' pages; an empty one ends it."""
    return cookie_line(request, COOKIE, value, max_age_s)


def cookie_line(
    request: Request, name: str, value: str, max_age_s: int, *, path: str = "/", same_site: str = "Strict"
) -> str:
    """The header of a cookie that scripts cannot read, and that goes only over TLS where the client came by it."""
    context = context_of(request)
    origin = context.authenticator.own_origin(request.scope) or str(request.scope["scheme"])
    secure = origin.startswith("https") or context.settings.cookie_secure
    cookie = f"{name}={value}; Max-Age={max_age_s}; Path={path}; HttpOnly; SameSite={same_site}"
    return cookie + "; Secure" if secure else cookie


def _secret_answer(body: msgspec.Struct, cookie: str | None = None) -> Response[bytes]:
    """The answer that has a new secret. It is not compressed, since its size would tell about the secret then."""
    headers = {"Cache-Control": "no-store, no-transform"}
    if cookie is not None:
        headers["Set-Cookie"] = cookie
    return Response(msgspec.json.encode(body), status_code=201, media_type=JSON, headers=headers)
