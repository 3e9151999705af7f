"""The routes of retention, legal holds and erasures, for the scope admin.

Who removes events decides about all of them, so a credential that may not read every event is refused. A removal is
stored, then answered; the process that follows the log does it.
"""

import secrets
from functools import partial

import msgspec
from litestar import Response, delete, post, put
from litestar.handlers import HTTPRouteHandler

from whence.api.context import AppContext, context_of, now_us, principal_of
from whence.api.credentials import check_json_media
from whence.api.operation import ResponseSpec, entries_of, ref
from whence.api.recording import actor_name
from whence.api.request import Request
from whence.api.request_body import read_body
from whence.api.responses import JSON, JsonResponse
from whence.errors import Busy, Forbidden, Invalid, NotFound
from whence.legal_holds import hold_of
from whence.permissions import ADMIN, READ, Principal
from whence.removal import DONE, list_requests, request_of
from whence.removal_previews import preview_erasure, preview_retention
from whence.retention import Hold, Policy, RemovalRequest
from whence.retention_schedule import policy_of, put_policy, request_run
from whence.storage.followers import Definition
from whence.storage.removals import HOLD, REMOVAL
from whence.wire.ids import new_uuid7, parse_uuid
from whence.wire.query import refuse_parameters
from whence.wire.removal_bodies import (
    ErasurePreviewBody,
    HoldBody,
    HoldsBody,
    RemovalBody,
    RemovalsBody,
    RetentionBody,
    RetentionPreviewBody,
    hold_body,
    removal_body,
    rule_bodies,
)
from whence.wire.removals import NewErasure, parse_erasure, parse_hold, parse_policy
from whence.wire.times import format_time

__all__ = ["ROUTES"]

_RETENTION = "/api/v1/retention"
_HOLDS = "/api/v1/holds"
_ERASURES = "/api/v1/erasures"
_BODY_MAX = 64 * 1024
_RUNS_SHOWN = 10
_PSEUDONYM_BYTES = 8


_operation = partial(entries_of, "Retention", ADMIN)


# ----------------------------------------------------------------------------------------------------------- retention


@HTTPRouteHandler(
    _RETENTION,
    http_method=["GET", "HEAD"],
    status_code=200,
    opt=_operation("Get Retention", 200, ResponseSpec("The policy and its latest runs", RetentionBody), 422),
)
async def get_retention(request: Request) -> JsonResponse:
    """How long the tenant keeps its events, and the latest runs."""
    refuse_parameters(request.scope["query_string"])
    principal = _administrator(request)
    return await _retention_of(context_of(request), principal.tenant)


@put(
    _RETENTION,
    status_code=200,
    opt=_operation(
        "Set Retention",
        200,
        ResponseSpec("The policy and its latest runs", RetentionBody),
        *(413, 415, 422),
        request_content={JSON: ref("RetentionPolicy")},
    ),
)
async def set_retention(request: Request) -> JsonResponse:
    """Set how long the tenant keeps its events. The next scheduled run applies it, or `apply` at once."""
    refuse_parameters(request.scope["query_string"])
    context, principal = context_of(request), _administrator(request)
    async with read_body(request, context.admission, principal.tenant, _BODY_MAX) as body:
        check_json_media(request)
        policy = parse_policy(body)
    await context.recorder.retention_changed(principal, policy, now_us())
    await put_policy(context.store, principal.tenant, policy)
    return await _retention_of(context, principal.tenant)


@HTTPRouteHandler(
    f"{_RETENTION}/preview",
    http_method=["GET", "HEAD"],
    status_code=200,
    opt=_operation("Preview Retention", 200, ResponseSpec("What would be removed now", RetentionPreviewBody), 422),
)
async def preview(request: Request) -> JsonResponse:
    """What a run of the policy would remove now. Nothing is removed."""
    refuse_parameters(request.scope["query_string"])
    context, tenant = context_of(request), _administrator(request).tenant
    policy, _ = await policy_of(context.store, tenant, context.settings.default_policy)
    return await _preview_of(context, tenant, policy)


@post(
    f"{_RETENTION}/preview",
    status_code=200,
    opt=_operation(
        "Preview Retention Policy",
        200,
        ResponseSpec("What would be removed now", RetentionPreviewBody),
        *(413, 415, 422),
        request_content={JSON: ref("RetentionPolicy")},
    ),
)
async def preview_policy(request: Request) -> JsonResponse:
    """What a run of this policy would remove now, if it were the tenant's. Nothing is set or removed."""
    refuse_parameters(request.scope["query_string"])
    context, tenant = context_of(request), _administrator(request).tenant
    async with read_body(request, context.admission, tenant, _BODY_MAX) as body:
        check_json_media(request)
        policy = parse_policy(body)
    return await _preview_of(context, tenant, policy)


