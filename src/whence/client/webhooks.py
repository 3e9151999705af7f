"""The webhooks of a tenant: `Whence.webhooks` and `AsyncWhence.webhooks`. Each call is a request and a parser."""

import datetime as dt
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, Literal, TypedDict, Unpack
from urllib.parse import quote
from uuid import UUID

import msgspec

from whence.client.requests import JSON, ApiRequest, FieldFilters, filters_object
from whence.client.responses import ApiResponse, error_of, parse_body
from whence.wire.webhook_bodies import (
    AttemptBody,
    CreatedWebhookBody,
    DeliveriesBody,
    DeliveryBody,
    DeliveryDetailBody,
    ReplayBody,
    WebhookBody,
    WebhookDetailBody,
    WebhooksBody,
    WebhookSecretBody,
)

__all__ = ["AsyncWebhooks", "DeliveryState", "WebhookFields", "Webhooks"]

DeliveryState = Literal["pending", "delivered", "failed"]

_WEBHOOKS = "/api/v1/webhooks"
_CLIENT_ERROR = 400
_PART = 1_000


class WebhookFields(TypedDict, total=False):
    """The fields of a webhook. `format` is the form of the bodies; with `fifo` one event follows the other. `filters`
    are those of lists, and `{}` means every event."""

    description: str
    format: Literal["whence", "cloudevents", "slack"]
    fifo: bool
    enabled: bool
    filters: FieldFilters


class Webhooks:
    """The webhooks of the tenant, for a credential with the scope admin. Every call raises the error of a refusal:
    NotFound for an unknown webhook, Forbidden for one that sends events which the credential may not read."""

    def __init__(self, send: Callable[[ApiRequest], ApiResponse]) -> None:
        self._send = send

    def list(self) -> list[WebhookBody]:
        """All of them, oldest first."""
        return parse_body(self._send(_request("GET")), WebhooksBody).webhooks

    def create(self, url: str, **fields: Unpack[WebhookFields]) -> CreatedWebhookBody:
        """Make a webhook, which gets the events that are stored from now on. Only this answer has its secret."""
        return parse_body(self._send(_create_request(url, fields)), CreatedWebhookBody)

    def get(self, webhook_id: str | UUID) -> WebhookDetailBody:
        """A webhook, how far it is, and how it goes."""
        return parse_body(self._send(_request("GET", webhook_id)), WebhookDetailBody)

    def update(
        self,
        webhook_id: str | UUID,
        *,
        url: str | None = None,
        take_over: bool = False,
        **fields: Unpack[WebhookFields],
    ) -> WebhookBody:
        """Change some fields. With `take_over` it goes on with the key of this client, and with what that may read."""
        return parse_body(self._send(_update_request(webhook_id, url, take_over, fields)), WebhookBody)

    def delete(self, webhook_id: str | UUID) -> None:
        """Delete a webhook, with its deliveries."""
        _check(self._send(_request("DELETE", webhook_id)))

    def rotate_secret(self, webhook_id: str | UUID) -> WebhookSecretBody:
        """Make a new secret. The old one signs for 24 hours more."""
        return parse_body(self._send(_request("POST", webhook_id, "secret", repeatable=False)), WebhookSecretBody)

    def test(self, webhook_id: str | UUID) -> AttemptBody:
        """Send one event of the type whence.webhook_test now, and return what came of it."""
        return parse_body(self._send(_request("POST", webhook_id, "test", repeatable=False)), AttemptBody)

    def deliveries(self, webhook_id: str | UUID, *, state: DeliveryState | None = None) -> Iterator[DeliveryBody]:
        """All deliveries, or those in a state, by position. Parts of the list are fetched as they are needed."""
        after: int | str | None = 0
        while after is not None:
            part = parse_body(self._send(_deliveries_request(webhook_id, state, after)), DeliveriesBody)
            yield from part.deliveries
            after = part.next_after

    def delivery(self, webhook_id: str | UUID, position: int | str) -> DeliveryDetailBody:
        """A delivery with its attempts. Raises NotFound when there is none."""
        return parse_body(self._send(_request("GET", webhook_id, f"deliveries/{position}")), DeliveryDetailBody)

    def resend(self, webhook_id: str | UUID, position: int | str) -> DeliveryBody:
        """Make a finished delivery again, with the same `webhook-id`."""
        return parse_body(self._send(_request("POST", webhook_id, f"deliveries/{position}/resend")), DeliveryBody)

    def replay(
        self,
        webhook_id: str | UUID,
        *,
        after: int | str | None = None,
        since: str | dt.datetime | None = None,
        state: Literal["failed", "all"] = "failed",
    ) -> int | str:
        """Make the failed deliveries again, or all, after a position or of events recorded since a time. Returns the
        position after which they begin."""
        first = part = parse_body(self._send(_replay_request(webhook_id, after, since, state)), ReplayBody)
        while part.next_after is not None:
            part = parse_body(self._send(_replay_request(webhook_id, part.next_after, None, state)), ReplayBody)
        return first.after


