"""The pytest fixture that records events."""

import pytest

from tests.api.conftest import event
from tests.unit.mutants import catches, replaced
from whence.errors import Invalid
from whence.events import ResourceType
from whence.integrations.pytest_plugin import RecordingWhence


def never_fails(self: RecordingWhence, cause: object, effect: object) -> None:
    """Accepts every cause."""


@catches(replaced(RecordingWhence, "assert_caused", never_fails, "never_fails"))
def test_causes_are_asserted(whence_events: RecordingWhence) -> None:
    """Direct and indirect ones, by event, id or type. A failure shows the known causes or the emitted types."""
    log = whence_events
    root = log.emit(event(eventType="inbound_message.received"))
    with log.cause(root):
        middle = log.emit(event(eventType="decision.made"))
    last = log.emit(event(eventType="action_run.failed", causationId=middle.id), durable=True)
    log.emit(event(eventType="artifact.created"))
    log.assert_caused("inbound_message.received", "action_run.failed")
    log.assert_caused(root, last.event)
    log.assert_caused(middle.id, last.event.id)
    assert last.event.correlation_id == root.id
    with pytest.raises(AssertionError, match=r"did not cause.*action_run.failed <- decision.made"):
        log.assert_caused("artifact.created", "action_run.failed")
    with pytest.raises(AssertionError, match="did not cause"):
        log.assert_caused("action_run.failed", "decision.made")
    with pytest.raises(AssertionError, match=r"was not emitted; emitted was: inbound_message.received, "):
        log.assert_caused("decision.approved", "action_run.failed")
    assert [each.id for each in log.of_type("decision.made")] == [middle.id]


def test_invalid_events_are_refused(whence_events: RecordingWhence) -> None:
    """As a server would refuse them. Added resource types can be named."""
    with pytest.raises(Invalid, match="event type"):
        whence_events.emit(event(eventType="Failed"))
    with pytest.raises(Invalid):
        whence_events.emit(event(resourceType="invoice"))
    assert "invoice" not in list(ResourceType)
    RecordingWhence(resource_types=("invoice",)).emit(event(resourceType="invoice"))
