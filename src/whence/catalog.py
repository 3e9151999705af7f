"""The usual event types, and the outcome that an event type implies.

The catalogue describes and does not limit: any event type in the grammar may be stored. An outcome is fixed when the
event is stored: what the client sent, else what the catalogue says, else what the last word of the type implies.
"""

from types import MappingProxyType

__all__ = ["CATALOG", "outcome_of"]

# Each entry is a noun and its verbs. A verb ends with + for success, - for failure, nothing for no outcome.
_TYPES = {
    "action_run": "requested authorized+ denied- queued started progressed paused handed_off completed+ failed- "
    "timed_out- cancelled retried compensated+ compensation_failed-",
    "agent_spec": "created updated deleted published deprecated archived restored validated+ validation_failed- "
    "permissions_changed deployed+ deploy_failed-",
    "artifact": "created updated deleted versioned read downloaded shared unshared published redacted verified+ "
    "verification_failed-",
    "automation": "created updated deleted enabled disabled suspended triggered trigger_skipped",
    "automation_run": "queued started step_started step_completed+ step_failed- waiting resumed retried completed+ "
    "failed- timed_out- crashed- cancelled",
    "chat_thread": "created updated deleted message_received message_sent+ message_failed- participant_added "
    "participant_removed handed_off feedback_recorded closed reopened",
    "connection": "created updated deleted authorized+ authorization_failed- tested+ test_failed- token_refreshed+ "
    "token_refresh_failed- credentials_rotated+ expired- revoked rate_limited-",
    "decision": "requested assigned delegated escalated approved+ auto_approved+ rejected overridden withdrawn "
    "expired-",
    "flashboard": "created updated deleted published viewed shared refreshed+ refresh_failed-",
    "inbound_message": "received verified+ verification_failed- deduplicated routed+ routing_failed- processed+ "
    "processing_failed- quarantined replied+",
    "model": "called returned+ failed-",
    "schedule": "created updated deleted fired missed- changed",
    "template": "created updated deleted published unpublished instantiated+ instantiation_failed-",
    "tool": "called returned+ failed-",
    "trigger": "matched",
    "whence": "alert_fired alert_resolved",
}

_SIGNS = {"+": "success", "-": "failure"}

CATALOG = MappingProxyType(
    {
        f"{noun}.{verb.rstrip('+-')}": _SIGNS.get(verb[-1], "none")
        for noun, verbs in _TYPES.items()
        for verb in verbs.split()
    }
)
"""The usual event types, each with its outcome."""

_LAST_WORDS = {
    **dict.fromkeys(("completed", "complete", "succeeded", "approved", "delivered", "verified", "sent"), "success"),
    **dict.fromkeys(("failed", "errored", "crashed", "denied", "expired", "missed"), "failure"),
}


def outcome_of(event_type: str) -> str:
    """The outcome that an event type implies: by the catalogue, else by its last word, else `none`.

    >>> outcome_of("invoice.delivered"), outcome_of("invoice.reminder_timed_out"), outcome_of("invoice.cancelled")
    ('success', 'failure', 'none')
    """
    known = CATALOG.get(event_type)
    if known is not None:
        return known
    segment = event_type.rpartition(".")[2]
    if segment == "timed_out" or segment.endswith("_timed_out"):
        return "failure"
    return _LAST_WORDS.get(segment.rpartition("_")[2], "none")
