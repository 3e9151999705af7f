"""The routes of the console's tenant menu: the tenants that one may have a session in, and the change to one of them.

An operator's key opens every tenant that there is, with the scopes of its ceiling. Somebody whom OpenID Connect has
signed in opens the tenants that the claim named. Every other credential stands for one tenant. What a session may be
changed to is kept with the session on the server, so the tenant in a request chooses among what the credential allows,
and no more.
"""

import msgspec
import structlog
from litestar import Response, post
from litestar.handlers import HTTPRouteHandler

from whence.api.context import context_of, now_us, principal_of
from whence.api.credentials import check_json_media
from whence.api.operation import Operation, ResponseSpec, listing_route, ref
from whence.api.reads import next_page_link
from whence.api.request import Request
from whence.api.request_body import read_body
from whence.api.responses import JSON, JsonResponse
from whence.api.sessions import (
    SESSION_RESPONSE,
    SESSION_S,
    answer_with_session,
    end_sessions,
    keep_session,
    text_member,
)
from whence.errors import Forbidden, Invalid, NotFound, Unauthenticated
from whence.events import is_tenant
from whence.permissions import OPERATOR, Principal
from whence.storage import Store
from whence.wire.keys import SessionTenantBody, SessionTenantsBody
from whence.wire.query import parse_listing, seal_listing

__all__ = ["ROUTES"]

_BODY_MAX = 1024
_TAG = "Credentials"
_log = structlog.get_logger("whence.api")


@listing_route(
    "/api/v1/session/tenants",
    "List Session Tenants",
    "session_tenants",
    None,
    ResponseSpec("The tenants, by name", SessionTenantsBody),
    _TAG,
)
async def list_session_tenants(request: Request) -> JsonResponse:
    """A page of the tenants that this credential may have a session in. Most have one."""
    context, principal = context_of(request), principal_of(request)
    bound = principal.subject
    asked = parse_listing("session_tenants", request.scope["query_string"], sealer=context.cursors, bound=bound)
    after = (asked.after or b"").decode()
    if _opens_any(principal):
        names = await context.store.tenants(after, asked.limit + 1)
    else:
        names = sorted(name for name in {principal.tenant, *principal.tenants} if name > after)[: asked.limit + 1]
    cursor = None
    if len(names) > asked.limit:
        names = names[: asked.limit]
        cursor = seal_listing("session_tenants", names[-1].encode(), sealer=context.cursors, bound=bound)
    body = SessionTenantsBody(_opens_any(principal), [SessionTenantBody(name) for name in names])
    return JsonResponse(msgspec.json.encode(body), headers=next_page_link(request, cursor))


@post(
    "/api/v1/session/tenant",
    opt={
        "operation": Operation(
            tag=_TAG,
            summary="Choose Session Tenant",
            description="Begins a session in a tenant, and ends the one that the request came with. For an operator's "
            "key, and for sessions of somebody who may open several tenants.",
            responses={201: SESSION_RESPONSE},
            errors=(404, 413, 415, 422, 429),
            request_content={JSON: ref("ChosenTenant")},
        )
    },
)
async def choose_tenant(request: Request) -> Response[bytes]:
    """Begin a session in another tenant, which lasts no longer than the one before."""
    context, principal, now = context_of(request), principal_of(request), now_us()
    if not (_opens_any(principal) or principal.tenants):
        raise Forbidden("This credential stands for one tenant.")
    async with read_body(request, context.admission, principal.tenant, _BODY_MAX) as body:
        check_json_media(request)
        tenant = text_member(body, "tenantId")
    if not is_tenant(tenant):
        message = "A tenant has 1 to 64 of the characters A-Z a-z 0-9 . _ -"
        raise Invalid.at(("body", "tenantId"), message, "tenant")
    chosen = await _in_tenant(request, principal, tenant, now)
    expires_at = now + SESSION_S * 1_000_000
    if principal.expires_at is not None:
        expires_at = min(expires_at, principal.expires_at)
    secret = await keep_session(request, chosen, expires_at, now)
    if principal.via_cookie:
        await end_sessions(request)
    return answer_with_session(request, chosen, secret, expires_at, now)


ROUTES: list[HTTPRouteHandler] = [list_session_tenants, choose_tenant]
"""The handlers of this module."""


def _opens_any(principal: Principal) -> bool:
    """Whether this is an operator's key, or a session that began with one."""
    return principal.any_tenant or OPERATOR in principal.scopes


async def _in_tenant(request: Request, principal: Principal, tenant: str, now: int) -> Principal:
    """What the caller is in the tenant that it chose. Raises Forbidden for one that it may not open, and
    for an operator NotFound for one that is not in the list of tenants."""
    if not _opens_any(principal):
        if tenant not in principal.tenants:
            raise Forbidden("You may not open this tenant.")
        return msgspec.structs.replace(principal, tenant=tenant)
    context = context_of(request)
    key = None if principal.key_id is None else await context.store.credentials.get_key(principal.key_id)
    if key is None or key.ceiling is None or not key.alive(now):
        raise Unauthenticated
    if not await _exists(context.store, tenant):
        raise NotFound("No tenant of this name has a log or a key. See the list of tenants.")
    _log.info(
        "tenant_session_made",
        key_id=key.id,
        tenant=tenant,
        scopes=list(key.ceiling),
        client=context.authenticator.client_address(request.scope),
        request_id=request.scope["state"]["request_id"],
    )
    return msgspec.structs.replace(
        principal, tenant=tenant, scopes=frozenset(key.ceiling), via_operator=True, any_tenant=True
    )


async def _exists(store: Store, tenant: str) -> bool:
    """Whether a tenant is in the list of tenants."""
    # No tenant's name sorts between this text and the name: "~" comes after every character of a name.
    just_before = f"{tenant[:-1]}{chr(ord(tenant[-1]) - 1)}~"
    return await store.tenants(just_before, 1) == [tenant]
