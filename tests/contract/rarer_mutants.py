"""Stores with faults that the oracle does not test for: with concurrent tasks, after the clock is set back, in
credentials, in hashes, and with more events than it generates.

They break both stores, as those in `mutants.py` do.
"""

import asyncio
import time
from collections import defaultdict
from functools import partial
from hashlib import sha256
from types import SimpleNamespace
from typing import Any

import msgspec

from tests.contract.faults import around, breaks, everywhere, restate, reword
from tests.contract.mutants import Patch
from whence import integrity
from whence.merkle import HASH_SIZE, CompactRange, node_hash
from whence.storage import Write, sequencing
from whence.storage.postgres import append as postgres_append
from whence.storage.postgres import engine as postgres_engine
from whence.storage.postgres.rows import EVENT_COLUMNS as POSTGRES_EVENT_COLUMNS
from whence.storage.sqlite import append, engine, readers, thread_writer
from whence.storage.sqlite.rows import EVENT_COLUMNS
from whence.wire.times import format_time

# --- fields of an event ----------------------------------------------------------------------------------------


@breaks("sqlite", "postgres")
def field_lost_on_reading(patch: Patch) -> None:
    def make(real: Any) -> Any:
        return lambda *row: msgspec.structs.replace(real(*row), causation_id=None)

    everywhere(patch, "event_from", make)


@breaks("sqlite", "postgres")
def field_lost_on_sequencing(patch: Patch) -> None:
    def make(real: Any) -> Any:
        return lambda *new, **decided: msgspec.structs.replace(real(*new, **decided), causation_id=None)

    around(patch, sequencing, "stored_event", make)


# --- under concurrency -----------------------------------------------------------------------------------------


@breaks("sqlite")
def page_in_a_second_snapshot(patch: Patch) -> None:
    def make(real: Any) -> Any:
        def events_of_page(connection: Any, *asked: Any) -> Any:
            connection.execute("ROLLBACK")
            connection.execute("BEGIN")
            return real(connection, *asked)

        return events_of_page

    around(patch, engine, "events_of_page", make)


@breaks("sqlite", "postgres")
def page_in_a_later_snapshot(patch: Patch) -> None:
    """Total and page are read in two snapshots, with a pause between. On PostgreSQL the isolation level gives a
    transaction one snapshot."""

    def make(real: Any) -> Any:
        def events_of_page(connection: Any, *asked: Any) -> Any:
            connection.execute("ROLLBACK")
            time.sleep(0.002)
            connection.execute("BEGIN")
            return real(connection, *asked)

        return events_of_page

    def make_page(real: Any) -> Any:
        async def events_of_page(*args: Any) -> Any:
            await asyncio.sleep(0.002)
            return await real(*args)

        return events_of_page

    around(patch, engine, "events_of_page", make)
    around(patch, postgres_engine, "events_of_page", make_page)
    restate(patch, lambda text: text.replace("REPEATABLE READ", "READ COMMITTED"))


@breaks("sqlite")
def reads_without_a_transaction(patch: Patch) -> None:
    patch.setattr(readers._Reader, "ask", lambda self, question, _seconds: question(self.connection))


@breaks("sqlite")
def names_remembered_at_once(patch: Patch) -> None:
    """The cache is filled before the commit, so it keeps numbers that were rolled back."""

    def add(self: Any, name: tuple[Any, ...], number: int) -> None:
        self._durable[name] = number

    patch.setattr(append.NameCache, "add", add)


@breaks("sqlite", "postgres")
def request_in_pieces(patch: Patch) -> None:
    """A large request takes several commits, so that a reader may see a part of it."""

    def make(real: Any) -> Any:
        async def append_(self: Any, tenant: str, writes: list[Write]) -> Any:
            [write] = writes
            pieces = [Write(write.events[at : at + 1_000]) for at in range(0, len(write.events), 1_000)]
            results = await asyncio.gather(*(real(self, tenant, [piece]) for piece in pieces))
            return [[receipt for [result] in results for receipt in result]]

        return append_

    patch.setattr(thread_writer, "GROUP_MAX", 1)
    for store in (engine.SQLiteStore, postgres_engine.PostgresStore):
        around(patch, store, "append", make)


