"""Signed notes, checkpoints, cosignatures and offline proofs: the published example, forgeries, and other spellings."""

import random
from collections.abc import Sequence
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

from tests.unit.mutants import catches, replaced
from tests.unit.test_merkle import root_of
from tests.unit.test_merkle_proofs import hashes_of, leaves_of
from whence import checkpoints, notes
from whence.checkpoints import (
    Checkpoint,
    LogProof,
    cosigned_message,
    parse_checkpoint,
    parse_proof,
    sign_checkpoint,
    verify_checkpoint,
    verify_proof,
)
from whence.merkle_proofs import inclusion_ranges
from whence.notes import (
    BadNote,
    KeyType,
    Note,
    NoteSignature,
    NoteSigner,
    VerifierKey,
    decode_base64,
    parse_note,
    parse_verifier_key,
    signature_line,
    verified_keys,
)

EXAMPLE_KEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
EXAMPLE = (
    "This is an example message.\n\n— example.com/foo "
    "Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
)
"""The example of the specification of signed notes."""

ORIGIN = "log.example/acme/1"
SIGNER = NoteSigner(ORIGIN, sha256(b"whence test vector key 1").digest())
SIZE, INDEX = 1_000, 700
LEAVES = leaves_of(SIZE)
CHECKPOINT = Checkpoint(ORIGIN, SIZE, root_of(LEAVES))
SIGNED = sign_checkpoint(CHECKPOINT, SIGNER)
PROOF = LogProof(INDEX, tuple(hashes_of(inclusion_ranges(INDEX, SIZE), LEAVES)), SIGNED, b"what it was made from")


def test_the_published_note_is_verified() -> None:
    """The key and the note of the specification are read, verified and written again, byte by byte."""
    key = parse_verifier_key(EXAMPLE_KEY)
    note = parse_note(EXAMPLE.encode())
    assert (str(key), str(note)) == (EXAMPLE_KEY, EXAMPLE)
    assert verified_keys(note, [key]) == [key]


@pytest.mark.parametrize(
    "damaged",
    [
        EXAMPLE.replace("example message", "exemple message"),
        EXAMPLE.replace("Uw2QOkn8", "Uw2QOkn9"),
        EXAMPLE.replace("example.com/foo", "example.com/bar"),
        EXAMPLE.replace("—", "-"),
        EXAMPLE.replace("yaQM=", "yaQN="),
        EXAMPLE.replace("yaQM=", "yaQM"),
        EXAMPLE.rstrip("\n"),
        EXAMPLE.replace("\n\n", "\n"),
        EXAMPLE.replace("This", "Th\x07is"),
        EXAMPLE.replace("This", "This\r"),
        EXAMPLE + "— example.com/foo !\n",
        EXAMPLE + "\n",
        "",
    ],
)
def test_a_damaged_note_is_refused(damaged: str) -> None:
    """Another text, signature, name or dash, other base64, a missing newline, a control character."""
    with pytest.raises(BadNote):
        verified_keys(parse_note(damaged.encode()), [parse_verifier_key(EXAMPLE_KEY)])


def test_a_line_of_an_unknown_key_means_nothing() -> None:
    """It neither counts nor harms, as a signature of a later key; it may share its name or its id with a known key."""
    signature = SIGNER.sign(CHECKPOINT.text)
    others = [
        NoteSignature(ORIGIN, b"\x00" * 4, b"x"),
        NoteSignature("other.example", SIGNER.key.id, signature.signature),
    ]
    note = Note(CHECKPOINT.text, (*others, signature))
    assert verified_keys(parse_note(str(note).encode()), [SIGNER.key]) == [SIGNER.key]
    with pytest.raises(BadNote, match="None of the known keys"):
        verified_keys(Note(CHECKPOINT.text, tuple(others)), [SIGNER.key])


