"""Parsing new events from request bodies, and encoding events, pages and counts for responses.

Parsing has a fast path, which only finds out whether an event is valid. An invalid one is parsed again field by field,
so that every problem is named at its own place.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec
from msgspec import UNSET, Raw, UnsetType

from whence.errors import Invalid, Problem, TooLarge
from whence.events import ActorStat, Counts, Event, NewEvent, Page, Viewer, Vocabulary
from whence.recent import RecentlyUsed
from whence.wire.bodies import (
    ActorStatBody,
    CountsBody,
    EventBody,
    KeyCountBody,
    NewEventBody,
    PageBody,
    StoredEventBody,
)
from whence.wire.fields import (
    Broken,
    check_actor_type,
    check_causation_id,
    check_cause_of,
    check_correlation_id,
    check_event_type,
    check_new_actor_id,
    check_outcome,
    check_resource_type,
    check_text,
    check_uuid,
    near,
)
from whence.wire.ids import derived_uuid, new_uuid7
from whence.wire.parameters import EVENT_INCLUDES
from whence.wire.payload import PAYLOAD_MAX, check_compact, compact_json, count_keys, refuse_repeated_keys
from whence.wire.problems import Hints, shown_name
from whence.wire.times import format_time, parse_time

__all__ = [
    "BATCH_EVENTS_MAX",
    "BATCH_MAX",
    "BODY_MAX",
    "FIELD_CHECKS",
    "FUTURE_MAX_US",
    "KEPT_PAYLOAD_MAX",
    "UNKNOWN_MAX",
    "IngestContext",
    "Loc",
    "ParsedEvent",
    "check_event_size",
    "encode_actor_stats",
    "encode_counts",
    "encode_event",
    "encode_page",
    "encode_stored_event",
    "event_body",
    "forget_encoded",
    "iter_batch",
    "parse_batch",
    "parse_new_event",
    "read_members",
    "repeated_keys",
    "split_batch",
]

BODY_MAX = 320 * 1024
"""The largest body with one event, in bytes after inflating."""

BATCH_MAX = 5 * 1024 * 1024
"""The largest batch, in bytes after inflating."""

BATCH_EVENTS_MAX = 1000
"""The largest batch, in events."""

FUTURE_MAX_US = 5 * 60 * 1_000_000
"""How far an `occurredAt` may be ahead of the clock, in microseconds."""

UNKNOWN_MAX = 20
"""Unknown keys of an event beyond these are counted, not named."""

_IDEMPOTENCY_LOC = ("header", "Idempotency-Key")
_STATS_CHUNK = 500

Loc = tuple[str | int, ...]
ParsedEvent = NewEvent | Invalid | TooLarge


class IngestContext(msgspec.Struct, frozen=True):
    """What parsing needs of the request: the credential's tenant, the vocabulary, the time in microseconds, and the
    header `Idempotency-Key` if it was sent."""

    tenant: str
    vocabulary: Vocabulary
    now: int
    idempotency_key: str | None = None


# ---------------------------------------------------------------------------------------------------------- parsing

_decode_new_event = msgspec.json.Decoder(NewEventBody).decode
_decode_members = msgspec.json.Decoder(dict[str, Raw]).decode
decode_text = msgspec.json.Decoder(str).decode
# An array of at most 1000 items, as a Struct, so that decoding a longer one fails at its 1001st item.
_decode_items = msgspec.json.Decoder(
    msgspec.defstruct(
        "_Items",
        [(f"item{index}", Raw | msgspec.UnsetType, UNSET) for index in range(BATCH_EVENTS_MAX)],
        array_like=True,
        forbid_unknown_fields=True,
    )
).decode
_LINE = re.compile(rb"[^ \t\r\n][^\n]*")


def parse_new_event(body: bytes, ctx: IngestContext) -> NewEvent:
    """The event in a JSON body. Raises `TooLarge`, and `Invalid` with every problem that was found."""
    check_event_size(body)
    _check_idempotency_key(ctx)
    try:
        compact = compact_json(body)
    except Broken as error:
        raise Invalid.at(("body",), str(error), error.type) from None
    return _parse_compact(compact, ("body",), ctx, None, Hints())


def parse_batch(body: bytes, ndjson: bool, ctx: IngestContext) -> list[ParsedEvent]:
    """The events of a batch, in order, each parsed or as the error with which it is refused.

    Raises `TooLarge`, and `Invalid` when the body as a whole is not a batch of 1..1000 items. With an Idempotency-Key,
    an event without an id gets one that is derived from the tenant, the key and its index.
    """
    return list(iter_batch(body, ndjson, ctx))


def iter_batch(body: bytes, ndjson: bool, ctx: IngestContext) -> Iterator[ParsedEvent]:
    """The same, an event at a time, for a caller that has other things to do in between. Raises at the first event."""
    _check_idempotency_key(ctx)
    hints = Hints()
    for index, item in enumerate(split_batch(body, ndjson)):
        yield _parse_item(item, index, ctx, ndjson, hints)


def check_event_size(body: bytes) -> None:
    """Raise `TooLarge` if the body of a single event is beyond the limit."""
    if len(body) > BODY_MAX:
        raise TooLarge(f"A body with one event has at most {BODY_MAX} bytes after inflating.")


def split_batch(body: bytes, ndjson: bool) -> list[bytes]:
    """The items of a batch, 1..1000. Those of an array have lost their white space. Raises `TooLarge` and `Invalid`.

    Blank lines are skipped.
    """
    if len(body) > BATCH_MAX:
        raise TooLarge(f"A batch has at most {BATCH_MAX} bytes after inflating.")
    if ndjson:
        items: list[bytes] = []
        for line in _LINE.finditer(body):
            items.append(line[0])
            if len(items) > BATCH_EVENTS_MAX:
                break
    else:
        items = _split_array(body)
    if not 0 < len(items) <= BATCH_EVENTS_MAX:
        raise Invalid.at(("body",), f"A batch has 1 to {BATCH_EVENTS_MAX} events.", "batch_length")
    return items


def _split_array(body: bytes) -> list[bytes]:
    try:
        compact = compact_json(body)
    except Broken as error:
        raise Invalid.at(("body",), str(error), error.type) from None
    if not compact.startswith(b"["):
        raise Invalid.at(("body",), "A batch is a JSON array of events, or NDJSON.", "list_type")
    try:
        items = _decode_items(compact)
    except msgspec.ValidationError:
        raise Invalid.at(("body",), f"A batch has 1 to {BATCH_EVENTS_MAX} events.", "batch_length") from None
    return [bytes(item) for item in msgspec.structs.astuple(items) if item is not UNSET]


def _parse_item(item: bytes, index: int, ctx: IngestContext, ndjson: bool, hints: Hints) -> ParsedEvent:
    loc = ("body", index)
    try:
        return _parse_compact(compact_json(item) if ndjson else item, loc, ctx, index, hints)
    except Broken as error:
        return Invalid.at(loc, str(error), error.type)
    except (Invalid, TooLarge) as error:
        return error


def _check_idempotency_key(ctx: IngestContext) -> None:
    if ctx.idempotency_key is None:
        return
    try:
        check_text(ctx.idempotency_key, "An Idempotency-Key")
    except Broken as error:
        raise Invalid.at(_IDEMPOTENCY_LOC, str(error), error.type) from None


def _new_id(ctx: IngestContext, index: int | None) -> str:
    if ctx.idempotency_key is None:
        return new_uuid7()
    if index is None:
        return derived_uuid(ctx.tenant, ctx.idempotency_key)
    return derived_uuid(ctx.tenant, ctx.idempotency_key, str(index))


def _parse_compact(compact: bytes, loc: Loc, ctx: IngestContext, index: int | None, hints: Hints) -> NewEvent:
    try:
        return _parse_fast(compact, ctx, index)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return _parse_slowly(compact, loc, ctx, index, hints)


def _parse_fast(compact: bytes, ctx: IngestContext, index: int | None) -> NewEvent:
    """Raises one of several errors for an event that may be invalid. Then `_parse_slowly` decides."""
    sent = _decode_new_event(compact)
    keys = (
        6
        + (sent.id is not UNSET)
        + (sent.causation_id is not UNSET)
        + (sent.correlation_id is not UNSET)
        + (sent.outcome is not UNSET)
        + (sent.tenant_id is not UNSET)
    )
    payload, keys_inside = b"{}", 0
    if sent.payload is not UNSET:
        payload = bytes(sent.payload)
        keys_inside = count_keys(payload)
        keys += 1
    colons = compact.count(b'":')
    if colons != keys + keys_inside:
        # Either a key is repeated, or a text contains `":`. In a payload that may be; else the slow path finds out.
        refuse_repeated_keys(payload, keys_inside)
        if colons - payload.count(b'":') != keys:
            raise Broken("Not as many keys as fields.")
    if sent.tenant_id is not UNSET:
        _check_tenant(sent.tenant_id, ctx)
    event_id = _text_or_none(sent.id, check_uuid) or _new_id(ctx, index)
    causation_id = _text_or_none(sent.causation_id, check_causation_id)
    check_cause_of(event_id, causation_id)
    return NewEvent(
        id=event_id,
        event_type=check_event_type(sent.event_type),
        actor_type=check_actor_type(sent.actor_type, ctx.vocabulary.actor_types),
        actor_id=check_new_actor_id(sent.actor_id),
        resource_type=check_resource_type(sent.resource_type, ctx.vocabulary),
        resource_id=check_uuid(sent.resource_id),
        occurred_at=_check_occurred_at(sent.occurred_at, ctx),
        payload=payload,
        correlation_id=_text_or_none(sent.correlation_id, check_correlation_id),
        causation_id=causation_id,
        outcome=_text_or_none(sent.outcome, check_outcome),
    )


def _text_or_none(value: str | UnsetType | None, check: Callable[[str], str]) -> str | None:
    """The checked text of an optional field; None when it was left out or is null."""
    return None if value is None or value is UNSET else check(value)


def _check_tenant(text: str, ctx: IngestContext) -> str:
    if text != ctx.tenant:
        raise Broken("The tenant is the credential's; leave this field out or send the same.", "tenant_mismatch")
    return text


def _check_occurred_at(text: str, ctx: IngestContext) -> int:
    try:
        us = parse_time(text)
    except ValueError as error:
        raise Broken(str(error), "datetime_parsing") from None
    if us > ctx.now + FUTURE_MAX_US:
        raise Broken("An event may lie at most 5 minutes in the future.", "datetime_future")
    return us


Check = Callable[[str, IngestContext], object]

FIELD_CHECKS: dict[str, Check] = {
    "eventType": lambda text, _ctx: check_event_type(text),
    "actorType": lambda text, ctx: check_actor_type(text, ctx.vocabulary.actor_types),
    "actorId": lambda text, _ctx: check_new_actor_id(text),
    "resourceType": lambda text, ctx: check_resource_type(text, ctx.vocabulary),
    "resourceId": lambda text, _ctx: check_uuid(text),
    "occurredAt": _check_occurred_at,
    "id": lambda text, _ctx: check_uuid(text),
    "correlationId": lambda text, _ctx: check_correlation_id(text),
    "causationId": lambda text, _ctx: check_causation_id(text),
    "outcome": lambda text, _ctx: check_outcome(text),
    "tenantId": _check_tenant,
}
_REQUIRED = frozenset(("eventType", "actorType", "actorId", "resourceType", "resourceId", "occurredAt"))
_NULLABLE = frozenset(("id", "correlationId", "causationId", "outcome"))
_KNOWN = (*FIELD_CHECKS, "payload")


def _parse_slowly(compact: bytes, loc: Loc, ctx: IngestContext, index: int | None, hints: Hints) -> NewEvent:
    """Parse an event field by field. Raises `TooLarge`, else `Invalid` with every problem."""
    members = read_members(compact, loc)
    if len(bytes(members.get("payload", Raw()))) > PAYLOAD_MAX:
        raise TooLarge(f"A payload has at most {PAYLOAD_MAX} bytes.")
    problems: list[Problem] = []
    values: dict[str, object] = {}
    for name in FIELD_CHECKS:
        try:
            values[name] = _read_field(name, members.get(name), ctx)
        except Broken as error:
            problems.append(Problem((*loc, name), str(error), error.type))
    payload = bytes(members.get("payload", b"{}"))
    try:
        check_compact(payload)
    except Broken as error:
        problems.append(Problem((*loc, "payload"), str(error), error.type))
    problems += _unknown_keys(members, loc, hints)
    problems += [
        Problem((*loc, shown_name(name)), "The event has this key more than once.", "duplicate_key")
        for name in repeated_keys(compact)
    ]
    event_id = values.get("id") or _new_id(ctx, index)
    try:
        check_cause_of(event_id, values.get("causationId"))
    except Broken as error:
        problems.append(Problem((*loc, "causationId"), str(error), error.type))
    if problems:
        raise Invalid(problems)
    fields = {snake: values[camel] for camel, snake in _SNAKE.items()}
    return msgspec.convert({**fields, "id": event_id, "payload": payload}, NewEvent)


_SNAKE = {
    name: re.sub("[A-Z]", lambda letter: "_" + letter[0].lower(), name)
    for name in FIELD_CHECKS
    if name not in ("id", "tenantId")
}


def read_members(compact: bytes, loc: Loc) -> dict[str, Raw]:
    """The members of a JSON object from `compact_json`. Raises `Invalid` at `loc` for anything else."""
    if not compact.startswith(b"{"):
        raise Invalid.at(loc, "An event is a JSON object.", "dict_type")
    try:
        return _decode_members(compact)
    except UnicodeDecodeError:
        raise Invalid.at(loc, "A body is UTF-8.", "string_unicode") from None
    except (msgspec.DecodeError, ValueError, RecursionError):
        raise Invalid.at(loc, "This is not a JSON object that can be read.", "json_invalid") from None


def _read_field(name: str, raw: Raw | None, ctx: IngestContext) -> object:
    if raw is None:
        if name in _REQUIRED:
            raise Broken("This field is required.", "missing")
        return None
    data = bytes(raw)
    if data == b"null" and name in _NULLABLE:
        return None
    if not data.startswith(b'"'):
        raise Broken("This field is a string.", "string_type")
    try:
        text = decode_text(data)
    except UnicodeDecodeError:
        raise Broken("A string is UTF-8.", "string_unicode") from None
    return FIELD_CHECKS[name](text, ctx)


def _unknown_keys(members: Iterable[str], loc: Loc, hints: Hints) -> list[Problem]:
    unknown = [name for name in members if name not in _KNOWN]
    problems = [
        Problem((*loc, shown_name(name)), f"An event has no such field{_hint(name, hints)}.", "extra_forbidden")
        for name in unknown[:UNKNOWN_MAX]
    ]
    if len(unknown) > UNKNOWN_MAX:
        more = len(unknown) - UNKNOWN_MAX
        problems.append(Problem(loc, f"And {more} more fields that an event does not have.", "extra_forbidden"))
    return problems


def _hint(name: str, hints: Hints) -> str:
    found = near(name, _KNOWN) if hints.take() else None
    return "" if found is None else f"; the nearest is {found}"


def repeated_keys(compact: bytes) -> list[str]:
    """The keys that the object itself has more than once, at most `UNKNOWN_MAX`."""
    text = compact.decode("utf-8", "replace")
    try:
        # The hook runs on inner objects first; its result for the outermost object is the result of `loads`.
        names = json.loads(text, object_pairs_hook=_names, parse_int=len, parse_float=len)
    except RecursionError:
        return []  # the depth is already named as a problem
    return [name for name, times in Counter(names).items() if times > 1][:UNKNOWN_MAX]


def _names(pairs: list[tuple[str, object]]) -> list[str]:
    return [name for name, _ in pairs]


# --------------------------------------------------------------------------------------------------------- encoding

_encode = msgspec.json.Encoder().encode

_ANYONE = Viewer("")
"""One that sees all events."""

_encoded: RecentlyUsed[int, tuple[Event, Raw]] = RecentlyUsed(16 * 1024 * 1024)
"""Events of shared pages with their bytes, by the identity of the event."""

_ENTRY_BYTES = 1_536
"""About what an entry takes beside the encoded bytes and the payload: the rest of its event, among others."""

KEPT_PAYLOAD_MAX = 8 * 1024
"""Neither an event with a larger payload nor its bytes are kept in memory for the next page."""


def event_body(event: Event, include: frozenset[str], viewer: Viewer) -> EventBody:
    """The event as a part of a larger body, with the keys that `include` names."""
    return EventBody(
        actor_id=event.actor_id,
        actor_type=event.actor_type,
        causation_id=event.causation_id,
        correlation_id=event.correlation_id,
        erased_at=_erased_at(event) if "erasedAt" in include else UNSET,
        event_type=event.event_type,
        id=event.id,
        occurred_at=format_time(event.occurred_at),
        outcome=event.outcome if "outcome" in include else UNSET,
        raw_payload=Raw(b"null" if event.payload is None else event.payload),
        position=_position(event, viewer) if "position" in include else UNSET,
        recorded_at=format_time(event.recorded_at) if "recordedAt" in include else UNSET,
        resource_id=event.resource_id,
        resource_type=event.resource_type,
        tenant_id=event.tenant_id,
    )


def _erased_at(event: Event) -> str | None:
    return None if event.erased_at is None else format_time(event.erased_at)


def _position(event: Event, viewer: Viewer) -> int | None:
    """The position; null for a viewer that does not see all events, since it counts those that are hidden."""
    return event.position if viewer.sees_all else None


def encode_event(event: Event, include: frozenset[str] = frozenset(), viewer: Viewer = _ANYONE) -> bytes:
    """The eleven keys of the contract, and those of position, recordedAt, outcome and erasedAt that `include` names."""
    return _encode(event_body(event, include, viewer))


def encode_stored_event(event: Event, correlation_id: str | None) -> bytes:
    """The answer to the sender of an event: the eleven keys, with this `correlationId`, null when the sender may not
    learn it."""
    if correlation_id == event.correlation_id:
        return encode_event(event)
    body = msgspec.structs.asdict(event_body(event, frozenset(), _ANYONE))
    return _encode(StoredEventBody(**body | {"correlation_id": correlation_id}))


def encode_page(
    page: Page,
    include: frozenset[str] = frozenset(),
    next_cursor: str | None = None,
    viewer: Viewer = _ANYONE,
    *,
    shared: bool = False,
) -> bytes:
    """The five keys of the contract, and `nextCursor` (null on the last page) when `include` names it. `shared`: other
    pages have the same objects as events, so the bytes of each are kept."""
    events: list[Any]
    if shared and include.isdisjoint(EVENT_INCLUDES):
        events = [_encoded_event(event) for event in page.events]
    else:
        events = [event_body(event, include, viewer) for event in page.events]
    return _encode(
        PageBody(
            events=events,
            has_next=page.has_next,
            limit=page.limit,
            next_cursor=next_cursor if "nextCursor" in include else UNSET,
            offset=page.offset,
            total=page.total,
        )
    )


def _encoded_event(event: Event) -> Raw:
    """The eleven keys of an event of shared pages, encoded once."""
    known = _encoded.get(id(event))
    if known is not None:  # it holds its event, so no other can have this id
        return known[1]
    encoded, size = Raw(encode_event(event)), len(event.payload or b"")
    if size <= KEPT_PAYLOAD_MAX:
        _encoded.put(id(event), (event, encoded), len(encoded) + size + _ENTRY_BYTES)
    return encoded


def forget_encoded() -> None:
    """Forget the bytes that are kept for shared pages, after a removal."""
    _encoded.clear()


def encode_counts(counts: Counts) -> bytes:
    """The body of the aggregate route."""
    return _encode(
        CountsBody(
            by_actor_type=_key_counts(counts.by_actor_type),
            by_event_type=_key_counts(counts.by_event_type),
            by_resource_type=_key_counts(counts.by_resource_type),
            total=counts.total,
        )
    )


def _key_counts(pairs: Iterable[tuple[str, int]]) -> list[KeyCountBody]:
    return [KeyCountBody(count=count, key=key) for key, count in pairs]


def encode_actor_stats(stats: Iterable[ActorStat]) -> Iterator[bytes]:
    """The body of the statistics route, in chunks that together are one JSON object."""
    yield b'{"actors":['
    chunk: list[bytes] = []
    separator = b""
    for stat in stats:
        chunk.append(_encode(_stat_body(stat)))
        if len(chunk) == _STATS_CHUNK:
            yield separator + b",".join(chunk)
            separator = b","
            chunk.clear()
    if chunk:
        yield separator + b",".join(chunk)
    yield b"]}"


def _stat_body(stat: ActorStat) -> ActorStatBody:
    return ActorStatBody(
        actor_id=stat.actor_id,
        actor_type=stat.actor_type,
        failures=stat.failures,
        successes=stat.successes,
        total=stat.total,
    )
