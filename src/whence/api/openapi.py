"""The OpenAPI document, made from what the code itself uses.

Every handler holds its own specification (`operation.py`), which this module collects. Parameters come from the tables
that also drive the parser, and schemas from the Structs of `wire`.
"""

import re
from collections.abc import Iterable, Sequence

import msgspec
from litestar.handlers import HTTPRouteHandler

import whence
from whence.api.alert_schemas import alert_schemas
from whence.api.auth import COOKIE
from whence.api.examples import ERRORS, PROBLEMS, REQUESTS, RESPONSES, results_of
from whence.api.operation import Json, Operation, ResponseSpec, ref
from whence.api.operator_tokens import LIFETIME_MAX_S
from whence.api.removal_schemas import REMOVAL_REQUESTS, REMOVAL_RESPONSES, removal_schemas
from whence.api.webhook_schemas import WEBHOOK_REQUESTS, WEBHOOK_RESPONSES, webhook_schemas
from whence.events import EVENT_LOG, EVENT_TYPE_MAX, EVENT_TYPE_PATTERN, OUTCOMES, WORD_PATTERN, Vocabulary
from whence.permissions import READ, known_scopes
from whence.settings import Settings
from whence.wire.bodies import ErrorBody, HTTPValidationError, NewEventBody, StoredEventBody
from whence.wire.cloudevents import CLOUD_ACTOR_TYPES, NAMELESS
from whence.wire.epochs import EPOCH_REASONS
from whence.wire.fields import RESERVED_PREFIX
from whence.wire.parameters import TEXT_SCHEMA, Parameter, or_null
from whence.wire.views import ADDRESS_MAX, ADDRESS_PATTERN, NAME_MAX

__all__ = ["build_openapi"]

_DESCRIPTION = (
    "Whence records who did what to which resource, when, and because of what. Every answer is about the tenant of the "
    "credential and no other. An answer with status 422 lists each broken rule. Every other error is one sentence with "
    "a code and the id of the request. Lists name their next page in a Link header."
)

_SCHEMA_NAMES = {
    "PageBody": "EventPage",
    "CountsBody": "EventAggregate",
    "BatchBody": "BatchResults",
    "ProblemBody": "ValidationError",
    "NodeBody": "TraceNode",
    "FlowsBody": "FlowPage",
    "MapBody": "ProcessMap",
    "PairBody": "ProcessMapPair",
}
"""The schema names of Structs that are not the Struct's name without `Body`; the contract's names where it has one."""

_TAGS = {
    "Events": "The log: reading and storing events.",
    "Causes": "Why something happened, and what leads to what.",
    "Resources and actors": "What happened to a resource, and what an actor did.",
    "Alerts": "Rules that watch the log, and say so in it when they fire.",
    "Webhooks": "Events that the server sends, for the scope admin.",
    "Views": "Saved views of the console, which a tenant shares.",
    "Retention": "How long events are kept, legal holds, and the erasure of payloads, for the scope admin.",
    "Proof": "Checkpoints of the log, and proofs that can be checked without trusting the server.",
    "Credentials": "API keys, and sessions for browsers.",
    "Operators": "The tenants, and tokens for them. For an operator's key, which only the command line makes.",
    "Service": "The state of the server, and its documentation.",
}

_SECURITY_SCHEMES: Json = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "An API key (whk_…), an operator's token (wht_…) or a JWT.",
    },
    "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "An API key (whk_…)."},
    "cookie": {
        "type": "apiKey",
        "in": "cookie",
        "name": COOKIE,
        "description": "A session or a JWT. To write, the request must come from a page of the same origin.",
    },
}
_ANY_CREDENTIAL: list[Json] = [{"bearer": []}, {"apiKey": []}, {"cookie": []}]

_TEXT_OR_NULL = or_null({"type": "string"})
_CARRIERS: list[Json] = [
    {"name": "authorization", "in": "header", "required": False, "schema": _TEXT_OR_NULL},
    {"name": "X-API-Key", "in": "header", "required": False, "schema": _TEXT_OR_NULL},
    {"name": COOKIE, "in": "cookie", "required": False, "schema": _TEXT_OR_NULL},
]

