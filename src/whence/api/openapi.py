"""The OpenAPI document: every route with its parameters, statuses and bodies, made from what the code itself uses.

Parameters of reads come from the table that also drives their parser, bodies from the Structs of `wire`.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

import whence
from whence.events import EVENT_TYPE_MAX, EVENT_TYPE_PATTERN, OUTCOMES, Vocabulary
from whence.permissions import known_scopes
from whence.settings import Settings
from whence.wire.bodies import (
    ActorStatsBody,
    BatchBody,
    CountsBody,
    ErrorBody,
    EventBody,
    HTTPValidationError,
    NewEventBody,
    PageBody,
)
from whence.wire.cloudevents import CLOUD_ACTOR_TYPES, NAMELESS
from whence.wire.fields import RESERVED_PREFIX
from whence.wire.keys import CreatedKeyBody, KeysBody, SessionBody
from whence.wire.parameters import CAUSE_PARAMETERS, READ_PARAMETERS, TEXT_SCHEMA
from whence.wire.traces import FlowsBody, MapBody, TraceBody

__all__ = ["build_openapi"]

Json = dict[str, Any]

_JSON = "application/json"
_REF = "#/components/schemas/{name}"

_DESCRIPTION = (
    "Whence records who did what to which resource, when, and because of what. Every answer is about the tenant of the "
    "credential and no other. An answer with 422 lists each broken rule; every other error is one sentence with a "
    "code and the id of the request. Lists link to their next page in a Link header."
)

_NAMES = {
    "EventBody": "Event",
    "PageBody": "EventPage",
    "KeyCountBody": "KeyCount",
    "CountsBody": "EventAggregate",
    "ActorStatBody": "ActorStat",
    "ActorStatsBody": "ActorStats",
    "ErrorBody": "Error",
    "NewEventBody": "NewEvent",
    "KeyBody": "Key",
    "CreatedKeyBody": "CreatedKey",
    "KeysBody": "Keys",
    "SessionBody": "Session",
    "BatchResultBody": "BatchResult",
    "BatchBody": "BatchResults",
    "ProblemBody": "ValidationError",
    "TraceBody": "Trace",
    "TraceSummaryBody": "TraceSummary",
    "NodeBody": "TraceNode",
    "FlowsBody": "FlowPage",
    "FlowBody": "Flow",
    "FlowRootBody": "FlowRoot",
    "MapBody": "ProcessMap",
    "PairBody": "ProcessMapPair",
}
"""What a Struct is called in the document; the contract's names where it has one."""


