"""The two routes by which events come in, one at a time or many."""

from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qsl

import msgspec
from litestar import post
from litestar.handlers import HTTPRouteHandler

from whence.api.answer import Answer
from whence.api.context import AnyRequest, Context, context_of, now_us, principal_of, root_path_of
from whence.errors import Invalid, Problem, RetryLater, TooLarge, UnsupportedMedia, WhenceError
from whence.events import NewEvent
from whence.permissions import WRITE
from whence.storage.base import Receipt
from whence.wire.cloudevents import is_cloudevents, parse_binary, parse_cloudevents_batch, parse_structured
from whence.wire.event import (
    BATCH_MAX,
    BODY_MAX,
    UNKNOWN_MAX,
    IngestContext,
    encode_event,
    parse_batch,
    parse_new_event,
)
from whence.wire.fields import nearest

__all__ = ["ROUTES"]

JSON = "application/json"
_NDJSON = ("application/x-ndjson", "application/jsonlines")
_CE_ONE = "application/cloudevents+json"
_CE_BATCH = "application/cloudevents-batch+json"
_UNSTATED = ("", "application/x-www-form-urlencoded")
_KEY_MAX = 255

_LONG = 64 * 1024
"""Bytes of a body whose parsing takes a millisecond or more."""

_ONE_MEDIA = (
    "Send one event as application/json, or as a CloudEvent (application/cloudevents+json, or ce- headers): "
    "curl --json '{…}'."
)
_BATCH_MEDIA = (
    "Send a batch as application/json (an array), application/x-ndjson, application/jsonlines or "
    "application/cloudevents-batch+json: curl --json '[{…}]'."
)

Parsed = list[NewEvent | Invalid | TooLarge]


@post("/api/v1/events", opt={"scope": WRITE}, status_code=201)
async def create_event(request: AnyRequest) -> Answer:
    """Store one event, durably; answer with it. A batch of CloudEvents may come this way too."""
    if _media_type(request) == _CE_BATCH:
        return await _store_many(request)
    context, tenant = context_of(request), principal_of(request).tenant
    async with context.bodies.read(request, BODY_MAX) as body:
        new = _parse_one(request, body)
        del body  # counted once in the budget, so kept once: the payload is a copy
        receipts = await context.ingest.add(tenant, [new])
    return _answer_one(request, receipts[0])


@post("/api/v1/events/batch", opt={"scope": WRITE}, status_code=201)
async def create_batch(request: AnyRequest) -> Answer:
    """Store up to a thousand events in one transaction; answer with what became of each."""
    return await _store_many(request)


ROUTES: list[HTTPRouteHandler] = [create_event, create_batch]
"""The handlers, for the table in `app`."""


async def _store_many(request: AnyRequest) -> Answer:
    context, tenant = context_of(request), principal_of(request).tenant
    async with context.bodies.read(request, BATCH_MAX) as body:
        if len(body) > _LONG:
            await context.store.wait_for_idle_writer()
        parsed = _parse_many(request, body)
        del body  # as above
        atomic = _atomic(request)
        if atomic:
            _refuse_bad(parsed)
        sound = [item for item in parsed if isinstance(item, NewEvent)]
        receipts = await context.ingest.add(tenant, sound, atomic=atomic) if sound else []
    return _answer_many(context, parsed, receipts)


def _parse_one(request: AnyRequest, body: bytes) -> NewEvent:
    """The event of a body. Raises UnsupportedMedia, Invalid, TooLarge."""
    media, headers = _media_type(request), _headers(request)
    if is_cloudevents(media, headers):
        _check_charset(request)
        _known_parameters(request, ())
        ingest = _ingest_context(request)
        return parse_structured(body, ingest) if media == _CE_ONE else parse_binary(headers, body, ingest)
    if media != JSON and not (media in _UNSTATED and body.lstrip()[:1] in (b"{", b"[")):
        raise UnsupportedMedia(_ONE_MEDIA)
    _check_charset(request)
    _known_parameters(request, ())
    ingest = _ingest_context(request)
    if body.lstrip()[:1] == b"[":
        raise Invalid.at(("body",), "This is an array; send many events to /api/v1/events/batch.", "object_type")
    return parse_new_event(body, ingest)


def _parse_many(request: AnyRequest, body: bytes) -> Parsed:
    """The events of a batch, or what is wrong with each. Raises UnsupportedMedia and Invalid for the whole."""
    media, headers = _media_type(request), _headers(request)
    start = body.lstrip()[:1]
    known = media in (JSON, _CE_BATCH, *_NDJSON) or is_cloudevents(media, headers)
    if not known and not (media in _UNSTATED and start in (b"{", b"[")):
        raise UnsupportedMedia(_BATCH_MEDIA)
    _check_charset(request)
    _known_parameters(request, ("atomic",))
    ingest = _ingest_context(request)
    if media == _CE_BATCH:
        return list(parse_cloudevents_batch(body, ingest))
    if is_cloudevents(media, headers):
        return [parse_structured(body, ingest) if media == _CE_ONE else parse_binary(headers, body, ingest)]
    return list(parse_batch(body, media in _NDJSON or (media in _UNSTATED and start == b"{"), ingest))


def _ingest_context(request: AnyRequest) -> IngestContext:
    return IngestContext(
        tenant=principal_of(request).tenant,
        vocabulary=context_of(request).vocabulary,
        now=now_us(),
        idempotency_key=_idempotency_key(request),
    )


