"""The error tree. It knows nothing of HTTP; `api/app.py` gives each class its status.

WhenceError
├── Invalid            the input broke a rule; says where, in the manner of the contract's 422
├── Unauthenticated    no credential, or one that does not hold
├── Forbidden          a good credential without the scope
├── NotFound           no such thing in this tenant
├── Conflict           the id is taken by an event with other content
├── TooLarge           a body, a payload or a batch beyond its limit
├── UnsupportedMedia   a content type or encoding that is not spoken here
├── Throttled          too many requests of one kind from one caller
├── Busy               a queue is full; try again soon
├── QueryTooExpensive            a question that was stopped because it would read too much
├── Unavailable        the store cannot serve now
└── StoreRefused       the store must not be opened; only at start
    ├── RolledBack     it lacks what it has acknowledged
    └── Unsound        what it holds is not as it was written
"""

from collections.abc import Sequence

import msgspec

__all__ = [
    "Busy",
    "Conflict",
    "Forbidden",
    "Invalid",
    "NotFound",
    "Problem",
    "QueryTooExpensive",
    "RolledBack",
    "StoreRefused",
    "Throttled",
    "TooLarge",
    "Unauthenticated",
    "Unavailable",
    "Unsound",
    "UnsupportedMedia",
    "WhenceError",
]


class WhenceError(Exception):
    """Any error that Whence raises on purpose.

    `str(error)` is a sentence for people, which never repeats the input; `code` is a slug for programs. An error that
    a server answered carries the id of the request, by which the server's log tells more.
    """

    code = "error"
    request_id: str | None = None


class Problem(msgspec.Struct, frozen=True):
    """One broken rule: where (`loc`, from body, query, path or header inwards), what (`msg`), which rule (`type`)."""

    loc: tuple[str | int, ...]
    msg: str
    type: str


class Invalid(WhenceError):
    """The input broke at least one rule. `problems` holds every one that was found."""

    code = "invalid"

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("; ".join(problem.msg for problem in problems))
        self.problems = tuple(problems)

    @classmethod
    def at(cls, loc: tuple[str | int, ...], msg: str, type_: str = "value_error") -> "Invalid":
        """The error for a single problem."""
        return cls([Problem(loc, msg, type_)])

    def within_item(self, index: int) -> "Invalid":
        """The same problems, found in one item of a batch: its index comes behind the first part of each `loc`."""
        return Invalid([Problem((p.loc[0], index, *p.loc[1:]), p.msg, p.type) for p in self.problems])


class Unauthenticated(WhenceError):
    """No credential, or one that does not hold. One sentence for every cause, so nothing can be learned from it."""

    code = "unauthenticated"

    def __init__(self) -> None:
        super().__init__("A valid credential is needed: an API key or a token.")


class Forbidden(WhenceError):
    """The credential holds, but may not do this in its own tenant."""

    code = "forbidden"


class NotFound(WhenceError):
    """No such thing in this tenant. The same sentence whether it never was or belongs to another."""

    code = "not_found"


class Conflict(WhenceError):
    """The id is taken by an event with other content. `fields` names what differs, as sent."""

    code = "event_id_conflict"

    def __init__(self, fields: Sequence[str]) -> None:
        super().__init__(f"An event with this id is stored with other content; different: {', '.join(fields)}.")
        self.fields = tuple(fields)


class TooLarge(WhenceError):
    """A body, a payload or a batch is beyond its limit, counted after inflating."""

    code = "too_large"


class UnsupportedMedia(WhenceError):
    """A content type or content encoding that is not spoken here."""

    code = "unsupported_media_type"


class RetryLater(WhenceError):
    """The base of errors that pass by themselves. `retry_after_s` says after how many seconds to come back."""

    def __init__(self, message: str, retry_after_s: int = 1) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Throttled(RetryLater):
    """Too many requests of one kind from one caller."""

    code = "throttled"


class Busy(RetryLater):
    """A queue is full. Nothing of the request was stored."""

    code = "busy"


class QueryTooExpensive(RetryLater):
    """A question was stopped because it would read too much of the log."""

    code = "query_too_expensive"


class Unavailable(RetryLater):
    """The store cannot serve now. Whether a write that met this was stored is not known; repeat it with its id."""

    code = "unavailable"


class StoreRefused(WhenceError):
    """The store must not be opened: an unsafe SQLite, a newer schema, a second serving process, a damaged file."""

    code = "store_refused"


class RolledBack(StoreRefused):
    """The store lacks what it has acknowledged: it went back to an earlier state."""

    code = "store_rolled_back"


class Unsound(StoreRefused):
    """What the store holds is not as it was written: an event does not belong to its hash, or a count to its events."""

    code = "store_unsound"
