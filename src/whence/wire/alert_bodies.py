"""The JSON bodies of alert rules, as a server answers them."""

from typing import Literal

from whence.wire.bodies import TimeText, WireBody

__all__ = [
    "AlertBody",
    "AlertConditionBody",
    "AlertRuleBody",
    "AlertRuleDetailBody",
    "AlertRulesBody",
    "AlertTestResultBody",
    "FiringBody",
]


class AlertConditionBody(WireBody, frozen=True, kw_only=True):
    """When a rule fires. `per` is what events are grouped by; `threshold` and `windowS` are null where a kind has
    none."""

    kind: Literal["match", "count", "first_seen", "absence"]
    per: Literal["actor", "resource", "correlation", "eventType"] | None
    threshold: int | None
    window_s: int | None


class AlertRuleBody(WireBody, frozen=True, kw_only=True):
    """An alert rule. `standsStill` says why it does nothing, or is null."""

    changed_at: TimeText
    condition: AlertConditionBody
    created_at: TimeText
    filters: dict[str, list[str]]
    id: str
    key_id: str
    name: str
    stands_still: str | None


class FiringBody(WireBody, frozen=True, kw_only=True):
    """An alert that has fired and not resolved: its key, and the event about it."""

    alert_id: str
    key: dict[str, str]


class AlertRuleDetailBody(AlertRuleBody, frozen=True, kw_only=True):
    """An alert rule and what it remembers. `readTo` is the position up to which it has judged the log. `firing` names
    at most 100 alerts, of `firingTotal`. `droppedKeys` counts what had to be forgotten before its time, and
    `refusedAlerts` the events that the log did not take. `missedBefore` is the position before which events were no
    longer kept when the rule came to them. All of these are null for a credential that may not read every event that
    the rule watches."""

    dropped_keys: int | None
    firing: list[FiringBody] | None
    firing_total: int | None
    missed_before: int | str | None
    read_to: int | str | None
    refused_alerts: int | None


class AlertRulesBody(WireBody, frozen=True, kw_only=True):
    """The tenant's alert rules, oldest first."""

    rules: list[AlertRuleBody]


class AlertBody(WireBody, frozen=True, kw_only=True):
    """An alert as a rule would have given it."""

    at: TimeText
    causation_id: str | None
    count: int
    event_ids: list[str]
    key: dict[str, str]
    type: Literal["fired", "resolved"]


class AlertTestResultBody(WireBody, frozen=True, kw_only=True):
    """What a rule would have done, up to now if `continuation` is null. Else the same request with it goes on.
    `droppedKeys` counts what had to be forgotten before its time."""

    alerts: list[AlertBody]
    continuation: str | None
    dropped_keys: int
