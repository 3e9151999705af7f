"""The two routes that store events: one at a time, or a batch."""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any
from urllib.parse import quote

import msgspec
from litestar import post
from litestar.handlers import HTTPRouteHandler

from whence.api.context import context_of, now_us, principal_of, root_path_of
from whence.api.error_responses import status_of
from whence.api.headers import header_values, media_type
from whence.api.operation import Json, Operation, ResponseSpec, announce_fields, ref
from whence.api.request import Request
from whence.api.request_body import is_plain, read_body
from whence.api.responses import JSON, JsonResponse
from whence.errors import Invalid, Problem, RetryLater, TooLarge, UnsupportedMedia, WhenceError
from whence.events import Event, NewEvent, Viewer
from whence.identities import is_uuid
from whence.permissions import WRITE
from whence.storage.base import Receipt
from whence.wire.bodies import BatchBody
from whence.wire.cloudevents import is_cloudevents, iter_cloudevents_batch, parse_binary, parse_structured
from whence.wire.event import (
    BATCH_EVENTS_MAX,
    BATCH_MAX,
    BODY_MAX,
    IngestContext,
    ParsedEvent,
    encode_stored_event,
    iter_batch,
    parse_new_event,
    split_batch,
)
from whence.wire.parameters import PARAMETERS
from whence.wire.payload import PAYLOAD_MAX
from whence.wire.problems import MORE_PROBLEMS, limit_batch
from whence.wire.query import parse_atomic, refuse_parameters

__all__ = ["ROUTES", "Accepted", "create_event_at_once"]

_NDJSON = ("application/x-ndjson", "application/jsonlines")
_CE_ONE = "application/cloudevents+json"
_CE_BATCH = "application/cloudevents-batch+json"
_CE_PREFIX = b"ce-"  # of headers
_UNSTATED = ("", "application/x-www-form-urlencoded")  # what curl sends without another -H
_KEY_MAX = 255

_LONG_BODY = 64 * 1024
"""Parsing a body of this many bytes takes a millisecond or more."""

_SHORT_BODY = 16 * 1024
"""A body of this many bytes is parsed in a fraction of a millisecond."""

_ONE_MEDIA = (
    "Send one event as application/json, or as a CloudEvent (application/cloudevents+json, or ce- headers): "
    "curl --json '{…}'."
)
_BATCH_MEDIA = (
    "Send a batch as application/json (an array), application/x-ndjson, application/jsonlines or "
    "application/cloudevents-batch+json: curl --json '[{…}]'."
)

_IDEMPOTENCY_KEY: Json = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "Gives an event without an id one that is derived from this key, so that a retry stores nothing.",
    "schema": {"type": "string", "minLength": 1, "maxLength": _KEY_MAX, "pattern": "^[ -~]+$"},
}
_LOCATION: Json = {"Location": {"description": "The address of the event.", "schema": {"type": "string"}}}
_REPLAYED: Json = {
    "Idempotent-Replayed": {
        "description": "The event had been stored before.",
        "schema": {"type": "string", "const": "true"},
    }
}
_REDACTED: Json = {
    "Whence-Redacted": {
        "description": "The paths of the payload whose values were masked before the event was stored, percent-encoded "
        "and joined by commas.",
        "schema": {"type": "string"},
    }
}
_REFUSED = ResponseSpec(
    "Validation Error. The results of a batch, if each event was checked and none was stored.",
    {"anyOf": [ref("HTTPValidationError"), ref("BatchResults")]},
)
_STORED: Json = {"anyOf": [ref("StoredEvent"), ref("BatchResults")]}


def _array_of(name: str) -> Json:
    return {"type": "array", "items": ref(name), "minItems": 1, "maxItems": BATCH_EVENTS_MAX}


