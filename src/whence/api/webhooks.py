"""The routes of webhooks, for the scope admin.

A webhook sees the log with the API key that made it, at most as much as that key may read, and stops with it. Whoever
may read less than a webhook sends can list it, switch it off by deleting it, and nothing else.
"""

import contextlib
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Literal

import msgspec
from litestar import Response, delete
from litestar.handlers import HTTPRouteHandler

from whence.api.context import AppContext, context_of, now_us, principal_of
from whence.api.credentials import check_json_media
from whence.api.operation import Operation, ResponseSpec, ref
from whence.api.request import Request
from whence.api.request_body import read_body
from whence.api.responses import JSON, JsonResponse
from whence.delivery import CANNOT_SIGN, KEY_GONE, open_secrets, secret_bound, send_event
from whence.errors import Busy, Forbidden, Invalid, NotFound, PositionGone
from whence.events import EVENT_LOG, Event, Query, Viewer
from whence.identities import is_uuid
from whence.outbound import TargetRefused
from whence.permissions import ADMIN, Principal, readable_by
from whence.storage.followers import DELIVERED, FAILED, PENDING, Attempt, Definition, Delivery, DeliveryFilter
from whence.webhooks import new_secret
from whence.wire.ids import derived_uuid, new_uuid7
from whence.wire.parameters import PARAMETERS
from whence.wire.query import refuse_parameters
from whence.wire.times import format_time
from whence.wire.webhook_bodies import (
    AttemptBody,
    CreatedWebhookBody,
    DeliveriesBody,
    DeliveryBody,
    DeliveryCountsBody,
    DeliveryDetailBody,
    GapBody,
    ReplayBody,
    WebhookBody,
    WebhookDetailBody,
    WebhooksBody,
    WebhookSecretBody,
)
from whence.wire.webhooks import (
    WEBHOOK,
    Progress,
    ReplayRequest,
    Rewind,
    SealedSecret,
    Webhook,
    parse_deliveries,
    parse_replay,
    parse_webhook,
    place_name,
    set_fields_of,
    webhook_body,
)

__all__ = ["ROUTES"]

_BODY_MAX = 32 * 1024
_OLD_SECRET_US = 24 * 3_600_000_000
_PART = 1_000
_REPLAY_S = 5.0
_CHANGES_TRIED = 5
_STATES: dict[int, Literal["pending", "delivered", "failed"]] = {
    PENDING: "pending",
    DELIVERED: "delivered",
    FAILED: "failed",
}
HttpMethod = Literal["GET", "HEAD", "POST", "PATCH"]

_PATH = "/api/v1/webhooks"
_ONE = f"{_PATH}/{{webhook_id:str}}"
_SECRET_HEADERS = [("cache-control", "no-store, no-transform")]
"""For answers with a secret: compressed, their size would tell about it."""


def _route(
    method: Literal["GET", "POST", "PATCH"],
    path: str,
    summary: str,
    status: int,
    response: ResponseSpec,
    *errors: int,
    query: str | None = None,
    body: str | None = None,
    description: str | None = None,
) -> HTTPRouteHandler:
    """A route for the scope admin. `query` is the key of its parameters, `body` the name of its request's schema."""
    operation = Operation(
        tag="Webhooks",
        summary=summary,
        description=description,
        responses={status: response},
        errors=(*errors, 422) if body is None else (*errors, 413, 415, 422),
        parameters=() if query is None else PARAMETERS[query],
        request_content=None if body is None else {JSON: ref(body)},
    )
    methods: list[HttpMethod] = ["GET", "HEAD"] if method == "GET" else [method]
    return HTTPRouteHandler(path, http_method=methods, status_code=status, opt={"scope": ADMIN, "operation": operation})


