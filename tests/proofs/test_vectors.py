"""Whence's own verifier on `verifier/vectors`, which the one for Node is tested on too, and on published vectors."""

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PublicKey

from tests.documents import ROOT
from tests.proofs import make_vectors
from tests.proofs.vector_log import KEY, made_event, time_of, whole_tree
from tests.proofs.verifiers import judged_by_whence
from tests.unit.mutants import catches, replaced
from whence import integrity, proven_events
from whence.checkpoints import verify_checkpoint
from whence.cli.export_check import check_folder
from whence.cli.trusted_keys import Trust
from whence.errors import Unsound
from whence.events import Event
from whence.integrity import EnvelopeV1, hash_payload, leaf_of
from whence.merkle import CompactRange
from whence.merkle_proofs import is_consistent, is_included
from whence.notes import (
    BadNote,
    KeyType,
    VerifierKey,
    decode_base64,
    parse_note,
    parse_verifier_key,
    verified_keys,
    verify_bytes,
)
from whence.proven_events import followed_keys
from whence.wire.export_manifests import encode_manifest
from whence.wire.seals import EvidenceBody
from whence.wire.times import parse_time

VECTORS = ROOT / "verifier" / "vectors"
LOG_KEY = parse_verifier_key(KEY)
SMALL_ORDER = "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa"
"""The public key of those published signatures that OpenSSL accepts, and the verifier for Node does not."""


def vectors(name: str) -> Any:
    return json.loads((VECTORS / name).read_text(encoding="utf-8"))


def holds(work: Callable[[], object]) -> bool:
    try:
        work()
    except BadNote:
        return False
    return True


def event_of(index: int) -> Event:
    """An event of the vectors as Whence has it."""
    made = made_event(index)
    members = {key: value for key, value in made.members.items() if key not in ("occurredAt", "recordedAt")}
    fields = {"".join(f"_{c.lower()}" if c.isupper() else c for c in key): value for key, value in members.items()}
    times = {"occurred_at": parse_time(time_of(index)), "recorded_at": parse_time(time_of(index, 120_000))}
    return Event(position=index + 1, payload=made.payload.encode(), **fields, **times)


def test_the_vectors_are_those_that_are_made() -> None:
    """The files are what the script writes, from definitions that share no code with the verifier."""
    for name, text in make_vectors.made_files().items():
        assert (VECTORS / name).read_text(encoding="utf-8") == text, name


@pytest.mark.parametrize("case", vectors("exports.json")["exports"], ids=lambda case: case["name"])
def test_exports_are_judged_as_the_vectors_say(case: Any, tmp_path: Path) -> None:
    """Those that are whole are accepted, and one with anything wrong is not."""
    for name, text in case["files"].items():
        (tmp_path / name).write_bytes(bytes.fromhex(text) if name == "hashes" else text.encode())
    try:
        manifest = check_folder(tmp_path, Trust((LOG_KEY,)))
    except Unsound:
        assert not case["holds"]
    else:
        assert case["holds"] and encode_manifest(manifest).decode() == case["files"]["manifest.json"]


def test_envelopes_leaves_and_roots_are_those_of_the_vectors() -> None:
    """Also with emoji, line separators, quotes, backslashes, and causes that are null or any text."""
    log = vectors("log.json")
    for each in log["events"]:
        event, hashed = event_of(each["index"]), hash_payload(bytes.fromhex(each["salt"]), each["payload"].encode())
        assert integrity.envelope_v1(event, hashed.hex()) == each["envelope"].encode()
        assert leaf_of(event, hashed, 1).hex() == each["leaf"]
    tree, roots = CompactRange(), log["roots"]
    for size in range(70_001):
        if str(size) in roots:
            assert tree.root().hex() == roots[str(size)]
        if size < 70_000:
            tree.append(whole_tree().leaf(size))


def _any_spelling(data: bytes) -> EnvelopeV1:
    """Mutant: an envelope may be written in any way."""
    return msgspec.json.decode(data, type=EnvelopeV1)


def _any_evidence(data: bytes) -> tuple[bytes | None, ...]:
    """Mutant: the evidence may be written in any way."""
    body = msgspec.json.decode(data, type=EvidenceBody)
    return tuple(None if each is None else base64.b64decode(each) for each in (body.envelope, body.salt, body.payload))


@catches(
    replaced(proven_events, "decode_envelope", _any_spelling, "accepts_any_spelling_of_an_envelope"),
    replaced(proven_events, "decode_evidence", _any_evidence, "accepts_any_spelling_of_the_evidence"),
    replaced(proven_events, "is_object", lambda _: True, "accepts_any_payload"),
)
def test_proofs_prove_what_they_claim() -> None:
    """Those that hold; the others prove nothing, also where a log signed what two readers may read differently."""
    for each in vectors("proofs.json")["proofs"]:
        claim = judged_by_whence(each["proof"].encode(), LOG_KEY)
        expected = each["proven"]
        found = None if claim is None else {name: getattr(claim, name) for name in expected or {}}
        assert found == expected, each["name"]


