"""Webhooks as they are stored, asked for and answered.

A webhook is a `Definition` of the kind `WEBHOOK`, whose body is a `Webhook` as JSON. What happened to it is a
`Progress`, in the state of its place in the log.
"""

from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from whence.addresses import OutboundTarget, parse_target
from whence.errors import Invalid, Problem
from whence.events import Query, Viewer, Vocabulary
from whence.wire.feed import Places
from whence.wire.filters import filters_of_query, parse_filters
from whence.wire.parameters import DELIVERY_STATES, INT_MAX, LISTING_DEFAULT, LISTING_MAX
from whence.wire.problems import json_object, nearest_or_all, unknown_names
from whence.wire.query import QueryReader
from whence.wire.times import format_time, parse_query_time
from whence.wire.webhook_bodies import WebhookBody
from whence.wire.webhook_messages import FORMATS

__all__ = [
    "DESCRIPTION_MAX",
    "WEBHOOK",
    "DeliveriesRequest",
    "Disabled",
    "Gap",
    "Progress",
    "ReplayRequest",
    "Rewind",
    "SealedSecret",
    "Webhook",
    "WebhookRequest",
    "parse_deliveries",
    "parse_replay",
    "parse_webhook",
    "place_name",
    "set_fields_of",
    "webhook_body",
]

WEBHOOK = "webhook"
"""The kind of the definitions of webhooks."""

DESCRIPTION_MAX = 255
"""Characters of a description."""

GAPS_MAX = 10
"""Gaps that a webhook remembers, the last ones."""


class SealedSecret(msgspec.Struct, frozen=True):
    """A secret, sealed, and until when it signs: None for the current one. Times are in microseconds."""

    sealed: str
    valid_until: int | None = None


class Disabled(msgspec.Struct, frozen=True):
    """When and why a webhook was switched off, and whether the event about it is stored."""

    at: int
    reason: str
    announced: bool = False


class Rewind(msgspec.Struct, frozen=True):
    """Somebody asked, at this time, that the log be read again after a position."""

    after: int
    asked_at: int


