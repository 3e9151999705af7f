"""Every error that Whence raises on purpose. The classes know nothing of HTTP; `api/app.py` maps them to status codes.

WhenceError
├── Invalid                 the input broke a rule
├── Unauthenticated         no credential, or an invalid one
├── Forbidden               a valid credential without the scope
│   └── QuotaSpent          the tenant may store no more
├── NotFound                no such thing in this tenant
│   └── NotSealedYet        no checkpoint of the log has it yet
├── PositionGone            the log is asked for from a position that is no longer kept
├── Conflict                the id belongs to an event with other content
├── TooLarge                a body, payload or batch is over its limit
├── UnsupportedMedia        the content type or encoding is not supported
├── BadSignature            a webhook that was received is not signed as it should be
├── RetryLater              it passes by itself
│   ├── Throttled           too many requests of one kind from one caller
│   ├── Busy                a queue is full
│   ├── QueryTooExpensive   a query was stopped because it would read too much
│   └── Unavailable         the store cannot serve at the moment
└── StoreRefused            the store must not be opened
    ├── RolledBack          the store lacks events that it acknowledged
    └── Unsound             what the store holds is not what was written
"""

from collections.abc import Sequence

import msgspec

__all__ = [
    "BadSignature",
    "Busy",
    "Conflict",
    "Forbidden",
    "Invalid",
    "NotFound",
    "NotSealedYet",
    "PositionGone",
    "Problem",
    "QueryTooExpensive",
    "QuotaSpent",
    "RetryLater",
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
    """The base of all errors that Whence raises on purpose.

    `str(error)` is a sentence for people and never repeats the input. `code` is a slug for programs. `request_id` is
    set on an error that a server answered, and finds the request in the server's log.
    """

    code = "error"
    request_id: str | None = None


class Problem(msgspec.Struct, frozen=True):
    """One broken rule: where (`loc`, from body, query, path or header inwards), a sentence (`msg`), a slug (`type`)."""

    loc: tuple[str | int, ...]
    msg: str
    type: str


class Invalid(WhenceError):
    """The input broke at least one rule. `problems` lists each one that was found."""

    code = "invalid"

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__(" ".join(problem.msg for problem in problems))
        self.problems = tuple(problems)

    @classmethod
    def at(cls, loc: tuple[str | int, ...], msg: str, type_: str = "value_error") -> "Invalid":
        """The error for a single problem."""
        return cls([Problem(loc, msg, type_)])

    def within_item(self, index: int) -> "Invalid":
        """The same problems for one item of a batch: its index is inserted after the first part of each `loc`."""
        return Invalid([Problem((p.loc[0], index, *p.loc[1:]), p.msg, p.type) for p in self.problems])


class Unauthenticated(WhenceError):
    """No credential, or an invalid one. The sentence is the same for every cause, so that it reveals nothing."""

    code = "unauthenticated"

    def __init__(self) -> None:
        super().__init__("A valid credential is needed: an API key or a token.")


class Forbidden(WhenceError):
    """The credential is valid but lacks the scope for this request."""

    code = "forbidden"


class QuotaSpent(Forbidden):
    """The tenant has stored as many bytes as it may. Waiting does not help; the operator can raise the quota."""

    code = "quota_spent"


class NotFound(WhenceError):
    """No such thing in this tenant. The sentence is the same when it exists in another tenant."""

    code = "not_found"


class NotSealedYet(NotFound):
    """No checkpoint of the log has it yet. It passes by itself where the log is sealed."""

    code = "not_sealed_yet"


class PositionGone(WhenceError):
    """The events after a position were asked for, and the first of them are no longer kept. `resume_after` is where
    those begin that are; None when an answer does not say."""

    code = "position_gone"

    def __init__(
        self,
        message: str = "The next events after this position are no longer kept.",
        *,
        resume_after: int | str | None = None,
    ) -> None:
        super().__init__(message)
        self.resume_after = resume_after


class Conflict(WhenceError):
    """The id belongs to an event with other content. `fields` names the fields that differ, spelled as in requests. It
    is empty for a key that may not read the stored event."""

    code = "event_id_conflict"

    def __init__(self, fields: Sequence[str] = ()) -> None:
        different = f"; different: {', '.join(fields)}" if fields else ""
        super().__init__(f"An event with this id is stored with other content{different}.")
        self.fields = tuple(fields)


class TooLarge(WhenceError):
    """A body, payload or batch is over its limit, measured after decompression."""

    code = "too_large"


class UnsupportedMedia(WhenceError):
    """The content type or content encoding is not supported."""

    code = "unsupported_media_type"


class BadSignature(WhenceError):
    """A webhook that was received is not signed with the secret, is too old, or lacks a header. Raised by receivers."""

    code = "bad_signature"


class RetryLater(WhenceError):
    """The base of errors that pass by themselves. `retry_after_s` is the number of seconds to wait before a retry."""

    def __init__(self, message: str, retry_after_s: int = 1) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Throttled(RetryLater):
    """Too many requests of one kind from one caller."""

    code = "throttled"


class Busy(RetryLater):
    """A queue is full. Nothing in the request was stored."""

    code = "busy"


class QueryTooExpensive(RetryLater):
    """A query was stopped because it would read too much of the log."""

    code = "query_too_expensive"


class Unavailable(RetryLater):
    """The store cannot serve at the moment. A write may have been stored all the same; repeat it with the same id."""

    code = "unavailable"


class StoreRefused(WhenceError):
    """The store must not be opened: an unsafe SQLite, a newer schema, a second server, a damaged file."""

    code = "store_refused"


class RolledBack(StoreRefused):
    """The store lacks events that it acknowledged: it went back to an earlier state."""

    code = "store_rolled_back"


class Unsound(StoreRefused):
    """What the store holds is not what was written: an event does not match its hash, or a count its events."""

    code = "store_unsound"
