"""What schemathesis needs beyond the document: the rules that no JSON schema can express.

A request that keeps to its schema is taken, or it is a 422 that names nothing but rules of the table below. The six
routes of the contract carry the contract's own schemas, letter by letter, so a few plain limits stand here too.
"""

import json
from typing import Any

import schemathesis

Rules = frozenset[tuple[str, str]]
"""(last part of loc, type) of a problem; the loc * is any."""

_TIMES: Rules = frozenset(
    {
        ("from", "time_range"),  # one time must not lie after the other
        ("from", "datetime_parsing"),  # the contract's date-time has leap seconds and years that UTC pushes over 9999
        ("to", "datetime_parsing"),
    }
)
_TYPES: Rules = frozenset(  # the contract's event_type is any string
    {("event_type", "string_too_short"), ("event_type", "string_too_long"), ("event_type", "wildcard")}
)
_TEXT: Rules = frozenset(  # no schema says the grammar of q
    {("*", "query_term"), ("q", "string_too_short"), ("q", "time_range"), ("from", "time_range")}
)
_PAGES: Rules = frozenset(
    {
        ("cursor", "cursor"),  # a cursor is made by the server
        ("offset", "cursor_with_offset"),
        ("as_of", "cursor_with_as_of"),
        ("as_of", "as_of_range"),  # it depends on the size of the log
        ("offset", "out_of_range"),  # the contract names no maximum; 2^63-1 is one
    }
)
_FLOW: Rules = frozenset(  # the contract's correlation_id is any string
    {
        ("correlation_id", "string_too_short"),
        ("correlation_id", "string_too_long"),
        ("correlation_id", "string_control_character"),
    }
)
_EVENTS: Rules = frozenset(
    {
        ("tenantId", "tenant_mismatch"),  # it depends on the credential
        ("causationId", "self_cause"),  # two fields must differ
        ("occurredAt", "datetime_future"),  # it depends on the clock
        ("occurredAt", "datetime_parsing"),  # as for from
        ("time", "datetime_future"),
        ("time", "datetime_parsing"),
        ("causationid", "self_cause"),
        ("id", "event_id_conflict"),  # it depends on what is stored; only an atomic batch says it by a 422
        ("*", "attribute_type"),  # to a schema 7.0 is an integer, to CloudEvents it is none
    }
)
_KEYS: Rules = frozenset(
    {
        ("expiresAt", "value_error"),  # it lies in the future
        ("expiresAt", "expires_after_its_maker"),  # it depends on the credential
        ("name", "name"),  # no schema says printable
    }
)

_HISTOGRAM: Rules = frozenset(
    {
        ("interval", "too_many_buckets"),  # it depends on the range of time
        ("top", "top_without_event_type"),  # two parameters must fit
    }
)

_ENTRIES: Rules = frozenset({("complete", "payload_filter")})  # two parameters must fit

_SEARCH: Rules = frozenset(
    {
        ("text", "missing"),  # a text of blanks
        ("text", "string_control_character"),
        ("text", "reference_parsing"),  # a position of too many digits
    }
)

_LISTING: Rules = frozenset({("cursor", "cursor")})  # a cursor is made by the server

_PLACES: Rules = frozenset(
    {
        ("after", "place"),  # only a narrowed credential is given tokens
        ("after", "after_range"),  # it depends on the log
        ("from", "from_parsing"),  # a word, a number or a time
        ("from", "out_of_range"),
        ("from", "from_with_after"),
    }
)

_WEBHOOKS: Rules = frozenset(
    {
        ("url", "url"),  # the pattern of the document does not say all that a host may be
        ("url", "url_refused"),  # it depends on where the host is
        ("description", "string_type"),  # no schema says printable
    }
)

_ALERTS: Rules = frozenset(
    {
        ("name", "string_type"),  # no schema says printable
        ("filters", "not_indexed"),  # it depends on the condition
        ("eventType", "alert_of_alerts"),
        ("continuation", "cursor"),  # a continuation is made by the server
    }
)

_REMOVALS: Rules = frozenset(
    {
        ("q", "query_text"),  # a text of blanks
        ("reason", "reason"),  # no schema says printable
        ("names", "one_actor"),  # it depends on q
        ("rules", "repeated"),  # two rules must differ
    }
)

LINES = ("application/x-ndjson", "application/jsonlines")

