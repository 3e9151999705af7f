"""Stores that are each broken in one way when they remove something."""

from collections.abc import Callable
from typing import Any

from tests.contract.faults import around, breaks, everywhere, reword
from tests.contract.mutants import Patch
from whence import actor_totals
from whence.storage import sequencing
from whence.storage.postgres import engine as postgres_engine
from whence.storage.postgres import pages as postgres_pages
from whence.storage.postgres import purge as postgres_purge
from whence.storage.postgres import removals as postgres_removals
from whence.storage.sqlite import append, engine, pages, purge

BOTH = ("sqlite", "postgres")


def _kept(block: str, sqlite: tuple[str, str], postgres: tuple[str, str], name: str) -> Any:
    """A mutant that leaves a subtraction out."""

    @breaks(*BOTH)
    def mutant(patch: Patch) -> None:
        reword(patch, block, sqlite=sqlite, postgres=postgres)

    mutant.__name__ = name
    return mutant


buckets_keep_events = _kept(
    "take_from_bucket",
    ("events - ?4", "events - 0 * ?4"),
    ("t.events - gone.events", "t.events - 0 * gone.events"),
    "buckets_keep_events",
)
later_events_are_not_looked_for = _kept(
    "later_event_of_actor",
    ("key > ?3", "key > ?4"),
    ("position > $3", "position > $3 + 1000"),
    "later_events_are_not_looked_for",
)
kinds_keep_events = _kept(
    "take_from_rollup_kind",
    ("events - ?5", "events - 0 * ?5"),
    ("t.events - gone.events", "t.events - 0 * gone.events"),
    "kinds_keep_events",
)
actors_keep_events = _kept(
    "take_from_rollup_actor",
    ("events - ?6", "events - 0 * ?6"),
    ("t.events - gone.events", "t.events - 0 * gone.events"),
    "actors_keep_events",
)
flows_keep_events = _kept(
    "take_from_flow",
    ("events - ?3", "events - 0 * ?3"),
    ("t.events - gone.events", "t.events - 0 * gone.events"),
    "flows_keep_events",
)
flows_keep_failures = _kept(
    "take_from_flow",
    ("failures - ?4", "failures - 0 * ?4"),
    ("t.failures - gone.failures", "t.failures - 0 * gone.failures"),
    "flows_keep_failures",
)
flows_end_where_they_began = _kept(
    "take_from_flow",
    ("max(occurred_at)", "min(occurred_at)"),
    ("max(e.occurred_at)", "min(e.occurred_at)"),
    "flows_end_where_they_began",
)
flows_begin_where_they_end = _kept(
    "take_from_flow",
    ("min(occurred_at)", "max(occurred_at)"),
    ("min(e.occurred_at)", "max(e.occurred_at)"),
    "flows_begin_where_they_end",
)
resources_keep_events = _kept(
    "take_from_resource",
    ("events - ?2", "events - 0 * ?2"),
    ("t.events - gone.events", "t.events - 0 * gone.events"),
    "resources_keep_events",
)
payloads_are_counted_on = _kept(
    "save_purge",
    ("payload_bytes = ?2", "payload_bytes = payload_bytes + ?2 * 0"),
    ("payload_bytes = $3", "payload_bytes = payload_bytes + $3 * 0"),
    "payloads_are_counted_on",
)
empty_rows_stay = _kept(
    "drop_resource",
    ("WHERE key", "WHERE 0 AND key"),
    ("events = asked.events", "events < asked.events"),
    "empty_rows_stay",
)


@breaks(*BOTH)
def totals_keep_events(patch: Patch) -> None:
    for module in (purge, postgres_purge):
        patch.setattr(module, "subtracted", lambda actors, packed, _: actor_totals.summed(actors, packed, ({}, {}, {})))


def _departing(patch: Patch, change: Callable[..., Any]) -> None:
    for module in (purge, postgres_purge):
        around(patch, module, "departing_transitions", lambda real: lambda *args: change(real, *args))


@breaks(*BOTH)
def transitions_stay(patch: Patch) -> None:
    _departing(patch, lambda _real, *_: {})


@breaks(*BOTH)
def effects_that_stay_are_forgotten(patch: Patch) -> None:
    _departing(patch, lambda real, departing, causes, _effects: real(departing, causes, ()))