@catches(replaced(notes, "verify_bytes", lambda *_: True, "verifies_no_signature"))
def test_a_wrong_line_of_a_known_key_spoils_the_note() -> None:
    """Beside a valid line of it, too."""
    good = SIGNER.sign(CHECKPOINT.text)
    bad = NoteSignature(good.name, good.key_id, bytes(64))
    for lines in ((good, bad), (bad, good)):
        with pytest.raises(BadNote, match="not valid"):
            verified_keys(Note(CHECKPOINT.text, lines), [SIGNER.key])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "example.com/foo",
        EXAMPLE_KEY.replace("530d903a", "530D903A"),
        EXAMPLE_KEY.replace("530d903a", "530d903b"),
        EXAMPLE_KEY.replace("example.com/foo", "example.com/fo o"),
        EXAMPLE_KEY.replace("+Aeky", "+Beky"),
        EXAMPLE_KEY[:-4],
        EXAMPLE_KEY + "=",
        "+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
    ],
)
def test_a_malformed_key_is_refused(text: str) -> None:
    """A missing part, another id, type or length, or a name that is none."""
    with pytest.raises(BadNote):
        parse_verifier_key(text)


def test_base64_has_one_spelling() -> None:
    """Unused bits that are set, missing padding, and blanks are refused."""
    assert decode_base64("AA==") == b"\x00"
    for text in ("AB==", "AA=", "AA", "A A==", "AA==\n", "_w==", "é"):
        with pytest.raises(BadNote):
            decode_base64(text)


def test_a_checkpoint_is_read_as_it_was_signed() -> None:
    """Its note is verified by the log's key, and by no other."""
    assert verify_checkpoint(SIGNED.encode(), [SIGNER.key]).checkpoint == CHECKPOINT
    stranger = NoteSigner(ORIGIN, bytes(32)).key
    with pytest.raises(BadNote, match="None of the known keys"):
        verify_checkpoint(SIGNED.encode(), [stranger])
    renamed = NoteSigner("log.example/other/1", sha256(b"whence test vector key 1").digest())
    foreign = sign_checkpoint(CHECKPOINT, renamed)
    with pytest.raises(BadNote, match="another log"):
        verify_checkpoint(foreign.encode(), [renamed.key])


@pytest.mark.parametrize(
    "text",
    [
        f"{ORIGIN}\n7\n",
        f"\n7\n{'A' * 43}=\n",
        f"{ORIGIN}\n07\n{'A' * 43}=\n",
        f"{ORIGIN}\n-7\n{'A' * 43}=\n",
        f"{ORIGIN}\n\u0667\n{'A' * 43}=\n",
        f"{ORIGIN}\n{2**63}\n{'A' * 43}=\n",
        f"{ORIGIN}\n7\n{'A' * 40}\n",
        f"{ORIGIN}\n7\n{'A' * 43}=\nmore\n",
    ],
)
def test_what_is_no_checkpoint_is_refused(text: str) -> None:
    """A missing or further line, and a size or root in any other form."""
    with pytest.raises(BadNote):
        parse_checkpoint(text)


ED25519_WITNESS = Ed25519PrivateKey.from_private_bytes(sha256(b"witness 1").digest())
MLDSA_WITNESS = MLDSA44PrivateKey.from_seed_bytes(sha256(b"witness 2").digest())
WITNESSES = (
    VerifierKey("witness.example/1", KeyType.COSIGNATURE_ED25519, ED25519_WITNESS.public_key().public_bytes_raw()),
    VerifierKey("witness.example/2", KeyType.COSIGNATURE_MLDSA44, MLDSA_WITNESS.public_key().public_bytes_raw()),
)


def cosigned(signed: str, time_s: int, *, signed_time_s: int | None = None) -> str:
    """The note with a cosignature by each witness."""
    checkpoint = parse_checkpoint(parse_note(signed.encode()).text)
    for key, sign in zip(WITNESSES, (ED25519_WITNESS.sign, MLDSA_WITNESS.sign), strict=True):
        message = cosigned_message(key, checkpoint, time_s if signed_time_s is None else signed_time_s)
        signature = time_s.to_bytes(8) + sign(message)
        signed += signature_line(NoteSignature(key.name, key.id, signature))
    return signed


