"""Mutants of what followers keep."""

from collections.abc import Sequence
from typing import Any

import pytest

from tests.contract.faults import around, breaks, everywhere, reword, without_row_security
from whence.storage.followers import DELIVERED, FAILED, PENDING, Delivery, DeliveryFilter, Place
from whence.storage.postgres.followers import PostgresFollowers
from whence.storage.sqlite import followers as sqlite_followers
from whence.storage.sqlite.followers import SQLiteFollowers

Patch = pytest.MonkeyPatch

BOTH = (SQLiteFollowers, PostgresFollowers)


def of_any(patch: Patch, block: str, column: str, number: int, kind: str) -> None:
    """Take the condition on a column, which is compared with this parameter, out of a block."""
    reword(
        patch,
        block,
        sqlite=lambda text: _replaced(text, f"{column} = ?", "? IS NOT NULL", f"{column} = ?{number}", number),
        postgres=(f"{column} = ${number}", f"${number}::{kind} IS NOT NULL"),
    )


def _replaced(text: str, old: str, new: str, numbered: str, number: int) -> str:
    if numbered in text:
        return text.replace(numbered, f"?{number} IS NOT NULL")
    return text.replace(old, new, 1)


def of_any_tenant(patch: Patch, *blocks: str) -> None:
    """Take the condition on the tenant out of blocks, and PostgreSQL's row-level security with it."""
    without_row_security(patch)
    for block in blocks:
        of_any(patch, block, "tenant_no", 1, "int")


# --- definitions -------------------------------------------------------------------------------------------------


@breaks("sqlite", "postgres")
def definitions_of_every_kind(patch: Patch) -> None:
    of_any(patch, "definitions", "kind", 1, "text")


@breaks("sqlite", "postgres")
def definitions_of_every_tenant(patch: Patch) -> None:
    of_any(patch, "definitions_of_tenant", "tenant", 2, "text")


@breaks("sqlite", "postgres")
def definition_of_any_tenant(patch: Patch) -> None:
    of_any(patch, "definition", "tenant", 2, "text")


@breaks("sqlite", "postgres")
def any_version_is_the_next(patch: Patch) -> None:
    reword(patch, "change_definition", sqlite=(" AND version = ?4 - 1", ""))
    reword(patch, "change_definition", postgres=(" AND version = $4 - 1", ""))


@breaks("sqlite", "postgres")
def a_new_definition_replaces(patch: Patch) -> None:
    update = "ON CONFLICT (kind, tenant, id) DO UPDATE SET body = excluded.body"
    reword(patch, "add_definition", sqlite=("ON CONFLICT DO NOTHING", update))
    reword(patch, "add_definition", postgres=("ON CONFLICT DO NOTHING", update))


@breaks("sqlite", "postgres")
def changed_in_any_tenant(patch: Patch) -> None:
    of_any(patch, "change_definition", "tenant", 2, "text")


@breaks("sqlite", "postgres")
def deleted_in_any_tenant(patch: Patch) -> None:
    of_any(patch, "delete_definition", "tenant", 2, "text")


@breaks("sqlite", "postgres")
def definitions_are_not_limited(patch: Patch) -> None:
    everywhere(patch, "definitions_refusal", lambda _real: lambda _others: None)


@breaks("sqlite", "postgres")
def definitions_of_all_tenants_count(patch: Patch) -> None:
    of_any(patch, "count_definitions", "tenant", 2, "text")


# --- places ------------------------------------------------------------------------------------------------------


@breaks("sqlite", "postgres")
def places_never_go_back(patch: Patch) -> None:
    reword(patch, "save_place", sqlite=("= excluded.position", "= max(position, excluded.position)"))
    reword(patch, "save_place", postgres=("= excluded.position", "= greatest(follower.position, excluded.position)"))


@breaks("sqlite", "postgres")
def places_of_every_tenant(patch: Patch) -> None:
    of_any_tenant(patch, "places")


@breaks("sqlite", "postgres")
def states_are_lost(patch: Patch) -> None:
    reword(patch, "save_place", sqlite=(", state = excluded.state", ""), postgres=(", state = excluded.state", ""))


@breaks("sqlite", "postgres")
def reading_makes_a_tenant(patch: Patch) -> None:
    for store in BOTH:

        def make(real: Any) -> Any:
            async def get_place(self: Any, tenant: str, name: str) -> Any:
                if await real(self, tenant, name) is None:
                    await self.save_place(tenant, Place(name, 0))
                return await real(self, tenant, name)

            return get_place

        around(patch, store, "get_place", make)


# --- deliveries --------------------------------------------------------------------------------------------------


@breaks("sqlite", "postgres")
def deliveries_are_added_again(patch: Patch) -> None:
    update = "ON CONFLICT (tenant_no, webhook_id, position) DO UPDATE SET state = 0, attempts = 0"
    reword(patch, "add_delivery", sqlite=("ON CONFLICT DO NOTHING", update))
    reword(patch, "add_delivery", postgres=("ON CONFLICT DO NOTHING", update))


@breaks("sqlite", "postgres")
def deliveries_of_every_tenant(patch: Patch) -> None:
    of_any_tenant(patch, "delivery")


@breaks("sqlite", "postgres")
def places_are_saved_apart(patch: Patch) -> None:
    """After the deliveries, in a transaction of its own."""

    def make(real: Any) -> Any:
        async def add_deliveries(
            self: Any, tenant: str, webhook_id: str, positions: Sequence[int], now: int, place: Place
        ) -> None:
            await real(self, tenant, webhook_id, positions, now, Place("first", 0))
            await self.save_place(tenant, place)

        return add_deliveries

    for store in BOTH:
        around(patch, store, "add_deliveries", make)


