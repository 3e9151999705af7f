"""`checkpoint …`, `proof` and `verify` with what they saved, against a server that seals."""

import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.api.conftest import Served, event
from tests.cli import mutants
from tests.cli.mutants import catches
from tests.cli.program import Cli
from whence.api.server import configure_logging
from whence.log_keys import LogKeys
from whence.sealing import StoreSecret
from whence.settings import Settings
from whence.storage import create_store

EVENTS = "/api/v1/events"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server that seals."""
    url = f"sqlite:///{tmp_path_factory.mktemp('sealed')}/whence.db"
    configure_logging("error")
    secret = StoreSecret("the secret of the store that is sealed", is_shared=True)
    running = Served(Settings(store=url, port=0, log_name="log.example", seal_ml_dsa=True), create_store(url), secret)
    running.start()
    yield running
    running.stop()


def store_and_seal(api: httpx2.Client, count: int) -> str:
    """Store events, wait for a checkpoint that has them, and return the id of the last one."""
    sent = api.post(f"{EVENTS}/batch", json=[event(payload={"n": number}) for number in range(count)])
    last: str = sent.json()["results"][-1]["id"]
    end = time.monotonic() + 20
    while api.get(f"{EVENTS}/{last}/proof").status_code == 404:
        assert time.monotonic() < end
        time.sleep(0.05)
    return last


@catches(mutants.MESSAGES_ON_STDOUT)
def test_a_saved_checkpoint_is_extended(user: Cli, api: httpx2.Client, tmp_path: Path) -> None:
    """Save, grow, save again: the log extends what was saved. Show and key print what the server has."""
    file = tmp_path / "acme.checkpoint"
    store_and_seal(api, 3)
    first = user.ok("checkpoint", "save", str(file)).err
    assert "3 events" in first and "extends" not in first
    assert user.ok("checkpoint", "show").out == file.read_text()
    assert user.ok("checkpoint", "key").out.startswith(file.read_text().partition("\n")[0] + "+")
    store_and_seal(api, 2)
    second = user.ok("checkpoint", "save", str(file)).err
    assert "5 events" in second and "The log extends the saved checkpoint, which had 3 events." in second
    changed = file.read_text().replace("\n5\n", "\n4\n")
    file.write_text(changed)
    refused = user.run("checkpoint", "save", str(file))
    assert refused.code == 5 and "not valid" in refused.err
    assert file.read_text() == changed


def test_a_proof_is_checked_offline(user: Cli, api: httpx2.Client, tmp_path: Path, served: Served) -> None:
    """The proof of an event holds with the log's key alone: without another key, or another event's envelope."""
    file = tmp_path / "event.proof"
    store_and_seal(api, 4)
    assert "Saved" in user.ok("proof", "@2", "-o", str(file)).err
    key = user.ok("checkpoint", "key").out.strip()
    offline = user.given(url="http://127.0.0.1:1", api_key="none")
    assert "position 2" in offline.ok("verify", "--proof", str(file), "--key", key).out
    body = offline.ok("verify", "--proof", str(file), "--key", key, "--json").json
    assert (body["position"], body["size"], body["payload"]) == (2, 4, {"n": 1})
    whole = file.read_text()
    file.write_text(whole.replace("index 1\n", "index 2\n"))
    wrong = offline.run("verify", "--proof", str(file), "--key", key)
    assert wrong.code == 5 and "not in the log at this place" in wrong.err
    file.write_text(whole)
    forged = offline.run("verify", "--proof", str(file), "--key", _other_key(key))
    assert forged.code == 5
    second = user.ok("checkpoint", "key", "--ml-dsa").out.strip()
    assert second != key and "position 2" in offline.ok("verify", "--proof", str(file), "--key", second).out
    for arguments in (("--proof", str(file)), ("--key", key), ("--proof", str(file), "--key", "nonsense")):
        assert offline.run("verify", *arguments).code == 2


def test_a_store_is_compared_with_a_checkpoint(
    user: Cli, api: httpx2.Client, tmp_path: Path, served: Served, tenant: str
) -> None:
    """Sound while the log extends it. Rewritten history is found, although the store agrees with itself."""
    file = tmp_path / "acme.checkpoint"
    store_and_seal(api, 3)
    user.ok("checkpoint", "save", str(file))
    key = user.ok("checkpoint", "key").out.strip()
    store_and_seal(api, 1)
    path = tmp_path / "copy.db"
    user.ok("backup", str(path), "--store", served.settings.store)
    kept = ("--store", f"sqlite:///{path}", "--checkpoint", str(file))
    origin = f"log.example/{tenant}/1"
    compared = f"Compared with the checkpoint of {origin}: the log begins with its 3 events."
    for signed in ((), ("--key", key)):
        sound, said = user.ok("verify", *kept, *signed).lines
        assert "no errors found" in sound and said == compared
    assert compared not in user.ok("verify", *kept[:2]).out
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE origin SET name = 'log.example/x/1' WHERE name = ?", (origin,))
    connection.close()
    other = user.run("verify", *kept)
    assert other.code == 5 and "no log of this store" in other.out
    # Another tenant's log under this origin is a history that agrees with itself.
    with sqlite3.connect(path) as connection:
        connection.execute("INSERT INTO tenant (tenant) VALUES ('other')")
        connection.execute(
            "UPDATE origin SET name = ?, tenant_no = (SELECT tenant_no FROM tenant WHERE tenant = 'other')"
            " WHERE name = 'log.example/x/1'",
            (origin,),
        )
    connection.close()
    shorter = user.run("verify", *kept)
    assert shorter.code == 5 and "had 3 when the checkpoint was signed" in shorter.out


def _other_key(key: str) -> str:
    """The key of another log under the same name."""
    return str(LogKeys(StoreSecret.random()).key(key.partition("+")[0]))


def test_another_key_leaves_a_saved_checkpoint_comparable(user: Cli, api: httpx2.Client, tmp_path: Path) -> None:
    """`new-epoch` prints the new key. The log is still compared with what was saved under the former one."""
    file = tmp_path / "acme.checkpoint"
    store_and_seal(api, 3)
    user.ok("checkpoint", "save", str(file))
    former = user.ok("checkpoint", "key").out
    key = user.ok("checkpoint", "new-epoch", "rotated").out
    assert key != former and key == user.ok("checkpoint", "key").out
    store_and_seal(api, 1)
    assert "another key" in user.ok("checkpoint", "save", str(file)).err
    assert file.read_text().startswith(key.partition("+")[0])
    assert user.run("checkpoint", "new-epoch", "bored").code == 2


def test_a_copied_log_is_compared_with_what_was_saved_before(
    user: Cli, api: httpx2.Client, tmp_path: Path, served: Served
) -> None:
    """`whence copy` gives it another origin. What is said is what to do, and the log has to extend the saved one."""
    file, copied = tmp_path / "acme.checkpoint", f"sqlite:///{tmp_path}/copy.db"
    store_and_seal(api, 3)
    user.ok("checkpoint", "save", file)
    saved, former = file.read_text(), user.ok("checkpoint", "key").out.strip()
    user.given(url=None, api_key=None).ok("copy", "--from", served.settings.store, "--to", copied)
    secret = StoreSecret("another secret, that of the store of the copy", is_shared=True)
    other = Served(Settings(store=copied, port=0, log_name="moved.example"), create_store(copied), secret)
    other.start()
    try:
        moved = user.given(url=other.url)
        end = time.monotonic() + 20
        while not moved.ok("checkpoint", "key").out:
            assert time.monotonic() < end
        assert "WHENCE_SEAL_ML_DSA" in moved.ok("checkpoint", "key", "--ml-dsa").err
        assert "--former-key" in moved.fails(5, "checkpoint", "save", file)
        assert "never had" in moved.fails(5, "checkpoint", "save", file, "--former-key", _other_key(former))
        assert file.read_text() == saved
        done = moved.ok("checkpoint", "save", file, "--former-key", former).err
        assert "It extends that one" in done and file.read_text() != saved
        assert "an API key" in moved.fails(
            2, "checkpoint", "save", file, "--former-key", user.environ["WHENCE_API_KEY"]
        )
    finally:
        other.stop()
