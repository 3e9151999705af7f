"""The query parameters of every route, declared once.

The parser and the served OpenAPI document both read these tables. To add a parameter, declare it here and say in
`query.py` what it sets. A name in `EVENT_INCLUDES` is a key that `event.encode_event` adds.
"""

from typing import Any

import msgspec

from whence import facets
from whence.events import EVENT_TYPE_MAX, OUTCOMES, TEXT_MAX
from whence.histograms import INTERVALS_US, TOP_DEFAULT, TOP_MAX
from whence.payload_fields import FIELDS_MAX, PATH_MAX
from whence.trace import WALK_MAX
from whence.wire.deprecation import Deprecation
from whence.wire.query_language import TEXT_LENGTH_MAX

__all__ = [
    "ACTIVITY_PARAMETERS",
    "ACTORS_DEFAULT",
    "CAUSE_PARAMETERS",
    "DELIVERY_STATES",
    "EVENT_INCLUDES",
    "EXPORT_FORMATS",
    "EXPORT_PARAMETERS",
    "FEED_LIMIT_DEFAULT",
    "FEED_LIMIT_MAX",
    "FEED_PARAMETERS",
    "INT_MAX",
    "LIMIT_MAX",
    "LISTING_DEFAULT",
    "LISTING_MAX",
    "LISTING_PARAMETERS",
    "LIST_INCLUDES",
    "NAME_PARAMETERS",
    "NODES_DEFAULT",
    "NODES_MAX",
    "PARAMETERS",
    "PAYLOAD_PARAMETER",
    "REACH_IDS_MAX",
    "READ_PARAMETERS",
    "SEAL_PARAMETERS",
    "SUGGESTIONS_DEFAULT",
    "SUGGESTIONS_MAX",
    "TEXT_SCHEMA",
    "TRACE_INCLUDES",
    "VALUES_MAX",
    "WAIT_MAX_S",
    "WEBHOOK_PARAMETERS",
    "WRITE_PARAMETERS",
    "Parameter",
    "or_null",
]

FEED_LIMIT_MAX, FEED_LIMIT_DEFAULT = 1_000, 100
"""The largest number of events in a part of a feed, and the default."""

WAIT_MAX_S = 30
"""The longest time that a request for a feed may wait for events, in seconds."""

INT_MAX = 2**63 - 1
"""The largest number in a query."""

LIMIT_MAX = 100
"""The largest number of events on a page, and the default."""

ACTORS_DEFAULT = 20
"""How many actors are on a page by default, each with what it did; `LIMIT_MAX` is the most."""

LISTING_MAX, LISTING_DEFAULT = 1_000, 100
"""The largest number of API keys or tenants on a page, and the default."""

NODES_MAX, NODES_DEFAULT = WALK_MAX, 500
"""The largest number of events in the answer to a trace, and the default."""

PAYLOAD_PARAMETER = "payload.{path}"
"""Stands for the parameters about payload fields, whose names are `PAYLOAD_PREFIX` and a path."""

VALUES_MAX = 20
"""How often one filter may be repeated."""

EVENT_INCLUDES = ("position", "recordedAt", "outcome", "erasedAt")
"""Keys that `include` can add to an event."""

EXPORT_FORMATS = ("ndjson", "csv")
"""The formats of an export; the first is the default."""

LIST_INCLUDES = (*EVENT_INCLUDES, "nextCursor")
"""Keys that `include` can add to a page and its events."""


TRACE_INCLUDES = ("rows",)
"""What `include` can add to a trace."""


REACH_IDS_MAX = 100
"""Events whose reach one request asks for."""


class Parameter(msgspec.Struct, frozen=True):
    """A query parameter and its JSON schema. `multiple`: it may be repeated, and its values are alternatives (OR), of
    which there are at most `values_max`, or `VALUES_MAX`. `may_be_empty`: an empty value means something, unlike
    everywhere else."""

    name: str
    schema: dict[str, Any]
    description: str
    multiple: bool = False
    may_be_empty: bool = False
    required: bool = False
    deprecation: Deprecation | None = None
    values_max: int | None = None


