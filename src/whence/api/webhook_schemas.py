"""The schemas and examples of the requests about webhooks, for the OpenAPI document."""

from whence.addresses import URL_MAX
from whence.api.operation import Json, ref
from whence.events import EVENT_TYPE_MAX, EVENT_TYPE_PATTERN, OUTCOMES
from whence.wire.parameters import INT_MAX, TEXT_SCHEMA, VALUES_MAX
from whence.wire.webhook_messages import FORMATS
from whence.wire.webhooks import DESCRIPTION_MAX

__all__ = ["WEBHOOK_REQUESTS", "WEBHOOK_RESPONSES", "filters_schema", "webhook_schemas"]

_ID = "01941f29-7c00-7aaa-8000-00000000000a"
_URL = "https://hooks.example.com/whence"

_WEBHOOK: Json = {
    "createdAt": "2026-01-02T03:04:05Z",
    "description": "failed runs",
    "disabledAt": None,
    "disabledReason": None,
    "enabled": True,
    "fifo": False,
    "filters": {"eventType": ["action_run.*"], "outcome": ["failure"]},
    "format": "whence",
    "id": _ID,
    "keyId": "key_0123456789abcdef",
    "oldSecretValidUntil": None,
    "standsStill": None,
    "url": _URL,
}
_DELIVERY: Json = {
    "attempts": 1,
    "changedAt": "2026-01-02T03:04:06Z",
    "dueAt": "2026-01-02T03:04:11Z",
    "position": 2,
    "state": "pending",
}
_ATTEMPT: Json = {
    "answer": "busy",
    "durationMs": 12,
    "error": "",
    "number": 1,
    "startedAt": "2026-01-02T03:04:06Z",
    "status": 503,
}

WEBHOOK_REQUESTS: dict[str, Json] = {
    "NewWebhook": {
        "url": _URL,
        "description": "failed runs",
        "filters": {"eventType": "action_run.*", "outcome": "failure"},
    },
    "WebhookChange": {"enabled": True},
    "NewReplay": {"after": 0, "state": "failed"},
}
"""Bodies of requests, by the names of their schemas."""

WEBHOOK_RESPONSES: dict[str, Json] = {
    "Webhooks": {"webhooks": [_WEBHOOK]},
    "Webhook": _WEBHOOK,
    "CreatedWebhook": _WEBHOOK | {"secret": "whsec_…"},
    "WebhookDetail": _WEBHOOK
    | {"deliveries": {"delivered": 40, "failed": 0, "pending": 1}, "failingSince": None, "gaps": [], "readTo": 52},
    "WebhookSecret": {"id": _ID, "oldSecretValidUntil": "2026-01-03T03:04:05Z", "secret": "whsec_…"},
    "Attempt": _ATTEMPT,
    "Deliveries": {"deliveries": [_DELIVERY], "nextAfter": None},
    "Delivery": _DELIVERY,
    "DeliveryDetail": _DELIVERY | {"eventId": "01941f29-7fe8-7aaa-8000-000000000002", "history": [_ATTEMPT]},
    "Replay": {"after": 0, "nextAfter": None},
}
"""Bodies of answers, by the names of their schemas."""


def _values(schema: Json) -> Json:
    """One value of a filter, or a list of alternatives."""
    return {"anyOf": [schema, {"type": "array", "items": schema, "minItems": 1, "maxItems": VALUES_MAX}]}


def filters_schema() -> Json:
    """The schema of filters in a body."""
    segments = EVENT_TYPE_PATTERN.replace("{1,4}", "{0,3}")
    uuid: Json = {"type": "string", "format": "uuid"}
    return {
        "type": "object",
        "additionalProperties": False,
        "description": "The filters of lists. Several values of one are alternatives, and different filters must all "
        "match.",
        "properties": {
            "eventType": _values(
                {
                    "type": "string",
                    "maxLength": EVENT_TYPE_MAX,
                    "pattern": rf"^({EVENT_TYPE_PATTERN}|{segments}\.\*)$",
                }
            ),
            "resourceType": _values(ref("ResourceType")),
            "resourceId": _values(uuid),
            "actorId": _values(TEXT_SCHEMA),
            "actorType": _values(ref("ActorType")),
            "outcome": _values({"type": "string", "enum": list(OUTCOMES)}),
            "correlationId": _values(TEXT_SCHEMA),
            "causationId": _values(TEXT_SCHEMA),
        },
    }


def _fields() -> Json:
    """The fields of a webhook."""
    return {
        "url": {
            "type": "string",
            "maxLength": URL_MAX,
            "pattern": r"^https?://[A-Za-z0-9.:\[\]_-]+(/[!-\"$-\[\]-~]*)?$",
            "description": "https, unless the server's operator allows the host otherwise.",
        },
        "description": {"type": "string", "maxLength": DESCRIPTION_MAX},
        "format": {
            "type": "string",
            "enum": list(FORMATS),
            "default": FORMATS[0],
            "description": "The form of the bodies: whence is type, timestamp and data.",
        },
        "fifo": {
            "type": "boolean",
            "default": False,
            "description": "Send one event after the other, in order. A failing one holds up those after it.",
        },
        "enabled": {"type": "boolean", "default": True},
        "filters": filters_schema(),
    }


def webhook_schemas() -> dict[str, Json]:
    """The schemas of requests that no Struct declares."""
    fields = _fields()
    take_over: Json = {
        "type": "boolean",
        "description": "Let the webhook go on with the API key of this request, and with what that may read.",
    }
    return {
        "NewWebhook": {
            "type": "object",
            "additionalProperties": False,
            "required": ["url"],
            "properties": fields,
        },
        "WebhookChange": {
            "type": "object",
            "additionalProperties": False,
            "properties": fields | {"takeOver": take_over},
        },
        "NewReplay": {
            "type": "object",
            "additionalProperties": False,
            "oneOf": [{"required": ["after"]}, {"required": ["since"]}],
            "properties": {
                "after": {
                    "anyOf": [
                        {"type": "integer", "minimum": 0, "maximum": INT_MAX},
                        {"type": "string", "pattern": "^[A-Za-z0-9_-]{44}$"},
                    ],
                    "description": "A position, or the nextAfter of an answer.",
                },
                "since": {
                    "type": "string",
                    "minLength": 1,
                    "description": "When the events were recorded, as in lists: -1d, a date.",
                },
                "state": {"type": "string", "enum": ["failed", "all"], "default": "failed"},
            },
        },
    }
