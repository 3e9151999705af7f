"""The query language: the text of one parameter as filters, and back. Pure.

    type:action_run.* -type:*.heartbeat actor:agent/planner outcome:failed since:-1h

A text is terms separated by blanks. The values of one name are alternatives, and different names must all match. A
term that begins with `-` excludes what it names.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec

from whence.errors import Problem
from whence.events import ANY_TYPE, Query, Vocabulary, is_event_type, matches_type, split_name
from whence.identities import is_uuid
from whence.payload_fields import PATH_RULE, VALUE_RULE, is_path, is_value, values_by_path
from whence.wire.fields import (
    Broken,
    asked_form,
    check_actor_id,
    check_actor_type,
    check_asked_resource_type,
    check_causation_id,
    check_correlation_id,
    check_uuid,
    near,
)
from whence.wire.times import format_time, parse_query_time

__all__ = [
    "NAMES",
    "OUTCOME_WORDS",
    "PAYLOAD_PREFIX",
    "TERM_VALUES_MAX",
    "TEXT_LENGTH_MAX",
    "ParsedText",
    "Token",
    "parse_text",
    "quoted",
    "render",
    "scan",
]

PAYLOAD_PREFIX = "payload."
"""How the name of a payload field begins; its path follows."""

NAMES = ("type", "actor", "outcome", "resource", "flow", "cause", "since", "until")
"""What a term may name, beside payload fields."""

TEXT_LENGTH_MAX = 4_000
"""Characters in a text."""

TERM_VALUES_MAX = 20
"""Values of one name, and as many that are excluded."""

OUTCOME_WORDS = {
    "success": "success",
    "succeeded": "success",
    "failure": "failure",
    "failed": "failure",
    "none": "none",
}
"""Words for an outcome, and which one they mean."""

_ALL_NAMES = f"{', '.join(NAMES)} and payload.PATH, as in payload.tool"

_BLANKS = re.compile(r"[ \t\r\n]+")
_TO_BLANK = re.compile(r"[^ \t\r\n]*")
_BEGIN = re.compile(r'(-?)(payload\.[^\s:="\\]*|[A-Za-z_]*):')
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)("?)', re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)

_TYPE_RULE = (
    "An event type is like order.shipped, or like order.* for all that begin so, or like *.shipped for all that end so."
)
_ACTOR_RULE = "An actor is type/id such as agent/planner, agent/* for all of a type, or an id alone."
_SLASH_RULE = "An actor is type/id. Write */ before an id that has a slash itself."
_RESOURCE_RULE = "A resource is a type such as artifact, or type/id such as artifact/ and a UUID."


class Token(msgspec.Struct, frozen=True):
    """A term as it stands in a text, `text[start:end]`. `name` is empty if it has no colon, and `value` is then the
    whole. `problem` is a sentence about its quotes, empty if they are sound."""

    start: int
    end: int
    excluded: bool
    name: str
    value: str
    is_quoted: bool = False
    problem: str = ""


class ParsedText(msgspec.Struct, frozen=True):
    """What a text asks for: fields of `Query`, times with the text that they were written as, and what is wrong with
    it. A problem names the parameter and the index of the term."""

    fields: dict[str, tuple[str, ...]]
    since: tuple[int, str] | None = None
    until: tuple[int, str] | None = None
    problems: tuple[Problem, ...] = ()


def scan(text: str) -> list[Token]:
    """The terms of a text, whether they mean something or not."""
    tokens: list[Token] = []
    at = _skip_blanks(text, 0)
    while at < len(text):
        tokens.append(_token(text, at))
        at = _skip_blanks(text, tokens[-1].end)
    return tokens


def _skip_blanks(text: str, at: int) -> int:
    blanks = _BLANKS.match(text, at)
    return at if blanks is None else blanks.end()


def _token(text: str, start: int) -> Token:
    begin = _BEGIN.match(text, start)
    if begin is None:
        end = _end_of_word(text, start)
        return Token(start, end, False, "", text[start:end])
    sign, name = begin.groups()
    value = _QUOTED.match(text, begin.end())
    if value is None:
        end = _end_of_word(text, begin.end())
        return Token(start, end, sign == "-", name, text[begin.end() : end])
    end = _end_of_word(text, value.end())
    problem = ""
    if not value[2]:
        problem = "The quote is not closed."
    elif end > value.end():
        problem = "After the closing quote comes a blank."
    return Token(start, end, sign == "-", name, _ESCAPED.sub(r"\1", value[1]), True, problem)


def _end_of_word(text: str, at: int) -> int:
    word = _TO_BLANK.match(text, at)
    return at if word is None else word.end()


def quoted(value: str, *, literal: bool = False) -> str:
    """The value as it stands in a text: in double quotes if it has to be. `literal` keeps a final `*` from meaning
    everything."""
    if value and not _BLANKS.search(value) and value[0] != '"' and not (literal and value.endswith("*")):
        return value
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


# ---------------------------------------------------------------------------------------------------------- parsing


def parse_text(text: str, *, now: int, vocabulary: Vocabulary) -> ParsedText:
    """What a text asks for. `now` is in microseconds, for relative times."""
    if len(text) > TEXT_LENGTH_MAX:
        sentence = f"A query has at most {TEXT_LENGTH_MAX} characters."
        return ParsedText({}, problems=(Problem(("query", "q"), sentence, "query_term"),))
    tokens = scan(text)
    if not tokens:
        sentence = "The query has no term; leave it out instead."
        return ParsedText({}, problems=(Problem(("query", "q"), sentence, "query_term"),))
    problems: list[Problem] = []
    groups: dict[tuple[str, bool], dict[str, None]] = {}
    times: dict[str, tuple[int, str]] = {}
    for index, token in enumerate(tokens):
        try:
            _check_name(token)
            if token.name in ("since", "until"):
                if token.name in times:
                    raise Broken(f"{token.name} may be given only once.")
                times[token.name] = _time(token, now)
                continue
            group = groups.setdefault((token.name, token.excluded), {})
            check = _payload_value if token.name.startswith(PAYLOAD_PREFIX) else _VALUES[token.name]
            group[check(token, vocabulary)] = None
            if len(group) > TERM_VALUES_MAX:
                raise Broken(f"{token.name} may be given at most {TERM_VALUES_MAX} times.")
        except Broken as error:
            problems.append(Problem(("query", "q", index), str(error), "query_term"))
    problems += _backward_range(tokens, times)
    if problems:
        return ParsedText({}, problems=tuple(problems))
    return ParsedText(_fields(groups), times.get("since"), times.get("until"))


def _backward_range(tokens: Sequence[Token], times: Mapping[str, tuple[int, str]]) -> list[Problem]:
    """A problem of the term since, if it lies after until."""
    if len(times) < 2 or times["since"][0] <= times["until"][0]:
        return []
    index = next(index for index, token in enumerate(tokens) if token.name == "since")
    return [Problem(("query", "q", index), "The time in since lies after the time in until.", "query_term")]


def _check_name(token: Token) -> None:
    """Refuse a term that has no name, one that is not known, or no value."""
    if token.problem:
        raise Broken(token.problem)
    if not token.name:
        raise Broken(f"A term is a name, a colon and a value. The names are {_ALL_NAMES}.")
    if token.name.startswith(PAYLOAD_PREFIX):
        if not is_path(token.name.removeprefix(PAYLOAD_PREFIX)):
            raise Broken(PATH_RULE)
    elif token.name not in NAMES:
        found = near(token.name, NAMES)
        hint = f"the nearest is {found}" if found is not None else f"the names are {_ALL_NAMES}"
        raise Broken(f"There is no such name; {hint}.")
    if not token.value:
        raise Broken(f"{token.name} needs a value after its colon.")
    if token.excluded and token.name in ("since", "until"):
        raise Broken(f"{token.name} cannot be excluded; use the other of since and until.")


def _time(token: Token, now: int) -> tuple[int, str]:
    """The time, and the text to which a cursor is bound."""
    try:
        us = parse_query_time(token.value, now)
    except ValueError as error:
        raise Broken(str(error)) from None
    return us, token.value if token.value.startswith("-") else str(us)


def _type(token: Token, _words: Vocabulary) -> str:
    text = token.value
    sample = text[:-1] + "x" if text.endswith(".*") else "x" + text[1:] if text.startswith("*.") else text
    if not is_event_type(sample):
        raise Broken(_TYPE_RULE)
    return text


def _actor(token: Token, words: Vocabulary) -> str:
    """The actor as `type/id`, with `*` for any type, or with no id for all of the type."""
    actor_type, slash, actor_id = token.value.partition("/")
    if not slash:
        actor_type, actor_id = ANY_TYPE, token.value
    if actor_id == "*" and not token.is_quoted:
        if actor_type == ANY_TYPE:
            raise Broken(_ACTOR_RULE)
        return f"{check_actor_type(actor_type, words.actor_types)}/"
    if actor_type != ANY_TYPE:
        try:
            check_actor_type(actor_type, words.actor_types)
        except Broken as error:
            raise Broken(f"{error} {_SLASH_RULE}") from None
    return f"{actor_type}/{asked_form(actor_id, check_actor_id(actor_id))}"


def _resource(token: Token, words: Vocabulary) -> str:
    """The resource as `type/id`, with `*` for any type, or with no id for all of the type."""
    resource_type, slash, resource_id = token.value.partition("/")
    if not slash and is_uuid(token.value):
        resource_type, resource_id = ANY_TYPE, token.value
    elif not slash:
        resource_id = "*"
    if resource_type != ANY_TYPE:
        check_asked_resource_type(resource_type, words)
    elif resource_id == "*":
        raise Broken(_RESOURCE_RULE)
    return f"{resource_type}/{'' if resource_id == '*' else check_uuid(resource_id)}"


def _payload_value(token: Token, _words: Vocabulary) -> str:
    if not is_value(token.value):
        raise Broken(VALUE_RULE)
    return f"{token.name.removeprefix(PAYLOAD_PREFIX)}={token.value}"


def _outcome(token: Token, _words: Vocabulary) -> str:
    if token.value not in OUTCOME_WORDS:
        raise Broken(f"An outcome is one of: {', '.join(OUTCOME_WORDS)}.")
    return OUTCOME_WORDS[token.value]


_VALUES: dict[str, Callable[[Token, Vocabulary], str]] = {
    "type": _type,
    "actor": _actor,
    "outcome": _outcome,
    "resource": _resource,
    "flow": lambda token, _: asked_form(token.value, check_correlation_id(token.value)),
    "cause": lambda token, _: check_causation_id(token.value),
}
"""The canonical form of a value, by the name of its term."""


_PLAIN_FIELDS = {
    ("type", False): "type_patterns",
    ("type", True): "excluded_event_types",
    ("outcome", False): "outcomes",
    ("outcome", True): "excluded_outcomes",
    ("flow", False): "correlation_ids",
    ("flow", True): "excluded_correlation_ids",
    ("cause", False): "causation_ids",
    ("cause", True): "excluded_causation_ids",
}
"""The field of `Query` that the values of a name are."""


def _fields(groups: Mapping[tuple[str, bool], Iterable[str]]) -> dict[str, tuple[str, ...]]:
    """The fields of `Query` that are set."""
    fields: dict[str, tuple[str, ...]] = {}
    for (name, excluded), values in groups.items():
        if name.startswith(PAYLOAD_PREFIX):
            field = "excluded_payload_values" if excluded else "payload_values"
            fields[field] = (*fields.get(field, ()), *values)
        elif name in ("actor", "resource"):
            fields |= _excluded_names(name, values) if excluded else _included_names(name, values)
        else:
            fields[_PLAIN_FIELDS[name, excluded]] = tuple(values)
    return fields


def _included_names(name: str, values: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Alternatives, in the field that costs least: all by type, all by id, or as they are."""
    pairs = [split_name(value) for value in values]
    if all(not id_ for _, id_ in pairs):
        return {f"{name}_types": tuple(type_ for type_, _ in pairs)}
    if all(type_ == ANY_TYPE for type_, _ in pairs):
        return {f"{name}_ids": tuple(id_ for _, id_ in pairs)}
    return {f"{name}s": tuple(values)}


