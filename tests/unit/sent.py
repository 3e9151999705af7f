"""Events and bodies that clients send in these tests, and the problems that are reported."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from whence.errors import Invalid
from whence.events import Event, Vocabulary
from whence.sealing import StoreSecret
from whence.wire.event import IngestContext

TENANT = "acme"
NOW = 1_767_323_045_000_000
"""2026-01-02T03:04:05Z, when every body here arrives."""
RUN_ID = "5b0c3bd0-6f5d-4ef4-8d0c-6a1a7c7f0001"
EVENT_ID = "0192d3f0-0000-7000-8000-00000000abcd"
SECRET = "hunter2 \u00e9"
"""A text that no error may repeat."""
CONTEXT = IngestContext(TENANT, Vocabulary.extended(["invoice"], ["robot"]), NOW)
SEALER = StoreSecret("the secret of a store, long enough for one").sealer("cursors")
"""What seals the cursors of these tests."""
KEYED = IngestContext(TENANT, CONTEXT.vocabulary, NOW, "order-1")
"""The same with an Idempotency-Key."""

Problems = list[tuple[tuple[str | int, ...], str]]


def event(**changes: Any) -> dict[str, Any]:
    """A valid event with these changes; `...` leaves a field out."""
    sent = {
        "eventType": "action_run.completed",
        "actorType": "agent",
        "actorId": "planner",
        "resourceType": "action_run",
        "resourceId": RUN_ID,
        "occurredAt": "2026-01-02T03:04:05Z",
    } | changes
    return {name: value for name, value in sent.items() if value is not ...}


def body(**changes: Any) -> bytes:
    """The event as the bytes of a body."""
    return json.dumps(event(**changes)).encode()


def problems(parse: Callable[[], object]) -> Problems:
    """The places and names of the problems of a refusal."""
    with pytest.raises(Invalid) as caught:
        parse()
    return problems_of(caught.value)


def problems_of(error: object) -> Problems:
    """The places and names of the problems. Checks that each has a message that does not repeat the input."""
    assert isinstance(error, Invalid), error
    for problem in error.problems:
        assert problem.msg[0].isupper()
        assert problem.msg[-1] == "."
        assert "hunter2" not in problem.msg
    assert "hunter2" not in str(error)
    return [(problem.loc, problem.type) for problem in error.problems]


def stored(position: int, occurred_at: int = NOW) -> Event:
    """A stored event at this position."""
    return Event(
        tenant_id=TENANT,
        position=position,
        id=EVENT_ID,
        event_type="a.b",
        actor_type="user",
        actor_id="x",
        resource_type="action_run",
        resource_id=RUN_ID,
        correlation_id="flow",
        causation_id=None,
        outcome="none",
        occurred_at=occurred_at,
        recorded_at=NOW,
        payload=b"{}",
    )