_CREATE_EVENT = Operation(
    tag="Events",
    summary="Create Event",
    description="Stores one event, or one CloudEvent in structured, binary or batch mode.",
    parameters=PARAMETERS["create"],
    headers=(_IDEMPOTENCY_KEY,),
    request_content={
        JSON: ref("NewEvent"),
        _CE_ONE: ref("CloudEvent"),
        _CE_BATCH: _array_of("CloudEvent"),
    },
    responses={
        201: ResponseSpec("Stored durably", _STORED, _LOCATION | _REDACTED),
        200: ResponseSpec("Already stored, with the same content", _STORED, _LOCATION | _REPLAYED | _REDACTED),
        207: ResponseSpec("Some events of a batch of CloudEvents were refused", BatchBody),
        422: _REFUSED,
    },
    errors=(409, 413, 415),
)
_CREATE_BATCH = Operation(
    tag="Events",
    summary="Create Events",
    description="Stores up to 1000 events in one transaction. The body may be compressed with gzip or zstd.",
    parameters=PARAMETERS["batch"],
    headers=(_IDEMPOTENCY_KEY,),
    request_content={
        JSON: _array_of("NewEvent"),
        **{media: {"type": "string"} for media in _NDJSON},
        _CE_BATCH: _array_of("CloudEvent"),
        _CE_ONE: ref("CloudEvent"),
    },
    responses={
        201: ResponseSpec("All events are new and were stored durably", BatchBody),
        200: ResponseSpec("All events had been stored before", BatchBody),
        207: ResponseSpec("The results differ; see the status of each", BatchBody),
        422: _REFUSED,
    },
    errors=(413, 415),
)


@post("/api/v1/events", opt={"scope": WRITE, "operation": _CREATE_EVENT}, status_code=201)
async def create_event(request: Request) -> JsonResponse:
    """Store one event durably, and answer with it. A batch of CloudEvents is accepted here too."""
    if media_type(request.scope) == _CE_BATCH:
        return await _store_many(request)
    context, viewer = context_of(request), principal_of(request).viewer
    may_be_empty = _is_binary(request)
    async with read_body(request, context.admission, viewer.tenant, BODY_MAX, may_be_empty=may_be_empty) as body:
        if len(body) > _SHORT_BODY:
            async with context.admission.turns.place(viewer.tenant):
                new = _parse_one(request, body)
        else:
            new = _parse_one(request, body)
        new, masked = _masked(request, new)
        del body  # the budget counts these bytes once, and the payload is a copy of them
        await context.admission.admit_events(request, viewer, [new])
        receipts = await context.ingest.add(viewer.tenant, [new], readable=viewer.readable)
    return await _answer_one(request, new, receipts[0], masked)


class Accepted(msgspec.Struct, frozen=True):
    """An event on its way to the store. `receipts` are done once it is durable, or with the error that refused it;
    `answer` makes the answer from them."""

    receipts: "asyncio.Future[list[Receipt]]"
    answer: Callable[[list[Receipt]], JsonResponse]


def create_event_at_once(request: Request, body: bytes) -> Accepted | None:
    """As `create_event`, if nothing but the store has to be waited for. `body` is the whole body, as sent.

    If None, or if this raises, nothing was done, and `create_event` has to be called.
    """
    context, viewer = context_of(request), principal_of(request).viewer
    admission = context.admission
    if _sent_size(request, body) > _SHORT_BODY or not viewer.sees_all or admission.byte_quota.is_set:
        return None
    if media_type(request.scope) == _CE_BATCH or not is_plain(request, body):
        return None
    new, masked = _masked(request, _parse_one(request, body))
    if masked:  # its payload may have grown
        return None
    size = len(body)
    admission.bodies.take(viewer.tenant, size)
    try:
        admission.admit_events_now(request, viewer, 1)
        receipts = context.ingest.submit(viewer.tenant, [new], readable=viewer.readable)
    except WhenceError as error:
        receipts = asyncio.get_running_loop().create_future()
        receipts.set_exception(error)
    receipts.add_done_callback(lambda _: admission.bodies.give_back(viewer.tenant, size))
    return Accepted(receipts, partial(_answer_at_once, request))


def _sent_size(request: Request, body: bytes) -> int:
    """At least the bytes of the event as it was sent. The attributes of a CloudEvent may be in headers."""
    return len(body) + sum(len(value) for _, value in request.scope["headers"])