@_route("GET", _PATH, "List Webhooks", 200, ResponseSpec("The tenant's webhooks, oldest first", WebhooksBody))
async def list_webhooks(request: Request) -> JsonResponse:
    """The webhooks of the tenant, oldest first."""
    refuse_parameters(request.scope["query_string"])
    context, tenant = context_of(request), principal_of(request).tenant
    found = [(each.id, _decoded(each)) for each in await context.store.followers.list_definitions(WEBHOOK, tenant)]
    found.sort(key=lambda pair: (pair[1].created_at, pair[0]))
    return _answer(WebhooksBody(webhooks=[await _body(context, tenant, *pair) for pair in found]))


@_route(
    "POST",
    _PATH,
    "Create Webhook",
    201,
    ResponseSpec("The webhook. Its secret is shown only here", CreatedWebhookBody),
    body="NewWebhook",
    description="It gets the events that are stored from now on. Send an API key that may read them.",
)
async def create_webhook(request: Request) -> JsonResponse:
    """Make a webhook, which gets the events that are stored from now on. Only this answer contains its secret."""
    context, principal, now = context_of(request), principal_of(request), now_us()
    refuse_parameters(request.scope["query_string"])
    async with read_body(request, context.admission, principal.tenant, _BODY_MAX) as body:
        check_json_media(request)
        asked = parse_webhook(body, context.vocabulary, new=True)
    key_id = principal.own_key()
    webhook_id, secret = new_uuid7(), new_secret()
    webhook = Webhook(
        **set_fields_of(asked),
        key_id=key_id,
        readable=principal.readable,
        created_at=now,
        enabled_at=now,
        begin_after=(await context.store.head(principal.tenant)).size,
        secrets=(_sealed(context, principal.tenant, webhook_id, secret),),
    )
    await _check_target(context, webhook, principal.tenant)
    definition = Definition(principal.tenant, WEBHOOK, webhook_id, 1, msgspec.json.encode(webhook))
    await context.store.followers.put_definition(definition)
    made = msgspec.structs.asdict(await _body(context, principal.tenant, webhook_id, webhook))
    location = ("location", f"{_PATH}/{webhook_id}")
    return _answer(CreatedWebhookBody(**made, secret=secret), 201, [*_SECRET_HEADERS, location])


@_route("GET", _ONE, "Get Webhook", 200, ResponseSpec("The webhook", WebhookDetailBody), 404)
async def get_webhook(request: Request) -> JsonResponse:
    """A webhook, how far it is, and how it goes."""
    refuse_parameters(request.scope["query_string"])
    context, principal = context_of(request), principal_of(request)
    definition, webhook = await _found(request)
    followers = context.store.followers
    body = await _body(context, principal.tenant, definition.id, webhook)
    detail: dict[str, Any] = dict.fromkeys(("deliveries", "failing_since", "gaps", "read_to"))
    place = await followers.get_place(principal.tenant, place_name(definition.id))
    progress = Progress() if place is None else msgspec.json.decode(place.state or b"{}", type=Progress)
    if progress.failing_since is not None and progress.failing_since >= webhook.enabled_at:
        detail["failing_since"] = format_time(progress.failing_since)
    if principal.reads_all(webhook.readable):
        counts = await followers.count_deliveries(principal.tenant, definition.id)
        places, viewer = context.streams.places, principal.viewer
        detail |= {
            "deliveries": DeliveryCountsBody(**{name: counts.get(state, 0) for state, name in _STATES.items()}),
            "read_to": places.value(viewer, webhook.begin_after if place is None else place.position),
            "gaps": [
                GapBody(
                    after=places.value(viewer, gap.after),
                    at=format_time(gap.at),
                    resumed_after=places.value(viewer, gap.resumed_after),
                )
                for gap in progress.gaps
            ],
        }
    return _answer(WebhookDetailBody(**msgspec.structs.asdict(body), **detail))


