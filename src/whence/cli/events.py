"""The commands `emit`, `list`, `get` and `stats`, which send one request each, and `version`."""

import datetime as dt
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from cyclopts import Parameter

from whence import __version__
from whence.cli.profiles import ServerOptions, client_for
from whence.cli.references import EventId, event_id, is_position
from whence.cli.terminal import out, out_json, printable, say, table
from whence.client import (
    Value,
    actor_stats_request,
    aggregate_request,
    get_request,
    list_request,
    parse_body,
    parse_page,
)
from whence.errors import Invalid
from whence.wire.bodies import ActorStatsBody, CountsBody, EventBody

__all__ = ["Filters", "Json", "Since", "Until", "emit", "get", "list_events", "stats", "version"]

Json = Annotated[bool, Parameter(name="--json", negative="", help="Print the response as JSON.")]
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
class Filters:
    """Options that select events. Values of a repeated option are alternatives; different options must all match."""

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
    causation_id: Annotated[list[str] | None, Parameter(negative="", help="The id of the cause.")] = None
    since: Since = None
    until: Until = None

    def parameters(self) -> dict[str, Value]:
        """The query parameters of the API."""
        return {
            "event_type": self.event_type,
            "resource_type": self.resource_type,
            "resource_id": self.resource_id,
            "actor_type": self.actor_type,
            "actor_id": self.actor_id,
            "outcome": self.outcome,
            "correlation_id": self.correlation_id,
            "causation_id": self.causation_id,
            "from": self.since,
            "to": self.until,
        }


def list_events(
    *,
    filters: Filters | None = None,
    limit: Annotated[int, Parameter(help="The number of events to show, 1 to 100.")] = 20,
    offset: Annotated[int, Parameter(help="The number of events to skip.")] = 0,
    order: Annotated[Literal["asc", "desc"] | None, Parameter(help="asc shows the oldest event first.")] = None,
    json: Json = False,
    server: ServerOptions | None = None,
) -> None:
    """List events, newest first: time, event type, actor, resource type and id."""
    parameters = (filters or Filters()).parameters()
    request = list_request(**parameters, limit=limit, offset=offset, order=order)
    with client_for(server) as whence:
        page = parse_page(whence.send(request))
    if json:
        out_json(page.body)
        return
    if page.events:
        rows = [
            (event.occurred_at, event.event_type, _actor(event), event.resource_type, event.id) for event in page.events
        ]
        out(table(("TIME", "EVENT TYPE", "ACTOR", "RESOURCE TYPE", "ID"), rows))
    more = f"; continue with --offset {offset + len(page.events)}" if page.has_next else ""
    say(f"{len(page.events):,} of {page.total:,} events{more}.")


def get(
    reference: EventId,
    /,
    *,
    json: Json = False,
    server: ServerOptions | None = None,
) -> None:
    """Show one event."""
    with client_for(server) as whence:
        answer = whence.send(
            get_request(event_id(whence, reference), include=None if json else "position,recordedAt,outcome")
        )
    event = parse_body(answer, EventBody)
    if json:
        out_json(answer.body)
        return
    fields = msgspec.json.decode(answer.body, type=dict[str, msgspec.Raw])
    payload = fields.pop("payload", msgspec.Raw(b"{}"))
    width = max(map(len, fields))
    for name, raw in sorted(fields.items()):
        value = msgspec.json.decode(raw)
        out(f"{printable(name).ljust(width)}  {printable('' if value is None else str(value))}")
    out("payload")
    out_json(msgspec.json.format(bytes(payload), indent=2))
    say(f"To see its flow: whence list --correlation-id {printable(event.correlation_id)} --order asc")