def _answer_at_once(request: Request, receipts: Sequence[Receipt]) -> JsonResponse:
    """As `_answer_one`, to a viewer of every event, of whose event nothing was masked."""
    stored = _stored(receipts[0])
    return _answer_stored(request, receipts[0], stored, stored.correlation_id, ())


@post("/api/v1/events/batch", opt={"scope": WRITE, "operation": _CREATE_BATCH}, status_code=201)
async def create_batch(request: Request) -> JsonResponse:
    """Store up to a thousand events in one transaction, and answer with the result of each."""
    return await _store_many(request)


ROUTES: list[HTTPRouteHandler] = [create_event, create_batch]
"""The handlers of this module."""


async def _store_many(request: Request) -> JsonResponse:
    context, viewer = context_of(request), principal_of(request).viewer
    may_be_empty = _is_binary(request)
    async with read_body(request, context.admission, viewer.tenant, BATCH_MAX, may_be_empty=may_be_empty) as body:
        is_long = len(body) > _LONG_BODY
        async with context.ingest.parsing(viewer.tenant) if is_long else nullcontext():
            if is_long:
                await context.store.wait_for_idle_writer()
            events, atomic = _parse_many(request, body)
            del body  # as in create_event
            masked: dict[int, tuple[str, ...]] = {}
            items = _masked_each(request, events, masked) if context.settings.redact else events
            parsed = limit_batch(await context.admission.in_slices(viewer.tenant, items))
            if atomic:
                _refuse_invalid(parsed)
            valid = [item for item in parsed if isinstance(item, NewEvent)]
            await context.admission.admit_events(request, viewer, valid)
            submit = partial(context.ingest.submit, viewer.tenant, valid, atomic=atomic, readable=viewer.readable)
            stored = submit() if valid else None
        receipts = [] if stored is None else await stored
    return _answer_many(request, parsed, receipts, masked)


def _parse_one(request: Request, body: bytes) -> NewEvent:
    """The event of a body. Raises UnsupportedMedia, Invalid, TooLarge."""
    media, headers = media_type(request.scope), _headers(request)
    if is_cloudevents(media, headers):
        _check_charset(request)
        refuse_parameters(request.scope["query_string"])
        ingest = _ingest_context(request)
        return parse_structured(body, ingest) if media == _CE_ONE else parse_binary(headers, body, ingest)
    if media != JSON and not (media in _UNSTATED and body.lstrip()[:1] in (b"{", b"[")):
        raise UnsupportedMedia(_ONE_MEDIA)
    _check_charset(request)
    refuse_parameters(request.scope["query_string"])
    ingest = _ingest_context(request)
    if body.lstrip()[:1] == b"[":
        raise Invalid.at(("body",), "This is an array; send many events to /api/v1/events/batch.", "object_type")
    announce_fields(request, lambda: [body])
    return parse_new_event(body, ingest)


def _parse_many(request: Request, body: bytes) -> tuple[Iterator[ParsedEvent], bool]:
    """The events of a batch, or what is wrong with each; and whether the batch is atomic.

    Raises UnsupportedMedia and Invalid for the batch as a whole; the iterator raises Invalid and TooLarge for it.
    """
    media, headers = media_type(request.scope), _headers(request)
    start = body.lstrip()[:1]
    known = media in (JSON, _CE_BATCH, *_NDJSON) or is_cloudevents(media, headers)
    if not known and not (media in _UNSTATED and start in (b"{", b"[")):
        raise UnsupportedMedia(_BATCH_MEDIA)
    _check_charset(request)
    atomic = parse_atomic(request.scope["query_string"])
    ingest = _ingest_context(request)
    if media == _CE_BATCH:
        return iter_cloudevents_batch(body, ingest), atomic
    if is_cloudevents(media, headers):
        one = parse_structured(body, ingest) if media == _CE_ONE else parse_binary(headers, body, ingest)
        return iter([one]), atomic
    ndjson = media in _NDJSON or (media in _UNSTATED and start == b"{")
    announce_fields(request, lambda: split_batch(body, ndjson))
    return iter_batch(body, ndjson, ingest), atomic


