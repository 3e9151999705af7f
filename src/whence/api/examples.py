"""The examples of the OpenAPI document: bodies of requests and responses, by the names of their schemas.

They tell one story: a schedule fires, and the run that it starts succeeds.
"""

from whence.api.operation import Json

__all__ = ["ERRORS", "PROBLEMS", "REQUESTS", "RESPONSES", "results_of"]

_TENANT = "acme"
_RUN = "5b0c3bd0-6f5d-4ef4-8d0c-6a1a7c7f0001"
_ROOT = "01941f29-7c00-7aaa-8000-000000000001"
_EFFECT = "01941f29-7fe8-7aaa-8000-000000000002"
_CODE = "whl_…"
_REQUEST_ID = "8d0f6f0d6a3b4c1e9a7c5e2f1b3d4a60"
_RULE_FIELDS: Json = {
    "name": "Five failures of an agent",
    "filters": {"actorType": ["agent"], "outcome": ["failure"]},
    "condition": {"kind": "count", "threshold": 5, "windowS": 600, "per": "actor"},
}

_VIEW_FIELDS: Json = {"name": "Failed bookings", "address": "/explore?q=outcome:failure"}
_VIEW: Json = _VIEW_FIELDS | {
    "createdAt": "2026-01-02T03:04:05Z",
    "createdBy": "key_8Zx2LqVn5tRb0WcY",
    "id": "01941f29-0000-7aaa-8000-000000000004",
}

REQUESTS: dict[str, Json] = {
    "NewEvent": {
        "eventType": "action_run.completed",
        "actorType": "agent",
        "actorId": "planner",
        "resourceType": "action_run",
        "resourceId": _RUN,
        "occurredAt": "2026-01-02T03:04:05Z",
        "payload": {"durationMs": 1250},
    },
    "CloudEvent": {
        "specversion": "1.0",
        "id": _ROOT,
        "source": "https://runner.example/eu",
        "type": "action_run.completed",
        "subject": f"action_run/{_RUN}",
        "time": "2026-01-02T03:04:05Z",
        "authtype": "service_account",
        "authid": "runner-7",
        "data": {"durationMs": 1250},
    },
    "NewKey": {"scopes": ["events:read"], "name": "dashboard"},
    "SignInCode": {"code": _CODE},
    "ChosenTenant": {"tenantId": _TENANT},
    "NewTenantToken": {"scopes": ["events:read", "events:write"], "lifetimeS": 300},
    "NewEpoch": {"reason": "rotated"},
    "NewView": _VIEW_FIELDS,
    "NewAlertRule": _RULE_FIELDS,
    "AlertRuleChange": {"name": "Five failures of an agent"},
    "AlertTest": {"rule": _RULE_FIELDS, "over": "7d"},
}

_EVENT: Json = {
    "actorId": "planner",
    "actorType": "agent",
    "causationId": _ROOT,
    "correlationId": _ROOT,
    "eventType": "action_run.completed",
    "id": _EFFECT,
    "occurredAt": "2026-01-02T03:04:05Z",
    "payload": {"durationMs": 1250},
    "resourceId": _RUN,
    "resourceType": "action_run",
    "tenantId": _TENANT,
}
_RULE: Json = _RULE_FIELDS | {
    "changedAt": "2026-01-02T03:00:00Z",
    "createdAt": "2026-01-02T03:00:00Z",
    "id": "01941f29-0000-7aaa-8000-000000000003",
    "keyId": "key_8Zx2LqVn5tRb0WcY",
    "standsStill": None,
}
_ALERT = "7c1d2a4e-9f0b-5c33-8e44-1f2a3b4c5d6e"
_ROOT_FIELDS: Json = {
    "actorId": "nightly",
    "actorType": "automation",
    "eventType": "schedule.fired",
    "id": _ROOT,
    "occurredAt": "2026-01-02T03:04:04Z",
    "outcome": "none",
    "resourceId": _RUN,
    "resourceType": "action_run",
}
_ROOT_NODE: Json = _ROOT_FIELDS | {
    "allEffects": 1,
    "causationId": None,
    "correlationId": _ROOT,
    "cycle": False,
    "effects": 1,
    "failuresBelow": 0,
    "hops": 0,
    "otherFlow": False,
    "position": 1,
    "sinceCauseUs": None,
    "sinceRootUs": 0,
    "skewed": False,
}
_EFFECT_NODE: Json = {name: value for name, value in _EVENT.items() if name not in ("payload", "tenantId")} | {
    "allEffects": 0,
    "cycle": False,
    "effects": 0,
    "failuresBelow": 0,
    "hops": 1,
    "otherFlow": False,
    "outcome": "success",
    "position": 2,
    "sinceCauseUs": 1_000_000,
    "sinceRootUs": 1_000_000,
    "skewed": False,
}
_ACTIVITY: Json = {
    "actorId": "planner",
    "actorType": "agent",
    "failures": 0,
    "firstTimes": [{"at": "2026-01-02T03:04:05Z", "eventId": _EFFECT, "eventType": "action_run.completed"}],
    "lastSeenAt": "2026-01-02T03:04:05Z",
    "previous": None,
    "sparkline": [*[0] * 23, 1],
    "successes": 1,
    "total": 1,
}
_WEEK: Json = {"from": "2025-12-26T04:00:00Z", "to": "2026-01-02T04:00:00Z"}
_COMPLETED: Json = {"count": 1, "failures": 0, "value": "action_run.completed"}
_KEY: Json = {
    "id": "01941f29",
    "tenantId": _TENANT,
    "name": "dashboard",
    "scopes": ["events:read"],
    "createdAt": "2026-01-02T03:04:05Z",
    "expiresAt": None,
    "revokedAt": None,
    "lastUsedAt": None,
}

