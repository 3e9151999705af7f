"""Builds complete events from the arguments of `emit` and the current context. Pure, except for ids and times."""

import datetime as dt
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import msgspec
from msgspec import UNSET, UnsetType

from whence.client.context import CausalContext, StartedRun
from whence.client.requests import encode_event, with_id
from whence.client.responses import StoredEvent
from whence.identities import canonical
from whence.wire.bodies import EventBody

__all__ = ["Cause", "EmittedEvent", "EventFields", "build_event", "id_and_flow"]


class EmittedEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event that was accepted by `emit` and is not stored yet.

    `body` is the JSON to send. `correlation_id` is None when only the server can find out the flow. `spooled` means
    that the event is on disk and survives any end of this process.
    """

    id: str
    correlation_id: str | None
    body: bytes
    spooled: bool = False


_IDENTITIES = ("id", "actorId", "resourceId", "correlationId", "causationId")
"""Members in which a UUID has one form, as on the server."""

Cause = EmittedEvent | StoredEvent | EventBody | StartedRun | Mapping[str, Any] | str | UUID
"""What names a cause: an event in any form, or its id."""


class EventFields(msgspec.Struct, kw_only=True):
    """The keywords of `emit`.

    `cause` is inherited from the context when it is unset; None makes the event a root.
    """

    actor: tuple[str, str] | None = None
    resource: tuple[str, str | UUID] | None = None
    payload: Mapping[str, Any] | None = None
    cause: Cause | UnsetType | None = UNSET
    correlation_id: str | None = None
    outcome: str | None = None
    occurred_at: str | dt.datetime | None = None
    id: str | UUID | None = None


def id_and_flow(cause: Cause) -> tuple[str, str | None]:
    """The id of a cause, and its correlation id if the client knows it. A UUID is in canonical form."""
    if isinstance(cause, StoredEvent):
        cause = cause.event
    if isinstance(cause, Mapping):
        id_, correlation_id = str(cause["id"]), cause.get("correlationId")
    elif isinstance(cause, EmittedEvent | EventBody | StartedRun):
        id_, correlation_id = cause.id, cause.correlation_id
    else:
        id_, correlation_id = str(cause), None
    return canonical(id_), _one_form(correlation_id)


def build_event(event: Mapping[str, Any] | str, fields: EventFields, context: CausalContext) -> EmittedEvent:
    """The complete event: with an id, a time, and whatever it inherits from the context.

    `event` is a mapping with the keys of the API, or an event type. `fields` override it. Raises Invalid for a value
    that JSON cannot represent.
    """
    members = {**(event if isinstance(event, Mapping) else {"eventType": event}), **_api_members(fields)}
    if members.get("occurredAt") is None:
        members["occurredAt"] = dt.datetime.now(dt.UTC)
    if context.actor is not None and members.get("actorType") is None and members.get("actorId") is None:
        members["actorType"], members["actorId"] = context.actor
    members |= {name: _one_form(members[name]) for name in _IDENTITIES if name in members}
    _add_cause_and_flow(members, fields, context)
    complete = with_id(members)
    correlation_id = complete.get("correlationId")
    if correlation_id is None and complete.get("causationId") is None:
        correlation_id = str(complete["id"])  # the flow of a root has the id of the root
    return EmittedEvent(id=str(complete["id"]), correlation_id=correlation_id, body=encode_event(complete))


def _one_form(value: Any) -> Any:
    """A text in canonical form; anything else as it is, for the server to refuse."""
    return canonical(value) if isinstance(value, str) else value


def _api_members(fields: EventFields) -> dict[str, Any]:
    """The fields that are set, under their names in the API, but for the cause."""
    members: dict[str, Any] = {
        "payload": fields.payload,
        "correlationId": fields.correlation_id,
        "outcome": fields.outcome,
        "occurredAt": fields.occurred_at,
        "id": fields.id,
    }
    if fields.actor is not None:
        members["actorType"], members["actorId"] = fields.actor
    if fields.resource is not None:
        members["resourceType"], members["resourceId"] = fields.resource
    return {name: value for name, value in members.items() if value is not None}


def _add_cause_and_flow(members: dict[str, Any], fields: EventFields, context: CausalContext) -> None:
    """Set the cause from `fields`, else from the event itself, else from the context; and the flow to match."""
    if not isinstance(fields.cause, UnsetType):
        cause, correlation_id = (None, None) if fields.cause is None else id_and_flow(fields.cause)
    elif members.get("causationId") is not None:
        # The context knows the flow of its own cause, and of no other.
        cause = members["causationId"]
        correlation_id = context.correlation_id if cause == context.cause else None
    else:
        context = context.with_cause_emitted()
        cause, correlation_id = context.cause, context.correlation_id
    if cause is not None:
        members["causationId"] = cause
    if correlation_id is not None and members.get("correlationId") is None:
        members["correlationId"] = correlation_id
