"""An erasure that is killed anywhere, and a hold that is placed before it is done again: a restore erases what was
erased, and nothing that is held."""

import asyncio
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.contract.made import TENANT, new, stored
from tests.storage.removal_histories import Fuse, in_process
from tests.storage.removal_work import hold
from tests.storage.test_erasure_ledger import MALLORY, files_with, restored, url_of
from tests.unit.mutants import catches, replaced
from whence.errors import WhenceError
from whence.events import Viewer
from whence.storage import backend_for, create_store
from whence.storage.removals import Erased
from whence.storage.sqlite import backup, engine, interrupted_removals, removals
from whence.storage.sqlite.erasure_ledger import ErasureLedger
from whence.storage.sqlite.highwater import HighWater

STEPS_MAX = 20
PAYLOAD, NAME = "payload", "name"


async def prepare(folder: Path) -> None:
    """A store with two events of mallory, and its backup."""
    store: Any = create_store(url_of(folder))
    await stored(store, *(new(number, actor_id="mallory", payload=b'{"a":"zanzibar"}') for number in (1, 2)))
    await store.close()
    backend_for(url_of(folder)).backup(url_of(folder), str(folder / "backup.db"), force=False, progress=None)


async def erase(store: Any, what: str) -> int:
    if what == PAYLOAD:
        return int(await store.removals.erase_payloads(TENANT, [1, 2], 5, ()))
    return int(await store.removals.erase_actor(TENANT, ("user", "mallory"), "erased-1", 5, ()))


async def erase_until(folder: Path, what: str, fuse: Fuse) -> None:
    """Erase in a process that ends when the fuse has burnt down."""
    store: Any = create_store(url_of(folder))
    fuse.lay((ErasureLedger, "_add"), (HighWater, "record"))
    await erase(store, what)
    await store.close()


async def remains(store: Any, what: str) -> bool:
    """Whether the payloads, or the name, are there. All of them are, or none."""
    if what == PAYLOAD:
        found = {payload is not None for payload in await store.read_payloads(Viewer(TENANT), [1, 2])}
    else:
        found = {hashed.event.actor_id == "mallory" for hashed in await store.read_log(TENANT, 0, 2)}
    assert len(found) == 1
    return found.pop()


async def open_and_hold(folder: Path, what: str) -> bool:
    """Open a store as a server does, and place a hold. Whether what is erased was still there."""
    store = create_store(url_of(folder))
    found = await remains(store, what)
    await hold(store, MALLORY)
    await store.removals.settle(TENANT)
    await store.close()
    return found


async def survives(folder: Path, what: str) -> bool:
    """Whether it is there after the backup was restored."""
    store, _ = await restored(folder)
    found = await remains(store, what)
    await store.close()
    return found


def nothing_decided(*_: Any) -> None:
    """Mutant: whatever a process has left is not looked at."""


def all_happened(_connection: Any, _intent: Any) -> bool:
    """Mutant: what was intended happened."""
    return True


def nothing_happened(_connection: Any, _intent: Any) -> bool:
    """Mutant: what was intended did not happen."""
    return False


@catches(
    replaced(engine, "decide_removals", nothing_decided, "the_next_process_does_not_look"),
    replaced(backup, "decide_removals", nothing_decided, "the_restore_does_not_look"),
    replaced(interrupted_removals, "_happened", all_happened, "all_happened"),
    replaced(interrupted_removals, "_happened", nothing_happened, "nothing_happened"),
)
@pytest.mark.parametrize("what", [PAYLOAD, NAME])
def test_a_restore_repeats_an_erasure_that_happened_and_no_other(what: str, tmp_path: Path) -> None:
    """At each step: after a server has opened the store and taken a hold, with the store in its place, and with
    neither. Nobody can have placed a hold then, so what was noted is erased."""
    first = tmp_path / "first"
    first.mkdir()
    asyncio.run(prepare(first))
    undecided, is_over = set(), False
    for step in range(STEPS_MAX):
        killed = tmp_path / str(step)
        shutil.copytree(first, killed)
        is_over = in_process(partial(erase_until, killed, what, Fuse(step)))
        served, beside, lost = (shutil.copytree(killed, tmp_path / f"{step} {name}") for name in ("s", "b", "l"))
        kept = asyncio.run(open_and_hold(served, what))
        if ErasureLedger(str(killed / "log.db")).undecided():
            undecided.add(kept)
        (served / "log.db").unlink()
        assert asyncio.run(survives(served, what)) is kept, (step, "served")
        assert asyncio.run(survives(beside, what)) is kept, (step, "beside")
        noted = bool(ErasureLedger(str(lost / "log.db")).read())
        (lost / "log.db").unlink()
        assert asyncio.run(survives(lost, what)) is not noted, (step, "lost")
        if is_over:
            break
    assert is_over
    assert undecided == {True, False}
    assert files_with(killed, b"zanzibar" if what == PAYLOAD else b"mallory") == {"backup.db"}


