"""The alert rules of a tenant: `Whence.alert_rules` and `AsyncWhence.alert_rules`."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, Literal, Required, TypedDict, Unpack
from urllib.parse import quote
from uuid import UUID

import msgspec

from whence.client.requests import JSON, ApiRequest, FieldFilters, filters_object
from whence.client.responses import ApiResponse, error_of, parse_body
from whence.errors import WhenceError
from whence.wire.alert_bodies import AlertBody, AlertRuleBody, AlertRuleDetailBody, AlertRulesBody, AlertTestResultBody

__all__ = ["AlertCondition", "AlertRules", "AsyncAlertRules", "alerts_of_test"]

_RULES = "/api/v1/alert-rules"
_ERROR = 400


class AlertCondition(TypedDict, total=False):
    """When a rule fires: `match` for every event, `count` for `threshold` events in `window_s` seconds, `first_seen`
    for the first event of each key, `absence` when none was recorded for `window_s` seconds. `per` is what events are
    grouped by.
    """

    kind: Required[Literal["match", "count", "first_seen", "absence"]]
    per: Literal["actor", "resource", "correlation", "eventType"]
    threshold: int
    window_s: int


class AlertRules:
    """The alert rules of the tenant, for a credential with the scope admin. Every call raises the error of a refusal:
    NotFound for an unknown rule, Forbidden for one that watches events which the credential may not read."""

    def __init__(self, send: Callable[[ApiRequest], ApiResponse]) -> None:
        self._send = send

    def list(self) -> list[AlertRuleBody]:
        """All of them, oldest first."""
        return parse_body(self._send(_request("GET")), AlertRulesBody).rules

    def get(self, rule_id: str | UUID) -> AlertRuleDetailBody:
        """An alert rule and its state."""
        return parse_body(self._send(_request("GET", rule_id)), AlertRuleDetailBody)

    def create(self, name: str, condition: AlertCondition, **filters: Unpack[FieldFilters]) -> AlertRuleBody:
        """Make an alert rule, for the events that are stored from now on and match the filters.

        It sees what the client's API key may read, and stops with that key.
        """
        body = {"name": name, "condition": _condition(condition), "filters": filters_object(**filters)}
        return parse_body(self._send(_request("POST", body=body)), AlertRuleBody)

    def update(
        self,
        rule_id: str | UUID,
        *,
        name: str | None = None,
        condition: AlertCondition | None = None,
        filters: FieldFilters | None = None,
        take_over: bool = False,
    ) -> AlertRuleBody:
        """Change the fields of an alert rule that are given. With `take_over` it goes on with the client's API key."""
        body = _change(name, condition, filters, take_over=take_over)
        return parse_body(self._send(_request("PATCH", rule_id, body)), AlertRuleBody)

    def delete(self, rule_id: str | UUID) -> None:
        """Delete an alert rule. Its alerts stay in the log."""
        _raise_error(self._send(_request("DELETE", rule_id)))

    def test(
        self, rule: str | UUID | AlertCondition, *, over: str, **filters: Unpack[FieldFilters]
    ) -> Iterator[AlertBody]:
        """The alerts that a rule would have given in the past, from so long ago (`90m`, `24h`, `7d`) to now.

        `rule` is the id of a rule, or a condition for the events that match the filters. Raises WhenceError at the end
        if the server had to forget keys that were too many.
        """
        return alerts_of_test(self._send, _test(rule, filters, over))


