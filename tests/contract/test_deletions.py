"""Deletions of tenants: nothing is left of one, and whatever takes its name begins anew."""

import re
import time
from typing import Any

import msgspec
import pytest

from tests.contract import deletions_mutants as mutants
from tests.contract.faults import catches, limited, select
from tests.contract.made import NOON, TENANT, new, numbers, page, stored
from tests.data.stores.make_fixture import DIVIDE_AT, FOLD_AT, fill
from whence.deleting import remove_former_logs
from whence.events import Query
from whence.merkle import EMPTY_ROOT
from whence.permissions import new_api_key
from whence.retention import Hold
from whence.sealer import Sealing
from whence.sealing import StoreSecret
from whence.storage.credentials import Session
from whence.storage.deletions import DeletionRefused, LogGrew, TenantDeletion, former_name
from whence.storage.followers import Definition
from whence.storage.removals import HOLD, POLICY, REMOVAL
from whence.storage.seals import Signed
from whence.storage.sqlite.engine import SQLiteReads
from whence.storage.sqlite.signed_record import SignedRecord

OTHER = "globex.eu-1"
SECRET = StoreSecret("the secret of the store that is sealed here", is_shared=True)

COLUMNS_POSTGRES = (
    "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'whence' "
    "AND column_name = 'tenant_no'"
)
COLUMNS_SQLITE = (
    "SELECT t.name, c.name FROM sqlite_schema t JOIN pragma_table_info(t.name) c WHERE t.type = 'table' "
    "AND c.name IN ('tenant_no', 'key', 'value') AND c.type = 'INTEGER'"
)