async def fail_to_erase(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """An erasure that fails after its intent was noted."""
    with monkeypatch.context() as patch:
        patch.setattr(removals, "_SQL", {**removals._SQL, "save_erasure": "SELECT * FROM no_such_table"})
        with pytest.raises(WhenceError):
            await erase(store, PAYLOAD)


@catches(replaced(removals, "decide", nothing_decided, "a_hold_does_not_look"))
@pytest.mark.anyio
async def test_an_erasure_that_failed_is_decided_before_a_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the process in which it failed. Later the store is lost, with the hold."""
    await prepare(tmp_path)
    store = create_store(url_of(tmp_path))
    await fail_to_erase(store, monkeypatch)
    assert ErasureLedger(str(tmp_path / "log.db")).read()
    await store.removals.settle(TENANT)
    assert ErasureLedger(str(tmp_path / "log.db")).read() == []
    assert await remains(store, PAYLOAD)
    assert await erase(store, PAYLOAD) == 2
    assert ErasureLedger(str(tmp_path / "log.db")).undecided() == []
    assert len(ErasureLedger(str(tmp_path / "log.db")).read()) == 1
    await store.close()


def undamaged_alone(_connection: Any, ledger: ErasureLedger) -> None:
    """Mutant: a hold needs a ledger that can be read."""
    ledger.undecided()


@catches(replaced(removals, "decide", undamaged_alone, "a_damaged_ledger_refuses_holds"))
@pytest.mark.anyio
async def test_a_hold_needs_no_ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a restore refuses what is damaged."""
    await prepare(tmp_path)
    store = create_store(url_of(tmp_path))
    await fail_to_erase(store, monkeypatch)
    path = tmp_path / "log.db.erased"
    path.write_bytes(damaged := b"x" + path.read_bytes())
    await store.removals.settle(TENANT)
    await store.close()
    await create_store(url_of(tmp_path)).close()
    assert path.read_bytes() == damaged


async def noted_alone(self: Any, noted: list[Erased]) -> None:
    """Mutant: whatever was erased is looked for once more."""
    self._ledger.end([(erased, True) for erased in noted])


@catches(replaced(removals.SQLiteRemovals, "_end", noted_alone, "every_hold_reads_the_ledger"))
@pytest.mark.anyio
async def test_a_hold_does_not_read_the_ledger_of_what_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be long, and nothing is stored meanwhile."""
    await prepare(tmp_path)
    store, read = create_store(url_of(tmp_path)), []
    assert await erase(store, PAYLOAD) == 2
    assert await erase(store, NAME) == 2
    monkeypatch.setattr(ErasureLedger, "_lines", lambda _ledger: read.append(1) or ())
    await store.removals.settle(TENANT)
    await store.close()
    assert read == []


def last_end_counts(self: ErasureLedger) -> list[Erased]:
    """Mutant: an erasure that did not happen once more is as if it never did."""
    ended = {line.intent: line.what.startswith("erased@") for line in self._lines()}
    return [line.entry for line in self._lines() if ended[line.intent] and "@" not in line.what]


@catches(replaced(ErasureLedger, "read", last_end_counts, "the_last_end_counts"))
def test_what_was_erased_once_stays_in_the_ledger(tmp_path: Path) -> None:
    """A restore does it again, with the same line, and may be stopped before it commits."""
    ledger, entry = ErasureLedger(str(tmp_path / "log.db")), Erased("acme", ((1, bytes(4)),))
    for happened in (True, False):
        ledger.add(entry.tenant, entry.events)
        assert ledger.undecided() == [entry]
        ledger.end([(entry, happened)])
        assert ledger.undecided() == []
        assert ledger.read() == [entry]
