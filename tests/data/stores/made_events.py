"""The events of the fixture stores, as the lines that a client would send. All of it is made up."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from uuid import NAMESPACE_URL, uuid5

__all__ = ["BULK", "ERASED", "FEATURES", "OTHERS", "TAIL", "TRACED", "id_of"]

NOON = datetime(2025, 3, 14, 12, tzinfo=UTC)


def id_of(name: str) -> str:
    """The UUID of this name."""
    return str(uuid5(NAMESPACE_URL, f"whence-fixture/{name}"))


def line(name: str, at: str, payload: str = "{}", **fields: str) -> str:
    """An event as JSON; `payload` is put into it as it is."""
    told = {
        "id": id_of(name),
        "eventType": "action_run.completed",
        "actorType": "agent",
        "actorId": "planner",
        "resourceType": "action_run",
        "resourceId": id_of("run"),
        "occurredAt": at,
        **fields,
    }
    return json.dumps(told, ensure_ascii=False)[:-1] + f', "payload": {payload}}}'


def _at(**after: float) -> str:
    return (NOON + timedelta(**after)).isoformat()


FEATURES = [
    # causes: a story with a root, an effect that comes before its cause, a cycle of two, missing ones, a text
    line("root", _at(), eventType="inbound_message.received", resourceType="inbound_message", correlationId="story"),
    line("step", _at(seconds=2), causationId=id_of("root")),
    line("step-failed", _at(seconds=4), eventType="action_run.failed", causationId=id_of("step")),
    line("effect-first", _at(seconds=9), causationId=id_of("cause-later"), correlationId="late cause"),
    line("cause-later", _at(seconds=8), eventType="decision.approved", resourceType="decision"),
    line("cycle-a", _at(minutes=1), causationId=id_of("cycle-b"), correlationId="cycle"),
    line("cycle-b", _at(minutes=1), causationId=id_of("cycle-a"), correlationId="cycle"),
    line("cause-missing", _at(minutes=2), causationId=id_of("never sent")),
    line("cause-text", _at(minutes=3), causationId="ticket 42/Ω"),
    line("cause-text-again", _at(minutes=3), causationId="ticket 42/Ω", correlationId="another flow"),
    line("before-its-cause", _at(seconds=-5), causationId=id_of("root"), correlationId="story"),
    # flows whose names are hard to put into a path
    line("slashes", _at(hours=1), correlationId="a/b//c?d=%2F&e#f"),
    line("unicode", _at(hours=1), correlationId="поток-流れ-🌊", actorId="Zoë Ω"),
    line("upper-case", _at(hours=1), correlationId=id_of("a flow").upper()),
    # a flow that is named by its root's id, and children that spell it in capitals; and an actor of such a name
    line("upper-root", _at(hours=1, minutes=1), correlationId=id_of("upper-root"), actorId=id_of("an actor")),
    line(
        "upper-child",
        _at(hours=1, minutes=2),
        causationId=id_of("upper-root").upper(),
        correlationId=id_of("upper-root").upper(),
        actorId=id_of("an actor").upper(),
    ),
    # times: equal, early, at the epoch, before it, with an offset
    *[line(f"equal-{number}", "2025-03-14T13:30:00Z", actorId=f"equal-{number}") for number in range(4)],
    line("epoch", "1970-01-01T00:00:00Z"),
    line("before-epoch", "1969-12-31T23:59:59.999999Z", eventType="action_run.started"),
    line("moon", "1969-07-20T20:17:40+00:00", actorType="user", actorId="neil"),
    line("far-past", "0001-01-01T00:00:00Z", resourceType="artifact", resourceId=id_of("artifact")),
    line("offset", "2025-03-14T23:59:59.123456+05:45"),
    # payloads
    line("escapes", _at(hours=2), r'{"zero":"\u0000","slash":"\/","pair":"\ud83c\udf0a","raw":"Ω🌊"}'),
    line("numbers", _at(hours=2), '{"a":1E2,"b":9007199254740993,"c":-0,"d":0.10,"e":123456789012345678901234567890}'),
    line("order", _at(hours=2), '{"b":1,"a":[{},[],"",null,true,false],"":0}'),
    line("large", _at(hours=2), json.dumps({"text": "lorem ipsum Ω " * 1_500})),
    line("large-erased", _at(hours=2), json.dumps({"secret": "forget me " * 1_200})),
    line("erased", _at(hours=2), '{"name":"Jane Roe"}', causationId=id_of("step")),
    # outcomes: explicit ones against the derived one, derived by catalogue and by ending, none
    line("outcome-failure", _at(hours=3), outcome="failure"),
    line("outcome-none", _at(hours=3), outcome="none"),
    line("outcome-success", _at(hours=3), eventType="action_run.failed", outcome="success"),
    line("outcome-derived", _at(hours=3), eventType="parcel.customs.denied"),
    line("outcome-of-nothing", _at(hours=3), eventType="chat_thread.renamed", resourceType="chat_thread"),
    line("outcome-cancelled", _at(hours=3), eventType="automation_run.cancelled", resourceType="automation_run"),
    # an operator's words, and one resource id under two types
    line("added-resource", _at(hours=4), eventType="loan_case.opened", resourceType="loan_case"),
    line("added-actor", _at(hours=4), actorType="robot", actorId="r2"),
    line("two-types-a", _at(hours=4), resourceType="artifact", resourceId=id_of("two types")),
    line("two-types-b", _at(hours=4), resourceType="template", resourceId=id_of("two types")),
]
"""Stored one by one and in batches."""

TYPES = ("started", "completed", "failed", "updated", "delivered")
ACTORS = (("agent", "planner"), ("agent", "writer"), ("user", "ada"), ("service", "mailer"), ("robot", "r2"))


def _bulk() -> Iterator[str]:
    """First a crowded second, so that buckets divide down to the last level; then an hour, then two months."""
    for number in range(440):
        if number < 90:
            at = timedelta(minutes=90, microseconds=number * 7_000)
        elif number < 240:
            at = timedelta(hours=6, seconds=(number * 37) % 3_600)
        else:
            at = timedelta(days=(number * 11) % 61, seconds=number)
        actor_type, actor_id = ACTORS[number % 5]
        told = {"causationId": id_of(f"bulk-{number // 3}")} if number % 4 else {}
        yield line(
            f"bulk-{number}",
            (NOON + at).isoformat(),
            f'{{"n":{number}}}',
            eventType=f"automation_run.{TYPES[number * 7 % 5]}",
            actorType=actor_type,
            actorId=actor_id if number % 9 else f"guest {number}",
            resourceType="automation_run",
            resourceId=id_of(f"resource {number % 40}"),
            **told,
        )


BULK = list(_bulk())
"""Stored in batches."""

TAIL = [
    line("tail-late", "2024-01-01T00:00:00Z", causationId=id_of("bulk-7"), actorId="newcomer"),
    line("tail-cause-of-text", _at(days=70), causationId="ticket 42/Ω"),
    line("tail-link", _at(days=70), causationId=id_of("bulk-400"), eventType="action_run.failed"),
    line("tail-story", _at(days=70), causationId=id_of("step-failed")),
    line("tail-erased", _at(days=70), '{"iban":"XX00 0000"}', causationId=id_of("root")),
]
"""Stored last, after the newest fold."""

OTHERS = {
    "globex.eu-1": [
        line("root", _at(), '{"other":"tenant"}', actorId="globex"),  # the same ids as in the first tenant
        line("step", _at(seconds=1), '{"other":"tenant"}', causationId=id_of("root"), correlationId="story"),
        line("erased", _at(seconds=2), '{"name":"John Roe"}', causationId=id_of("step")),
        line("epoch", "1970-01-01T00:00:00Z", actorId="Zoë Ω", eventType="loan_case.opened", resourceType="loan_case"),
    ],
    "solo": [line("alone", _at(days=1), eventType="flashboard.created", resourceType="flashboard")],
}

ERASED = ("large-erased", "erased", "tail-erased")
"""Whose payloads are erased after everything was stored, in every tenant that has them."""

TRACED = (
    *("root", "step-failed", "effect-first", "cause-later", "cycle-a", "cycle-b", "cause-missing", "cause-text"),
    *("before-its-cause", "bulk-0", "bulk-1", "bulk-200", "bulk-439", "tail-late", "erased", "tail-story", "epoch"),
)
