"""Authentication: from a request to a `Principal`, by API key, session or token, with a throttle for bad credentials.

The first of these that is present decides: `Authorization: Bearer` (API key, operator's token or JWT), `X-API-Key` (API
key), the cookie `vai_token` (JWT or session). If it is not valid, or was sent twice, the request is Unauthenticated.
The others are not tried, and every cause gives the same error. The throttle counts only credentials that failed, so a
valid one is never throttled.
"""

import asyncio
import contextlib
import ipaddress
import math
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from typing import Any, Protocol

import msgspec
import structlog

from whence.api.headers import header_values
from whence.api.operator_tokens import is_operator_token, open_token
from whence.api.process_bus import ProcessBus
from whence.api.token_verifier import TokenRefused, TokenVerifier, token_kid
from whence.errors import Forbidden, Throttled, Unauthenticated, Unavailable, WhenceError
from whence.fairness import FairQueue
from whence.permissions import (
    OPERATOR,
    ApiKey,
    Principal,
    hash_unchecked,
    key_hash,
    scopes_among,
    session_hash,
    sign_in_code_hash,
    tenants_among,
)
from whence.sealing import Sealer
from whence.settings import Settings
from whence.storage.base import Store
from whence.storage.credentials import Credentials, Session
from whence.storage.deletions import FormerLog

__all__ = [
    "COOKIE",
    "SUBJECT_PREFIX",
    "Authenticator",
    "HTTPConnection",
    "read_cookies",
]

COOKIE = "vai_token"
"""The name of the cookie that carries a JWT or a session."""

SUBJECT_PREFIX = "oidc:"
"""What comes before the subject of a session that OpenID Connect began, in the place of an API key's id."""

_KEYS_KEPT = 4_096
_KEY_TTL_S = 0.1
_FLUSH_S = 10.0
_USES_KEPT = 100_000
_WINDOW_S = 60.0
_ADDRESSES_KEPT = 10_000
_HOPS_MAX = 32
_BAD_CREDENTIALS = "bad_credentials"  # on the bus of the processes
_SAFE_METHODS = frozenset(("GET", "HEAD", "OPTIONS"))
_DEFAULT_PORTS = {"http": "80", "https": "443"}

_log = structlog.get_logger(__name__)


class HTTPConnection(Protocol):
    """Anything with the ASGI scope of an HTTP request, such as Litestar's and Starlette's requests."""

    @property
    def scope(self) -> Mapping[str, Any]:
        """The ASGI scope of an HTTP request."""
        ...


_LOOKUPS = 4
"""Credentials that are looked up in the store at once. Addresses take turns, so that a flood of unknown ones does not
keep others from being authenticated."""

_HANGING_S = 1.0
"""A lookup that takes so long and then fails says that the store does not answer."""


