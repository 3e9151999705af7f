"""Completion of a query: which names to look for, and what to suggest of those that are found. Pure."""

from collections import Counter
from collections.abc import Iterable, Iterator

import msgspec

from whence.events import ANY_TYPE, OUTCOMES, Vocabulary
from whence.names import FoundActor, FoundNames, NameSearch, beginning
from whence.wire.name_bodies import SuggestionBody, SuggestionsBody
from whence.wire.parameters import SUGGESTIONS_DEFAULT, SUGGESTIONS_MAX
from whence.wire.query import QueryReader
from whence.wire.query_language import NAMES, OUTCOME_WORDS, PAYLOAD_PREFIX, TEXT_LENGTH_MAX, quoted, scan

__all__ = ["ACTORS_MAX", "Slot", "SuggestRequest", "encode_suggestions", "parse_suggest", "search_of"]

ACTORS_MAX = 1_000
"""Actors among whom the ones with the most events are suggested: the first of these by id."""

_TIMES = ("-15m", "-1h", "-6h", "-1d", "-7d", "-30d")


class Slot(msgspec.Struct, frozen=True):
    """The part of a text, `start` to `end`, that a suggestion replaces. `name` and `value` are what is written of it up
    to the cursor; `name` is empty before a colon is written."""

    start: int
    end: int
    excluded: bool
    name: str
    value: str


class SuggestRequest(msgspec.Struct, frozen=True):
    """A parsed request for suggestions."""

    text: str
    slot: Slot
    limit: int


def parse_suggest(query_string: bytes) -> SuggestRequest:
    """What is to be completed. Raises `Invalid` with every problem."""
    reader = QueryReader("suggest")
    values = reader.split(query_string)
    text = values["q"][0] if "q" in values else ""
    units = len(text.encode("utf-16-le")) // 2
    if len(text) > TEXT_LENGTH_MAX:
        reader.refuse("q", f"A query has at most {TEXT_LENGTH_MAX} characters.", "string_too_long")
    cursor = reader.number("cursor", values, 0, 2 * TEXT_LENGTH_MAX, units)
    if cursor is not None and cursor > units:
        reader.refuse("cursor", "The cursor lies after the end of q.", "out_of_range")
    limit = reader.number("limit", values, 1, SUGGESTIONS_MAX, SUGGESTIONS_DEFAULT)
    reader.finish()
    return SuggestRequest(text, slot_at(text, cursor or 0), limit or SUGGESTIONS_DEFAULT)


def slot_at(text: str, cursor: int) -> Slot:
    """The term at a cursor, which is counted in UTF-16 code units. Between terms, it is empty."""
    before = text.encode("utf-16-le")[: 2 * cursor].decode("utf-16-le", "ignore")
    written = next((token for token in scan(before) if token.end == len(before)), None)
    if written is None:
        return Slot(len(before), len(before), False, "", "")
    end = next((token.end for token in scan(text) if token.start == written.start), written.end)
    if not written.name and written.value.startswith("-"):
        return Slot(written.start, end, True, "", written.value[1:])
    return Slot(written.start, end, written.excluded, written.name, written.value)


def search_of(slot: Slot, vocabulary: Vocabulary) -> NameSearch:
    """The names to look for."""
    if slot.name.startswith(PAYLOAD_PREFIX):
        return NameSearch(
            limit=ACTORS_MAX, payload_values=beginning(slot.value, slot.name.removeprefix(PAYLOAD_PREFIX))
        )
    if slot.name not in ("", "actor"):
        return NameSearch(limit=ACTORS_MAX, kinds=True)
    if not slot.name and not slot.value:
        return NameSearch(limit=ACTORS_MAX, kinds=True, payload_fields=True)
    type_, slash, id_ = slot.value.partition("/")
    ranges = [beginning(slot.value)]
    if slash and type_ == ANY_TYPE:
        ranges = [beginning(id_)]
    elif slash and type_ in vocabulary.actor_types:
        ranges = [beginning(id_, type_)]
    return NameSearch(limit=ACTORS_MAX, kinds=True, actors=tuple(ranges), payload_fields=not slot.name)


