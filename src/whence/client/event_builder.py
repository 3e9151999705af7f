"""Builds complete events from the arguments of `emit` and the current context. Pure, except for ids and times."""

import datetime as dt
from collections.abc import Callable, Mapping
from types import NoneType
from typing import Any, Literal, TypedDict
from uuid import UUID

import msgspec

from whence.client.context import CausalContext, StartedRun
from whence.client.encoding import EventEncoder, Payload
from whence.client.responses import StoredEvent
from whence.errors import Invalid, Problem
from whence.events import TEXT_MAX
from whence.identities import canonical, is_uuid, resource_uuid
from whence.wire.bodies import EventBody
from whence.wire.fields import (
    Broken,
    check_causation_id,
    check_cause_of,
    check_correlation_id,
    check_event_type,
    check_new_actor_id,
    check_outcome,
    check_text,
    check_uuid,
    check_word,
)
from whence.wire.ids import new_uuid7
from whence.wire.times import parse_time

__all__ = [
    "RESOURCE_MEMBER",
    "Cause",
    "EmittedEvent",
    "EventFields",
    "build_event",
    "cause_and_flow",
    "emitted_from",
    "id_and_flow",
    "stored_form",
]

RESOURCE_MEMBER = "_resource"
"""The member of the payload that keeps the text from which the id of the resource was derived."""


class EmittedEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event that was accepted by `emit` and is not stored yet.

    `body` is the JSON to send. `correlation_id` is None when only the server can find out the flow. `spooled` means
    that the event is on disk and survives any end of this process. `dropped` means that it is not sent, since
    `before_send` dropped it or the client is disabled.
    """

    id: str
    event_type: str
    resource_type: str
    resource_id: str
    correlation_id: str | None
    causation_id: str | None = None
    body: bytes
    spooled: bool = False
    dropped: bool = False

    @property
    def resource(self) -> tuple[str, str]:
        """The type and id of the resource, for another event about it."""
        return self.resource_type, self.resource_id


_IDENTITIES = ("id", "actorId", "resourceId", "correlationId", "causationId")
"""Members in which a UUID has one form, as on the server."""

Cause = EmittedEvent | StoredEvent | EventBody | StartedRun | Mapping[str, Any] | str | UUID
"""What names a cause: an event in any form, or its id."""


class EventFields(TypedDict, total=False):
    """The keywords of `emit`. None is the same as leaving a keyword out, but for `cause`.

    - `actor` is the type and id of who did it. Default: the actor of the context.
    - `resource` is the type and id of what it was done to. An id that is no UUID becomes one, and is kept in the
      payload as `_resource`.
    - `payload` is a mapping, or an instance of a class with named fields.
    - `cause` is inherited from the context when it is left out; None makes the event a root.
    - `correlation_id` is the flow. Default: that of the cause.
    - `outcome` follows from the event type by default.
    - `occurred_at` is a time with an offset. Default: now.
    - `id` is a UUID. Default: a new UUIDv7.
    """

    actor: tuple[str, str | UUID] | None
    resource: tuple[str, str | UUID] | None
    payload: Payload | None
    cause: Cause | None
    correlation_id: str | UUID | None
    outcome: Literal["success", "failure", "none"] | None
    occurred_at: str | dt.datetime | None
    id: str | UUID | None


_KEYWORDS = frozenset(EventFields.__annotations__)
_plain_encoder = EventEncoder()

_REQUIRED = {
    "eventType": "What happened is missing. Begin with the event type, as in emit('order.shipped', …).",
    "actorType": "Who did it is missing. Pass actor=(type, id), or set it with bind(actor=(type, id)).",
    "actorId": "Who did it is missing. Pass actor=(type, id), or set it with bind(actor=(type, id)).",
    "resourceType": "What it was done to is missing. Pass resource=(type, id).",
    "resourceId": "What it was done to is missing. Pass resource=(type, id).",
}

_CHECKS: dict[str, Callable[[str], str]] = {
    "eventType": check_event_type,
    "actorType": lambda text: check_word(text, "An actor type"),  # a server may have types of its own
    "actorId": check_new_actor_id,
    "resourceType": lambda text: check_word(text, "A resource type"),
    "id": check_uuid,
    "outcome": check_outcome,
}
"""The rules of the members that do not depend on the server. The id of a resource may be any text here."""

_INHERITED_CHECKS: dict[str, Callable[[str], str]] = {
    "causationId": check_causation_id,
    "correlationId": check_correlation_id,
}


def id_and_flow(cause: Cause) -> tuple[str, str | None]:
    """The id of a cause, and its correlation id if the client knows it. A UUID is in canonical form.

    Raises Invalid for anything else.
    """
    if isinstance(cause, StoredEvent):
        cause = cause.event
    if isinstance(cause, Mapping):
        if cause.get("id") is None:
            raise _not_a_cause("A cause is an event or its id, and this mapping has no id.")
        id_, correlation_id = str(cause["id"]), cause.get("correlationId")
    elif isinstance(cause, EmittedEvent | EventBody | StartedRun):
        id_, correlation_id = cause.id, cause.correlation_id
    elif isinstance(cause, str | UUID):
        id_, correlation_id = str(cause), None
    else:
        raise _not_a_cause("A cause is an event or its id.")
    return canonical(id_), _one_form(correlation_id)


def _not_a_cause(sentence: str) -> Invalid:
    return Invalid.at(("body", "causationId"), sentence, "cause")


def cause_and_flow(cause: Cause) -> tuple[str | None, str | None]:
    """What the effects of a cause inherit: its id and flow. An event that is not sent passes on its own cause."""
    if isinstance(cause, EmittedEvent) and cause.dropped:
        return cause.causation_id, cause.correlation_id
    return id_and_flow(cause)


def build_event(
    event: Mapping[str, Any] | str,
    fields: EventFields,
    context: CausalContext,
    encode: EventEncoder = _plain_encoder,
) -> EmittedEvent:
    """The complete event: with an id, a time, and whatever it inherits from the context.

    `event` is a mapping with the keys of the API, or an event type. `fields` override it. Raises Invalid for an event
    that breaks a rule of every server, and as `encode`; and TypeError for an unknown keyword.
    """
    if not _KEYWORDS.issuperset(fields):
        unknown = next(name for name in fields if name not in _KEYWORDS)
        raise TypeError(f"An event has no keyword {unknown!r}. It has: {', '.join(EventFields.__annotations__)}.")
    members: dict[str, Any] = {"eventType": event} if isinstance(event, str) else {**event}
    members |= _api_members(fields)
    if members.get("occurredAt") is None:
        members["occurredAt"] = dt.datetime.now(dt.UTC)
    if context.actor is not None and members.get("actorType") is None and members.get("actorId") is None:
        members["actorType"], members["actorId"] = context.actor
    for name in _IDENTITIES:
        if name in members:
            members[name] = _one_form(members[name])
    _check_members(members)
    if not is_uuid(members["resourceId"]):
        _derive_resource_id(members, encode)
    _add_cause_and_flow(members, fields, context)
    if members.get("id") is None:
        members["id"] = new_uuid7()
    _check_cause_and_flow(members)
    id_, causation_id, correlation_id = str(members["id"]), members.get("causationId"), members.get("correlationId")
    if correlation_id is None and causation_id is None:
        correlation_id = id_  # the flow of a root has the id of the root
    return EmittedEvent(
        id=id_,
        event_type=members["eventType"],
        resource_type=members["resourceType"],
        resource_id=members["resourceId"],
        correlation_id=correlation_id,
        causation_id=causation_id,
        body=encode(members),
    )


class _Members(msgspec.Struct, rename="camel"):
    id: str
    event_type: str
    resource_type: str
    resource_id: str
    correlation_id: str | None = None
    causation_id: str | None = None


_decode_members = msgspec.json.Decoder(_Members).decode


def emitted_from(body: bytes) -> EmittedEvent:
    """The event that was encoded. Raises msgspec.ValidationError if it lacks a member."""
    members = _decode_members(body)
    is_root = members.correlation_id is None and members.causation_id is None
    return EmittedEvent(
        id=members.id,
        event_type=members.event_type,
        resource_type=members.resource_type,
        resource_id=members.resource_id,
        correlation_id=members.id if is_root else members.correlation_id,  # the flow of a root has the id of the root
        causation_id=members.causation_id,
        body=body,
    )


def stored_form(emitted: EmittedEvent, tenant: str = "", correlation_id: str | None = None) -> EventBody:
    """The event as a server would answer it, for one that is not sent.

    `correlation_id` is used if the event has none.
    """
    members = msgspec.json.decode(emitted.body, type=dict[str, msgspec.Raw])
    flow = emitted.correlation_id or correlation_id or emitted.id
    defaults: dict[str, Any] = {"tenantId": tenant, "causationId": None, "payload": {}, "correlationId": flow}
    return msgspec.json.decode(msgspec.json.encode(defaults | members), type=EventBody)


def _one_form(value: Any) -> Any:
    """A text or UUID in canonical form; anything else as it is, to be refused."""
    if isinstance(value, str):
        return canonical(value)
    return str(value) if isinstance(value, UUID) else value


def _broken(members: Mapping[str, Any], checks: Mapping[str, Callable[[str], str]]) -> list[Problem]:
    """The problems of the members that are set."""
    problems: list[Problem] = []
    for name, check in checks.items():
        value = members.get(name)
        if isinstance(value, str):
            try:
                check(value)
            except Broken as error:
                problems.append(Problem(("body", name), str(error), error.type))
        elif value is not None:
            problems.append(Problem(("body", name), f"{name} must be a text.", "string_type"))
    return problems


def _check_cause_and_flow(members: Mapping[str, Any]) -> None:
    """Raise Invalid for a cause or a flow that no server would accept."""
    cause, flow = members.get("causationId"), members.get("correlationId")
    if (cause is None or (_is_plain_text(cause) and cause != members["id"])) and (flow is None or _is_plain_text(flow)):
        return
    problems = _broken(members, _INHERITED_CHECKS)
    try:
        check_cause_of(members["id"], members.get("causationId"))
    except Broken as error:
        problems.append(Problem(("body", "causationId"), str(error), error.type))
    if problems:
        raise Invalid(problems)


def _check_members(members: Mapping[str, Any]) -> None:
    """Raise Invalid with every member that is missing, or that no server would accept."""
    get = members.get
    words = (get("eventType"), get("actorType"), get("resourceType"), get("outcome"))
    if _are_checked(words) and _is_plain(members):
        return
    problems: list[Problem] = []
    for name, sentence in _REQUIRED.items():
        if members.get(name) is None and not any(problem.msg == sentence for problem in problems):
            problems.append(Problem(("body", name), sentence, "missing"))  # one sentence for a pair
    problems += _broken(members, _CHECKS)
    if not isinstance(members.get("resourceId"), str | NoneType):
        problems.append(Problem(("body", "resourceId"), "resourceId must be a text.", "string_type"))
    occurred_at = members.get("occurredAt")
    try:
        if isinstance(occurred_at, str):
            parse_time(occurred_at)
        elif not isinstance(occurred_at, dt.datetime) or occurred_at.utcoffset() is None:
            raise ValueError("The time needs an offset. Use datetime.now(UTC), or add one with astimezone().")
    except ValueError as error:
        problems.append(Problem(("body", "occurredAt"), f"occurred_at: {error}", "datetime_parsing"))
    if problems:
        raise Invalid(problems)
    if len(_checked_words) < _CHECKED_WORDS_MAX:
        _checked_words.add(words)


_CHECKED_WORDS_MAX = 1_000
_checked_words: set[tuple[Any, ...]] = set()
"""Combinations of event type, actor type, resource type and outcome that were accepted. A program emits few of them, so
that most need no check by a pattern.
"""


def _are_checked(words: tuple[Any, ...]) -> bool:
    try:
        return words in _checked_words
    except TypeError:  # one of them cannot be hashed, and is no text
        return False


def _is_plain(members: Mapping[str, Any]) -> bool:
    """Whether the members that are no words are surely accepted. Cheaper than to check each by its rule."""
    occurred_at = members.get("occurredAt")
    return (
        _is_plain_text(members.get("actorId"))
        and type(members.get("resourceId")) is str
        and type(occurred_at) is dt.datetime
        and occurred_at.tzinfo is dt.UTC
        and members.get("id") is None
    )


def _is_plain_text(value: Any) -> bool:
    """Whether this breaks no rule of an indexed text."""
    return type(value) is str and 0 < len(value) <= TEXT_MAX and value.isprintable()


def _derive_resource_id(members: dict[str, Any], encode: EventEncoder) -> None:
    """Replace a resource id that is no UUID by the one that is derived from it, and keep the text in the payload."""
    text = members["resourceId"]
    try:
        check_text(text, "A resource id", TEXT_MAX)
        members["resourceId"] = resource_uuid(members["resourceType"], text)
    except UnicodeEncodeError:
        raise Invalid.at(("body", "resourceId"), "A resource id must not have a lone surrogate.") from None
    except Broken as error:
        raise Invalid.at(("body", "resourceId"), str(error), error.type) from None
    members["payload"] = {**encode.members(members.get("payload")), RESOURCE_MEMBER: text}


def _api_members(fields: EventFields) -> dict[str, Any]:
    """The fields that are set, under their names in the API, but for the cause."""
    members: dict[str, Any] = {}
    for keyword, value in fields.items():
        if value is None:
            continue
        if keyword in _PAIRS:
            if not isinstance(value, tuple | list) or len(value) != 2:
                raise Invalid.at(("body", f"{keyword}Id"), f"{keyword} must be a pair of type and id.", "pair")
            type_name, id_name = _PAIRS[keyword]
            members[type_name], members[id_name] = value
        elif keyword != "cause":
            members[_API_NAMES[keyword]] = value
    return members


_PAIRS = {"actor": ("actorType", "actorId"), "resource": ("resourceType", "resourceId")}
_API_NAMES = {
    "payload": "payload",
    "correlation_id": "correlationId",
    "outcome": "outcome",
    "occurred_at": "occurredAt",
    "id": "id",
}


def _add_cause_and_flow(members: dict[str, Any], fields: EventFields, context: CausalContext) -> None:
    """Set the cause from `fields`, else from the event itself, else from the context; and the flow to match."""
    if "cause" in fields:
        given = fields["cause"]
        cause, correlation_id = (None, None) if given is None else cause_and_flow(given)
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
