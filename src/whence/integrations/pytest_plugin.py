"""A pytest fixture for programs that emit events. Enable it with
`pytest_plugins = ["whence.integrations.pytest_plugin"]`.
"""

import time
from collections.abc import Iterator
from typing import Literal, Unpack, overload

import pytest

from whence.client.clients import EventInput, Whence
from whence.client.encoding import Default
from whence.client.event_builder import EmittedEvent, EventFields, stored_form
from whence.client.options import BeforeSend
from whence.client.responses import StoredEvent
from whence.events import Vocabulary
from whence.wire.bodies import EventBody
from whence.wire.event import IngestContext, parse_new_event

__all__ = ["RecordingWhence", "whence_events"]

_TENANT = "test"
_UNUSED_URL = "http://127.0.0.1:9"

NamedEvent = str | EmittedEvent | EventBody
"""An event, the id of an event, or an event type."""


class RecordingWhence(Whence):
    """A client that sends nothing. It checks each event as a server would, and keeps it in `recorded`.

    `resource_types` and `actor_types` are those that your server has in addition to the built-in ones.
    """

    def __init__(
        self,
        *,
        resource_types: tuple[str, ...] = (),
        actor_types: tuple[str, ...] = (),
        default: Default | None = None,
        before_send: BeforeSend | None = None,
    ) -> None:
        super().__init__(_UNUSED_URL, "unused", spool=False, default=default, before_send=before_send, disabled=False)
        self.recorded: list[EventBody] = []
        self.vocabulary = Vocabulary.extended(resource_types, actor_types)

    @overload
    def emit(self, event: EventInput, *, durable: Literal[True], **fields: Unpack[EventFields]) -> StoredEvent: ...

    @overload
    def emit(
        self, event: EventInput, *, durable: Literal[False] = False, **fields: Unpack[EventFields]
    ) -> EmittedEvent: ...

    def emit(
        self, event: EventInput, *, durable: bool = False, **fields: Unpack[EventFields]
    ) -> StoredEvent | EmittedEvent:
        """Record an event. Raises Invalid and TooLarge where a server would refuse it, also without `durable`."""
        emitted = self.queue(event, **fields)
        return StoredEvent(event=self._stored(emitted), replayed=False, body=emitted.body) if durable else emitted

    def queue(self, event: EventInput, **fields: Unpack[EventFields]) -> EmittedEvent:
        """As `emit`."""
        emitted = self.new(event, **fields)
        if emitted.dropped:
            return emitted
        parse_new_event(emitted.body, IngestContext(_TENANT, self.vocabulary, time.time_ns() // 1_000))
        self.recorded.append(self._stored(emitted))
        return emitted

    def _stored(self, emitted: EmittedEvent) -> EventBody:
        cause_id = stored_form(emitted).causation_id
        cause = self._find(cause_id)
        return stored_form(emitted, _TENANT, None if cause is None else cause.correlation_id)

    def of_type(self, event_type: str) -> list[EventBody]:
        """The recorded events of one type, in order."""
        return [event for event in self.recorded if event.event_type == event_type]

    def assert_caused(self, cause: NamedEvent, effect: NamedEvent) -> None:
        """Fail unless `cause` led to `effect`, directly or through other events.

        If `effect` is an event type, every event of that type must have such a cause.
        """
        cause_ids = {event.id for event in self._matching(cause)}
        for event in self._matching(effect):
            chain = list(self._causes(event))
            if not cause_ids & {each.id for each in chain}:
                known = " <- ".join(each.event_type for each in (event, *chain))
                raise AssertionError(f"{_label(cause)} did not cause {_label(effect)}; the known causes are: {known}")

    def _matching(self, which: NamedEvent) -> list[EventBody]:
        name = which if isinstance(which, str) else which.id
        matching = [event for event in self.recorded if name in (event.id, event.event_type)]
        if not matching:
            emitted = ", ".join(event.event_type for event in self.recorded) or "nothing"
            raise AssertionError(f"{_label(which)} was not emitted; emitted was: {emitted}")
        return matching

    def _causes(self, event: EventBody) -> Iterator[EventBody]:
        """The causes of an event up to its root. A cycle of causes ends where it closes."""
        seen = {event.id}
        cause = self._find(event.causation_id)
        while cause is not None and cause.id not in seen:
            seen.add(cause.id)
            yield cause
            cause = self._find(cause.causation_id)

    def _find(self, event_id: str | None) -> EventBody | None:
        return next((event for event in self.recorded if event.id == event_id), None)


def _label(which: NamedEvent) -> str:
    if isinstance(which, EventBody):
        return which.event_type
    return which if isinstance(which, str) else which.id


@pytest.fixture
def whence_events() -> Iterator[RecordingWhence]:
    """A client that records the events of one test."""
    with RecordingWhence() as recording:
        yield recording
