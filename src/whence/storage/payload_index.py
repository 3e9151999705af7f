"""The index of payload fields: how far it covers a log, how it is filled, and how a query is answered from it. Pure;
the same for every store.

The index is filled after the appends, in slices, so that appends do nothing for it. What it does not cover yet is read
from the payloads, in the query's own snapshot. These are a few events at the end of the log. For a path that is not
indexed, or not far enough, they are all events that the other filters let through. So an answer is exact, however far
the index is.
"""

import hashlib
import secrets
from array import array
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from whence.events import sets_only
from whence.payload_fields import PayloadReader, values_by_path
from whence.storage.query_deadline import check_deadline, query_too_expensive
from whence.storage.resolve import PAYLOAD_FIELDS, PayloadMatch, ResolvedQuery, Snapshot
from whence.storage.verification import Check, EachRow, Rows

__all__ = [
    "FACET_VALUES_MAX",
    "REMOVED_AT_ONCE",
    "SLICE_BYTES",
    "SLICE_EVENTS",
    "TAIL_MAX",
    "CountsOfField",
    "EachPayload",
    "FieldRow",
    "FieldRows",
    "IndexBehind",
    "IndexedEvent",
    "PayloadIndex",
    "PayloadQuestion",
    "Slice",
    "ValueEntry",
    "ValuesOf",
    "check_payload_fields",
    "count_payload_values",
    "entries_of",
    "match_payload",
    "match_payload_in_part",
    "next_slice",
    "scan_payload",
]

TAIL_MAX = 2_000
"""Events that are not in the index yet, which an indexed query reads itself; with more, it is unbounded."""

FACET_VALUES_MAX = 100_000
"""Values of one payload field that a facet counts at most."""

SLICE_EVENTS, SLICE_BYTES = 500, 1024 * 1024
"""The most events, and about the most bytes of payload, that one transaction adds to the index."""

REMOVED_AT_ONCE = 2_000
"""Entries that one transaction removes at most, of a path that is not indexed any more."""

_TOO_MANY_VALUES = (
    "The payload field has too many values to count them. Narrow the question with a range of time or other filters, "
    "or leave the field out."
)

_CHECK_EVENTS = 200

_NOTHING_ELSE: frozenset[str] = frozenset()
_CHECK_DEADLINE_EVERY = 256


class FieldRow(msgspec.Struct, frozen=True):
    """A path that is indexed. The index has every event up to `indexed_to`, and none after it."""

    path: str
    field: int
    indexed_to: int


class PayloadIndex(Protocol):
    """The index of payload fields of each tenant.

    Each method is one transaction, is durable on return, and raises `Unavailable` when the store cannot serve.
    """

    async def unindexed(self, paths: Sequence[str]) -> list[str]:
        """The tenants whose index does not cover their log for these paths, or has others."""
        ...

    async def advance(self, tenant: str, paths: Sequence[str]) -> bool:
        """Add the next slice of the tenant's log to the index, or remove a part of what it has of other paths. Returns
        whether anything is left to do."""
        ...

    async def list_fields(self, tenant: str) -> list[FieldRow]:
        """The paths that are indexed for a tenant, in order."""
        ...


class IndexBehind(Exception):
    """A query that has to be answered from the index is not covered by it. Ask as an unbounded one."""


# ------------------------------------------------------------------------------------------------------------ queries


class FieldRows(msgspec.Struct, frozen=True):
    """Asks for the `FieldRow` of each indexed path."""


class ValuesOf(msgspec.Struct, frozen=True):
    """Asks for field, text, number and events of those of these values that the index has; given as field and text."""

    values: list[tuple[int, str]]


PayloadRow = tuple[int, int, bytes | None]
"""Position, kind and payload of an event."""


class CountsOfField(msgspec.Struct, frozen=True):
    """Asks for value, events and failures of each value that matching events have in the index of a field."""

    resolved: ResolvedQuery
    field: int


