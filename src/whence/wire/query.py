"""Query strings: one declared table of parameters drives both the parser and the served OpenAPI.

A read is parsed whole: every problem is named at its own place, and what passes here cannot fail later for its form.
"""

import base64
import re
import struct
from collections.abc import Callable, Iterable, Mapping
from hashlib import sha256
from typing import Any
from urllib.parse import unquote_to_bytes

import msgspec

from whence.errors import Invalid, Problem
from whence.events import (
    EVENT_TYPE_MAX,
    OUTCOMES,
    TEXT_MAX,
    Keyset,
    Page,
    PageRequest,
    Query,
    Vocabulary,
    is_event_type,
)
from whence.flows import FlowPage, FlowQuery
from whence.trace import WALK_MAX, TraceRequest
from whence.wire.fields import (
    Broken,
    check_actor_id,
    check_actor_type,
    check_causation_id,
    check_correlation_id,
    check_outcome,
    check_resource_type,
    check_uuid,
    nearest,
)
from whence.wire.times import TIME_MAX_US, TIME_MIN_US, parse_query_time

__all__ = [
    "CAUSE_PARAMETERS",
    "INT_MAX",
    "LIMIT_MAX",
    "NODES_DEFAULT",
    "NODES_MAX",
    "READ_PARAMETERS",
    "TEXT_SCHEMA",
    "VALUES_MAX",
    "FlowsRequest",
    "Parameter",
    "ReadRequest",
    "next_cursor",
    "next_flows_cursor",
    "parse_flows",
    "parse_period",
    "parse_read",
    "parse_trace",
]

INT_MAX = 2**63 - 1
"""The largest number in a query."""

LIMIT_MAX = 100
"""Events on a page, at most and by default."""

NODES_MAX, NODES_DEFAULT = 1_000, 500
"""Events in the answer of a trace, at most and by default."""

VALUES_MAX = 20
"""How often one filter may be repeated."""

UNKNOWN_MAX = 20
"""Unknown parameters that are named each; the rest are counted."""


class Parameter(msgspec.Struct, frozen=True):
    """A query parameter: its JSON schema as served, and whether it may be repeated (which means OR)."""

    name: str
    schema: dict[str, Any]
    description: str
    multiple: bool = False


class ReadRequest(msgspec.Struct, frozen=True):
    """A parsed read. `cursor_seed` is what a cursor of this read is bound to: tenant, route, filter and order."""

    query: Query
    page: PageRequest
    include: frozenset[str]
    cursor_seed: bytes


class FlowsRequest(msgspec.Struct, frozen=True):
    """A parsed question about flows; `cursor_seed` as in `ReadRequest`."""

    query: FlowQuery
    page: PageRequest
    cursor_seed: bytes


# -------------------------------------------------------------------------------------------------------- the table


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [schema, {"type": "null"}]}


TEXT_SCHEMA: dict[str, Any] = {
    "type": "string",
    "minLength": 1,
    "maxLength": TEXT_MAX,
    "pattern": r"^[^\u0000-\u001f\u007f-\u009f]+$",
}
"""The JSON schema of an actor, correlation or causation id."""

_REPEAT = f"Repeat it for alternatives, at most {VALUES_MAX}."
_WHEN = "RFC 3339, a date, or relative to now, such as -15m or -7d. Without an offset it is UTC."
_EVENT_INCLUDES = ("position", "recordedAt", "outcome")
_LIST_INCLUDES = (*_EVENT_INCLUDES, "nextCursor")