def build_openapi(settings: Settings) -> Json:
    """The document, as JSON values."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Whence",
            "version": whence.__version__,
            "description": _DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": settings.root_path or "/"}],
        "tags": [{"name": name, "description": text} for name, text in _TAGS.items()],
        "paths": _paths(),
        "components": {"schemas": _schemas(settings), "securitySchemes": _SECURITY_SCHEMES},
    }


_TAGS = {
    "Events": "The log: what happened, and what is to be recorded.",
    "Causes": "Why something happened, and what leads to what.",
    "Credentials": "API keys, and sessions for browsers.",
    "Service": "Whether the server is well, and what it can do.",
}

_SECURITY_SCHEMES: Json = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "An API key (whk_…) or a JWT."},
    "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "An API key (whk_…)."},
    "cookie": {
        "type": "apiKey",
        "in": "cookie",
        "name": "vai_token",
        "description": "A session or a JWT. To write, the request must come from a page of the same origin.",
    },
}
_ANY_CREDENTIAL: list[Json] = [{"bearer": []}, {"apiKey": []}, {"cookie": []}]

_TEXT_OR_NULL: Json = {"anyOf": [{"type": "string"}, {"type": "null"}]}
_CARRIERS: list[Json] = [
    {"name": "authorization", "in": "header", "required": False, "schema": _TEXT_OR_NULL},
    {"name": "X-API-Key", "in": "header", "required": False, "schema": _TEXT_OR_NULL},
    {"name": "vai_token", "in": "cookie", "required": False, "schema": _TEXT_OR_NULL},
]

_PATH_PARAMETERS: dict[str, Json] = {
    "correlation_id": {"type": "string"},
    "resource_type": {"$ref": "#/components/schemas/ResourceType"},
    "resource_id": {"type": "string", "format": "uuid"},
    "event_id": {"type": "string", "format": "uuid"},
    "key_id": {"type": "string"},
}

_PATH_DESCRIPTIONS = {
    "correlation_id": "1 to 255 characters, none of them a control character; slashes may stand as they are.",
    "resource_type": "The type of the resource.",
    "resource_id": "The id of the resource.",
    "event_id": "The id of the event.",
    "key_id": "The public id of the key.",
}

_IDEMPOTENCY_KEY: Json = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "Gives events without an id one that is derived from this key, so that a repeat stores nothing.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[ -~]+$"},
}
_ATOMIC: Json = {
    "name": "atomic",
    "in": "query",
    "required": False,
    "description": "Whether one event that cannot be stored undoes the whole batch.",
    "schema": {"type": "boolean", "default": False},
}

_SENTENCES = {
    400: "The request cannot be read",
    401: "No credential, or one that does not hold",
    403: "The credential lacks the scope",
    404: "No such thing in this tenant",
    408: "The head or the body came too slowly",
    409: "The id is taken by an event with other content",
    413: "The body is too large",
    415: "A content type or encoding that is not spoken here",
    422: "Validation Error",
    431: "The head is too large",
    429: "Too many bad credentials from this address, or too many wide questions at once",
    500: "An error of the server's own",
    503: "Busy, stopped as too wide, or out of order; try again after Retry-After",
}

_REQUEST_ID: Json = {"X-Request-Id": {"description": "The id of the request.", "schema": {"type": "string"}}}
_EXTRA_HEADERS: dict[int, Json] = {
    401: {"WWW-Authenticate": {"schema": {"type": "string"}}},
    429: {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer", "minimum": 0}}},
    503: {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer", "minimum": 0}}},
}
_LINK: Json = {"Link": {"description": 'The next page, rel="next", while there is one.', "schema": {"type": "string"}}}
_LOCATION: Json = {"Location": {"description": "Where the event is read.", "schema": {"type": "string"}}}
_REPLAYED: Json = {
    "Idempotent-Replayed": {
        "description": "The event was stored before.",
        "schema": {"type": "string", "const": "true"},
    }
}


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def _answer(description: str, schema: Json | None, headers: Json | None = None, media: str = _JSON) -> Json:
    answer: Json = {"description": description, "headers": _REQUEST_ID | (headers or {})}
    if schema is not None:
        answer["content"] = {media: {"schema": schema}}
    return answer


def _errors(*statuses: int) -> Json:
    return {
        str(status): _answer(
            _SENTENCES[status], _ref("HTTPValidationError" if status == 422 else "Error"), _EXTRA_HEADERS.get(status)
        )
        for status in statuses
    }


_ALWAYS = (400, 408, 431, 500, 503)
_GUARDED = (*_ALWAYS, 401, 403, 422, 429)
_WRITING = (*_GUARDED, 409, 413, 415)


def _operation(tag: str, summary: str, answers: Json, parameters: Sequence[Json] = (), **more: Any) -> Json:
    words = summary.lower().split()
    return {
        "tags": [tag],
        "summary": summary,
        "operationId": words[0] + "".join(word.title() for word in words[1:]),
        **more,
        "parameters": list(parameters),
        "responses": dict(sorted(answers.items())),
    }


def _path_parameters(*names: str) -> list[Json]:
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "description": _PATH_DESCRIPTIONS[name],
            "schema": _PATH_PARAMETERS[name],
        }
        for name in names
    ]


def _read(
    summary: str,
    route: str,
    body: str,
    *path: str,
    links: bool = False,
    missing: bool = False,
    tag: str = "Events",
) -> Json:
    """A route that answers a question."""
    query = [
        {
            "name": parameter.name,
            "in": "query",
            "required": False,
            "description": parameter.description,
            "schema": parameter.schema,
        }
        for parameter in (READ_PARAMETERS | CAUSE_PARAMETERS)[route]
    ]
    answers = {"200": _answer("Successful Response", _ref(body), _LINK if links else None)}
    answers |= _errors(*_GUARDED, *((404,) if missing else ()))
    parameters = [*_path_parameters(*path), *query, *_CARRIERS]
    return _operation(tag, summary, answers, parameters, security=_ANY_CREDENTIAL)


def _paths() -> Json:
    base = "/api/v1/events"
    by_resource = _read("List Events By Resource", "resource", "EventPage", "resource_type", "resource_id", links=True)
    return {
        base: {"get": _read("List Events", "list", "EventPage", links=True), "post": _create_event()},
        f"{base}/batch": {"post": _create_batch()},
        f"{base}/aggregate": {"get": _read("Aggregate Events", "aggregate", "EventAggregate")},
        f"{base}/correlation/{{correlation_id}}": {
            "get": _read("List Events By Correlation", "correlation", "EventPage", "correlation_id", links=True)
        },
        f"{base}/resource/{{resource_type}}/{{resource_id}}": {"get": by_resource},
        f"{base}/stats/by-actor": {"get": _read("Stats By Actor", "actors", "ActorStats")},
        f"{base}/{{event_id}}": {"get": _read("Get Event", "event", "Event", "event_id", missing=True)},
        f"{base}/{{event_id}}/trace": {
            "get": _read("Trace Event", "trace", "Trace", "event_id", missing=True, tag="Causes")
        },
        "/api/v1/flows": {"get": _read("List Flows", "flows", "FlowPage", links=True, tag="Causes")},
        "/api/v1/flows/map": {"get": _read("Map Flows", "map", "ProcessMap", tag="Causes")},
        **_credential_paths(),
        **_service_paths(),
    }


def _create_event() -> Json:
    stored = {"anyOf": [_ref("Event"), _ref("BatchResults")]}
    answers = {
        "201": _answer("Stored, durably", stored, _LOCATION),
        "200": _answer("Stored before, with the same content", stored, _LOCATION | _REPLAYED),
        "207": _answer("Of a batch of CloudEvents, some were refused", _ref("BatchResults")),
    } | _errors(*_WRITING)
    answers["422"] = _batch_refused()
    content = {
        _JSON: {"schema": _ref("NewEvent")},
        "application/cloudevents+json": {"schema": _ref("CloudEvent")},
        "application/cloudevents-batch+json": {"schema": _array("CloudEvent")},
    }
    return _operation(
        "Events",
        "Create Event",
        answers,
        [_IDEMPOTENCY_KEY, *_CARRIERS],
        description="Stores one event, or one CloudEvent in structured, binary or batch mode.",
        security=_ANY_CREDENTIAL,
        requestBody={"required": True, "content": content},
    )


def _create_batch() -> Json:
    answers = {
        "201": _answer("All are new, and stored durably", _ref("BatchResults")),
        "200": _answer("All were stored before", _ref("BatchResults")),
        "207": _answer("Not all fared alike; see each result", _ref("BatchResults")),
    } | _errors(*(status for status in _WRITING if status != 409))
    answers["422"] = _batch_refused()
    content = {
        _JSON: {"schema": _array("NewEvent")},
        "application/x-ndjson": {"schema": {"type": "string"}},
        "application/jsonlines": {"schema": {"type": "string"}},
        "application/cloudevents-batch+json": {"schema": _array("CloudEvent")},
        "application/cloudevents+json": {"schema": _ref("CloudEvent")},
    }
    return _operation(
        "Events",
        "Create Events",
        answers,
        [_ATOMIC, _IDEMPOTENCY_KEY, *_CARRIERS],
        description="Stores up to 1000 events in one transaction. The body may be compressed with gzip or zstd.",
        security=_ANY_CREDENTIAL,
        requestBody={"required": True, "content": content},
    )


def _batch_refused() -> Json:
    schema = {"anyOf": [_ref("HTTPValidationError"), _ref("BatchResults")]}
    return _answer("Validation Error; results when each event of a batch was looked at and none stored", schema)


def _array(name: str) -> Json:
    return {"type": "array", "items": _ref(name), "minItems": 1, "maxItems": 1000}


def _credential(summary: str, answers: Json, *path: str, **more: Any) -> Json:
    parameters = [*_path_parameters(*path), *_CARRIERS]
    return _operation("Credentials", summary, answers, parameters, security=_ANY_CREDENTIAL, **more)


def _credential_paths() -> Json:
    guarded = tuple(status for status in _GUARDED if status != 422)
    new_key = {"required": True, "content": {_JSON: {"schema": _ref("NewKey")}}}
    cookie: Json = {"Set-Cookie": {"description": "vai_token", "schema": {"type": "string"}}}
    keys = {"200": _answer("The tenant's keys, oldest first", _ref("Keys"))} | _errors(*guarded)
    made = {"201": _answer("The key; its secret is told this once", _ref("CreatedKey"))} | _errors(*_GUARDED, 413, 415)
    revoked = {"204": _answer("Revoked", None)} | _errors(*guarded, 404)
    session = {"201": _answer("The session", _ref("Session"), cookie)} | _errors(*guarded)
    ended = {"204": _answer("Ended", None, cookie)} | _errors(*guarded)
    return {
        "/api/v1/keys": {
            "get": _credential("List Keys", keys),
            "post": _credential("Create Key", made, requestBody=new_key),
        },
        "/api/v1/keys/{key_id}": {"delete": _credential("Revoke Key", revoked, "key_id")},
        "/api/v1/session": {
            "post": _credential("Create Session", session),
            "delete": _credential("End Session", ended),
        },
    }


def _service_paths() -> Json:
    well = {"type": "object", "required": ["status"], "properties": {"status": {"type": "string", "const": "ok"}}}
    alive = {"200": _answer("The process runs", well)} | _errors(*_ALWAYS)
    ready = {"200": _answer("The store can read and write", well)} | _errors(*_ALWAYS)
    document = {"200": _answer("This document", {"type": "object"})} | _errors(*_ALWAYS)
    page = {"200": _answer("The reference", {"type": "string"}, media="text/html")} | _errors(*_ALWAYS)
    return {
        "/livez": {"get": _operation("Service", "Live", alive, security=[])},
        "/readyz": {"get": _operation("Service", "Ready", ready, security=[])},
        "/openapi.json": {"get": _operation("Service", "Openapi Document", document, security=[])},
        "/docs": {"get": _operation("Service", "Reference Page", page, security=[])},
    }


_STRUCTS = (
    EventBody,
    PageBody,
    CountsBody,
    ActorStatsBody,
    NewEventBody,
    BatchBody,
    HTTPValidationError,
    ErrorBody,
    KeysBody,
    CreatedKeyBody,
    SessionBody,
    TraceBody,
    FlowsBody,
    MapBody,
)


def _schemas(settings: Settings) -> Json:
    """The components. Names of Structs become the contract's; what a Struct cannot say is said here."""
    _, found = msgspec.json.schema_components(_STRUCTS, ref_template=_REF)
    text = msgspec.json.encode(found).decode()
    for struct, name in _NAMES.items():
        text = text.replace(f'"#/components/schemas/{struct}"', f'"#/components/schemas/{name}"')
    schemas: Json = {_NAMES.get(name, name): schema for name, schema in msgspec.json.decode(text).items()}
    for name, schema in schemas.items():
        schema["title"] = name
    schemas |= _said_here(settings.vocabulary)
    schemas["NewEvent"]["properties"] |= _new_event_properties()
    for name in ("Event", "NewEvent"):
        schemas[name]["properties"] |= {
            "resourceType": _ref("ResourceType"),
            "actorType": _ref("ActorType") | {"examples": ["user"]},
        }
        schemas[name]["properties"]["eventType"]["examples"] = ["schedule.fired"]
    schemas["BatchResult"]["properties"] |= {
        "detail": {"anyOf": [{"type": "array", "items": _ref("ValidationError")}, {"type": "string"}]},
        "code": {"type": "string"},
    }
    return dict(sorted(schemas.items()))


