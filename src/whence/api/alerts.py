"""The routes of alert rules, for the scope admin. A rule sees what the API key that made it may read, and stops with
that key. `POST /api/v1/alert-rules/test` says when a rule would have fired in the past."""

import time
from functools import partial
from typing import Any

import msgspec
from litestar import Response, delete, patch, post
from litestar.handlers import HTTPRouteHandler

from whence.alerting import KIND, Reading, is_askable, place_name, rule_of, state_of
from whence.alerts import FIRED, AlertRule, Condition, key_fields, new_judge
from whence.api.context import AppContext, context_of, now_us, principal_of
from whence.api.credentials import check_json_media
from whence.api.operation import ResponseSpec, entries_of, ref
from whence.api.request import Request
from whence.api.request_body import read_body
from whence.api.responses import JSON, JsonResponse
from whence.errors import Busy, Forbidden, Invalid, NotFound
from whence.events import Query, Viewer
from whence.permissions import ADMIN, READ, Principal, readable_by
from whence.storage.followers import Definition
from whence.wire.alert_bodies import (
    AlertRuleBody,
    AlertRuleDetailBody,
    AlertRulesBody,
    AlertTestResultBody,
    FiringBody,
)
from whence.wire.alerts import RuleFields, TestRequest, alert_body, parse_rule, parse_test, rule_body
from whence.wire.ids import derived_uuid, new_uuid7, parse_uuid
from whence.wire.query import refuse_parameters

__all__ = ["ROUTES"]

_PATH = "/api/v1/alert-rules"
_BODY_MAX = 64 * 1024
_TEST_BODY_MAX = 8 * 1024 * 1024
_TRIES = 5
_FIRING_SHOWN = 100

_POSITIONS = 20_000
_PART = 500
_ALERTS_SHOWN = 1_000
_SECONDS = 0.5

_ENDED = "The API key that made this rule has ended. Change the rule with takeOver, by another key."


_operation = partial(entries_of, "Alerts", ADMIN)


@HTTPRouteHandler(
    _PATH,
    http_method=["GET", "HEAD"],
    status_code=200,
    opt=_operation("List Alert Rules", 200, ResponseSpec("The rules, oldest first", AlertRulesBody), 422),
)
async def list_rules(request: Request) -> JsonResponse:
    """The tenant's alert rules, oldest first."""
    refuse_parameters(request.scope["query_string"])
    context, tenant = context_of(request), principal_of(request).tenant
    found = await context.store.followers.list_definitions(KIND, tenant)
    rules = {each.id: rule_of(each) for each in sorted(found, key=lambda each: each.id)}
    by_key = {(rule.key_id, rule.readable): rule for rule in rules.values()}
    reasons = {key: await _stands_still(context, tenant, rule) for key, rule in by_key.items()}
    shown = [rule_body(rule_id, rule, reasons[rule.key_id, rule.readable]) for rule_id, rule in rules.items()]
    body = msgspec.json.encode(AlertRulesBody(rules=shown))
    context.admission.hold_answer(request, tenant, len(body))
    return JsonResponse(body)


@post(
    _PATH,
    opt=_operation(
        "Create Alert Rule",
        201,
        ResponseSpec("The rule", AlertRuleBody),
        *(413, 415, 422),
        request_content={JSON: ref("NewAlertRule")},
    ),
)
async def create_rule(request: Request) -> JsonResponse:
    """Make a rule, which watches the events that are stored from now on."""
    refuse_parameters(request.scope["query_string"])
    context, principal = context_of(request), principal_of(request)
    key_id = principal.own_key()
    async with read_body(request, context.admission, principal.tenant, _BODY_MAX) as body:
        check_json_media(request)
        asked = parse_rule(body, context.vocabulary, new=True)
    now = now_us()
    rule = _changed(
        AlertRule(
            name="",
            query=Query(),
            condition=Condition(kind="match"),
            key_id=key_id,
            readable=principal.readable,
            after=(await context.store.head(principal.tenant)).size,
            created_at=now,
            changed_at=now,
        ),
        asked,
        principal.tenant,
    )
    rule_id = new_uuid7()
    definition = Definition(principal.tenant, KIND, rule_id, 1, msgspec.json.encode(rule))
    if not await context.store.followers.put_definition(definition):
        raise Busy("The rule could not be stored. Send it again.")
    answer = msgspec.json.encode(rule_body(rule_id, rule, None))
    return JsonResponse(answer, 201, [("location", f"{request.scope['state']['root_path']}{_PATH}/{rule_id}")])


@HTTPRouteHandler(
    _PATH + "/{rule_id:str}",
    http_method=["GET", "HEAD"],
    status_code=200,
    opt=_operation("Get Alert Rule", 200, ResponseSpec("The rule and its state", AlertRuleDetailBody), 404, 422),
)
async def get_rule(request: Request) -> JsonResponse:
    """A rule, and what it remembers."""
    refuse_parameters(request.scope["query_string"])
    definition, rule = await _rule(request)
    return JsonResponse(msgspec.json.encode(await _detail(request, definition.id, rule)))