_PATH_PARAMETERS: dict[str, tuple[Json, str]] = {
    "correlation_id": (
        {"type": "string"},
        "1 to 255 characters without control characters. Slashes need not be encoded.",
    ),
    "resource_type": (ref("ResourceType"), "The type of the resource."),
    "actor_type": (ref("ActorType"), "The type of the actor."),
    "actor_id": (TEXT_SCHEMA, "The id of the actor, percent-encoded, slashes too."),
    "resource_id": ({"type": "string", "format": "uuid"}, "The id of the resource."),
    "reference": (
        {"type": "string", "pattern": "^(@[1-9][0-9]{0,11}|[0-9A-Fa-f]{4,32})$"},
        "`@` and the position of an event, or at least four of the digits with which its id begins.",
    ),
    "event_id": ({"type": "string", "format": "uuid"}, "The id of the event."),
    "key_id": ({"type": "string"}, "The public id of the key."),
    "view_id": ({"type": "string", "format": "uuid"}, "The id of the view."),
    "rule_id": ({"type": "string", "format": "uuid"}, "The id of the rule."),
    "hold_id": ({"type": "string", "format": "uuid"}, "The id of the hold."),
    "erasure_id": ({"type": "string", "format": "uuid"}, "The id of the erasure."),
    "webhook_id": ({"type": "string", "format": "uuid"}, "The id of the webhook."),
    "position": (
        {"type": "string", "pattern": "^([0-9]{1,19}|[A-Za-z0-9_-]{44})$"},
        "The position of the event, as in the list of deliveries.",
    ),
    "tile": (
        {"type": "string", "pattern": "^[0-9]{1,2}/(x[0-9]{3}/)*[0-9]{3}(\\.p/[1-9][0-9]{0,2})?$"},
        "The level of the tile, then its number in groups of three digits, and the width of a partial one.",
    ),
    "tenant": ({"type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$"}, "The name of a tenant."),
}
"""Schema and description of every parameter that stands in a path."""

_ERRORS = {
    400: "The request cannot be read",
    401: "No credential, or one that is not valid",
    403: "The credential lacks the scope",
    404: "No such thing in this tenant",
    408: "The head or the body came too slowly",
    409: "The id is taken by an event with other content",
    413: "The body is too large",
    415: "A content type or encoding that is not supported",
    422: "Validation Error",
    431: "The head is too large",
    429: "Too many bad credentials from this address, unbounded queries at once, keys or sessions",
    500: "An internal error",
    503: "Busy, unavailable, or the query took too long; try again after Retry-After",
}
_ALWAYS = (400, 408, 431, 500, 503)
_WITH_CREDENTIAL = (401, 403, 429)

_REQUEST_ID: Json = {"X-Request-Id": {"description": "The id of the request.", "schema": {"type": "string"}}}
_RETRY_AFTER: Json = {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer", "minimum": 0}}}
_ERROR_HEADERS: dict[int, Json] = {
    401: {"WWW-Authenticate": {"schema": {"type": "string"}}},
    429: _RETRY_AFTER,
    503: _RETRY_AFTER,
}


def build_openapi(settings: Settings, handlers: Iterable[HTTPRouteHandler]) -> Json:
    """The document about these handlers, as JSON values. A handler without an `Operation` is left out."""
    documented = [handler for handler in handlers if "operation" in handler.opt]
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
        "paths": _paths(documented),
        "components": {"schemas": _schemas(settings, documented), "securitySchemes": _SECURITY_SCHEMES},
    }


def _paths(handlers: Sequence[HTTPRouteHandler]) -> Json:
    paths: Json = {}
    for handler in handlers:
        for path in handler.paths:
            methods = paths.setdefault(re.sub(r":\w+}", "}", path), {})
            for method in sorted(handler.http_methods - {"HEAD", "OPTIONS"}):
                methods[method.lower()] = _operation(path, handler.opt["operation"], is_open="open" in handler.opt)
    return paths