_FILTERS = (
    Parameter(
        "event_type",
        _or_null({"type": "string"}),
        f"An event type, or its first segments with .* behind them; 1 to {EVENT_TYPE_MAX} characters. {_REPEAT}",
        multiple=True,
    ),
    Parameter(
        "resource_type",
        _or_null({"$ref": "#/components/schemas/ResourceType"}),
        f"The type of the resource. {_REPEAT}",
        multiple=True,
    ),
    Parameter(
        "resource_id",
        _or_null({"type": "string", "format": "uuid"}),
        f"The id of the resource. {_REPEAT}",
        multiple=True,
    ),
    Parameter("actor_id", _or_null(TEXT_SCHEMA), f"Who did it. {_REPEAT}", multiple=True),
    Parameter(
        "actor_type",
        _or_null({"$ref": "#/components/schemas/ActorType"}),
        f"What kind of actor did it. {_REPEAT}",
        multiple=True,
    ),
    Parameter(
        "outcome", _or_null({"type": "string", "enum": list(OUTCOMES)}), f"How it went. {_REPEAT}", multiple=True
    ),
    Parameter("correlation_id", _or_null(TEXT_SCHEMA), f"The flow that the event is part of. {_REPEAT}", multiple=True),
    Parameter("causation_id", _or_null(TEXT_SCHEMA), f"The id of the event that caused it. {_REPEAT}", multiple=True),
)


def _times(of: str) -> tuple[Parameter, ...]:
    schema = _or_null({"type": "string", "format": "date-time"})
    return (
        Parameter("from", schema, f"{of} at or after this time. {_WHEN}"),
        Parameter("to", schema, f"{of} before this time. {_WHEN}"),
    )


_TIMES = _times("Events")


def _window(things: str) -> tuple[Parameter, ...]:
    schema = {"type": "integer", "minimum": 1, "maximum": LIMIT_MAX, "default": LIMIT_MAX}
    return (
        Parameter("limit", schema, f"{things} on the page."),
        Parameter(
            "offset",
            {"type": "integer", "minimum": 0, "default": 0},
            f"How many {things.lower()} to pass over, up to 2^63-1; not with cursor.",
        ),
    )


_WINDOW = _window("Events")
_CURSOR_PARAMETER = Parameter(
    "cursor",
    _or_null({"type": "string", "pattern": "^[A-Za-z0-9_-]{88}$"}),
    "Where the last page ended, from its Link header; with the same filter and without offset.",
)


def _paging(order: str) -> tuple[Parameter, ...]:
    return (
        Parameter(
            "order", {"type": "string", "enum": ["asc", "desc"], "default": order}, "By time: oldest or newest first."
        ),
        Parameter(
            "as_of",
            _or_null({"type": "integer", "minimum": 0, "maximum": INT_MAX}),
            "Answer as of this position: only events up to it.",
        ),
        _CURSOR_PARAMETER,
        _include(_LIST_INCLUDES),
    )


def _include(names: tuple[str, ...]) -> Parameter:
    one = "|".join(names)
    return Parameter(
        "include",
        _or_null({"type": "string", "pattern": f"^({one})(,({one}))*$"}),
        f"Keys to add to the answer, joined by commas: {', '.join(names)}.",
        multiple=True,
    )


def _without(*names: str) -> tuple[Parameter, ...]:
    return tuple(parameter for parameter in _FILTERS if parameter.name not in names)


_TRACE = (
    Parameter(
        "direction",
        {"type": "string", "enum": ["both", "up", "down"], "default": "both"},
        "The causes of the event, its consequences, or the whole graph.",
    ),
    Parameter(
        "depth",
        _or_null({"type": "integer", "minimum": 0, "maximum": WALK_MAX}),
        "Hops from the event at most; without it, all.",
    ),
    Parameter(
        "limit",
        {"type": "integer", "minimum": 1, "maximum": NODES_MAX, "default": NODES_DEFAULT},
        "Events in the answer, the nearest first.",
    ),
)

READ_PARAMETERS: dict[str, tuple[Parameter, ...]] = {
    "list": (*_FILTERS, *_TIMES, *_WINDOW, *_paging("desc")),
    "aggregate": (*_TIMES, *_FILTERS),
    "correlation": (*_WINDOW, *_without("correlation_id"), *_TIMES, *_paging("asc")),
    "resource": (*_WINDOW, *_without("resource_type", "resource_id"), *_TIMES, *_paging("desc")),
    "actors": (*_TIMES, *_FILTERS),
    "event": (_include(_EVENT_INCLUDES),),
}
"""The query parameters of each route that answers with events or counts them."""

