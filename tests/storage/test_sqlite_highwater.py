"""A store that lost acknowledged commits is not served."""

import asyncio
import os
import shutil
from pathlib import Path

import pytest

from tests.storage.test_sqlite_writer import event
from whence.errors import StoreRefused, Unavailable
from whence.storage import Write
from whence.storage.sqlite.engine import SQLiteStore
from whence.storage.sqlite.highwater import HighWater


def append(path: Path, *numbers: int, accept_rollback: bool = False) -> None:
    """Open the store at `path`, store these events in one commit each, and close it."""

    async def run() -> None:
        store = SQLiteStore(str(path), accept_rollback=accept_rollback)
        for number in numbers:
            await store.append("t", [Write((event(number),))])
        await store.close()

    asyncio.run(run())


def put_back(copy: Path, path: Path) -> None:
    shutil.copy(copy, path)
    for ending in ("-wal", "-shm"):
        Path(f"{path}{ending}").unlink(missing_ok=True)


def test_a_store_put_back_from_a_copy_is_refused_until_the_loss_is_accepted(tmp_path: Path) -> None:
    """The copy is a sound database that lacks two acknowledged commits."""
    path, copy = tmp_path / "log.db", tmp_path / "copy.db"
    append(path, 0)
    shutil.copy(path, copy)
    append(path, 1, 2)
    put_back(copy, path)
    with pytest.raises(StoreRefused, match="behind what it has acknowledged"):
        append(path)
    append(path, 3, accept_rollback=True)
    append(path, 4)


def test_a_store_that_grew_again_to_the_same_number_is_refused(tmp_path: Path) -> None:
    """A different history with the same number of commits is recognised by its nonce."""
    path, copy = tmp_path / "log.db", tmp_path / "copy.db"
    append(path, 0)
    shutil.copy(path, copy)
    append(path, 1)
    record = Path(f"{path}.high").read_bytes()
    put_back(copy, path)
    append(path, 2, accept_rollback=True)
    Path(f"{path}.high").write_bytes(record)
    with pytest.raises(StoreRefused):
        append(path)


@pytest.mark.parametrize("commits", [1, 2, 3])
def test_a_torn_slot_counts_as_older(tmp_path: Path, commits: int) -> None:
    """After a torn write of either slot the store is served, since its own last commit is as new or newer."""
    path = tmp_path / "log.db"
    append(path, *range(commits))
    whole = Path(f"{path}.high").read_bytes()
    for slot in (0, 4_096):
        Path(f"{path}.high").write_bytes(whole[: slot + 20] + b"\xff\xff" + whole[slot + 22 :])
        append(path)


def test_a_new_store_makes_its_record_and_a_lost_record_is_made_anew(tmp_path: Path) -> None:
    """A store without a record is accepted, and a record is written for later comparisons."""
    path, copy = tmp_path / "log.db", tmp_path / "copy.db"
    append(path, 0)
    shutil.copy(path, copy)
    Path(f"{path}.high").unlink()
    append(path, 1)
    put_back(copy, path)
    with pytest.raises(StoreRefused):
        append(path)


def test_nothing_is_acknowledged_before_its_record_is_durable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the record cannot be written, the request fails and the writer continues."""

    async def run() -> None:
        store = SQLiteStore(str(tmp_path / "log.db"))

        def fail(fd: int) -> None:
            raise OSError(5, "I/O error")

        monkeypatch.setattr(os, "fdatasync", fail)
        [refused] = await store.append("t", [Write((event(0),))])
        assert isinstance(refused, Unavailable)
        monkeypatch.undo()
        [receipts] = await store.append("t", [Write((event(0),))])
        assert isinstance(receipts, list)
        assert receipts[0].replayed
        await store.close()

    asyncio.run(run())


def test_mutant_without_the_comparison_the_rollback_is_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the comparison the old copy is served, and the tests above fail."""
    path, copy = tmp_path / "log.db", tmp_path / "copy.db"
    append(path, 0)
    shutil.copy(path, copy)
    append(path, 1)
    put_back(copy, path)
    monkeypatch.setattr(HighWater, "check", lambda self, connection, *, accept_rollback=False: None)
    append(path)