def _operation(path: str, operation: Operation, *, is_open: bool) -> Json:
    first, *rest = operation.summary.split()
    errors = {*_ALWAYS, *operation.errors, *(() if is_open else _WITH_CREDENTIAL)} - operation.responses.keys()
    responses = {str(status): _response(spec, status) for status, spec in operation.responses.items()}
    responses |= {str(status): _error(status) for status in errors}
    document: Json = {
        "tags": [operation.tag],
        "summary": operation.summary,
        "operationId": first.lower() + "".join(word.title() for word in rest),
    }
    described = [operation.description or "", str(operation.deprecation or "")]
    if any(described):
        document["description"] = " ".join(part for part in described if part)
    if operation.deprecation is not None:
        document["deprecated"] = True
    document["security"] = [] if is_open else _ANY_CREDENTIAL
    if operation.request_content is not None:
        content = {media: _with_example(schema) for media, schema in operation.request_content.items()}
        document["requestBody"] = {"required": True, "content": content}
    document["parameters"] = [
        *_path_parameters(path),
        *_query_parameters(operation),
        *operation.headers,
        *([] if is_open else _CARRIERS),
    ]
    document["responses"] = dict(sorted(responses.items()))
    return document


def _with_example(schema: Json) -> Json:
    """The content of a request, with an example that a server accepts."""
    if schema.get("type") == "string":  # lines
        return {"schema": schema, "example": msgspec.json.encode(REQUESTS["NewEvent"]).decode() + "\n"}
    name = schema.get("items", schema).get("$ref", "").rpartition("/")[2]
    example = (REQUESTS | WEBHOOK_REQUESTS | REMOVAL_REQUESTS)[name]
    return {"schema": schema, "example": [example] if "items" in schema else example}


def _path_parameters(path: str) -> list[Json]:
    parameters = []
    for name in re.findall(r"{(\w+):", path):
        schema, description = _PATH_PARAMETERS[name]
        parameters.append({"name": name, "in": "path", "required": True, "description": description, "schema": schema})
    return parameters


def _query_parameters(operation: Operation) -> list[Json]:
    return [
        {
            "name": parameter.name,
            "in": "query",
            "required": parameter.required,
            "description": parameter.description,
            "schema": parameter.schema,
        }
        | _deprecated(parameter)
        for parameter in operation.parameters
    ]


def _deprecated(parameter: Parameter) -> Json:
    if parameter.deprecation is None:
        return {}
    return {"description": f"{parameter.description} {parameter.deprecation}", "deprecated": True}


def _response(spec: ResponseSpec, status: int) -> Json:
    response: Json = {"description": spec.description, "headers": _REQUEST_ID | dict(spec.headers)}
    if spec.body is not None:
        schema = spec.body if isinstance(spec.body, dict) else ref(_schema_name(spec.body.__name__))
        content = {"schema": schema} | _response_example(schema, status)
        response["content"] = dict.fromkeys((spec.media, *spec.also_media), content)
    return response


def _response_example(schema: Json, status: int) -> Json:
    """An example of a response, where there is one: the document and the page are no example of themselves."""
    name = schema.get("anyOf", [schema])[0].get("$ref", "").rpartition("/")[2]
    if status == 422:
        return {"example": PROBLEMS}
    if name == "BatchResults":
        return {"example": results_of(status)}
    if name == "Error":
        return {"example": ERRORS[status]}
    responses = RESPONSES | WEBHOOK_RESPONSES | REMOVAL_RESPONSES
    if name in responses:
        return {"example": responses[name]}
    return {"example": {"status": "ok"}} if "status" in schema.get("properties", ()) else {}


def _error(status: int) -> Json:
    body = HTTPValidationError if status == 422 else ErrorBody
    return _response(ResponseSpec(_ERRORS[status], body, _ERROR_HEADERS.get(status, {})), status)


