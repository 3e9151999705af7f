"""CloudEvents 1.0 in structured, binary and batch mode, mapped to events of the log, and events as CloudEvents.

type -> eventType, time -> occurredAt, subject -> resourceType/resourceId, correlationid -> correlationId,
causationid -> causationId, authtype -> actorType, authid -> actorId, data -> payload. An id that is not a UUID becomes
the UUIDv5 of (source, id); so does a causationid, with the same source. Attributes that map to no field are kept in the
payload under `_ce`.
"""

import re
from collections.abc import Callable, Container, Iterator, Mapping
from urllib.parse import unquote_to_bytes

import msgspec

from whence.errors import Invalid, Problem, TooLarge
from whence.events import Event, NewEvent
from whence.wire.event import (
    FIELD_CHECKS,
    IngestContext,
    Loc,
    ParsedEvent,
    check_event_size,
    read_members,
    repeated_keys,
    split_batch,
)
from whence.wire.fields import Broken
from whence.wire.ids import derived_uuid, parse_uuid
from whence.wire.payload import PAYLOAD_MAX, check_compact, compact_json
from whence.wire.problems import PROBLEMS_MAX, limit_problems, shown_name
from whence.wire.times import format_time

__all__ = [
    "CLOUD_ACTOR_TYPES",
    "NAMELESS",
    "encode_structured",
    "is_cloudevents",
    "iter_cloudevents_batch",
    "parse_binary",
    "parse_cloudevents_batch",
    "parse_structured",
]

KEPT = "_ce"
"""The key of the payload under which attributes that map to no field are kept."""

_STRUCTURED = "application/cloudevents+json"
_BATCH = "application/cloudevents-batch+json"
_BINARY_HEADERS = ("ce-specversion", "ce-type", "ce-id")
_ATTRIBUTE = re.compile(r"[a-z0-9]+")
_INTEGER = re.compile(rb"-?[0-9]{1,10}")
_NULL = b"null"
_INT32 = range(-(2**31), 2**31)
_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
CLOUD_ACTOR_TYPES = {
    "app_user": "user",
    "service_account": "service",
    "unauthenticated": "anonymous",
    "unknown": "system",
}
"""authtype -> actorType. Any other authtype is an actorType itself."""

NAMELESS = frozenset(("unauthenticated", "unknown"))
"""The values of authtype that need no authid."""

Attributes = dict[str, str | int | bool]


def is_cloudevents(content_type: str, headers: Container[str]) -> bool:
    """Whether a request contains CloudEvents, in any of the three modes. Header names are in lower case."""
    media = content_type.partition(";")[0].strip().lower()
    return media in (_STRUCTURED, _BATCH) or any(name in headers for name in _BINARY_HEADERS)


def parse_structured(body: bytes, ctx: IngestContext) -> NewEvent:
    """The event in `application/cloudevents+json`. Raises `Invalid` and `TooLarge`."""
    check_event_size(body)
    try:
        compact = compact_json(body)
    except Broken as error:
        raise Invalid.at(("body",), str(error), error.type) from None
    return _parse_object(compact, ("body",), ctx)


def parse_cloudevents_batch(body: bytes, ctx: IngestContext) -> list[ParsedEvent]:
    """The events in `application/cloudevents-batch+json`; results and errors as in `parse_batch`."""
    return list(iter_cloudevents_batch(body, ctx))


def iter_cloudevents_batch(body: bytes, ctx: IngestContext) -> Iterator[ParsedEvent]:
    """The same, an event at a time, as `iter_batch`."""
    for index, item in enumerate(split_batch(body, ndjson=False)):
        try:
            yield _parse_object(item, ("body", index), ctx)
        except (Invalid, TooLarge) as error:
            yield error


