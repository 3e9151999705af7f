"""Questions to a store, and its answers as the API encodes them, so that two releases can be compared.

A question names a route and a query string of the read API, never a field of the code: so the recorded files outlive a
renamed one.
"""

import json
from collections.abc import Sequence
from hashlib import sha256
from typing import Any

import msgspec

from whence.events import Event, Viewer, Vocabulary
from whence.sealing import StoreSecret
from whence.storage import Store
from whence.wire.event import encode_actor_stats, encode_counts, encode_event, encode_page
from whence.wire.keys import KeysBody, key_body
from whence.wire.query import parse_flows, parse_period, parse_read, parse_trace
from whence.wire.traces import encode_flows, encode_map, encode_trace

__all__ = ["SEALER", "VOCABULARY", "Question", "answer_to", "is_same"]

VOCABULARY = Vocabulary.extended(resource_types=("loan_case",), actor_types=("robot",))
"""The built-in words and those that the operator of the fixtures added."""

SEALER = StoreSecret.random().sealer("cursors")
"""No question has a cursor."""

NOW_US = 1_800_000_000_000_000
"""What the questions take for the present; none of them asks for a relative time."""

_EXACT = frozenset(("list", "correlation", "resource", "event", "aggregate", "actors", "head", "log", "tenants"))
"""Answers that hold to the byte. The others may gain keys in a later release, and lose none."""


class Question(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One read of a tenant's log. `path` holds the decoded parts of the path; `readable` narrows the reader."""

    route: str
    query: str = ""
    path: dict[str, str] = {}
    readable: tuple[str, ...] | None = None


async def answer_to(store: Store, tenant: str, question: Question) -> str:
    """The answer's body. A payload that was erased is answered as null."""
    route, query, viewer = question.route, question.query.encode(), Viewer(tenant, question.readable)
    if route == "head":
        head = await store.head(tenant)
        return json.dumps({"size": head.size, "root": head.root.hex(), "recordedAt": head.recorded_at})
    if route == "log":
        return await _digest_of_log(store, tenant)
    if route == "keys":
        return _text(
            msgspec.json.encode(KeysBody([key_body(key) for key in await store.credentials.list_keys(tenant)]))
        )
    if route == "event":
        event = await store.get_event(viewer, question.path["event_id"])
        return "null" if event is None else _text(encode_event(_shown(event), frozenset(("position", "recordedAt"))))
    if route == "trace":
        graph = await store.trace(viewer, question.path["event_id"], parse_trace(query)[0])
        return "null" if graph is None else _text(encode_trace(graph))
    if route == "flows":
        flows = parse_flows(query, viewer=viewer, now=NOW_US, sealer=SEALER)
        return _text(encode_flows(await store.list_flows(viewer, flows.query, flows.page)))
    if route == "map":
        since, until = parse_period(query, now=NOW_US)
        return _text(encode_map(await store.process_map(viewer, since, until)))
    return await _answer_to_read(store, viewer, question)


async def _answer_to_read(store: Store, viewer: Viewer, question: Question) -> str:
    """The answer of a route that lists or counts events."""
    read = parse_read(
        question.route,
        question.query.encode(),
        viewer=viewer,
        now=NOW_US,
        vocabulary=VOCABULARY,
        sealer=SEALER,
        fixed=question.path,
    )
    if question.route == "aggregate":
        return _text(encode_counts(await store.count_events(viewer, read.query)))
    if question.route == "actors":
        return _text(b"".join(encode_actor_stats(await store.actor_stats(viewer, read.query))))
    page = await store.list_events(viewer, read.query, read.page)
    shown = msgspec.structs.replace(page, events=[_shown(event) for event in page.events])
    return _text(encode_page(shown, read.include))


async def _digest_of_log(store: Store, tenant: str) -> str:
    """A hash over leaf, salt and hash of the payload of each event, in order; and how many payloads are erased."""
    digest, events, erased = sha256(), 0, 0
    while part := await store.read_log(tenant, events, 1_000):
        for each in part:
            digest.update(each.leaf + (each.salt or b"") + each.payload_hash)
            erased += each.salt is None
        events += len(part)
    return json.dumps({"events": events, "erased": erased, "sha256": digest.hexdigest()})


def _shown(event: Event) -> Event:
    return msgspec.structs.replace(event, payload=event.payload or b"null")  # an erased payload is None


def _text(body: bytes) -> str:
    return body.decode()


def is_same(route: str, recorded: str, found: str) -> bool:
    """Whether an answer still says what was recorded."""
    return recorded == found if route in _EXACT else _holds(json.loads(recorded), json.loads(found))


def _holds(recorded: Any, found: Any) -> bool:
    """Whether `found` has every recorded key with its value; it may have more keys."""
    if isinstance(recorded, dict):
        return isinstance(found, dict) and all(key in found and _holds(recorded[key], found[key]) for key in recorded)
    if isinstance(recorded, Sequence) and not isinstance(recorded, str):
        return (
            isinstance(found, list)
            and len(recorded) == len(found)
            and all(_holds(one, other) for one, other in zip(recorded, found, strict=True))
        )
    return type(recorded) is type(found) and bool(recorded == found)