def _schema_name(struct: str) -> str:
    return _SCHEMA_NAMES.get(struct, struct.removesuffix("Body"))


def _structs(handlers: Iterable[HTTPRouteHandler]) -> list[type[msgspec.Struct]]:
    """Every Struct that is a body of some request or response."""
    specs = [spec for handler in handlers for spec in handler.opt["operation"].responses.values()]
    bodies = [spec.body for spec in specs if isinstance(spec.body, type)]
    return list(dict.fromkeys([NewEventBody, StoredEventBody, HTTPValidationError, ErrorBody, *bodies]))


def _schemas(settings: Settings, handlers: Sequence[HTTPRouteHandler]) -> Json:
    """The component schemas: those of the Structs, completed by what a Struct cannot express."""
    _, found = msgspec.json.schema_components(_structs(handlers), ref_template="#/components/schemas/{name}")
    text = msgspec.json.encode(found).decode()
    for struct in found:
        text = text.replace(f'"#/components/schemas/{struct}"', f'"#/components/schemas/{_schema_name(struct)}"')
    schemas: Json = {_schema_name(name): schema for name, schema in msgspec.json.decode(text).items()}
    for name, schema in schemas.items():
        schema["title"] = name
        for key, rule in schema.get("properties", {}).items():
            if "default" in rule:  # for clients that read an older server; this one always sends it
                del rule["default"]
                schema["required"] = sorted([*schema["required"], key])
    schemas |= _schemas_without_struct(settings.vocabulary)
    schemas["NewEvent"]["properties"] |= _new_event_properties()
    for name in ("Event", "NewEvent", "StoredEvent"):
        schemas[name]["properties"] |= {
            "resourceType": ref("ResourceType"),
            "actorType": ref("ActorType") | {"examples": ["user"]},
        }
        schemas[name]["properties"]["eventType"]["examples"] = ["schedule.fired"]
    for handler in handlers:
        for name, deprecation in handler.opt["operation"].deprecated_fields.items():
            schemas["NewEvent"]["properties"][name] |= {"description": str(deprecation), "deprecated": True}
    schemas["BatchResult"]["properties"] |= {
        "detail": {"anyOf": [{"type": "array", "items": ref("ValidationError")}, {"type": "string"}]},
        "code": {"type": "string"},
    }
    return dict(sorted(schemas.items()))


def _new_event_properties() -> Json:
    """The rules of an event's fields. Its Struct has none, because the checks of `wire` name problems better."""
    uuid: Json = {"type": "string", "format": "uuid"}
    return {
        "id": or_null(uuid),
        "eventType": dict(_EVENT_TYPE),
        "actorId": TEXT_SCHEMA,
        "resourceId": uuid,
        "correlationId": or_null(TEXT_SCHEMA),
        "causationId": or_null(TEXT_SCHEMA),
        "outcome": or_null({"type": "string", "enum": list(OUTCOMES)}),
        "tenantId": {"type": "string", "description": "Only the tenant of the credential."},
    }


_EVENT_TYPE: Json = {
    "type": "string",
    "pattern": f"^{EVENT_TYPE_PATTERN}$",
    "maxLength": EVENT_TYPE_MAX,
    "not": {"pattern": "^" + RESERVED_PREFIX.replace(".", "\\.")},
}