def parse_binary(headers: Mapping[str, str], body: bytes, ctx: IngestContext) -> NewEvent:
    """The event whose attributes are in `ce-` headers and whose data is the body; an empty body is `{}`.

    Header names may be in any case, and values are Latin-1 text. Raises `Invalid`, with ('header', name) for an
    attribute, and `TooLarge`.
    """
    check_event_size(body)
    problems: list[Problem] = []
    attributes: Attributes = {}
    for header, value in headers.items():
        name = header.lower()
        if name == "content-type":
            attributes["datacontenttype"] = value
        if not name.startswith("ce-"):
            continue
        try:
            if name == "ce-datacontenttype":
                raise Broken("Send the type of the data in Content-Type.", "extra_forbidden")
            _check_name(name[3:])
            attributes[name[3:]] = _header_text(value)
        except Broken as error:
            problems.append(Problem(("header", name), str(error), error.type))
    data = b"{}"
    try:
        if body.strip(b" \t\r\n"):
            data = compact_json(body)
            _refuse_large(data)
    except Broken as error:
        problems.append(Problem(("body",), str(error), error.type))
    return _build(attributes, data, problems, lambda name: ("header", f"ce-{name}") if name else ("body",), ctx)


def _header_text(value: str) -> str:
    """The text of a header: percent-encoded UTF-8, perhaps in double quotes, as the HTTP binding defines it."""
    if len(value) > 1 and value.startswith('"') and value.endswith('"'):
        value = re.sub(r"\\(.)", r"\1", value[1:-1])
    try:
        raw = value.encode("latin-1")
        if _BAD_ESCAPE.search(raw):
            raise Broken("A % in a ce- header is followed by two hexadecimal digits.", "percent_encoding")
        return unquote_to_bytes(raw).decode()
    except UnicodeError:
        raise Broken("A ce- header is percent-encoded UTF-8.", "string_unicode") from None


def _refuse_large(data: bytes) -> None:
    if len(data) > PAYLOAD_MAX:
        raise TooLarge(f"A payload has at most {PAYLOAD_MAX} bytes.")


def _check_name(name: str) -> None:
    if _ATTRIBUTE.fullmatch(name) is None or name == "data":
        raise Broken("The name of an attribute is made of lower-case letters and digits.", "extra_forbidden")


def _parse_object(compact: bytes, loc: Loc, ctx: IngestContext) -> NewEvent:
    members = read_members(compact, loc)
    data = bytes(members.pop("data", b"{}"))
    _refuse_large(data)
    problems: list[Problem] = []
    attributes: Attributes = {}
    uncounted = 0
    for name, raw in members.items():
        try:
            if name == "data_base64":
                if bytes(raw) == _NULL:
                    continue
                raise Broken("Binary data is not supported; send data as a JSON object.", "dict_type")
            _check_name(name)
            value = _attribute(bytes(raw))
        except Broken as error:
            if len(problems) < PROBLEMS_MAX:
                problems.append(Problem((*loc, shown_name(name)), str(error), error.type))
            else:
                uncounted += 1
        else:
            if value is not None:
                attributes[name] = value
    problems += [
        Problem((*loc, shown_name(name)), "The event has this key more than once.", "duplicate_key")
        for name in repeated_keys(compact)
    ]
    return _build(attributes, data, problems, lambda name: (*loc, name or "data"), ctx, uncounted)


def _attribute(data: bytes) -> str | int | bool | None:
    """The value of an attribute: a string, a boolean or a 32-bit integer. Null means that it was left out."""
    if data.startswith(b'"') or data in (b"true", b"false", b"null"):
        try:
            value: str | bool | None = msgspec.json.decode(data)
        except (msgspec.DecodeError, ValueError):
            raise Broken("A string is UTF-8.", "string_unicode") from None
        return value
    if _INTEGER.fullmatch(data) and int(data) in _INT32:
        return int(data)
    raise Broken("An attribute is a string, a boolean or an integer of 32 bits.", "attribute_type")