@breaks("sqlite", "postgres")
def due_by_position(patch: Patch) -> None:
    order = ("ORDER BY due_at, position", "ORDER BY position")
    reword(patch, "due_deliveries", sqlite=order, postgres=order)


@breaks("sqlite", "postgres")
def due_before_their_time(patch: Patch) -> None:
    reword(patch, "due_deliveries", sqlite=("due_at <= ?", "due_at >= 0 * ?"))
    reword(patch, "due_deliveries", postgres=("due_at <= $3", "due_at >= 0 * $3::bigint"))


@breaks("sqlite", "postgres")
def due_in_every_state(patch: Patch) -> None:
    reword(patch, "due_deliveries", sqlite=("state = 0", "state >= 0"), postgres=("state = 0", "state >= 0"))


@breaks("sqlite", "postgres")
def due_of_every_webhook(patch: Patch) -> None:
    reword(patch, "due_deliveries", sqlite=("webhook_id = ?", "? IS NOT NULL"))
    reword(patch, "due_deliveries", postgres=("webhook_id = $2", "$2::text IS NOT NULL"))


@breaks("sqlite", "postgres")
def due_of_every_tenant(patch: Patch) -> None:
    of_any_tenant(patch, "due_deliveries")


@breaks("sqlite", "postgres")
def listed_by_state(patch: Patch) -> None:
    def make(real: Any) -> Any:
        def listed(connection: Any, tenant_no: int, which: DeliveryFilter, states: Sequence[int], limit: int) -> Any:
            each = [real(connection, tenant_no, which, [state], limit) for state in states]
            return [delivery for part in each for delivery in part][:limit]

        return listed

    around(patch, sqlite_followers, "_listed", make)
    reword(patch, "deliveries", postgres=("ORDER BY d.position LIMIT", "ORDER BY d.state, d.position LIMIT"))


@breaks("sqlite", "postgres")
def listed_from_the_last_one(patch: Patch) -> None:
    reword(patch, "deliveries", sqlite=("position > ?", "position >= ?"))
    reword(patch, "deliveries", postgres=("position > $4", "position >= $4"))


@breaks("sqlite", "postgres")
def listed_in_any_state(patch: Patch) -> None:
    everywhere(patch, "states_of", lambda _real: lambda _which: [PENDING, DELIVERED, FAILED])


@breaks("sqlite", "postgres")
def counted_in_all(patch: Patch) -> None:
    """The deliveries of every webhook are counted."""
    reword(patch, "count_deliveries", sqlite=("webhook_id = ?", "? IS NOT NULL"))
    reword(patch, "count_deliveries", postgres=("webhook_id = $2", "$2::text IS NOT NULL"))


@breaks("sqlite", "postgres")
def deleted_deliveries_come_back(patch: Patch) -> None:
    columns = ", ".join(["tenant_no", *Delivery.__struct_fields__])
    update = ", ".join(f"{name} = excluded.{name}" for name in Delivery.__struct_fields__[2:])
    upsert = f"ON CONFLICT (tenant_no, webhook_id, position) DO UPDATE SET {update}"

    def sqlite(_text: str) -> str:
        return f"INSERT INTO delivery ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?, ?) {upsert}"

    def postgres(text: str) -> str:
        [rows] = [line.strip() for line in text.splitlines() if line.strip().startswith("FROM unnest(")]
        return f"INSERT INTO delivery ({columns}) SELECT $1, * {rows} {upsert} RETURNING webhook_id, position"

    reword(patch, "change_delivery", sqlite=sqlite, postgres=postgres)


@breaks("sqlite", "postgres")
def attempts_of_every_tenant(patch: Patch) -> None:
    of_any_tenant(patch, "attempts")


@breaks("sqlite", "postgres")
def attempts_are_recorded_anew(patch: Patch) -> None:
    without_row_security(patch)  # and so without the rights of the role, which may not change an attempt
    update = "ON CONFLICT (tenant_no, webhook_id, position, number) DO UPDATE SET status = excluded.status"
    reword(patch, "add_attempt", sqlite=("ON CONFLICT DO NOTHING", update))
    reword(patch, "add_attempt", postgres=("ON CONFLICT DO NOTHING", update))


@breaks("sqlite", "postgres")
def attempts_still_count(patch: Patch) -> None:
    reword(patch, "retry_delivery", sqlite=(", attempts = 0", ""), postgres=(", attempts = 0", ""))


@breaks("sqlite", "postgres")
def retried_in_every_webhook(patch: Patch) -> None:
    of_any(patch, "retry_delivery", "webhook_id", 2, "text")


@breaks("sqlite", "postgres")
def pending_ones_are_deleted(patch: Patch) -> None:
    reword(patch, "old_deliveries", sqlite=("state <> 0", "state >= 0"), postgres=("state <> 0", "state >= 0"))


@breaks("sqlite", "postgres")
def deleted_at_the_time(patch: Patch) -> None:
    reword(patch, "old_deliveries", sqlite=("changed_at < ?", "changed_at <= ?"))
    reword(patch, "old_deliveries", postgres=("changed_at < $3", "changed_at <= $3"))


@breaks("sqlite", "postgres")
def attempts_outlive_their_delivery(patch: Patch) -> None:
    reword(patch, "delete_attempts", sqlite=("position = ?", "position = -?"))
    reword(patch, "delete_attempts", postgres=("position = ANY($3::bigint[])", "position = -($3::bigint[])[1]"))


# --- leases ------------------------------------------------------------------------------------------------------


@breaks("sqlite", "postgres")
def leases_are_refused(patch: Patch) -> None:
    async def take_lease(_self: Any, _name: str, _owner: str, _seconds: float) -> bool:
        return False

    for store in BOTH:
        patch.setattr(store, "take_lease", take_lease)