def _cloud_event(vocabulary: Vocabulary) -> Json:
    text: Json = {"type": "string", "minLength": 1}
    types = WORD_PATTERN if vocabulary.any_resource_type else "|".join(vocabulary.resource_types)
    uuid = "-".join(f"[0-9A-Fa-f]{{{digits}}}" for digits in (8, 4, 4, 4, 12))
    nameless = {"enum": sorted(NAMELESS)}
    return {
        "type": "object",
        "description": (
            "A CloudEvent 1.0. subject is resourceType/resourceId. authid is the actor's id; it may be left out when "
            "authtype is unauthenticated or unknown. Other attributes are kept in the payload under _ce."
        ),
        "required": ["specversion", "id", "source", "type", "subject", "time", "authtype"],
        "properties": {
            "specversion": {"const": "1.0"},
            **dict.fromkeys(("id", "source"), text),
            "type": dict(_EVENT_TYPE),
            "subject": {"type": "string", "pattern": f"^({types})/{uuid}$"},
            "time": {"type": "string", "format": "date-time"},
            "authtype": {"enum": [*CLOUD_ACTOR_TYPES, *vocabulary.actor_types]},
            **dict.fromkeys(("authid", "correlationid"), or_null(TEXT_SCHEMA)),
            "causationid": or_null(text),
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


def _scopes(vocabulary: Vocabulary, example: str) -> Json:
    """The schema of a list of scopes."""
    return {
        "type": "array",
        "items": _one_of_scopes(vocabulary),
        "minItems": 1,
        "examples": [[example]],
    }


def _one_of_scopes(vocabulary: Vocabulary) -> Json:
    known = {"type": "string", "enum": sorted(known_scopes(vocabulary))}
    if not vocabulary.any_resource_type:
        return known
    return {"anyOf": [known, {"type": "string", "pattern": f"^{READ}:{WORD_PATTERN}$"}]}


def _resource_types(vocabulary: Vocabulary) -> Json:
    if vocabulary.any_resource_type:
        return {"pattern": f"^{WORD_PATTERN}$", "examples": list(map(str, vocabulary.resource_types))}
    return {"enum": [str(name) for name in vocabulary.resource_types]}


def _short_requests() -> Json:
    """The schemas of requests with one or two fields."""
    return {
        "SignInCode": {
            "type": "object",
            "additionalProperties": False,
            "required": ["code"],
            "properties": {"code": {"type": "string"}},
        },
        "NewEpoch": {
            "type": "object",
            "additionalProperties": False,
            "required": ["reason"],
            "properties": {"reason": {"type": "string", "enum": list(EPOCH_REASONS)}},
        },
        "ChosenTenant": {
            "type": "object",
            "additionalProperties": False,
            "required": ["tenantId"],
            "properties": {"tenantId": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$"}},
        },
        "NewView": {
            "type": "object",
            "additionalProperties": False,
            "required": ["address", "name"],
            "properties": {
                "name": {"type": "string", "minLength": 1, "maxLength": NAME_MAX},
                "address": {"type": "string", "pattern": f"^{ADDRESS_PATTERN}$", "maxLength": ADDRESS_MAX},
            },
        },
    }


def _schemas_without_struct(vocabulary: Vocabulary) -> Json:
    """Component schemas that no Struct declares."""
    return {
        "ResourceType": {
            "type": "string",
            **_resource_types(vocabulary),
            "description": (
                "Resource types that events can reference. The same list as for permissions. Events of the log "
                f"about itself, such as a fired alert or an erasure, have the type {EVENT_LOG}. Filters accept it too."
            ),
        },
        "ActorType": {"type": "string", "enum": list(vocabulary.actor_types), "description": "Who can act."},
        "CloudEvent": _cloud_event(vocabulary),
        **alert_schemas(),
        "NewTenantToken": {
            "type": "object",
            "additionalProperties": False,
            "required": ["scopes"],
            "properties": {
                "scopes": _scopes(vocabulary, "events:write"),
                "lifetimeS": {
                    "type": "integer",
                    "minimum": 1,
                    "maximum": LIFETIME_MAX_S,
                    "default": LIFETIME_MAX_S,
                    "description": "The life of the token, in seconds. It ends earlier if the key does.",
                },
            },
        },
        **removal_schemas(),
        **webhook_schemas(),
        **_short_requests(),
        "NewKey": {
            "type": "object",
            "additionalProperties": False,
            "required": ["scopes"],
            "properties": {
                "scopes": _scopes(vocabulary, "events:read"),
                "name": {"type": "string", "maxLength": 100},
                "expiresAt": {"anyOf": [{"type": "string", "format": "date-time"}, {"type": "null"}]},
            },
        },
    }