def or_null(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema of a value that may be null as well."""
    return {"anyOf": [schema, {"type": "null"}]}


TEXT_SCHEMA: dict[str, Any] = {
    "type": "string",
    "minLength": 1,
    "maxLength": TEXT_MAX,
    "pattern": r"^[^\u0000-\u001f\u007f-\u009f]+$",
}
"""The JSON schema of an actor, correlation or causation id."""

_REPEAT = f"Repeat it for alternatives, at most {VALUES_MAX} times."
_WHEN = "RFC 3339, a date, or relative to now, such as -15m or -7d. Without an offset it is UTC."

_FILTERS = (
    Parameter(
        "event_type",
        or_null({"type": "string"}),
        f"An event type, or its first segments followed by .*, at most {EVENT_TYPE_MAX} characters. {_REPEAT}",
        multiple=True,
    ),
    Parameter(
        "resource_type",
        or_null({"$ref": "#/components/schemas/ResourceType"}),
        f"The type of the resource. {_REPEAT}",
        multiple=True,
    ),
    Parameter(
        "resource_id",
        or_null({"type": "string", "format": "uuid"}),
        f"The id of the resource. {_REPEAT}",
        multiple=True,
    ),
    Parameter("actor_id", or_null(TEXT_SCHEMA), f"The id of the actor. {_REPEAT}", multiple=True),
    Parameter(
        "actor_type",
        or_null({"$ref": "#/components/schemas/ActorType"}),
        f"The type of the actor. {_REPEAT}",
        multiple=True,
    ),
    Parameter("outcome", or_null({"type": "string", "enum": list(OUTCOMES)}), f"The outcome. {_REPEAT}", multiple=True),
    Parameter("correlation_id", or_null(TEXT_SCHEMA), f"The flow that the event belongs to. {_REPEAT}", multiple=True),
    Parameter("causation_id", or_null(TEXT_SCHEMA), f"The id of the event that caused it. {_REPEAT}", multiple=True),
    Parameter(
        PAYLOAD_PARAMETER,
        or_null({"type": "string", "minLength": 1, "maxLength": TEXT_MAX, "pattern": TEXT_SCHEMA["pattern"]}),
        "A value in the payload, where the name ends with a path of keys, as in payload.tool=search or "
        "payload.order.currency=EUR: a string, or a number, true, false or null as it stands there. Of an array, any "
        f"element. {_REPEAT} Up to {FIELDS_MAX} paths, which all have to match.",
        multiple=True,
    ),
    Parameter(
        "q",
        or_null({"type": "string", "minLength": 1, "maxLength": TEXT_LENGTH_MAX}),
        "Filters in the query language, such as type:action_run.* -type:*.heartbeat outcome:failed. An event has to "
        "match them and the other parameters.",
    ),
)


def _times(of: str) -> tuple[Parameter, ...]:
    schema = or_null({"type": "string", "format": "date-time"})
    return (
        Parameter("from", schema, f"{of} at or after this time. {_WHEN}"),
        Parameter("to", schema, f"{of} before this time. {_WHEN}"),
    )


_TIMES = _times("Events")


def _limit_and_offset(things: str) -> tuple[Parameter, ...]:
    schema = {"type": "integer", "minimum": 1, "maximum": LIMIT_MAX, "default": LIMIT_MAX}
    return (
        Parameter("limit", schema, f"The largest number of {things.lower()} on the page."),
        Parameter(
            "offset",
            {"type": "integer", "minimum": 0, "default": 0},
            f"How many {things.lower()} to skip, up to 2^63-1. Not allowed with cursor.",
        ),
    )


_WINDOW = _limit_and_offset("Events")
_CURSOR_PARAMETER = Parameter(
    "cursor",
    or_null({"type": "string", "pattern": "^[A-Za-z0-9_-]{100}$"}),
    "The end of the previous page, from its Link header. Send it with the same filters and without offset.",
)


def _paging(order: str) -> tuple[Parameter, ...]:
    return (
        Parameter(
            "order",
            {"type": "string", "enum": ["asc", "desc"], "default": order},
            "By time: asc is oldest first, desc newest first.",
        ),
        Parameter(
            "as_of",
            or_null({"type": "integer", "minimum": 0, "maximum": INT_MAX}),
            "Answer as of this position: only events with this position or a smaller one.",
        ),
        _CURSOR_PARAMETER,
        _include(LIST_INCLUDES),
    )


def _include(names: tuple[str, ...]) -> Parameter:
    one = "|".join(names)
    return Parameter(
        "include",
        or_null({"type": "string", "pattern": f"^({one})(,({one}))*$"}),
        f"Keys to add to the answer, joined by commas: {', '.join(names)}.",
        multiple=True,
    )


def _filters_without(*names: str) -> tuple[Parameter, ...]:
    return tuple(parameter for parameter in _FILTERS if parameter.name not in names)


_TRACE = (
    Parameter(
        "direction",
        {"type": "string", "enum": ["both", "up", "down"], "default": "both"},
        "up is the causes of the event, down its consequences, both the whole graph.",
    ),
    Parameter(
        "depth",
        or_null({"type": "integer", "minimum": 0, "maximum": WALK_MAX}),
        "The largest number of hops from the event. Without it there is no limit.",
    ),
    Parameter(
        "limit",
        {"type": "integer", "minimum": 1, "maximum": NODES_MAX, "default": NODES_DEFAULT},
        "The largest number of events in the answer; the nearest come first.",
    ),
    Parameter(
        "include",
        or_null({"type": "string", "enum": list(TRACE_INCLUDES)}),
        "rows adds what a row shows of an event: verb, label, detail and pairedEndId.",
    ),
)

_HISTOGRAM = (
    Parameter(
        "by",
        {"type": "string", "enum": ["outcome", "event_type"], "default": "outcome"},
        "What each bucket is split by.",
    ),
    Parameter(
        "interval",
        or_null({"type": "string", "enum": list(INTERVALS_US)}),
        "The length of a bucket. Without it, the shortest one is taken that makes at most 120 buckets. At most 1,000 "
        "buckets are allowed.",
    ),
    Parameter(
        "top",
        {"type": "integer", "minimum": 1, "maximum": TOP_MAX, "default": TOP_DEFAULT},
        "With by=event_type, how many of the most frequent event types are counted by themselves; the rest is other.",
    ),
)

READ_PARAMETERS: dict[str, tuple[Parameter, ...]] = {
    "list": (*_FILTERS, *_TIMES, *_WINDOW, *_paging("desc")),
    "aggregate": (*_TIMES, *_FILTERS),
    "histogram": (*_HISTOGRAM, *_TIMES, *_FILTERS),
    "correlation": (*_WINDOW, *_filters_without("correlation_id"), *_TIMES, *_paging("asc")),
    "resource": (*_WINDOW, *_filters_without("resource_type", "resource_id"), *_TIMES, *_paging("desc")),
    "actors": (*_TIMES, *_FILTERS),
    "event": (_include(EVENT_INCLUDES),),
}
"""The parameters of each route that answers with events or counts them."""


def _top(things: str) -> Parameter:
    schema = {"type": "integer", "minimum": 1, "maximum": facets.VALUES_MAX, "default": facets.VALUES_DEFAULT}
    return Parameter("top", schema, f"The largest number of {things}, the most frequent first.")


_ACTORS_LIMIT = Parameter(
    "limit",
    {"type": "integer", "minimum": 1, "maximum": LIMIT_MAX, "default": ACTORS_DEFAULT},
    "The largest number of actors on the page.",
)

_END_OF_PAGE = Parameter(
    "cursor",
    or_null({"type": "string", "pattern": "^[A-Za-z0-9_-]+$"}),
    "The end of the previous page, from its Link header. Send it with the same times.",
)

ACTIVITY_PARAMETERS: dict[str, tuple[Parameter, ...]] = {
    "facets": (
        _top("values of each facet"),
        Parameter(
            "payload_field",
            or_null({"type": "string", "minLength": 1, "maxLength": PATH_MAX}),
            f"A path in payloads, such as tool, whose values are counted too. Repeat it, at most {FIELDS_MAX} times.",
            multiple=True,
            values_max=FIELDS_MAX,
        ),
        *_TIMES,
        *_FILTERS,
    ),
    "actor_activity": (*_TIMES, _ACTORS_LIMIT, _END_OF_PAGE),
    "actor_summary": _TIMES,
    "resource_summary": (_top("actors"),),
}
"""The parameters of each route about facets, actors and resources."""

_AFTER = Parameter(
    "after",
    or_null({"type": "string", "pattern": "^([0-9]{1,19}|[A-Za-z0-9_-]{44})$"}),
    "Only events after this place: the nextAfter of an answer, or the id of an event in a stream.",
)


def _from(default: str) -> Parameter:
    return Parameter(
        "from",
        {"type": "string", "minLength": 1, "default": default},
        "Where to begin without after: start is the first event that is kept, now the end of the log, a number the "
        "event at that position, and a time, such as -15m, the first event that was recorded since then.",
    )


EXPORT_PARAMETERS: dict[str, tuple[Parameter, ...]] = {
    "export": (
        *_FILTERS,
        *_TIMES,
        Parameter(
            "format",
            {"type": "string", "enum": list(EXPORT_FORMATS), "default": EXPORT_FORMATS[0]},
            "One event a line: as JSON, or as CSV whose first line names the columns.",
        ),
        _paging("desc")[0],
        _include(EVENT_INCLUDES),
    ),
}
"""The parameters of the route that exports events."""

FEED_PARAMETERS: dict[str, tuple[Parameter, ...]] = {
    "feed": (
        *_FILTERS,
        _AFTER,
        _from("start"),
        Parameter(
            "limit",
            {"type": "integer", "minimum": 1, "maximum": FEED_LIMIT_MAX, "default": FEED_LIMIT_DEFAULT},
            "The largest number of events in the answer. There are fewer when their payloads are large.",
        ),
        Parameter(
            "wait",
            {"type": "integer", "minimum": 0, "maximum": WAIT_MAX_S, "default": 0},
            "How many seconds to wait for a matching event, if there is none yet.",
        ),
        _include(EVENT_INCLUDES),
    ),
    "stream": (*_FILTERS, _AFTER, _from("now"), _include(EVENT_INCLUDES)),
}
"""The parameters of each route that follows the log by position."""

CAUSE_PARAMETERS: dict[str, tuple[Parameter, ...]] = {
    "trace": _TRACE,
    "flows": (
        Parameter("outcome", or_null({"type": "string", "enum": ["failure"]}), "Only flows that contain a failure."),
        *_times("Flows whose last event lies"),
        *_limit_and_offset("Flows"),
        _CURSOR_PARAMETER,
    ),
    "map": _times("Effects"),
    "reach": (
        Parameter(
            "id",
            {"type": "string", "format": "uuid"},
            f"The id of an event. Repeat it, at most {REACH_IDS_MAX} times.",
            multiple=True,
            values_max=REACH_IDS_MAX,
            required=True,
        ),
    ),
}
"""The parameters of each route about causes."""

WRITE_PARAMETERS: dict[str, tuple[Parameter, ...]] = {
    "create": (),
    "batch": (
        Parameter(
            "atomic",
            {"type": "boolean", "default": False},
            "With true, nothing is stored if one event of the batch cannot be.",
        ),
    ),
}
"""The parameters of each route that stores events."""


def _listing(things: str) -> tuple[Parameter, ...]:
    return (
        Parameter(
            "limit",
            {"type": "integer", "minimum": 1, "maximum": LISTING_MAX, "default": LISTING_DEFAULT},
            f"The largest number of {things} on the page.",
        ),
        Parameter(
            "cursor",
            or_null({"type": "string", "pattern": "^[A-Za-z0-9_-]+$"}),
            "The end of the previous page, from its Link header.",
        ),
    )


LISTING_PARAMETERS: dict[str, tuple[Parameter, ...]] = {
    "keys": _listing("keys"),
    "tenants": _listing("tenants"),
    "session_tenants": _listing("tenants"),
}
"""The parameters of each route that lists something other than events."""

SUGGESTIONS_MAX, SUGGESTIONS_DEFAULT = 50, 20
"""The largest number of suggestions, and the default."""

NAME_PARAMETERS: dict[str, tuple[Parameter, ...]] = {
    "suggest": (
        Parameter(
            "q",
            or_null({"type": "string", "maxLength": TEXT_LENGTH_MAX}),
            "The query as it is written so far. It may be empty.",
            may_be_empty=True,
        ),
        Parameter(
            "cursor",
            or_null({"type": "integer", "minimum": 0, "maximum": 2 * TEXT_LENGTH_MAX}),
            "Where in q the next character is written, and by default its end. It is counted in UTF-16 code units, as "
            "in JavaScript, and so are start and end in the answer.",
        ),
        Parameter(
            "limit",
            {"type": "integer", "minimum": 1, "maximum": SUGGESTIONS_MAX, "default": SUGGESTIONS_DEFAULT},
            "The largest number of suggestions.",
        ),
    ),
    "search": (
        Parameter(
            "text",
            {"type": "string", "minLength": 1, "maxLength": 2_000, "pattern": r"[^\s]"},
            "The id of an event, flow, resource or actor, or how it begins; a position such as @5539; a resource or "
            "an actor as type/id; or the address of a page about one of them.",
            required=True,
        ),
    ),
}
"""The parameters of each route about names."""

DELIVERY_STATES = ("pending", "delivered", "failed")
"""What a delivery to a webhook can be."""

WEBHOOK_PARAMETERS: dict[str, tuple[Parameter, ...]] = {
    "deliveries": (
        Parameter(
            "state",
            or_null({"type": "string", "enum": list(DELIVERY_STATES)}),
            f"Deliveries in this state. {_REPEAT}",
            multiple=True,
        ),
        Parameter("after", _AFTER.schema, "Only deliveries after this place: the nextAfter of an answer."),
        _listing("deliveries")[0],
    ),
}
"""The parameters of each route about webhooks."""

_SIZE: dict[str, Any] = {"type": "integer", "minimum": 0, "maximum": INT_MAX}

_COSIGNED = Parameter(
    "cosigned",
    {"type": "boolean", "default": False},
    "With true, the newest checkpoint that a quorum of witnesses has cosigned, which may be an earlier one.",
)

SEAL_PARAMETERS: dict[str, tuple[Parameter, ...]] = {
    "log": (),
    "checkpoint": (_COSIGNED,),
    "proof": (
        _COSIGNED,
        Parameter(
            "epoch",
            or_null(_SIZE | {"minimum": 1}),
            "By the newest checkpoint of this epoch, and not of the one in use. Not together with cosigned.",
        ),
    ),
    "checkpoints": (
        Parameter("before", or_null(_SIZE | {"minimum": 1}), "Only checkpoints that are smaller than this size."),
        _listing("checkpoints")[0],
    ),
    "entries": (
        *_FILTERS,
        *_TIMES,
        Parameter("as_of", or_null(_SIZE), "Only positions up to this one; by default the newest checkpoint."),
        Parameter(
            "complete",
            {"type": "boolean", "default": False},
            "With true, also the envelopes of the events that do not match, without their payloads, so that a reader "
            "can apply the filter again.",
        ),
    ),
    "consistency": (
        Parameter("from", _SIZE | {"default": 0}, "The smaller size of the log."),
        Parameter("to", or_null(_SIZE), "The larger size; by default that of the newest checkpoint."),
    ),
}
"""The parameters of each route about checkpoints and proofs."""

PARAMETERS = (
    READ_PARAMETERS
    | ACTIVITY_PARAMETERS
    | EXPORT_PARAMETERS
    | FEED_PARAMETERS
    | CAUSE_PARAMETERS
    | WRITE_PARAMETERS
    | LISTING_PARAMETERS
    | WEBHOOK_PARAMETERS
    | NAME_PARAMETERS
    | SEAL_PARAMETERS
    | {"reference": (), "followers": (), "sentences": ()}
)
"""The parameters of every route that has any, or that refuses all of them."""