@_route("PATCH", _ONE, "Change Webhook", 200, ResponseSpec("The webhook", WebhookBody), 404, body="WebhookChange")
async def change_webhook(request: Request) -> JsonResponse:
    """Change some fields of a webhook. What is pending is sent as the webhook is now."""
    context, principal = context_of(request), principal_of(request)
    refuse_parameters(request.scope["query_string"])
    async with read_body(request, context.admission, principal.tenant, _BODY_MAX) as body:
        check_json_media(request)
        asked = parse_webhook(body, context.vocabulary, new=False)
    changes = set_fields_of(asked)

    async def change(_: str, webhook: Webhook) -> Webhook:
        if asked.take_over:
            webhook = msgspec.structs.replace(webhook, key_id=principal.own_key(), readable=principal.readable)
        _require_all(principal, webhook)
        changed = msgspec.structs.replace(webhook, **changes)
        if changed.enabled and (not webhook.enabled or changed.url != webhook.url):
            changed = msgspec.structs.replace(changed, enabled_at=now_us(), disabled=None)
        if changed.url != webhook.url:
            await _check_target(context, changed, principal.tenant)
        return changed

    return _answer(await _body(context, principal.tenant, *await _change(request, change)))


@delete(
    _ONE,
    status_code=204,
    opt={
        "scope": ADMIN,
        "operation": Operation(
            tag="Webhooks", summary="Delete Webhook", responses={204: ResponseSpec("Deleted")}, errors=(404,)
        ),
    },
)
async def delete_webhook(request: Request) -> Response[None]:
    """Delete a webhook, with its deliveries. Nothing more is sent to it."""
    context, tenant, webhook_id = context_of(request), principal_of(request).tenant, _id_of(request)
    followers = context.store.followers
    if not await followers.delete_definition(tenant, WEBHOOK, webhook_id):
        raise NotFound("There is no such webhook.")
    until = time.monotonic() + _REPLAY_S  # the worker deletes what is left
    while time.monotonic() < until:
        if await followers.delete_deliveries(tenant, webhook_id, None, _PART) < _PART:
            await followers.delete_place(tenant, place_name(webhook_id))
            break
    return Response(None, status_code=204)


@_route(
    "POST",
    f"{_ONE}/secret",
    "Rotate Webhook Secret",
    201,
    ResponseSpec("The new secret, which is shown only here", WebhookSecretBody),
    404,
    description="For 24 hours, messages are signed with the old secret too.",
)
async def rotate_secret(request: Request) -> JsonResponse:
    """Give a webhook a new secret. The old one signs for 24 hours more."""
    context, principal, now = context_of(request), principal_of(request), now_us()
    refuse_parameters(request.scope["query_string"])
    secret, valid_until = new_secret(), now + _OLD_SECRET_US

    async def rotate(webhook_id: str, webhook: Webhook) -> Webhook:
        _require_all(principal, webhook)
        old = [SealedSecret(each.sealed, valid_until) for each in webhook.secrets if each.valid_until is None]
        sealed = _sealed(context, principal.tenant, webhook_id, secret)
        return msgspec.structs.replace(webhook, secrets=(sealed, *old))

    webhook_id, webhook = await _change(request, rotate)
    body = webhook_body(webhook_id, webhook, now, None)
    made = WebhookSecretBody(id=webhook_id, old_secret_valid_until=body.old_secret_valid_until, secret=secret)
    return _answer(made, 201, _SECRET_HEADERS)


@_route(
    "POST",
    f"{_ONE}/test",
    "Test Webhook",
    200,
    ResponseSpec("What came of it", AttemptBody),
    404,
    description="Sends one event of the type whence.webhook_test now, which is not in the log.",
)
async def test_webhook(request: Request) -> JsonResponse:
    """Send one event of the type `whence.webhook_test` now. It is not in the log, and is not tried again."""
    context, principal, now = context_of(request), principal_of(request), now_us()
    refuse_parameters(request.scope["query_string"])
    definition, webhook = await _found(request)
    _require_all(principal, webhook)
    secrets = open_secrets(webhook, context.webhook_secrets, principal.tenant, definition.id, now)
    if not secrets:
        raise Forbidden(CANNOT_SIGN)
    event = _test_event(principal.tenant, definition.id, now)
    viewer = Viewer(principal.tenant)
    async with context.webhook_tests.place(principal.tenant):
        answer = await send_event(context.sender, webhook, event, viewer, secrets, context.grammar, stored=False)
    body = AttemptBody(
        answer=_text(answer.body),
        duration_ms=answer.duration_ms,
        error=answer.error,
        number=1,
        started_at=format_time(now),
        status=answer.status,
    )
    return _answer(body)


