"""Sign-in by OpenID Connect: the two addresses that a browser passes through.

`GET /api/v1/session/oidc` sends it to the issuer, which sends it back to `…/oidc/callback` with a code. See `oidc.py`.
"""

import re
from typing import cast
from urllib.parse import parse_qsl

import msgspec
import structlog
from litestar import get
from litestar.handlers import HTTPRouteHandler

from whence.api.auth import SUBJECT_PREFIX, read_cookies
from whence.api.context import context_of, now_us, root_path_of
from whence.api.oidc import ATTEMPT_S, OidcProvider, SignInFailed
from whence.api.request import Request
from whence.api.responses import JsonResponse
from whence.api.sessions import SESSION_S, cookie_line, keep_session, session_cookie
from whence.errors import Invalid, WhenceError
from whence.settings import Settings

__all__ = ["START", "routes"]

START = "/api/v1/session/oidc"
"""Where a browser begins to sign in."""

_CALLBACK = f"{START}/callback"
_ATTEMPT_COOKIE = "whence_sign_in"
_BACK = re.compile(r"/(?!/)[\x21-\x5b\x5d-\x7e]{0,999}")  # no backslash, which browsers take for a slash

_log = structlog.get_logger("whence.api")


def routes(settings: Settings) -> list[HTTPRouteHandler]:
    """The handlers, which are for browsers and open to everyone; none without an issuer in the settings."""
    return [] if settings.oidc_issuer is None else [_begin, _callback]


@get(START, status_code=303, opt={"open": True})
async def _begin(request: Request) -> JsonResponse:
    """Send the browser to the issuer. `back` is the path of the console to show then."""
    asked = dict(parse_qsl(request.scope["query_string"].decode("latin-1")))
    back = asked.get("back", "/")
    provider = cast(OidcProvider, context_of(request).oidc)
    try:
        address, kept = await provider.begin(_callback_of(request), back if _BACK.fullmatch(back) else "/", now_us())
    except SignInFailed as failed:
        return _failure(request, failed)
    return _redirect(address, _attempt_cookie(request, kept, ATTEMPT_S))


@get(_CALLBACK, status_code=303, opt={"open": True})
async def _callback(request: Request) -> JsonResponse:
    """Begin the session of whom the issuer has signed in, and show the page where this began."""
    context, now = context_of(request), now_us()
    answer = dict(parse_qsl(request.scope["query_string"].decode("latin-1")))
    kept = read_cookies(request.scope, _ATTEMPT_COOKIE)
    provider = cast(OidcProvider, context.oidc)
    try:
        principal, back = await provider.finish(kept[0] if len(kept) == 1 else None, answer, _callback_of(request), now)
        subject = (SUBJECT_PREFIX + principal.subject.removeprefix("jwt:"))[:255]
        who = msgspec.structs.replace(principal, subject=subject)
        secret = await keep_session(request, who, now + SESSION_S * 1_000_000, now)
    except SignInFailed as failed:
        if failed.reason == "refused":
            context.authenticator.note_bad(request)
        return _failure(request, failed)
    except WhenceError as error:
        return _failure(request, SignInFailed("unavailable", type(error).__name__))
    signed_in = session_cookie(request, secret, SESSION_S)
    return _redirect(root_path_of(request) + back, signed_in, _attempt_cookie(request, "", 0))


def _failure(request: Request, failed: SignInFailed) -> JsonResponse:
    """The sign-in page, which says what went wrong. The reason repeats nothing of the request or the issuer."""
    _log.info(
        "sign_in_failed",
        reason=str(failed),
        client=context_of(request).authenticator.client_address(request.scope),
        request_id=request.scope["state"]["request_id"],
    )
    return _redirect(f"{root_path_of(request)}/login?failed={failed.reason}", _attempt_cookie(request, "", 0))


def _redirect(address: str, *cookies: str) -> JsonResponse:
    """A redirect that browsers follow by GET and do not keep."""
    headers = [("location", address), *(("set-cookie", cookie) for cookie in cookies)]
    return JsonResponse(b"", 303, headers=headers, media="text/plain")


def _attempt_cookie(request: Request, value: str, max_age_s: int) -> str:
    """Lax, since the browser comes back from the issuer's page."""
    return cookie_line(request, _ATTEMPT_COOKIE, value, max_age_s, path=root_path_of(request) + START, same_site="Lax")


def _callback_of(request: Request) -> str:
    """The address to which the issuer sends the browser back, which has to be registered there."""
    origin = context_of(request).authenticator.own_origin(request.scope)
    if origin is None:
        raise Invalid.at(("header", "host"), "The request does not name the host of this server.")
    return f"{origin}{root_path_of(request)}{_CALLBACK}"
