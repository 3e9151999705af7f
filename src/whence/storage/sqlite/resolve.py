"""Looks up the numbers of the actors, flows and resources that a query names, and turns a query into SQL."""

from array import array
from collections.abc import Iterable
from typing import Any

import apsw

from whence.events import Query, sets_only
from whence.storage.resolve import (
    Names,
    PayloadMatch,
    ResolvedQuery,
    Snapshot,
    ids_asked,
    require_supported,
    resolved_query,
)
from whence.storage.sql import load_blocks
from whence.storage.sqlite.rows import cause_from, key_of, uuid_bytes, uuid_text

__all__ = ["conditions", "events_led_by", "json_list", "keys_found", "resolve_names"]

_SQL = load_blocks("whence.storage.sqlite")


_CONDITION_FIELDS = frozenset(
    {
        "kinds",
        "actors",
        "flows",
        "resources",
        "causes",
        "since",
        "until",
        "newest",
        "known_events",
        "not_actors",
        "not_flows",
        "not_resources",
        "not_causes",
        "kinds_or_actors",
        "kinds_or_resources",
        "payload",
        "not_payload",
    }
)
"""Fields of `ResolvedQuery` that `conditions` turns into SQL; `known_events` is no filter."""

_LISTED = " IN (SELECT value FROM json_each(?))"

_LED_BY_PAYLOAD = _CONDITION_FIELDS - {"flows", "resources", "causes"}
_HAS_VALUE = (
    "EXISTS (SELECT 1 FROM payload_entry p WHERE p.value IN (SELECT value FROM json_each(?))"
    " AND p.occurred_at = event.occurred_at AND p.key = event.key)"
)
_TIME_MIN, _TIME_MAX = -(2**63), 2**63 - 1


def conditions(
    resolved: ResolvedQuery, snapshot: Snapshot, *, omit: str = "", by_row: bool = False
) -> tuple[str, list[Any]]:
    """The SQL of every filter but the one named `omit`, each preceded by AND, and its bindings. With `by_row`, few
    events are read, and the payload values of each are looked up. Raises NotImplementedError for a field that has no
    SQL here."""
    require_supported(resolved, _CONDITION_FIELDS)
    parts: list[str] = []
    bindings: list[Any] = []
    for name, column in (("kinds", "kind"), ("actors", "actor"), ("flows", "flow"), ("resources", "resource")):
        values = getattr(resolved, name)
        if values is not None and name != omit:
            parts.append(f" AND {column}{_LISTED}")
            bindings.append(json_list(values))
    for column, either in (("actor", resolved.kinds_or_actors), ("resource", resolved.kinds_or_resources)):
        if either is not None:
            parts.append(f" AND (kind{_LISTED} OR {column}{_LISTED})")
            bindings.extend(map(json_list, either))
    for column, numbers in (
        ("actor", resolved.not_actors),
        ("flow", resolved.not_flows),
        ("resource", resolved.not_resources),
    ):
        if numbers is not None:
            parts.append(f" AND NOT {column}{_LISTED}")
            bindings.append(json_list(numbers))
    if resolved.causes is not None and omit != "causes":
        parts.append(f" AND cause IN ({', '.join('?' * len(resolved.causes))})")
        bindings.extend(resolved.causes)
    if resolved.not_causes is not None:
        parts.append(f" AND (cause IS NULL OR cause NOT IN ({', '.join('?' * len(resolved.not_causes))}))")
        bindings.extend(resolved.not_causes)
    _add_payload_conditions(resolved, snapshot, by_row, parts, bindings)
    for text, value in ((" AND occurred_at >= ?", resolved.since), (" AND occurred_at < ?", resolved.until)):
        if value is not None:
            parts.append(text)
            bindings.append(value)
    if resolved.newest is not None:
        parts.append(" AND key <= ?")
        bindings.append(key_of(snapshot.tenant_no, resolved.newest))
    return "".join(parts), bindings


def events_led_by(resolved: ResolvedQuery) -> str:
    """The table of events in a statement that counts what matches. Of a payload value, its events are looked up by
    their keys, which SQLite does not choose by itself."""
    leads = resolved.payload is not None and sets_only(_LED_BY_PAYLOAD, resolved)
    return "event NOT INDEXED" if leads else "event"


def _add_payload_conditions(
    resolved: ResolvedQuery, snapshot: Snapshot, by_row: bool, parts: list[str], bindings: list[Any]
) -> None:
    """Add the SQL of payload values. The first one can lead to its events, unless another filter does so better."""
    by_row = by_row or not sets_only(_LED_BY_PAYLOAD, resolved)
    for match in resolved.payload or ():
        keys = keys_found(snapshot, match)
        if not match.values:
            parts.append(" AND key IN (SELECT value FROM carray(?))")
            bindings.append(keys)
            continue
        if by_row:
            parts.append(f" AND ({_HAS_VALUE} OR key IN (SELECT value FROM carray(?)))")
            bindings += [json_list(match.values), keys]
            continue
        parts.append(
            " AND key IN (SELECT key FROM payload_entry WHERE value IN (SELECT value FROM json_each(?))"
            " AND occurred_at >= ? AND occurred_at < ? UNION ALL SELECT value FROM carray(?))"
        )
        since = _TIME_MIN if resolved.since is None else resolved.since
        until = _TIME_MAX if resolved.until is None else resolved.until
        bindings += [json_list(match.values), since, until, keys]
        by_row = True
    for match in resolved.not_payload or ():
        parts.append(f" AND NOT {_HAS_VALUE} AND key NOT IN (SELECT value FROM carray(?))")
        bindings += [json_list(match.values), keys_found(snapshot, match)]


def keys_found(snapshot: Snapshot, match: PayloadMatch) -> Any:
    """The keys of the positions, as one binding for `carray`, which takes no empty one: no event has the key 0."""
    return apsw.carray(array("q", [key_of(snapshot.tenant_no, position) for position in match.positions] or [0]))


def json_list(numbers: tuple[int, ...]) -> str:
    """Numbers as one binding, for `json_each`."""
    return f"[{','.join(map(str, numbers))}]"


def resolve_names(connection: apsw.Connection, snapshot: Snapshot, query: Query) -> ResolvedQuery:
    """The query with its words replaced by the numbers that they have in this tenant, all but its payload values."""

    def found(block: str, ids: Iterable[Any]) -> list[tuple[Any, ...]]:
        return [row for id_ in ids for row in connection.execute(_SQL[block], (snapshot.tenant_no, id_))]

    actors, flows, resources = ids_asked(query)
    names = Names(
        actors=found("actors_by_id", actors),
        flows=found("flow_by_correlation", flows),
        resources=[
            (number, resource_type, uuid_text(id_), events)
            for number, resource_type, id_, events in found("resources_by_id", map(uuid_bytes, resources))
        ],
    )
    return resolved_query(snapshot, query, names, _causes(query.causation_ids), _causes(query.excluded_causation_ids))


def _causes(texts: Iterable[str]) -> tuple[Any, ...] | None:
    return tuple(cause_from(text) or text for text in dict.fromkeys(texts)) or None