@patch(
    _PATH + "/{rule_id:str}",
    status_code=200,
    opt=_operation(
        "Change Alert Rule",
        200,
        ResponseSpec("The changed rule", AlertRuleBody),
        *(404, 413, 415, 422),
        request_content={JSON: ref("AlertRuleChange")},
    ),
)
async def change_rule(request: Request) -> JsonResponse:
    """Change some fields of a rule. Another filter or condition begins anew where the rule has read to: alerts that
    have fired resolve. With `takeOver` the rule goes on with the key of this request."""
    refuse_parameters(request.scope["query_string"])
    context, principal = context_of(request), principal_of(request)
    async with read_body(request, context.admission, principal.tenant, _BODY_MAX) as body:
        check_json_media(request)
        asked = parse_rule(body, context.vocabulary, new=False)
    for _ in range(_TRIES):
        definition, rule = await _rule(request)
        if asked.take_over:
            rule = msgspec.structs.replace(rule, key_id=principal.own_key(), readable=principal.readable)
        elif not principal.reads_all(rule.readable):
            raise Forbidden("The rule watches events that this credential may not read. Send takeOver to change it.")
        changed = _changed(msgspec.structs.replace(rule, changed_at=now_us()), asked, principal.tenant)
        next_one = msgspec.structs.replace(
            definition, version=definition.version + 1, body=msgspec.json.encode(changed)
        )
        if await context.store.followers.put_definition(next_one):
            stands_still = await _stands_still(context, principal.tenant, changed)
            return JsonResponse(msgspec.json.encode(rule_body(definition.id, changed, stands_still)))
    raise Busy("The rule is being changed by others at the same time. Send it again.")


@delete(
    _PATH + "/{rule_id:str}",
    status_code=204,
    opt=_operation("Delete Alert Rule", 204, ResponseSpec("Deleted"), 404, 422),
)
async def delete_rule(request: Request) -> Response[None]:
    """Delete a rule. Its alerts stay in the log as they are; those that fire do not resolve."""
    refuse_parameters(request.scope["query_string"])
    context, tenant = context_of(request), principal_of(request).tenant
    definition, _ = await _rule(request)
    await context.store.followers.delete_definition(tenant, KIND, definition.id)
    await context.store.followers.delete_place(tenant, place_name(definition.id))
    return Response(None, status_code=204)


class _TestState(msgspec.Struct, frozen=True, array_like=True):
    """Where a test goes on: its position, the position from which on its alerts count, and the state of its judge."""

    position: int
    silent_to: int
    judge: bytes


@post(
    _PATH + "/test",
    status_code=200,
    opt=_operation(
        "Test Alert Rule",
        200,
        ResponseSpec("The alerts that the rule would have given", AlertTestResultBody),
        *(404, 413, 415, 422),
        request_content={JSON: ref("AlertTest")},
    ),
)
async def test_rule(request: Request) -> JsonResponse:
    """When a rule would have fired in the past. It is judged as the follower does, on the events that were recorded
    since then. Long pasts take several requests, each with the `continuation` of the one before."""
    refuse_parameters(request.scope["query_string"])
    context, principal, now = context_of(request), principal_of(request), now_us()
    principal.require(READ)
    async with read_body(request, context.admission, principal.tenant, _TEST_BODY_MAX) as body:
        check_json_media(request)
        async with context.admission.turns.place(principal.tenant):  # a continuation has megabytes
            asked = parse_test(body, context.vocabulary)
    await context.recorder.read(principal, request.scope["state"]["public_path"], b"", now)
    query, condition = await _tested(request, asked)
    bound = msgspec.json.encode(("alert test", principal.tenant, principal.readable, query, condition, asked.over_us))
    if asked.continuation is None:
        state = await _begin(context, principal.viewer, condition, now - asked.over_us)
    else:
        state = _go_on(context, asked.continuation, bound)
    judge = new_judge(condition, now - asked.over_us - condition.window_us, state.judge)
    reading = Reading(context.store, principal.viewer, query, judge, state.position, state.silent_to)
    until, positions = time.monotonic() + _SECONDS, state.position + _POSITIONS
    more = True
    while more and len(reading.found) < _ALERTS_SHOWN and time.monotonic() < until and reading.position < positions:
        async with context.admission.page_place(principal.tenant, indexed=True):
            more = await reading.read(_PART, now)
    left = _TestState(reading.position, state.silent_to, judge.state())
    answer = msgspec.json.encode(
        AlertTestResultBody(
            alerts=[alert_body(condition, transition) for transition in reading.found],
            continuation=context.cursors.seal(msgspec.msgpack.encode(left), bound) if more else None,
            dropped_keys=judge.dropped,
        )
    )
    context.admission.hold_answer(request, principal.tenant, len(answer))
    return JsonResponse(answer)


ROUTES: list[HTTPRouteHandler] = [list_rules, create_rule, get_rule, change_rule, delete_rule, test_rule]
"""The handlers of this module."""


def _changed(rule: AlertRule, asked: RuleFields, tenant: str) -> AlertRule:
    """A rule with the fields that were sent. Raises Invalid for a first event that costs much to find."""
    changes = {
        name: value for name in ("name", "query", "condition") if (value := getattr(asked, name)) is not msgspec.UNSET
    }
    changed = msgspec.structs.replace(rule, **changes)
    _require_askable(changed.query, changed.condition, Viewer(tenant, changed.readable))
    return changed


