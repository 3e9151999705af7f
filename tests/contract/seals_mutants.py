"""Mutants of what makes logs provable."""

from typing import Any

import pytest

from tests.contract.faults import around, breaks, everywhere, reword
from tests.contract.followers_mutants import of_any_tenant
from whence.storage.postgres.seals import PostgresSeals
from whence.storage.sqlite.seals import SQLiteSeals
from whence.storage.sqlite.signed_record import SignedRecord

Patch = pytest.MonkeyPatch


@breaks("sqlite", "postgres")
def a_second_name_replaces_the_first(patch: Patch) -> None:
    update = "ON CONFLICT (tenant_no, epoch) DO UPDATE SET name = excluded.name"
    change = ("ON CONFLICT DO NOTHING", update)
    reword(patch, "add_origin", sqlite=change, postgres=change)


@breaks("sqlite", "postgres")
def the_first_epoch_is_in_use(patch: Patch) -> None:
    change = ("ORDER BY epoch", "ORDER BY epoch DESC")
    reword(patch, "origins", sqlite=change, postgres=change)


@breaks("sqlite", "postgres")
def origins_of_every_tenant(patch: Patch) -> None:
    of_any_tenant(patch, "origins")


@breaks("sqlite", "postgres")
def every_log_is_unsealed(patch: Patch) -> None:
    reword(patch, "unsealed", sqlite=(" t.size > ", " t.size >= "), postgres=(" h.size > ", " h.size >= "))


@breaks("sqlite", "postgres")
def any_checkpoint_is_the_next(patch: Patch) -> None:
    reword(patch, "advance_origin", sqlite=("AND size = ?3 AND ?4 > ?3", "AND ?3 >= 0"))
    reword(patch, "advance_origin", postgres=("AND size = $3 AND $4::bigint > $3::bigint", "AND $3::bigint >= 0"))


@breaks("sqlite", "postgres")
def every_checkpoint_is_kept(patch: Patch) -> None:
    reword(
        patch,
        "drop_checkpoint",
        sqlite=("c.size = ?3", "c.size = -?3"),
        postgres=("c.size = $3", "c.size = -$3::bigint"),
    )


@breaks("sqlite", "postgres")
def the_latest_alone_is_kept(patch: Patch) -> None:
    reword(patch, "drop_checkpoint", sqlite=("AND EXISTS", "OR EXISTS"), postgres=("AND EXISTS", "OR EXISTS"))


@breaks("sqlite", "postgres")
def listed_from_the_given_size(patch: Patch) -> None:
    reword(patch, "checkpoints", sqlite=("size < ?2", "size <= ?2"), postgres=("size < $2", "size <= $2"))


@breaks("sqlite", "postgres")
def checkpoints_of_every_epoch(patch: Patch) -> None:
    change = ("epoch = (", "epoch <= (")
    reword(patch, "checkpoints", sqlite=change, postgres=change)


@breaks("sqlite", "postgres")
def the_last_checkpoint_of_any_epoch(patch: Patch) -> None:
    reword(patch, "last_checkpoint", sqlite=("epoch = ?", "epoch >= ? - 9"), postgres=("epoch = $2", "epoch >= $2 - 9"))


@breaks("sqlite", "postgres")
def a_leaf_before_the_range(patch: Patch) -> None:
    reword(patch, "leaves", sqlite=("key > ?", "key >= ?"), postgres=("position > $2", "position >= $2"))


@breaks("sqlite", "postgres")
def tiles_are_replaced(patch: Patch) -> None:
    reword(patch, "put_tile", sqlite=lambda text: text.split(" WHERE ")[0])
    reword(patch, "put_tile", postgres=lambda text: text.split(" WHERE ")[0] + " RETURNING level")


@breaks("sqlite", "postgres")
def tiles_never_grow(patch: Patch) -> None:
    reword(patch, "put_tile", sqlite=lambda text: text.split("ON CONFLICT")[0] + "ON CONFLICT DO NOTHING")
    reword(patch, "put_tile", postgres=lambda text: text.split("ON CONFLICT")[0] + "ON CONFLICT DO NOTHING")


@breaks("sqlite", "postgres")
def tiles_of_every_tenant(patch: Patch) -> None:
    of_any_tenant(patch, "tile")


@breaks("sqlite", "postgres")
def what_is_smaller_is_signed(patch: Patch) -> None:
    """Whatever comes is recorded, and may be signed."""

    def put_all(self: SignedRecord, wanted: Any) -> list[bool]:
        self._loaded().update(wanted)
        return [True] * len(wanted)

    patch.setattr(SignedRecord, "put_all", put_all)
    reword(patch, "record_signed", postgres=lambda text: text.split(" WHERE ")[0] + " RETURNING size")


@breaks("sqlite", "postgres")
def another_root_is_signed(patch: Patch) -> None:
    """A root of the same size takes the place of the first."""

    def make(real: Any) -> Any:
        def put_all(self: SignedRecord, wanted: Any) -> list[bool]:
            allowed: list[bool] = []
            for origin, signed in wanted:
                last = self.get(origin)
                taken = last if last is not None and last.size == signed.size else signed
                allowed += real(self, [(origin, taken)])
            return allowed

        return put_all

    around(patch, SignedRecord, "put_all", make)
    reword(patch, "record_signed", postgres=("AND s.root = excluded.root", ""))


SEALS = (SQLiteSeals, PostgresSeals)


@breaks("sqlite", "postgres")
def leaves_of_the_first_for_all(patch: Patch) -> None:
    """Whichever logs are asked for, the answer is about the first of them."""

    def make(real: Any) -> Any:
        async def read_leaves_of(self: Any, wanted: Any) -> Any:
            return await real(self, [(wanted[0][0], leaves) for _, leaves in wanted])

        return read_leaves_of

    for seals in SEALS:
        around(patch, seals, "read_leaves_of", make)


@breaks("sqlite", "postgres")
def one_that_is_refused_is_all(patch: Patch) -> None:
    """If one of several states must not be signed, none of them is recorded."""

    def make(real: Any) -> Any:
        async def record_signed(self: Any, wanted: Any) -> Any:
            known = [await self.get_signed(origin) for origin, _ in wanted]
            if any(
                last is not None and last.size > signed.size for last, (_, signed) in zip(known, wanted, strict=True)
            ):
                return [False] * len(wanted)
            return await real(self, wanted)

        return record_signed

    for seals in SEALS:
        around(patch, seals, "record_signed", make)


@breaks("sqlite", "postgres")
def none_after_one_that_is_refused(patch: Patch) -> None:
    """The first checkpoint that does not follow its log's newest one ends the call."""

    def make(real: Any) -> Any:
        async def put_checkpoints(self: Any, new: Any) -> Any:
            done: list[Any] = []
            for each in new:
                done += [False] if False in done else await real(self, [each])
            return done

        return put_checkpoints

    for seals in SEALS:
        around(patch, seals, "put_checkpoints", make)


@breaks("sqlite", "postgres")
def evidence_is_not_compared_with_its_leaf(patch: Patch) -> None:
    everywhere(patch, "refuse_unsound", lambda _real: lambda _hashed: None)


@breaks("sqlite", "postgres")
def missing_hashes_are_zeros(patch: Patch) -> None:
    def make(real: Any) -> Any:
        def range_hashes(ranges: Any, tiles: Any) -> Any:
            return real(ranges, {tile: hashes.ljust(tile.width * 32, b"\0") for tile, hashes in tiles.items()})

        return range_hashes

    everywhere(patch, "range_hashes", make)