CAUSE_PARAMETERS: dict[str, tuple[Parameter, ...]] = {
    "trace": _TRACE,
    "flows": (
        Parameter("outcome", _or_null({"type": "string", "enum": ["failure"]}), "Flows in which something failed."),
        *_times("Flows whose last event lies"),
        *_window("Flows"),
        _CURSOR_PARAMETER,
    ),
    "map": _times("Effects"),
}
"""The query parameters of each route that answers why something happened."""

_KNOWN = {
    route: {one.name: one for one in parameters} for route, parameters in (READ_PARAMETERS | CAUSE_PARAMETERS).items()
}
_PAGED = frozenset(("list", "correlation", "resource"))

Check = Callable[[str, Vocabulary], str]

_CHECKS: dict[str, tuple[str, Check]] = {
    "resource_type": ("resource_types", lambda text, words: check_resource_type(text, words.resource_types)),
    "resource_id": ("resource_ids", lambda text, _: check_uuid(text)),
    "actor_id": ("actor_ids", lambda text, _: check_actor_id(text)),
    "actor_type": ("actor_types", lambda text, words: check_actor_type(text, words.actor_types)),
    "outcome": ("outcomes", lambda text, _: check_outcome(text)),
    "correlation_id": ("correlation_ids", lambda text, _: check_correlation_id(text)),
    "causation_id": ("causation_ids", lambda text, _: check_causation_id(text)),
}
"""Parameter -> field of Query, and the rule of one value."""

NO_EVENT_TYPE = "-"
"""Stands for types outside the grammar, which no event can have; stores are spared odd text."""


# -------------------------------------------------------------------------------------------------------- the parser


def parse_read(
    route: str,
    query_string: bytes,
    *,
    tenant: str,
    now: int,
    vocabulary: Vocabulary,
    readable: tuple[str, ...] | None,
    fixed: Mapping[str, str],
) -> ReadRequest:
    """What a read asks for. `now` is in microseconds; `fixed` holds the decoded parts of the path that filter.

    Raises `Invalid` with every problem: `loc` is ('query', name), or ('path', name) for `fixed`.
    """
    reading = _Reading(route, now, vocabulary)
    values = reading.split(query_string)
    fields = reading.filters(values, fixed)
    since, since_text = reading.time("from", values)
    until, until_text = reading.time("to", values)
    limit = reading.number("limit", values, 1, LIMIT_MAX, LIMIT_MAX)
    offset = reading.number("offset", values, 0, INT_MAX, 0)
    as_of = reading.number("as_of", values, 0, INT_MAX, None)
    ascending = reading.ascending(values)
    include = reading.include(values)
    reading.refuse_two_places(values)
    seed = b""
    place = None
    if route in _PAGED and not reading.problems:
        seed = _seed(tenant, route, fields, since_text, until_text, ascending, readable)
        place = reading.cursor(values, seed, as_of)
    if place is not None:
        since, until, as_of, offset = place.since, place.until, place.as_of, place.offset
    reading.finish(since, until)
    return ReadRequest(
        query=Query(**fields, since=since, until=until, readable=readable),
        page=PageRequest(
            limit=limit or LIMIT_MAX,
            offset=offset or 0,
            ascending=ascending,
            as_of=as_of,
            after=place.after if place else None,
        ),
        include=include,
        cursor_seed=seed,
    )


def parse_trace(query_string: bytes) -> TraceRequest:
    """Which part of a graph is asked for. Raises `Invalid` with every problem."""
    reading = _Reading("trace")
    values = reading.split(query_string)
    direction: Any = reading.word("direction", values, ("both", "up", "down"), "A direction")
    depth = reading.number("depth", values, 0, WALK_MAX, None)
    limit = reading.number("limit", values, 1, NODES_MAX, NODES_DEFAULT)
    reading.finish()
    return TraceRequest(direction=direction, depth=depth, limit=limit or NODES_DEFAULT)