class EachPayload(msgspec.Struct, frozen=True):
    """Asks to call `take` with a `PayloadRow` of each matching event after a position and up to another, in parts
    of any size and in any order."""

    resolved: ResolvedQuery
    after: int
    upto: int
    take: Callable[[Iterable[PayloadRow]], None]


PayloadQuestion = FieldRows | ValuesOf | CountsOfField | EachPayload

_Matching = Generator[PayloadQuestion, Any, ResolvedQuery]
_Asked = Mapping[str, tuple[str, ...]]


def match_payload(snapshot: Snapshot, resolved: ResolvedQuery, *, bounded: bool) -> _Matching:
    """The query with its payload values found, in the index or in the payloads. `bounded` raises IndexBehind rather
    than read more than the last `TAIL_MAX` payloads."""
    if sets_only(_WITHOUT_PAYLOAD, resolved):
        return resolved
    asked, excluded = _asked(resolved)
    fields: dict[str, FieldRow] = {row.path: row for row in (yield FieldRows())}
    covered = {
        path: fields[path]
        for path in (*asked, *excluded)
        if path in fields and snapshot.size - fields[path].indexed_to <= TAIL_MAX
    }
    uncovered = {*asked, *excluded} - covered.keys()
    if bounded and uncovered:
        raise IndexBehind
    plain = _without_payload(resolved)
    found = yield from _match_in_index(snapshot, plain, covered, asked, excluded)
    if uncovered:
        rest = _only(asked, uncovered), _only(excluded, uncovered)
        match = yield from _scan(found, rest, 0, snapshot.size)
        return msgspec.structs.replace(found, payload=(*(found.payload or ()), match))
    return found


def match_payload_in_part(snapshot: Snapshot, resolved: ResolvedQuery) -> _Matching:
    """The query with its payload values found, if that is one value in the index and nothing else but the time;
    otherwise as it is."""
    asked, excluded = _asked(resolved)
    values = [value for texts in asked.values() for value in texts]
    if excluded or len(values) != 1 or not sets_only(_ONE_VALUE_IN_TIME, resolved):
        return resolved
    try:
        return (yield from match_payload(snapshot, resolved, bounded=True))
    except IndexBehind:
        return resolved


def scan_payload(resolved: ResolvedQuery, after: int, upto: int) -> _Matching:
    """The query with its payload values found in the payloads of the events after a position and up to another, which
    are then the only ones that match."""
    if sets_only(_WITHOUT_PAYLOAD, resolved):
        return resolved
    match = yield from _scan(_without_payload(resolved), _asked(resolved), after, upto)
    return msgspec.structs.replace(_without_payload(resolved), payload=(match,))


_WITHOUT_PAYLOAD = frozenset(ResolvedQuery.__struct_fields__) - PAYLOAD_FIELDS
_ONE_VALUE_IN_TIME = frozenset({"payload_values", "since", "until"})


def _asked(resolved: ResolvedQuery) -> tuple[_Asked, _Asked]:
    return values_by_path(resolved.payload_values or ()), values_by_path(resolved.excluded_payload_values or ())


def _only(asked: _Asked, paths: set[str]) -> _Asked:
    return {path: values for path, values in asked.items() if path in paths}


def _without_payload(resolved: ResolvedQuery) -> ResolvedQuery:
    return msgspec.structs.replace(resolved, payload_values=None, excluded_payload_values=None)