@_route(
    "GET",
    f"{_ONE}/deliveries",
    "List Deliveries",
    200,
    ResponseSpec("Deliveries by position", DeliveriesBody),
    404,
    query="deliveries",
)
async def list_deliveries(request: Request) -> JsonResponse:
    """The deliveries of a webhook by position. Finished ones are kept for 30 days."""
    context, principal = context_of(request), principal_of(request)
    places, viewer = context.streams.places, principal.viewer
    asked = parse_deliveries(request.scope["query_string"], viewer, places)
    definition, webhook = await _found(request)
    _require_all(principal, webhook)
    which = DeliveryFilter(definition.id, asked.after, tuple(n for n, name in _STATES.items() if name in asked.states))
    found = await context.store.followers.list_deliveries(principal.tenant, which, asked.limit + 1)
    shown = found[: asked.limit]
    next_after = places.value(viewer, shown[-1].position) if len(found) > len(shown) else None
    return _answer(DeliveriesBody(deliveries=[_delivery(request, each) for each in shown], next_after=next_after))


@_route(
    "GET",
    f"{_ONE}/deliveries/{{position:str}}",
    "Get Delivery",
    200,
    ResponseSpec("The delivery with its attempts", DeliveryDetailBody),
    404,
)
async def get_delivery(request: Request) -> JsonResponse:
    """A delivery with its attempts."""
    refuse_parameters(request.scope["query_string"])
    context, principal = context_of(request), principal_of(request)
    delivery = await _found_delivery(request)
    attempts = await context.store.followers.list_attempts(principal.tenant, delivery.webhook_id, delivery.position)
    body = DeliveryDetailBody(
        **msgspec.structs.asdict(_delivery(request, delivery)),
        event_id=await _event_id(context, principal.viewer, delivery.position),
        history=[_attempt(each) for each in attempts],
    )
    return _answer(body)


@_route(
    "POST",
    f"{_ONE}/deliveries/{{position:str}}/resend",
    "Resend Delivery",
    202,
    ResponseSpec("The delivery, which is pending", DeliveryBody),
    404,
)
async def resend_delivery(request: Request) -> JsonResponse:
    """Make a finished delivery again, with the same `webhook-id`. A pending one stays as it is."""
    refuse_parameters(request.scope["query_string"])
    context, tenant = context_of(request), principal_of(request).tenant
    delivery = await _found_delivery(request)
    if delivery.state != PENDING:
        which = DeliveryFilter(delivery.webhook_id, delivery.position - 1)
        await context.store.followers.retry_deliveries(tenant, which, now_us(), 1)
        await _change(request, _same)
        delivery = await _found_delivery(request)
    return _answer(_delivery(request, delivery), 202)