def parse_flows(query_string: bytes, *, tenant: str, now: int, readable: tuple[str, ...] | None) -> FlowsRequest:
    """Which flows are asked for; arguments and errors as in `parse_read`."""
    reading = _Reading("flows", now)
    values = reading.split(query_string)
    failed = "outcome" in values
    reading.word("outcome", values, ("failure",), "An outcome here")
    since, since_text = reading.time("from", values)
    until, until_text = reading.time("to", values)
    limit = reading.number("limit", values, 1, LIMIT_MAX, LIMIT_MAX)
    offset = reading.number("offset", values, 0, INT_MAX, 0)
    reading.refuse_two_places(values)
    fields = {"outcomes": ("failure",)} if failed else {}
    seed = b"" if reading.problems else _seed(tenant, "flows", fields, since_text, until_text, False, readable)
    place = None if reading.problems else reading.cursor(values, seed, None)
    if place is not None:
        since, until, offset = place.since, place.until, place.offset
    reading.finish(since, until)
    return FlowsRequest(
        query=FlowQuery(since=since, until=until, failed=failed, readable=readable),
        page=PageRequest(limit=limit or LIMIT_MAX, offset=offset or 0, after=place.after if place else None),
        cursor_seed=seed,
    )


def parse_period(query_string: bytes, *, now: int) -> tuple[int | None, int | None]:
    """The times `from` and `to` of a process map. Raises `Invalid` with every problem."""
    reading = _Reading("map", now)
    values = reading.split(query_string)
    since, _ = reading.time("from", values)
    until, _ = reading.time("to", values)
    reading.finish(since, until)
    return since, until