def encode_suggestions(asked: SuggestRequest, found: FoundNames) -> bytes:
    """The body of the route."""
    start, end = (len(asked.text[:at].encode("utf-16-le")) // 2 for at in (asked.slot.start, asked.slot.end))
    offered = list(_offered(asked.slot, found))[: asked.limit]
    return msgspec.json.encode(
        SuggestionsBody(
            suggestions=[
                SuggestionBody(count=count, end=end, insert=insert, kind=kind, label=label, start=start)  # type: ignore[arg-type]  # of a table
                for kind, insert, label, count in offered
            ]
        )
    )


Offer = tuple[str, str, str, int | None]
"""Kind, text to insert, label, and events."""


def _offered(slot: Slot, found: FoundNames) -> Iterator[Offer]:
    """The suggestions, the best ones first."""
    sign = "-" if slot.excluded else ""
    if slot.name.startswith(PAYLOAD_PREFIX):
        yield from ((kind, sign + insert, label, count) for kind, insert, label, count in _payload_values(slot, found))
        return
    if slot.name:
        offers = _VALUES.get(slot.name, lambda _slot, _found: [])(slot, found)
        yield from ((kind, sign + insert, label, count) for kind, insert, label, count in offers)
        return
    for name in NAMES:
        if name.startswith(slot.value) and not (slot.excluded and name in ("since", "until")):
            yield "name", f"{sign}{name}:", name, None
    for path in found.payload_fields:
        name = f"{PAYLOAD_PREFIX}{path}"
        if name.startswith(slot.value):
            yield "name", f"{sign}{name}:", name, None
    if slot.value:
        values = [each for make in (_types, _actors, _resources, _outcomes) for each in make(slot, found)]
        for kind, insert, label, count in sorted(values, key=lambda offer: -(offer[3] or 0)):
            yield kind, sign + insert, label, count


def _types(slot: Slot, found: FoundNames) -> list[Offer]:
    """Event types, and patterns that match several of them."""
    counts: Counter[str] = Counter()
    for kind in found.kinds:
        counts[kind.event_type] += kind.events
    patterns: dict[str, list[int]] = {}
    for name, events in counts.items():
        words = name.split(".")
        for at in range(1, len(words)):
            patterns.setdefault(".".join(words[:at]) + ".*", []).append(events)
            if slot.value.startswith("*"):
                patterns.setdefault("*." + ".".join(words[at:]), []).append(events)
    counts.update({pattern: sum(events) for pattern, events in patterns.items() if len(events) > 1})
    return _ranked(slot.value, "event_type", ((f"type:{name}", name, count) for name, count in counts.items()))


def _actors(slot: Slot, found: FoundNames) -> list[Offer]:
    """Types of actors, and those that the store found by the beginning of their id."""
    counts: Counter[str] = Counter()
    for kind in found.kinds:
        counts[f"{kind.actor_type}/*"] += kind.events
    types = _ranked(slot.value, "actor", ((f"actor:{label}", label, count) for label, count in counts.items()))
    found_actors = sorted(found.actors, key=lambda each: (-each.events, each.actor_id, each.actor_type))
    return [*types, *map(_actor, found_actors)]


def _actor(found: FoundActor) -> Offer:
    label = f"{found.actor_type}/{found.actor_id}"
    return "actor", f"actor:{quoted(label, literal=found.actor_id == '*')}", label, found.events


def _resources(slot: Slot, found: FoundNames) -> list[Offer]:
    counts: Counter[str] = Counter()
    for kind in found.kinds:
        counts[kind.resource_type] += kind.events
    return _ranked(
        slot.value, "resource_type", ((f"resource:{label}", label, count) for label, count in counts.items())
    )


def _outcomes(slot: Slot, found: FoundNames) -> list[Offer]:
    counts = dict.fromkeys(OUTCOMES, 0)
    for kind in found.kinds:
        counts[kind.outcome] += kind.events
    wanted = {outcome for word, outcome in OUTCOME_WORDS.items() if word.startswith(slot.value)}
    return [("outcome", f"outcome:{label}", label, counts[label]) for label in OUTCOMES if label in wanted]


def _times(slot: Slot, _found: FoundNames) -> list[Offer]:
    return [("time", f"{slot.name}:{text}", text, None) for text in _TIMES if text.startswith(slot.value)]


def _payload_values(slot: Slot, found: FoundNames) -> list[Offer]:
    """The values that the store found by how they begin."""
    values = sorted(found.payload_values, key=lambda each: (-(each.events or 0), each.text))
    return [("payload_value", f"{slot.name}:{quoted(each.text)}", each.text, each.events) for each in values]


_VALUES = {
    "type": _types,
    "actor": _actors,
    "outcome": _outcomes,
    "resource": _resources,
    "since": _times,
    "until": _times,
}


def _ranked(written: str, kind: str, offers: Iterable[tuple[str, str, int]]) -> list[Offer]:
    """Those whose label has what is written in it: first those that begin so, then by count and label."""
    wanted = written.lower()
    kept = [offer for offer in offers if wanted in offer[1]]
    kept.sort(key=lambda offer: (not offer[1].startswith(wanted), -offer[2], offer[1]))
    return [(kind, *offer) for offer in kept]
