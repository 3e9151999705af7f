"""From what a program says to an event that can be sent: two ways of writing it, and what the context adds."""

import datetime as dt
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import msgspec
from msgspec import UNSET, UnsetType

from whence.client.answers import Stored
from whence.client.context import Context
from whence.client.requests import encoded, with_id
from whence.wire.bodies import EventBody

__all__ = ["Cause", "Emitted", "Fields", "new_event", "reference"]


class Emitted(msgspec.Struct, frozen=True, kw_only=True):
    """An event on its way. `body` is what is sent. `correlation_id` is None when only the server can tell the flow.

    `spooled`: it is on disk already, and survives the end of this process however it comes.
    """

    id: str
    correlation_id: str | None
    body: bytes
    spooled: bool = False


Cause = Emitted | Stored | EventBody | Mapping[str, Any] | str | UUID
"""What can be named as a cause: an event in any of its forms, or its id."""


class Fields(msgspec.Struct, kw_only=True):
    """An event by keywords. UNSET takes what the context says; None says that there is none."""

    actor: tuple[str, str] | None = None
    resource: tuple[str, str | UUID] | None = None
    payload: Mapping[str, Any] | None = None
    cause: Cause | UnsetType | None = UNSET
    correlation_id: str | None = None
    outcome: str | None = None
    occurred_at: str | dt.datetime | None = None
    id: str | UUID | None = None


def reference(cause: Cause) -> tuple[str, str | None]:
    """The id of a cause, and its flow if it is known here."""
    if isinstance(cause, Stored):
        return cause.event.id, cause.event.correlation_id
    if isinstance(cause, Mapping):
        return str(cause["id"]), cause.get("correlationId")
    if isinstance(cause, Emitted | EventBody):
        return cause.id, cause.correlation_id
    return str(cause), None


def new_event(event: Mapping[str, Any] | str, fields: Fields, context: Context) -> Emitted:
    """The event, complete: an id, a time, and what the context says where it says nothing itself.

    `event` is a mapping with the keys of the API, or an event type. Raises Invalid for what JSON cannot say.
    """
    said = {**(event if isinstance(event, Mapping) else {"eventType": event}), **_named(fields)}
    if said.get("occurredAt") is None:
        said["occurredAt"] = dt.datetime.now(dt.UTC)
    if context.actor is not None and said.get("actorType") is None and said.get("actorId") is None:
        said["actorType"], said["actorId"] = context.actor
    _inherit(said, fields, context)
    sent = with_id(said)
    correlation = sent.get("correlationId")
    if correlation is None and sent.get("causationId") is None:
        correlation = str(sent["id"])  # a root begins a flow of its own
    return Emitted(id=str(sent["id"]), correlation_id=correlation, body=encoded(sent))


def _named(fields: Fields) -> dict[str, Any]:
    """What was said by keywords, under the names of the API."""
    said: dict[str, Any] = {
        "payload": fields.payload,
        "correlationId": fields.correlation_id,
        "outcome": fields.outcome,
        "occurredAt": fields.occurred_at,
        "id": fields.id,
    }
    if fields.actor is not None:
        said["actorType"], said["actorId"] = fields.actor
    if fields.resource is not None:
        said["resourceType"], said["resourceId"] = fields.resource
    return {name: value for name, value in said.items() if value is not None}


def _inherit(said: dict[str, Any], fields: Fields, context: Context) -> None:
    """Cause and flow: what the event says itself, else its named cause, else the context."""
    if not isinstance(fields.cause, UnsetType):
        cause, correlation = (None, None) if fields.cause is None else reference(fields.cause)
    elif said.get("causationId") is not None:
        # Only a cause that is the context's own is known to be of the context's flow.
        cause = said["causationId"]
        correlation = context.correlation_id if cause == context.cause else None
    else:
        if context.pending is not None:
            context.pending.settle()
        cause, correlation = context.cause, context.correlation_id
    for name, value in (("causationId", cause), ("correlationId", correlation)):
        if value is not None and (name == "causationId" or said.get(name) is None):
            said[name] = value
