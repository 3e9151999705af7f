"""The JSON bodies of answers about webhooks. A secret is shown once, when it is made."""

from typing import Literal

from whence.wire.bodies import TimeText, WireBody

__all__ = [
    "AttemptBody",
    "CreatedWebhookBody",
    "DeliveriesBody",
    "DeliveryBody",
    "DeliveryCountsBody",
    "DeliveryDetailBody",
    "GapBody",
    "ReplayBody",
    "WebhookBody",
    "WebhookDetailBody",
    "WebhookSecretBody",
    "WebhooksBody",
]


class WebhookBody(WireBody, frozen=True, kw_only=True):
    """A webhook. `standsStill` says why nothing is sent although it is enabled, or is null. `disabledAt` and
    `disabledReason` are there if the server has switched it off. The URL is shown to admins only."""

    created_at: TimeText
    description: str
    disabled_at: TimeText | None
    disabled_reason: str | None
    enabled: bool
    fifo: bool
    filters: dict[str, list[str]]
    format: Literal["whence", "cloudevents", "slack"]
    id: str
    key_id: str
    old_secret_valid_until: TimeText | None
    stands_still: str | None
    url: str


class CreatedWebhookBody(WebhookBody, frozen=True, kw_only=True):
    """A new webhook with its secret, which is not shown again."""

    secret: str

    def __repr__(self) -> str:
        return f"CreatedWebhookBody(id={self.id!r})"


class WebhooksBody(WireBody, frozen=True, kw_only=True):
    """The tenant's webhooks, oldest first."""

    webhooks: list[WebhookBody]


class DeliveryCountsBody(WireBody, frozen=True, kw_only=True):
    """How many deliveries are in each state. Finished ones are counted for 30 days."""

    delivered: int
    failed: int
    pending: int


class GapBody(WireBody, frozen=True, kw_only=True):
    """Events that were not delivered, because they were no longer kept when their turn came, or because an older log
    was restored."""

    after: int | str
    at: TimeText
    resumed_after: int | str


class WebhookDetailBody(WebhookBody, frozen=True, kw_only=True):
    """A webhook, how far it is, and how it goes. `readTo` is the position up to which the log was read. `failingSince`
    is the first attempt since the last success, if all since then failed. The last three members are null for a
    credential that may not read the events that are sent."""

    deliveries: DeliveryCountsBody | None
    failing_since: TimeText | None
    gaps: list[GapBody] | None
    read_to: int | str | None


class WebhookSecretBody(WireBody, frozen=True, kw_only=True):
    """A new secret, which is not shown again. Until the time that is given, the old one signs messages too."""

    id: str
    old_secret_valid_until: TimeText | None
    secret: str

    def __repr__(self) -> str:
        return f"WebhookSecretBody(id={self.id!r})"


class DeliveryBody(WireBody, frozen=True, kw_only=True):
    """A delivery. `attempts` counts all of them. `dueAt` is when a pending one is tried next."""

    attempts: int
    changed_at: TimeText
    due_at: TimeText | None
    position: int | str
    state: Literal["pending", "delivered", "failed"]


class DeliveriesBody(WireBody, frozen=True, kw_only=True):
    """Deliveries by position. `nextAfter` is where to go on, or null at the end."""

    deliveries: list[DeliveryBody]
    next_after: int | str | None


class AttemptBody(WireBody, frozen=True, kw_only=True):
    """One attempt. `status` is null if there was no answer; `error` then says why. `answer` is its first kibibyte."""

    answer: str
    duration_ms: int
    error: str
    number: int
    started_at: TimeText
    status: int | None


class DeliveryDetailBody(DeliveryBody, frozen=True, kw_only=True):
    """A delivery with its attempts. `eventId` is the `webhook-id` of the messages; null if the event is gone."""

    event_id: str | None
    history: list[AttemptBody]


class ReplayBody(WireBody, frozen=True, kw_only=True):
    """Deliveries after `after` are made again. `nextAfter` is where to go on if they are too many for one request, else
    null."""

    after: int | str
    next_after: int | str | None
