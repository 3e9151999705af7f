"""`checkpoint watch`: a log that contradicts itself is found, on one server and between several."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.api.conftest import Served, event
from tests.cli import mutants
from tests.cli.mutants import Mutant, catches
from tests.cli.program import Cli
from tests.cli.test_checkpoints import EVENTS, store_and_seal
from tests.proofs.vector_log import SIGNER, b64, checkpoint_text, note_of, signed, whole_tree
from whence.api.server import configure_logging
from whence.checkpoints import verify_checkpoint
from whence.cli.checked_log import CheckedLog, Contradiction, Watch
from whence.errors import Unsound
from whence.merkle_proofs import is_consistent
from whence.notes import decode_base64, parse_verifier_key
from whence.permissions import READ, WRITE
from whence.sealing import StoreSecret
from whence.settings import Settings
from whence.storage import create_store

BLIND = Mutant(
    "watches_without_comparing",
    "from whence.cli.checked_log import Watch\nWatch._compare = lambda self, seen, new: None",
)


@contextmanager
def sealing(store: Path) -> Iterator[Served]:
    """A server that seals, with the secret of each of them."""
    url = f"sqlite:///{store}"
    configure_logging("error")
    secret = StoreSecret("the secret of the stores that are sealed", is_shared=True)
    running = Served(Settings(store=url, port=0, log_name="log.example"), create_store(url), secret)
    running.start()
    try:
        yield running
    finally:
        running.stop()


@catches(BLIND, mutants.MESSAGES_ON_STDOUT)
def test_two_servers_that_show_two_histories_are_found(cli: Cli, tmp_path: Path) -> None:
    """Each is consistent alone, and both sign with the key of the log. The evidence is checked without them."""
    evidence = tmp_path / "evidence.json"
    with sealing(tmp_path / "log.db") as first:
        user = cli.given(api_key=first.key(READ, WRITE))
        with first.client(READ, WRITE) as api:
            store_and_seal(api, 3)
            user.ok("backup", str(tmp_path / "copy.db"), "--store", first.settings.store)
            with sealing(tmp_path / "copy.db") as second, second.client(READ, WRITE) as other:
                key = user.given(url=first.url).ok("checkpoint", "key").out.strip()
                watching = ("checkpoint", "watch", "--url", first.url, first.url, second.url, "--every", "0.1")
                watching += ("--evidence", str(evidence), "--key", key)
                same = user.ok(*watching, "--times", "2")
                assert [line.split()[1:3] for line in same.lines] == [["log.example/acme/1", "3"]] * 2
                store_and_seal(api, 1)
                other.post(f"{EVENTS}/batch", json=[event(payload={"n": "another"}) for _ in range(2)])
                store_and_seal(other, 1)
                found = user.run(*watching, "--times", "2")
    assert found.code == 5 and len(found.lines) == 1 and "does not extend" in found.err
    kept = json.loads(evidence.read_text())
    assert [kept["older"]["server"], kept["newer"]["server"]] == [first.url, second.url]
    notes = [kept[name]["note"].encode() for name in ("older", "newer")]
    older, newer = (verify_checkpoint(note, [parse_verifier_key(key)]).checkpoint for note in notes)
    hashes = [decode_base64(each) for each in kept["consistency"]["hashes"]]
    assert [older.size, newer.size] == [kept["consistency"]["from"], kept["consistency"]["to"]] == [4, 6]
    assert hashes and not is_consistent(4, 6, hashes, older.root, newer.root)
    assert user.run(*watching).code == 2  # evidence is never replaced


class Scripted(CheckedLog):
    """A server that answers with these notes, and proves what is true of the log of the vectors."""

    def __init__(self, name: str, *notes: str) -> None:
        self.name = name
        self._notes = list(notes)

    def note(self) -> str:
        return self._notes.pop(0)

    def consistency(self, older: int, newer: int) -> list[bytes]:
        return whole_tree().consistency(older, newer)


def test_growth_and_a_server_that_lags_are_no_contradiction() -> None:
    """Only what is new is returned."""
    watch = Watch([SIGNER.key])
    one = Scripted("one", note_of(3), note_of(255), note_of(255), note_of(257))
    other = Scripted("other", note_of(2), note_of(256))
    sizes = [watch.poll(log) for log in (one, other, one, one, one, other)]
    assert [None if each is None else each.size for each in sizes] == [3, 2, 255, None, 257, 256]


@pytest.mark.parametrize(
    ("notes", "sentence"),
    [
        ((note_of(3), note_of(2)), "shorter"),
        ((note_of(3), signed(checkpoint_text(3, bytes(32)))), "does not extend"),
        ((note_of(3), signed(checkpoint_text(255, bytes(32)))), "does not extend"),
    ],
    ids=["shorter", "another root", "another history"],
)
def test_what_contradicts_the_log_before_is_evidence(notes: tuple[str, str], sentence: str) -> None:
    """Both notes are kept as they came."""
    watch = Watch([SIGNER.key])
    log = Scripted("one", *notes)
    watch.poll(log)
    with pytest.raises(Contradiction, match=sentence) as caught:
        watch.poll(log)
    evidence = caught.value.evidence
    assert {evidence.older.note, evidence.newer.note} == set(notes)


def test_what_is_not_signed_by_the_key_is_refused() -> None:
    """Also when the log began anew under another key."""
    watch = Watch([SIGNER.key])
    unsigned = note_of(3).replace(b64(SIGNER.key.id)[:4], "AAAA")
    for note in (unsigned, note_of(3).replace("\n3\n", "\n2\n")):
        with pytest.raises(Unsound, match="A checkpoint of the server is not valid"):
            watch.poll(Scripted("one", note))
