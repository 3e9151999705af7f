"""What `WHENCE_RECORD` names as events of the tenant: keys, sessions, reads, exports, and changes of retention.

The events count like all others, so none is stored by default. An event is durable before its request is answered: what
could not be recorded is refused. Only what comes over HTTP is recorded.
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from whence.api.redaction import without_secrets
from whence.ingest import Ingest
from whence.permissions import ApiKey, Principal
from whence.retention import Policy
from whence.wire.fields import Broken, check_actor_id
from whence.wire.ids import new_uuid7
from whence.wire.log_events import log_event
from whence.wire.times import format_time

__all__ = ["Recorder", "actor_name"]

_QUERY_MAX = 4_096
_ADDRESS_SAFE = "/%:@!$&'()*+,;=~-._?"


class Recorder:
    """Stores what the operator wants recorded. `kinds` are some of `RECORDED` in `whence.settings`."""

    def __init__(self, ingest: Ingest, kinds: frozenset[str]) -> None:
        self._ingest = ingest
        self._kinds = kinds

    async def key_created(self, by: Principal, key: ApiKey, now: int) -> None:
        """Record a new API key."""
        expires_at = None if key.expires_at is None else format_time(key.expires_at)
        payload = {"keyId": key.id, "name": key.name, "scopes": key.scopes, "expiresAt": expires_at}
        await self._record("keys", "whence.key_created", by, by.tenant, payload, now)

    async def key_revoked(self, by: Principal, key_id: str, now: int) -> None:
        """Record the end of an API key."""
        await self._record("keys", "whence.key_revoked", by, by.tenant, {"keyId": key_id}, now)

    async def session_created(self, by: Principal, expires_at: int, now: int) -> None:
        """Record a new session."""
        payload = {"expiresAt": format_time(expires_at)}
        await self._record("sessions", "whence.session_created", by, by.tenant, payload, now)

    async def session_ended(self, by: Principal, now: int) -> None:
        """Record the end of a session."""
        await self._record("sessions", "whence.session_ended", by, by.tenant, {}, now)

    async def token_created(
        self, by: Principal, tenant: str, scopes: tuple[str, ...], expires_at: int, now: int
    ) -> None:
        """Record a token that an operator's key was exchanged for, in the log of its tenant."""
        payload = {"scopes": scopes, "expiresAt": format_time(expires_at)}
        await self._record("sessions", "whence.token_created", by, tenant, payload, now)

    @property
    def records_reads(self) -> bool:
        """Whether `read` stores anything."""
        return "reads" in self._kinds

    async def read(self, by: Principal, path: str, query: bytes, now: int) -> None:
        """Record a question about events, before it is answered."""
        if not self.records_reads:
            return
        await self._record("reads", "whence.events_read", by, by.tenant, _address(path, query), now)

    async def exported(self, by: Principal, path: str, query: bytes, as_of: int, now: int) -> None:
        """Record an export of events up to the position `as_of`, before its first part is sent."""
        if "exports" not in self._kinds:
            return
        payload = {"asOf": as_of, **_address(path, query)}
        await self._record("exports", "whence.exported", by, by.tenant, payload, now)

    async def hold_placed(self, by: Principal, hold_id: str, reason: str, now: int) -> None:
        """Record a new legal hold. What it holds is not named: that may be a person."""
        payload = {"holdId": hold_id, "reason": reason}
        await self._record("retention", "whence.hold_placed", by, by.tenant, payload, now)

    async def hold_released(self, by: Principal, hold_id: str, now: int) -> None:
        """Record the end of a legal hold."""
        await self._record("retention", "whence.hold_released", by, by.tenant, {"holdId": hold_id}, now)

    async def retention_changed(self, by: Principal, policy: Policy, now: int) -> None:
        """Record another policy of retention."""
        rules = [{"eventType": rule.event_type, "maxAgeDays": rule.max_age_days} for rule in policy.rules]
        payload = {"maxAgeDays": policy.max_age_days, "rules": rules}
        await self._record("retention", "whence.retention_changed", by, by.tenant, payload, now)

    async def _record(
        self, kind: str, event_type: str, by: Principal, tenant: str, payload: Mapping[str, Any], now: int
    ) -> None:
        if kind not in self._kinds:
            return
        event = log_event(tenant, event_type, payload, event_id=new_uuid7(), at=now, actor=actor_name(by))
        [receipt] = await self._ingest.add(tenant, [event])
        if receipt.error is not None:
            raise receipt.error


def _address(path: str, query: bytes) -> dict[str, str]:
    """The path and the query of a request as it was sent, without what could be a secret."""
    return {
        "path": without_secrets(quote(path, safe=_ADDRESS_SAFE, encoding="latin-1", errors="replace")),
        "query": without_secrets(query.decode("latin-1"))[:_QUERY_MAX],
    }


def actor_name(by: Principal) -> tuple[str, str]:
    """The type and the id of a principal as an actor. The subject of a token that no actor can have is left out."""
    if by.key_id is not None:
        return "api_key", by.key_id
    try:
        return "user", check_actor_id(by.subject)
    except Broken:
        return "user", "jwt"