def test_cosignatures_of_both_kinds_are_verified() -> None:
    """Those of known witnesses are named; without knowing any, the checkpoint is good by itself."""
    note = cosigned(SIGNED, 1_700_000_000).encode()
    assert verify_checkpoint(note, [SIGNER.key], WITNESSES).witnesses == WITNESSES
    assert verify_checkpoint(note, [SIGNER.key], WITNESSES[1:]).witnesses == WITNESSES[1:]
    assert verify_checkpoint(note, [SIGNER.key]).witnesses == ()
    assert verify_checkpoint(SIGNED.encode(), [SIGNER.key], WITNESSES).witnesses == ()
    assert [str(parse_verifier_key(str(key))) for key in WITNESSES] == [str(key) for key in WITNESSES]


@pytest.mark.parametrize("witness", WITNESSES, ids=["Ed25519", "ML-DSA-44"])
def test_a_cosignature_of_another_time_is_refused(witness: VerifierKey) -> None:
    """The time is signed with the checkpoint."""
    note = cosigned(SIGNED, 1_700_000_000, signed_time_s=1_700_000_001).encode()
    with pytest.raises(BadNote, match="not valid"):
        verify_checkpoint(note, [SIGNER.key], [witness])


def test_a_proof_is_read_as_it_was_written() -> None:
    """With and without extra data, and for the only leaf of a log."""
    assert parse_proof(str(PROOF)) == PROOF
    assert verify_proof(PROOF, LEAVES[INDEX], [SIGNER.key]).checkpoint == CHECKPOINT
    single = LogProof(0, (), sign_checkpoint(Checkpoint(ORIGIN, 1, LEAVES[0]), SIGNER))
    assert parse_proof(str(single)) == single
    assert verify_proof(single, LEAVES[0], [SIGNER.key]).checkpoint.size == 1


@pytest.mark.parametrize(
    "text",
    [
        "",
        str(PROOF).replace("@v1", "@v2"),
        str(PROOF).replace("index 700", "index 0700"),
        str(PROOF).replace("index 700\n", ""),
        str(PROOF).replace("\n\n", "\n", 1),
        str(PROOF).replace("index", "Index"),
        str(LogProof(0, (b"\x00" * 31,), SIGNED)),
        str(LogProof(0, (b"\x00" * 32,) * 64, SIGNED)),
    ],
)
def test_what_is_no_proof_is_refused(text: str) -> None:
    """Another head, a missing or respelled line, a hash of another length, too many."""
    with pytest.raises(BadNote):
        verify_proof(parse_proof(text), LEAVES[INDEX], [SIGNER.key])


FORGERIES = 4_000


def _by_the_roots_signature_alone(
    proof: LogProof, leaf: bytes, keys: Sequence[VerifierKey], witnesses: Sequence[VerifierKey] = ()
) -> object:
    """Mutant: the hashes are not followed."""
    return verify_checkpoint(proof.note.encode(), keys, witnesses)


@catches(
    replaced(checkpoints, "verify_proof", _by_the_roots_signature_alone, "follows_no_hashes"),
    replaced(checkpoints, "verify_bytes", lambda *_: True, "verifies_no_checkpoint"),
)
def test_no_changed_bit_makes_a_false_claim() -> None:
    """A proof with any bit changed is refused, or it says the same of the same log: only what is extra may differ."""
    rng = random.Random(20852163)
    text = str(PROOF).encode()
    for _ in range(FORGERIES):
        changed = bytearray(text)
        bit = rng.randrange(len(text) * 8)
        changed[bit // 8] ^= 1 << bit % 8
        try:
            proof = parse_proof(changed.decode())
            verified = checkpoints.verify_proof(proof, LEAVES[INDEX], [SIGNER.key])
        except (BadNote, UnicodeDecodeError):
            continue
        assert (proof.index, verified.checkpoint) == (INDEX, CHECKPOINT), bit
        assert proof.extra != PROOF.extra, bit
    for leaf in (LEAVES[INDEX - 1], b"\x00" * 32):
        with pytest.raises(BadNote):
            checkpoints.verify_proof(PROOF, leaf, [SIGNER.key])