def stats(
    *,
    filters: Filters | None = None,
    actors: Annotated[bool, Parameter(negative="", help="Count by actor, with successes and failures.")] = False,
    json: Json = False,
    server: ServerOptions | None = None,
) -> None:
    """Count events by event type, resource type and actor type, or by actor."""
    parameters = (filters or Filters()).parameters()
    with client_for(server) as whence:
        answer = whence.send((actor_stats_request if actors else aggregate_request)(**parameters))
    if actors:
        by_actor = parse_body(answer, ActorStatsBody)
        if json:
            out_json(answer.body)
            return
        rows = [
            (f"{each.actor_type}/{each.actor_id}", each.total, each.successes, each.failures)
            for each in by_actor.actors
        ]
        out(table(("ACTOR", "TOTAL", "SUCCESSES", "FAILURES"), rows))
        return
    counts = parse_body(answer, CountsBody)
    if json:
        out_json(answer.body)
        return
    for head, keys in (
        ("EVENT TYPE", counts.by_event_type),
        ("RESOURCE TYPE", counts.by_resource_type),
        ("ACTOR TYPE", counts.by_actor_type),
    ):
        out(table((head, "EVENTS"), [(each.key, each.count) for each in keys]) + "\n")
    out(f"{counts.total:,} events")


def emit(
    event_type: Annotated[str, Parameter(name="EVENT_TYPE", help="A noun, a dot and a past verb, like decision.made.")],
    /,
    *,
    actor: Annotated[str, Parameter(help="Who did it, as TYPE/ID, like user/ana.")],
    resource: Annotated[str, Parameter(help="What it was done to, as TYPE/UUID.")],
    payload: Annotated[
        str, Parameter(allow_leading_hyphen=True, help="A JSON object, or @FILE, or - for stdin.")
    ] = "{}",
    cause: Annotated[
        str | None, Parameter(help="The event that caused it: its id, or its position, like @5539.")
    ] = None,
    correlation: Annotated[str | None, Parameter(help="The id of the flow. Default: the flow of the cause.")] = None,
    outcome: Annotated[str | None, Parameter(help="success, failure or none. Default: by event type.")] = None,
    occurred_at: Annotated[str | None, Parameter(help="RFC 3339 with an offset. Default: now.")] = None,
    id_: Annotated[str | None, Parameter(name="--id", help="A UUID. An event with the same id is stored once.")] = None,
    json: Json = False,
    server: ServerOptions | None = None,
) -> None:
    """Store one event and print its id."""
    actor_type, actor_id = _pair(actor, "--actor", "user/ana")
    resource_type, resource_id = _pair(resource, "--resource", "action_run/0192f0c1-7c00-7000-8000-000000000000")
    now = dt.datetime.now(dt.UTC).isoformat().replace("+00:00", "Z")
    event: dict[str, Any] = {
        "eventType": event_type,
        "actorType": actor_type,
        "actorId": actor_id,
        "resourceType": resource_type,
        "resourceId": resource_id,
        "occurredAt": occurred_at or now,
        "payload": _payload(payload),
    }
    with client_for(server) as whence:
        if cause is not None and is_position(cause):  # any other text may be the id of a cause
            cause = event_id(whence, cause)
        optional = {"id": id_, "causationId": cause, "correlationId": correlation, "outcome": outcome}
        event.update({name: value for name, value in optional.items() if value is not None})
        stored = whence.emit(event, durable=True)
    if stored.replayed:
        say("This event is already stored; nothing was added.")
    if json:
        out_json(stored.body)
    else:
        out(printable(stored.event.id))


def version() -> None:
    """Print the version."""
    out(__version__)


def _actor(event: EventBody) -> str:
    return f"{event.actor_type}/{event.actor_id}"


def _pair(text: str, flag: str, example: str) -> tuple[str, str]:
    first, slash, second = text.partition("/")
    if not (first and slash and second):
        raise Invalid.at((), f"{flag} needs two parts separated by a slash, like {example}.")
    return first, second


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
        raise Invalid.at((), "--payload is not JSON.") from None
    except RecursionError:
        raise Invalid.at((), "--payload is nested too deeply.") from None
