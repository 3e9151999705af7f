"""The public keys of the operator's token issuer: fetched from one configured URL, parsed, and cached.

Nothing in a token decides where keys come from. A fetch follows no redirect, reads at most 256 KiB and ends within 5 s.
Fetches start at least 10 s apart, however many tokens name an unknown key. Keys are fetched again after five minutes,
so that a withdrawn key becomes invalid. While the issuer cannot be reached, they stay valid for an hour.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx2
import jwt
import msgspec
import structlog
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from whence.errors import Unavailable

__all__ = ["FETCH_INTERVAL_S", "JwksCache", "PublicKey", "SigningKey", "parse_jwks"]

FETCH_INTERVAL_S = 10.0
"""The least time between the starts of two fetches, in seconds."""

_FETCH_LIMIT_S = 5.0
_BODY_MAX = 256 * 1024
_REFRESH_S = 300.0
_VALID_S = 3600.0
_RSA_BITS_MIN = 2048
_KID_LOGGED = 128
_SKIPPED_LOGGED = 20

PublicKey = RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey

_log = structlog.get_logger(__name__)


class SigningKey(msgspec.Struct, frozen=True):
    """A public key, bound to the one algorithm it may verify."""

    kid: str | None
    algorithm: str
    key: PublicKey


class JwksCache:
    """The keys of one JWKS URL. `clock` returns monotonic seconds."""

    def __init__(self, url: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._url = url
        self._clock = clock
        self._client: httpx2.AsyncClient | None = None
        self._keys: tuple[SigningKey, ...] = ()
        self._skipped: list[tuple[str, str]] = []
        self._fetched_at: float | None = None
        self._began_at: float | None = None
        self._fetching: asyncio.Task[None] | None = None

    async def find(self, kid: str | None, algorithm: str) -> tuple[SigningKey, ...]:
        """The keys that may have signed a token with this header: those with the `kid`, or, if the token has none, all
        of the algorithm. If there is no such key and a fetch is due, it fetches first.

        Raises Unavailable when no valid keys could be fetched, whatever the token is.
        """
        if self._age() >= _REFRESH_S:
            fetch = self._begin_fetch()
            if self._age() >= _VALID_S and fetch is not None:
                await asyncio.shield(fetch)
        found = self._select(kid, algorithm)
        if not found and await self.refresh():
            found = self._select(kid, algorithm)
        if self._age() >= _VALID_S:
            raise Unavailable("The keys that verify tokens cannot be fetched at the moment.", int(FETCH_INTERVAL_S))
        return found

    async def refresh(self) -> bool:
        """Wait for a fetch, if one is due or running. Whether the keys have changed."""
        before = self._keys
        fetch = self._begin_fetch()
        if fetch is not None:
            # Others may wait for the same fetch, so a client that disconnects must not cancel it.
            await asyncio.shield(fetch)
        return self._keys != before

    async def close(self) -> None:
        """Cancel a running fetch and close the connections."""
        if self._fetching is not None and not self._fetching.done():
            self._fetching.cancel()
            await asyncio.gather(self._fetching, return_exceptions=True)
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    def _select(self, kid: str | None, algorithm: str) -> tuple[SigningKey, ...]:
        return tuple(key for key in self._keys if key.algorithm == algorithm and kid in (None, key.kid))

    def _age(self) -> float:
        return float("inf") if self._fetched_at is None else self._clock() - self._fetched_at

    def _begin_fetch(self) -> asyncio.Task[None] | None:
        """The running fetch, or a new one if one is due."""
        if self._fetching is not None and not self._fetching.done():
            return self._fetching
        now = self._clock()
        if self._began_at is not None and now - self._began_at < FETCH_INTERVAL_S:
            return None
        self._began_at = now
        self._fetching = asyncio.create_task(self._fetch())
        return self._fetching

    async def _fetch(self) -> None:
        """Fetch the keys. On any failure the present ones are kept."""
        began_at = self._clock()
        skipped: list[tuple[str, str]] = []
        try:
            async with asyncio.timeout(_FETCH_LIMIT_S):
                keys = parse_jwks(await self._read(), lambda kid, reason: skipped.append((kid, reason)))
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError) as error:
            _log.warning("jwks_fetch_failed", error=type(error).__name__)
            return
        if keys != self._keys:
            _log.info("jwks_keys_changed", keys=len(keys))
            self._keys = keys
        if skipped != self._skipped:
            self._skipped = skipped
            for kid, reason in skipped[:_SKIPPED_LOGGED]:
                _log.warning("jwks_key_skipped", kid=kid, reason=reason)
        self._fetched_at = began_at

    async def _read(self) -> bytes:
        """The answer's body. Raises ValueError for an answer that is not a small, plain 200."""
        if self._client is None:
            # A proxy from the environment is for other hosts; http is allowed only to this machine.
            outside = urlsplit(self._url).scheme == "https"
            self._client = httpx2.AsyncClient(follow_redirects=False, timeout=_FETCH_LIMIT_S, trust_env=outside)
        # Without a content encoding no small answer can inflate to a large one.
        headers = {"accept": "application/json", "accept-encoding": "identity"}
        async with self._client.stream("GET", self._url, headers=headers) as response:
            if response.status_code != 200 or response.headers.get("content-encoding", "identity") != "identity":
                raise ValueError("not a plain 200")
            body = bytearray()
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > _BODY_MAX:
                    raise ValueError("too large")
            return bytes(body)