class _Mapping:
    """Maps attributes to fields and collects problems. The attributes that remain in `left` map to no field."""

    def __init__(
        self, attributes: Attributes, problems: list[Problem], loc_of: Callable[[str], Loc], ctx: IngestContext
    ):
        self.left = dict(attributes)
        self.problems = problems
        self.loc_of = loc_of
        self.ctx = ctx

    def fail(self, name: str, error: Broken) -> None:
        self.problems.append(Problem(self.loc_of(name), str(error), error.type))

    def text(self, name: str, required: bool = True) -> str | None:
        """Take a text attribute; None when it is missing or has a problem."""
        value = self.left.pop(name, None)
        if value is None:
            # An attribute that was already refused is not missing.
            if required and all(problem.loc != self.loc_of(name) for problem in self.problems):
                self.fail(name, Broken("This attribute is required.", "missing"))
        elif not isinstance(value, str):
            self.fail(name, Broken("This attribute is a string.", "string_type"))
        elif not value:
            self.fail(name, Broken("This attribute must not be empty.", "string_too_short"))
        else:
            return value
        return None

    def field(self, name: str, field: str, text: str | None) -> object:
        """The canonical form of a field of the event. A problem is named at the attribute `name`."""
        if text is None:
            return None
        try:
            return FIELD_CHECKS[field](text, self.ctx)
        except Broken as error:
            self.fail(name, error)
            return None

    def id(self, name: str, source: str | None, text: str | None) -> str | None:
        """A UUID as it is. Any other text becomes the UUIDv5 of (source, text), and is kept as an attribute."""
        if text is None:
            return None
        try:
            return parse_uuid(text)
        except ValueError:
            self.left[name] = text
            return derived_uuid(f"cloudevents:{source}", text)

    def resource(self) -> tuple[object, object]:
        subject = self.text("subject")
        if subject is None:
            return None, None
        resource_type, slash, resource_id = subject.partition("/")
        if not slash:
            self.fail("subject", Broken("A subject is resourceType/resourceId.", "subject_parsing"))
            return None, None
        return (
            self.field("subject", "resourceType", resource_type),
            self.field("subject", "resourceId", resource_id),
        )

    def actor(self) -> tuple[object, object]:
        kind = self.text("authtype")
        who = self.text("authid", required=kind is not None and kind not in NAMELESS)
        if kind in NAMELESS and who is None:
            who = kind
        if kind in CLOUD_ACTOR_TYPES:
            self.left["authtype"] = kind
        actor_type = None if kind is None else CLOUD_ACTOR_TYPES.get(kind, kind)
        return self.field("authtype", "actorType", actor_type), self.field("authid", "actorId", who)


def _build(
    attributes: Attributes,
    data: bytes,
    problems: list[Problem],
    loc_of: Callable[[str], Loc],
    ctx: IngestContext,
    uncounted: int = 0,
) -> NewEvent:
    """The event of attributes and data. `loc_of` gives the loc of an attribute, and that of the data for ''.

    Beside the `problems` so far, `uncounted` ones are not listed.
    """
    mapping = _Mapping(attributes, problems, loc_of, ctx)
    if attributes.get("specversion", "1.0") != "1.0":
        mapping.fail("specversion", Broken("Only version 1.0 of CloudEvents is supported.", "specversion"))
    elif "specversion" not in attributes:
        mapping.text("specversion")
    source = mapping.text("source")
    if source is not None:
        mapping.left["source"] = source
    event_id = mapping.id("id", source, mapping.text("id"))
    causation_id = mapping.id("causationid", source, mapping.text("causationid", required=False))
    if causation_id is not None and causation_id == event_id:
        mapping.fail("causationid", Broken("An event cannot be its own cause.", "self_cause"))
    resource_type, resource_id = mapping.resource()
    actor_type, actor_id = mapping.actor()
    fields = {
        "id": event_id,
        "event_type": mapping.field("type", "eventType", mapping.text("type")),
        "actor_type": actor_type,
        "actor_id": actor_id,
        "resource_type": resource_type,
        "resource_id": resource_id,
        "occurred_at": mapping.field("time", "occurredAt", mapping.text("time")),
        "correlation_id": mapping.field(
            "correlationid", "correlationId", mapping.text("correlationid", required=False)
        ),
        "causation_id": causation_id,
    }
    if str(mapping.left.get("datacontenttype", "")).strip().lower() in ("", "application/json"):
        mapping.left.pop("datacontenttype", None)  # the default
    payload = _payload(data, mapping)
    if problems:
        raise Invalid(limit_problems(problems, uncounted))
    return msgspec.convert({**fields, "payload": payload}, NewEvent)


