"""The saved views of a tenant: `Whence.views` and `AsyncWhence.views`. Each call is a request and a parser."""

from collections.abc import Awaitable, Callable
from urllib.parse import quote
from uuid import UUID

import msgspec

from whence.client.requests import JSON, ApiRequest
from whence.client.responses import ApiResponse, error_of, parse_body
from whence.wire.views import ViewBody, ViewsBody

__all__ = ["AsyncViews", "Views"]

_VIEWS = "/api/v1/views"
_CLIENT_ERROR = 400


class Views:
    """The saved views of the console, for a credential that may read every event."""

    def __init__(self, send: Callable[[ApiRequest], ApiResponse]) -> None:
        self._send = send

    def list(self) -> list[ViewBody]:
        """All of them, oldest first."""
        return parse_body(self._send(_request("GET")), ViewsBody).views

    def create(self, name: str, address: str) -> ViewBody:
        """Save an address of the console, such as `/explore?q=outcome:failure`. Raises Throttled beyond 100."""
        return parse_body(self._send(_create_request(name, address)), ViewBody)

    def delete(self, view_id: str | UUID) -> None:
        """Delete a view. Raises NotFound, and Forbidden for one that another credential made without the scope
        admin."""
        _check(self._send(_request("DELETE", view_id)))


class AsyncViews:
    """As `Views`, for asyncio."""

    def __init__(self, send: Callable[[ApiRequest], Awaitable[ApiResponse]]) -> None:
        self._send = send

    async def list(self) -> list[ViewBody]:
        """As `Views.list`."""
        return parse_body(await self._send(_request("GET")), ViewsBody).views

    async def create(self, name: str, address: str) -> ViewBody:
        """As `Views.create`."""
        return parse_body(await self._send(_create_request(name, address)), ViewBody)

    async def delete(self, view_id: str | UUID) -> None:
        """As `Views.delete`."""
        _check(await self._send(_request("DELETE", view_id)))


def _request(method: str, view_id: str | UUID | None = None) -> ApiRequest:
    return ApiRequest(method=method, path=_VIEWS if view_id is None else f"{_VIEWS}/{quote(str(view_id), safe='')}")


def _create_request(name: str, address: str) -> ApiRequest:
    body = msgspec.json.encode({"name": name, "address": address})
    return ApiRequest(method="POST", path=_VIEWS, content=body, content_type=JSON, repeatable=False)


def _check(response: ApiResponse) -> None:
    if response.status >= _CLIENT_ERROR:
        raise error_of(response)