def _new_event_properties() -> Json:
    """The rules of an event's fields, which its Struct leaves to the checks of `wire`."""
    uuid: Json = {"type": "string", "format": "uuid"}
    return {
        "id": _or_null(uuid),
        "eventType": dict(_EVENT_TYPE),
        "actorId": TEXT_SCHEMA,
        "resourceId": uuid,
        "correlationId": _or_null(TEXT_SCHEMA),
        "causationId": _or_null(TEXT_SCHEMA),
        "outcome": _or_null({"type": "string", "enum": list(OUTCOMES)}),
        "tenantId": {"type": "string", "description": "Only the credential's own."},
    }


def _or_null(schema: Json) -> Json:
    return {"anyOf": [schema, {"type": "null"}]}


_EVENT_TYPE: Json = {
    "type": "string",
    "pattern": f"^{EVENT_TYPE_PATTERN}$",
    "maxLength": EVENT_TYPE_MAX,
    "not": {"pattern": "^" + RESERVED_PREFIX.replace(".", "\\.")},
}


def _cloud_event(vocabulary: Vocabulary) -> Json:
    text: Json = {"type": "string", "minLength": 1}
    types = "|".join(vocabulary.resource_types)
    uuid = "-".join(f"[0-9A-Fa-f]{{{digits}}}" for digits in (8, 4, 4, 4, 12))
    nameless = {"enum": sorted(NAMELESS)}
    return {
        "type": "object",
        "description": (
            "A CloudEvent 1.0. subject is resourceType/resourceId. authid names the actor, and may be left out when "
            "authtype says that it has no name. Other attributes are kept in the payload under _ce."
        ),
        "required": ["specversion", "id", "source", "type", "subject", "time", "authtype"],
        "properties": {
            "specversion": {"const": "1.0"},
            **dict.fromkeys(("id", "source"), text),
            "type": dict(_EVENT_TYPE),
            "subject": {"type": "string", "pattern": f"^({types})/{uuid}$"},
            "time": {"type": "string", "format": "date-time"},
            "authtype": {"enum": [*CLOUD_ACTOR_TYPES, *vocabulary.actor_types]},
            **dict.fromkeys(("authid", "correlationid"), _or_null(TEXT_SCHEMA)),
            "causationid": _or_null(text),
            "data": {"type": "object", "not": {"required": ["_ce"]}},
            "data_base64": False,
        },
        "propertyNames": {"anyOf": [{"pattern": "^[a-z0-9]+$"}, {"const": "data_base64"}]},
        "additionalProperties": {
            "anyOf": [
                {"type": ["string", "boolean", "null"]},
                {"type": "integer", "minimum": -(2**31), "maximum": 2**31 - 1},
            ]
        },
        "anyOf": [
            {"required": ["authid"], "properties": {"authid": {"type": "string"}}},
            {"properties": {"authtype": nameless}},
        ],
    }


def _said_here(vocabulary: Vocabulary) -> Json:
    """Components that no Struct declares."""
    return {
        "ResourceType": {
            "type": "string",
            "enum": [str(name) for name in vocabulary.resource_types],
            "description": "Resource types that events can reference. The same list as for permissions.",
        },
        "ActorType": {"type": "string", "enum": list(vocabulary.actor_types), "description": "Who can act."},
        "CloudEvent": _cloud_event(vocabulary),
        "NewKey": {
            "type": "object",
            "additionalProperties": False,
            "required": ["scopes"],
            "properties": {
                "scopes": {
                    "type": "array",
                    "items": {"type": "string", "enum": sorted(known_scopes(vocabulary))},
                    "minItems": 1,
                    "examples": [["events:read"]],
                },
                "name": {"type": "string", "maxLength": 100},
                "expiresAt": {"anyOf": [{"type": "string", "format": "date-time"}, {"type": "null"}]},
            },
        },
    }