def _masked(request: Request, new: NewEvent) -> tuple[NewEvent, tuple[str, ...]]:
    """The event without the values that are to be masked, and the paths of those that it had. Raises TooLarge when that
    makes its payload too large."""
    payload, paths = context_of(request).payload_mask.apply(new.payload)
    if not paths:
        return new, ()
    if len(payload) > PAYLOAD_MAX:
        raise TooLarge(f"A payload has at most {PAYLOAD_MAX} bytes, also once its values are masked.")
    return msgspec.structs.replace(new, payload=payload), paths


def _masked_each(
    request: Request, parsed: Iterable[ParsedEvent], masked: dict[int, tuple[str, ...]]
) -> Iterator[ParsedEvent]:
    """As `_masked` for the events of a batch. Adds the paths to `masked`, by the index of the event."""
    for index, item in enumerate(parsed):
        try:
            new, paths = (item, ()) if isinstance(item, WhenceError) else _masked(request, item)
        except TooLarge as error:
            new, paths = error, ()
        if paths:
            masked[index] = paths
        yield new


def _ingest_context(request: Request) -> IngestContext:
    return IngestContext(
        tenant=principal_of(request).tenant,
        vocabulary=context_of(request).vocabulary,
        now=now_us(),
        idempotency_key=_idempotency_key(request),
    )


def _is_binary(request: Request) -> bool:
    """Whether this is a CloudEvent in binary mode, whose body is its data and may be left out."""
    if not _has_attributes(request):
        return False
    media, names = media_type(request.scope), [name.decode("latin-1") for name, _ in request.scope["headers"]]
    return media not in (_CE_ONE, _CE_BATCH) and is_cloudevents(media, names)


def _has_attributes(request: Request) -> bool:
    """Whether a header may be the attribute of a CloudEvent."""
    return any(name.startswith(_CE_PREFIX) for name, _ in request.scope["headers"])


def _headers(request: Request) -> dict[str, str]:
    """The headers by name in lower case; none of them if no attribute of a CloudEvent is among them. Raises Invalid for
    an attribute that was sent twice."""
    found: dict[str, str] = {}
    if not _has_attributes(request):
        return found
    for raw_name, raw_value in request.scope["headers"]:
        name = raw_name.decode("latin-1").lower()
        if name.startswith("ce-") and name in found:
            raise Invalid.at(("header", name), "An attribute is sent only once.", "repeated")
        found[name] = raw_value.decode("latin-1")
    return found


def _check_charset(request: Request) -> None:
    """Raise UnsupportedMedia for a charset that is not UTF-8."""
    for part in "".join(header_values(request.scope, b"content-type")).split(";")[1:]:
        name, _, value = part.partition("=")
        if name.strip().lower() == "charset" and value.strip().strip('"').lower() not in ("utf-8", "utf8", "us-ascii"):
            raise UnsupportedMedia("Send the body in UTF-8.")


def _idempotency_key(request: Request) -> str | None:
    """The key, or None. Raises Invalid if it was sent twice or does not have 1..255 printable ASCII characters."""
    sent = header_values(request.scope, b"idempotency-key")
    if not sent:
        return None
    if len(sent) > 1 or not 1 <= len(sent[0]) <= _KEY_MAX or not sent[0].isascii() or not sent[0].isprintable():
        raise Invalid.at(
            ("header", "Idempotency-Key"), "The key must be given once and have 1..255 printable ASCII characters."
        )
    return sent[0]


async def _answer_one(request: Request, new: NewEvent, receipt: Receipt, masked: Sequence[str]) -> JsonResponse:
    """201 or 200 with the event. Raises the error if it was refused."""
    stored = _stored(receipt)
    return _answer_stored(request, receipt, stored, await _shown_correlation(request, new, stored), masked)


def _stored(receipt: Receipt) -> Event:
    """The event of a receipt. Raises the error if it was refused."""
    if receipt.event is None:
        raise receipt.error or RuntimeError("a receipt with neither an event nor an error")
    return receipt.event