def _media_type(request: AnyRequest) -> str:
    """The content type without its parameters; of two that were sent, both, so that it is none that is known."""
    return ",".join(request.headers.getall("content-type", [])).partition(";")[0].strip().lower()


def _headers(request: AnyRequest) -> dict[str, str]:
    """The headers by name in lower case. Raises Invalid for an attribute that was sent twice."""
    found: dict[str, str] = {}
    for raw_name, raw_value in request.scope["headers"]:
        name = raw_name.decode("latin-1").lower()
        if name.startswith("ce-") and name in found:
            raise Invalid.at(("header", name), "An attribute is sent only once.", "repeated")
        found[name] = raw_value.decode("latin-1")
    return found


def _check_charset(request: AnyRequest) -> None:
    """Raise UnsupportedMedia for a charset that is not UTF-8."""
    for part in request.headers.get("content-type", "").split(";")[1:]:
        name, _, value = part.partition("=")
        if name.strip().lower() == "charset" and value.strip().strip('"').lower() not in ("utf-8", "utf8", "us-ascii"):
            raise UnsupportedMedia("Send the body in UTF-8.")


def _idempotency_key(request: AnyRequest) -> str | None:
    """The key, or None. Raises Invalid when it is not one of 1..255 visible characters."""
    sent = request.headers.getall("idempotency-key", [])
    if not sent:
        return None
    if len(sent) > 1 or not 1 <= len(sent[0]) <= _KEY_MAX or not sent[0].isascii() or not sent[0].isprintable():
        raise Invalid.at(
            ("header", "Idempotency-Key"), "The key must be given once and have 1..255 printable ASCII characters."
        )
    return sent[0]


def _known_parameters(request: AnyRequest, known: Sequence[str]) -> dict[str, str]:
    """The query's parameters by name. Raises Invalid for one that is unknown or given twice."""
    found: dict[str, str] = {}
    problems: list[Problem] = []
    query = request.scope["query_string"].decode("latin-1")
    for name, value in parse_qsl(query, keep_blank_values=True, max_num_fields=None):
        if name not in known:
            hint = f"the nearest one is {nearest(name, known)}" if known else "this route knows none"
            problems.append(Problem(("query", name), f"Unknown parameter; {hint}.", "extra_forbidden"))
        elif name in found:
            problems.append(Problem(("query", name), "The parameter was given twice.", "repeated"))
        found[name] = value
        if len(problems) >= UNKNOWN_MAX:
            break
    if problems:
        raise Invalid(problems)
    return found


def _atomic(request: AnyRequest) -> bool:
    sent = _known_parameters(request, ("atomic",)).get("atomic", "false")
    if sent not in ("true", "false"):
        raise Invalid.at(("query", "atomic"), "It must be true or false.", "bool_parsing")
    return sent == "true"


def _answer_one(request: AnyRequest, receipt: Receipt) -> Answer:
    """201 or 200 with the event. Raises the error with which it was refused."""
    if receipt.event is None:
        raise receipt.error or RuntimeError("a receipt without event and error")
    headers = [("location", f"{root_path_of(request)}/api/v1/events/{receipt.event.id}")]
    if receipt.replayed:
        headers.append(("idempotent-replayed", "true"))
    status = 200 if receipt.replayed else 201
    body = encode_event(receipt.event)
    context_of(request).bodies.hold(request, len(body), stored=True)
    return Answer(body, status, headers)


def _answer_many(context: Context, parsed: Parsed, receipts: Sequence[Receipt]) -> Answer:
    """The result of each event, and a status for them together. Raises when none could be stored for now."""
    left = iter(receipts)
    results = []
    for index, item in enumerate(parsed):
        receipt = next(left) if isinstance(item, NewEvent) else Receipt(error=item)
        if isinstance(receipt.error, RetryLater):
            raise receipt.error
        results.append(_result(context, index, item, receipt))
    body = msgspec.json.encode({"results": results})
    return Answer(body, _joint_status({result["status"] for result in results}))


def _result(context: Context, index: int, item: NewEvent | WhenceError, receipt: Receipt) -> dict[str, Any]:
    if receipt.event is not None:
        status = 200 if receipt.replayed else 201
        return {"index": index, "id": receipt.event.id, "status": status, "position": receipt.event.position}
    error = receipt.error or RuntimeError("a receipt without event and error")
    if not isinstance(error, WhenceError):
        raise error
    known_id = item.id if isinstance(item, NewEvent) else None
    result: dict[str, Any] = {"index": index, "id": known_id, "status": context.status_of(error)}
    if isinstance(error, Invalid):
        # A parser knows the index; the store does not, since a request may be one of many in a commit.
        named = error.within_item(index) if isinstance(item, NewEvent) else error
        return result | {"detail": named.problems}
    return result | {"detail": str(error), "code": error.code}


def _joint_status(statuses: set[int]) -> int:
    """201 all new, 200 all replays, 422 when none was stored, else 207."""
    if statuses == {201}:
        return 201
    if statuses == {200}:
        return 200
    return 207 if statuses & {200, 201} else 422


def _refuse_bad(parsed: Parsed) -> None:
    """Raise Invalid that names every event that cannot be stored, if there is one."""
    problems: list[Problem] = []
    for index, item in enumerate(parsed):
        if isinstance(item, Invalid):
            problems += item.problems
        elif isinstance(item, WhenceError):
            problems.append(Problem(("body", index, "payload"), str(item), item.code))
    if problems:
        raise Invalid(problems)
