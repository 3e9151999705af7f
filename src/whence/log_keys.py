"""The keys of the logs of a store. All of them follow from its secret and from the name of an origin."""

from typing import NamedTuple

from whence.checkpoints import COSIGNED_NAME_BYTES_MAX, Checkpoint, Cosigner, sign_checkpoint
from whence.notes import KeyType, NoteSigner, VerifierKey
from whence.recent import RecentlyUsed
from whence.sealing import StoreSecret

__all__ = ["LogKeys"]

_SEED_BYTES = 32
_KEPT_KIB_MAX = 32 * 1024
"""Memory for keys that are kept. One by ML-DSA-44 takes 0.2 ms to make, a third of what it takes to sign."""

_ED25519_KIB, _MLDSA44_KIB = 1, 23
"""What the keys of an origin take in memory, as measured."""


class _Keys(NamedTuple):
    """The keys of an origin; `cosigner` is None if its log does not sign by ML-DSA-44."""

    signer: NoteSigner
    cosigner: Cosigner | None


class LogKeys:
    """Signs the checkpoints of logs by Ed25519, and also by ML-DSA-44 if the server is set to.

    A signature by ML-DSA-44 (type 0x06) has the form of a cosignature, whose name is the origin: C2SP knows no other.
    """

    def __init__(self, secret: StoreSecret, *, ml_dsa: bool = False) -> None:
        """`ml_dsa`: sign by ML-DSA-44 too, with a key that follows from the same secret for a purpose of its own."""
        self._secret, self._ml_dsa = secret, ml_dsa
        self._kept = RecentlyUsed[str, _Keys](_KEPT_KIB_MAX)

    def key(self, origin: str) -> VerifierKey:
        """The key of type 0x01 of an origin."""
        return self._of(origin).signer.key

    def ml_dsa_key(self, origin: str) -> VerifierKey | None:
        """The key of type 0x06 of an origin, None if its checkpoints are not signed by it."""
        cosigner = self._of(origin).cosigner
        return None if cosigner is None else cosigner.key

    def sign(self, checkpoint: Checkpoint, time_s: int, former: str | None = None) -> str:
        """The checkpoint as a note that the keys of its origin have signed, and those of a former one. `time_s` stands
        in the signatures by ML-DSA-44, in seconds since 1970."""
        keys = [self._of(origin) for origin in (checkpoint.origin, former) if origin is not None]
        cosigners = [each.cosigner for each in keys if each.cosigner is not None]
        return sign_checkpoint(checkpoint, *(each.signer for each in keys), cosigners=cosigners, time_s=time_s)

    def _of(self, origin: str) -> _Keys:
        found = self._kept.get(origin)
        if found is None:
            found = _Keys(NoteSigner(origin, self._seed(f"log key {origin}")), self._cosigner(origin))
            self._kept.put(origin, found, _ED25519_KIB if found.cosigner is None else _MLDSA44_KIB)
        return found

    def _cosigner(self, origin: str) -> Cosigner | None:
        if not self._ml_dsa or len(origin.encode()) > COSIGNED_NAME_BYTES_MAX:
            return None
        return Cosigner(origin, self._seed(f"log ML-DSA-44 key {origin}"), KeyType.COSIGNATURE_MLDSA44)

    def _seed(self, purpose: str) -> bytes:
        return self._secret.subkey(purpose)[:_SEED_BYTES]
