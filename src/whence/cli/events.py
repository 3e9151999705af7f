"""The commands `emit`, `list`, `get` and `stats`, which send one request each, and `version`."""

import dataclasses
import datetime as dt
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from cyclopts import Parameter

from whence import __version__
from whence.cli.event_rows import EVENT_COLUMNS, EventColumns, EventTable, chosen_columns, load_words, rows_of
from whence.cli.graph_text import reference as reference_of
from whence.cli.layout import style_of_stdout
from whence.cli.pager import NoPager, paging
from whence.cli.profiles import ServerOptions, client_for
from whence.cli.references import EventId, cause_id, event_id
from whence.cli.terminal import JsonFlag, out, out_json, printable, printable_json, say, table
from whence.client import (
    ApiRequest,
    ApiResponse,
    EventPage,
    Value,
    Whence,
    actor_stats_request,
    aggregate_request,
    get_request,
    list_request,
    parse_body,
    parse_page,
)
from whence.counting import counted
from whence.errors import Invalid, NotFound, WhenceError
from whence.events import is_event_type
from whence.identities import is_uuid
from whence.wire.bodies import ActorStatsBody, CountsBody, EventBody
from whence.wire.parameters import EVENT_INCLUDES
from whence.wire.times import parse_time

__all__ = [
    "FieldOptions",
    "FilterOptions",
    "QueryOptions",
    "Since",
    "Until",
    "emit",
    "get",
    "list_events",
    "pair",
    "stats",
    "version",
]

_SHOWN = 20
_PAGE = 100