_ORIGIN = f"log.example.com/{_TENANT}/1"
_CHECKPOINT = f"{_ORIGIN}\n2\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n\n\N{EM DASH} {_ORIGIN} Sr1yg…\n"

RESPONSES: dict[str, Json] = {
    "Event": _EVENT,
    "StoredEvent": _EVENT,
    "EventPage": {"events": [_EVENT], "hasNext": True, "limit": 1, "offset": 0, "total": 2},
    "EventAggregate": {
        "byActorType": [{"count": 1, "key": "agent"}, {"count": 1, "key": "automation"}],
        "byEventType": [{"count": 1, "key": "action_run.completed"}, {"count": 1, "key": "schedule.fired"}],
        "byResourceType": [{"count": 2, "key": "action_run"}],
        "total": 2,
    },
    "Histogram": {
        "buckets": [
            {"counts": [1, 0], "start": "2026-01-02T03:04:04Z", "total": 1},
            {"counts": [0, 1], "start": "2026-01-02T03:04:05Z", "total": 1},
        ],
        "by": "outcome",
        "from": "2026-01-02T03:04:04Z",
        "interval": "1s",
        "intervalS": 1,
        "keys": [{"count": 1, "key": "none"}, {"count": 1, "key": "success"}],
        "to": "2026-01-02T03:04:06Z",
        "total": 2,
    },
    "Facets": {
        "facets": {
            "actor": {
                "more": 0,
                "values": [
                    {"actorId": "planner", "actorType": "agent", "count": 1, "failures": 0},
                    {"actorId": "nightly", "actorType": "automation", "count": 1, "failures": 0},
                ],
            },
            "actorType": {
                "more": 0,
                "values": [
                    {"count": 1, "failures": 0, "value": "agent"},
                    {"count": 1, "failures": 0, "value": "automation"},
                ],
            },
            "eventType": {
                "more": 0,
                "values": [
                    _COMPLETED | {"children": []},
                    {"children": [], "count": 1, "failures": 0, "value": "schedule.fired"},
                ],
            },
            "outcome": {
                "more": 0,
                "values": [
                    {"count": 1, "failures": 0, "value": "none"},
                    {"count": 1, "failures": 0, "value": "success"},
                ],
            },
            "resourceType": {"more": 0, "values": [{"count": 2, "failures": 0, "value": "action_run"}]},
        },
        "total": 2,
    },
    "Actors": {"actors": [_ACTIVITY], "hasNext": True, "total": 2} | _WEEK,
    "ActorSummary": _ACTIVITY
    | _WEEK
    | {
        "byEventType": [_COMPLETED],
        "byResourceType": [{"count": 1, "failures": 0, "value": "action_run"}],
        "firstSeenAt": "2026-01-02T03:04:05Z",
        "triggeredBy": {
            "actors": [{"actorId": "nightly", "actorType": "automation", "count": 1}],
            "events": 1,
            "missing": 0,
            "moreActors": 0,
            "roots": 0,
        },
    },
    "ResourceSummary": {
        "actors": [
            {"actorId": "planner", "actorType": "agent", "count": 1, "failures": 0, "lastAt": "2026-01-02T03:04:05Z"},
            {
                "actorId": "nightly",
                "actorType": "automation",
                "count": 1,
                "failures": 0,
                "lastAt": "2026-01-02T03:04:04Z",
            },
        ],
        "byEventType": [_COMPLETED, {"count": 1, "failures": 0, "value": "schedule.fired"}],
        "events": 2,
        "failures": 0,
        "firstAt": "2026-01-02T03:04:04Z",
        "flows": 1,
        "lastAt": "2026-01-02T03:04:05Z",
        "lastEvent": _EVENT | {"outcome": "success", "position": 2},
        "moreActors": 0,
        "resourceId": _RUN,
        "resourceType": "action_run",
    },
    "Epoch": {
        "ended": "log.example.com/acme/1",
        "epoch": 2,
        "reason": "rotated",
        "requestedAt": "2026-01-02T03:04:05Z",
    },
    "View": _VIEW,
    "Views": {"views": [_VIEW]},
    "Reaches": {"reach": [{"atLeast": False, "causes": 1, "effects": 0, "failedEffects": 0, "id": _EFFECT}]},
    "Sentences": {
        "detail_texts": {"whence.retention_applied": ["({reason})"]},
        "grammar": {
            "arguments": ["arguments", "input"],
            "errors": ["error", "message"],
            "hidden": ["traceback"],
            "kinds": ["kind"],
            "objects": ["tool", "name"],
            "past": ["sent"],
            "quotes": ["text"],
            "results": ["result"],
            "without_object": ["chat_thread"],
        },
        "object_texts": {"whence.retention_applied": ["{events event}"]},
        "unquoted": {"inbound_message.received": "sent"},
        "unquoted_objects": {"inbound_message.received": "a message"},
        "verbs": {"action_run.started": "called"},
    },
    "Reference": {"id": _EFFECT},
    "Suggestions": {
        "suggestions": [
            {
                "count": 1,
                "end": 6,
                "insert": "type:action_run.completed",
                "kind": "event_type",
                "label": "action_run.completed",
                "start": 0,
            }
        ]
    },
    "Search": {
        "matches": [
            {"event": _EVENT | {"outcome": "success", "position": 2}, "id": _EFFECT, "kind": "event"},
            {"events": 2, "kind": "resource", "resourceId": _RUN, "resourceType": "action_run"},
        ]
    },
    "ActorStats": {
        "actors": [
            {"actorId": "planner", "actorType": "agent", "failures": 0, "successes": 1, "total": 1},
            {"actorId": "nightly", "actorType": "automation", "failures": 0, "successes": 0, "total": 1},
        ]
    },
    "Trace": {
        "atLeast": False,
        "eventId": _EFFECT,
        "missing": [],
        "nodes": [_ROOT_NODE, _EFFECT_NODE],
        "rootId": _ROOT,
        "rootKnown": True,
        "summary": {"actors": 2, "durationUs": 1_000_000, "events": 2, "failures": 0, "hops": 1, "resources": 1},
        "truncated": False,
    },
    "FlowPage": {
        "flows": [
            {
                "actors": 2,
                "atLeast": False,
                "correlationId": _ROOT,
                "durationUs": 1_000_000,
                "events": 2,
                "failures": 0,
                "firstAt": "2026-01-02T03:04:04Z",
                "lastAt": "2026-01-02T03:04:05Z",
                "root": _ROOT_FIELDS,
            }
        ],
        "hasNext": False,
        "limit": 100,
        "offset": 0,
        "total": 1,
    },
    "ProcessMap": {
        "delayError": 0.02,
        "from": None,
        "links": 1,
        "pairs": [
            {
                "causeType": "schedule.fired",
                "effectType": "action_run.completed",
                "events": 1,
                "failures": 0,
                "p50Us": 1_000_000,
                "p95Us": 1_000_000,
                "share": 1.0,
                "skewed": 0,
            }
        ],
        "to": None,
    },
    "Feed": {"events": [_EVENT], "hasMore": False, "nextAfter": 2},
    "Checkpoints": {
        "checkpoints": [
            {
                "epoch": 1,
                "note": _CHECKPOINT,
                "origin": _ORIGIN,
                "root": "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
                "signedAt": "2026-01-02T03:04:06Z",
                "size": 2,
            }
        ]
    },
    "LogKeys": {
        "keys": [
            {
                "epoch": 1,
                "key": f"{_ORIGIN}+4abd7283+Aee9A1v7dVZOOk8kVpXQnhjXAaW4l1JW4Nn5ZyGQxy0W",
                "mlDsaKey": None,
                "origin": _ORIGIN,
            }
        ]
    },
    "Consistency": {"from": 1, "hashes": ["47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="], "to": 2},
    "Followers": {
        "followers": [{"lag": 0, "name": "webhook:0192d3f0-0000-7000-8000-00000000abcd", "position": 2}],
        "size": 2,
    },
    "PositionGone": {
        "code": "position_gone",
        "detail": "The next events after this position are no longer kept.",
        "requestId": _REQUEST_ID,
        "resumeAfter": 40_000,
    },
    "Keys": {"keys": [_KEY]},
    "CreatedKey": _KEY | {"key": "whk_…"},
    "CurrentSession": {
        "carrier": "cookie",
        "expiresAt": "2026-01-02T15:04:05Z",
        "keyName": "dashboard",
        "scopes": ["events:read"],
        "tenantId": _TENANT,
    },
    "SessionTenants": {"anyTenant": False, "tenants": [{"tenantId": _TENANT}]},
    "SessionLink": {"code": _CODE, "expiresAt": "2026-01-02T03:05:05Z"},
    "Session": {"tenantId": _TENANT, "scopes": ["events:read"], "expiresAt": "2026-01-02T15:04:05Z"},
    "AlertRule": _RULE,
    "AlertRuleDetail": _RULE
    | {
        "droppedKeys": 0,
        "firing": [{"alertId": _ALERT, "key": {"actorId": "planner", "actorType": "agent"}}],
        "firingTotal": 1,
        "missedBefore": None,
        "readTo": 2,
        "refusedAlerts": 0,
    },
    "AlertRules": {"rules": [_RULE]},
    "AlertTestResult": {
        "alerts": [
            {
                "at": "2026-01-02T03:04:05Z",
                "causationId": _EFFECT,
                "count": 5,
                "eventIds": [_EFFECT],
                "key": {"actorId": "planner", "actorType": "agent"},
                "type": "fired",
            }
        ],
        "continuation": None,
        "droppedKeys": 0,
    },
    "Tenants": {
        "bytesMax": 10_737_418_240,
        "eventsPerS": None,
        "tenants": [{"events": 2, "payloadBytes": 21, "recordedAt": "2026-01-02T03:04:05Z", "tenantId": _TENANT}],
    },
    "TenantToken": {
        "tenantId": _TENANT,
        "scopes": ["events:read", "events:write"],
        "expiresAt": "2026-01-02T03:09:05Z",
        "token": "wht_…",
    },
}
"""Of successful answers. Those of a batch depend on its status; see `results_of`."""

