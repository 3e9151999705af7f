"""The events that announce removals.

Each names the positions, so that `whence verify` can tell what was removed on purpose from what was taken away. It
never names an actor whose events they are, and is never removed itself.
"""

import msgspec

from whence.events import NewEvent
from whence.retention import Policy, Ranges, RemovalRequest, count_in
from whence.storage.removals import REMOVAL_WITHDRAWN
from whence.wire.ids import derived_uuid
from whence.wire.log_events import log_event

__all__ = [
    "Announcement",
    "announcement",
    "announcement_id",
    "parse_announcement",
    "withdrawal",
    "withdrawal_id",
]


def announcement_id(tenant: str, request_id: str, part: int) -> str:
    """The id of the event that announces a part of a request. A part that is announced again has the same."""
    return derived_uuid(tenant, "removal", request_id, str(part))


def announcement(
    tenant: str,
    request_id: str,
    request: RemovalRequest,
    event_type: str,
    ranges: Ranges,
    checkpoint: str | None,
    now: int,
    *,
    renames: bool = False,
) -> NewEvent:
    """The event that announces a part of a request, by its number. `checkpoint` is the newest signed one before it.
    With `renames` it announces that the id of the actor of these events is replaced, and by what."""
    payload = {
        "actors": int(renames),
        "checkpoint": checkpoint,
        "events": 0 if renames else count_in(ranges),
        "policy": _policy_text(request.policy),
        "pseudonym": request.pseudonym if renames else None,
        "ranges": ranges,
        "reason": request.reason,
        "request": request_id,
    }
    event_id = announcement_id(tenant, request_id, request.part)
    return log_event(tenant, event_type, payload, event_id=event_id, at=now, actor=request.by)


def withdrawal_id(tenant: str, request_id: str, part: int, number: int) -> str:
    """The id of the event that takes back something of an announced part: the one with this number, from 0."""
    return derived_uuid(tenant, "withdrawal", request_id, str(part), str(number))


def withdrawal(
    tenant: str, request_id: str, request: RemovalRequest, number: int, event_type: str, ranges: Ranges, now: int
) -> NewEvent:
    """The event that takes back what a hold kept of a part after its announcement, which has this type: positions, or
    without ranges the pseudonym."""
    payload = {
        "announcement": announcement_id(tenant, request_id, request.part),
        "eventType": event_type,
        "events": count_in(ranges),
        "pseudonym": None if ranges else request.pseudonym,
        "ranges": ranges,
        "request": request_id,
    }
    event_id = withdrawal_id(tenant, request_id, request.part, number)
    return log_event(tenant, REMOVAL_WITHDRAWN, payload, event_id=event_id, at=now, actor=request.by)


class Announcement(msgspec.Struct):
    """What an announcement names, or what a withdrawal takes back of it."""

    ranges: list[tuple[int, int]]
    pseudonym: str | None = None


def parse_announcement(payload: bytes) -> Announcement:
    """The payload of an announcement or withdrawal. Raises ValueError for another payload."""
    return msgspec.json.decode(payload, type=Announcement)


def _policy_text(policy: Policy | None) -> dict[str, object] | None:
    """A policy as it stands in an announcement."""
    if policy is None:
        return None
    rules = [{"eventType": rule.event_type, "maxAgeDays": rule.max_age_days} for rule in policy.rules]
    return {"maxAgeDays": policy.max_age_days, "rules": rules}