class AsyncAlertRules:
    """As `AlertRules`, for asyncio."""

    def __init__(self, send: Callable[[ApiRequest], Awaitable[ApiResponse]]) -> None:
        self._send = send

    async def list(self) -> list[AlertRuleBody]:
        """As `AlertRules.list`."""
        return parse_body(await self._send(_request("GET")), AlertRulesBody).rules

    async def get(self, rule_id: str | UUID) -> AlertRuleDetailBody:
        """As `AlertRules.get`."""
        return parse_body(await self._send(_request("GET", rule_id)), AlertRuleDetailBody)

    async def create(self, name: str, condition: AlertCondition, **filters: Unpack[FieldFilters]) -> AlertRuleBody:
        """As `AlertRules.create`."""
        body = {"name": name, "condition": _condition(condition), "filters": filters_object(**filters)}
        return parse_body(await self._send(_request("POST", body=body)), AlertRuleBody)

    async def update(
        self,
        rule_id: str | UUID,
        *,
        name: str | None = None,
        condition: AlertCondition | None = None,
        filters: FieldFilters | None = None,
        take_over: bool = False,
    ) -> AlertRuleBody:
        """As `AlertRules.update`."""
        body = _change(name, condition, filters, take_over=take_over)
        return parse_body(await self._send(_request("PATCH", rule_id, body)), AlertRuleBody)

    async def delete(self, rule_id: str | UUID) -> None:
        """As `AlertRules.delete`."""
        _raise_error(await self._send(_request("DELETE", rule_id)))

    async def test(
        self, rule: str | UUID | AlertCondition, *, over: str, **filters: Unpack[FieldFilters]
    ) -> AsyncIterator[AlertBody]:
        """As `AlertRules.test`."""
        body, continuation = _test(rule, filters, over), None
        while True:
            request = _test_request({**body, "continuation": continuation})
            part = parse_body(await self._send(request), AlertTestResultBody)
            for alert in part.alerts:
                yield alert
            continuation = part.continuation
            if continuation is None:
                _require_exact(part)
                return


def alerts_of_test(send: Callable[[ApiRequest], ApiResponse], body: dict[str, Any]) -> Iterator[AlertBody]:
    """The alerts of a test with this body, part by part. Raises WhenceError at the end if the test was not exact."""
    continuation: str | None = None
    while True:
        part = parse_body(send(_test_request({**body, "continuation": continuation})), AlertTestResultBody)
        yield from part.alerts
        continuation = part.continuation
        if continuation is None:
            _require_exact(part)
            return


def _request(method: str, rule_id: str | UUID | None = None, body: dict[str, Any] | None = None) -> ApiRequest:
    """A request about a rule, or about all of them. Only a new rule is one more each time it is sent."""
    return ApiRequest(
        method=method,
        path=_RULES if rule_id is None else f"{_RULES}/{quote(str(rule_id), safe='')}",
        content=b"" if body is None else msgspec.json.encode(body),
        content_type=None if body is None else JSON,
        repeatable=method != "POST",
    )


def _test_request(body: dict[str, Any]) -> ApiRequest:
    return ApiRequest(method="POST", path=f"{_RULES}/test", content=msgspec.json.encode(body), content_type=JSON)


def _condition(condition: AlertCondition) -> dict[str, Any]:
    return {"windowS" if name == "window_s" else name: value for name, value in condition.items()}


def _change(
    name: str | None, condition: AlertCondition | None, filters: FieldFilters | None, *, take_over: bool
) -> dict[str, Any]:
    fields = {
        "name": name,
        "condition": None if condition is None else _condition(condition),
        "filters": None if filters is None else filters_object(**filters),
        "takeOver": take_over or None,
    }
    return {name: value for name, value in fields.items() if value is not None}


def _test(rule: str | UUID | AlertCondition, filters: FieldFilters, over: str) -> dict[str, Any]:
    if isinstance(rule, str | UUID):
        return {"ruleId": str(rule), "over": over}
    return {"rule": {"condition": _condition(rule), "filters": filters_object(**filters)}, "over": over}


def _require_exact(part: AlertTestResultBody) -> None:
    if part.dropped_keys:
        raise WhenceError(
            f"{part.dropped_keys} keys were too many to remember, so alerts may be missing. Narrow the filters."
        )


def _raise_error(response: ApiResponse) -> None:
    if response.status >= _ERROR:
        raise error_of(response)