def test_checkpoints_extend_each_other_only_if_that_is_proven() -> None:
    """By the hashes of a proof between their sizes."""
    for pair in vectors("consistency.json")["pairs"]:
        assert holds(lambda pair=pair: _compare(pair)) == pair["holds"], pair["name"]


def _compare(pair: dict[str, str]) -> None:
    older, newer = (verify_checkpoint(pair[name].encode(), [LOG_KEY]).checkpoint for name in ("old", "new"))
    try:
        proof = json.loads(pair["proof"])
    except ValueError:
        raise BadNote("no JSON") from None
    hashes = [decode_base64(each) for each in proof["hashes"]]
    if [proof["from"], proof["to"]] != [older.size, newer.size]:
        raise BadNote("other sizes")
    if not is_consistent(older.size, newer.size, hashes, older.root, newer.root):
        raise BadNote("not consistent")


@catches(
    replaced(proven_events, "KEY_ROTATED", "whence.log_key_compromised", "follows_a_compromised_key"),
)
def test_a_key_is_followed_by_its_announcement_alone() -> None:
    """Which the former key signed, about itself, for a rotation; then the next key is believed as well."""
    for file in ("rotations.json", "mldsa44.json"):
        made = vectors(file)
        for each in made["rotations"]:
            found: str | None
            try:
                keys = followed_keys([parse_verifier_key(made["key"])], [each["proof"]])
                found = str(keys[1])
            except BadNote:
                found = None
            assert found == each["next"], each["name"]
    chain = vectors("rotations.json")["chain"]
    assert followed_keys([LOG_KEY], chain["proofs"])[2:] == (parse_verifier_key(chain["last"]),)
    with pytest.raises(BadNote, match="no key is known"):
        followed_keys([LOG_KEY], chain["proofs"][::-1])


def test_cosignatures_are_verified() -> None:
    """Those of known witnesses, by Ed25519 and by ML-DSA-44."""
    for each in [*vectors("notes.json")["notes"], *vectors("mldsa44.json")["notes"]]:
        judged: list[str] | None
        keys = [parse_verifier_key(each.get("key", KEY))]
        try:
            verified = verify_checkpoint(each["note"].encode(), keys, [parse_verifier_key(each["witness"])])
            judged = [key.name for key in verified.witnesses]
        except BadNote:
            judged = None
        assert judged == each["cosigners"], each["name"]


def test_the_published_signatures() -> None:
    """As their authors judge them, but for keys of small order, which only their owner could have made."""
    groups = vectors("published/ed25519.json")
    for key, message, signature, is_valid in groups["wycheproof"]["cases"] + groups["edges"]["cases"]:
        verifier = VerifierKey("log", KeyType.ED25519, bytes.fromhex(key))
        found = verify_bytes(verifier, bytes.fromhex(message), bytes.fromhex(signature))
        assert found == (is_valid or key == SMALL_ORDER), signature


@pytest.mark.parametrize("file", ["mldsa44.json", "mldsa44-acvp.json"])
def test_the_published_signatures_by_ml_dsa_44(file: str) -> None:
    """As their authors judge them. No format here has a context, so a signature with one is refused, also where the
    library that verifies it accepts it in that context."""
    published = vectors(f"published/{file}")
    decode = base64.b64decode
    for number, key, *texts, is_valid in published["cases"]:
        message, context, signature = map(decode, texts)
        verifier = VerifierKey("log", KeyType.COSIGNATURE_MLDSA44, decode(published["keys"][key]))
        assert verify_bytes(verifier, message, signature) == (is_valid and not context), number
        assert _is_valid_in_context(verifier.public, message, context, signature) == is_valid, number


def _is_valid_in_context(public: bytes, message: bytes, context: bytes, signature: bytes) -> bool:
    """Whether the library accepts a signature."""
    try:
        MLDSA44PublicKey.from_public_bytes(public).verify(signature, message, context)
    except (InvalidSignature, ValueError):
        return False
    return True


def test_the_published_proofs_of_merkle_trees() -> None:
    """As their authors judge them."""
    published = vectors("published/merkle.json")
    decode = base64.b64decode
    for name, index, size, leaf, hashes, root, is_right in published["inclusion"]["cases"]:
        proof = [decode(each) for each in hashes]
        assert is_included(decode(leaf), int(index), int(size), proof, decode(root)) == is_right, name
    for name, older, newer, hashes, older_root, newer_root, is_right in published["consistency"]["cases"]:
        proof = [decode(each) for each in hashes]
        found = is_consistent(int(older), int(newer), proof, decode(older_root), decode(newer_root))
        assert found == is_right, name


@pytest.mark.parametrize("case", vectors("published/notes.json")["notes"]["cases"], ids=lambda case: case[0])
def test_the_published_notes(case: tuple[str, str, list[str], bool]) -> None:
    """As their authors judge them."""
    _, note, keys, is_right = case
    assert holds(lambda: verified_keys(parse_note(note.encode()), map(parse_verifier_key, keys))) == is_right


def test_the_published_keys() -> None:
    """As their authors judge them."""
    for name, key, is_right in vectors("published/notes.json")["keys"]["cases"]:
        assert holds(lambda key=key: parse_verifier_key(key)) == is_right, name