class Authenticator:
    """Authenticates requests. A server has one, and every method runs on the server's event loop.

    `clock` returns monotonic seconds, for caches and the throttle. `tokens` opens the tokens of operators' keys, of
    which there are none without it.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        clock: Callable[[], float] = time.monotonic,
        *,
        tokens: Sealer | None = None,
    ) -> None:
        self._store = store
        self._operator_tokens = tokens
        self._keys = _KeyCache(clock)
        self._lookups = FairQueue(_LOOKUPS)
        self._hung_at = float("-inf")
        self._waiting: dict[tuple[str, str], asyncio.Task[list[FormerLog]]] = {}
        self._throttle = _Throttle(settings.bad_credentials_per_minute, clock)
        self._tokens = TokenVerifier(settings, clock)
        self._vocabulary = settings.vocabulary
        self._has_issuer = settings.oidc_issuer is not None
        self._proxies = tuple(ipaddress.ip_network(proxy, strict=False) for proxy in settings.trusted_proxies)
        self._used: dict[str, int] = {}
        self._renewals: dict[bytes, asyncio.Task[None]] = {}
        self._flusher: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start to write the last use of keys to the store, every 10 s."""
        if self._flusher is None:
            self._flusher = asyncio.create_task(self._flush_forever())

    async def close(self) -> None:
        """Write the last uses once more and release every resource. Call it before the store is closed."""
        if self._flusher is not None:
            self._flusher.cancel()
            await asyncio.gather(self._flusher, return_exceptions=True)
            self._flusher = None
        await asyncio.gather(*self._renewals.values(), return_exceptions=True)
        await self.flush()
        await self._tokens.close()

    async def authenticate(self, request: HTTPConnection) -> Principal:
        """Who sent this request.

        Raises Unauthenticated for a missing or invalid credential, Throttled instead after many invalid ones from one
        address, Forbidden for a write with a cookie from another origin, and Unavailable when the store or the keys of
        the token issuer cannot be read.
        """
        scope = request.scope
        carrier = _carrier(scope)
        if carrier is None:
            raise Unauthenticated
        principal = await self._verify(scope, *carrier)
        if principal is None:
            self._throttle.note_bad(self._address_of(scope))
            raise Unauthenticated
        if principal.via_cookie and scope["method"] not in _SAFE_METHODS and not self._same_origin(scope):
            raise Forbidden("A cookie may only write for a page of this same origin.")
        return principal

    def known(self, request: HTTPConnection) -> Principal | None:
        """Who sent this request, as `authenticate` says, if its API key was looked up a moment ago; else None.

        A key that is in use is looked up again before it is forgotten, so that its requests do not all have to wait.
        """
        carrier, secret = _carrier(request.scope) or ("", None)
        if carrier == "cookie" or secret is None:
            return None
        hashed = hash_unchecked(secret)
        known = self._keys.get(hashed)
        if known is None or known.session is not None:
            return None
        if self._keys.clock() - known.asked_at >= _KEY_TTL_S / 2 and hashed not in self._renewals:
            task = self._renewals[hashed] = asyncio.create_task(self._renew(request.scope, hashed))
            task.add_done_callback(lambda _: self._renewals.pop(hashed))
        return self._principal(known.key, via_cookie=False)

    async def redeem(self, request: HTTPConnection, code: str) -> Principal:
        """Who made the sign-in link with this code, which is used up. It stands for the key that made the link.

        Raises Unauthenticated for a code that is unknown, used or too old, and Throttled as `authenticate`. Raises
        Forbidden for a request from another site's page, which would sign its reader in as somebody else.
        """
        scope = request.scope
        if self._is_from_browser(scope) and not self._same_origin(scope):
            raise Forbidden("A sign-in link is redeemed by a page of this same origin.")
        hashed, taken, key = sign_in_code_hash(code), None, None
        if hashed is not None:
            async with self._lookups.place(self._address_of(scope)):
                taken = await self._store.credentials.take_session(hashed)
                key = None if taken is None else await self._store.credentials.get_key(taken.key_id)
        principal = None if key is None or key.ceiling is not None else self._principal(key, via_cookie=False)
        if principal is None or taken is None or taken.expires_at <= _now_us():
            self.note_bad(request)
            raise Unauthenticated
        return principal

    def note_bad(self, request: HTTPConnection) -> None:
        """Count a bad credential that was checked elsewhere. Raises Throttled when it is one too many."""
        self._throttle.note_bad(self._address_of(request.scope))

    def share_throttle(self, bus: ProcessBus) -> None:
        """Count bad credentials together with the other processes of the server."""
        bus.subscribe(_BAD_CREDENTIALS, self._throttle.count)
        self._throttle.publish = partial(bus.publish, _BAD_CREDENTIALS)

    def _address_of(self, scope: Mapping[str, Any]) -> str:
        """Whose share of bad credentials, and of lookups in the store, a request uses."""
        return _throttle_key(self.client_address(scope))

    def forget(self, secret_hash: bytes) -> None:
        """Drop a key or a session from the cache, so that its end takes effect at once on this server."""
        self._keys.drop(secret_hash)

    def forget_key(self, key_id: str) -> None:
        """Drop an API key, by its public id, and its sessions from the cache."""
        self._keys.drop_key(key_id)

    def client_address(self, scope: Mapping[str, Any]) -> str:
        """The address of the client: the peer's, or, if that is a trusted proxy, the right-most forwarded address that
        is not one. Empty when the peer has none, as on a Unix socket."""
        client = scope.get("client")
        address = _parse_address(client[0]) if client else None
        if address is None or not self._trusts(address):
            return "" if address is None else str(address)
        hops = ",".join(header_values(scope, b"x-forwarded-for")).rsplit(",", _HOPS_MAX)
        for hop in reversed(hops[-_HOPS_MAX:]):
            named = _parse_address(hop.strip())
            if named is None:
                break
            address = named
            if not self._trusts(named):
                break
        return str(address)

    def own_origin(self, scope: Mapping[str, Any]) -> str | None:
        """The origin (scheme and host) under which the client reached this server; None when the request does not say.
        X-Forwarded-Proto and X-Forwarded-Host are believed only from trusted proxies."""
        scheme, hosts = str(scope.get("scheme", "http")), header_values(scope, b"host")
        client = scope.get("client")
        peer = _parse_address(client[0]) if client else None
        if peer is not None and self._trusts(peer):
            scheme = _last(header_values(scope, b"x-forwarded-proto"), scheme)
            hosts = [_last(header_values(scope, b"x-forwarded-host"), hosts[0])] if len(hosts) == 1 else hosts
        return _origin(f"{scheme}://{hosts[0]}") if len(hosts) == 1 else None

    async def flush(self) -> None:
        """Write to the store when keys were last used. What fails is tried again at the next flush."""
        used, self._used = self._used, {}
        if not used:
            return
        try:
            await self._store.credentials.touch_keys(used)
        except BaseException as error:
            self._used = used | self._used
            if not isinstance(error, WhenceError):
                raise
            _log.warning("key_use_not_noted", code=error.code)

    async def _flush_forever(self) -> None:
        while True:
            await asyncio.sleep(_FLUSH_S)
            await self.flush()

    async def _verify(self, scope: Mapping[str, Any], carrier: str, secret: str | None) -> Principal | None:
        """The principal of this credential, or None when it is not valid."""
        if secret is None:
            return None
        hashed = key_hash(secret)
        if hashed is not None:
            key = None if carrier == "cookie" else await self._find_key(scope, hashed)
            return self._principal(key, via_cookie=False)
        if carrier == "x-api-key":
            return None
        if carrier == "bearer" and is_operator_token(secret):
            return await self._of_operator_token(scope, secret)
        if carrier == "cookie":
            hashed = session_hash(secret)
            if hashed is not None:
                return await self._of_session(scope, hashed)
        try:
            return await self._tokens.verify(secret, via_cookie=carrier == "cookie")
        except TokenRefused as refusal:
            client = self.client_address(scope)
            _log.info("token_refused", reason=str(refusal), kid=token_kid(secret), client=client)
            return None

    def _principal(self, key: ApiKey | None, *, via_cookie: bool) -> Principal | None:
        """The principal of a key that is alive."""
        now = _now_us()
        if key is None or not key.alive(now):
            return None
        if key.id in self._used or len(self._used) < _USES_KEPT:
            self._used[key.id] = now
        return Principal(
            tenant=key.tenant,
            scopes=frozenset(key.scopes if key.ceiling is None else (OPERATOR,)),
            key_id=key.id,
            subject=key.id,
            via_cookie=via_cookie,
            expires_at=key.expires_at,
        )

    async def _of_session(self, scope: Mapping[str, Any], hashed: bytes) -> Principal | None:
        """The principal of a session: its key, or what the operator's token said that it was made with."""
        known = await self._find_session(scope, hashed)
        if known is None or known.session is None:
            return None
        if known.session.key_id.startswith(SUBJECT_PREFIX):
            return self._of_subject(known.session)
        principal, session = self._principal(known.key, via_cookie=True), known.session
        if principal is None or (session.tenant is None) is not (known.key.ceiling is None):
            return None
        if session.tenant is None:
            return principal
        grants = session.scopes or ()
        of_tenant = _for_tenant(principal, known.key, session.tenant, grants, session.expires_at)
        return msgspec.structs.replace(of_tenant, any_tenant=OPERATOR in grants)

    def _of_subject(self, session: Session) -> Principal | None:
        """The principal of a session that OpenID Connect began, while that is switched on."""
        if not self._has_issuer or session.tenant is None:
            return None
        return Principal(
            tenant=session.tenant,
            scopes=scopes_among(session.scopes or (), self._vocabulary),
            key_id=None,
            subject=session.key_id,
            via_cookie=True,
            expires_at=session.expires_at,
            tenants=tenants_among(session.scopes or ()),
        )

    async def _of_operator_token(self, scope: Mapping[str, Any], text: str) -> Principal | None:
        """The principal of an operator's token, while the token, its key and the tenant are alive. A later tenant of
        the same name is not the one that it was made for."""
        token = None if self._operator_tokens is None else open_token(self._operator_tokens, text)
        if token is None or token.expires_at <= _now_us():
            return None
        key = await self._find_key_by_id(scope, token.key_id)
        principal = self._principal(key, via_cookie=False)
        if key is None or principal is None or key.ceiling is None:
            return None
        if any(log.deleted_at >= token.made_at for log in await self._former_logs(scope, token.tenant)):
            return None
        return _for_tenant(principal, key, token.tenant, token.scopes, token.expires_at)

    async def _former_logs(self, scope: Mapping[str, Any], tenant: str) -> list[FormerLog]:
        """The former logs of a tenant as of now. Requests of one address that wait for this share one lookup. One that
        has begun is for none that comes later: a deletion is seen by the very next request."""
        address = self._address_of(scope)
        asked = address, tenant

        async def read() -> list[FormerLog]:
            try:
                await self._lookups.enter(address)
            finally:
                del self._waiting[asked]
            try:
                return await self._store.deletions.former_logs(tenant)
            finally:
                self._lookups.leave(address)

        if asked not in self._waiting:
            self._waiting[asked] = asyncio.create_task(read())
        return await asyncio.shield(self._waiting[asked])

    async def _find_key_by_id(self, scope: Mapping[str, Any], key_id: str) -> ApiKey | None:
        """As `_find_key`, by the public id."""
        return await self._look_up_key(scope, b"id:" + key_id.encode(), lambda keys: keys.get_key(key_id))

    async def _find_key(self, scope: Mapping[str, Any], hashed: bytes) -> ApiKey | None:
        return await self._look_up_key(scope, hashed, lambda keys: keys.find_key(hashed))

    async def _look_up_key(
        self, scope: Mapping[str, Any], cached_as: bytes, find: Callable[[Credentials], Awaitable[ApiKey | None]]
    ) -> ApiKey | None:
        async def read() -> _Found | None:
            key = await find(self._store.credentials)
            return None if key is None else (key, None)

        known = await self._look_up(scope, cached_as, read)
        return None if known is None else known.key

    async def _find_session(self, scope: Mapping[str, Any], hashed: bytes) -> "_CachedKey | None":
        """The session and the key that it was made with, or None when the session is unknown or has ended."""

        async def read() -> _Found | None:
            session = await self._store.credentials.find_session(hashed)
            key = None if session is None else await self._key_of(session)
            return None if key is None else (key, session)

        known = await self._look_up(scope, hashed, read)
        if known is None or known.session is None or known.session.expires_at <= _now_us():
            return None
        return known

    async def _look_up(
        self, scope: Mapping[str, Any], cached_as: bytes, read: Callable[[], Awaitable["_Found | None"]]
    ) -> "_CachedKey | None":
        """What is cached, or what `read` finds in the store, on the share of the request's address."""
        known = self._keys.get(cached_as)
        if known is not None:
            return known
        came_at = self._keys.clock()
        async with self._lookups.place(self._address_of(scope)):
            known = self._keys.get(cached_as)  # another request may have found it while this one waited
            if known is not None:
                return known
            if self._hung_at > came_at:  # else many requests would wait for one failure after the other
                raise Unavailable("The store does not answer.")
            return await self._keep(cached_as, read)

    async def _renew(self, scope: Mapping[str, Any], hashed: bytes) -> None:
        """Look up a key that is cached, as `_look_up` does. If that fails, it is forgotten in its time."""

        async def read() -> _Found | None:
            key = await self._store.credentials.find_key(hashed)
            return None if key is None else (key, None)

        with contextlib.suppress(WhenceError):
            async with self._lookups.place(self._address_of(scope)):
                await self._keep(hashed, read)

    async def _keep(self, cached_as: bytes, read: Callable[[], Awaitable["_Found | None"]]) -> "_CachedKey | None":
        """What `read` finds in the store. It is cached if it is alive, and if not, no longer."""
        asked_at = self._keys.clock()
        try:
            found = await read()
        except Unavailable:
            if self._keys.clock() - asked_at >= _HANGING_S:
                self._hung_at = self._keys.clock()
            raise
        known = None if found is None else _CachedKey(*found, asked_at)
        if known is not None and known.key.alive(_now_us()):
            self._keys.put(cached_as, known)
        else:
            self._keys.discard(cached_as)
        return known

    async def _key_of(self, session: Session) -> ApiKey | None:
        """The key with which a session ends. One that OpenID Connect began has none, and ends by itself."""
        if not session.key_id.startswith(SUBJECT_PREFIX):
            return await self._store.credentials.get_key(session.key_id)
        return ApiKey(id=session.key_id, hash=session.hash, tenant=session.tenant or "", scopes=(), created_at=0)

    def _same_origin(self, scope: Mapping[str, Any]) -> bool:
        """Whether a browser sent this from a page of this server. Sec-Fetch-Site decides if it is there, since a page
        cannot set it; else Origin."""
        sites = header_values(scope, b"sec-fetch-site")
        if sites:
            return sites == ["same-origin"]
        origins = header_values(scope, b"origin")
        if len(origins) != 1:
            return False
        sender = _origin(origins[0])
        return sender is not None and sender == self.own_origin(scope)

    @staticmethod
    def _is_from_browser(scope: Mapping[str, Any]) -> bool:
        """Whether the request says what page sent it, as browsers do."""
        return bool(header_values(scope, b"sec-fetch-site") or header_values(scope, b"origin"))

    def _trusts(self, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
        return any(address in network for network in self._proxies)


_Found = tuple[ApiKey, Session | None]
"""A key, and the session that led to it if there was one."""


class _CachedKey(msgspec.Struct, frozen=True):
    """A cached lookup: a key, and the session that led to it if there was one. `asked_at` is when the lookup began."""

    key: ApiKey
    session: Session | None
    asked_at: float


class _KeyCache:
    """Valid keys by the hash of the secret, each for a tenth of a second, so that a revoked key soon stops working in
    every process. A lookup that found nothing is not cached, so a new key works at once. Nor is one that began before
    something was dropped: it may have found what has ended."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self._known: dict[bytes, _CachedKey] = {}
        self._dropped_at = float("-inf")

    def get(self, hashed: bytes) -> _CachedKey | None:
        known = self._known.get(hashed)
        if known is not None and self.clock() - known.asked_at >= _KEY_TTL_S:
            del self._known[hashed]
            return None
        return known

    def put(self, hashed: bytes, known: _CachedKey) -> None:
        if known.asked_at <= self._dropped_at:
            return
        self._known.pop(hashed, None)
        self._known[hashed] = known
        while len(self._known) > _KEYS_KEPT:
            del self._known[next(iter(self._known))]

    def discard(self, hashed: bytes) -> None:
        """Forget what a lookup did not find again."""
        self._known.pop(hashed, None)

    def drop(self, hashed: bytes) -> None:
        self._dropped_at = self.clock()
        self.discard(hashed)

    def drop_key(self, key_id: str) -> None:
        self._dropped_at = self.clock()
        self._known = {hashed: known for hashed, known in self._known.items() if known.key.id != key_id}


class _Throttle:
    """Counts bad credentials by address, in windows of a minute that begin with the first one. When the table is full,
    the address with the oldest window is dropped."""

    def __init__(self, limit: int, clock: Callable[[], float]) -> None:
        self._limit = limit
        self._clock = clock
        self._windows: dict[str, tuple[float, int]] = {}
        self.publish: Callable[[str, int], None] | None = None  # to the other processes of the server

    def note_bad(self, address: str) -> None:
        """Count one bad credential. Raises Throttled when it is one too many."""
        self.count(address, 1)
        began_at, count = self._windows.get(address, (self._clock(), 1))
        if self.publish is not None:
            self.publish(address, 1)
        if count > self._limit:
            wait_s = max(1, math.ceil(began_at + _WINDOW_S - self._clock()))
            raise Throttled("Too many bad credentials came from this address.", wait_s)

    def count(self, address: str, number: int) -> None:
        """Count bad credentials, of this process or of another."""
        now = self._clock()
        began_at, count = self._windows.get(address, (now, 0))
        if now - began_at >= _WINDOW_S:
            began_at, count = now, 0
        if count == 0:
            self._windows.pop(address, None)
        self._windows[address] = (began_at, count + number)
        if len(self._windows) > _ADDRESSES_KEPT:
            del self._windows[next(iter(self._windows))]


def _for_tenant(operator: Principal, key: ApiKey, tenant: str, scopes: Iterable[str], expires_at: int) -> Principal:
    """What an operator's key may do in a tenant, with a token of these scopes. The ceiling is compared again."""
    return msgspec.structs.replace(
        operator,
        tenant=tenant,
        scopes=frozenset(scope for scope in scopes if key.may_pass_on(scope)),
        expires_at=expires_at,
        via_operator=True,
    )


def _now_us() -> int:
    """The wall clock, in microseconds since 1970."""
    return time.time_ns() // 1_000


def read_cookies(scope: Mapping[str, Any], wanted: str = COOKIE) -> list[str]:
    """Every value of a cookie that the request carries."""
    pairs = (pair.strip().partition("=") for line in header_values(scope, b"cookie") for pair in line.split(";"))
    return [value for name, _, value in pairs if name == wanted]


def _last(lines: list[str], default: str) -> str:
    """The right-most value, which the nearest proxy added."""
    return lines[-1].rpartition(",")[2].strip() or default if lines else default


def _carrier(scope: Mapping[str, Any]) -> tuple[str, str | None] | None:
    """The carrier that decides and its secret, which is None if it is malformed; None when there is no carrier."""
    authorization = header_values(scope, b"authorization")
    if authorization:
        scheme, _, secret = authorization[0].partition(" ")
        good = len(authorization) == 1 and scheme.lower() == "bearer"
        return "bearer", secret.lstrip(" ") if good else None
    for carrier, values in (("x-api-key", header_values(scope, b"x-api-key")), ("cookie", read_cookies(scope))):
        if values:
            return carrier, values[0] if len(values) == 1 else None
    return None


def _parse_address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address in a hop, which may have a port. An IPv4-mapped IPv6 address is returned as IPv4."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def _throttle_key(address: str) -> str:
    """What the throttle counts by: an IPv4 address, or the /64 network of an IPv6 one, which one customer controls."""
    parsed = _parse_address(address)
    if isinstance(parsed, ipaddress.IPv6Address):
        return str(ipaddress.IPv6Network((int(parsed) >> 64 << 64, 64)))
    return address


def _origin(text: str) -> str | None:
    """An origin in its canonical form: lower case, without the default port. None for anything else."""
    scheme, colon, host = text.lower().partition("://")
    if not colon or scheme not in _DEFAULT_PORTS or not host or any(character in "/?#@, " for character in host):
        return None
    return f"{scheme}://{host.removesuffix(':' + _DEFAULT_PORTS[scheme])}"
