"""A witness: what it refuses, and that it remembers what it cosigned before anybody learns of it."""

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.proofs.make_vectors import VECTORS
from tests.proofs.vector_log import KEY, ORIGIN, note_of, whole_tree
from tests.unit.mutants import catches, replaced
from whence import witness, witness_protocol
from whence.checkpoints import Checkpoint, Cosigner, cosignature_of, parse_checkpoint, verify_checkpoint
from whence.errors import Unsound, WhenceError
from whence.notes import BadNote, KeyType, Note, NoteSignature, NoteSigner, parse_note, parse_verifier_key
from whence.witness import WitnessRecord, WitnessService, create_record, read_record
from whence.witness_protocol import AddCheckpoint, Refusal, encode_request, judge, parse_request

LOG = parse_verifier_key(KEY)
COSIGNER = Cosigner("witness.example/w1", bytes(32))
VECTOR_REQUESTS = json.loads((VECTORS / "witness.json").read_text())["requests"]


def status_of(asked: str, last: dict[str, Any] | None) -> int:
    """What a witness answers that cosigned this last."""
    known = None if last is None else Checkpoint(ORIGIN, last["size"], bytes.fromhex(last["root"]))
    try:
        refusal = judge(parse_request(asked.encode()), [LOG], known)
    except BadNote:
        return 400
    if refusal is not None and refusal.status == 409:
        assert refusal.size == (0 if known is None else known.size)
    return 200 if refusal is None else refusal.status


def _last_is_old(asked: AddCheckpoint, keys: Any, last: Checkpoint | None) -> Refusal | None:
    """Mutant: the old size that the log names is believed."""
    return judge(asked, keys, None if last is None else last._replace(size=asked.old))


def _unsigned(*_arguments: Any) -> None:
    """Mutant: the signature of the log is not checked."""


@catches(
    replaced(witness_protocol, "is_consistent", lambda *_: True, "no_proof_is_checked"),
    replaced(witness_protocol, "verify_checkpoint", _unsigned, "signatures_are_not_checked"),
)
def test_each_refusal_of_the_vectors() -> None:
    """404, 403, 400, 409 and 422, and what is cosigned."""
    for each in VECTOR_REQUESTS:
        assert status_of(each["request"], each["last"]) == each["status"], each["name"]
    assert {each["status"] for each in VECTOR_REQUESTS} == {200, 400, 403, 404, 409, 422}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    create_record(tmp_path / "state", COSIGNER.key)
    return tmp_path / "state"


def service_of(path: Path) -> WitnessService:
    return WitnessService(WitnessRecord(path, COSIGNER.key), COSIGNER, [LOG], lambda: 1_767_323_045)


def asked(old: int, new: int) -> AddCheckpoint:
    return parse_request(encode_request(old, whole_tree().consistency(old, new), note_of(new)))


def sizes_in(path: Path) -> list[int]:
    return [each.checkpoint.size for each in read_record(path)[1]]


def _after_the_answer(self: WitnessRecord, witnessed: Any) -> None:
    """Mutant: the state is written a moment later, when the cosignature is on its way."""
    self._notes[witnessed.checkpoint.origin] = witnessed


@catches(
    replaced(WitnessRecord, "put", _after_the_answer, "state_is_kept_after_the_answer"),
    replaced(witness, "judge", _last_is_old, "the_old_size_is_not_compared"),
)
def test_what_was_cosigned_is_on_the_disk(path: Path) -> None:
    """Before the answer; the next process goes on there, and refuses what a witness must not cosign."""
    line = service_of(path).add_checkpoint(asked(0, 3))
    assert isinstance(line, str)
    assert sizes_in(path) == [3]
    checkpoint = parse_checkpoint(parse_note(note_of(3).encode()).text)
    assert cosignature_of(checkpoint, line.encode(), COSIGNER.key)
    again = service_of(path)
    for old, new, status in ((0, 3, 409), (0, 255, 409), (0, 2, 409), (2, 255, 409)):
        found = again.add_checkpoint(asked(old, new))
        assert isinstance(found, Refusal)
        assert (found.status, found.size) == (status, 3)
    assert isinstance(again.add_checkpoint(asked(3, 255)), str)
    assert sizes_in(path) == [255]


