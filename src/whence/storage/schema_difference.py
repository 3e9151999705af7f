"""Comparing the objects of a store's schema with those that this release makes. Pure; the same for every store."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import msgspec

__all__ = ["SchemaDifference", "SchemaObject", "compare_objects"]

_NAMES_MAX = 5


class SchemaObject(NamedTuple):
    """An object of a schema. `table` is what it belongs to, and empty for a table itself."""

    type: str
    name: str
    table: str

    def __str__(self) -> str:
        """The object as it is named to an operator."""
        return f"the {self.type} '{self.name}'" + (f" on '{self.table}'" if self.table else "")


class SchemaDifference(msgspec.Struct, frozen=True):
    """How a schema differs from this release's: what it may not be served with, and what does no harm."""

    faults: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def named(self) -> str:
        """The first faults as a list for an operator."""
        more = len(self.faults) - _NAMES_MAX
        return ", ".join(self.faults[:_NAMES_MAX]) + (f" and {more} more" if more > 0 else "")


def compare_objects(
    found: Iterable[tuple[SchemaObject, Any]],
    expected: dict[SchemaObject, Any],
    is_harmless: Callable[[SchemaObject, Any], bool],
) -> SchemaDifference:
    """Compare objects and their definitions with the expected ones. `is_harmless` decides about an additional one."""
    faults: list[str] = []
    notes: list[str] = []
    seen: set[SchemaObject] = set()
    for each, definition in found:
        if each in seen:  # only a row that was written by hand can repeat another one
            faults.append(f"{each} is there twice")
        elif each not in expected:
            (notes if is_harmless(each, definition) else faults).append(f"{each} is not part of it")
        elif definition != expected[each]:
            faults.append(f"{each} was changed")
        seen.add(each)
    faults += [f"{each} is missing" for each in expected if each not in seen]
    return SchemaDifference(tuple(faults), tuple(notes))
