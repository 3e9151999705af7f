"""Stores that are each broken in one way in how they read all matching events in parts."""

from typing import Any

import msgspec

from tests.contract.faults import breaks, everywhere
from tests.contract.mutants import Patch


@breaks("sqlite", "postgres")
def every_index_answers_alone(patch: Patch) -> None:
    """The entries of the index that one part reads have no bound."""
    everywhere(patch, "is_answered_by_its_index", lambda _real: lambda _resolved: True)


@breaks("sqlite", "postgres")
def a_window_without_its_last_time(patch: Patch) -> None:
    """The events at the time at which a window ends are in no part."""

    def make(real: Any) -> Any:
        def narrower(resolved: Any, time: Any, *, ascending: bool) -> Any:
            return real(resolved, None if time is None else time - (1 if ascending else -1), ascending=ascending)

        return narrower

    everywhere(patch, "within", make)


@breaks("sqlite", "postgres")
def a_window_is_the_end(patch: Patch) -> None:
    def make(real: Any) -> Any:
        return lambda events, request, *, is_all, up_to: real(events, request, is_all=is_all, up_to=None)

    everywhere(patch, "part_of", make)


@breaks("sqlite", "postgres")
def parts_as_of_now(patch: Patch) -> None:
    """Events that are stored while the parts are read are in them."""

    def make(real: Any) -> Any:
        def part(*args: Any, request: Any) -> Any:
            return real(*args, request=msgspec.structs.replace(request, as_of=2**39))

        return part

    everywhere(patch, "part_in_order", make)
