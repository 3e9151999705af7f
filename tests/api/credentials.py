"""Credentials as clients send them, good and forged, and an issuer of tokens: what the tests of `auth` share."""

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import cache
from types import SimpleNamespace
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from whence.api.auth import Authenticator
from whence.errors import Unauthenticated
from whence.permissions import ApiKey, new_api_key, new_session_secret, session_hash
from whence.storage import Session, Store

SECRET = "a shared secret that is long enough for HS256"
ISSUER = "https://issuer.example"
HOUR_US = 3_600_000_000


class Clock:
    """Seconds that pass only when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def us_now() -> int:
    return time.time_ns() // 1000


def request(
    *headers: tuple[str, str],
    method: str = "GET",
    client: tuple[str, int] | None = ("192.0.2.1", 5),
    scheme: str = "http",
) -> Any:
    raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers]
    return SimpleNamespace(scope={"method": method, "headers": raw, "client": client, "scheme": scheme})


def bearer(secret: str) -> tuple[str, str]:
    return "Authorization", f"Bearer {secret}"


def cookie(secret: str) -> tuple[str, str]:
    return "Cookie", f"vai_token={secret}"


async def new_key(
    store: Store, *scopes: str, expires_at: int | None = None, tenant: str = "acme"
) -> tuple[str, ApiKey]:
    secret, key = new_api_key(tenant, scopes or ("events:read",), us_now(), expires_at)
    await store.credentials.put_key(key)
    return secret, key


async def new_session(store: Store, key: ApiKey, expires_at: int | None = None) -> str:
    secret = new_session_secret()
    hashed = session_hash(secret)
    assert hashed is not None
    await store.credentials.put_session(Session(hashed, key.id, expires_at or us_now() + HOUR_US))
    return secret


async def refused(authenticator: Authenticator, asked: Any) -> bool:
    """Whether the request is Unauthenticated, and by the one sentence of it."""
    try:
        await authenticator.authenticate(asked)
    except Unauthenticated as error:
        assert str(error) == str(Unauthenticated())
        return True
    return False


def claims_of(**changes: Any) -> dict[str, Any]:
    """Claims that hold, with these changes; None takes one away."""
    now = int(time.time())
    claims = {"tenant_id": "acme", "scope": "events:read", "iat": now, "exp": now + 600, "sub": "ada", **changes}
    return {name: value for name, value in claims.items() if value is not None}


def jwt_of(key: Any = SECRET, algorithm: str = "HS256", headers: dict[str, Any] | None = None, **changes: Any) -> str:
    return jwt.encode(claims_of(**changes), key, algorithm=algorithm, headers=headers)


def raw_jwt(header: Any, claims: Any, key: bytes = SECRET.encode()) -> str:
    """A token made by hand, so that it can be wrong in ways that no library signs."""
    parts = [part if isinstance(part, bytes) else json.dumps(part).encode() for part in (header, claims)]
    signed = ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)
    mac = hmac.new(key, signed.encode(), hashlib.sha256).digest()
    return f"{signed}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"


@cache
def rsa_key(name: str = "a", bits: int = 2048) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, bits)


@cache
def ec_key(name: str = "a") -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


@cache
def ed_key(name: str = "a") -> ed25519.Ed25519PrivateKey:
    return ed25519.Ed25519PrivateKey.generate()


def jwk(key: Any, **members: Any) -> dict[str, Any]:
    """The public JWK of a private key."""
    kinds: list[tuple[type, Callable[..., Any]]] = [
        (rsa.RSAPrivateKey, RSAAlgorithm.to_jwk),
        (ec.EllipticCurvePrivateKey, ECAlgorithm.to_jwk),
        (ed25519.Ed25519PrivateKey, OKPAlgorithm.to_jwk),
    ]
    to_jwk = next(found for kind, found in kinds if isinstance(key, kind))
    public = to_jwk(key.public_key(), as_dict=True)
    return {"kty": public["kty"], **{n: v for n, v in public.items() if n in ("n", "e", "crv", "x", "y")}, **members}


class Issuer:
    """A real HTTP server on loopback that answers every GET with what a test put in `answer`."""

    def __init__(self) -> None:
        self.fetches = 0
        self.asked = asyncio.Event()
        self.paths: list[str] = []
        self.answer = b""
        self.gate = asyncio.Event()
        self.gate.set()
        self.url = ""

    def publish(self, *keys: dict[str, Any]) -> None:
        self.reply(json.dumps({"keys": keys}).encode())

    def reply(self, body: bytes, status: str = "200 OK", *headers: str) -> None:
        lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers, "", ""]
        self.answer = "\r\n".join(lines).encode() + body

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            self.fetches += 1
            self.asked.set()
            self.paths.append(head.split()[1].decode())
            await self.gate.wait()
            writer.write(self.answer)
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def running_issuer() -> AsyncIterator[Issuer]:
    issuer = Issuer()
    server = await asyncio.start_server(issuer.serve, "127.0.0.1", 0)
    issuer.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/jwks"
    try:
        yield issuer
    finally:
        server.close()
        issuer.gate.set()