async def _preview_of(context: AppContext, tenant: str, policy: Policy) -> JsonResponse:
    async with context.admission.page_place(tenant, indexed=False):
        found = await preview_retention(context.store, tenant, policy, now_us())
    body = RetentionPreviewBody(
        events=found.events,
        exact=found.exact,
        held=found.held,
        newest=None if found.newest is None else format_time(found.newest),
        oldest=None if found.oldest is None else format_time(found.oldest),
        payloads=found.payloads,
    )
    return JsonResponse(msgspec.json.encode(body))


@post(
    f"{_RETENTION}/apply",
    status_code=202,
    opt=_operation("Apply Retention", 202, ResponseSpec("The run, which has been asked for", RemovalBody), 422),
)
async def apply(request: Request) -> JsonResponse:
    """Apply the policy now. While a run of the tenant is not done, that one is answered."""
    refuse_parameters(request.scope["query_string"])
    context, principal = context_of(request), _administrator(request)
    policy, _ = await policy_of(context.store, principal.tenant, context.settings.default_policy)
    run_id, run = await request_run(
        context.store, principal.tenant, policy, actor_name(principal), "asked for", now_us()
    )
    return JsonResponse(msgspec.json.encode(removal_body(run_id, run)), 202)


async def _retention_of(context: AppContext, tenant: str) -> JsonResponse:
    policy, source = await policy_of(context.store, tenant, context.settings.default_policy)
    runs = [each for each in await list_requests(context.store, tenant) if each[1].kind == "retention"]
    body = RetentionBody(
        max_age_days=policy.max_age_days,
        rules=rule_bodies(policy),
        runs=[removal_body(*each) for each in runs[:_RUNS_SHOWN]],
        source=source,
    )
    return JsonResponse(msgspec.json.encode(body))


# --------------------------------------------------------------------------------------------------------------- holds


@HTTPRouteHandler(
    _HOLDS,
    http_method=["GET", "HEAD"],
    status_code=200,
    opt=_operation("List Holds", 200, ResponseSpec("The legal holds, oldest first", HoldsBody), 422),
)
async def list_holds(request: Request) -> JsonResponse:
    """The legal holds of the tenant, oldest first."""
    refuse_parameters(request.scope["query_string"])
    context, tenant = context_of(request), _administrator(request).tenant
    found = sorted(await context.store.followers.list_definitions(HOLD, tenant), key=lambda each: each.id)
    body = msgspec.json.encode(HoldsBody(holds=[hold_body(each.id, hold_of(each)) for each in found]))
    context.admission.hold_answer(request, tenant, len(body))
    return JsonResponse(body)


@post(
    _HOLDS,
    opt=_operation(
        "Create Hold",
        201,
        ResponseSpec("The hold, which is respected from now on", HoldBody),
        *(413, 415, 422),
        request_content={JSON: ref("NewHold")},
    ),
)
async def create_hold(request: Request) -> JsonResponse:
    """Keep the events that match, also those that come later, from retention and from erasure. A removal that goes on
    at the moment respects the hold by the time of the answer; what it has removed before is gone."""
    refuse_parameters(request.scope["query_string"])
    context, principal, now = context_of(request), _administrator(request), now_us()
    async with read_body(request, context.admission, principal.tenant, _BODY_MAX) as body:
        check_json_media(request)
        asked = parse_hold(body, now=now, vocabulary=context.vocabulary)
    hold = Hold(query=asked.query, q=asked.q, reason=asked.reason, by=actor_name(principal), created_at=now)
    hold_id = new_uuid7()
    definition = Definition(principal.tenant, HOLD, hold_id, 1, msgspec.json.encode(hold))
    if not await context.store.followers.put_definition(definition):
        raise Busy("The hold could not be stored. Send it again.")
    await context.store.removals.settle(principal.tenant)
    await context.recorder.hold_placed(principal, hold_id, hold.reason, now)
    return JsonResponse(msgspec.json.encode(hold_body(hold_id, hold)), 201)


@delete(
    _HOLDS + "/{hold_id:str}",
    status_code=204,
    opt=_operation("Release Hold", 204, ResponseSpec("Released"), 404, 422),
)
async def release_hold(request: Request) -> Response[None]:
    """Release a hold. What only it has kept goes with the next run of retention."""
    refuse_parameters(request.scope["query_string"])
    context, principal = context_of(request), _administrator(request)
    hold_id = _id(request, "hold_id")
    if await context.store.followers.get_definition(principal.tenant, HOLD, hold_id) is None:
        raise NotFound("There is no hold with this id.")
    await context.recorder.hold_released(principal, hold_id, now_us())
    await context.store.followers.delete_definition(principal.tenant, HOLD, hold_id)
    return Response(None, status_code=204)


