"""Webhooks: signatures by the Standard Webhooks scheme, and when a failed delivery is tried again. Pure.

A receiver needs only `verify`. A message is signed by HMAC-SHA256 over `id.timestamp.body`; the header
`webhook-signature` holds one signature for each valid secret, so that a secret can be replaced without a gap.
"""

import base64
import binascii
import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from whence.errors import BadSignature

__all__ = [
    "ATTEMPTS_MAX",
    "ID_HEADER",
    "SECRET_PREFIX",
    "SIGNATURE_HEADER",
    "TIMESTAMP_HEADER",
    "TOLERANCE_S",
    "new_secret",
    "secret_bytes",
    "sign",
    "signed_headers",
    "verify",
    "wait_s",
]

ID_HEADER, TIMESTAMP_HEADER, SIGNATURE_HEADER = "webhook-id", "webhook-timestamp", "webhook-signature"

SECRET_PREFIX = "whsec_"  # noqa: S105  (the same for every secret)
"""How the text of a secret begins; the rest is base64 of its bytes."""

TOLERANCE_S = 300
"""How far the time of a message may differ from the receiver's clock, in seconds."""

SCHEDULE_S = (0, 5, 5 * 60, 30 * 60, 2 * 3600, 5 * 3600, 10 * 3600, 10 * 3600)
"""How long each attempt waits after the one before it, in seconds. The last of them comes a day and some hours after
the first."""

ATTEMPTS_MAX = len(SCHEDULE_S)
"""After so many failed attempts a delivery has failed."""

_JITTER = 0.1
_SECRET_BYTES_MIN, _SECRET_BYTES_MAX, _SECRET_BYTES = 24, 64, 32
_VERSION = "v1"
_SIGNATURES_MAX = 20


def new_secret() -> str:
    """A new secret, `whsec_` and 32 random bytes in base64."""
    return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()


def secret_bytes(secret: str) -> bytes:
    """The key in a secret. Raises BadSignature for a text that is no secret."""
    try:
        key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not _SECRET_BYTES_MIN <= len(key) <= _SECRET_BYTES_MAX:
        raise BadSignature(
            f"A webhook's secret is {SECRET_PREFIX} and {_SECRET_BYTES_MIN} to {_SECRET_BYTES_MAX} bytes in base64."
        )
    return key


def sign(message_id: str, timestamp: int, body: bytes, secret: str) -> str:
    """The signature of a message: `v1,` and base64. `timestamp` is in seconds since the epoch."""
    signed = f"{message_id}.{timestamp}.".encode() + body
    digest = hmac.digest(secret_bytes(secret), signed, hashlib.sha256)
    return f"{_VERSION},{base64.b64encode(digest).decode()}"


def signed_headers(message_id: str, timestamp: int, body: bytes, secrets_valid: Sequence[str]) -> dict[str, str]:
    """The three headers of a message, signed with every secret that is valid."""
    return {
        ID_HEADER: message_id,
        TIMESTAMP_HEADER: str(timestamp),
        SIGNATURE_HEADER: " ".join(sign(message_id, timestamp, body, secret) for secret in secrets_valid),
    }


def verify(
    body: bytes | str, headers: Mapping[str, str], secret: str | Iterable[str], *, now: float | None = None
) -> Any:
    """Check that a webhook came from the server that knows this secret, and return its body as decoded JSON.

    `body` is what was received, before any parsing. Names of headers may be in any case. Several secrets may be passed
    while one replaces another. `now` is the time in seconds since the epoch, by default that of the clock.

    Raises BadSignature when a header is missing, when the message is more than 5 minutes old or from the future, and
    when no signature matches. Answer such a request with 400, and do nothing else. A message can come more than once:
    its `webhook-id` is the same each time.
    """
    received = body.encode() if isinstance(body, str) else bytes(body)
    found = {name.lower(): value for name, value in headers.items()}
    missing = [name for name in (ID_HEADER, TIMESTAMP_HEADER, SIGNATURE_HEADER) if not found.get(name)]
    if missing:
        raise BadSignature(f"The request lacks the header {missing[0]}, so it is not a signed webhook.")
    timestamp = _timestamp(found[TIMESTAMP_HEADER], time.time() if now is None else now)
    sent = [part for part in found[SIGNATURE_HEADER].split(" ") if part.startswith(f"{_VERSION},")]
    keys = [secret] if isinstance(secret, str) else list(secret)
    expected = [sign(found[ID_HEADER], timestamp, received, each).encode() for each in keys]
    # Every pair is compared, so that the time taken depends on neither.
    matches = [
        hmac.compare_digest(one, other.encode("utf-8", "surrogateescape"))
        for one in expected
        for other in sent[:_SIGNATURES_MAX]
    ]
    if not any(matches):
        raise BadSignature("The signature does not match: another secret signed the message, or it was changed.")
    try:
        return json.loads(received)
    except (ValueError, RecursionError):
        raise BadSignature("The message is signed, but its body is not JSON.") from None


def _timestamp(text: str, now: float) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= len("9999999999")):
        raise BadSignature(f"The header {TIMESTAMP_HEADER} is not a whole number of seconds.")
    timestamp = int(text)
    if timestamp < now - TOLERANCE_S:
        raise BadSignature("The message is more than 5 minutes old; it may be a copy. Check the clock, too.")
    if timestamp > now + TOLERANCE_S:
        raise BadSignature("The message is from more than 5 minutes in the future. Check the clock.")
    return timestamp


def wait_s(attempts: int, jitter: float) -> float | None:
    """How long to wait after so many failed attempts, in seconds; None when there is to be no further one.

    `jitter` is a random number from 0 to 1, by which the wait is up to 10 % shorter or longer, so that what failed
    together does not come again together.
    """
    if attempts >= ATTEMPTS_MAX:
        return None
    return SCHEDULE_S[attempts] * (1 - _JITTER + 2 * _JITTER * jitter)