def _excluded_names(name: str, values: Iterable[str]) -> dict[str, tuple[str, ...]]:
    types = tuple(split_name(value)[0] for value in values if not split_name(value)[1])
    others = tuple(value for value in values if split_name(value)[1])
    found = {f"excluded_{name}_types": types, f"excluded_{name}s": others}
    return {field: names for field, names in found.items() if names}


# -------------------------------------------------------------------------------------------------------- rendering


def render(query: Query) -> str | None:
    """The text that asks for the same events, in one fixed order; None if there is none.

    There is none for a query that matches nothing, nor for one whose filters are joined in a way that has no text.
    """
    included = {
        "type": _joined_types(query),
        "actor": _joined_names(query.actor_types, query.actor_ids, query.actors),
        "outcome": query.outcomes or None,
        "resource": _joined_names(query.resource_types, query.resource_ids, query.resources),
        "flow": query.correlation_ids or None,
        "cause": query.causation_ids or None,
        **_payload_terms(query.payload_values),
    }
    excluded = {
        "type": query.excluded_event_types,
        "actor": (*(f"{name}/" for name in query.excluded_actor_types), *query.excluded_actors),
        "outcome": query.excluded_outcomes,
        "resource": (*(f"{name}/" for name in query.excluded_resource_types), *query.excluded_resources),
        "flow": query.excluded_correlation_ids,
        "cause": query.excluded_causation_ids,
        **_payload_terms(query.excluded_payload_values),
    }
    terms: list[str] = []
    for sign, groups in (("", included), ("-", excluded)):
        for name, values in groups.items():
            if values == () and sign == "":
                return None
            if values is not None and len(values) > TERM_VALUES_MAX:
                return None
            terms += [f"{sign}{name}:{_value_text(name, value)}" for value in values or ()]
    for name, us in (("since", query.since), ("until", query.until)):
        if us is not None:
            terms.append(f"{name}:{format_time(us)}")
    return " ".join(terms)