class AsyncWebhooks:
    """As `Webhooks`, for asyncio."""

    def __init__(self, send: Callable[[ApiRequest], Awaitable[ApiResponse]]) -> None:
        self._send = send

    async def list(self) -> list[WebhookBody]:
        """As `Webhooks.list`."""
        return parse_body(await self._send(_request("GET")), WebhooksBody).webhooks

    async def create(self, url: str, **fields: Unpack[WebhookFields]) -> CreatedWebhookBody:
        """As `Webhooks.create`."""
        return parse_body(await self._send(_create_request(url, fields)), CreatedWebhookBody)

    async def get(self, webhook_id: str | UUID) -> WebhookDetailBody:
        """As `Webhooks.get`."""
        return parse_body(await self._send(_request("GET", webhook_id)), WebhookDetailBody)

    async def update(
        self,
        webhook_id: str | UUID,
        *,
        url: str | None = None,
        take_over: bool = False,
        **fields: Unpack[WebhookFields],
    ) -> WebhookBody:
        """As `Webhooks.update`."""
        return parse_body(await self._send(_update_request(webhook_id, url, take_over, fields)), WebhookBody)

    async def delete(self, webhook_id: str | UUID) -> None:
        """As `Webhooks.delete`."""
        _check(await self._send(_request("DELETE", webhook_id)))

    async def rotate_secret(self, webhook_id: str | UUID) -> WebhookSecretBody:
        """As `Webhooks.rotate_secret`."""
        return parse_body(await self._send(_request("POST", webhook_id, "secret", repeatable=False)), WebhookSecretBody)

    async def test(self, webhook_id: str | UUID) -> AttemptBody:
        """As `Webhooks.test`."""
        return parse_body(await self._send(_request("POST", webhook_id, "test", repeatable=False)), AttemptBody)

    async def deliveries(
        self, webhook_id: str | UUID, *, state: DeliveryState | None = None
    ) -> AsyncIterator[DeliveryBody]:
        """As `Webhooks.deliveries`."""
        after: int | str | None = 0
        while after is not None:
            part = parse_body(await self._send(_deliveries_request(webhook_id, state, after)), DeliveriesBody)
            for delivery in part.deliveries:
                yield delivery
            after = part.next_after

    async def delivery(self, webhook_id: str | UUID, position: int | str) -> DeliveryDetailBody:
        """As `Webhooks.delivery`."""
        return parse_body(await self._send(_request("GET", webhook_id, f"deliveries/{position}")), DeliveryDetailBody)

    async def resend(self, webhook_id: str | UUID, position: int | str) -> DeliveryBody:
        """As `Webhooks.resend`."""
        return parse_body(await self._send(_request("POST", webhook_id, f"deliveries/{position}/resend")), DeliveryBody)

    async def replay(
        self,
        webhook_id: str | UUID,
        *,
        after: int | str | None = None,
        since: str | dt.datetime | None = None,
        state: Literal["failed", "all"] = "failed",
    ) -> int | str:
        """As `Webhooks.replay`."""
        first = part = parse_body(await self._send(_replay_request(webhook_id, after, since, state)), ReplayBody)
        while part.next_after is not None:
            part = parse_body(await self._send(_replay_request(webhook_id, part.next_after, None, state)), ReplayBody)
        return first.after


def _request(
    method: str,
    webhook_id: str | UUID | None = None,
    what: str = "",
    body: dict[str, Any] | None = None,
    *,
    repeatable: bool = True,
) -> ApiRequest:
    parts = [] if webhook_id is None else [quote(str(webhook_id), safe="")]
    path = "/".join([_WEBHOOKS, *parts, *([quote(what)] if what else [])])
    if body is None:
        return ApiRequest(method=method, path=path, repeatable=repeatable)
    content = msgspec.json.encode(body)
    return ApiRequest(method=method, path=path, content=content, content_type=JSON, repeatable=repeatable)


def _create_request(url: str, fields: WebhookFields) -> ApiRequest:
    return _request("POST", body={"url": url, **_fields(fields)}, repeatable=False)


def _update_request(webhook_id: str | UUID, url: str | None, take_over: bool, fields: WebhookFields) -> ApiRequest:
    body = _fields(fields)
    if url is not None:
        body["url"] = url
    if take_over:
        body["takeOver"] = True
    return _request("PATCH", webhook_id, body=body)


def _fields(fields: WebhookFields) -> dict[str, Any]:
    """The fields as the API has them."""
    body: dict[str, Any] = dict(fields)
    if "filters" in fields:
        body["filters"] = filters_object(**fields["filters"])
    return body


def _deliveries_request(webhook_id: str | UUID, state: DeliveryState | None, after: int | str) -> ApiRequest:
    request = _request("GET", webhook_id, "deliveries")
    query = [("limit", str(_PART)), *([("state", state)] if state else []), *([("after", str(after))] if after else [])]
    return msgspec.structs.replace(request, query=tuple(query))


def _replay_request(
    webhook_id: str | UUID, after: int | str | None, since: str | dt.datetime | None, state: str
) -> ApiRequest:
    body: dict[str, Any] = {"state": state}
    if after is not None:
        body["after"] = after
    if since is not None:
        body["since"] = since.isoformat() if isinstance(since, dt.datetime) else since
    return _request("POST", webhook_id, "replay", body)


def _check(response: ApiResponse) -> None:
    if response.status >= _CLIENT_ERROR:
        raise error_of(response)
