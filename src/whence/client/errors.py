"""The errors that only the client raises. Those of the server are in `whence.errors`.

WhenceError
├── Unreachable   no response came
├── NoApiKey      the client has no API key           (an Unauthenticated)
├── Closed        the client is closed
├── QueueFull     the event was not accepted, since the queue is full
│   └── SpoolFull     and it could not be spooled either
├── Rejected      the server refused a queued event   (passed to `on_error`)
├── Lost          queued events are gone              (passed to `on_error`)
└── NotRecorded   an integration could make no event  (passed to `on_error`)
"""

from pathlib import Path

import msgspec

from whence.errors import Unauthenticated, WhenceError

__all__ = [
    "Closed",
    "Lost",
    "NoApiKey",
    "NotRecorded",
    "QueueFull",
    "Rejected",
    "SpoolFull",
    "Unreachable",
    "name_of",
]


class Unreachable(WhenceError):
    """No response came: nothing listens at the address, the connection broke, or the time limit was reached.

    `connected` means that the server may have received the request. `reason` says why there was no connection: refused,
    dns, tls, proxy, timeout or network; it is empty when the connection broke later.
    """

    code = "unreachable"

    def __init__(self, message: str, *, connected: bool = False, reason: str = "") -> None:
        super().__init__(message)
        self.connected = connected
        self.reason = reason


class NoApiKey(Unauthenticated):
    """The client has no API key, so that no event can be sent. The sentence says where it was looked for."""

    code = "no_api_key"

    def __init__(self, reason: str) -> None:
        WhenceError.__init__(self, f"no API key: {reason}")


class Closed(WhenceError):
    """The client is closed and accepts no more events."""

    code = "closed"


class QueueFull(WhenceError):
    """The event was not accepted: the queue is full, and stayed so for as long as `emit` may wait."""

    code = "queue_full"


class SpoolFull(QueueFull):
    """The event was not accepted: the queue is full, and the spool is full or not writable."""

    code = "spool_full"


class Rejected(WhenceError):
    """The server refused a queued event permanently. With a spool, the event is in its `rejected.ndjson`.

    `event` is the event as JSON, `event_type` and `event_id` name it, `status` is the HTTP status of the refusal, and
    `file` the file that the event was written to, if any.
    """

    code = "rejected"

    def __init__(self, why: str, event: bytes, status: int, file: Path | None = None) -> None:
        self.event_type, self.event_id = name_of(event)
        named = f"{self.event_type} {self.event_id}".strip() or "that cannot be read"
        super().__init__(f"The event {named} was refused: {why}{f' It is in {file}.' if file else ''}")
        self.event = event
        self.status = status
        self.file = file


class _Named(msgspec.Struct, rename="camel"):
    event_type: str = ""
    id: str = ""


def name_of(event: bytes) -> tuple[str, str]:
    """The type and id of an encoded event; two empty texts for anything else."""
    try:
        named = msgspec.json.decode(event, type=_Named)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return "", ""
    return named.event_type, named.id


class Lost(WhenceError):
    """Events that were queued or spooled will not be sent.

    `events` holds as JSON those that were in memory when the client was closed. It is empty for events that a full
    queue dropped, and when spool files were removed.
    """

    code = "lost"

    def __init__(self, message: str, events: list[bytes]) -> None:
        super().__init__(message)
        self.events = events


class NotRecorded(WhenceError):
    """An integration could not record something, and did not let the program fail because of that."""

    code = "not_recorded"