class Webhook(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A webhook as it is stored.

    `key_id` is the API key that it may see the log with, and `readable` the resource types whose events it may see,
    None for all. The log is read after the position `begin_after`. `enabled_at` is when it was last switched on, or got
    another URL. `disabled` is None unless the server has switched it off.
    """

    url: str
    description: str = ""
    form: str = FORMATS[0]
    fifo: bool = False
    enabled: bool = True
    query: Query = Query()
    key_id: str
    readable: tuple[str, ...] | None = None
    created_at: int
    enabled_at: int
    begin_after: int
    secrets: tuple[SealedSecret, ...] = ()
    disabled: Disabled | None = None
    rewind: Rewind | None = None

    @property
    def target(self) -> OutboundTarget:
        """The URL in its parts."""
        return parse_target(self.url)


class Gap(msgspec.Struct, frozen=True):
    """Events that could not be delivered, because they were no longer kept: those after one position, up to another.
    After a restore of an older log the second is the smaller one."""

    after: int
    resumed_after: int
    at: int


class Progress(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a webhook remembers beside its position. `failing_since` is the first attempt since the last success, if all
    since then failed; `rewound_at` is `Rewind.asked_at` of the last one that was done."""

    failing_since: int | None = None
    rewound_at: int = 0
    gaps: tuple[Gap, ...] = ()

    def with_gap(self, gap: Gap) -> "Progress":
        """The same with one more gap. The oldest is forgotten when there are many."""
        return msgspec.structs.replace(self, gaps=(*self.gaps, gap)[-GAPS_MAX:])


def place_name(webhook_id: str) -> str:
    """The name of a webhook among the followers of its tenant."""
    return f"{WEBHOOK}:{webhook_id}"


# ----------------------------------------------------------------------------------------------------------- requests


class WebhookRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of a new webhook, or those to change. `take_over` lets it go on with the credential of the request."""

    url: str | UnsetType = UNSET
    description: str | UnsetType = UNSET
    form: str | UnsetType = UNSET
    fifo: bool | UnsetType = UNSET
    enabled: bool | UnsetType = UNSET
    query: Query | UnsetType = UNSET
    take_over: bool = False


class ReplayRequest(msgspec.Struct, frozen=True):
    """Which deliveries are to be made again: those after a position, or of events recorded since a time."""

    after: str | None
    since: int | None
    every: bool


_FIELDS = ("url", "description", "format", "fifo", "enabled", "filters")
_REPLAY = ("after", "since", "state")


def parse_webhook(body: bytes, vocabulary: Vocabulary, *, new: bool) -> WebhookRequest:
    """The fields of a new webhook, or those to change. Raises Invalid with every problem."""
    known = _FIELDS if new else (*_FIELDS, "takeOver")
    asked, problems = _members(body, known)
    fields: dict[str, Any] = {}
    if new and "url" not in asked:
        problems.append(Problem(("body", "url"), "url is required.", "missing"))
    if "url" in asked:
        fields["url"] = _url(asked["url"], problems)
    if "description" in asked:
        fields["description"] = _description(asked["description"], problems)
    if "format" in asked:
        fields["form"] = asked["format"]
        if asked["format"] not in FORMATS:
            problems.append(Problem(("body", "format"), f"A format is one of: {', '.join(FORMATS)}.", "enum"))
    for name, field in (("fifo", "fifo"), ("enabled", "enabled"), ("takeOver", "take_over")):
        if name in asked:
            fields[field] = asked[name]
            if not isinstance(asked[name], bool):
                problems.append(Problem(("body", name), f"{name} is true or false.", "bool_type"))
    if "filters" in asked:
        fields["query"] = parse_filters(asked["filters"], vocabulary, problems)
    if problems:
        raise Invalid(problems)
    return WebhookRequest(**fields)


def set_fields_of(asked: WebhookRequest) -> dict[str, Any]:
    """The fields of a webhook that a request sets."""
    return {
        name: value
        for name, value in msgspec.structs.asdict(asked).items()
        if value is not UNSET and name != "take_over"
    }


class DeliveriesRequest(msgspec.Struct, frozen=True):
    """Which deliveries are asked for: those after a position, in some states; without any, all of them."""

    states: tuple[str, ...]
    after: int
    limit: int


def parse_deliveries(query_string: bytes, viewer: Viewer, places: Places) -> DeliveriesRequest:
    """Which deliveries are asked for. Raises Invalid with every problem."""
    reader = QueryReader("deliveries")
    values = reader.split(query_string)
    for state in values.get("state", ()):
        if state not in DELIVERY_STATES:
            reader.refuse("state", f"A state is one of: {', '.join(DELIVERY_STATES)}.", "enum")
    limit = reader.number("limit", values, 1, LISTING_MAX, LISTING_DEFAULT)
    after = 0
    if "after" in values:
        position = places.position(viewer, values["after"][0])
        if position is None:
            reader.refuse("after", "This is no position that this credential was given.", "place")
        after = position or 0
    reader.finish()
    return DeliveriesRequest(tuple(values.get("state", ())), after, limit or LISTING_DEFAULT)


def parse_replay(body: bytes, now: int) -> ReplayRequest:
    """Which deliveries are to be made again. Raises Invalid with every problem. `after` is left as it was sent."""
    asked, problems = _members(body, _REPLAY)
    state = asked.get("state", "failed")
    if state not in ("failed", "all"):
        problems.append(Problem(("body", "state"), "state is failed or all.", "enum"))
    if len(asked.keys() & {"after", "since"}) != 1:
        problems.append(Problem(("body",), "Send either after, a position, or since, a time.", "missing"))
    after = asked.get("after")
    if isinstance(after, float) and after.is_integer():
        after = int(after)  # to JSON, 5.0 is an integer too
    if after is not None and (isinstance(after, bool) or not isinstance(after, int | str)):
        problems.append(Problem(("body", "after"), "after is a position from 0.", "int_type"))
    elif isinstance(after, int) and not 0 <= after <= INT_MAX:
        problems.append(Problem(("body", "after"), f"A position is a number from 0 to {INT_MAX}.", "out_of_range"))
    since = None
    if "since" in asked:
        try:
            since = parse_query_time(asked["since"] if isinstance(asked["since"], str) else "", now)
        except ValueError as error:
            problems.append(Problem(("body", "since"), str(error), "datetime_parsing"))
    if problems:
        raise Invalid(problems)
    return ReplayRequest(None if after is None else str(after), since, state == "all")


def _members(body: bytes, known: tuple[str, ...]) -> tuple[dict[str, Any], list[Problem]]:
    """The members of a JSON object, and a problem for each that is not known. Raises Invalid for another body."""
    asked = json_object(body)
    hint = nearest_or_all(known, "known are")
    return asked, unknown_names(asked, known, ("body",), lambda name: f"There is no such field; {hint(name)}.")


def _url(value: Any, problems: list[Problem]) -> str:
    try:
        if not isinstance(value, str):
            raise ValueError("url is a text.")
        parse_target(value)
    except ValueError as error:
        problems.append(Problem(("body", "url"), str(error), "url"))
        return ""
    return value


def _description(value: Any, problems: list[Problem]) -> str:
    if isinstance(value, str) and len(value) <= DESCRIPTION_MAX and (value.isprintable() or not value):
        return value
    sentence = f"A description is printable text of at most {DESCRIPTION_MAX} characters."
    problems.append(Problem(("body", "description"), sentence, "string_type"))
    return ""


# ------------------------------------------------------------------------------------------------------------ answers


def webhook_body(webhook_id: str, webhook: Webhook, now: int, stands_still: str | None) -> WebhookBody:
    """The body of a webhook."""
    disabled = webhook.disabled
    old = [each.valid_until for each in webhook.secrets if each.valid_until is not None and each.valid_until > now]
    return WebhookBody(
        created_at=format_time(webhook.created_at),
        description=webhook.description,
        disabled_at=None if disabled is None else format_time(disabled.at),
        disabled_reason=None if disabled is None else disabled.reason,
        enabled=webhook.enabled,
        fifo=webhook.fifo,
        filters=filters_of_query(webhook.query),
        format=webhook.form,  # type: ignore[arg-type]  # one of FORMATS, which was checked when it came
        id=webhook_id,
        key_id=webhook.key_id,
        old_secret_valid_until=format_time(max(old)) if old else None,
        stands_still=stands_still if webhook.enabled else None,
        url=webhook.url,
    )