# ------------------------------------------------------------------------------------------------------------ erasures


@HTTPRouteHandler(
    _ERASURES,
    http_method=["GET", "HEAD"],
    status_code=200,
    opt=_operation("List Erasures", 200, ResponseSpec("The erasures, the newest first", RemovalsBody), 422),
)
async def list_erasures(request: Request) -> JsonResponse:
    """The erasures of the tenant, the newest first: those that are not done, and the latest ones that are."""
    refuse_parameters(request.scope["query_string"])
    context, tenant = context_of(request), _administrator(request).tenant
    found = [each for each in await list_requests(context.store, tenant) if each[1].kind == "erasure"]
    body = msgspec.json.encode(RemovalsBody(erasures=[removal_body(*each) for each in found]))
    context.admission.hold_answer(request, tenant, len(body))
    return JsonResponse(body)


@post(
    _ERASURES,
    status_code=202,
    opt=_operation(
        "Create Erasure",
        202,
        ResponseSpec("The erasure, which has been asked for", RemovalBody),
        *(413, 415, 422),
        responses={200: ResponseSpec("What the erasure would do now, for dryRun", ErasurePreviewBody)},
        request_content={JSON: ref("NewErasure")},
    ),
)
async def create_erasure(request: Request) -> JsonResponse:
    """Erase the payloads of events for ever: of those with these ids, or of those that match now. The events stay, and
    so do their proofs. An erasure cannot be taken back."""
    refuse_parameters(request.scope["query_string"])
    context, principal, now = context_of(request), _administrator(request), now_us()
    async with read_body(request, context.admission, principal.tenant, _BODY_MAX) as body:
        check_json_media(request)
        asked = parse_erasure(body, now=now, vocabulary=context.vocabulary)
    if asked.dry_run:
        return await _preview(context, principal.tenant, asked)
    erasure = RemovalRequest(
        kind="erasure",
        reason=asked.reason,
        by=actor_name(principal),
        created_at=now,
        as_of=(await context.store.head(principal.tenant)).size,
        query=asked.query,
        event_ids=asked.event_ids,
        pseudonym=f"erased-{secrets.token_hex(_PSEUDONYM_BYTES)}" if asked.names else None,
    )
    erasure_id = new_uuid7()
    definition = Definition(principal.tenant, REMOVAL, erasure_id, 1, msgspec.json.encode(erasure))
    if not await context.store.followers.put_definition(definition):
        raise Busy("The erasure could not be stored. Send it again.")
    location = f"{request.scope['state']['root_path']}{_ERASURES}/{erasure_id}"
    return JsonResponse(msgspec.json.encode(removal_body(erasure_id, erasure)), 202, [("location", location)])


@HTTPRouteHandler(
    _ERASURES + "/{erasure_id:str}",
    http_method=["GET", "HEAD"],
    status_code=200,
    opt=_operation("Get Erasure", 200, ResponseSpec("The erasure and how far it is", RemovalBody), 404, 422),
)
async def get_erasure(request: Request) -> JsonResponse:
    """An erasure and how far it is."""
    refuse_parameters(request.scope["query_string"])
    context, tenant = context_of(request), _administrator(request).tenant
    erasure_id = _id(request, "erasure_id")
    for kind in (REMOVAL, DONE):  # in this order, in which a request goes from one to the other
        definition = await context.store.followers.get_definition(tenant, kind, erasure_id)
        if definition is not None and (erasure := request_of(definition)).kind == "erasure":
            return JsonResponse(msgspec.json.encode(removal_body(erasure_id, erasure)))
    raise NotFound("There is no erasure with this id.")


ROUTES: list[HTTPRouteHandler] = [
    *(get_retention, set_retention, preview, preview_policy, apply),
    *(list_holds, create_hold, release_hold),
    *(list_erasures, create_erasure, get_erasure),
]
"""The handlers of this module."""


async def _preview(context: AppContext, tenant: str, asked: NewErasure) -> JsonResponse:
    """What an erasure would do."""
    async with context.admission.page_place(tenant, indexed=False):
        found = await preview_erasure(context.store, tenant, asked.query, asked.event_ids)
    body = ErasurePreviewBody(exact=found.exact, held=found.held, payloads=found.payloads)
    return JsonResponse(msgspec.json.encode(body))


def _administrator(request: Request) -> Principal:
    """Who sent the request. Raises Forbidden unless that may read every event."""
    principal = principal_of(request)
    principal.require(READ)
    if not principal.viewer.sees_all:
        raise Forbidden("This credential may not read every event, so it cannot decide which of them are removed.")
    return principal


def _id(request: Request, name: str) -> str:
    try:
        return parse_uuid(str(request.path_params[name]))
    except ValueError as error:
        raise Invalid.at(("path", name), str(error), "uuid_parsing") from None
