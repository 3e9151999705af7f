"""Retention, legal holds and erasures: `retention`, `holds` and `erasures` of `Whence` and `AsyncWhence`.

All of them are for a credential with the scope admin that may read every event. Every call raises the error of a
refusal, such as Forbidden and Invalid.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any
from urllib.parse import quote
from uuid import UUID

import msgspec

from whence.client.requests import JSON, ApiRequest
from whence.client.responses import ApiResponse, error_of, parse_body
from whence.wire.removal_bodies import (
    ErasurePreviewBody,
    HoldBody,
    HoldsBody,
    RemovalBody,
    RemovalsBody,
    RetentionBody,
    RetentionPreviewBody,
)

__all__ = ["AsyncErasures", "AsyncHolds", "AsyncRetention", "Erasures", "Holds", "Retention"]

_RETENTION = "/api/v1/retention"
_HOLDS = "/api/v1/holds"
_ERASURES = "/api/v1/erasures"
_ERROR = 400


class Retention:
    """How long the tenant keeps its events."""

    def __init__(self, send: Callable[[ApiRequest], ApiResponse]) -> None:
        self._send = send

    def get(self) -> RetentionBody:
        """The policy, and its latest runs."""
        return parse_body(self._send(_request("GET", _RETENTION)), RetentionBody)

    def set(self, max_age_days: int | None, rules: Mapping[str, int] | None = None) -> RetentionBody:
        """Set the policy: events go at this age in days, or never with None. `rules` gives an age in days to event
        types, also like `chat_thread.*`, at which their payloads are erased."""
        return parse_body(self._send(_policy_request(max_age_days, rules)), RetentionBody)

    def preview(self) -> RetentionPreviewBody:
        """What a run of the policy would remove now."""
        return parse_body(self._send(_request("GET", f"{_RETENTION}/preview")), RetentionPreviewBody)

    def preview_of(self, max_age_days: int | None, rules: Mapping[str, int] | None = None) -> RetentionPreviewBody:
        """What a run would remove now if this were the policy, as for `set`. Nothing is set or removed."""
        return parse_body(self._send(_preview_request(max_age_days, rules)), RetentionPreviewBody)

    def apply(self) -> RemovalBody:
        """Ask for a run now. `get` says how far it is."""
        return parse_body(self._send(_request("POST", f"{_RETENTION}/apply")), RemovalBody)


class AsyncRetention:
    """As `Retention`, for asyncio."""

    def __init__(self, send: Callable[[ApiRequest], Awaitable[ApiResponse]]) -> None:
        self._send = send

    async def get(self) -> RetentionBody:
        """As `Retention.get`."""
        return parse_body(await self._send(_request("GET", _RETENTION)), RetentionBody)

    async def set(self, max_age_days: int | None, rules: Mapping[str, int] | None = None) -> RetentionBody:
        """As `Retention.set`."""
        return parse_body(await self._send(_policy_request(max_age_days, rules)), RetentionBody)

    async def preview(self) -> RetentionPreviewBody:
        """As `Retention.preview`."""
        return parse_body(await self._send(_request("GET", f"{_RETENTION}/preview")), RetentionPreviewBody)

    async def preview_of(
        self, max_age_days: int | None, rules: Mapping[str, int] | None = None
    ) -> RetentionPreviewBody:
        """As `Retention.preview_of`."""
        return parse_body(await self._send(_preview_request(max_age_days, rules)), RetentionPreviewBody)

    async def apply(self) -> RemovalBody:
        """As `Retention.apply`."""
        return parse_body(await self._send(_request("POST", f"{_RETENTION}/apply")), RemovalBody)


class Holds:
    """The legal holds of the tenant."""

    def __init__(self, send: Callable[[ApiRequest], ApiResponse]) -> None:
        self._send = send

    def list(self) -> list[HoldBody]:
        """All of them, oldest first."""
        return parse_body(self._send(_request("GET", _HOLDS)), HoldsBody).holds

    def create(self, q: str, reason: str) -> HoldBody:
        """Keep the events that match `q`, in the query language, also those that come later. Raises Throttled beyond
        100."""
        return parse_body(self._send(_request("POST", _HOLDS, {"q": q, "reason": reason})), HoldBody)

    def release(self, hold_id: str | UUID) -> None:
        """Release a hold. What only it has kept goes with the next run of retention. Raises NotFound."""
        _check(self._send(_request("DELETE", _one(_HOLDS, hold_id))))


class AsyncHolds:
    """As `Holds`, for asyncio."""

    def __init__(self, send: Callable[[ApiRequest], Awaitable[ApiResponse]]) -> None:
        self._send = send

    async def list(self) -> list[HoldBody]:
        """As `Holds.list`."""
        return parse_body(await self._send(_request("GET", _HOLDS)), HoldsBody).holds

    async def create(self, q: str, reason: str) -> HoldBody:
        """As `Holds.create`."""
        return parse_body(await self._send(_request("POST", _HOLDS, {"q": q, "reason": reason})), HoldBody)

    async def release(self, hold_id: str | UUID) -> None:
        """As `Holds.release`."""
        _check(await self._send(_request("DELETE", _one(_HOLDS, hold_id))))


class Erasures:
    """The erasures of payloads."""

    def __init__(self, send: Callable[[ApiRequest], ApiResponse]) -> None:
        self._send = send

    def list(self) -> list[RemovalBody]:
        """Those that are not done, and the latest ones that are, the newest first."""
        return parse_body(self._send(_request("GET", _ERASURES)), RemovalsBody).erasures

    def get(self, erasure_id: str | UUID) -> RemovalBody:
        """An erasure and how far it is: `state` is `done` at the end. Raises NotFound."""
        return parse_body(self._send(_request("GET", _one(_ERASURES, erasure_id))), RemovalBody)

    def preview(self, *, q: str | None = None, event_ids: Iterable[str | UUID] | None = None) -> ErasurePreviewBody:
        """What an erasure would do now. Nothing is erased."""
        body = _erasure(q, event_ids, "preview") | {"dryRun": True}
        return parse_body(self._send(_request("POST", _ERASURES, body)), ErasurePreviewBody)

    def create(
        self,
        reason: str,
        *,
        q: str | None = None,
        event_ids: Iterable[str | UUID] | None = None,
        names: bool = False,
    ) -> RemovalBody:
        """Ask for the payloads of these events to be erased for ever: those that match `q`, in the query language, or
        those with these ids, at most 1,000. With `names` the id of the one actor of `q` is replaced too. The events
        stay, and so do their proofs. `reason` stays in the log."""
        body = _erasure(q, event_ids, reason) | {"names": names}
        return parse_body(self._send(_request("POST", _ERASURES, body)), RemovalBody)


class AsyncErasures:
    """As `Erasures`, for asyncio."""

    def __init__(self, send: Callable[[ApiRequest], Awaitable[ApiResponse]]) -> None:
        self._send = send

    async def list(self) -> list[RemovalBody]:
        """As `Erasures.list`."""
        return parse_body(await self._send(_request("GET", _ERASURES)), RemovalsBody).erasures

    async def get(self, erasure_id: str | UUID) -> RemovalBody:
        """As `Erasures.get`."""
        return parse_body(await self._send(_request("GET", _one(_ERASURES, erasure_id))), RemovalBody)

    async def preview(
        self, *, q: str | None = None, event_ids: Iterable[str | UUID] | None = None
    ) -> ErasurePreviewBody:
        """As `Erasures.preview`."""
        body = _erasure(q, event_ids, "preview") | {"dryRun": True}
        return parse_body(await self._send(_request("POST", _ERASURES, body)), ErasurePreviewBody)

    async def create(
        self,
        reason: str,
        *,
        q: str | None = None,
        event_ids: Iterable[str | UUID] | None = None,
        names: bool = False,
    ) -> RemovalBody:
        """As `Erasures.create`."""
        body = _erasure(q, event_ids, reason) | {"names": names}
        return parse_body(await self._send(_request("POST", _ERASURES, body)), RemovalBody)


def _request(method: str, path: str, body: dict[str, Any] | None = None) -> ApiRequest:
    return ApiRequest(
        method=method,
        path=path,
        content=b"" if body is None else msgspec.json.encode(body),
        content_type=None if body is None else JSON,
        repeatable=method != "POST",
    )


def _one(path: str, id_: str | UUID) -> str:
    return f"{path}/{quote(str(id_), safe='')}"


def _policy_request(max_age_days: int | None, rules: Mapping[str, int] | None) -> ApiRequest:
    return _request("PUT", _RETENTION, _policy(max_age_days, rules))


def _preview_request(max_age_days: int | None, rules: Mapping[str, int] | None) -> ApiRequest:
    return _request("POST", f"{_RETENTION}/preview", _policy(max_age_days, rules))


def _policy(max_age_days: int | None, rules: Mapping[str, int] | None) -> dict[str, Any]:
    given = [{"eventType": event_type, "maxAgeDays": days} for event_type, days in (rules or {}).items()]
    return {"maxAgeDays": max_age_days, "rules": given}


def _erasure(q: str | None, event_ids: Iterable[str | UUID] | None, reason: str) -> dict[str, Any]:
    body: dict[str, Any] = {"reason": reason}
    if q is not None:
        body["q"] = q
    if event_ids is not None:
        body["eventIds"] = [str(each) for each in event_ids]
    return body


def _check(response: ApiResponse) -> None:
    if response.status >= _ERROR:
        raise error_of(response)