def deletion(size: int, **fields: Any) -> TenantDeletion:
    return TenantDeletion(size=size, deleted_at=time.time_ns() // 1_000, **fields)


async def deleted(real: Any, tenant: str = TENANT, **fields: Any) -> None:
    """Delete a tenant as it is, but for the rows of its log."""
    await real.deletions.delete_tenant(tenant, deletion((await real.head(tenant)).size, **fields))


async def rows_left(real: Any, number: int) -> set[str]:
    """The tables that have rows of a tenant's number, of all that have a column for it."""
    tenant, left = former_name(number), set()
    on_sqlite = isinstance(real, SQLiteReads)
    for table, column in await select(real, tenant, COLUMNS_SQLITE if on_sqlite else COLUMNS_POSTGRES):
        condition = f"{column} = {number}" if column == "tenant_no" else f"{column} >> 40 = {number}"
        shard = re.search(r"_\d{6,}$", table)  # on Citus: of a reference table, which is asked itself
        if not shard and await select(real, tenant, f"SELECT 1 FROM {table} WHERE {condition} LIMIT 1"):
            left.add(table)
    return left - {"event_log"}


@catches(
    mutants.keys_survive,
    mutants.sessions_survive,
    mutants.definitions_survive,
    mutants.tiles_survive,
    mutants.attempts_survive,
    mutants.events_of_the_next_tenant_too,
    mutants.former_logs_are_listed,
)
@limited(divide_at=DIVIDE_AT, fold_at=FOLD_AT)
async def test_nothing_of_a_deleted_tenant_is_left(real: Any) -> None:
    """No row of any table but its number. The key of nobody else ends, and no event of another tenant is missing."""
    known = await fill(real)
    numbers_of = dict(await select(real, TENANT, "SELECT tenant, tenant_no FROM tenant"))
    before = await page(real, OTHER)
    await real.followers.put_definition(Definition(OTHER, "webhook", "other", 1, b"{}"))
    await deleted(real)
    await remove_former_logs(real)
    assert await rows_left(real, numbers_of[TENANT]) <= {"tenant", "head"}
    assert await real.deletions.former_logs() == []
    assert await real.credentials.list_keys(TENANT) == []
    found = await select(real, OTHER, "SELECT tenant FROM api_key UNION ALL SELECT tenant FROM definition")
    assert (TENANT,) not in found
    assert (OTHER,) in found
    lasting = known["sessions"]["lasting"]["keyId"]
    assert await select(real, OTHER, f"SELECT 1 FROM session WHERE key_id = '{lasting}'") == []
    assert TENANT not in await real.tenants()
    assert not [name for name in await real.tenants() if name.startswith("/")]
    assert (await page(real, OTHER, limit=99)).events == before.events  # another limit, so that it is read again


@catches(mutants.the_name_stays, mutants.numbers_are_given_again)
async def test_a_new_tenant_of_the_name_begins_anew(real: Any) -> None:
    """At the first position, under another number, also while the rows of the former log are there. The same ids are
    new, and no page of the former log is answered."""
    await stored(real, new(1), new(2), new(3))
    await stored(real, new(1), tenant=OTHER)
    assert await numbers(real) == [3, 2, 1]
    await deleted(real)
    assert await numbers(real) == []
    assert (await real.head(TENANT)).size == 0
    [event] = await stored(real, new(2, actor_id="grace"))
    assert event.position == 1
    assert [each.actor_id for each in (await page(real)).events] == ["grace"]
    await remove_former_logs(real)
    assert await numbers(real) == [2]
    assert await numbers(real, OTHER) == [1]
    await deleted(real)
    await stored(real, new(7))
    await remove_former_logs(real)
    given = [number for _, number in await select(real, TENANT, "SELECT tenant, tenant_no FROM tenant")]
    assert len(given) == len(set(given)) == 4
    assert await numbers(real) == [7]


@catches(mutants.keys_alone_are_nothing, mutants.sessions_alone_are_nothing, mutants.definitions_alone_are_nothing)
async def test_a_tenant_without_events_leaves_a_former_log_too(real: Any) -> None:
    """By which the tokens of operators end that were made for it. One that never was leaves none."""
    now = time.time_ns() // 1_000
    _, key = new_api_key("keyed", ("admin",), now)
    await real.credentials.put_key(key)
    await real.credentials.put_session(Session(b"s" * 32, "oidc:ada", now + 60_000_000, "visited", ("admin",)))
    await real.followers.put_definition(Definition("defined", POLICY, "policy", 1, b"{}"))
    for tenant in ("keyed", "visited", "defined", "never was"):
        assert await real.deletions.has_anything(tenant) is (tenant != "never was")
        await deleted(real, tenant)
        assert not await real.deletions.has_anything(tenant)
        former = [(log.size, log.root, log.removed) for log in await real.deletions.former_logs(tenant)]
        assert former == [(0, EMPTY_ROOT, 0)][: tenant != "never was"], tenant
    assert await real.tenants() == []
    await remove_former_logs(real)
    assert await real.deletions.former_logs() == []
    [event] = await stored(real, new(1), tenant="keyed")
    assert event.position == 1
    given = [number for _, number in await select(real, "keyed", "SELECT tenant, tenant_no FROM tenant")]
    assert len(given) == len(set(given)) == 4


@catches(mutants.former_epochs_are_forgotten)
async def test_an_origin_is_never_used_again(real: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even if the record beside the log is lost: the store remembers the highest epoch."""

    async def nothing(_self: Any, _origin: str) -> Signed | None:
        return None

    for seals in (SignedRecord, type(real.seals)):
        if hasattr(seals, "get_signed"):
            monkeypatch.setattr(seals, "get_signed", nothing)
    sealing = Sealing(real, SECRET, "log.example")
    names = []
    for number in (1, 2, 3):
        await stored(real, new(number))
        assert await sealing.seal(TENANT)
        names.append((await real.seals.list_origins(TENANT))[-1].name)
        await deleted(real)
        if number == 2:
            await remove_former_logs(real)
    assert names == ["log.example/acme/1", "log.example/acme/2", "log.example/acme/3"]
    assert [log.epoch for log in await real.deletions.former_logs(TENANT)] == [1, 2, 3]


@catches(mutants.hashes_of_a_former_log)
async def test_hashes_of_a_former_log_are_not_stored(real: Any) -> None:
    """A tenant that is deleted while its log is sealed leaves no tile, and none in the log of the next of its name,
    which could never be signed."""
    sealing, seals = Sealing(real, SECRET, "log.example"), type(real.seals)
    for method, before, follows in (
        ("put_tiles", 0, 0),
        ("put_tiles", 0, 600),
        ("put_checkpoints", 300, 0),
        ("put_checkpoints", 300, 600),
    ):
        await stored(real, *map(new, range(before)))
        assert await sealing.seal(TENANT)
        await stored(real, *map(new, range(before, before + 300)))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(seals, method, _after_a_deletion(real, getattr(seals, method), follows))
            await sealing.seal_all()
        await remove_former_logs(real)
        assert await select(real, TENANT, "SELECT tenant_no FROM tile") == []
        assert await sealing.seal(TENANT)
        assert [each.size for each in await real.seals.list_checkpoints(TENANT, None, 9)] == [follows][: follows > 0]
        await deleted(real)
        await remove_former_logs(real)


def _after_a_deletion(real: Any, put: Any, follows: int) -> Any:
    """A method of the seals whose first call comes after the tenant was deleted, and after another one of the name
    stored so many events."""
    meanwhile = [True]

    async def deleted_first(self: Any, *arguments: Any) -> Any:
        if meanwhile:
            meanwhile.clear()
            await deleted(real)
            await stored(real, *(new(number, actor_id="grace") for number in range(follows)))
        return await put(self, *arguments)

    return deleted_first


@catches(mutants.nothing_is_refused)
async def test_what_must_not_be_deleted_yet_stays(real: Any) -> None:
    """A log that has grown, one of which a hold keeps something, and one with a removal that is not done."""
    await stored(real, new(1))
    with pytest.raises(LogGrew):
        await real.deletions.delete_tenant(TENANT, deletion(0, despite_holds=True))
    hold = Hold(query=Query(), q="", reason="a case", by=("api_key", "key"), created_at=NOON)
    await real.followers.put_definition(Definition(TENANT, HOLD, "hold", 1, msgspec.json.encode(hold)))
    with pytest.raises(DeletionRefused, match="hold"):
        await deleted(real)
    await real.followers.put_definition(Definition(TENANT, REMOVAL, "removal", 1, b"{}"))
    with pytest.raises(DeletionRefused, match="not done"):
        await deleted(real, despite_holds=True)
    assert await numbers(real) == [1]
    await real.followers.delete_definition(TENANT, REMOVAL, "removal")
    await deleted(real, despite_holds=True)
    assert await numbers(real) == []


@catches(mutants.later_keys_go_too)
async def test_a_key_that_was_made_later_stays(real: Any) -> None:
    """As when a deletion is done again after a restore. A tenant with keys alone is deleted too."""
    now = time.time_ns() // 1_000
    for tenant, at in ((TENANT, now), (TENANT, now + 60_000_000), ("keyed", now)):
        _, key = new_api_key(tenant, ("admin",), at)
        await real.credentials.put_key(key)
    await deleted(real, noted=True)
    await deleted(real, "keyed", noted=True)
    await deleted(real, "never was", noted=True)
    assert [key.created_at for key in await real.credentials.list_keys(TENANT)] == [now + 60_000_000]
    assert await real.tenants() == [TENANT]


@catches(mutants.keys_of_the_last_moment_survive)
async def test_a_key_that_was_made_meanwhile_goes_too(real: Any) -> None:
    """A deletion waits for a checkpoint, and a key of the tenant can make others all that time."""
    await stored(real, new(1))
    _, key = new_api_key(TENANT, ("admin",), time.time_ns() // 1_000)
    asked = TenantDeletion(size=1, deleted_at=key.created_at - 1)
    await real.credentials.put_key(key)
    await real.deletions.delete_tenant(TENANT, asked)
    assert await real.credentials.list_keys(TENANT) == []
    [former] = await real.deletions.former_logs(TENANT)
    assert former.deleted_at == key.created_at
