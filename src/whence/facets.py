"""Facets: how many events each value of a field has. Pure; a store counts.

Each facet is counted without the filters on its own field, so that it shows what another choice would find. Event types
are a tree by their segments, in which each value can be used as a filter.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from whence.events import ActorStat, Query
from whence.payload_fields import split_value

__all__ = [
    "FACET_FIELDS",
    "VALUES_DEFAULT",
    "VALUES_MAX",
    "ActorFacet",
    "Facets",
    "PayloadFacet",
    "TypeCount",
    "TypeFacet",
    "WordCount",
    "WordFacet",
    "payload_facet",
    "type_facet",
    "types_of",
    "without",
    "without_payload_field",
    "word_facet",
    "words_of",
]

VALUES_MAX, VALUES_DEFAULT = 100, 20
"""The most values of a facet, and the default."""

FACET_FIELDS: dict[str, frozenset[str]] = {
    "event_type": frozenset({"event_types", "event_type_prefixes", "type_patterns", "excluded_event_types"}),
    "resource_type": frozenset({"resource_types", "excluded_resource_types"}),
    "outcome": frozenset({"outcomes", "excluded_outcomes"}),
    "actor_type": frozenset({"actor_types", "excluded_actor_types"}),
    "actor": frozenset({"actor_ids", "actor_types", "actors", "excluded_actor_types", "excluded_actors"}),
}
"""Facet -> the fields of `Query` that are its own filters."""


class WordCount(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """How many events a value has, and how many of them are failures."""

    value: str
    count: int
    failures: int


class TypeCount(msgspec.Struct, frozen=True, kw_only=True):
    """The same of an event type, or of all that begin alike: then `value` ends with `.*`, and `children` has them."""

    value: str
    count: int
    failures: int
    children: "list[TypeCount]" = []


class WordFacet(msgspec.Struct, frozen=True, kw_only=True):
    """Values by count descending, then by value, and how many further values there are."""

    values: list[WordCount]
    more: int


class TypeFacet(msgspec.Struct, frozen=True, kw_only=True):
    """As `WordFacet`. The tree below each value is complete."""

    values: list[TypeCount]
    more: int


class ActorFacet(msgspec.Struct, frozen=True, kw_only=True):
    """Actors by count descending, then by type and id, and how many further actors there are."""

    values: list[ActorStat]
    more: int


class PayloadFacet(msgspec.Struct, frozen=True, kw_only=True):
    """The values at a path of the payloads, as `WordFacet`. Of an array an event has several."""

    path: str
    values: list[WordCount]
    more: int


class Facets(msgspec.Struct, frozen=True, kw_only=True):
    """The facets of a query, and the total of its list. `payload` has the paths that were asked for, in that order."""

    total: int
    event_type: TypeFacet
    actor: ActorFacet
    resource_type: WordFacet
    outcome: WordFacet
    actor_type: WordFacet
    payload: list[PayloadFacet] = []


Q = TypeVar("Q", bound=Query)


def without(query: Q, fields: Iterable[str]) -> Q:
    """The query without its filters on these fields."""
    plain = type(query)()
    return msgspec.structs.replace(query, **{name: getattr(plain, name) for name in fields})


def words_of(counts: Mapping[int, int], kinds: Mapping[int, Any], field: str) -> list[WordCount]:
    """Events by a word of their kinds, by count descending, then by word. `counts` by the number of the kind."""
    events: Counter[str] = Counter()
    failures: Counter[str] = Counter()
    for number, count in counts.items():
        kind = kinds[number]
        word = getattr(kind, field)
        events[word] += count
        if kind.outcome == "failure":
            failures[word] += count
    found = [WordCount(value=word, count=count, failures=failures[word]) for word, count in events.items() if count]
    return sorted(found, key=_rank)


def without_payload_field(query: Query, path: str) -> Query:
    """The query without its filters on the values at a path of the payload."""
    kept = {
        field: tuple(text for text in getattr(query, field) if split_value(text)[0] != path)
        for field in ("payload_values", "excluded_payload_values")
    }
    return msgspec.structs.replace(query, **kept)


def payload_facet(path: str, counts: Iterable[tuple[str, int, int]], top: int) -> PayloadFacet:
    """The first values at a path. `counts` are value, events and failures."""
    found = sorted(
        (WordCount(value=value, count=count, failures=failures) for value, count, failures in counts), key=_rank
    )
    return PayloadFacet(path=path, values=found[:top], more=max(len(found) - top, 0))


def word_facet(found: Sequence[WordCount], top: int) -> WordFacet:
    """The first values."""
    return WordFacet(values=list(found[:top]), more=max(len(found) - top, 0))


def type_facet(found: Sequence[WordCount], top: int) -> TypeFacet:
    """The first values of the tree."""
    tree = types_of(found)
    return TypeFacet(values=tree[:top], more=max(len(tree) - top, 0))


def types_of(found: Iterable[WordCount], prefix: str = "") -> list[TypeCount]:
    """Event types as a tree by their segments: `action_run.*` and below it `action_run.failed`.

    Where only one type, or one branch, begins so, it stands in the place of the branch. A type that is also the
    beginning of others stands beside their branch, since `a.b.*` does not match `a.b`.
    """
    branches: dict[str, list[WordCount]] = {}
    level: list[TypeCount] = []
    for each in found:
        first, dot, _ = each.value[len(prefix) :].partition(".")
        if dot:
            branches.setdefault(f"{prefix}{first}.", []).append(each)
        else:
            level.append(TypeCount(value=each.value, count=each.count, failures=each.failures))
    for beginning, members in branches.items():
        children = types_of(members, beginning)
        if len(children) == 1:
            level += children
            continue
        level.append(
            TypeCount(
                value=f"{beginning}*",
                count=sum(child.count for child in children),
                failures=sum(child.failures for child in children),
                children=children,
            )
        )
    return sorted(level, key=_rank)


def _rank(each: WordCount | TypeCount) -> tuple[int, str]:
    return -each.count, each.value
