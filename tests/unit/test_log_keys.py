"""Checkpoints that a log signs by ML-DSA-44 too: who verifies them, also after the setting or the key has changed."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.contract.made import NOON, TENANT
from tests.unit.mutants import catches, replaced
from tests.unit.test_sealer import ORIGIN, SECRET, append, keys, latest
from whence import checkpoints, log_keys, proven_events
from whence.checkpoints import Checkpoint, Cosigner, LogProof, verify_checkpoint
from whence.log_keys import LogKeys
from whence.merkle_proofs import inclusion_ranges
from whence.notes import BadNote, KeyType, Note, VerifierKey, parse_note, parse_verifier_key
from whence.proven_events import followed_keys
from whence.sealer import Sealing
from whence.sealing import StoreSecret
from whence.storage import create_store
from whence.storage.followers import Definition
from whence.storage.seals import EPOCH, EPOCH_ENDED, EpochReason, EpochRequest, hashes_of
from whence.wire.ids import derived_uuid
from whence.wire.seals import encode_evidence

NEXT = "log.example/acme/2"
KEYS = LogKeys(SECRET, ml_dsa=True)
CHECKPOINT = Checkpoint(ORIGIN, 3, bytes(32))


def second(origin: str = ORIGIN) -> VerifierKey:
    """The key by ML-DSA-44."""
    key = KEYS.ml_dsa_key(origin)
    assert key is not None
    return key


def sealing_of(store: Any, *, ml_dsa: bool = True) -> Sealing:
    return Sealing(store, SECRET, "log.example", lambda: NOON, ml_dsa=ml_dsa)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Any]:
    opened = create_store(f"sqlite:///{tmp_path}/log.db")
    await append(opened, 0, 3)
    yield opened
    await opened.close()


def types_of(note: str) -> list[tuple[str, KeyType]]:
    """The names in the signature lines, and the types of the keys that they are of."""
    known = {(key.name, key.id): key.type for name in (ORIGIN, NEXT) for key in (KEYS.key(name), second(name))}
    return [(each.name, known[each.name, each.key_id]) for each in parse_note(note.encode()).signatures]


_cosigned_message = checkpoints.cosigned_message


def _of_the_text(_key: VerifierKey, checkpoint: Checkpoint, _time_s: int) -> bytes:
    """Mutant: the text is signed, as by Ed25519."""
    return checkpoint.text.encode()


def _one_seed(_self: LogKeys, _purpose: str) -> bytes:
    """Mutant: every key of the store is made from one seed."""
    return bytes(32)


@catches(
    replaced(log_keys, "Cosigner", lambda name, seed, _type: Cosigner(name, seed), "signs_by_ed25519_twice"),
    replaced(LogKeys, "_cosigner", lambda _self, _origin: None, "signs_by_ed25519_alone"),
    replaced(checkpoints, "cosigned_message", _of_the_text, "signs_the_text"),
    replaced(LogKeys, "_seed", _one_seed, "one_seed_for_all"),
)
def test_both_keys_sign_by_the_form_of_the_specification() -> None:
    """The message by ML-DSA-44, byte by byte, names the log as the cosigner; the Ed25519 line is what it always was."""
    keys = LogKeys(SECRET, ml_dsa=True)
    note = parse_note(keys.sign(CHECKPOINT, 5).encode())
    first, line = note.signatures
    assert str(Note(note.text, (first,))) == LogKeys(SECRET).sign(CHECKPOINT, 9)
    key = keys.ml_dsa_key(ORIGIN)
    assert key is not None
    assert (key.type, key.name, line.key_id) == (KeyType.COSIGNATURE_MLDSA44, ORIGIN, key.id)
    name, number = bytes([len(ORIGIN)]) + ORIGIN.encode(), (5).to_bytes(8)
    message = b"subtree/v1\n\x00" + name + number + name + bytes(8) + (3).to_bytes(8) + bytes(32)
    assert line.signature[:8] == number
    assert checkpoints.verify_bytes(key, message, line.signature[8:])
    other = keys.ml_dsa_key(NEXT)
    assert other is not None
    assert other.public != key.public
    assert parse_verifier_key(str(key)) == key


def test_a_log_with_a_name_that_does_not_fit_is_signed_by_ed25519() -> None:
    """A name in the message has at most 255 bytes. No key is listed for it."""
    long = Checkpoint("n" * 256, 3, bytes(32))
    assert KEYS.ml_dsa_key(long.origin) is None
    assert len(parse_note(KEYS.sign(long, 5).encode()).signatures) == 1


@catches(replaced(log_keys, "_MLDSA44_KIB", 1, "counts_every_key_as_small"))
def test_the_keys_of_many_logs_take_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """The least recently used are made again."""
    monkeypatch.setattr(log_keys, "_KEPT_KIB_MAX", 8 * 23)
    many = LogKeys(SECRET, ml_dsa=True)
    made = [many.key(f"log.example/acme/{number}") for number in range(20)]
    assert len(many._kept._young) + len(many._kept._old) <= 8
    assert [many.key(f"log.example/acme/{number}") for number in range(20)] == made


@catches(replaced(checkpoints, "verify_bytes", lambda *_: True, "verifies_no_signature"))
async def test_each_key_verifies_alone_and_a_bad_line_spoils_the_note(store: Any) -> None:
    """Who knows one key ignores the line of the other; who names one demands it."""
    await sealing_of(store).seal_all()
    note = (await latest(store)).note
    [ed25519] = await keys(store)
    assert types_of(note) == [(ORIGIN, KeyType.ED25519), (ORIGIN, KeyType.COSIGNATURE_MLDSA44)]
    for known in ([ed25519], [second()], [ed25519, second()]):
        assert list(verify_checkpoint(note.encode(), known).signers) == known
    stranger = LogKeys(StoreSecret.random(), ml_dsa=True).ml_dsa_key(ORIGIN)
    assert stranger is not None
    with pytest.raises(BadNote, match="None of the known keys"):
        verify_checkpoint(note.encode(), [stranger])
    parsed = parse_note(note.encode())
    line = parsed.signatures[1]
    for changed in (line.signature[:7] + b"\xff" + line.signature[8:], line.signature[:-1], bytes(2428)):
        bad = str(Note(parsed.text, (parsed.signatures[0], line._replace(signature=changed)))).encode()
        assert verify_checkpoint(bad, [ed25519]).checkpoint.size == 3
        with pytest.raises(BadNote, match="not valid"):
            verify_checkpoint(bad, [ed25519, second()])


async def test_it_may_be_switched_on_and_off(store: Any) -> None:
    """The origin stays, and each checkpoint stays good by the keys that signed it."""
    notes = []
    for number, ml_dsa in enumerate((False, True, False)):
        await append(store, 10 + number, 11 + number)
        sealing = sealing_of(store, ml_dsa=ml_dsa)
        await sealing.seal_all()
        await store.followers.release_lease("sealing", sealing._owner)
        notes.append((await latest(store)).note)
    [ed25519] = await keys(store)
    assert [len(types_of(note)) for note in notes] == [1, 2, 1]
    assert [verify_checkpoint(note.encode(), [ed25519]).checkpoint.size for note in notes] == [4, 5, 6]
    with pytest.raises(BadNote, match="None of the known keys"):
        verify_checkpoint(notes[2].encode(), [second()])


async def rotation_of(store: Any, sealing: Sealing) -> str:
    """Rotate the key, and the proof of the event that says so."""
    asked = EpochRequest(
        ended=ORIGIN, reason=EpochReason.ROTATED, actor_type="api_key", actor_id="k1", requested_at=NOON
    )
    assert await store.followers.put_definition(Definition(TENANT, EPOCH, "2", 1, msgspec.json.encode(asked)))
    for _ in range(2):
        await sealing.seal_all()
    event_id = derived_uuid(TENANT, EPOCH_ENDED[EpochReason.ROTATED], ORIGIN)
    found, evidence = await store.seals.last_checkpoint(TENANT, 1), await store.seals.get_evidence(TENANT, event_id)
    index = evidence.position - 1
    hashes = await hashes_of(store.seals, TENANT, inclusion_ranges(index, found.size))
    extra = encode_evidence(evidence.envelope, evidence.salt, evidence.payload)
    return str(LogProof(index, tuple(hashes), found.note, extra))


def _by_any_type(rotation: Any, _former: VerifierKey) -> tuple[VerifierKey, ...]:
    """Mutant: a reader who trusts one key is given both."""
    return tuple(parse_verifier_key(text) for text in (rotation.new_key, rotation.new_ml_dsa_key) if text is not None)


@catches(replaced(proven_events, "_following", _by_any_type, "follows_to_a_key_of_another_type"))
async def test_a_rotation_is_followed_by_keys_of_the_same_type(store: Any) -> None:
    """And for a week, both former keys sign beside the new ones."""
    sealing = sealing_of(store)
    await sealing.seal_all()
    proof = await rotation_of(store, sealing)
    both = [KEYS.key(ORIGIN), second()]
    assert followed_keys(both[:1], [proof]) == (both[0], KEYS.key(NEXT))
    assert followed_keys(both[1:], [proof]) == (both[1], second(NEXT))
    assert followed_keys(both, [proof]) == (*both, KEYS.key(NEXT), second(NEXT))
    note = (await latest(store)).note
    kinds = KeyType.ED25519, KeyType.COSIGNATURE_MLDSA44
    assert types_of(note) == [(name, kind) for kind in kinds for name in (NEXT, ORIGIN)]
    assert verify_checkpoint(note.encode(), [second(NEXT)], [second()]).witnesses == (second(),)


async def test_a_rotation_without_a_second_key_is_not_followed_by_it(
    store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The setting was off when the event was written, and on when it was signed."""
    sealing = sealing_of(store)
    await sealing.seal_all()
    monkeypatch.setattr(sealing._keys, "ml_dsa_key", lambda _origin: None)
    proof = await rotation_of(store, sealing)
    both = [KEYS.key(ORIGIN), second()]
    assert followed_keys(both, [proof]) == (*both, KEYS.key(NEXT))
    with pytest.raises(BadNote, match="does not name the next key of this type"):
        followed_keys(both[1:], [proof])