def _require_askable(query: Query, condition: Condition, viewer: Viewer) -> None:
    if condition.kind == "first_seen" and not is_askable(query, condition, viewer):
        allowed = {
            "actor": "eventType, resourceType, actorType, actorId and outcome",
            "resource": "resourceType and resourceId",
            "eventType": "eventType, resourceType, actorType and outcome",
        }[condition.per or ""]
        sentence = f"For the first event of each {condition.per}, no other filters are indexed than {allowed}."
        raise Invalid.at(("body", "filters"), sentence, "not_indexed")


async def _rule(request: Request) -> tuple[Definition, AlertRule]:
    """The rule that the path names. Raises NotFound."""
    text = str(request.path_params["rule_id"])
    try:
        rule_id = parse_uuid(text)
    except ValueError as error:
        raise Invalid.at(("path", "rule_id"), str(error), "uuid_parsing") from None
    followers = context_of(request).store.followers
    definition = await followers.get_definition(principal_of(request).tenant, KIND, rule_id)
    if definition is None:
        raise NotFound("There is no alert rule with this id.")
    return definition, rule_of(definition)


async def _stands_still(context: AppContext, tenant: str, rule: AlertRule) -> str | None:
    """Why a rule does nothing, if it does."""
    key = await context.store.credentials.get_key(rule.key_id)
    return _ENDED if readable_by(key, tenant, rule.readable, now_us()) == () else None


async def _detail(request: Request, rule_id: str, rule: AlertRule) -> AlertRuleDetailBody:
    context, principal = context_of(request), principal_of(request)
    plain = rule_body(rule_id, rule, await _stands_still(context, principal.tenant, rule))
    state = await _state(context, principal, rule_id, rule) if principal.reads_all(rule.readable) else {}
    names = ("dropped_keys", "firing", "firing_total", "missed_before", "read_to", "refused_alerts")
    fields: dict[str, Any] = msgspec.structs.asdict(plain) | dict.fromkeys(names) | state
    return AlertRuleDetailBody(**fields)


async def _state(context: AppContext, principal: Principal, rule_id: str, rule: AlertRule) -> dict[str, Any]:
    """What a rule remembers, as fields of `AlertRuleDetailBody`."""
    place = await context.store.followers.get_place(principal.tenant, place_name(rule_id))
    state = state_of(place)
    same = state is not None and (state.query, state.condition) == (rule.query, rule.condition)
    judge = new_judge(rule.condition, rule.changed_at, state.judge if state is not None and same else b"")
    firing = list(judge.firing())
    places, missed_before = context.streams.places, 0 if state is None else state.missed_before
    return {
        "dropped_keys": judge.dropped,
        "firing": [
            FiringBody(
                alert_id=derived_uuid(principal.tenant, FIRED, rule_id, alert.source),
                key=key_fields(rule.condition.per, alert.key),
            )
            for alert in firing[:_FIRING_SHOWN]
        ],
        "firing_total": len(firing),
        "missed_before": places.value(principal.viewer, missed_before) if missed_before else None,
        "read_to": places.value(principal.viewer, rule.after if place is None else place.position),
        "refused_alerts": 0 if state is None else state.refused,
    }


async def _tested(request: Request, asked: TestRequest) -> tuple[Query, Condition]:
    """The filter and the condition that are tried. Raises NotFound, and Invalid as for a new rule."""
    principal = principal_of(request)
    if asked.rule is None:
        try:
            rule_id = parse_uuid(asked.rule_id)
        except ValueError as error:
            raise Invalid.at(("body", "ruleId"), str(error), "uuid_parsing") from None
        definition = await context_of(request).store.followers.get_definition(principal.tenant, KIND, rule_id)
        if definition is None:
            raise NotFound("There is no alert rule with this id.")
        rule = rule_of(definition)
        query, condition = rule.query, rule.condition
    else:
        query = Query() if isinstance(asked.rule.query, msgspec.UnsetType) else asked.rule.query
        condition = asked.rule.condition if isinstance(asked.rule.condition, Condition) else Condition(kind="match")
    _require_askable(query, condition, principal.viewer)
    return query, condition


def _go_on(context: AppContext, continuation: str, bound: bytes) -> _TestState:
    """Where a test goes on. Raises Invalid for the continuation of another test."""
    opened = context.cursors.open(continuation, bound)
    if opened is None:
        sentence = "The continuation is damaged or belongs to another test; start without it."
        raise Invalid.at(("body", "continuation"), sentence, "cursor")
    return msgspec.msgpack.decode(opened, type=_TestState)


async def _begin(context: AppContext, viewer: Viewer, condition: Condition, since: int) -> _TestState:
    """Where a test begins that counts alerts since this time: a window earlier, as a rule that was there then."""
    store = context.store
    silent_to = await store.position_before(viewer.tenant, since)
    position = await store.position_before(viewer.tenant, since - condition.window_us)
    return _TestState(position, silent_to, b"")