PROBLEMS: Json = {
    "detail": [{"loc": ["query", "limit"], "msg": "This is a number from 1 to 100.", "type": "out_of_range"}]
}
"""The body of a 422."""

_ERRORS = {
    400: ("bad_request", "The request cannot be read."),
    401: ("unauthenticated", "No valid credential was sent."),
    403: ("forbidden", "This credential lacks the scope events:read."),
    404: ("not_found", "There is no event with this id."),
    408: ("request_timeout", "The body came too slowly."),
    409: ("conflict", "An event with this id is stored, with another payload."),
    413: ("too_large", "A body with one event has at most 327680 bytes after inflating."),
    415: ("unsupported_media", "Send the body in UTF-8."),
    429: ("throttled", "Too many bad credentials came from this address."),
    431: ("too_large", "The head of the request is too large."),
    500: ("internal", "An internal error occurred; it was logged with the request id."),
    503: ("busy", "The server is busy; send this again in a moment."),
}

ERRORS: dict[int, Json] = {
    status: {"code": code, "detail": sentence, "requestId": _REQUEST_ID} for status, (code, sentence) in _ERRORS.items()
}
"""The bodies of errors other than 422."""


def results_of(status: int) -> Json:
    """The results of a batch that is answered with this status."""
    stored: Json = {"id": _ROOT, "index": 0, "position": 1, "status": 200 if status == 200 else 201}
    refused: Json = {
        "detail": [{"loc": ["body", 1, "eventType"], "msg": "This field is required.", "type": "missing"}],
        "id": None,
        "index": 1,
        "status": 422,
    }
    return {"results": [stored, refused] if status == 207 else [stored]}