def test_nothing_is_cosigned_that_cannot_be_kept(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk is no reason to forget: the answer is an error, and the state as it was."""

    def full(*_arguments: object) -> None:
        raise OSError(28, "No space left on device")

    service = service_of(path)
    service.add_checkpoint(asked(0, 3))
    with monkeypatch.context() as patch:
        patch.setattr(witness.os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            service.add_checkpoint(asked(3, 255))
    assert sizes_in(path) == [3]
    assert isinstance(service.add_checkpoint(asked(3, 256)), str)


def test_two_requests_at_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second one is judged by what the first one left, although it came while the first was being kept."""
    service, kept = service_of(path), WitnessRecord.put
    began, goes_on = threading.Event(), threading.Event()

    def slowly(self: WitnessRecord, witnessed: Any) -> None:
        began.set()
        goes_on.wait(10)
        kept(self, witnessed)

    monkeypatch.setattr(WitnessRecord, "put", slowly)
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(service.add_checkpoint, asked(0, 255))
        assert began.wait(10)
        second = threads.submit(service.add_checkpoint, asked(0, 3))
        goes_on.set()
        assert isinstance(first.result(), str)
        found = second.result()
    assert isinstance(found, Refusal)
    assert (found.status, found.size) == (409, 255)
    assert sizes_in(path) == [255]


def test_the_last_note_is_shown(path: Path) -> None:
    """With the signature of the log and the cosignature, and no others."""
    service = service_of(path)
    name = witness_protocol.origin_hash(ORIGIN)
    assert service.checkpoint(name) is None
    stranger = Cosigner("stranger.example", bytes(31) + b"\1")
    request = asked(0, 3)
    line = stranger.cosign(request.checkpoint, 1)
    more = str(parse_note(request.note)._replace(signatures=(*parse_note(request.note).signatures, line)))
    service.add_checkpoint(request._replace(note=more.encode()))
    note = service.checkpoint(name)
    assert note is not None
    assert verify_checkpoint(note.encode(), [LOG], [COSIGNER.key]).witnesses == (COSIGNER.key,)
    assert len(parse_note(note.encode()).signatures) == 2
    assert service.checkpoint("0" * 64) is None


def test_a_line_is_kept_once(path: Path) -> None:
    """However often it is sent: a note has at most 100 signatures, and the witness has to read its own notes. A line
    that bears the name of another log was not checked, and is not kept."""
    other = NoteSigner("log.example/other/1", bytes(32))
    request = asked(0, 3)
    [line] = parse_note(request.note).signatures
    others = NoteSignature(other.key.name, other.key.id, bytes(64))
    for signatures in ((line,) * 100, (others, *(line,) * 98, others)):
        record = WitnessRecord(path, COSIGNER.key)
        service = WitnessService(record, COSIGNER, [LOG, other.key], lambda: 1)
        note = str(Note(request.checkpoint.text, signatures)).encode()
        assert isinstance(service.add_checkpoint(request._replace(note=note)), str)
        assert sizes_in(path) == [3]
        kept = service.checkpoint(witness_protocol.origin_hash(ORIGIN))
        assert kept is not None
        assert len(parse_note(kept.encode()).signatures) == 2
        record.close()
        path.unlink()
        create_record(path, COSIGNER.key)


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data.replace(b"\\n3\\n", b"\\n2\\n"),
        lambda data: data[:-9],
        lambda _: b"",
        lambda _: b"{}",
    ],
)
def test_a_damaged_state_is_refused(path: Path, damage: Callable[[bytes], bytes]) -> None:
    """One that another wrote, too: the witness has cosigned each note in it."""
    record = WitnessRecord(path, COSIGNER.key)
    WitnessService(record, COSIGNER, [LOG]).add_checkpoint(asked(0, 3))
    record.close()
    data = path.read_bytes()
    assert damage(data) != data
    path.write_bytes(damage(data))
    with pytest.raises(Unsound):
        WitnessRecord(path, COSIGNER.key)


def test_a_state_has_one_witness(path: Path) -> None:
    """No other key, and no second process at the same time."""
    with pytest.raises(WhenceError, match="another key"):
        WitnessRecord(path, Cosigner("witness.example/w2", bytes(32)).key)
    record = WitnessRecord(path, COSIGNER.key)
    with pytest.raises(WhenceError, match="Another process"):
        WitnessRecord(path, COSIGNER.key)
    record.close()
    WitnessRecord(path, COSIGNER.key).close()


def test_a_private_key_is_kept_as_text() -> None:
    """And read again, of both types; a public one, and one of another type, is refused."""
    by_mldsa = Cosigner("witness.example/w2", bytes(32), KeyType.COSIGNATURE_MLDSA44)
    for each in (COSIGNER, by_mldsa):
        assert Cosigner.parse(each.private_text).key == each.key
    for text in (str(COSIGNER.key), KEY, "", COSIGNER.private_text[:-4], COSIGNER.private_text.replace("w1", "w2")):
        with pytest.raises(BadNote):
            Cosigner.parse(text)