def _payload_terms(texts: Iterable[str]) -> dict[str, tuple[str, ...]]:
    return {f"{PAYLOAD_PREFIX}{path}": values for path, values in values_by_path(texts).items()}


def _value_text(name: str, value: str) -> str:
    if name not in ("actor", "resource"):
        return quoted(value)
    type_, id_ = split_name(value)
    if not id_:
        return type_ if name == "resource" else f"{type_}/*"
    if name == "resource":
        return id_ if type_ == ANY_TYPE else value
    return quoted(id_ if type_ == ANY_TYPE and "/" not in id_ else value, literal=id_ == "*")


def _joined_types(query: Query) -> tuple[str, ...] | None:
    """Patterns of the types that all filters let pass; None without a filter, and empty if there is no such pattern."""
    first = (
        *(name for name in query.event_types if is_event_type(name)),
        *(f"{prefix}*" for prefix in query.event_type_prefixes),
    )
    second = query.type_patterns
    if not second:
        return first if first or query.event_types else None
    if not first:
        return () if query.event_types else second
    joined: dict[str, None] = {}
    for one in first:
        for other in second:
            if _covers(other, one):
                joined[one] = None
            elif _covers(one, other):
                joined[other] = None
            elif "*" in (one[0], other[0]) and "*" in (one[-1], other[-1]):
                return ()  # one gives the first segments, the other the last ones
    return tuple(joined)


