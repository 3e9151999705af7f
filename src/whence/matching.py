"""Whether an event matches a query, from the event alone. Pure.

A store finds the matching events by its indexes. This is the same question without a store: for events that are read
by position, and for those who check an export.
"""

from collections.abc import Iterable
from functools import lru_cache

from whence.events import ANY_TYPE, Event, Query, has_type, matches_type, sets_only, split_name
from whence.identities import spellings
from whence.payload_fields import PayloadReader, values_by_path

__all__ = ["asks_for_payloads", "matches"]

_PayloadQuestion = tuple[PayloadReader, dict[str, tuple[str, ...]], dict[str, tuple[str, ...]]]
"""What finds the values in a payload, and those that are wanted and unwanted, by path."""

_SUPPORTED = frozenset(
    {
        "event_types",
        "event_type_prefixes",
        "resource_types",
        "resource_ids",
        "actor_ids",
        "actor_types",
        "outcomes",
        "correlation_ids",
        "causation_ids",
        "since",
        "until",
        "type_patterns",
        "actors",
        "resources",
        "excluded_event_types",
        "excluded_resource_types",
        "excluded_actor_types",
        "excluded_outcomes",
        "excluded_actors",
        "excluded_resources",
        "excluded_correlation_ids",
        "excluded_causation_ids",
        "payload_values",
        "excluded_payload_values",
    }
)
"""The fields that `matches` reads. A query that sets another one is refused."""


def matches(event: Event, query: Query) -> bool:
    """Whether the event is one of those that the query asks for.

    An event without its payload matches no query about payloads, also not one that excludes values: nothing shows that
    it did not have them. Raises NotImplementedError for a query that sets a field which is not known here.
    """
    if not sets_only(_SUPPORTED, query):
        raise NotImplementedError("This query has a field that cannot be matched.")
    return (
        _is_within(event, query)
        and has_type(event.event_type, query)
        and _is_one_of(event.resource_type, query.resource_types)
        and _is_one_of(event.resource_id, query.resource_ids)
        and _is_one_of(event.actor_type, query.actor_types)
        and _is_one_of(event.outcome, query.outcomes)
        and _is_one_of(event.causation_id, query.causation_ids)
        and (not query.actor_ids or _is_spelled(event.actor_id, query.actor_ids))
        and (not query.correlation_ids or _is_spelled(event.correlation_id, query.correlation_ids))
        and (not query.actors or _is_named(event.actor_type, event.actor_id, query.actors))
        and (not query.resources or _is_named(event.resource_type, event.resource_id, query.resources))
        and not _is_excluded(event, query)
        and (not asks_for_payloads(query) or _has_payload_values(event, query))
    )


def asks_for_payloads(query: Query) -> bool:
    """Whether a query is about values in payloads."""
    return bool(query.payload_values or query.excluded_payload_values)


@lru_cache(maxsize=16)
def _payload_question(values: tuple[str, ...], excluded: tuple[str, ...]) -> _PayloadQuestion:
    wanted, unwanted = values_by_path(values), values_by_path(excluded)
    return PayloadReader((*wanted, *unwanted)), wanted, unwanted


def _has_payload_values(event: Event, query: Query) -> bool:
    if event.payload is None:
        return False
    reader, wanted, unwanted = _payload_question(query.payload_values, query.excluded_payload_values)
    found = reader.values(event.payload)
    return all(set(found.get(path, ())) & set(values) for path, values in wanted.items()) and not any(
        set(found.get(path, ())) & set(values) for path, values in unwanted.items()
    )


def _is_within(event: Event, query: Query) -> bool:
    return (query.since is None or query.since <= event.occurred_at) and (
        query.until is None or event.occurred_at < query.until
    )


def _is_one_of(value: str | None, asked: tuple[str, ...]) -> bool:
    return not asked or value in asked


def _is_spelled(value: str, asked: Iterable[str]) -> bool:
    """Whether this is one of these identities, however an earlier release spelled it."""
    return any(value in spellings(each) for each in asked)


def _is_named(type_: str, id_: str, names: Iterable[str]) -> bool:
    """Whether an actor or resource has one of these names; see `split_name`."""
    return any(
        asked_type in (ANY_TYPE, type_) and (not asked_id or id_ in spellings(asked_id))
        for asked_type, asked_id in map(split_name, names)
    )


def _is_excluded(event: Event, query: Query) -> bool:
    # Most queries exclude nothing, and an export asks this of every event of a log.
    return bool(
        (
            query.excluded_event_types
            and any(matches_type(event.event_type, each) for each in query.excluded_event_types)
        )
        or event.resource_type in query.excluded_resource_types
        or event.actor_type in query.excluded_actor_types
        or event.outcome in query.excluded_outcomes
        or event.causation_id in query.excluded_causation_ids
        or (query.excluded_correlation_ids and _is_spelled(event.correlation_id, query.excluded_correlation_ids))
        or (query.excluded_actors and _is_named(event.actor_type, event.actor_id, query.excluded_actors))
        or (query.excluded_resources and _is_named(event.resource_type, event.resource_id, query.excluded_resources))
    )
