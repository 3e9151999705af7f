"""Events of a host whose clock is fast. The server refuses an event that lies over five minutes in its future.

The `Date` header of its responses tells the offset between the two clocks. A refused event is held until the server's
clock has come near enough, if that takes at most ten minutes. Otherwise its time is corrected by the offset.

A corrected event may be sent again from the spool, after a crash, in the form that it had before. The offset is then
another one, or the event is no longer early, so that the server finds an event with other content: a conflict. It names
nothing but the time if what is stored is a correction of the same event.
"""

import datetime as dt
from collections.abc import Collection
from typing import Any

import msgspec

from whence.client.responses import parse_http_date
from whence.wire.bodies import BatchResultBody

__all__ = ["HOLD_MAX_S", "ServerClock", "is_early", "settle_conflict"]

HOLD_MAX_S = 600.0
"""The longest time that an event is held for its time to come."""

_FUTURE_MAX_S = 300.0  # what the server accepts: `FUTURE_MAX_US` in `wire.event`, which the client does not load
_MARGIN_S = 2.0  # `Date` has whole seconds
_RETRY_S = 30.0
_ORIGINAL = "_occurredAt"  # the member of the payload with the time that an event had before it was corrected
_EARLY = "datetime_future"
_CORRECTED_FIELDS = {"occurredAt", "payload"}


def is_early(result: BatchResultBody) -> bool:
    """Whether an event was refused for nothing but a time in the future."""
    problems = result.detail if isinstance(result.detail, list) else []
    return bool(problems) and all(isinstance(each, dict) and each.get("type") == _EARLY for each in problems)


def settle_conflict(body: bytes, fields: Collection[str]) -> bytes | None:
    """What to do with an event that the server has with other content in these fields.

    Returns the same event if a correction of it is stored; or its corrected form, to be sent in order to find that out;
    or None to reject it.
    """
    event = _members(body)
    if event is None or "occurredAt" not in fields or not set(fields) <= _CORRECTED_FIELDS:
        return None
    if _ORIGINAL in (_payload(event) or ()):
        return body if set(fields) == {"occurredAt"} else None
    occurred_at = _time(event)
    return None if occurred_at is None else _corrected(event, occurred_at)


class ServerClock:
    """The server's clock, as far as its responses tell it. `offset_s` is to be added to this host's time."""

    def __init__(self) -> None:
        self.offset_s: float | None = None

    def observe(self, date: str | None, sent_at: float, received_at: float) -> None:
        """Measure the offset by a `Date` header. The times are this host's, in seconds since the epoch."""
        at = None if date is None else parse_http_date(date)
        if at is not None and at.tzinfo is not None:
            self.offset_s = at.timestamp() + 0.5 - (sent_at + received_at) / 2

    def settle(self, body: bytes, now: float, hold_left_s: float) -> float | bytes | None:
        """What to do with an event that was refused as too early.

        Returns the seconds to hold it, at most `hold_left_s`; or the corrected event; or None to reject it.
        """
        event = _members(body)
        occurred_at = _time(event)
        if event is None or occurred_at is None or self.offset_s is None:
            return min(_RETRY_S, hold_left_s) if hold_left_s > 0 else None
        wait_s = occurred_at.timestamp() - _FUTURE_MAX_S - (now + self.offset_s) + _MARGIN_S
        if 0 < wait_s <= hold_left_s:
            return wait_s
        try:
            corrected = occurred_at + dt.timedelta(seconds=self.offset_s)
        except OverflowError:  # the last day of the calendar
            return None
        if wait_s > 0 and corrected.timestamp() <= now + self.offset_s + _FUTURE_MAX_S:
            return _corrected(event, corrected)
        # The clock that set `Date` is not the one that refused; or the event really lies in the future.
        return min(_RETRY_S, hold_left_s) if wait_s <= 0 < hold_left_s else None


def _corrected(event: dict[str, msgspec.Raw], occurred_at: dt.datetime) -> bytes | None:
    """The event at this time, with its own time in the payload. None if it was corrected before."""
    payload = _payload(event)
    if payload is None or _ORIGINAL in payload:
        return None
    payload[_ORIGINAL] = event["occurredAt"]
    members: dict[str, Any] = event | {"occurredAt": occurred_at, "payload": payload}
    return msgspec.json.encode(members)


def _payload(event: dict[str, msgspec.Raw]) -> dict[str, Any] | None:
    """The members of the payload of an event; None if it is no object."""
    if "payload" not in event:
        return {}
    try:
        return msgspec.json.decode(event["payload"], type=dict[str, msgspec.Raw])
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def _members(body: bytes) -> dict[str, msgspec.Raw] | None:
    try:
        return msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def _time(event: dict[str, msgspec.Raw] | None) -> dt.datetime | None:
    try:
        return msgspec.json.decode((event or {}).get("occurredAt", b""), type=dt.datetime)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
