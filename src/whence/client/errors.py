"""The errors that only the client raises. Those of the server are in `whence.errors`.

WhenceError
├── Unreachable   no response came
├── Closed        the client is closed
├── SpoolFull     the event could be neither queued nor spooled
├── Rejected      the server refused a queued event   (passed to `on_error`)
├── Lost          queued events are gone              (passed to `on_error`)
└── NotRecorded   an integration could make no event  (passed to `on_error`)
"""

from whence.errors import WhenceError

__all__ = ["Closed", "Lost", "NotRecorded", "Rejected", "SpoolFull", "Unreachable"]


class Unreachable(WhenceError):
    """No response came: nothing listens at the address, the connection broke, or the time limit was reached.

    `connected` means that the server may have received the request.
    """

    code = "unreachable"

    def __init__(self, message: str, *, connected: bool = False) -> None:
        super().__init__(message)
        self.connected = connected


class Closed(WhenceError):
    """The client is closed and accepts no more events."""

    code = "closed"


class SpoolFull(WhenceError):
    """The event was not accepted: the queue is full, and the spool is full, absent or not writable."""

    code = "spool_full"


class Rejected(WhenceError):
    """The server refused a queued event permanently. With a spool, the event is in its `rejected.ndjson`.

    `event` is the event as JSON, `status` the HTTP status of the refusal.
    """

    code = "rejected"

    def __init__(self, message: str, event: bytes, status: int) -> None:
        super().__init__(message)
        self.event = event
        self.status = status


class Lost(WhenceError):
    """Events that were queued or spooled will not be sent.

    `events` holds as JSON those that were in memory when the client was closed. It is empty when spool files were
    removed.
    """

    code = "lost"

    def __init__(self, message: str, events: list[bytes]) -> None:
        super().__init__(message)
        self.events = events


class NotRecorded(WhenceError):
    """An integration could not record something, and did not let the program fail because of that."""

    code = "not_recorded"
