"""Requests about retention, legal holds and erasures, parsed. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from whence.errors import Invalid, Problem
from whence.events import Query, Vocabulary, is_event_type
from whence.identities import is_uuid
from whence.retention import AGE_DAYS_MAX, EVENT_IDS_MAX, RULES_MAX, Policy, TypeRule, actor_of
from whence.wire.ids import parse_uuid
from whence.wire.problems import json_object, unknown_names
from whence.wire.query_language import TEXT_LENGTH_MAX, parse_text, render

__all__ = ["REASON_MAX", "NewErasure", "NewHold", "parse_erasure", "parse_hold", "parse_policy"]

REASON_MAX = 500
"""Characters of a reason."""

_HOLD = ("q", "reason")
_POLICY = ("maxAgeDays", "rules")
_ERASURE = ("dryRun", "eventIds", "names", "q", "reason")
_RULE = ("eventType", "maxAgeDays")


class NewHold(msgspec.Struct, frozen=True, kw_only=True):
    """A hold as it is asked for. `q` is the text of the query in one fixed form, without relative times."""

    query: Query
    q: str
    reason: str


class NewErasure(msgspec.Struct, frozen=True, kw_only=True):
    """An erasure as it is asked for: of events by their ids, or of those that match a query. `names`: the id of the
    query's one actor is replaced too. `dry_run`: nothing is erased, and the answer says what would be."""

    query: Query | None = None
    event_ids: tuple[str, ...] = ()
    names: bool = False
    reason: str = ""
    dry_run: bool = False


def parse_hold(body: bytes, *, now: int, vocabulary: Vocabulary) -> NewHold:
    """A new hold. `now` is in microseconds. Raises Invalid with every problem."""
    problems: list[Problem] = []
    asked = _members(json_object(body), _HOLD, problems)
    query = _query(asked.get("q"), now, vocabulary, problems)
    reason = _reason(asked, problems)
    if problems:
        raise Invalid(problems)
    return NewHold(query=query, q=render(query) or str(asked["q"]), reason=reason)


def parse_erasure(body: bytes, *, now: int, vocabulary: Vocabulary) -> NewErasure:
    """A new erasure. `now` is in microseconds. Raises Invalid with every problem."""
    problems: list[Problem] = []
    asked = _members(json_object(body), _ERASURE, problems)
    query, event_ids = None, tuple[str, ...]()
    if len(asked.keys() & {"q", "eventIds"}) != 1:
        problems.append(Problem(("body",), "Send either q or eventIds: which payloads are to be erased.", "missing"))
    elif "q" in asked:
        query = _query(asked["q"], now, vocabulary, problems)
    else:
        event_ids = _event_ids(asked["eventIds"], problems)
    names, dry_run = (_switch(asked, name, problems) for name in ("names", "dryRun"))
    reason = _reason(asked, problems)
    if names and not problems and (query is None or actor_of(query) is None):
        sentence = "With names, q is one actor with its type and nothing else, as in actor:user/u-17."
        problems.append(Problem(("body", "names"), sentence, "one_actor"))
    if problems:
        raise Invalid(problems)
    return NewErasure(query=query, event_ids=event_ids, names=names, reason=reason, dry_run=dry_run)


def parse_policy(body: bytes) -> Policy:
    """A policy. Raises Invalid with every problem."""
    problems: list[Problem] = []
    asked = _members(json_object(body), _POLICY, problems)
    if "maxAgeDays" not in asked:
        sentence = "maxAgeDays is required: a number of days, or null to keep events for ever."
        problems.append(Problem(("body", "maxAgeDays"), sentence, "missing"))
    age = asked.get("maxAgeDays")
    max_age_days = None if age is None else _days(age, problems, ("body", "maxAgeDays"))
    given = asked.get("rules", [])
    if not isinstance(given, list) or len(given) > RULES_MAX:
        problems.append(Problem(("body", "rules"), f"rules is a list of at most {RULES_MAX} rules.", "list_type"))
        given = []
    rules = [_rule(each, problems, ("body", "rules", index)) for index, each in enumerate(given)]
    named = [rule.event_type for rule in rules]
    if len(set(named)) < len(named) and not problems:
        problems.append(Problem(("body", "rules"), "Two rules have the same event type.", "repeated"))
    if problems:
        raise Invalid(problems)
    return Policy(max_age_days=max_age_days, rules=tuple(rules))