def _answer_stored(
    request: Request, receipt: Receipt, stored: Event, correlation_id: str | None, masked: Sequence[str]
) -> JsonResponse:
    """201 or 200 with the event that is stored, whose `correlationId` is shown as given."""
    headers = [("location", f"{root_path_of(request)}/api/v1/events/{stored.id}")]
    if receipt.replayed:
        headers.append(("idempotent-replayed", "true"))
    if masked:
        headers.append(("whence-redacted", ", ".join(map(quote, masked))))
    status = 200 if receipt.replayed else 201
    body = encode_stored_event(stored, correlation_id)
    context_of(request).admission.hold_answer(request, principal_of(request).tenant, len(body), stored=True)
    return JsonResponse(body, status, headers)


async def _shown_correlation(request: Request, new: NewEvent, stored: Event) -> str | None:
    """The correlationId, as far as the sender may know it: the one that it sent, or that comes from what it may read.

    A cause that is hidden and one that does not exist make no difference.
    """
    viewer = principal_of(request).viewer
    if viewer.sees_all or new.correlation_id is not None:
        return stored.correlation_id
    derived: str | None = new.id
    if new.causation_id is not None and is_uuid(new.causation_id):
        store = context_of(request).store
        cause = await store.get_event(viewer, new.causation_id) if viewer.readable else None
        derived = None if cause is None else cause.correlation_id
    if derived == stored.correlation_id or (derived is not None and viewer.may_see(stored.resource_type)):
        return stored.correlation_id
    return None


def _answer_many(
    request: Request,
    parsed: Sequence[ParsedEvent],
    receipts: Sequence[Receipt],
    masked: Mapping[int, tuple[str, ...]],
) -> JsonResponse:
    """The result of each event, and one status for all. Raises the error of an event that should be retried later."""
    viewer = principal_of(request).viewer
    remaining = iter(receipts)
    results = []
    for index, item in enumerate(parsed):
        receipt = next(remaining) if isinstance(item, NewEvent) else Receipt(error=item)
        if isinstance(receipt.error, RetryLater):
            raise receipt.error
        result = _result(viewer, index, item, receipt)
        if index in masked and receipt.event is not None:
            result["redacted"] = masked[index]
        results.append(result)
    body = msgspec.json.encode({"results": results})
    return JsonResponse(body, _joint_status({result["status"] for result in results}))


def _result(viewer: Viewer, index: int, item: NewEvent | WhenceError, receipt: Receipt) -> dict[str, Any]:
    if receipt.event is not None:
        status = 200 if receipt.replayed else 201
        position = receipt.event.position if viewer.sees_all else None  # it counts the events that are hidden
        return {"index": index, "id": receipt.event.id, "status": status, "position": position}
    error = receipt.error or RuntimeError("a receipt with neither an event nor an error")
    if not isinstance(error, WhenceError):
        raise error
    known_id = item.id if isinstance(item, NewEvent) else None
    result: dict[str, Any] = {"index": index, "id": known_id, "status": status_of(error)}
    if isinstance(error, Invalid):
        # A problem found by the parser has the index in its place; one found by the store has not.
        named = error.within_item(index) if isinstance(item, NewEvent) else error
        return result | {"detail": named.problems}
    return result | {"detail": str(error), "code": error.code}


def _joint_status(statuses: set[int]) -> int:
    """201 if all are new, 200 if all are replays, 422 if none was stored, else 207."""
    if statuses == {201}:
        return 201
    if statuses == {200}:
        return 200
    return 207 if statuses & {200, 201} else 422


def _refuse_invalid(parsed: Sequence[ParsedEvent]) -> None:
    """Raise Invalid with the problems of every event that cannot be stored, if there is any."""
    problems: list[Problem] = []
    for index, item in enumerate(parsed):
        if isinstance(item, Invalid):
            problems += item.problems
        elif isinstance(item, WhenceError):
            problems.append(Problem(("body", index, "payload"), str(item), item.code))
    if problems:
        raise Invalid(sorted(problems, key=lambda problem: problem.type == MORE_PROBLEMS))
