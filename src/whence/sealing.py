"""The store secret, and what is sealed with it.

A store has one secret, which is kept outside of its database: a copy of the database contains nothing that opens what
the secret protects. HKDF-SHA256 (RFC 5869) derives a key for each purpose, so that no key serves two of them.

What is sealed is encrypted and authenticated by AES-SIV (RFC 5297). It needs no nonce, and the same content gives the
same text, so that a request that is repeated gets the same answer.
"""

import base64
import binascii
import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

__all__ = ["SEALED_BYTES_MORE", "SECRET_BYTES_MIN", "Sealer", "StoreSecret"]

SECRET_BYTES_MIN = 32
"""The shortest store secret, in bytes of its text."""

SEALED_BYTES_MORE = 16
"""How much longer sealed data is than its content, before it is written in base64."""

_SALT = b"whence store secret"
_KEY_BYTES = 64


class Sealer:
    """Seals data for one purpose. Safe to use from many threads."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESSIV(key)

    def seal(self, data: bytes, bound: bytes) -> str:
        """The data as opaque text in URL-safe base64 without padding, bound to `bound`, which is not part of it."""
        sealed = self._cipher.encrypt(data, [bound])
        return base64.urlsafe_b64encode(sealed).rstrip(b"=").decode()

    def open(self, text: str, bound: bytes) -> bytes | None:
        """The data, or None unless this text was sealed by the same secret, for the same purpose, bound to the same."""
        try:
            sealed = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
            if base64.urlsafe_b64encode(sealed).rstrip(b"=").decode() != text:
                return None  # unused bits were set, or padding was sent
            return self._cipher.decrypt(sealed, [bound])
        except (binascii.Error, ValueError, InvalidTag):
            return None


class StoreSecret:
    """The secret of a store. Raises ValueError for a text that is too short to be one."""

    def __init__(self, text: str, *, is_shared: bool = False) -> None:
        """`is_shared`: every server of the store has this secret, and will have it after a restart."""
        self.is_shared = is_shared
        material = text.encode()
        if len(material) < SECRET_BYTES_MIN:
            raise ValueError(f"A store secret has at least {SECRET_BYTES_MIN} bytes.")
        self._material = material

    @classmethod
    def random(cls) -> "StoreSecret":
        """A new secret."""
        return cls(cls.new_text())

    @staticmethod
    def new_text() -> str:
        """The text of a new secret: 32 random bytes in hexadecimal digits."""
        return secrets.token_hex(32)

    def sealer(self, purpose: str) -> Sealer:
        """The sealer of one purpose, whose key is always the same for this secret."""
        return Sealer(self.subkey(purpose))

    def subkey(self, purpose: str) -> bytes:
        """The key of one purpose, 64 bytes."""
        return HKDF(algorithm=SHA256(), length=_KEY_BYTES, salt=_SALT, info=purpose.encode()).derive(self._material)

    def __repr__(self) -> str:
        return "StoreSecret(…)"
