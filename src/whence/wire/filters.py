"""Filters in JSON bodies: those of lists, with the same names in camelCase and the same rules."""

from typing import Any

from whence.errors import Problem
from whence.events import Event, Query, Vocabulary
from whence.wire.fields import RESERVED_PREFIX
from whence.wire.problems import nearest_or_all, unknown_names
from whence.wire.query import FILTER_FIELDS, NO_EVENT_TYPE, QueryReader

__all__ = ["FILTER_NAMES", "filters_of_query", "parse_filters", "selects"]

FILTER_NAMES = {
    "".join(part.title() if index else part for index, part in enumerate(name.split("_"))): name
    for name in ("event_type", *FILTER_FIELDS)
}
"""The name of each filter in a body -> the parameter of lists."""


def parse_filters(
    given: Any, vocabulary: Vocabulary, problems: list[Problem], loc: tuple[str, ...] = ("body", "filters")
) -> Query:
    """The question in an object of filters, each a text or a list of texts. Adds what is wrong with it to `problems`.

    Unlike in a list, an event type outside of the grammar is refused: what is asked here once must not match nothing
    for ever.
    """
    if not isinstance(given, dict):
        problems.append(Problem(loc, "Filters are a JSON object.", "dict_type"))
        return Query()
    reader = QueryReader("feed", 0, vocabulary)
    values: dict[str, list[str]] = {}
    hint = nearest_or_all(FILTER_NAMES, "there are")
    problems += unknown_names(given, FILTER_NAMES, loc, lambda name: f"No such filter; {hint(name)}.")
    for name, value in given.items():
        texts = [value] if isinstance(value, str) else value
        if name not in FILTER_NAMES:
            continue
        if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
            problems.append(Problem((*loc, name), "A filter is a text, or a list of texts.", "list_type"))
        elif reader.has_valid_count(FILTER_NAMES[name], texts):
            values[FILTER_NAMES[name]] = texts
    fields: dict[str, Any] = {**reader.filters(values, {})}
    names = {parameter: name for name, parameter in FILTER_NAMES.items()}
    problems += [Problem((*loc, names[str(each.loc[1])]), each.msg, each.type) for each in reader.problems]
    query = Query(**fields)
    found_types = {*query.event_types, *(f"{prefix}*" for prefix in query.event_type_prefixes)} - {NO_EVENT_TYPE}
    if not reader.problems and not found_types.issuperset(values.get("event_type", ())):
        sentence = "An event type is like order.shipped, or like order.* for all that begin so."
        problems.append(Problem((*loc, "eventType"), sentence, "string_pattern_mismatch"))
    return query


def filters_of_query(query: Query) -> dict[str, list[str]]:
    """The filters that a question was made of; the inverse of `parse_filters`."""
    found: dict[str, list[str]] = {}
    types = [*query.event_types, *(f"{prefix}*" for prefix in query.event_type_prefixes)]
    if types:
        found["eventType"] = types
    for name, parameter in FILTER_NAMES.items():
        if parameter in FILTER_FIELDS and (values := getattr(query, FILTER_FIELDS[parameter][0])):
            found[name] = list(values)
    return found


def selects(query: Query, event: Event) -> bool:
    """Whether an event that matches a question is meant by it: one of the log's own record only where the question
    names event types of that kind."""
    if not event.event_type.startswith(RESERVED_PREFIX):
        return True
    return any(name.startswith(RESERVED_PREFIX) for name in (*query.event_types, *query.event_type_prefixes))
