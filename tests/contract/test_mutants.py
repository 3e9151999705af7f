"""Each mutant of the contract breaks both stores, or one of them for a reason that is stated here."""

from types import ModuleType
from typing import Any

import pytest

from tests.contract import (
    activity_mutants,
    actor_total_mutants,
    cause_mutants,
    changed_mutants,
    deletions_mutants,
    feed_mutants,
    followers_mutants,
    histogram_mutants,
    mutants,
    parts_mutants,
    rarer_mutants,
    reach_mutants,
    removal_mutants,
    seals_mutants,
)
from tests.contract.faults import reword

MODULES: tuple[ModuleType, ...] = (
    mutants,
    rarer_mutants,
    cause_mutants,
    actor_total_mutants,
    changed_mutants,
    feed_mutants,
    followers_mutants,
    histogram_mutants,
    activity_mutants,
    parts_mutants,
    reach_mutants,
    seals_mutants,
    removal_mutants,
    deletions_mutants,
)

ONE_STORE = {
    "numbers_are_given_again": "On PostgreSQL they come from a sequence, and a deletion may not delete the row.",
    "events_of_the_next_tenant_too": "On PostgreSQL row-level security hides them from the statement.",
    "all_events_are_of_another_bucket": (
        "PostgreSQL reads the count of a whole log together with its head. SQLite asks for it by the block "
        "`span_total`, which tenant_dropped_in_totals breaks."
    ),
    "failed_flows_are_all_flows": (
        "SQLite refuses the statement, since its index of failed flows does not hold the other flows."
    ),
    "page_in_a_second_snapshot": (
        "On PostgreSQL a transaction keeps one snapshot by its isolation level alone, which page_in_a_later_snapshot "
        "takes away."
    ),
    "reads_without_a_transaction": "The same as page_in_a_second_snapshot.",
    "names_remembered_at_once": (
        "PostgreSQL has no cache of what a transaction adds: kinds are kept by the version that was read with the "
        "head. tests/storage/test_postgres_writers.py covers that version."
    ),
    "names_that_went_are_remembered": (
        "PostgreSQL keeps kinds by the version that a purge changes, and no actors. "
        "tests/storage/test_postgres_removals.py covers that version."
    ),
    "positions_drawn_before_the_commit": (
        "On PostgreSQL positions come from the locked row of the head. tests/storage/test_postgres_writers.py takes "
        "the lock away, and shows a bare sequence that loses events."
    ),
}
"""Mutants that break only one store, each with the reason why the other has none."""


def found(module: ModuleType) -> list[Any]:
    """The mutants that are functions; each of them breaks a real store."""
    return [each for each in vars(module).values() if callable(each) and hasattr(each, "breaks")]


def test_a_mutant_breaks_both_stores() -> None:
    """A mutant breaks both SQLite and PostgreSQL, except those that are listed with a reason."""
    single = {each.__name__ for module in MODULES for each in found(module) if len(each.breaks) == 1}
    assert single == ONE_STORE.keys()


def test_a_block_that_is_gone_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mutant of an SQL block that no longer exists raises, instead of passing as caught."""
    with pytest.raises(LookupError, match="no block no_such_block"):
        reword(monkeypatch, "no_such_block", postgres=("a", "b"))
    with pytest.raises(LookupError, match="does not hold"):
        reword(monkeypatch, "save_head", sqlite=("no such text", ""))