Since = Annotated[
    str | None,
    Parameter(
        name=["--from", "--since"],
        allow_leading_hyphen=True,
        help="From this time on: RFC 3339, a date, or relative like -15m.",
    ),
]
Until = Annotated[str | None, Parameter(name=["--to", "--until"], allow_leading_hyphen=True, help="Before this time.")]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class FieldOptions:
    """Options that select events by their fields. Values of a repeated option are alternatives; different options must
    all match."""

    event_type: Annotated[
        list[str] | None,
        Parameter(
            name=["--event-type", "--type"],
            negative="",
            help="For example action_run.failed, or action_run.* for all of them.",
        ),
    ] = None
    resource_type: Annotated[list[str] | None, Parameter(negative="", help="For example action_run.")] = None
    resource_id: Annotated[list[str] | None, Parameter(negative="", help="A UUID.")] = None
    actor_type: Annotated[list[str] | None, Parameter(negative="", help="For example user or agent.")] = None
    actor_id: Annotated[list[str] | None, Parameter(negative="", help="The id of the actor.")] = None
    outcome: Annotated[list[str] | None, Parameter(negative="", help="success, failure or none.")] = None
    correlation_id: Annotated[list[str] | None, Parameter(negative="", help="The id of the flow.")] = None
    causation_id: Annotated[
        list[str] | None,
        Parameter(negative="", help="The cause: its position, like @5539, its id, or eight or more digits of it."),
    ] = None

    def parameters(self) -> dict[str, Value]:
        """The query parameters of the API, as they were passed."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(FieldOptions)}

    def resolved(self, whence: Whence) -> dict[str, Value]:
        """The query parameters of the API, with the ids of causes that were named by a short reference. Says so if an
        event type can match nothing. Raises as `cause_id`."""
        _say_what_matches_nothing(self.event_type)
        causes = [cause_id(whence, text) for text in self.causation_id or ()]
        return self.parameters() | ({"causation_id": causes} if causes else {})


def payload_parameters(given: Iterable[str]) -> dict[str, Value]:
    """The query parameters of values in the payload, which are given as `path=value`. Raises Invalid."""
    found: dict[str, list[str]] = {}
    for text in given:
        path, separator, value = text.partition("=")
        if not separator:
            raise Invalid.at((), "--payload is PATH=VALUE, such as --payload tool=search.")
        found.setdefault(f"payload.{path}", []).append(value)
    return {**found}


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class QueryOptions(FieldOptions):
    """Options that select events, also by a text in the query language."""

    query: Annotated[
        str | None,
        Parameter(
            name=["--query", "-q"],
            allow_leading_hyphen=True,
            help="Filters as in the console, like 'type:action_run.* -outcome:success actor:agent/*'.",
        ),
    ] = None
    payload: Annotated[
        list[str] | None,
        Parameter(negative="", help="A value in the payload as PATH=VALUE, for example tool=search or order.total=7."),
    ] = None

    def parameters(self) -> dict[str, Value]:
        """The query parameters of the API."""
        return super().parameters() | {"q": self.query} | payload_parameters(self.payload or ())


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class FilterOptions(QueryOptions):
    """Options that select events, also by the time at which they occurred."""

    since: Since = None
    until: Until = None

    def parameters(self) -> dict[str, Value]:
        """The query parameters of the API."""
        return super().parameters() | {"from": self.since, "to": self.until}


def list_events(
    *,
    filters: FilterOptions | None = None,
    limit: Annotated[int | None, Parameter(help="The number of events to show, 1 to 100. Default: 20.")] = None,
    offset: Annotated[int, Parameter(help="The number of events to skip.")] = 0,
    order: Annotated[Literal["asc", "desc"] | None, Parameter(help="asc shows the oldest event first.")] = None,
    all_: Annotated[bool, Parameter(name="--all", negative="", help="Show every event as soon as it is read.")] = False,
    columns: EventColumns = None,
    json: Annotated[
        bool, Parameter(name="--json", negative="", help="Print the response as JSON; with --all one event a line.")
    ] = False,
    no_pager: NoPager = False,
    server: ServerOptions | None = None,
) -> None:
    """List events, newest first: when, and who did what."""
    if all_ and (limit is not None or offset):
        raise Invalid.at((), "Pass either --all, or --limit and --offset.")
    table_of_events = EventTable(style_of_stdout(), chosen_columns(columns, EVENT_COLUMNS, json=json))
    filters = filters or FilterOptions()
    words = load_words()
    with client_for(server) as whence:
        request = list_request(
            **filters.resolved(whence),
            limit=_PAGE if all_ else _SHOWN if limit is None else limit,
            offset=offset,
            order=order,
            include=None if json else "outcome,position",
        )
        pages = _pages(whence, request, more=all_)
        if json:
            for page in pages:
                _print_json(page, one_a_line=all_)
            return
        shown, last = 0, None
        with paging(no_pager):
            for last in pages:
                rows = rows_of(last.events, words)
                if rows:
                    out("\n".join(table_of_events.lines(rows)))
                shown += len(rows)
    if last is not None:
        more = f"; continue with --offset {offset + shown}" if last.has_next and not all_ else ""
        say(f"{shown:,} of {counted(last.total, 'event')}{more}.")


def _pages(whence: Whence, request: ApiRequest, *, more: bool) -> Iterator[EventPage]:
    """The page that is requested, and with `more` all those after it."""
    page: EventPage | None = parse_page(whence.send(request))
    while page is not None:
        yield page
        page = whence.next(page) if more else None


class _RawEvents(msgspec.Struct):
    events: list[msgspec.Raw]


def _print_json(page: EventPage, *, one_a_line: bool) -> None:
    """The page as the server sent it, or its events, one a line."""
    if not one_a_line:
        out_json(page.body)
    elif page.events:
        out_json(b"\n".join(map(bytes, msgspec.json.decode(page.body, type=_RawEvents).events)))


def _say_what_matches_nothing(event_types: Sequence[str] | None) -> None:
    """Say so if one of these is no event type and no prefix of one. The server answers with no events to it."""
    if not all(is_event_type(text.removesuffix("*") + "x" * text.endswith(".*")) for text in event_types or ()):
        say(
            "An --event-type that was given can match nothing: event types are words of a-z, 0-9 and _ joined by dots, "
            "like action_run.failed; action_run.* matches all that begin so."
        )


def get(
    reference: EventId,
    /,
    *,
    json: JsonFlag = False,
    no_pager: NoPager = False,
    server: ServerOptions | None = None,
) -> None:
    """Show one event."""
    with client_for(server) as whence:
        answer = whence.send(get_request(event_id(whence, reference), include=None if json else EVENT_INCLUDES))
    event = parse_body(answer, EventBody)
    if json:
        out_json(answer.body)
        return
    fields = msgspec.json.decode(answer.body, type=dict[str, msgspec.Raw])
    payload = fields.pop("payload", msgspec.Raw(b"{}"))
    if event.erased_at is None or event.erased_at is msgspec.UNSET:
        fields.pop("erasedAt", None)
    width = max(map(len, fields))
    with paging(no_pager):
        for name, raw in sorted(fields.items()):
            value = msgspec.json.decode(raw)
            out(f"{printable(name).ljust(width)}  {printable('' if value is None else str(value))}")
        out("payload")
        out(printable_json(msgspec.json.format(bytes(payload), indent=2)))
    name = reference_of(event)
    say(f"Why it happened: whence why {name}   Its flow: whence flow {name}")


def stats(
    *,
    filters: FilterOptions | None = None,
    actors: Annotated[bool, Parameter(negative="", help="Count by actor, with successes and failures.")] = False,
    json: JsonFlag = False,
    no_pager: NoPager = False,
    server: ServerOptions | None = None,
) -> None:
    """Count events by event type, resource type and actor type, or by actor."""
    filters = filters or FilterOptions()
    with client_for(server) as whence:
        answer = whence.send((actor_stats_request if actors else aggregate_request)(**filters.resolved(whence)))
    text = (_actors_text if actors else _counts_text)(answer)
    if json:
        out_json(answer.body)
    else:
        with paging(no_pager):
            out(text)


def _actors_text(answer: ApiResponse) -> str:
    rows = [
        (f"{each.actor_type}/{each.actor_id}", each.total, each.successes, each.failures)
        for each in parse_body(answer, ActorStatsBody).actors
    ]
    return table(("ACTOR", "TOTAL", "SUCCESSES", "FAILURES"), rows, width=style_of_stdout().width)


def _counts_text(answer: ApiResponse) -> str:
    counts = parse_body(answer, CountsBody)
    width = style_of_stdout().width
    tables = [
        table((head, "EVENTS"), [(each.key, each.count) for each in keys], width=width)
        for head, keys in (
            ("EVENT TYPE", counts.by_event_type),
            ("RESOURCE TYPE", counts.by_resource_type),
            ("ACTOR TYPE", counts.by_actor_type),
        )
        if keys
    ]
    return "\n\n".join((*tables, counted(counts.total, "event")))


def emit(
    event_type: Annotated[str, Parameter(name="EVENT_TYPE", help="A noun, a dot and a past verb, like decision.made.")],
    /,
    *,
    actor: Annotated[str, Parameter(help="Who did it, as TYPE/ID, like user/ana.")],
    resource: Annotated[str, Parameter(help="What it was done to, as TYPE/ID: a UUID, or a text that becomes one.")],
    payload: Annotated[
        str, Parameter(allow_leading_hyphen=True, help="A JSON object, or @FILE, or - for stdin.")
    ] = "{}",
    cause: Annotated[
        str | None,
        Parameter(help="The event that caused it: its position, like @5539, its id, or eight or more digits of it."),
    ] = None,
    correlation: Annotated[str | None, Parameter(help="The id of the flow. Default: the flow of the cause.")] = None,
    outcome: Annotated[str | None, Parameter(help="success, failure or none. Default: by event type.")] = None,
    occurred_at: Annotated[str | None, Parameter(help="RFC 3339 with an offset. Default: now.")] = None,
    id_: Annotated[str | None, Parameter(name="--id", help="A UUID. An event with the same id is stored once.")] = None,
    json: JsonFlag = False,
    server: ServerOptions | None = None,
) -> None:
    """Store one event and print its id."""
    actor_type, actor_id = pair(actor, "--actor", "user/ana")
    resource_type, resource_id = pair(resource, "--resource", "action_run/0192f0c1-7c00-7000-8000-000000000000")
    now = dt.datetime.now(dt.UTC).isoformat().replace("+00:00", "Z")
    event: dict[str, Any] = {
        "eventType": event_type,
        "actorType": actor_type,
        "actorId": actor_id,
        "resourceType": resource_type,
        "resourceId": resource_id,
        "occurredAt": now if occurred_at is None else _time(occurred_at),
        "payload": _payload(payload),
    }
    with client_for(server) as whence:
        if cause is not None:
            cause = cause_id(whence, cause)
        optional = {"id": id_, "causationId": cause, "correlationId": correlation, "outcome": outcome}
        event.update({name: value for name, value in optional.items() if value is not None})
        stored = whence.emit(event, durable=True)
        doubt = "" if cause is None else _doubt_of_cause(whence, cause)
    if stored.replayed:
        say("This event is already stored; nothing was added.")
    if stored.redacted:
        say(printable(f"The server masked values of the payload: {', '.join(stored.redacted)}."))
    if doubt:
        say(doubt)
    if json:
        out_json(stored.body)
    else:
        out(printable(stored.event.id))


def _doubt_of_cause(whence: Whence, cause: str) -> str:
    """What the user should know about this cause of a stored event; empty if it is in the log, or if nobody can say."""
    if not is_uuid(cause):
        return "The cause is not an event's id, which is a UUID. It was stored as it is, and links to no event."
    try:
        whence.get(cause)
    except NotFound:
        return "The cause is not in the log, or not yet. The event is linked to it when it arrives."
    except WhenceError:  # the event is stored; a key that only writes may not look
        pass
    return ""


def version() -> None:
    """Print the version."""
    out(__version__)


def pair(text: str, flag: str, example: str) -> tuple[str, str]:
    """The parts before and after the first slash. Raises Invalid if one is missing."""
    first, slash, second = text.partition("/")
    if not (first and slash and second):
        raise Invalid.at((), f"{flag} needs two parts separated by a slash, like {example}.")
    return first, second


def _time(text: str) -> str:
    """A time of the option `--occurred-at`. Raises Invalid for a text that is none."""
    try:
        parse_time(text)
    except ValueError as error:
        raise Invalid.at((), f"--occurred-at is not such a time. {error}") from None
    return text


def _payload(text: str) -> msgspec.Raw:
    """The payload as written, with its number literals. The server checks the contents."""
    if text == "-":
        body = sys.stdin.buffer.read()
    elif text.startswith("@"):
        body = Path(text[1:]).read_bytes()
    else:
        body = text.encode("utf-8", "surrogateescape")
    try:
        return msgspec.json.decode(body, type=msgspec.Raw)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise Invalid.at((), "--payload is not JSON. It is an object, like '{\"total\": 7}'.") from None
    except RecursionError:
        raise Invalid.at((), "--payload is nested too deeply.") from None
