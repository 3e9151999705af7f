"""Requests for a new epoch of a log, in which it is signed under another name and with another key. Pure."""

from whence.errors import Invalid, Problem
from whence.wire.bodies import TimeText, WireBody
from whence.wire.problems import json_object, unknown_names

__all__ = ["EPOCH_REASONS", "KEY_ROTATED", "EpochBody", "parse_epoch_reason"]

EPOCH_REASONS = ("restored", "rotated", "compromised")
"""Why a log gets a new origin and key: it was put back from an older backup, it is time for another key, or somebody
else may have the key."""

KEY_ROTATED = "whence.log_key_rotated"
"""The type of the event by which the former key of a log announces the next one."""


class EpochBody(WireBody, frozen=True, kw_only=True):
    """That the epoch of an origin is to end. The next one begins within some seconds."""

    ended: str
    epoch: int
    reason: str
    requested_at: TimeText


def parse_epoch_reason(body: bytes) -> str:
    """Why a new epoch is to begin. Raises Invalid with every problem."""
    asked = json_object(body)
    sentence = "There is no such field; known is reason."
    problems = unknown_names(asked, ("reason",), ("body",), lambda _name: sentence)
    reason = asked.get("reason")
    if "reason" not in asked:
        problems.append(Problem(("body", "reason"), "reason is required.", "missing"))
    elif reason not in EPOCH_REASONS:
        problems.append(Problem(("body", "reason"), f"reason is one of {', '.join(EPOCH_REASONS)}.", "enum"))
    if problems:
        raise Invalid(problems)
    return str(reason)
