"""Tokens that an operator's key exchanges itself for: one tenant, some scopes, at most a quarter of an hour.

A token is sealed with a key of the store secret, so only a server of the store can make or read one, and none is kept
anywhere. It names the operator's key, and ends with it.
"""

import msgspec

from whence.sealing import Sealer

__all__ = ["LIFETIME_MAX_S", "PURPOSE", "OperatorToken", "is_operator_token", "open_token", "seal_token"]

LIFETIME_MAX_S = 15 * 60
"""The longest life of a token, in seconds."""

PURPOSE = "operators' tokens"
"""What the key is for that seals them; see `StoreSecret.sealer`."""

_PREFIX = "wht_"
_TEXT_MAX = 8_192
_BOUND = b"operator token 1"


class OperatorToken(msgspec.Struct, frozen=True, array_like=True):
    """What a token says. Times are in microseconds since the epoch. `made_at` is 0 in the tokens of earlier releases,
    which ends them with the next deletion of a tenant of the name, and with any that was before."""

    key_id: str
    tenant: str
    scopes: tuple[str, ...]
    expires_at: int
    made_at: int = 0


def seal_token(sealer: Sealer, token: OperatorToken) -> str:
    """The text of a token."""
    return _PREFIX + sealer.seal(msgspec.json.encode(token), _BOUND)


def is_operator_token(text: str) -> bool:
    """Whether a credential has the form of an operator's token."""
    return text.startswith(_PREFIX) and len(text) <= _TEXT_MAX


def open_token(sealer: Sealer, text: str) -> OperatorToken | None:
    """The token, or None unless a server with the same store secret made it."""
    data = sealer.open(text.removeprefix(_PREFIX), _BOUND)
    return None if data is None else msgspec.json.decode(data, type=OperatorToken)