@breaks(*BOTH)
def causes_that_stay_are_forgotten(patch: Patch) -> None:
    _departing(patch, lambda real, departing, _causes, effects: real(departing, (), effects))


@breaks(*BOTH)
def a_pair_goes_twice(patch: Patch) -> None:
    def twice(real: Any, departing: Any, causes: Any, effects: Any) -> Any:
        departing.positions, positions = [], departing.positions
        try:
            return real(departing, causes, effects)
        finally:
            departing.positions = positions

    _departing(patch, twice)


@breaks(*BOTH)
def nothing_is_folded_before(patch: Patch) -> None:
    async def later(*_: Any) -> None:
        return None

    for name in ("fold_transitions", "fold_actor_totals"):
        patch.setattr(purge, name, lambda *_: None)
        patch.setattr(postgres_purge, name, later)


@breaks(*BOTH)
def held_events_go(patch: Patch) -> None:
    def without_keep(real: Any) -> Any:
        class Departing(real):  # type: ignore[misc]  # the class that is broken
            def __init__(self, purge: Any, *rest: Any) -> None:
                super().__init__(type(purge)(purge.since, purge.upto), *rest)

        return Departing

    everywhere(patch, "Departing", without_keep)


@breaks(*BOTH)
def announcements_go(patch: Patch) -> None:
    everywhere(patch, "lasting_kinds", lambda _real: lambda _kinds: frozenset())
    patch.setattr(postgres_removals, "LASTING_TYPES", frozenset())


@breaks(*BOTH)
def offset_of_the_cursor_is_believed(patch: Patch) -> None:
    async def offset(_connection: Any, _snapshot: Any, _resolved: Any, request: Any) -> int:
        return int(request.offset)

    patch.setattr(engine, "events_passed", lambda _connection, _snapshot, _resolved, request: request.offset)
    patch.setattr(postgres_engine, "events_passed", offset)


@breaks(*BOTH)
def place_of_a_page_is_passed_over(patch: Patch) -> None:
    """The event after which the page continues is not counted."""
    for module in (pages, postgres_pages):
        around(
            patch,
            module,
            "conditions",
            lambda real: (
                lambda resolved, *args, **named: real(
                    resolved.between(resolved.until, resolved.until)
                    if resolved.since is not None and resolved.until == resolved.since + 1
                    else resolved,
                    *args,
                    **named,
                )
            ),
        )


@breaks("sqlite")
def names_that_went_are_remembered(patch: Patch) -> None:
    patch.setattr(append.NameCache, "forget", lambda _self, _names: None)


kinds_are_never_dropped = _kept(
    "drop_unused_kind",
    ("DELETE FROM kind\n WHERE", "DELETE FROM kind\n WHERE 0 AND"),
    ("t.ctid = gone.ctid", "t.kind < 0 AND t.ctid = gone.ctid"),
    "kinds_are_never_dropped",
)


@breaks(*BOTH)
def what_was_removed_is_stored_again(patch: Patch) -> None:
    patch.setattr(sequencing, "_refuse_removed", lambda _head, _new: None)


@breaks(*BOTH)
def replaced_ids_are_compared(patch: Patch) -> None:
    reword(
        patch,
        "full_event",
        sqlite=("a.erased_at AS", "NULL AS"),
        postgres=("a.erased_at AS", "NULL::bigint AS"),
    )


@breaks(*BOTH)
def other_fields_are_not_compared(patch: Patch) -> None:
    everywhere(patch, "differing_fields", lambda _real: lambda _new, _stored: [])


@breaks(*BOTH)
def unknown_holds_are_ignored(patch: Patch) -> None:
    everywhere(patch, "refuse_unknown_holds", lambda _real: lambda _stored, _known: None)


answers_of_webhooks_stay = _kept(
    "erase_answers",
    ("SET answer = x''", "SET answer = answer"),
    ("SET answer = ''", "SET answer = answer"),
    "answers_of_webhooks_stay",
)
deliveries_stay = _kept("delete_delivery", ("WHERE", "WHERE 0 AND"), ("WHERE", "WHERE false AND"), "deliveries_stay")


@breaks(*BOTH)
def leaves_are_not_kept(patch: Patch) -> None:
    async def later(*_: Any) -> None:
        return None

    patch.setattr(purge, "tile_leaves", lambda *_: None)
    patch.setattr(postgres_purge, "tile_leaves", later)
