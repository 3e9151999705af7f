"""Whom the command `verify` believes: the keys of a log, those that followed them, and the witnesses of a policy."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from whence.checkpoints import PROOF_BYTES_MAX, VerifiedCheckpoint, verify_checkpoint
from whence.cli.checked_log import given_key
from whence.errors import Invalid, Unsound
from whence.notes import BadNote, VerifierKey
from whence.proven_events import followed_keys
from whence.witness_policy import POLICY_BYTES_MAX, BadPolicy, WitnessPolicy, parse_policy

__all__ = ["Trust", "read_text", "trust_of"]


class Trust(NamedTuple):
    """The keys of logs, one of which has to have signed, and the policy whose quorum has to have cosigned, if any."""

    keys: tuple[VerifierKey, ...]
    policy: WitnessPolicy | None = None

    def verify_checkpoint(self, data: bytes) -> VerifiedCheckpoint:
        """The checkpoint of a note. Raises BadNote unless it is signed and cosigned as it has to be."""
        if self.policy is None:
            return verify_checkpoint(data, self.keys)
        verified = verify_checkpoint(data, self.keys, self.policy.keys)
        self.policy.demand(verified.witnesses)
        return verified


def trust_of(key: str | None, policy: Path | None, rotations: Sequence[Path]) -> Trust:
    """What `--key`, `--policy` and `--rotation` say. Raises Invalid for what cannot be used, and Unsound for an
    announcement that is not proven."""
    read = None if policy is None else _read_policy(policy)
    keys = (given_key(key),) if key is not None else () if read is None else read.logs
    if not keys:
        raise Invalid.at(
            (), "This needs --key, the key of the log, or a policy with it. Take it from where you keep it."
        )
    try:
        return Trust(followed_keys(keys, [read_text(path) for path in rotations]), read)
    except (BadNote, UnicodeDecodeError) as error:
        raise Unsound(
            f"The announcement in --rotation is not valid. {error if isinstance(error, BadNote) else ''}"
        ) from None


def read_text(path: Path) -> str:
    """The text of a proof in a file. It is read as bytes, since no line ending may be changed, and up to one byte more
    than a proof may have."""
    with path.open("rb") as file:
        return file.read(PROOF_BYTES_MAX + 1).decode()


def _read_policy(path: Path) -> WitnessPolicy:
    with path.open("rb") as file:
        data = file.read(POLICY_BYTES_MAX + 1)
    try:
        return parse_policy(data)
    except BadPolicy as error:
        raise Invalid.at((), f"The file of --policy cannot be used. {error}") from None