def _match_in_index(
    snapshot: Snapshot, plain: ResolvedQuery, covered: Mapping[str, FieldRow], asked: _Asked, excluded: _Asked
) -> _Matching:
    """The query with the values of the covered paths, of which the last events are read."""
    if not covered:
        return plain
    groups = (asked, excluded)
    sought = [(row.field, text) for group in groups for path, row in covered.items() for text in group.get(path, ())]
    numbers: dict[tuple[int, str], tuple[int, int]] = {
        (field, text): (number, events) for field, text, number, events in (yield ValuesOf(sought))
    }
    tails: dict[tuple[str, bool], list[int]] = {}
    reader = PayloadReader(covered)

    def take(rows: Iterable[PayloadRow]) -> None:
        for position, _, payload in rows:
            values = {} if payload is None else reader.values(payload)
            for group, is_excluded in ((asked, False), (excluded, True)):
                for path in covered:
                    if position > covered[path].indexed_to and _has_one(values, path, group.get(path, ())):
                        tails.setdefault((path, is_excluded), []).append(position)

    first = min(row.indexed_to for row in covered.values())
    if first < snapshot.size:
        yield EachPayload(plain, first, snapshot.size, take)

    def matches(group: _Asked, is_excluded: bool) -> tuple[PayloadMatch, ...] | None:
        return (
            tuple(
                PayloadMatch(
                    tuple(numbers[row.field, text][0] for text in group[path] if (row.field, text) in numbers),
                    tails.get((path, is_excluded), []),
                )
                for path, row in covered.items()
                if path in group
            )
            or None
        )

    known = None
    if len(sought) == 1 and asked.keys() == covered.keys() and not excluded and sets_only(_NOTHING_ELSE, plain):
        known = sum(events for _, events in numbers.values()) + sum(map(len, tails.values()))
    return msgspec.structs.replace(
        plain, payload=matches(asked, False), not_payload=matches(excluded, True), known_events=known
    )


def _scan(
    resolved: ResolvedQuery, rest: tuple[_Asked, _Asked], after: int, upto: int
) -> Generator[PayloadQuestion, Any, PayloadMatch]:
    """The events that match a query and have the values that are asked for, and none that is excluded."""
    asked, excluded = rest
    reader = PayloadReader((*asked, *excluded))
    positions = array("q")

    def take(rows: Iterable[PayloadRow]) -> None:
        for number, (position, _, payload) in enumerate(rows):
            if number % _CHECK_DEADLINE_EVERY == 0:
                check_deadline()
            values = {} if payload is None else reader.values(payload)
            if all(_has_one(values, path, texts) for path, texts in asked.items()) and not any(
                _has_one(values, path, texts) for path, texts in excluded.items()
            ):
                positions.append(position)

    yield EachPayload(resolved, after, upto, take)
    return PayloadMatch(positions=positions)


def _has_one(values: Mapping[str, tuple[str, ...]], path: str, texts: tuple[str, ...]) -> bool:
    return any(value in texts for value in values.get(path, ()))


def count_payload_values(
    snapshot: Snapshot, resolved: ResolvedQuery, path: str
) -> Generator[PayloadQuestion, Any, list[tuple[str, int, int]]]:
    """Value, events and failures of each value that matching events have at a path. Raises QueryTooExpensive when there
    are more than `FACET_VALUES_MAX`."""
    row = {row.path: row for row in (yield FieldRows())}.get(path)
    events: Counter[str] = Counter()
    failures: Counter[str] = Counter()
    after = 0
    if row is not None and snapshot.size - row.indexed_to <= TAIL_MAX:
        after = row.indexed_to
        for text, count, failed in (yield CountsOfField(resolved, row.field)):
            events[text] += count
            failures[text] += failed
    reader = PayloadReader([path])

    def take(rows: Iterable[PayloadRow]) -> None:
        for number, (_, kind, payload) in enumerate(rows):
            if number % _CHECK_DEADLINE_EVERY == 0:
                check_deadline()
            failed = snapshot.kinds[kind].outcome == "failure"
            for text in {} if payload is None else reader.values(payload).get(path, ()):
                events[text] += 1
                failures[text] += failed
            if len(events) > FACET_VALUES_MAX:
                raise query_too_expensive(_TOO_MANY_VALUES)

    if after < snapshot.size:
        yield EachPayload(resolved, after, snapshot.size, take)
    if len(events) > FACET_VALUES_MAX:
        raise query_too_expensive(_TOO_MANY_VALUES)
    return [(text, count, failures[text]) for text, count in events.items()]