class _Reading:
    """Collects the problems of one query string while its parts are read."""

    def __init__(self, route: str, now: int = 0, vocabulary: Vocabulary | None = None) -> None:
        self.known = _KNOWN[route]
        self.route = route
        self.now = now
        self.vocabulary = vocabulary or Vocabulary()
        self.problems: list[Problem] = []

    def problem(self, name: str, message: str, type_: str, where: str = "query") -> None:
        self.note(Problem((where, name), message, type_))

    def note(self, problem: Problem) -> None:
        """Keep a problem, once: the answer to a long query of the same mistakes stays short."""
        if problem not in self.problems:
            self.problems.append(problem)

    def split(self, query_string: bytes) -> dict[str, list[str]]:
        """The values of known parameters, decoded. A parameter that has a problem here is left out."""
        values: dict[str, list[str]] = {}
        unknown: dict[str, None] = {}
        for pair in query_string.split(b"&"):
            if not pair:
                continue
            raw_name, _, raw_value = pair.partition(b"=")
            try:
                name = _decoded(raw_name)
            except Broken as error:
                self.note(Problem(("query",), str(error), error.type))
                continue
            if name not in self.known:
                unknown[name] = None
                continue
            try:
                text = _decoded(raw_value)
            except Broken as error:
                self.problem(name, str(error), error.type)
                continue
            values.setdefault(name, []).append(text)
        self._refuse_unknown(list(unknown))
        return {name: texts for name, texts in values.items() if self._count_is_good(name, texts)}

    def _refuse_unknown(self, names: list[str]) -> None:
        for name in names[:UNKNOWN_MAX]:
            self.problem(name, f"No such parameter; the nearest is {nearest(name, self.known)}.", "extra_forbidden")
        if len(names) > UNKNOWN_MAX:
            message = f"And {len(names) - UNKNOWN_MAX} more parameters that are not known here."
            self.problems.append(Problem(("query",), message, "extra_forbidden"))

    def _count_is_good(self, name: str, texts: list[str]) -> bool:
        if len(texts) > 1 and not self.known[name].multiple:
            self.problem(name, f"The parameter {name} may be given only once.", "repeated")
        elif len(texts) > VALUES_MAX:
            self.problem(name, f"The parameter {name} may be given at most {VALUES_MAX} times.", "too_many_values")
        elif not all(texts):
            self.problem(name, "A parameter must not be empty; leave it out instead.", "string_too_short")
        else:
            return True
        return False

    def filters(self, values: Mapping[str, list[str]], fixed: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
        """The fields of Query, each with the canonical values in order and without repetition."""
        fields: dict[str, tuple[str, ...]] = {}
        for where, name, texts in (
            *(("path", name, [text]) for name, text in fixed.items()),
            *(("query", name, texts) for name, texts in values.items()),
        ):
            if name not in _CHECKS:
                continue
            field, check = _CHECKS[name]
            try:
                fields[field] = tuple(dict.fromkeys(check(text, self.vocabulary) for text in texts))
            except Broken as error:
                self.problem(name, str(error), error.type, where)
        if "event_type" in values:
            try:
                fields["event_types"], fields["event_type_prefixes"] = _event_types(values["event_type"])
            except Broken as error:
                self.problem("event_type", str(error), error.type)
        return fields

    def time(self, name: str, values: Mapping[str, list[str]]) -> tuple[int | None, str | None]:
        """The time and what of it a cursor is bound to: the words when they are relative, else the instant."""
        if name not in values:
            return None, None
        text = values[name][0]
        try:
            us = parse_query_time(text, self.now)
        except ValueError as error:
            self.problem(name, str(error), "datetime_parsing")
            return None, None
        return us, text if text.startswith("-") else str(us)

    def number(
        self, name: str, values: Mapping[str, list[str]], least: int, most: int, default: int | None
    ) -> int | None:
        if name not in values:
            return default
        text = values[name][0]
        if not (text.isascii() and text.isdigit()):
            self.problem(name, "This is a whole number in plain digits.", "int_parsing")
        elif len(text) > len(str(INT_MAX)) or not least <= int(text) <= most:
            self.problem(name, f"This is a number from {least} to {most}.", "out_of_range")
        else:
            return int(text)
        return default

    def ascending(self, values: Mapping[str, list[str]]) -> bool:
        if "order" not in values:
            return self.route == "correlation"
        return self.word("order", values, ("asc", "desc"), "An order") == "asc"

    def word(self, name: str, values: Mapping[str, list[str]], words: tuple[str, ...], what: str) -> str:
        """One of a few words; the first of them when it is left out."""
        text = values[name][0] if name in values else words[0]
        if text not in words:
            self.problem(name, f"{what} is one of: {', '.join(words)}.", "enum")
        return text

    def refuse_two_places(self, values: Mapping[str, list[str]]) -> None:
        if "cursor" in values and "offset" in values:
            self.problem("offset", "A cursor has its own place; leave the offset out.", "cursor_with_offset")

    def finish(self, since: int | None = None, until: int | None = None) -> None:
        """Raise Invalid when there is a problem, a range of time that runs backwards among them."""
        if since is not None and until is not None and since > until:
            self.problem("from", "The time in from lies after the time in to.", "time_range")
        if self.problems:
            raise Invalid(self.problems)

    def include(self, values: Mapping[str, list[str]]) -> frozenset[str]:
        allowed = _EVENT_INCLUDES if self.route == "event" else _LIST_INCLUDES
        names = [name for text in values.get("include", ()) for name in text.split(",")]
        if not all(name in allowed for name in names):
            self.problem("include", f"What can be included is: {', '.join(allowed)}.", "enum")
        return frozenset(names)

    def cursor(self, values: Mapping[str, list[str]], seed: bytes, as_of: int | None) -> "_Place | None":
        if "cursor" not in values:
            return None
        place = _open_cursor(values["cursor"][0], seed)
        if place is None:
            self.problem("cursor", "The cursor is damaged, or of another question; start without it.", "cursor")
        elif as_of not in (None, place.as_of):
            self.problem("as_of", "The cursor is of another position; leave as_of out.", "cursor_with_as_of")
        return place


_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")


def _decoded(raw: bytes) -> str:
    if b"%" in raw and _BAD_ESCAPE.search(raw):
        raise Broken("A % in a query is followed by two hexadecimal digits.", "percent_encoding")
    try:
        return unquote_to_bytes(raw.replace(b"+", b" ")).decode()
    except UnicodeDecodeError:
        raise Broken("A query is percent-encoded UTF-8.", "string_unicode") from None


def _event_types(texts: Iterable[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Types and prefixes. What no event can have is dropped; if nothing is left, `NO_EVENT_TYPE` matches nothing."""
    types: dict[str, None] = {}
    prefixes: dict[str, None] = {}
    for text in texts:
        if len(text) > EVENT_TYPE_MAX:
            raise Broken(f"An event type has at most {EVENT_TYPE_MAX} characters.", "string_too_long")
        if text == "*":
            raise Broken("A * needs segments before it, such as action_run.*; leave it out for all.", "wildcard")
        if is_event_type(text):
            types[text] = None
        elif text.endswith(".*") and is_event_type(text[:-1] + "x"):
            prefixes[text[:-1]] = None
    if not types and not prefixes:
        return (NO_EVENT_TYPE,), ()
    return tuple(types), tuple(prefixes)


# ----------------------------------------------------------------------------------------------------------- cursors

_VERSION = 1
_HAS_SINCE, _HAS_UNTIL = 1, 2
_LAYOUT = struct.Struct(">BBqqqqqq")  # version, flags, as_of, occurred_at, position, offset, since, until
_DIGEST = 16
_CURSOR = re.compile(r"[A-Za-z0-9_-]{88}")  # 50 bytes of layout and 16 of digest


class _Place(msgspec.Struct, frozen=True):
    """What a cursor holds: its snapshot, where the last page ended, how many events came before, resolved times."""

    as_of: int
    after: Keyset
    offset: int
    since: int | None
    until: int | None


def _seed(
    tenant: str,
    route: str,
    fields: Mapping[str, tuple[str, ...]],
    since: str | None,
    until: str | None,
    ascending: bool,
    readable: tuple[str, ...] | None,
) -> bytes:
    """What must be the same for a cursor to go on. Alternatives are a set, so their order does not matter."""
    filters = sorted((field, sorted(values)) for field, values in fields.items())
    seen = None if readable is None else sorted(readable)
    return sha256(msgspec.json.encode((tenant, route, filters, since, until, ascending, seen))).digest()


def next_cursor(read: ReadRequest, page: Page) -> str | None:
    """The cursor of the page after this one; None when this is the last. It pins the snapshot of the first page."""
    if not page.has_next or not page.events:
        return None
    after = Keyset(page.events[-1].occurred_at, page.events[-1].position)
    times = (read.query.since, read.query.until)
    return _sealed(read.cursor_seed, page.as_of, after, page.offset + len(page.events), times)


def next_flows_cursor(read: FlowsRequest, page: FlowPage) -> str | None:
    """The cursor of the flows after this page; None when this is the last. Flows move as they go on, so it pins no
    snapshot: one that had not been met and has new events since is before the place now."""
    if not page.has_next or not page.flows:
        return None
    after = Keyset(page.flows[-1].last_at, page.flows[-1].number)
    times = (read.query.since, read.query.until)
    return _sealed(read.cursor_seed, page.size, after, page.offset + len(page.flows), times)


def _sealed(seed: bytes, as_of: int, after: Keyset, offset: int, times: tuple[int | None, int | None]) -> str:
    since, until = times
    packed = _LAYOUT.pack(
        _VERSION,
        (_HAS_SINCE if since is not None else 0) | (_HAS_UNTIL if until is not None else 0),
        as_of,
        after.occurred_at,
        after.position,
        offset,
        since or 0,
        until or 0,
    )
    return base64.urlsafe_b64encode(packed + _digest(seed, packed)).decode()


def _digest(seed: bytes, packed: bytes) -> bytes:
    return sha256(seed + packed).digest()[:_DIGEST]


def _open_cursor(text: str, seed: bytes) -> _Place | None:
    """The place, or None when the cursor is damaged or of another read.

    The digest has no secret: who forges a cursor only moves within what the credential may read. So every number is
    checked again.
    """
    if _CURSOR.fullmatch(text) is None:
        return None
    data = base64.urlsafe_b64decode(text)
    packed = data[: _LAYOUT.size]
    if _digest(seed, packed) != data[_LAYOUT.size :]:
        return None
    version, flags, as_of, occurred_at, position, offset, since, until = _LAYOUT.unpack(packed)
    sound = (
        version == _VERSION
        and 1 <= position <= as_of
        and offset >= 1
        and all(TIME_MIN_US <= us <= TIME_MAX_US for us in (occurred_at, since, until))
    )
    if not sound:
        return None
    return _Place(
        as_of,
        Keyset(occurred_at, position),
        offset,
        since if flags & _HAS_SINCE else None,
        until if flags & _HAS_UNTIL else None,
    )