def parse_jwks(
    body: bytes, on_skipped: Callable[[str, str], None] = lambda _kid, _reason: None
) -> tuple[SigningKey, ...]:
    """The keys of a JWKS document that can verify RS256, ES256 or EdDSA. Others are left out: shared secrets, keys for
    encryption, weak keys, unknown kinds. `on_skipped` is called with the id of each of those, and the reason.

    Raises ValueError if it is not a JWKS document.
    """
    try:
        document = msgspec.json.decode(body)
    except (msgspec.MsgspecError, RecursionError):
        raise ValueError("not JSON") from None
    listed = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(listed, list):
        raise ValueError("no keys")
    keys = []
    for item in listed:
        try:
            keys.append(_parse_key(item))
        except ValueError as error:
            kid = item.get("kid", "") if isinstance(item, dict) else ""
            on_skipped(str(kid)[:_KID_LOGGED], str(error))
    return tuple(keys)


def _parse_key(jwk: Any) -> SigningKey:
    """The key. Raises ValueError, which says why it cannot be used here."""
    if not isinstance(jwk, dict):
        raise ValueError("not an object")
    kid, operations = jwk.get("kid"), jwk.get("key_ops", ["verify"])
    if jwk.get("use", "sig") != "sig" or not isinstance(operations, list) or "verify" not in operations:
        raise ValueError("not a key for signatures")
    if kid is not None and not isinstance(kid, str):
        raise ValueError("its kid is not text")
    try:
        algorithm, key = _public_key(jwk)
    except (jwt.PyJWTError, ValueError, TypeError, KeyError, OverflowError):
        raise ValueError("not a sound RSA key of 2048 bits or more, P-256 key or Ed25519 key") from None
    if jwk.get("alg", algorithm) not in (algorithm, "Ed25519" if algorithm == "EdDSA" else algorithm):
        raise ValueError("its alg is not one that such a key verifies here")
    return SigningKey(kid, algorithm, key)


_KINDS = {
    ("RSA", None): ("RS256", ("kty", "n", "e")),
    ("EC", "P-256"): ("ES256", ("kty", "crv", "x", "y")),
    ("OKP", "Ed25519"): ("EdDSA", ("kty", "crv", "x")),
}
"""(kty, crv) -> the one algorithm of such a key, and its public members."""


def _public_key(document: Mapping[str, Any]) -> tuple[str, PublicKey]:
    """The algorithm that the kind of key fixes, and the key. Raises for every other kind.

    PyJWT's `PyJWKSet` would not do: it takes the algorithm from the document, reads private members, accepts keys of
    any use and strength, and refuses a set without usable keys.
    """
    kty = document["kty"]
    algorithm, members = _KINDS[kty, None if kty == "RSA" else document["crv"]]
    key = jwt.PyJWK({name: document[name] for name in members}, algorithm).key
    if not isinstance(key, PublicKey) or (isinstance(key, RSAPublicKey) and key.key_size < _RSA_BITS_MIN):
        raise ValueError("not a key that can be used")
    return algorithm, key
