"""The JSON bodies of retention, legal holds and erasures, as a server answers them."""

from typing import Literal

from whence.retention import Hold, Policy, RemovalRequest
from whence.wire.bodies import TimeText, WireBody
from whence.wire.times import format_time

__all__ = [
    "ActorNameBody",
    "ErasurePreviewBody",
    "HoldBody",
    "HoldsBody",
    "RemovalBody",
    "RemovalsBody",
    "RetentionBody",
    "RetentionPreviewBody",
    "TypeRuleBody",
    "hold_body",
    "removal_body",
    "rule_bodies",
]


class ActorNameBody(WireBody, frozen=True, kw_only=True):
    """The type and the id of an actor."""

    actor_id: str
    actor_type: str


class HoldBody(WireBody, frozen=True, kw_only=True):
    """A legal hold. `q` says which events it keeps, in the query language."""

    by: ActorNameBody
    created_at: TimeText
    id: str
    q: str
    reason: str


class HoldsBody(WireBody, frozen=True, kw_only=True):
    """The legal holds of a tenant, oldest first."""

    holds: list[HoldBody]


class TypeRuleBody(WireBody, frozen=True, kw_only=True):
    """Payloads of events with this type, or with a type that begins so (`order.*`), are erased at this age in days."""

    event_type: str
    max_age_days: int


class RemovalBody(WireBody, frozen=True, kw_only=True):
    """An erasure, or a run of retention, and how far it is.

    `events` counts the events that are gone, `payloads` the payloads that were erased, and `held` the events that a
    hold kept. `pseudonym` has taken the place of the actor's id in `renamedEvents` events; null until then. `sealed`
    says whether a signed checkpoint covered the announcement before anything was removed; it is null before the first
    announcement. `waitsFor` is a sentence, or null.
    """

    by: ActorNameBody
    created_at: TimeText
    events: int
    finished_at: TimeText | None
    held: int
    id: str
    kind: Literal["erasure", "retention"]
    payloads: int
    pseudonym: str | None
    reason: str
    renamed_events: int | None
    sealed: bool | None
    state: Literal["requested", "announced", "removing", "cleaning", "done"]
    waits_for: str | None


class RemovalsBody(WireBody, frozen=True, kw_only=True):
    """The erasures of a tenant, the newest first."""

    erasures: list[RemovalBody]


class ErasurePreviewBody(WireBody, frozen=True, kw_only=True):
    """What an erasure would do now. `exact` is false when counting took too long, and the numbers are the least."""

    exact: bool
    held: int
    payloads: int


class RetentionPreviewBody(WireBody, frozen=True, kw_only=True):
    """What a run of retention would do now: `events` would go, of which the first and last were recorded at `oldest`
    and `newest`, and `payloads` of others be erased. `held` events would stay because of a hold. `exact` is false when
    counting took too long, and the numbers are the least."""

    events: int
    exact: bool
    held: int
    newest: TimeText | None
    oldest: TimeText | None
    payloads: int


class RetentionBody(WireBody, frozen=True, kw_only=True):
    """How long a tenant keeps its events: `maxAgeDays` since they were recorded, for ever if it is null. `source` says
    whose policy that is: the tenant's own, that of the server, or `none`. `runs` are the latest, the newest first."""

    max_age_days: int | None
    rules: list[TypeRuleBody]
    runs: list[RemovalBody]
    source: Literal["tenant", "server", "none"]


def hold_body(hold_id: str, hold: Hold) -> HoldBody:
    """The body of a hold."""
    return HoldBody(
        by=_actor(hold.by), created_at=format_time(hold.created_at), id=hold_id, q=hold.q, reason=hold.reason
    )


def rule_bodies(policy: Policy) -> list[TypeRuleBody]:
    """The bodies of the rules of a policy."""
    return [TypeRuleBody(event_type=rule.event_type, max_age_days=rule.max_age_days) for rule in policy.rules]


def removal_body(request_id: str, request: RemovalRequest) -> RemovalBody:
    """The body of a request."""
    return RemovalBody(
        by=_actor(request.by),
        created_at=format_time(request.created_at),
        events=request.events,
        finished_at=None if request.finished_at is None else format_time(request.finished_at),
        held=request.held,
        id=request_id,
        kind=request.kind,
        payloads=request.payloads,
        pseudonym=request.pseudonym if request.renamed else None,
        reason=request.reason,
        renamed_events=request.renamed,
        sealed=request.sealed,
        state=request.state,
        waits_for=request.waits_for,
    )


def _actor(name: tuple[str, str]) -> ActorNameBody:
    return ActorNameBody(actor_id=name[1], actor_type=name[0])
