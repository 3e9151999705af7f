"""The JSON schemas of requests about alert rules, which no Struct declares: `wire.alerts` parses them by hand."""

from whence.alerts import PER, THRESHOLD_MAX, WINDOW_MAX_S
from whence.api.operation import Json, ref
from whence.events import EVENT_TYPE_MAX, EVENT_TYPE_PATTERN, OUTCOMES
from whence.wire.alerts import NAME_MAX, OVER_PATTERN
from whence.wire.filters import FILTER_NAMES
from whence.wire.parameters import TEXT_SCHEMA, VALUES_MAX

__all__ = ["alert_schemas"]

_UUID: Json = {"type": "string", "format": "uuid"}
_VALUES: Json = {
    "eventType": {
        "type": "string",
        "pattern": rf"^({EVENT_TYPE_PATTERN}|[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*){{0,3}}\.\*)$",
        "maxLength": EVENT_TYPE_MAX,
    },
    "resourceType": ref("ResourceType"),
    "resourceId": _UUID,
    "actorType": ref("ActorType"),
    "outcome": {"type": "string", "enum": list(OUTCOMES)},
}
_WINDOW: Json = {"type": "integer", "minimum": 1, "maximum": WINDOW_MAX_S, "description": "Seconds."}
_THRESHOLD: Json = {"type": "integer", "minimum": 2, "maximum": THRESHOLD_MAX}


def alert_schemas() -> Json:
    """The component schemas by their names."""
    rule = {
        "name": {"type": "string", "minLength": 1, "maxLength": NAME_MAX},
        "filters": ref("AlertFilters"),
        "condition": ref("NewAlertCondition"),
    }
    return {
        "AlertFilters": {
            "type": "object",
            "description": "As in lists. Values of one filter are alternatives; different filters must all match.",
            "additionalProperties": False,
            "properties": {name: _filter(_VALUES.get(name, TEXT_SCHEMA)) for name in FILTER_NAMES},
        },
        "NewAlertCondition": {
            "oneOf": [
                _condition("match", "Fires for every matching event."),
                _condition("count", "Fires for so many events in a window.", threshold=_THRESHOLD, windowS=_WINDOW),
                _condition("first_seen", "Fires for the first event of each key."),
                _condition("absence", "Fires when no event was recorded for a window.", windowS=_WINDOW),
            ]
        },
        "NewAlertRule": _object(rule, "name", "condition"),
        "AlertRuleChange": _object({**rule, "takeOver": {"type": "boolean", "default": False}}),
        "AlertTest": {
            **_object(
                {
                    "rule": _object(rule, "condition"),
                    "ruleId": _UUID,
                    "over": {
                        "type": "string",
                        "pattern": f"^{OVER_PATTERN}$",
                        "description": "How far back the test begins, such as 90m, 24h or 7d.",
                    },
                    "continuation": {"anyOf": [{"type": "string"}, {"type": "null"}]},
                },
                "over",
            ),
            "oneOf": [{"required": ["rule"]}, {"required": ["ruleId"]}],
        },
    }


def _object(properties: Json, *required: str) -> Json:
    return {"type": "object", "additionalProperties": False, "required": [*required], "properties": properties}


def _filter(value: Json) -> Json:
    return {"anyOf": [value, {"type": "array", "items": value, "minItems": 1, "maxItems": VALUES_MAX}]}


def _condition(kind: str, description: str, **properties: Json) -> Json:
    needed = [*properties]
    if PER[kind]:
        per: Json = {"type": "string", "enum": list(PER[kind]), "description": "What events are grouped by."}
        properties["per"] = per if kind == "first_seen" else {"anyOf": [per, {"type": "null"}]}
        needed += ["per"] if kind == "first_seen" else []
    absent: Json = {name: {"type": "null"} for name in ("per", "threshold", "windowS")}
    schema = _object({"kind": {"const": kind}, **absent, **properties}, "kind", *needed)
    return {**schema, "description": description}
