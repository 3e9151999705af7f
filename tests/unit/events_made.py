"""Events as clients read them, made of a few words, for tests of how they are shown."""

import msgspec

from whence.cli.event_rows import EventRow
from whence.sentences import load_grammar, sentence_of
from whence.wire.bodies import EventBody

GRAMMAR = load_grammar()


def event_body(position: int | None, event_type: str = "a.noted", payload: str = "{}", **fields: object) -> EventBody:
    """The event at a position, or of a key that learns none; a second after the one before it."""
    number = position or 0
    made: dict[str, object] = {
        "actor_id": "ada",
        "actor_type": "user",
        "causation_id": None,
        "correlation_id": "c",
        "event_type": event_type,
        "id": event_id(number),
        "occurred_at": f"2026-01-02T03:04:{number % 60:02}Z",
        "outcome": "failure" if event_type.endswith(".failed") else "none",
        "raw_payload": msgspec.Raw(payload.encode()),
        "position": position,
        "resource_id": event_id(number),
        "resource_type": "thing",
        "tenant_id": "t",
    }
    return EventBody(**(made | fields))  # type: ignore[arg-type]  # the fields are those of the body


def event_id(number: int) -> str:
    """A UUID that ends in this number."""
    return f"00000000-0000-0000-0000-{number:012}"


def row_of(event: EventBody) -> EventRow:
    """The event with its sentence."""
    return EventRow(event, sentence_of(event, event.payload_bytes, GRAMMAR))  # type: ignore[arg-type]  # it has an outcome
