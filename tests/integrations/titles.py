"""Recorded action runs as short lines."""

import json
from typing import Any

from whence.integrations.pytest_plugin import RecordingWhence
from whence.wire.bodies import EventBody

__all__ = ["payload_of", "story", "title"]


def story(log: RecordingWhence) -> list[str]:
    """Each event as `verb kind name < verb kind name of its cause`."""
    found = {each.id: each for each in log.recorded}
    return [
        title(each) + (f" < {title(found[each.causation_id])}" if each.causation_id else "") for each in log.recorded
    ]


def title(each: EventBody) -> str:
    payload = payload_of(each)
    verb = each.event_type.partition(".")[2]
    return " ".join([verb, *(payload[key] for key in ("kind", "name") if key in payload)])


def payload_of(each: EventBody) -> dict[str, Any]:
    return dict(json.loads(each.payload_bytes))