def _members(
    asked: Mapping[str, Any], known: Sequence[str], problems: list[Problem], loc: tuple[str | int, ...] = ("body",)
) -> dict[str, Any]:
    """The known members of a body. Adds those that are unknown to `problems`."""
    sentence = f"There is no such field; known are {', '.join(known)}."
    problems += unknown_names(asked, known, loc, lambda _name: sentence)
    return {name: value for name, value in asked.items() if name in known}


def _query(text: Any, now: int, vocabulary: Vocabulary, problems: list[Problem]) -> Query:
    """What `q` asks for. An empty text would be about everything, and is refused."""
    if not isinstance(text, str) or not text.strip() or len(text) > TEXT_LENGTH_MAX:
        sentence = f"q says which events, in the query language: a text of at most {TEXT_LENGTH_MAX} characters."
        problems.append(Problem(("body", "q"), sentence, "missing" if text is None else "query_text"))
        return Query()
    parsed = parse_text(text, now=now, vocabulary=vocabulary)
    problems += [Problem(("body", *each.loc[1:]), each.msg, each.type) for each in parsed.problems]
    since, until = (None if time is None else time[0] for time in (parsed.since, parsed.until))
    if since is not None and until is not None and since > until:
        problems.append(Problem(("body", "q"), "The time in since lies after the time in until.", "time_range"))
    fields: dict[str, Any] = {**parsed.fields}
    return Query(**fields, since=since, until=until)


def _event_ids(given: Any, problems: list[Problem]) -> tuple[str, ...]:
    if (
        not isinstance(given, list)
        or not 0 < len(given) <= EVENT_IDS_MAX
        or not all(isinstance(each, str) and is_uuid(each) for each in given)
    ):
        sentence = f"eventIds is a list of 1 to {EVENT_IDS_MAX:,} ids of events, which are UUIDs."
        problems.append(Problem(("body", "eventIds"), sentence, "list_type"))
        return ()
    return tuple(dict.fromkeys(parse_uuid(each) for each in given))


def _reason(asked: Mapping[str, Any], problems: list[Problem]) -> str:
    reason = asked.get("reason")
    if not isinstance(reason, str) or not reason.strip() or len(reason) > REASON_MAX or not reason.isprintable():
        sentence = (
            f"reason says why, in 1 to {REASON_MAX} printable characters. It stays in the log, so name no person."
        )
        problems.append(Problem(("body", "reason"), sentence, "reason" if "reason" in asked else "missing"))
        return ""
    return reason


def _switch(asked: Mapping[str, Any], name: str, problems: list[Problem]) -> bool:
    value = asked.get(name, False)
    if not isinstance(value, bool):
        problems.append(Problem(("body", name), f"{name} is true or false.", "bool_type"))
        return False
    return value


def _rule(given: Any, problems: list[Problem], loc: tuple[str | int, ...]) -> TypeRule:
    if not isinstance(given, dict):
        problems.append(Problem(loc, "A rule is a JSON object.", "dict_type"))
        return TypeRule(event_type="", max_age_days=1)
    asked = _members(given, _RULE, problems, loc)
    event_type = asked.get("eventType")
    if not isinstance(event_type, str) or not _is_rule_type(event_type):
        sentence = "An event type is like order.shipped, or like order.* for all that begin so."
        problems.append(Problem((*loc, "eventType"), sentence, "string_pattern_mismatch"))
    days = _days(asked.get("maxAgeDays"), problems, (*loc, "maxAgeDays"))
    return TypeRule(event_type=str(event_type), max_age_days=days)


def _is_rule_type(text: str) -> bool:
    return is_event_type(text) or (text.endswith(".*") and is_event_type(text[:-1] + "x"))


def _days(value: Any, problems: list[Problem], loc: tuple[str | int, ...]) -> int:
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # to JSON, 60.0 is an integer too
    if type(value) is int and 1 <= value <= AGE_DAYS_MAX:
        return value
    problems.append(Problem(loc, f"This is a whole number of days from 1 to {AGE_DAYS_MAX:,}.", "out_of_range"))
    return 1
