"""A fixture for the tests of programs that emit: `pytest_plugins = ["whence.integrations.pytest_plugin"]`."""

import time
from collections.abc import Iterator, Mapping
from typing import Any, Literal, overload

import msgspec
import pytest

from whence.client.answers import Stored
from whence.client.emission import Emitted
from whence.client.http import Whence
from whence.events import Vocabulary
from whence.wire.bodies import EventBody
from whence.wire.event import IngestContext, parse_new_event

__all__ = ["Recorded", "whence_events"]

_TENANT = "test"


class Recorded(Whence):
    """A client that sends nothing. What is emitted is checked as a server would check it, and kept.

    `resource_types` and `actor_types` are those that your server knows beside the built-in ones.
    """

    def __init__(self, *, resource_types: tuple[str, ...] = (), actor_types: tuple[str, ...] = ()) -> None:
        super().__init__("http://127.0.0.1:9", spool=False)
        self.recorded: list[EventBody] = []
        self.vocabulary = Vocabulary.extended(resource_types, actor_types)

    @overload
    def emit(self, event: Mapping[str, Any] | str, *, durable: Literal[True], **fields: Any) -> Stored: ...

    @overload
    def emit(self, event: Mapping[str, Any] | str, *, durable: Literal[False] = False, **fields: Any) -> Emitted: ...

    def emit(self, event: Mapping[str, Any] | str, *, durable: bool = False, **fields: Any) -> Stored | Emitted:
        """Keep an event. Raises Invalid and TooLarge as a server refuses it."""
        emitted = self.queue(event, **fields)
        return Stored(event=self.recorded[-1], replayed=False, body=emitted.body) if durable else emitted

    def queue(self, event: Mapping[str, Any] | str, **fields: Any) -> Emitted:
        """As `emit`."""
        emitted = self.new(event, **fields)
        parse_new_event(emitted.body, IngestContext(_TENANT, self.vocabulary, time.time_ns() // 1_000))
        said = msgspec.json.decode(emitted.body)
        cause = self._find(said.get("causationId"))
        flow = said.get("correlationId") or (said["id"] if cause is None else cause.correlation_id)
        derived: dict[str, Any] = {"tenantId": _TENANT, "causationId": None, "payload": {}, "correlationId": flow}
        self.recorded.append(msgspec.json.decode(msgspec.json.encode(derived | said), type=EventBody))
        return emitted

    def of_type(self, event_type: str) -> list[EventBody]:
        """What was emitted of one type, in order."""
        return [event for event in self.recorded if event.event_type == event_type]

    def assert_caused(self, cause: str | Emitted | EventBody, effect: str | Emitted | EventBody) -> None:
        """Fail unless one led to the other, at once or over others. Each is an event, its id, or an event type, and of
        a type every event must be such an effect.
        """
        causes = {event.id for event in self._meant(cause)}
        for event in self._meant(effect):
            chain = list(self._causes(event))
            if not causes & {each.id for each in chain}:
                led = " <- ".join(each.event_type for each in (event, *chain))
                raise AssertionError(f"{_told(cause)} did not cause {_told(effect)}; what is known is: {led}")

    def _meant(self, which: str | Emitted | EventBody) -> list[EventBody]:
        name = which if isinstance(which, str) else which.id
        found = [event for event in self.recorded if name in (event.id, event.event_type)]
        if not found:
            emitted = ", ".join(event.event_type for event in self.recorded) or "nothing"
            raise AssertionError(f"{_told(which)} was not emitted; emitted was: {emitted}")
        return found

    def _causes(self, event: EventBody) -> Iterator[EventBody]:
        seen = {event.id}
        before = self._find(event.causation_id)
        while before is not None and before.id not in seen:
            seen.add(before.id)
            yield before
            before = self._find(before.causation_id)

    def _find(self, event_id: str | None) -> EventBody | None:
        return next((event for event in self.recorded if event.id == event_id), None)


def _told(which: str | Emitted | EventBody) -> str:
    if isinstance(which, EventBody):
        return which.event_type
    return which if isinstance(which, str) else which.id


@pytest.fixture
def whence_events() -> Iterator[Recorded]:
    """A client that records what is emitted, for this test."""
    with Recorded() as recorded:
        yield recorded