@breaks("sqlite")
def positions_drawn_before_the_commit(patch: Patch) -> None:
    """Positions come from a sequence: a large request draws its numbers first, and small ones are committed before
    it."""
    drawn: defaultdict[str, int] = defaultdict(int)
    first_of: dict[str, int] = {}
    first_of_append: list[int] = []
    small_ones: list[str] = []
    enough = asyncio.Event()

    def make_append(real: Any) -> Any:
        async def append_(self: Any, tenant: str, writes: list[Write]) -> Any:
            [write] = writes
            first_of[write.events[0].id] = drawn[tenant]
            drawn[tenant] += len(write.events)
            if len(write.events) > 1_000:
                await enough.wait()
            results = await real(self, tenant, writes)
            small_ones.append(tenant)
            if len(small_ones) == 20:
                enough.set()
            return results

        return append_

    def make_work(real: Any) -> Any:
        def append_(self: Any, connection: Any, tenant: str, writes: list[Write], **how: Any) -> Any:
            first_of_append[:] = [first_of[writes[0].events[0].id]]
            return real(self, connection, tenant, writes, **how)

        return append_

    def make_head(real: Any) -> Any:
        def head(connection: Any, tenant: str) -> Any:
            found = real(connection, tenant)
            found.size = first_of_append[0]
            found.tree = CompactRange(found.size, bytes(HASH_SIZE * found.size.bit_count()))
            return found

        return head

    around(patch, engine.SQLiteStore, "append", make_append)
    around(patch, append.Appender, "append", make_work)
    around(patch, append, "head_draft", make_head)


# --- other faults that the oracle does not test for ----------------------------------------------------------


@breaks("sqlite", "postgres")
def recorded_at_follows_the_clock(patch: Patch) -> None:
    def make(real: Any) -> Any:
        def head(connection: Any, tenant: str) -> Any:
            found = real(connection, tenant)
            found.recorded_at = 0
            return found

        return head

    def make_locked(real: Any) -> Any:
        async def locked_head(connection: Any, tenant: Any) -> Any:
            head, kinds_version = await real(connection, tenant)
            head.recorded_at = 0
            return head, kinds_version

        return locked_head

    around(patch, append, "head_draft", make)
    around(patch, postgres_append, "locked_head", make_locked)


@breaks("sqlite", "postgres")
def payloads_not_measured(patch: Patch) -> None:
    everywhere(patch, "measure_payloads", lambda _real: lambda _head, _batch: None)


@breaks("sqlite", "postgres")
def characters_measured(patch: Patch) -> None:
    def measure(head: Any, batch: Any) -> None:
        head.payload_bytes += sum(len((event.payload or b"").decode()) for event in batch.events)
        head.measured_to = head.size

    everywhere(patch, "measure_payloads", lambda _real: measure)


@breaks("sqlite", "postgres")
def statistics_cut(patch: Patch) -> None:
    everywhere(patch, "ranked", lambda real: lambda *args: real(*args)[:1_000])


@breaks("sqlite", "postgres")
def payload_written_anew(patch: Patch) -> None:
    def make(real: Any, at: int) -> Any:
        def values(*args: Any) -> Any:
            return [
                (*row[:at], msgspec.json.encode(msgspec.json.decode(row[at])), *row[at + 1 :]) for row in real(*args)
            ]

        return values

    for module, columns in ((append, EVENT_COLUMNS), (postgres_append, POSTGRES_EVENT_COLUMNS)):
        at = columns.index("payload")
        around(patch, module, "event_values", partial(make, at=at))


@breaks("sqlite", "postgres")
def leaf_without_salt(patch: Patch) -> None:
    """The payload's hash does not include the salt, so a guess of the payload can be confirmed by its hash."""
    everywhere(patch, "hash_payload", lambda _real: lambda _salt, payload: sha256(payload).digest())


@breaks("sqlite", "postgres")
def one_salt_for_all(patch: Patch) -> None:
    everywhere(patch, "os", lambda real: SimpleNamespace(**{**vars(real), "urandom": bytes}))


@breaks("sqlite", "postgres")
def leaf_without_its_prefix(patch: Patch) -> None:
    patch.setattr(integrity, "leaf_hash", lambda data: sha256(data).digest())


@breaks("sqlite", "postgres")
def envelope_with_short_times(patch: Patch) -> None:
    patch.setattr(integrity, "format_time_fixed", format_time)


@breaks("sqlite", "postgres")
def last_leaf_twice(patch: Patch) -> None:
    """A last leaf without a sibling is paired with itself, as in some other Merkle trees."""

    def root(self: Any) -> bytes:
        found: bytes = self._hashes[-1]
        for left in reversed(self._hashes[:-1]):
            found = node_hash(left, node_hash(found, found))
        return found

    patch.setattr(CompactRange, "root", root)


# --- credentials -----------------------------------------------------------------------------------------------