@_route(
    "POST",
    f"{_ONE}/replay",
    "Replay Deliveries",
    202,
    ResponseSpec("Where they begin", ReplayBody),
    404,
    body="NewReplay",
    description="The failed deliveries after a position, or of events since a time; with state all, every event that "
    "matches now, also those that were delivered.",
)
async def replay_deliveries(request: Request) -> JsonResponse:
    """Make failed deliveries again, or all of them. What is no longer kept as a delivery is read from the log again."""
    context, principal = context_of(request), principal_of(request)
    tenant, places, viewer = principal.tenant, context.streams.places, principal.viewer
    refuse_parameters(request.scope["query_string"])
    async with read_body(request, context.admission, tenant, _BODY_MAX) as body:
        check_json_media(request)
        asked = parse_replay(body, now_us())
    definition, webhook = await _found(request)
    _require_all(principal, webhook)
    after = await _position_of(context, viewer, asked)
    next_after = await _retry(context, tenant, definition.id, after, (DELIVERED, FAILED) if asked.every else (FAILED,))
    place = await context.store.followers.get_place(tenant, place_name(definition.id))
    done_at = 0 if place is None else msgspec.json.decode(place.state or b"{}", type=Progress).rewound_at

    async def rewind(_: str, webhook: Webhook) -> Webhook:
        if not asked.every:
            return webhook  # the next version wakes the worker
        before = webhook.rewind
        begin = after if before is None or before.asked_at <= done_at else min(after, before.after)
        return msgspec.structs.replace(webhook, rewind=Rewind(begin, now_us()))

    await _change(request, rewind)
    nowhere = next_after is None
    replayed = ReplayBody(
        after=places.value(viewer, after), next_after=None if nowhere else places.value(viewer, next_after or 0)
    )
    return _answer(replayed, 202)


ROUTES: list[HTTPRouteHandler] = [
    list_webhooks,
    create_webhook,
    get_webhook,
    change_webhook,
    delete_webhook,
    rotate_secret,
    test_webhook,
    list_deliveries,
    get_delivery,
    resend_delivery,
    replay_deliveries,
]
"""The handlers of this module."""


def _answer(body: msgspec.Struct, status: int = 200, headers: Sequence[tuple[str, str]] = ()) -> JsonResponse:
    return JsonResponse(msgspec.json.encode(body), status, headers)


def _decoded(definition: Definition) -> Webhook:
    return msgspec.json.decode(definition.body, type=Webhook)


def _id_of(request: Request) -> str:
    """The id of the webhook in the path. Raises NotFound for a text that can be none."""
    text = str(request.path_params["webhook_id"])
    if not is_uuid(text):
        raise NotFound("There is no such webhook.")
    return text.lower()


async def _found(request: Request) -> tuple[Definition, Webhook]:
    """The webhook that the path names. Raises NotFound."""
    tenant = principal_of(request).tenant
    found = await context_of(request).store.followers.get_definition(tenant, WEBHOOK, _id_of(request))
    if found is None:
        raise NotFound("There is no such webhook.")
    return found, _decoded(found)


async def _found_delivery(request: Request) -> Delivery:
    """The delivery that the path names. Raises NotFound, and Forbidden as `_require_all`."""
    context, principal = context_of(request), principal_of(request)
    definition, webhook = await _found(request)
    _require_all(principal, webhook)
    position = context.streams.places.position(principal.viewer, str(request.path_params["position"]))
    delivery = None
    if position is not None:
        delivery = await context.store.followers.get_delivery(principal.tenant, definition.id, position)
    if delivery is None:
        raise NotFound("There is no such delivery. Finished ones are kept for 30 days.")
    return delivery


async def _change(request: Request, change: Callable[[str, Webhook], Awaitable[Webhook]]) -> tuple[str, Webhook]:
    """Store the webhook as `change` makes it of the present one. Somebody else's change at the same time is kept, too.
    Raises NotFound and Busy."""
    for _ in range(_CHANGES_TRIED):
        definition, webhook = await _found(request)
        changed = await change(definition.id, webhook)
        following = msgspec.structs.replace(
            definition, version=definition.version + 1, body=msgspec.json.encode(changed)
        )
        if await context_of(request).store.followers.put_definition(following):
            return definition.id, changed
    raise Busy("Others change this webhook at the same time; send this again in a moment.")


async def _same(_: str, webhook: Webhook) -> Webhook:
    """No change but of the version, which wakes the worker."""
    return webhook


def _require_all(principal: Principal, webhook: Webhook) -> None:
    """Raise Forbidden unless the credential may read every event that the webhook sends."""
    if not principal.reads_all(webhook.readable):
        raise Forbidden("This webhook sends events that this credential may not read.")


