"""The events that announce removals.

Each names the positions, so that `whence verify` can tell what was removed on purpose from what was taken away. It
never names an actor whose events they are, and is never removed itself.
"""

import msgspec

from whence.events import NewEvent
from whence.retention import Policy, Ranges, RemovalRequest, count_in
from whence.wire.ids import derived_uuid
from whence.wire.log_events import log_event

__all__ = ["announced_ranges", "announcement", "announcement_id"]


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
) -> NewEvent:
    """The event that announces a part of a request, by its number. `checkpoint` is the newest signed one before it.
    Without ranges it announces that the id of an actor is replaced, and by what."""
    payload = {
        "actors": 0 if ranges else 1,
        "checkpoint": checkpoint,
        "events": count_in(ranges),
        "policy": _policy_text(request.policy),
        "pseudonym": None if ranges else request.pseudonym,
        "ranges": ranges,
        "reason": request.reason,
        "request": request_id,
    }
    event_id = announcement_id(tenant, request_id, request.part)
    return log_event(tenant, event_type, payload, event_id=event_id, at=now, actor=request.by)


class _Announced(msgspec.Struct):
    ranges: list[tuple[int, int]]


def announced_ranges(payload: bytes) -> list[tuple[int, int]]:
    """The ranges in the payload of an announcement. Raises ValueError for another payload."""
    return msgspec.json.decode(payload, type=_Announced).ranges


def _policy_text(policy: Policy | None) -> dict[str, object] | None:
    """A policy as it stands in an announcement."""
    if policy is None:
        return None
    rules = [{"eventType": rule.event_type, "maxAgeDays": rule.max_age_days} for rule in policy.rules]
    return {"maxAgeDays": policy.max_age_days, "rules": rules}