@breaks("sqlite", "postgres")
def revoked_anew(patch: Patch) -> None:
    reword(
        patch,
        "revoke_key",
        sqlite=("coalesce(revoked_at, ?)", "?"),
        postgres=("coalesce(revoked_at, $1)", "$1"),
    )


@breaks("sqlite", "postgres")
def revoked_by_any_tenant(patch: Patch) -> None:
    reword(
        patch,
        "revoke_key",
        sqlite=("tenant = ?", "? IS NOT NULL"),
        postgres=("tenant = $2", "$2::text IS NOT NULL"),
    )


@breaks("sqlite", "postgres")
def keys_of_every_tenant(patch: Patch) -> None:
    reword(
        patch,
        "keys_after",
        sqlite=("WHERE tenant = ?", "WHERE ? IS NOT NULL"),
        postgres=("WHERE tenant = $1", "WHERE $1::text IS NOT NULL"),
    )


@breaks("sqlite", "postgres")
def ceilings_are_lost(patch: Patch) -> None:
    everywhere(patch, "key_values", lambda real: lambda key: (*real(key)[:-1], None))


@breaks("sqlite", "postgres")
def keys_by_time_alone(patch: Patch) -> None:
    """The next page begins after the last time, and leaves out keys of the same microsecond."""
    reword(
        patch,
        "keys_after",
        sqlite=("(created_at, id) > (?, ?)", "created_at > ? AND ? IS NOT NULL"),
        postgres=("(created_at, id) > ($2::bigint, $3::text)", "created_at > $2 AND $3::text IS NOT NULL"),
    )


@breaks("sqlite", "postgres")
def dead_keys_count_as_alive(patch: Patch) -> None:
    reword(
        patch,
        "count_keys",
        sqlite=("expires_at > ?2", "expires_at > ?2 OR true"),
        postgres=("expires_at > $2", "expires_at > $2 OR true"),
    )


@breaks("sqlite", "postgres")
def keys_are_not_limited(patch: Patch) -> None:
    everywhere(patch, "keys_refusal", lambda _real: lambda _alive, _in_all: None)


@breaks("sqlite", "postgres")
def sessions_are_not_limited(patch: Patch) -> None:
    everywhere(patch, "sessions_refusal", lambda _real: lambda *_counts, now: None)


@breaks("sqlite", "postgres")
def sessions_of_all_tenants_count(patch: Patch) -> None:
    reword(
        patch,
        "count_sessions",
        sqlite=("tenant IS ?", "(tenant IS ? OR true)"),
        postgres=("tenant IS NOT DISTINCT FROM $2", "(tenant IS NOT DISTINCT FROM $2::text OR true)"),
    )


@breaks("sqlite", "postgres")
def sessions_outlive_their_key(patch: Patch) -> None:
    reword(
        patch,
        "end_sessions_of_key",
        sqlite=("key_id = ?", "key_id = ? AND false"),
        postgres=("key_id = $1", "key_id = $1 AND false"),
    )


@breaks("sqlite", "postgres")
def sessions_are_taken_and_kept(patch: Patch) -> None:
    reword(
        patch,
        "take_session",
        sqlite=lambda text: _selected(text, "?"),
        postgres=lambda text: _selected(text, "$1"),
    )


def _selected(delete: str, value: str) -> str:
    """The rows that a statement deletes and returns, without deleting them."""
    columns = delete.partition("RETURNING")[2]
    assert columns
    return f"SELECT {columns} FROM session WHERE hash = {value}"


@breaks("sqlite", "postgres")
def ended_sessions_kept(patch: Patch) -> None:
    reword(
        patch,
        "delete_expired_sessions",
        sqlite=("expires_at <= ?", "expires_at <= ? AND false"),
        postgres=("expires_at <= $1", "expires_at <= $1 AND false"),
    )


@breaks("sqlite", "postgres")
def last_use_goes_back(patch: Patch) -> None:
    reword(
        patch,
        "touch_key",
        sqlite=("max(coalesce(last_used_at, 0), ?)", "?"),
        postgres=("greatest(k.last_used_at, used.at)", "used.at"),
    )


@breaks("sqlite", "postgres")
def every_key_touched(patch: Patch) -> None:
    reword(
        patch,
        "touch_key",
        sqlite=("WHERE id = ?", "WHERE ? IS NOT NULL"),
        postgres=("WHERE k.id = used.id", ""),
    )


@breaks("sqlite", "postgres")
def no_reserved_kinds(patch: Patch) -> None:
    """Events about the log count as all others."""
    patch.setattr(sequencing, "KINDS_RESERVED", 0)
