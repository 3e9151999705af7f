"""Signatures by ML-DSA-44: the verifier in JavaScript against the library that Whence signs with."""

import os
import random
import subprocess
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

from tests.documents import ROOT
from tests.examples import examples, soak
from tests.proofs.make_vectors import MLDSA_LOG, mldsa_message
from tests.proofs.mutations import any_mutation
from tests.proofs.vector_log import b64, checkpoint_text, proof_of, whole_tree
from tests.proofs.verifiers import NODE, judged_by_node, judged_by_whence
from tests.unit.mutants import catches, replaced
from tests.unit.test_export_check import describe, manifest_of, put
from tests.unit.test_proven_exports import CHECKPOINT, ORIGIN
from whence.checkpoints import Cosigner
from whence.cli import export_check
from whence.cli.export_check import check_folder
from whence.cli.trusted_keys import Trust
from whence.errors import Unsound
from whence.notes import KeyType, NoteSigner, VerifierKey, parse_verifier_key, signature_line, verify_bytes
from whence.witness_policy import Witness, WitnessPolicy

pytestmark = pytest.mark.skipif(NODE is None and not os.environ.get("CI"), reason="Node is not installed")

JUDGE = Path(__file__).parent / "judge_mldsa.mjs"
PROGRAM = ROOT / "verifier" / "whence-verify.mjs"
SIGNED = 1_000 if soak() else examples(10)
"""Random messages, each with a key of its own."""

PROOFS = 3_000 if soak() else examples(150)
CHALLENGE, HINTS, PLACES = 32, 2336, 80
"""The lengths of the challenge and, where the hints begin, of the places of hints."""

Signed = tuple[bytes, bytes, bytes]


def random_signatures(rng: random.Random) -> Iterator[tuple[Signed, bool]]:
    """Public key, message and signature as they were made, and with changes in each part; and whether it is right."""
    for _ in range(SIGNED):
        private = MLDSA44PrivateKey.from_seed_bytes(rng.randbytes(32))
        message = rng.randbytes(rng.randrange(600))
        key, signature = private.public_key().public_bytes_raw(), private.sign(message)
        yield (key, message, signature), True
        yield (flipped(rng, key), message, signature), False
        yield (key, flipped(rng, message + b"."), signature), False
        for first, end in pairwise((0, CHALLENGE, HINTS, HINTS + PLACES, len(signature))):
            yield (key, message, signature[:first] + flipped(rng, signature[first:end]) + signature[end:]), False
        yield (key, message, signature[:HINTS] + other_hints(rng, signature[HINTS:])), False
        yield (key, message, signature[:-1]), False
        yield (key, message, signature + b"\0"), False


def flipped(rng: random.Random, data: bytes) -> bytes:
    """With one bit changed."""
    changed = bytearray(data)
    changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def other_hints(rng: random.Random, data: bytes) -> bytes:
    """The same hints in another spelling: two in another order, or one given twice, or one after the end."""
    places, counts = bytearray(data[:PLACES]), data[PLACES:]
    used = counts[-1]
    if used == PLACES or rng.random() < 0.3:
        at = rng.randrange(used - 1)
        places[at], places[at + 1] = places[at + 1], places[at]
    elif rng.random() < 0.5:
        places[used - 1] = places[used - 2]
    else:
        places[used] = 1
    return bytes(places) + counts


def test_both_judge_random_signatures_alike() -> None:
    """What was signed is accepted, and nothing else."""
    cases = list(random_signatures(random.Random(204)))
    lines = "".join(" ".join(map(b64, signed)) + "\n" for signed, _ in cases)
    done = subprocess.run([str(NODE), str(JUDGE)], input=lines, capture_output=True, text=True, check=True)
    theirs = [line == "1" for line in done.stdout.split()]
    ours = [
        len(key) == 1312 and verify_bytes(VerifierKey("k", KeyType.COSIGNATURE_MLDSA44, key), message, signature)
        for (key, message, signature), _ in cases
    ]
    assert theirs == ours
    assert [accepted and not is_right for accepted, (_, is_right) in zip(ours, cases, strict=True)].count(True) == 0
    assert sum(ours) == SIGNED


def test_no_mutation_of_a_proof_is_believed_by_ml_dsa_44() -> None:
    """Proofs that the log signed by both keys, judged by the second one: no false claim, and both judge alike."""
    rng = random.Random(2420)
    proofs = []
    for index, size in ((0, 1), (3, 255), (200, 257)):  # so far apart that no parts of two make another true proof
        root = whole_tree().root(0, size)
        text = checkpoint_text(size, root)
        first = proof_of(index, size).rpartition("\n— ")[2]
        proofs.append(
            proof_of(index, size, note=f"{text}\n— {first}{MLDSA_LOG.line('', mldsa_message(ORIGIN, root, size))}")
        )
    mutated = [proof.encode() for proof in proofs] + [any_mutation(rng, proofs, (1, 255, 257)) for _ in range(PROOFS)]
    ours = [judged_by_whence(each, MLDSA_LOG.key) for each in mutated]
    assert judged_by_node(mutated, MLDSA_LOG.key) == ours
    right = ours[: len(proofs)]
    assert None not in right
    assert set(ours) <= {None, *right, *(claim._replace(payload=None) for claim in right if claim is not None)}


def _names_alone(key: VerifierKey, named: bytes) -> bool:
    """Mutant: the file `key` only has to have the name of the key."""
    return named.startswith(f"{key.name}+".encode())


@catches(replaced(export_check, "_is_named", _names_alone, "takes_any_key_file"))
def test_an_export_is_checked_by_the_second_key(tmp_path: Path) -> None:
    """As the key of the log, or as a witness beside the first one; and refused where it has not signed."""
    folder = put(tmp_path / "export")
    second = Cosigner(ORIGIN, bytes(32), KeyType.COSIGNATURE_MLDSA44)
    first = parse_verifier_key((folder / "key").read_text().strip())
    stranger = NoteSigner(ORIGIN, bytes(range(32))).key
    quorum = WitnessPolicy((), {"w": Witness(second.key, "")}, {}, "w")
    for signs in (False, True):
        if signs:
            note = (folder / "checkpoint").read_text() + signature_line(second.cosign(CHECKPOINT, 5))
            (folder / "checkpoint").write_text(note)
            describe(folder, manifest_of(folder))
        for trust, options in (
            (Trust((second.key,)), ("--key", second.key)),
            (Trust((first,), quorum), ("--key", first, "--witness", second.key)),
        ):
            command = [str(NODE), str(PROGRAM), "--export", str(folder), *map(str, options)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            assert (done.returncode, holds(folder, trust)) == (0 if signs else 5, signs), done.stderr
    with pytest.raises(Unsound, match="not the key that was given"):
        check_folder(folder, Trust((stranger,)))


def holds(folder: Path, trust: Trust) -> bool:
    """Whether Whence's own verifier accepts an export."""
    try:
        check_folder(folder, trust)
    except Unsound:
        return False
    return True
