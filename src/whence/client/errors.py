"""What only a client can raise. The errors of the server are those of `whence.errors`."""

from whence.errors import WhenceError

__all__ = ["Closed", "Lost", "Rejected", "SpoolFull", "Unreachable"]


class Unreachable(WhenceError):
    """No answer came: nothing listens there, or the connection broke or took too long.

    `connected`: the request may have arrived.
    """

    code = "unreachable"

    def __init__(self, message: str, *, connected: bool = False) -> None:
        super().__init__(message)
        self.connected = connected


class Closed(WhenceError):
    """The client was closed; it takes no more events."""

    code = "closed"


class SpoolFull(WhenceError):
    """The event could not be kept: the queue is full, and the spool is full or cannot be written."""

    code = "spool_full"


class Rejected(WhenceError):
    """The server refused a queued event for good. It is in `rejected.ndjson` now, if there is a spool.

    `event` is the event as JSON, `status` what it was refused with.
    """

    code = "rejected"

    def __init__(self, message: str, event: bytes, status: int) -> None:
        super().__init__(message)
        self.event = event
        self.status = status


class Lost(WhenceError):
    """The process ends, the server did not take these events in time, and there is nowhere to keep them."""

    code = "lost"

    def __init__(self, message: str, events: list[bytes]) -> None:
        super().__init__(message)
        self.events = events
