"""Mutations of proofs: of every part, bit by bit, and of the text. None may make a verifier believe something else."""

import base64
import json
import random
from collections.abc import Iterator, Sequence

from tests.proofs.vector_log import ERASED, ORIGIN, SIGNER, b64, checkpoint_text, line_of, note_of, proof_of, whole_tree
from whence.notes import NoteSigner

PLACES = ((0, 1), (1, 2), (2, 3), (3, 255), (4, 256), (ERASED, 257), (255, 256), (256, 257), (65_536, 70_000))
_DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="


def whole_proofs() -> list[str]:
    """The proofs that are mutated, the last one with signature lines of unknown keys."""
    text = checkpoint_text(257, whole_tree().root(0, 257))
    others = f"— {ORIGIN} {b64(bytes(4) + bytes(90))}\n" + line_of(NoteSigner("other.example", bytes(32)), text)
    return [*(proof_of(*place) for place in PLACES), proof_of(7, 257, note=f"{text}\n{others}{line_of(SIGNER, text)}")]


def every_bit(proof: str) -> Iterator[bytes]:
    """A proof with each bit of its parts changed: hashes, extra and what is in it, index, size, root, signatures."""
    lines = proof.split("\n")
    for at, line in enumerate(lines):
        for part in _parts(line):
            for changed in _flipped(part):
                yield _with(lines, at, line.replace(part, changed, 1))
    extra = json.loads(base64.b64decode(lines[1].removeprefix("extra ")))
    for name in ("envelope", "payload", "salt"):
        for changed in _flipped(extra[name]) if extra[name] else ():
            yield _with(lines, 1, f"extra {_encoded({**extra, name: changed})}")


def _parts(line: str) -> list[str]:
    """The parts of a line that are numbers or base64, and the origin."""
    last = line.rpartition(" ")[2]
    return [line] if last == line and last else [last] if last else []


def _flipped(part: str) -> Iterator[str]:
    """A part with each of its bits changed: a number, the bytes of base64, or the characters of a text."""
    if part.isdecimal():
        yield from (str(int(part) ^ 1 << bit) for bit in range(63))
        return
    try:
        data = base64.b64decode(part, validate=True)
    except ValueError:
        data = b""
    if not data or b64(data) != part:
        yield from (
            part[:at] + chr(ord(part[at]) ^ 1 << bit) + part[at + 1 :] for at in range(len(part)) for bit in range(7)
        )
        return
    for bit in range(8 * len(data)):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        yield b64(bytes(changed))


def _with(lines: list[str], at: int, line: str) -> bytes:
    return "\n".join([*lines[:at], line, *lines[at + 1 :]]).encode()


def _encoded(extra: dict[str, str | None]) -> str:
    return b64(json.dumps(extra, separators=(",", ":")).encode())


def any_mutation(
    rng: random.Random, proofs: list[str], sizes: Sequence[int] = (1, 2, 3, 255, 256, 257, 70_000)
) -> bytes:
    """A proof with one thing changed, of its text or of its parts. `sizes` are those of other checkpoints."""
    proof = rng.choice(proofs)
    lines = proof.split("\n")
    at = rng.randrange(len(proof))
    match rng.randrange(10):
        case 0:
            data = bytearray(proof.encode())
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
            return bytes(data)
        case 1:
            changed = proof[:at] + rng.choice(_DIGITS) + proof[at + 1 :]
        case 2:
            changed = proof[:at] + proof[at + rng.randint(1, 3) :]
        case 3:
            changed = proof[:at] + rng.choice(("\n", " ", "=", "0", "\r", "\u2028", "A")) + proof[at:]
        case 4:
            one, other = rng.randrange(len(lines)), rng.randrange(len(lines))
            lines[one], lines[other] = lines[other], lines[one]
            changed = "\n".join(lines)
        case 5:
            lines.insert(rng.randrange(len(lines)), rng.choice(lines))
            changed = "\n".join(lines)
        case 6:
            del lines[rng.randrange(len(lines))]
            changed = "\n".join(lines)
        case 7:  # parts of two proofs
            other_lines = rng.choice(proofs).split("\n")
            cut = rng.randrange(1, len(lines))
            changed = "\n".join([*lines[:cut], *other_lines[rng.randrange(len(other_lines)) :]])
        case 8:
            index = rng.choice((rng.randrange(70_001), rng.getrandbits(63), 2**63, 2**64 + int(lines[2].split()[1])))
            changed = proof.replace(lines[2], f"index {index}", 1)
        case _:  # the checkpoint of another size
            note = note_of(rng.choice(sizes))
            changed = proof.partition("\n\n")[0] + "\n\n" + note
    return changed.encode()