BEYOND: dict[tuple[str, str], Rules] = {
    ("GET", "/api/v1/events"): _TIMES | _TYPES | _TEXT | _PAGES,
    ("GET", "/api/v1/events/correlation/{correlation_id}"): _TIMES | _TYPES | _TEXT | _PAGES | _FLOW,
    ("GET", "/api/v1/events/resource/{resource_type}/{resource_id}"): _TIMES | _TYPES | _TEXT | _PAGES,
    ("GET", "/api/v1/events/aggregate"): _TIMES | _TYPES | _TEXT,
    ("GET", "/api/v1/events/histogram"): _TIMES | _TYPES | _TEXT | _HISTOGRAM,
    ("GET", "/api/v1/events/facets"): frozenset({("payload_field", "payload_path")}) | _TIMES | _TYPES | _TEXT,
    ("GET", "/api/v1/actors"): _TIMES | _LISTING,
    ("GET", "/api/v1/actors/{actor_type}/{actor_id}/summary"): _TIMES,
    ("GET", "/api/v1/events/stats/by-actor"): _TIMES | _TYPES | _TEXT,
    ("GET", "/api/v1/events/export"): _TIMES | _TYPES | _TEXT,
    ("GET", "/api/v1/events/feed"): _TYPES | _TEXT | _PLACES,
    ("GET", "/api/v1/references/{reference}"): frozenset({("reference", "ambiguous")}),  # it depends on the log
    ("GET", "/api/v1/events/suggest"): frozenset({("cursor", "out_of_range")}),  # it lies within q
    ("GET", "/api/v1/search"): _SEARCH,
    ("GET", "/api/v1/log/entries"): _TIMES | _TYPES | _TEXT | _ENTRIES,
    ("GET", "/api/v1/events/{event_id}/proof"): frozenset({("epoch", "epoch_with_cosigned")}),
    ("GET", "/api/v1/log/consistency"): frozenset({("from", "size_range")}),  # two parameters must fit
    ("GET", "/api/v1/flows"): _TIMES | _PAGES,
    ("GET", "/api/v1/flows/map"): _TIMES,
    ("POST", "/api/v1/events"): _EVENTS,
    ("POST", "/api/v1/events/batch"): _EVENTS,
    ("GET", "/api/v1/keys"): _LISTING,
    ("POST", "/api/v1/keys"): _KEYS,
    # To a schema 863.0 is an integer.
    ("POST", "/api/v1/tenants/{tenant}/token"): frozenset({("lifetimeS", "out_of_range")}),
    ("GET", "/api/v1/tenants"): _LISTING,
    ("GET", "/api/v1/session/tenants"): _LISTING,
    ("POST", "/api/v1/views"): frozenset({("name", "name")}),  # no schema says printable
    ("POST", "/api/v1/alert-rules"): _ALERTS,
    ("PATCH", "/api/v1/alert-rules/{rule_id}"): _ALERTS,
    ("POST", "/api/v1/alert-rules/test"): _ALERTS,
    ("POST", "/api/v1/holds"): _TEXT | _REMOVALS,
    ("POST", "/api/v1/erasures"): _TEXT | _REMOVALS,
    ("PUT", "/api/v1/retention"): _REMOVALS,
    ("POST", "/api/v1/retention/preview"): _REMOVALS,
    ("POST", "/api/v1/webhooks"): _WEBHOOKS,
    ("PATCH", "/api/v1/webhooks/{webhook_id}"): _WEBHOOKS,
    ("GET", "/api/v1/webhooks/{webhook_id}/deliveries"): _PLACES,
    ("POST", "/api/v1/webhooks/{webhook_id}/replay"): frozenset(
        {("after", "place"), ("since", "datetime_parsing"), ("body", "missing")}
    ),
}
"""Route -> the rules by which it may refuse what keeps to its schema."""


def broken_rules(body: dict[str, Any]) -> set[tuple[str, str]]:
    """The rules that a 422 names, those of a batch's results among them."""
    problems = body.get("detail", [])
    for result in body.get("results", []):
        problems = [*problems, *(result["detail"] if isinstance(result.get("detail"), list) else [])]
    return {(str(problem["loc"][-1]), problem["type"]) for problem in problems}


@schemathesis.serializer(*LINES)
def lines(ctx: Any, value: Any) -> bytes:
    """Lines of JSON, which the document describes as a string; a bad request may have another value."""
    return value.encode() if isinstance(value, str) else json.dumps(value).encode()


@schemathesis.check
def only_rules_beyond_the_schema(ctx: Any, response: Any, case: Any) -> None:
    """A request that keeps to its schema is refused by no rule but those of the table."""
    if response.status_code != 422 or not case.meta.generation.mode.is_positive:
        return
    if case.media_type in LINES:
        return  # their schema is any text, so that nearly all of them are refused
    allowed = BEYOND.get((case.method.upper(), case.operation.path), frozenset())
    beyond = {rule for rule in broken_rules(response.json()) if not {rule, ("*", rule[1])} & allowed}
    assert not beyond, f"The schema lets this through, and these rules refuse it: {sorted(beyond)}"
