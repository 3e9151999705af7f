"""Query strings: text to a checked question.

A query string is parsed to its end, so that one answer names every problem at its own place. What passes here cannot
fail later because of its form.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import unquote_to_bytes

import msgspec

from whence.errors import Invalid, Problem
from whence.events import EVENT_TYPE_MAX, PageRequest, Query, Viewer, Vocabulary, is_event_type
from whence.flows import FlowQuery
from whence.histograms import INTERVALS_US, TOP_DEFAULT, TOP_MAX, HistogramRequest
from whence.identities import canonical
from whence.payload_fields import FIELDS_MAX, PATH_RULE, VALUE_RULE, is_path, is_value, values_by_path
from whence.sealing import Sealer
from whence.trace import WALK_MAX, TraceRequest
from whence.wire.cursor import Cursor, cursor_seed, filters_of, open_cursor
from whence.wire.fields import (
    Broken,
    asked_form,
    check_actor_id,
    check_actor_type,
    check_asked_resource_type,
    check_causation_id,
    check_correlation_id,
    check_outcome,
    check_uuid,
    near,
)
from whence.wire.ids import parse_uuid
from whence.wire.parameters import (
    EVENT_INCLUDES,
    INT_MAX,
    LIMIT_MAX,
    LIST_INCLUDES,
    LISTING_DEFAULT,
    LISTING_MAX,
    NODES_DEFAULT,
    NODES_MAX,
    PARAMETERS,
    PAYLOAD_PARAMETER,
    TRACE_INCLUDES,
    VALUES_MAX,
)
from whence.wire.query_language import PAYLOAD_PREFIX, parse_text
from whence.wire.times import parse_query_time

__all__ = [
    "FILTER_FIELDS",
    "NO_EVENT_TYPE",
    "FlowsRequest",
    "ListingRequest",
    "QueryReader",
    "ReadRequest",
    "parse_atomic",
    "parse_flows",
    "parse_histogram",
    "parse_listing",
    "parse_period",
    "parse_reach",
    "parse_read",
    "parse_trace",
    "refuse_parameters",
    "seal_listing",
]

UNKNOWN_MAX = 20
"""Unknown parameters beyond these are counted, not named."""

NO_EVENT_TYPE = "-"
"""Stands for every event type outside the grammar. No event can have it, so stores never see odd text."""

_KNOWN = {route: {one.name: one for one in parameters} for route, parameters in PARAMETERS.items()}
_PAGED = frozenset(("list", "correlation", "resource"))


class ReadRequest(msgspec.Struct, frozen=True):
    """A parsed read. `cursor_seed` is what a cursor of this read is bound to: tenant, route, filter and order.
    `is_relative` says that the same text means something else at another time."""

    query: Query
    page: PageRequest
    include: frozenset[str]
    cursor_seed: bytes
    is_relative: bool = False


class FlowsRequest(msgspec.Struct, frozen=True):
    """A parsed question about flows; `cursor_seed` as in `ReadRequest`."""

    query: FlowQuery
    page: PageRequest
    cursor_seed: bytes


class ListingRequest(msgspec.Struct, frozen=True):
    """A part of a list that is not of events. `after` is what `seal_listing` sealed, None for the first part."""

    limit: int
    after: bytes | None


ParameterCheck = Callable[[str, Vocabulary], str]

FILTER_FIELDS: dict[str, tuple[str, ParameterCheck]] = {
    "resource_type": ("resource_types", check_asked_resource_type),
    "resource_id": ("resource_ids", lambda text, _: check_uuid(text)),
    "actor_id": ("actor_ids", lambda text, _: asked_form(text, check_actor_id(text))),
    "actor_type": ("actor_types", lambda text, words: check_actor_type(text, words.actor_types)),
    "outcome": ("outcomes", lambda text, _: check_outcome(text)),
    "correlation_id": ("correlation_ids", lambda text, _: asked_form(text, check_correlation_id(text))),
    "causation_id": ("causation_ids", lambda text, _: check_causation_id(text)),
}
"""Parameter -> the field of `Query` that it sets, and the rule of one value. `event_type` has a rule of its own."""


def parse_read(
    route: str,
    query_string: bytes,
    *,
    viewer: Viewer,
    now: int,
    vocabulary: Vocabulary,
    sealer: Sealer,
    fixed: Mapping[str, str],
) -> ReadRequest:
    """What a read asks for. `route` is a key of `READ_PARAMETERS`, `now` is in microseconds, `sealer` is that of
    cursors, and `fixed` holds the decoded parts of the path that filter.

    Raises `Invalid` with every problem: `loc` is ('query', name), or ('path', name) for `fixed`.
    """
    reader = QueryReader(route, now, vocabulary)
    values = reader.split(query_string)
    fields = reader.filters(values, fixed)
    since, since_text = reader.time("from", values)
    until, until_text = reader.time("to", values)
    limit = reader.number("limit", values, 1, LIMIT_MAX, LIMIT_MAX)
    offset = reader.number("offset", values, 0, INT_MAX, 0)
    as_of = reader.number("as_of", values, 0, INT_MAX, None)
    if as_of is not None and not viewer.sees_all:
        reader.refuse("as_of", "This credential may not read every event, and as_of counts them all.", "as_of_narrowed")
    ascending = reader.ascending(values)
    include = reader.include(values)
    reader.refuse_offset_with_cursor(values)
    query = Query(**fields, since=since, until=until)
    seed = b""
    cursor = None
    if route in _PAGED and not reader.problems:
        seed = cursor_seed(viewer, route, filters_of(query), since_text, until_text, ascending)
        cursor = reader.cursor(values, sealer, seed, as_of)
    if cursor is not None:
        query = msgspec.structs.replace(query, since=cursor.since, until=cursor.until)
        as_of, offset = cursor.as_of, cursor.offset
    reader.finish(query.since, query.until)
    return ReadRequest(
        query=query,
        page=PageRequest(
            limit=limit or LIMIT_MAX,
            offset=offset or 0,
            ascending=ascending,
            as_of=as_of,
            after=cursor.after if cursor else None,
            removal_epoch=cursor.removal_epoch if cursor else 0,
        ),
        include=include,
        cursor_seed=seed,
        is_relative=reader.is_relative,
    )


def parse_histogram(query_string: bytes, *, now: int, vocabulary: Vocabulary) -> tuple[Query, HistogramRequest]:
    """Which events are counted by time, and how; arguments and errors as in `parse_read`."""
    reader = QueryReader("histogram", now, vocabulary)
    values = reader.split(query_string)
    fields = reader.filters(values, {})
    since, _ = reader.time("from", values)
    until, _ = reader.time("to", values)
    by: Any = reader.word("by", values, ("outcome", "event_type"), "What a histogram is split by")
    top = reader.number("top", values, 1, TOP_MAX, TOP_DEFAULT)
    if "top" in values and by != "event_type":
        reader.refuse("top", "top is about event types; send by=event_type with it.", "top_without_event_type")
    interval = values["interval"][0] if "interval" in values else None
    if interval is not None and interval not in INTERVALS_US:
        reader.refuse("interval", f"An interval is one of: {', '.join(INTERVALS_US)}.", "enum")
    reader.finish(since, until)
    request = HistogramRequest(by=by, interval=interval, top=top or TOP_DEFAULT)
    return Query(**fields, since=since, until=until), request


def parse_trace(query_string: bytes) -> tuple[TraceRequest, bool]:
    """Which part of a graph is asked for, and whether with rows. Raises `Invalid` with every problem."""
    reader = QueryReader("trace")
    values = reader.split(query_string)
    direction: Any = reader.word("direction", values, ("both", "up", "down"), "A direction")
    depth = reader.number("depth", values, 0, WALK_MAX, None)
    limit = reader.number("limit", values, 1, NODES_MAX, NODES_DEFAULT)
    rows = "include" in values
    if rows:
        reader.word("include", values, TRACE_INCLUDES, "What can be included")
    reader.finish()
    return TraceRequest(direction=direction, depth=depth, limit=limit or NODES_DEFAULT), rows


def parse_reach(query_string: bytes) -> list[str]:
    """The ids of the events whose reach is asked for, each once. Raises `Invalid` with every problem."""
    reader = QueryReader("reach")
    values = reader.split(query_string)
    ids: dict[str, None] = {}
    for text in values.get("id", ()):
        try:
            ids[parse_uuid(text)] = None
        except ValueError as error:
            reader.refuse("id", str(error), "uuid_parsing")
    if not ids and not reader.problems:
        reader.refuse("id", "Name the events by their ids, as in ?id=…&id=….", "missing")
    reader.finish()
    return list(ids)


def parse_flows(query_string: bytes, *, viewer: Viewer, now: int, sealer: Sealer) -> FlowsRequest:
    """Which flows are asked for; arguments and errors as in `parse_read`."""
    reader = QueryReader("flows", now)
    values = reader.split(query_string)
    failed = "outcome" in values
    reader.word("outcome", values, ("failure",), "An outcome here")
    since, since_text = reader.time("from", values)
    until, until_text = reader.time("to", values)
    limit = reader.number("limit", values, 1, LIMIT_MAX, LIMIT_MAX)
    offset = reader.number("offset", values, 0, INT_MAX, 0)
    reader.refuse_offset_with_cursor(values)
    filters = {"outcomes": ("failure",)} if failed else {}
    seed = b"" if reader.problems else cursor_seed(viewer, "flows", filters, since_text, until_text, False)
    cursor = None if reader.problems else reader.cursor(values, sealer, seed, None)
    if cursor is not None:
        since, until, offset = cursor.since, cursor.until, cursor.offset
    reader.finish(since, until)
    return FlowsRequest(
        query=FlowQuery(since=since, until=until, failed=failed),
        page=PageRequest(
            limit=limit or LIMIT_MAX,
            offset=offset or 0,
            after=cursor.after if cursor else None,
            removal_epoch=cursor.removal_epoch if cursor else 0,
        ),
        cursor_seed=seed,
    )


def parse_listing(route: str, query_string: bytes, *, sealer: Sealer, bound: str) -> ListingRequest:
    """Which part of a list is asked for. `route` is a key of `LISTING_PARAMETERS`, and `bound` says whose list it is.

    Raises `Invalid` with every problem.
    """
    reader = QueryReader(route)
    values = reader.split(query_string)
    limit = reader.number("limit", values, 1, LISTING_MAX, LISTING_DEFAULT)
    after = None
    if "cursor" in values:
        after = sealer.open(values["cursor"][0], _listing_seed(route, bound))
        if after is None:
            reader.refuse("cursor", "The cursor is damaged or belongs to another list; start without it.", "cursor")
    reader.finish()
    return ListingRequest(limit or LISTING_DEFAULT, after)


def seal_listing(route: str, last: bytes, *, sealer: Sealer, bound: str) -> str:
    """The cursor of the part of a list after the entry that `last` identifies."""
    return sealer.seal(last, _listing_seed(route, bound))


def _listing_seed(route: str, bound: str) -> bytes:
    return msgspec.json.encode((route, bound))


def parse_period(query_string: bytes, *, now: int) -> tuple[int | None, int | None]:
    """The times `from` and `to` of a process map. Raises `Invalid` with every problem."""
    reader = QueryReader("map", now)
    values = reader.split(query_string)
    since, _ = reader.time("from", values)
    until, _ = reader.time("to", values)
    reader.finish(since, until)
    return since, until


def parse_atomic(query_string: bytes) -> bool:
    """Whether a batch is stored whole or not at all. Raises `Invalid` with every problem."""
    reader = QueryReader("batch")
    values = reader.split(query_string)
    atomic = reader.flag("atomic", values)
    reader.finish()
    return atomic


def refuse_parameters(query_string: bytes) -> None:
    """Raise `Invalid` with every parameter that was sent, on a route that takes none."""
    if not query_string:
        return
    reader = QueryReader("create")
    reader.split(query_string)
    reader.finish()


class QueryReader:
    """Reads the parts of one query string and collects their problems."""

    def __init__(self, route: str, now: int = 0, vocabulary: Vocabulary | None = None) -> None:
        self.known = _KNOWN[route]
        self.route = route
        self.now = now
        self.vocabulary = vocabulary or Vocabulary()
        self.problems: list[Problem] = []
        self.payload: dict[str, list[str]] = {}
        """The values of parameters about payload fields, by the whole name."""
        self.text_times: dict[str, tuple[int, str]] = {}
        """The times in `q`, by the parameter that says the same, each with the text that a cursor is bound to."""
        self.is_relative = False
        """Whether a time that was read depends on `now`."""

    def refuse(self, name: str, message: str, type_: str, where: str = "query") -> None:
        """Add a problem of the parameter `name`."""
        self.add(Problem((where, name), message, type_))

    def add(self, problem: Problem) -> None:
        """Add a problem, once: the answer to a long query that repeats a mistake stays short."""
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
                self.add(Problem(("query",), str(error), error.type))
                continue
            if name not in self.known and not self._is_payload_field(name):
                unknown[name] = None
                continue
            try:
                text = _decoded(raw_value)
            except Broken as error:
                self.refuse(name, str(error), error.type)
                continue
            (self.payload if self._is_payload_field(name) else values).setdefault(name, []).append(text)
        self._refuse_unknown(list(unknown))
        return {name: texts for name, texts in values.items() if self.has_valid_count(name, texts)}

    def _is_payload_field(self, name: str) -> bool:
        return name.startswith(PAYLOAD_PREFIX) and PAYLOAD_PARAMETER in self.known

    def _payload_values(self) -> tuple[str, ...]:
        """The values of payload fields, as `Query` has them."""
        found: dict[str, None] = {}
        for name, texts in self.payload.items():
            path = name.removeprefix(PAYLOAD_PREFIX)
            if not is_path(path):
                self.refuse(name, PATH_RULE, "payload_path")
            elif len(texts) > VALUES_MAX:
                self.refuse(name, f"A payload path may be given at most {VALUES_MAX} times.", "too_many_values")
            elif not all(texts):
                self.refuse(name, _EMPTY, "string_too_short")
            elif not all(map(is_value, texts)):
                self.refuse(name, VALUE_RULE, "payload_value")
            else:
                found |= dict.fromkeys(f"{path}={text}" for text in texts)
        return tuple(found)

    def _refuse_unknown(self, names: list[str]) -> None:
        listed = False
        for name in names[:UNKNOWN_MAX]:
            found = near(name, self.known) if self.known else None
            hint = "; this address takes none"
            if found is not None:
                hint = f"; the nearest is {found}"
            elif self.known:  # the list is long, so it is given once
                hint = "" if listed else f"; those of this address are {', '.join(self.known)}"
                listed = True
            self.refuse(name, f"No such parameter{hint}.", "extra_forbidden")
        if len(names) > UNKNOWN_MAX:
            message = f"And {len(names) - UNKNOWN_MAX} more unknown parameters."
            self.problems.append(Problem(("query",), message, "extra_forbidden"))

    def has_valid_count(self, name: str, texts: list[str]) -> bool:
        """Whether the parameter came as often as it may and none of its values is empty; else a problem is added."""
        if len(texts) > 1 and not self.known[name].multiple:
            self.refuse(name, f"The parameter {name} may be given only once.", "repeated")
        elif len(texts) > (most := self.known[name].values_max or VALUES_MAX):
            self.refuse(name, f"The parameter {name} may be given at most {most} times.", "too_many_values")
        elif not all(texts) and not self.known[name].may_be_empty:
            self.refuse(name, _EMPTY, "string_too_short")
        else:
            return True
        return False

    def filters(self, values: Mapping[str, list[str]], fixed: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
        """The filter fields of `Query` that are set, each with its canonical values in order, each value once."""
        fields: dict[str, tuple[str, ...]] = {}
        for where, name, texts in (
            *(("path", name, [text]) for name, text in fixed.items()),
            *(("query", name, texts) for name, texts in values.items()),
        ):
            if name not in FILTER_FIELDS:
                continue
            field, check = FILTER_FIELDS[name]
            try:
                fields[field] = tuple(dict.fromkeys(check(text, self.vocabulary) for text in texts))
            except Broken as error:
                self.refuse(name, str(error), error.type, where)
        if "event_type" in values:
            try:
                fields["event_types"], fields["event_type_prefixes"] = _event_types(values["event_type"])
            except Broken as error:
                self.refuse("event_type", str(error), error.type)
        if payload_values := self._payload_values():
            fields["payload_values"] = payload_values
        if "q" in values:
            fields = self._with_text(fields, values["q"][0])
        paths = values_by_path((*fields.get("payload_values", ()), *fields.get("excluded_payload_values", ())))
        if len(paths) > FIELDS_MAX:
            self.refuse("q" if "q" in values else PAYLOAD_PARAMETER, _TOO_MANY_PATHS, "too_many_paths")
        return fields

    def _with_text(self, fields: dict[str, tuple[str, ...]], text: str) -> dict[str, tuple[str, ...]]:
        """The filters with those of `q`: an event has to match both. Its times are kept for `time`."""
        parsed = parse_text(text, now=self.now, vocabulary=self.vocabulary)
        for problem in parsed.problems:
            self.add(problem)
        times = {"from": parsed.since, "to": parsed.until}
        self.text_times = {name: time for name, time in times.items() if time is not None}
        joined = dict(fields)
        for field, values in parsed.fields.items():
            in_both = _payload_in_both if field == "payload_values" else _in_both
            joined[field] = in_both(fields[field], values) if field in fields else values
            if not joined[field]:
                return {"event_types": (NO_EVENT_TYPE,)}
        return joined

    def time(self, name: str, values: Mapping[str, list[str]]) -> tuple[int | None, str | None]:
        """The time, and the text that a cursor is bound to: as written for a relative time, else the instant. If `q`
        has such a time too, the narrower one; call `filters` first."""
        times = [self.text_times[name]] if name in self.text_times else []
        if name in values:
            text = values[name][0]
            try:
                us = parse_query_time(text, self.now)
            except ValueError as error:
                self.refuse(name, str(error), "datetime_parsing")
                return None, None
            times.append((us, text if text.startswith("-") else str(us)))
        if not times:
            return None, None
        self.is_relative = self.is_relative or any(text.startswith("-") for _, text in times)
        narrower = max if name == "from" else min
        return narrower(us for us, _ in times), " ".join(sorted(text for _, text in times))

    def number(
        self, name: str, values: Mapping[str, list[str]], least: int, most: int, default: int | None
    ) -> int | None:
        """A whole number from `least` to `most`, in plain ASCII digits; `default` if it is left out or refused."""
        if name not in values:
            return default
        text = values[name][0]
        if not (text.isascii() and text.isdigit()):
            self.refuse(name, "This is a whole number in plain digits.", "int_parsing")
        elif len(text) > len(str(INT_MAX)) or not least <= int(text) <= most:
            self.refuse(name, f"This is a number from {least} to {most}.", "out_of_range")
        else:
            return int(text)
        return default

    def ascending(self, values: Mapping[str, list[str]]) -> bool:
        """Whether the oldest event comes first; by default as the table of the route says."""
        if "order" not in values:
            return "order" in self.known and self.known["order"].schema["default"] == "asc"
        return self.word("order", values, ("asc", "desc"), "An order") == "asc"

    def word(self, name: str, values: Mapping[str, list[str]], words: tuple[str, ...], what: str) -> str:
        """One of a few words; the first of them if the parameter is left out."""
        text = values[name][0] if name in values else words[0]
        if text not in words:
            self.refuse(name, f"{what} is one of: {', '.join(words)}.", "enum")
        return text

    def flag(self, name: str, values: Mapping[str, list[str]]) -> bool:
        """Whether a parameter is true; false if it is left out or refused."""
        text = values[name][0] if name in values else "false"
        if text not in ("true", "false"):
            self.refuse(name, "It must be true or false.", "bool_parsing")
        return text == "true"

    def refuse_offset_with_cursor(self, values: Mapping[str, list[str]]) -> None:
        """Add a problem when both are sent, since a cursor carries its own offset."""
        if "cursor" in values and "offset" in values:
            self.refuse("offset", "A cursor carries its own offset; leave the offset out.", "cursor_with_offset")

    def finish(self, since: int | None = None, until: int | None = None) -> None:
        """Raise `Invalid` if there is any problem. A range of time that runs backwards is one."""
        if since is not None and until is not None and since > until:
            if self.text_times:
                self.refuse("q", "With the times in from and to, the time in since lies after until.", "time_range")
            else:
                self.refuse("from", "The time in from lies after the time in to.", "time_range")
        if self.problems:
            raise Invalid(self.problems)

    def include(self, values: Mapping[str, list[str]]) -> frozenset[str]:
        """The keys to add to the answer."""
        allowed = LIST_INCLUDES if self.route in _PAGED else EVENT_INCLUDES
        names = [name for text in values.get("include", ()) for name in text.split(",")]
        if not all(name in allowed for name in names):
            self.refuse("include", f"What can be included is: {', '.join(allowed)}.", "enum")
        return frozenset(names)

    def cursor(self, values: Mapping[str, list[str]], sealer: Sealer, seed: bytes, as_of: int | None) -> Cursor | None:
        """What the cursor carries, if one was sent that belongs to this question and snapshot."""
        if "cursor" not in values:
            return None
        cursor = open_cursor(sealer, values["cursor"][0], seed)
        if cursor is None:
            self.refuse("cursor", "The cursor is damaged or belongs to another query; start without it.", "cursor")
        elif as_of not in (None, cursor.as_of):
            self.refuse("as_of", "The cursor belongs to another position; leave as_of out.", "cursor_with_as_of")
        return cursor


def _payload_in_both(some: Iterable[str], others: Iterable[str]) -> tuple[str, ...]:
    """As `_in_both`, for the values of each path by themselves. Empty if nothing can match."""
    by_path = values_by_path(some)
    for path, values in values_by_path(others).items():
        by_path[path] = tuple(value for value in by_path.get(path, values) if value in values)
    if not all(by_path.values()):
        return ()
    return tuple(f"{path}={value}" for path, values in by_path.items() for value in values)


_EMPTY = "A parameter must not be empty; leave it out instead."
_TOO_MANY_PATHS = f"A query has at most {FIELDS_MAX} payload paths."


def _in_both(some: Iterable[str], others: Iterable[str]) -> tuple[str, ...]:
    """The values that are among both, whatever the case of their UUIDs."""
    exact, canonical_others = frozenset(others), {canonical(other) for other in others}
    found = [text if text in exact else canonical(text) for text in some]
    return tuple(text for text in dict.fromkeys(found) if text in exact or text in canonical_others)


_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")


def _decoded(raw: bytes) -> str:
    if b"%" in raw and _BAD_ESCAPE.search(raw):
        raise Broken("A % in a query is followed by two hexadecimal digits.", "percent_encoding")
    try:
        return unquote_to_bytes(raw.replace(b"+", b" ")).decode()
    except UnicodeDecodeError:
        raise Broken("A query is percent-encoded UTF-8.", "string_unicode") from None


def _event_types(texts: Iterable[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Types and prefixes. Text outside the grammar is dropped; if nothing is left, `NO_EVENT_TYPE` matches nothing."""
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