# ------------------------------------------------------------------------------------------------------------ filling


class Slice(msgspec.Struct, frozen=True):
    """The next part of a log to index: the events after a position and up to another, for some fields."""

    fields: tuple[FieldRow, ...]
    after: int
    upto: int


class IndexedEvent(msgspec.Struct, frozen=True):
    """What the index needs of an event."""

    position: int
    occurred_at: int
    failed: bool
    payload: bytes | None


class ValueEntry(msgspec.Struct, frozen=True):
    """An event that has a value."""

    occurred_at: int
    position: int
    failed: bool


def next_slice(rows: Iterable[FieldRow], size: int) -> Slice | None:
    """The next slice: of the fields with the least indexed, up to where the next one is. None if all of them cover
    the log."""
    behind = [row for row in rows if row.indexed_to < size]
    if not behind:
        return None
    after = min(row.indexed_to for row in behind)
    upto = min([size, after + SLICE_EVENTS, *(row.indexed_to for row in behind if row.indexed_to > after)])
    return Slice(tuple(row for row in behind if row.indexed_to == after), after, upto)


def entries_of(fields: Iterable[FieldRow], events: Iterable[IndexedEvent]) -> dict[tuple[int, str], list[ValueEntry]]:
    """The entries of events in the index of some fields, by field and text. Those that a field does not cover have
    none."""
    by_path = {row.path: row for row in fields}
    reader = PayloadReader(by_path)
    found: dict[tuple[int, str], list[ValueEntry]] = {}
    for event in events:
        if event.payload is None:
            continue
        for path, texts in reader.values(event.payload).items():
            if event.position > by_path[path].indexed_to:
                continue
            for text in texts:
                entry = ValueEntry(event.occurred_at, event.position, event.failed)
                found.setdefault((by_path[path].field, text), []).append(entry)
    return found


# ----------------------------------------------------------------------------------------------------------- checking


def check_payload_fields(size: int, report: Callable[[str], None]) -> Check:
    """Check the index against the payloads. Calls `report` with what is wrong.

    What the index has and what it should have are compared by their number and by a sum of keyed hashes, so that the
    memory stays the same however many there are.
    """
    rows = [FieldRow(*row) for row in (yield Rows("payload_fields"))]
    if (yield Rows("wrong_payload_values")) or any(row.indexed_to > size for row in rows):
        report("the values of payload fields are counted wrong")
    sums = {row.field: [0, 0] for row in rows}
    key = secrets.token_bytes(16)
    upto = max((row.indexed_to for row in rows), default=0)
    for after in range(0, upto, _CHECK_EVENTS):
        part = yield Rows("payload_part", (after, min(after + _CHECK_EVENTS, upto)))
        events = [IndexedEvent(position, at, failed, payload) for position, at, failed, payload in part]
        for (field, text), entries in entries_of(rows, events).items():
            for entry in entries:
                _add(sums[field], _digest(key, text, entry.occurred_at, entry.position), 1)
    for row in rows:

        def take(stored: Iterable[Sequence[Any]], row: FieldRow = row) -> None:
            for text, occurred_at, position in stored:
                _add(sums[row.field], _digest(key, text, occurred_at, position), -1)

        yield EachRow("payload_entries", (row.field,), take)
    if any(count or total for count, total in sums.values()) or (yield Rows("stray_payload_values")):
        report("the index of payload fields does not belong to the payloads")


def _add(sums: list[int], digest: int, sign: int) -> None:
    sums[0] += sign
    sums[1] += sign * digest


def _digest(key: bytes, text: str, occurred_at: int, position: int) -> int:
    name = f"{occurred_at} {position} {text}".encode()
    return int.from_bytes(hashlib.blake2b(name, digest_size=8, key=key).digest())
