"""The routes of operators' keys: the list of tenants, and the exchange of the key for a token of one tenant.

An operator's key is made by the command line alone. It reads no events. This exchange, and the tenant menu of the
console (`session_tenants.py`), are the two places where a tenant comes from a request.
"""

import msgspec
import structlog
from litestar import post
from litestar.handlers import HTTPRouteHandler

from whence.api.context import context_of, now_us, principal_of
from whence.api.credentials import check_json_media, parse_scopes_of
from whence.api.operation import Operation, ResponseSpec, listing_route, ref
from whence.api.operator_tokens import LIFETIME_MAX_S, OperatorToken, seal_token
from whence.api.reads import next_page_link
from whence.api.request import Request
from whence.api.request_body import read_body
from whence.api.responses import JSON, JsonResponse
from whence.errors import Forbidden, Invalid, Problem, Unauthenticated
from whence.events import Vocabulary, is_tenant
from whence.permissions import OPERATOR
from whence.wire.keys import TenantBody, TenantsBody, TenantTokenBody
from whence.wire.problems import json_object, unknown_names
from whence.wire.query import parse_listing, seal_listing
from whence.wire.times import format_time

__all__ = ["ROUTES"]

_BODY_MAX = 16 * 1024
_TAG = "Operators"
_log = structlog.get_logger("whence.api")


class _TokenRequest(msgspec.Struct, frozen=True):
    scopes: tuple[str, ...]
    lifetime_s: int


@listing_route(
    "/api/v1/tenants", "List Tenants", "tenants", OPERATOR, ResponseSpec("The tenants, by name", TenantsBody), _TAG
)
async def list_tenants(request: Request) -> JsonResponse:
    """A page of the tenants that have a log or a key, with the sizes of their logs."""
    context = context_of(request)
    asked = parse_listing("tenants", request.scope["query_string"], sealer=context.cursors, bound="")
    names = await context.store.tenants((asked.after or b"").decode(), asked.limit + 1)
    cursor = None
    if len(names) > asked.limit:
        names = names[: asked.limit]
        cursor = seal_listing("tenants", names[-1].encode(), sealer=context.cursors, bound="")
    tenants = []
    for name in names:
        head = await context.store.head(name)
        recorded_at = format_time(head.recorded_at) if head.size else None
        tenants.append(
            TenantBody(tenant_id=name, events=head.size, payload_bytes=head.payload_bytes, recorded_at=recorded_at)
        )
    quotas = context.settings.tenant_bytes_max or None, context.settings.tenant_events_per_s or None
    body = msgspec.json.encode(TenantsBody(bytes_max=quotas[0], events_per_s=quotas[1], tenants=tenants))
    context.admission.hold_answer(request, principal_of(request).tenant, len(body))
    return JsonResponse(body, headers=next_page_link(request, cursor))


@post(
    "/api/v1/tenants/{tenant:str}/token",
    opt={
        "scope": OPERATOR,
        "operation": Operation(
            tag=_TAG,
            summary="Create Tenant Token",
            description="Exchanges an operator's key for a token of one tenant, which ends with the key.",
            responses={201: ResponseSpec("The token. It is shown only here", TenantTokenBody)},
            errors=(413, 415, 422),
            request_content={JSON: ref("NewTenantToken")},
        ),
    },
)
async def create_tenant_token(request: Request) -> JsonResponse:
    """Exchange an operator's key for a token of a tenant, which need not have a log yet. Each exchange is logged."""
    context, principal, now = context_of(request), principal_of(request), now_us()
    tenant = str(request.path_params["tenant"])
    async with read_body(request, context.admission, principal.tenant, _BODY_MAX) as body:
        check_json_media(request)
        asked = _parse(tenant, body, context.vocabulary)
    key = None if principal.key_id is None else await context.store.credentials.get_key(principal.key_id)
    if key is None or not key.alive(now):
        raise Unauthenticated
    for scope in asked.scopes:
        if not key.may_pass_on(scope):
            raise Forbidden(f"The ceiling of this operator's key lacks the scope {scope}.")
    expires_at = min(now + asked.lifetime_s * 1_000_000, key.expires_at or 2**62)
    token = OperatorToken(key.id, tenant, asked.scopes, expires_at, now)
    ends = format_time(expires_at)
    await context.recorder.token_created(principal, tenant, asked.scopes, expires_at, now)
    _log.info(
        "tenant_token_made",
        key_id=key.id,
        tenant=tenant,
        scopes=list(asked.scopes),
        expires_at=ends,
        client=context.authenticator.client_address(request.scope),
        request_id=request.scope["state"]["request_id"],
    )
    answer = TenantTokenBody(
        tenant_id=tenant, scopes=asked.scopes, expires_at=ends, token=seal_token(context.tokens, token)
    )
    # no-transform: compressed, the size of the answer would tell about the token.
    return JsonResponse(msgspec.json.encode(answer), 201, [("cache-control", "no-store, no-transform")])


ROUTES: list[HTTPRouteHandler] = [list_tenants, create_tenant_token]
"""The handlers of this module."""


def _parse(tenant: str, body: bytes, vocabulary: Vocabulary) -> _TokenRequest:
    """What is asked for. Raises Invalid with every problem."""
    problems: list[Problem] = []
    if not is_tenant(tenant):
        message = "A tenant has 1 to 64 of the characters A-Z a-z 0-9 . _ -"
        problems.append(Problem(("path", "tenant"), message, "tenant"))
    try:
        asked = json_object(body)
    except Invalid as error:
        raise Invalid([*problems, *error.problems]) from None
    sentence = "There is no such field; known are scopes and lifetimeS."
    problems += unknown_names(asked, ("scopes", "lifetimeS"), ("body",), lambda _name: sentence)
    scopes = parse_scopes_of(asked, vocabulary, problems)
    lifetime_s = asked.get("lifetimeS", LIFETIME_MAX_S)
    if isinstance(lifetime_s, float) and lifetime_s.is_integer():
        lifetime_s = int(lifetime_s)  # to JSON, 60.0 is an integer too
    if type(lifetime_s) is not int or not 1 <= lifetime_s <= LIFETIME_MAX_S:
        message = f"lifetimeS is a number of seconds from 1 to {LIFETIME_MAX_S}."
        problems.append(Problem(("body", "lifetimeS"), message, "out_of_range"))
    if problems:
        raise Invalid(problems)
    return _TokenRequest(scopes, lifetime_s)
