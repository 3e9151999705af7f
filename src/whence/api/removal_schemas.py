"""The schemas of requests about retention, holds and erasures, which `wire.removals` parses by hand, and examples."""

from whence.api.operation import Json
from whence.events import EVENT_TYPE_MAX, EVENT_TYPE_PATTERN
from whence.retention import AGE_DAYS_MAX, EVENT_IDS_MAX, RULES_MAX
from whence.wire.query_language import TEXT_LENGTH_MAX
from whence.wire.removals import REASON_MAX

__all__ = ["REMOVAL_REQUESTS", "REMOVAL_RESPONSES", "removal_schemas"]

_BY: Json = {"actorId": "key_8Zx2LqVn5tRb0WcY", "actorType": "api_key"}
_HOLD_FIELDS: Json = {"q": "flow:order-17", "reason": "Case 2026-4"}
_RULE: Json = {"eventType": "chat_thread.*", "maxAgeDays": 30}
_REMOVAL: Json = {
    "by": _BY,
    "createdAt": "2026-01-02T03:04:05Z",
    "events": 0,
    "finishedAt": "2026-01-02T03:04:07Z",
    "held": 0,
    "id": "01941f29-0000-7aaa-8000-000000000006",
    "kind": "erasure",
    "payloads": 2,
    "pseudonym": None,
    "reason": "Request 2026-117",
    "renamedEvents": None,
    "sealed": True,
    "state": "done",
    "waitsFor": None,
}

REMOVAL_REQUESTS: dict[str, Json] = {
    "NewErasure": {"q": "actor:user/u-17", "reason": "Request 2026-117"},
    "NewHold": _HOLD_FIELDS,
    "RetentionPolicy": {"maxAgeDays": 365, "rules": [_RULE]},
}
"""Bodies of requests, by the names of their schemas."""

REMOVAL_RESPONSES: dict[str, Json] = {
    "ErasurePreview": {"exact": True, "held": 0, "payloads": 2},
    "Hold": _HOLD_FIELDS
    | {"by": _BY, "createdAt": "2026-01-02T03:04:05Z", "id": "01941f29-0000-7aaa-8000-000000000005"},
    "Removal": _REMOVAL,
    "Removals": {"erasures": [_REMOVAL]},
    "Retention": {"maxAgeDays": 365, "rules": [_RULE], "runs": [], "source": "tenant"},
    "RetentionPreview": {
        "events": 0,
        "exact": True,
        "held": 0,
        "newest": None,
        "oldest": None,
        "payloads": 0,
    },
}
REMOVAL_RESPONSES["Holds"] = {"holds": [REMOVAL_RESPONSES["Hold"]]}
"""Bodies of answers, by the names of their schemas."""


_DAYS: Json = {"type": "integer", "minimum": 1, "maximum": AGE_DAYS_MAX}
_Q: Json = {
    "type": "string",
    "minLength": 1,
    "maxLength": TEXT_LENGTH_MAX,
    "description": "Which events, in the query language. Relative times are counted from the request.",
}
_REASON: Json = {
    "type": "string",
    "minLength": 1,
    "maxLength": REASON_MAX,
    "description": "Why. It stays in the log, so it should name no person.",
}
_IDS: Json = {
    "type": "array",
    "items": {"type": "string", "format": "uuid"},
    "minItems": 1,
    "maxItems": EVENT_IDS_MAX,
}


def removal_schemas() -> dict[str, Json]:
    """The schemas of requests that no Struct declares."""
    erasure = _object(
        {
            "dryRun": {"type": "boolean", "default": False, "description": "Only say what would be erased."},
            "eventIds": _IDS,
            "names": {
                "type": "boolean",
                "default": False,
                "description": "Replace the id of the actor too, in all of its events.",
            },
            "q": _Q,
            "reason": _REASON,
        },
        "reason",
    )
    return {
        "NewErasure": {**erasure, "oneOf": [{"required": ["q"]}, {"required": ["eventIds"]}]},
        "NewHold": _object({"q": _Q, "reason": _REASON}, "q", "reason"),
        "RetentionPolicy": _object(
            {
                "maxAgeDays": {"anyOf": [_DAYS, {"type": "null"}], "description": "null keeps events for ever."},
                "rules": {"type": "array", "items": _rule(), "maxItems": RULES_MAX, "default": []},
            },
            "maxAgeDays",
        ),
    }


def _rule() -> Json:
    segments = EVENT_TYPE_PATTERN.replace("{1,4}", "{0,3}")
    event_type: Json = {
        "type": "string",
        "maxLength": EVENT_TYPE_MAX,
        "pattern": rf"^({EVENT_TYPE_PATTERN}|{segments}\.\*)$",
        "description": "Such as chat_thread.message_received, or chat_thread.* for all of them.",
    }
    return _object({"eventType": event_type, "maxAgeDays": _DAYS}, "eventType", "maxAgeDays")


def _object(properties: Json, *required: str) -> Json:
    return {"type": "object", "additionalProperties": False, "required": [*required], "properties": properties}
