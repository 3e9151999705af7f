"""The command `search`: what a pasted id or address is."""

from typing import Annotated

import msgspec
from cyclopts import Parameter

from whence.cli.graph_text import reference
from whence.cli.layout import style_of_stdout
from whence.cli.profiles import ServerOptions, client_for
from whence.cli.terminal import JsonFlag, out, out_json, say, table
from whence.client import parse_body, search_request
from whence.errors import NotFound
from whence.wire.bodies import EventBody
from whence.wire.name_bodies import MatchBody, SearchBody

__all__ = ["search"]


def search(
    text: Annotated[
        str,
        Parameter(
            name="TEXT",
            help="An id or its first characters, a position like @5539, TYPE/ID of a resource or an actor, or the "
            "address of a page.",
        ),
    ],
    /,
    *,
    json: JsonFlag = False,
    server: ServerOptions | None = None,
) -> None:
    """Show what a text names: an event, a flow, a resource or an actor, and how many events each has."""
    with client_for(server) as whence:
        answer = whence.send(search_request(text))
    matches = parse_body(answer, SearchBody).matches
    if json:
        out_json(answer.body)
        return
    if not matches:
        raise NotFound("Nothing that the log knows has this name.")
    rows = [(match.kind, _name(match), _events(match)) for match in matches]
    out(table(("KIND", "NAME", "EVENTS"), rows, width=style_of_stdout().width, flexible=1))
    event = next((match.event for match in matches if isinstance(match.event, EventBody)), None)
    if event is not None:
        name = reference(event)
        say(f"Show it: whence get {name}   Why it happened: whence why {name}")


def _name(match: MatchBody) -> str:
    if isinstance(match.event, EventBody):
        return f"{reference(match.event)} {match.event.event_type}"
    parts = (match.correlation_id, match.resource_type, match.resource_id, match.actor_type, match.actor_id)
    return "/".join(part for part in parts if isinstance(part, str))


def _events(match: MatchBody) -> str | int:
    return "" if isinstance(match.events, msgspec.UnsetType) else match.events
