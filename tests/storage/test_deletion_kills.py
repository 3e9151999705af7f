"""A deletion of a tenant that is killed anywhere: a restore deletes again what was deleted, and nothing else."""

import asyncio
import shutil
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.contract.made import TENANT, new, stored
from tests.storage.removal_histories import Fuse, in_process
from tests.storage.test_erasure_ledger import let_go, restored, url_of
from tests.unit.mutants import catches, replaced
from whence.cli import main
from whence.errors import StoreRefused
from whence.permissions import new_api_key
from whence.storage import backend_for, create_store
from whence.storage.sqlite import backup, deletions, engine
from whence.storage.sqlite.erasure_ledger import ErasureLedger
from whence.storage.sqlite.highwater import HighWater

STEPS_MAX = 20
KEYS_ONLY = "keys-only"
"""A tenant without events."""


async def prepare(folder: Path) -> None:
    """A store with two tenants, and its backup."""
    store: Any = create_store(url_of(folder))
    await stored(store, new(1))
    _, key = new_api_key(KEYS_ONLY, ("admin",), time.time_ns() // 1_000)
    await store.credentials.put_key(key)
    await store.close()
    backend_for(url_of(folder)).backup(url_of(folder), str(folder / "backup.db"), force=False, progress=None)


async def delete(folder: Path, tenant: str, fuse: Fuse) -> None:
    """Delete one of them, in a process that ends when the fuse has burnt down."""
    store: Any = create_store(url_of(folder))
    fuse.lay((ErasureLedger, "_add"), (HighWater, "record"))
    await let_go(store, tenant)
    await store.close()


async def is_there(store: Any, tenant: str) -> bool:
    return bool((await store.head(tenant)).size or await store.credentials.list_keys(tenant))


async def open_again(folder: Path, tenant: str) -> bool:
    """Open a store as a server does. Whether it has the tenant."""
    store = create_store(url_of(folder))
    found = await is_there(store, tenant)
    await store.close()
    return found


async def survives(folder: Path, tenant: str) -> bool:
    """Whether a tenant is there after the backup was restored."""
    store, _ = await restored(folder)
    found = await is_there(store, tenant)
    await store.close()
    return found


def nothing_decided(_path: str, _connection: object) -> None:
    """Mutant: whatever a process has left is not looked at."""


def all_done(self: ErasureLedger) -> list[Any]:
    """Mutant: what was intended was done."""
    return [line.entry for line in self._lines()]


def as_if_done(ledger: ErasureLedger, ended: Any) -> None:
    """Mutant: each intent ends as a deletion."""
    for intent, _ in ended:
        ledger._add(f"{intent.tenant} deleted@{intent.deleted_at}".encode())


@catches(
    replaced(ErasureLedger, "read", all_done, "an_intent_is_a_deletion"),
    replaced(ErasureLedger, "end", as_if_done, "all_intents_end_as_deletions"),
    replaced(engine, "decide_removals", nothing_decided, "the_next_process_does_not_look"),
    replaced(backup, "decide_removals", nothing_decided, "the_restore_does_not_look"),
    replaced(deletions, "decide", nothing_decided, "a_deletion_has_no_end"),
)
@pytest.mark.parametrize("tenant", [TENANT, pytest.param(KEYS_ONLY, marks=pytest.mark.slow)])
def test_a_restore_repeats_a_deletion_that_happened_and_no_other(tenant: str, tmp_path: Path) -> None:
    """At each step: with the store in its place, after a server has opened it, and with neither, where the restore has
    to ask if the process was killed between its commit and the end of its work."""
    first = tmp_path / "first"
    first.mkdir()
    asyncio.run(prepare(first))
    asked, is_over = [], False
    for step in range(STEPS_MAX):
        killed = tmp_path / str(step)
        shutil.copytree(first, killed)
        is_over = in_process(partial(delete, killed, tenant, Fuse(step)))
        copies = [shutil.copytree(killed, tmp_path / f"{step} {name}") for name in ("served", "beside", "lost")]
        served, beside, lost = copies
        remains = asyncio.run(open_again(served, tenant))
        (served / "log.db").unlink()
        assert asyncio.run(survives(served, tenant)) is remains, (step, "served")
        assert asyncio.run(survives(beside, tenant)) is remains, (step, "beside")
        (lost / "log.db").unlink()
        try:
            assert asyncio.run(survives(lost, tenant)) is remains, (step, "lost")
        except StoreRefused as refusal:
            assert f"--deleted {tenant}" in str(refusal)
            assert not (lost / "log.db").exists()
            asked.append((step, remains))
        if is_over:
            break
    assert is_over
    # From the intent to the line that says how it ended, which is not on the disk before the first, nor after the last.
    assert {remains for _, remains in asked} == {True, False}
    assert [step for step, _ in asked] == list(range(asked[0][0], asked[-1][0] + 1))
    assert 2 < len(asked) < step


@pytest.mark.parametrize("option", ["--deleted", "--not-deleted"])
def test_an_operator_says_how_a_deletion_ended(option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Then the ledger knows it, too, and the next restore does not ask."""
    asyncio.run(prepare(tmp_path))
    ErasureLedger(str(tmp_path / "log.db")).intend_deletion(KEYS_ONLY, [], time.time_ns() // 1_000)
    (tmp_path / "log.db").unlink()
    command = ["restore", str(tmp_path / "backup.db"), "--store", url_of(tmp_path)]
    assert main(command) == 1
    assert f"{option} {KEYS_ONLY}" in capsys.readouterr().err
    assert main([*command, "--deleted", KEYS_ONLY, "--not-deleted", KEYS_ONLY]) == 2
    assert not (tmp_path / "log.db").exists()
    assert main([*command, option, KEYS_ONLY]) == 0
    assert asyncio.run(open_again(tmp_path, KEYS_ONLY)) is (option == "--not-deleted")
    assert asyncio.run(survives(tmp_path, KEYS_ONLY)) is (option == "--not-deleted")


def test_a_store_that_lacks_commits_decides_nothing(tmp_path: Path) -> None:
    """It was replaced by an earlier copy, in which nobody has deleted anything yet."""
    asyncio.run(prepare(tmp_path))
    in_process(partial(delete, tmp_path, TENANT, Fuse(10**9)))
    ledger = tmp_path / "log.db.erased"
    ledger.write_bytes(ledger.read_bytes().splitlines(keepends=True)[0])
    shutil.copy(tmp_path / "backup.db", tmp_path / "log.db")
    with pytest.raises(StoreRefused, match="--not-deleted"):
        backup.restore(str(tmp_path / "backup.db"), str(tmp_path / "log.db"), force=True)