async def _check_target(context: AppContext, webhook: Webhook, tenant: str) -> None:
    """Raise Invalid if the URL may not be called."""
    try:
        await context.sender.check(webhook.target, tenant)
    except TargetRefused as error:
        raise Invalid.at(("body", "url"), str(error), "url_refused") from None


def _sealed(context: AppContext, tenant: str, webhook_id: str, secret: str) -> SealedSecret:
    return SealedSecret(context.webhook_secrets.seal(secret.encode(), secret_bound(tenant, webhook_id)))


async def _body(context: AppContext, tenant: str, webhook_id: str, webhook: Webhook) -> WebhookBody:
    """The body of a webhook, with the reason if it stands still."""
    now = now_us()
    key = await context.store.credentials.get_key(webhook.key_id)
    stands_still = None
    if readable_by(key, tenant, webhook.readable, now) == ():
        stands_still = KEY_GONE
    elif not open_secrets(webhook, context.webhook_secrets, tenant, webhook_id, now):
        stands_still = CANNOT_SIGN
    return webhook_body(webhook_id, webhook, now, stands_still)


async def _position_of(context: AppContext, viewer: Viewer, asked: ReplayRequest) -> int:
    """The position after which deliveries are made again. Raises Invalid for what is none."""
    if asked.since is not None:
        return await context.store.position_before(viewer.tenant, asked.since)
    position = context.streams.places.position(viewer, asked.after or "")
    if position is None:
        raise Invalid.at(("body", "after"), "This is no position that this credential was given.", "place")
    return position


async def _retry(context: AppContext, tenant: str, webhook_id: str, after: int, states: tuple[int, ...]) -> int | None:
    """Make deliveries again, as many as one request may. Returns the position after which to go on, or None."""
    until = time.monotonic() + _REPLAY_S
    while time.monotonic() < until:
        which = DeliveryFilter(webhook_id, after, states)
        last = await context.store.followers.retry_deliveries(tenant, which, now_us(), _PART)
        if last is None:
            return None
        after = last
    return after


def _test_event(tenant: str, webhook_id: str, now: int) -> Event:
    return Event(
        tenant_id=tenant,
        position=0,
        id=new_uuid7(),
        event_type="whence.webhook_test",
        actor_type="system",
        actor_id="whence",
        resource_type=EVENT_LOG,
        resource_id=derived_uuid(tenant, EVENT_LOG),
        correlation_id=webhook_id,
        causation_id=None,
        outcome="none",
        occurred_at=now,
        recorded_at=now,
        payload=msgspec.json.encode({"webhookId": webhook_id}),
    )


def _delivery(request: Request, delivery: Delivery) -> DeliveryBody:
    """The body of a delivery; the position as the credential may know it."""
    viewer = principal_of(request).viewer
    return DeliveryBody(
        attempts=delivery.attempts_in_all,
        changed_at=format_time(delivery.changed_at),
        due_at=format_time(delivery.due_at) if delivery.state == PENDING else None,
        position=context_of(request).streams.places.value(viewer, delivery.position),
        state=_STATES[delivery.state],
    )


def _attempt(attempt: Attempt) -> AttemptBody:
    return AttemptBody(
        answer=_text(attempt.answer),
        duration_ms=attempt.duration_ms,
        error=attempt.error,
        number=attempt.number,
        started_at=format_time(attempt.started_at),
        status=attempt.status,
    )


def _text(answer: bytes) -> str:
    """The beginning of an answer as text, in whatever it was."""
    return answer.decode("utf-8", "replace")


async def _event_id(context: AppContext, viewer: Viewer, position: int) -> str | None:
    with contextlib.suppress(PositionGone, Invalid):
        page = await context.store.read_feed(viewer, Query(), position - 1, 1)
        if page.events and page.events[0].position == position:
            return page.events[0].id
    return None