def _covers(pattern: str, other: str) -> bool:
    """Whether every type that the other pattern matches is matched by this one."""
    if "*" not in other:
        return matches_type(other, pattern)
    if pattern.endswith(".*"):
        return other.endswith(".*") and other.startswith(pattern[:-1])
    return pattern.startswith("*.") and other.startswith("*.") and other.endswith(pattern[1:])


def _joined_names(types: tuple[str, ...], ids: tuple[str, ...], names: tuple[str, ...]) -> tuple[str, ...] | None:
    """Names that all three filters let pass; None without a filter, and empty if there is none."""
    groups = [
        [(type_, "") for type_ in types],
        [(ANY_TYPE, id_) for id_ in ids],
        [split_name(name) for name in names],
    ]
    joined: list[tuple[str, str]] | None = None
    for group in groups:
        if group and joined is None:
            joined = group
        elif group and joined is not None:
            joined = [both for one in joined for other in group if (both := _both(one, other)) is not None]
    return None if joined is None else tuple(dict.fromkeys(f"{type_}/{id_}" for type_, id_ in joined))


def _both(one: tuple[str, str], other: tuple[str, str]) -> tuple[str, str] | None:
    """What matches two names; None if nothing does."""
    types = {one[0], other[0]} - {ANY_TYPE} or {ANY_TYPE}
    ids = {one[1], other[1]} - {""} or {""}
    return (types.pop(), ids.pop()) if len(types) == len(ids) == 1 else None
