"""Stores that are each broken in one way when they delete a tenant."""

from tests.contract.faults import around, breaks, everywhere, returning, reword
from tests.contract.mutants import Patch
from whence.storage.postgres import deletions as postgres_deletions
from whence.storage.postgres.seals import PostgresSeals
from whence.storage.sqlite import deletions as sqlite_deletions
from whence.storage.sqlite.seals import SQLiteSeals
from whence.storage.sqlite.shared import SharedSeals

BOTH = ("sqlite", "postgres")


@breaks(*BOTH)
def keys_survive(patch: Patch) -> None:
    reword(patch, "delete_keys", sqlite=("created_at <=", "created_at < 0 *"))
    reword(patch, "delete_keys", postgres=("<= $2", "<= 0 * $2::bigint"))


@breaks(*BOTH)
def keys_of_the_last_moment_survive(patch: Patch) -> None:
    change = ("coalesce(max(created_at), 0)", "0 * coalesce(max(created_at), 0)")
    reword(patch, "newest_key", sqlite=change, postgres=change)


@breaks(*BOTH)
def later_keys_go_too(patch: Patch) -> None:
    change = ("created_at <=", "created_at IS NOT NULL OR created_at <=")
    reword(patch, "delete_keys", sqlite=change, postgres=change)


@breaks(*BOTH)
def sessions_survive(patch: Patch) -> None:
    change = (" WHERE tenant =", " WHERE hash IS NULL AND tenant =")
    reword(patch, "delete_sessions_of_tenant", sqlite=change, postgres=change)
    change = ("tenant IS NULL AND", "hash IS NULL AND")
    reword(patch, "delete_sessions_of_tenant", sqlite=change, postgres=change)


@breaks(*BOTH)
def definitions_survive(patch: Patch) -> None:
    change = ("WHERE tenant", "WHERE id = '' AND tenant")
    reword(patch, "delete_definitions", sqlite=change, postgres=change)


def _without(patch: Patch, table: str) -> None:
    for module in (sqlite_deletions, postgres_deletions):
        around(patch, module, "TENANT_TABLES", lambda tables: tuple(each for each in tables if each != table))


@breaks(*BOTH)
def tiles_survive(patch: Patch) -> None:
    _without(patch, "tile")


@breaks(*BOTH)
def attempts_survive(patch: Patch) -> None:
    _without(patch, "attempt")


@breaks("sqlite")
def events_of_the_next_tenant_too(patch: Patch) -> None:
    reword(patch, "remove_event", sqlite=("(?1 + 1) << 40", "(?1 + 9) << 40"))


@breaks(*BOTH)
def the_name_stays(patch: Patch) -> None:
    reword(
        patch, "rename_tenant", sqlite=("= ?2", "= coalesce(tenant, ?2)"), postgres=("= $2", "= coalesce(tenant, $2)")
    )
    reword(patch, "rename_head", postgres=("= $2", "= coalesce(tenant, $2)"))


@breaks("sqlite")
def numbers_are_given_again(patch: Patch) -> None:
    change = ("UPDATE former_log SET removed = 1 WHERE number", "DELETE FROM tenant WHERE tenant_no")
    reword(patch, "former_log_removed", sqlite=change)


@breaks(*BOTH)
def former_epochs_are_forgotten(patch: Patch) -> None:
    change = ("coalesce(max(epoch), 0)", "0 * coalesce(max(epoch), 0)")
    reword(patch, "last_epoch", sqlite=change, postgres=change)


@breaks(*BOTH)
def hashes_of_a_former_log(patch: Patch) -> None:
    for seals in (SQLiteSeals, SharedSeals, PostgresSeals):
        around(patch, seals, "put_tiles", lambda real: lambda self, tenant, rows, _first: real(self, tenant, rows))


@breaks(*BOTH)
def former_logs_are_listed(patch: Patch) -> None:
    change = ("tenant NOT LIKE '/%'", "tenant NOT LIKE '/'")
    reword(patch, "tenant_names", sqlite=change, postgres=change)


def _has_no(patch: Patch, table: str) -> None:
    change = (f"FROM {table} WHERE", f"FROM {table} WHERE 1 = 0 AND")
    reword(patch, "has_anything", sqlite=change, postgres=change)


@breaks(*BOTH)
def keys_alone_are_nothing(patch: Patch) -> None:
    _has_no(patch, "api_key")


@breaks(*BOTH)
def sessions_alone_are_nothing(patch: Patch) -> None:
    _has_no(patch, "session")


@breaks(*BOTH)
def definitions_alone_are_nothing(patch: Patch) -> None:
    _has_no(patch, "definition")


@breaks(*BOTH)
def nothing_is_refused(patch: Patch) -> None:
    everywhere(patch, "refuse_deletion", lambda real: lambda *_values: returning(real, None))
