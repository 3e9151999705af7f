"""A restore that is killed anywhere leaves no store that can be served with what was erased before."""

import asyncio
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from tests.examples import soak
from tests.storage.removal_histories import Fuse, in_process
from tests.storage.removal_work import done_by
from tests.storage.test_erasure_ledger import MALLORY, WORD, files_with, made, url_of
from tests.unit.mutants import catches, replaced
from whence.erasing_again import finish_restore
from whence.errors import StoreRefused
from whence.storage import backend_for, create_store, verify_store
from whence.storage.sqlite import backup
from whence.storage.sqlite.engine import SQLiteStore
from whence.storage.sqlite.shared import SharedFile

pytestmark = pytest.mark.slow

STEPS_MAX = 100
STRIDE = 1 if soak() else 8
"""Of so many steps one is tried, another one in each run."""

RESTORING = ("_copy", "_carry_over", "_end_epochs", "_mark_unfinished", "_put_in_place", "_update_record")


def without_a_mark(_partial: str) -> None:
    """Mutant: the file that takes the store's place has no mark."""


def restored(folder: Path, fuse: Fuse | None) -> None:
    """Restore the backup, as `whence restore --force` does, in a process that may be killed."""
    if fuse is not None:
        fuse.lay(*((backup, name) for name in RESTORING))
    result = backend_for(url_of(folder)).restore(url_of(folder), str(folder / "backup.db"), force=True, progress=None)
    assert result.report.sound

    async def finish() -> None:
        store: Any = create_store(url_of(folder), restoring=True)
        if fuse is not None:
            fuse.lay((store, "append"), (store.followers, "delete_definition"))
            fuse.lay(*((store.removals, name) for name in ("erase_payloads", "erase_actor", "scrub")))
        await finish_restore(store, result.erased, time.time_ns() // 1_000)
        await store.close()

    asyncio.run(finish())


def is_refused(folder: Path) -> bool:
    """Whether neither a server nor a command opens the store. What verify finds has to say why."""
    for serving in (True, False):
        try:
            asyncio.run(create_store(url_of(folder), serving=serving).close())
        except StoreRefused:
            continue
        return False
    report = asyncio.run(verify_store(url_of(folder)))
    assert not report.sound, "It is refused, and verify does not say why."
    return True


@catches(replaced(backup, "_mark_unfinished", without_a_mark, "without_a_mark"))
def test_a_restore_that_was_killed_serves_nothing_that_was_erased(tmp_path: Path) -> None:
    """At each step that is tried: the store is the old one, or it is refused until the restore is done again."""
    first = tmp_path / "first"
    first.mkdir()

    async def prepare() -> None:
        store = await made(first)
        await done_by(store, query=MALLORY, pseudonym="erased-1")
        await store.close()

    asyncio.run(prepare())
    refusals = 0
    for step in range(time.time_ns() % STRIDE, STEPS_MAX, STRIDE):
        folder = tmp_path / str(step)
        shutil.copytree(first, folder)

        async def restore(folder: Path = folder, step: int = step) -> None:
            await asyncio.to_thread(restored, folder, Fuse(step))

        is_over = in_process(restore)
        if not is_over:
            if is_refused(folder):
                refusals += 1
            else:
                assert "log.db" not in files_with(folder, WORD) | files_with(folder, b"mallory"), step
            restored(folder, None)
        assert not is_refused(folder)
        assert asyncio.run(verify_store(url_of(folder))).findings == []
        assert files_with(folder, WORD) == files_with(folder, b"mallory") == {"backup.db"}
        shutil.rmtree(folder)
        if is_over:
            break
    assert is_over
    assert refusals >= 8 // STRIDE


def test_processes_that_share_a_file_refuse_it_too(tmp_path: Path) -> None:
    """Before any of them is started."""
    asyncio.run(_made_unfinished(tmp_path))
    shared = SharedFile(str(tmp_path / "log.db"), accept_rollback=False)
    with pytest.raises(StoreRefused, match="interrupted"):
        asyncio.run(shared.check_servable())
    shared.close()


async def _made_unfinished(folder: Path) -> None:
    await SQLiteStore(str(folder / "log.db")).close()
    backup._mark_unfinished(str(folder / "log.db"))
