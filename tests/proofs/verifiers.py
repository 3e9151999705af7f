"""The verifiers that have to agree: Whence's own and the one for Node. Each says what a proof proves."""

import base64
import json
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from whence.notes import BadNote, VerifierKey
from whence.proven_events import verify_event

JUDGE = Path(__file__).parent / "judge.mjs"
NODE = shutil.which("node")


class Claim(NamedTuple):
    """What a verifier says is proven. `payload` is None if the proof came without one."""

    origin: str
    size: int
    root: str
    position: int
    envelope: str
    payload: str | None


def judged_by_whence(proof: bytes, key: VerifierKey) -> Claim | None:
    """What a proof proves, None for nothing."""
    try:
        proven = verify_event(proof.decode(), [key])
    except (BadNote, UnicodeDecodeError):
        return None
    checkpoint = proven.checkpoint
    return Claim(
        checkpoint.origin,
        checkpoint.size,
        checkpoint.root.hex(),
        proven.position,
        proven.envelope.decode(),
        None if proven.payload is None else proven.payload.decode(),
    )


def judged_by_node(proofs: Iterable[bytes], key: VerifierKey, judge: Path = JUDGE) -> list[Claim | None]:
    """What each proof proves by the verifier for Node."""
    lines = b"".join(base64.b64encode(proof) + b"\n" for proof in proofs)
    done = subprocess.run([str(NODE), str(judge), str(key)], input=lines, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    found = [json.loads(line) for line in done.stdout.decode().split("\n")[:-1]]
    return [None if each is None else Claim(each[0], int(each[1]), each[2], int(each[3]), *each[4:]) for each in found]
