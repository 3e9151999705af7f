"""The API keys and sessions of the model, in lists; see `model.py`."""

import time
from collections.abc import Callable
from functools import partial

import msgspec

from whence.errors import WhenceError
from whence.permissions import ApiKey
from whence.storage import Session
from whence.storage.credentials import KeyPlace, keys_refusal, sessions_refusal


class ModelCredentials:
    """What `Credentials` promises."""

    def __init__(self) -> None:
        self.keys: list[ApiKey] = []
        self.sessions: dict[bytes, Session] = {}

    async def put_key(self, key: ApiKey, *, limited: bool = False) -> None:
        if limited:
            kept = await self.list_keys(key.tenant)
            self.refuse(keys_refusal(sum(each.alive(key.created_at) for each in kept), len(kept)))
        self.keys.append(key)

    def refuse(self, refusal: WhenceError | None) -> None:
        if refusal is not None:
            raise refusal

    async def find_key(self, key_hash: bytes) -> ApiKey | None:
        return next((key for key in self.keys if key.hash == key_hash), None)

    async def get_key(self, key_id: str) -> ApiKey | None:
        return next((key for key in self.keys if key.id == key_id), None)

    async def list_keys(self, tenant: str, after: KeyPlace | None = None, limit: int | None = None) -> list[ApiKey]:
        kept = sorted((key for key in self.keys if key.tenant == tenant), key=lambda key: (key.created_at, key.id))
        return [key for key in kept if after is None or (key.created_at, key.id) > after][:limit]

    async def revoke_key(self, tenant: str, key_id: str, at: int) -> bool:
        key = await self.get_key(key_id)
        if key is None or key.tenant != tenant:
            return False
        self.change_key(key_id, lambda key: {"revoked_at": at if key.revoked_at is None else key.revoked_at})
        self.sessions = {hash_: each for hash_, each in self.sessions.items() if each.key_id != key_id}
        return True

    async def touch_keys(self, used: dict[str, int]) -> None:
        for key_id, at in used.items():
            self.change_key(key_id, partial(last_used, at))

    def change_key(self, key_id: str, change: Callable[[ApiKey], dict[str, int]]) -> None:
        self.keys = [msgspec.structs.replace(key, **change(key)) if key.id == key_id else key for key in self.keys]

    async def put_session(self, session: Session) -> None:
        now = time.time_ns() // 1_000
        self.sessions = {hash_: each for hash_, each in self.sessions.items() if each.expires_at > now}
        own = [
            each for each in self.sessions.values() if (each.key_id, each.tenant) == (session.key_id, session.tenant)
        ]
        self.refuse(sessions_refusal(len(own), min((each.expires_at for each in own), default=None), now=now))
        self.sessions[session.hash] = session

    async def find_session(self, session_hash: bytes) -> Session | None:
        return self.sessions.get(session_hash)

    async def end_session(self, session_hash: bytes) -> None:
        self.sessions.pop(session_hash, None)

    async def take_session(self, session_hash: bytes) -> Session | None:
        return self.sessions.pop(session_hash, None)


def last_used(at: int, key: ApiKey) -> dict[str, int]:
    """The update of a key that was used at this time."""
    return {"last_used_at": max(key.last_used_at or 0, at)}