def _payload(data: bytes, mapping: _Mapping) -> bytes:
    """The data, with the attributes that map to no field under `_ce`."""
    try:
        check_compact(data)
        if KEPT in msgspec.json.decode(data, type=dict[str, msgspec.Raw]):
            raise Broken("The key _ce in data is reserved for attributes that map to no field.", "reserved")
        kept = b'"_ce":' + msgspec.json.encode(mapping.left, order="sorted") + b"}"
        payload = data[:-1] + (b"" if data == b"{}" else b",") + kept
        check_compact(payload)
    except Broken as error:
        mapping.fail("", error)
        return data
    return payload


# --------------------------------------------------------------------------------------------------------- encoding

_STANDARD_AUTH = {actor_type: kind for kind, actor_type in CLOUD_ACTOR_TYPES.items() if actor_type != "system"}
"""actorType -> authtype, where the standard has a word of its own. `system` is one of its words already."""

_MAPPED = frozenset(
    (
        *("specversion", "id", "source", "type", "subject", "time", "data", "datacontenttype", "authtype", "authid"),
        *("correlationid", "causationid", "sequence"),
    )
)


def encode_structured(event: Event, *, position: int | None = None) -> bytes:
    """The event in `application/cloudevents+json`; the inverse of `parse_structured`.

    An event that came as a CloudEvent has its source and its other attributes again. The source of another one is its
    tenant. `position` becomes the attribute `sequence`.
    """
    kept, data = ({}, b"null") if event.payload is None else _taken_apart(event.payload)
    attributes: dict[str, object] = {
        "specversion": "1.0",
        "id": event.id,
        "source": kept.pop("source", None) or f"whence/{event.tenant_id}",
        "type": event.event_type,
        "subject": f"{event.resource_type}/{event.resource_id}",
        "time": format_time(event.occurred_at),
        "authtype": _auth_type(event.actor_type, kept.pop("authtype", None)),
        "authid": event.actor_id,
        "correlationid": event.correlation_id,
    }
    if event.causation_id is not None:
        attributes["causationid"] = event.causation_id
    if position is not None:
        attributes["sequence"] = str(position)
    attributes |= {name: value for name, value in kept.items() if name not in _MAPPED}
    return msgspec.json.encode({**attributes, "datacontenttype": "application/json", "data": msgspec.Raw(data)})


def _auth_type(actor_type: str, kept: object) -> str:
    if isinstance(kept, str) and CLOUD_ACTOR_TYPES.get(kept) == actor_type:
        return kept
    return _STANDARD_AUTH.get(actor_type, actor_type)


def _taken_apart(payload: bytes) -> tuple[Attributes, bytes]:
    """The attributes that a payload keeps under `_ce`, and the rest of it. One that no CloudEvent made stays whole."""
    members = msgspec.json.decode(payload, type=dict[str, msgspec.Raw])
    if KEPT not in members:
        return {}, payload
    try:
        kept = msgspec.json.decode(members.pop(KEPT), type=Attributes)
    except msgspec.ValidationError:
        return {}, payload
    if not isinstance(kept.get("source"), str) or not all(map(_ATTRIBUTE.fullmatch, kept)):
        return {}, payload
    return kept, msgspec.json.encode(members)
