"""Alert rules as they are asked for and answered."""

import re
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from whence.alerts import (
    ALERT_TYPES,
    KINDS,
    PER,
    THRESHOLD_MAX,
    WINDOW_MAX_S,
    AlertRule,
    Condition,
    Transition,
    key_fields,
)
from whence.errors import Invalid, Problem, TooLarge
from whence.events import Query, Vocabulary
from whence.json_decoding import decode_json
from whence.wire.alert_bodies import AlertBody, AlertConditionBody, AlertRuleBody
from whence.wire.filters import filters_of_query, parse_filters
from whence.wire.problems import nearest_or_all, unknown_names
from whence.wire.times import format_time

__all__ = [
    "NAME_MAX",
    "OVER_PATTERN",
    "RuleFields",
    "TestRequest",
    "alert_body",
    "condition_body",
    "parse_rule",
    "parse_test",
    "rule_body",
]

NAME_MAX = 100
"""Characters of the name of a rule."""

OVER_PATTERN = r"([1-9][0-9]{0,4})([smhdw])"
"""How long a past is written."""

_REST_MAX = 64 * 1024

_RULE = ("name", "filters", "condition")
_TEST = ("rule", "ruleId", "over", "continuation")
_CONDITION = {
    "match": ("kind",),
    "count": ("kind", "threshold", "windowS", "per"),
    "first_seen": ("kind", "per"),
    "absence": ("kind", "windowS"),
}
_OVER = re.compile(OVER_PATTERN)
_UNIT_S = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}


class _Continued(msgspec.Struct):
    """The one member of a test that may be long, not decoded."""

    continuation: msgspec.Raw = msgspec.Raw(b"null")


_decode_continuation = msgspec.json.Decoder(_Continued).decode


class RuleFields(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of a new rule, or those to change. `take_over` lets it go on with the credential of the request."""

    name: str | UnsetType = UNSET
    query: Query | UnsetType = UNSET
    condition: Condition | UnsetType = UNSET
    take_over: bool = False


class TestRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Which rule is tried, by its fields or its id; over how long a past, in microseconds; and where to go on."""

    __test__ = False  # for pytest, which takes it for a test

    rule: RuleFields | None
    rule_id: str
    over_us: int
    continuation: str | None


def parse_rule(body: bytes, vocabulary: Vocabulary, *, new: bool) -> RuleFields:
    """The fields of a new rule, or those to change. Raises Invalid with every problem."""
    problems: list[Problem] = []
    asked = _members(_decoded(body), _RULE if new else (*_RULE, "takeOver"), problems)
    fields = _rule_fields(asked, vocabulary, problems, ("body",), new=new)
    if not isinstance(asked.get("takeOver", False), bool):
        problems.append(Problem(("body", "takeOver"), "takeOver is true or false.", "bool_type"))
    if problems:
        raise Invalid(problems)
    return msgspec.structs.replace(fields, take_over=asked.get("takeOver", False))


def parse_test(body: bytes, vocabulary: Vocabulary) -> TestRequest:
    """Which rule is tried on which past. Raises Invalid with every problem, and TooLarge for more than 64 KiB beside
    the continuation."""
    _check_rest(body)
    problems: list[Problem] = []
    asked = _members(_decoded(body), _TEST, problems)
    rule = None
    if len(asked.keys() & {"rule", "ruleId"}) != 1:
        problems.append(Problem(("body",), "Send either a rule, or the ruleId of one.", "missing"))
    elif "rule" in asked:
        given = _members(asked["rule"], _RULE, problems, ("body", "rule"))
        rule = _rule_fields({"name": "test", **given}, vocabulary, problems, ("body", "rule"), new=True)
    for name in ("ruleId", "continuation"):
        if name in asked and not (isinstance(asked[name], str) or (asked[name] is None and name == "continuation")):
            problems.append(Problem(("body", name), f"{name} is a text.", "string_type"))
    over = asked.get("over")
    found = _OVER.fullmatch(over) if isinstance(over, str) else None
    if found is None:
        sentence = "over is how far back the test begins, such as 90m, 24h or 7d: at most five digits and a unit."
        problems.append(Problem(("body", "over"), sentence, "out_of_range" if "over" in asked else "missing"))
    if problems:
        raise Invalid(problems)
    return TestRequest(
        rule=rule,
        rule_id=asked.get("ruleId", ""),
        over_us=0 if found is None else int(found[1]) * _UNIT_S[found[2]] * 1_000_000,
        continuation=asked.get("continuation"),
    )


def _check_rest(body: bytes) -> None:
    """Raise TooLarge for a body that is long, but not because of its continuation, before anything else is decoded."""
    if len(body) <= _REST_MAX:
        return
    try:
        continuation = bytes(_decode_continuation(body).continuation)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        continuation = b""
    if not continuation.startswith(b'"') or len(body) - len(continuation) > _REST_MAX:
        raise TooLarge(f"A test has at most {_REST_MAX // 1024} KiB beside its continuation, which is a text.")


def _decoded(body: bytes) -> Any:
    try:
        return decode_json(body)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        raise Invalid.at(("body",), "The body must be JSON.", "json_invalid") from None


def _members(
    asked: Any, known: tuple[str, ...], problems: list[Problem], loc: tuple[str, ...] = ("body",)
) -> dict[str, Any]:
    """The members of a JSON object. Adds a problem for each that is not known, and for what is no object."""
    if not isinstance(asked, dict):
        problems.append(Problem(loc, "This must be a JSON object.", "dict_type"))
        return {}
    hint = nearest_or_all(known, "known are")
    problems += unknown_names(asked, known, loc, lambda name: f"There is no such field; {hint(name)}.")
    return {name: value for name, value in asked.items() if name in known}


def _rule_fields(
    asked: Mapping[str, Any], vocabulary: Vocabulary, problems: list[Problem], loc: tuple[str, ...], *, new: bool
) -> RuleFields:
    """The fields of a rule. Adds what is wrong with them to `problems`."""
    fields: dict[str, Any] = {}
    for name in ("name", "condition") if new else ():
        if name not in asked:
            problems.append(Problem((*loc, name), f"{name} is required.", "missing"))
    if "name" in asked:
        fields["name"] = name = asked["name"]
        if not isinstance(name, str) or not name.strip() or len(name) > NAME_MAX or not name.isprintable():
            sentence = f"A name is printable text of 1 to {NAME_MAX} characters."
            problems.append(Problem((*loc, "name"), sentence, "string_type"))
    if "condition" in asked:
        fields["condition"] = _condition(asked["condition"], problems, (*loc, "condition"))
    if "filters" in asked:
        where = (*loc, "filters")
        query = fields["query"] = parse_filters(asked["filters"], vocabulary, problems, where)
        if any(name in ALERT_TYPES for name in query.event_types):
            sentence = "A rule never matches the events of alerts: it might raise alerts about its own."
            problems.append(Problem((*where, "eventType"), sentence, "alert_of_alerts"))
    return RuleFields(**fields)


def _condition(given: Any, problems: list[Problem], loc: tuple[str, ...]) -> Condition:
    kind = given.get("kind") if isinstance(given, dict) else None
    if not isinstance(kind, str) or kind not in KINDS:
        sentence = f"A condition is an object with a kind, one of: {', '.join(KINDS)}."
        problems.append(Problem((*loc, "kind"), sentence, "enum"))
        return Condition(kind="match")
    # A condition is answered with null for what its kind does not have, and may be sent so.
    present = {name: value for name, value in given.items() if value is not None or name not in _CONDITION["count"]}
    asked = _members(present, _CONDITION[kind], problems, loc)
    per = asked.get("per")
    if (per is not None or kind == "first_seen") and per not in PER[kind]:
        problems.append(Problem((*loc, "per"), f"per is one of: {', '.join(PER[kind])}.", "enum"))
        per = None
    threshold = window_s = 0
    if kind == "count":
        threshold = _number(asked, "threshold", 2, THRESHOLD_MAX, problems, loc)
    if "windowS" in _CONDITION[kind]:
        window_s = _number(asked, "windowS", 1, WINDOW_MAX_S, problems, loc)
    return Condition(kind=kind, per=per, threshold=threshold, window_us=window_s * 1_000_000)


def _number(
    asked: Mapping[str, Any], name: str, least: int, most: int, problems: list[Problem], loc: tuple[str, ...]
) -> int:
    value = asked.get(name)
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # to JSON, 60.0 is an integer too
    if type(value) is int and least <= value <= most:
        return value
    sentence = f"{name} is a whole number from {least} to {most}."
    problems.append(Problem((*loc, name), sentence, "out_of_range" if name in asked else "missing"))
    return least


# ------------------------------------------------------------------------------------------------------------ answers


def condition_body(condition: Condition) -> AlertConditionBody:
    """The body of a condition."""
    return AlertConditionBody(
        kind=condition.kind,  # type: ignore[arg-type]  # one of KINDS, which was checked when it came
        per=condition.per,  # type: ignore[arg-type]  # one of PER, likewise
        threshold=condition.threshold or None,
        window_s=condition.window_us // 1_000_000 or None,
    )


def rule_body(rule_id: str, rule: AlertRule, stands_still: str | None) -> AlertRuleBody:
    """The body of a rule."""
    return AlertRuleBody(
        changed_at=format_time(rule.changed_at),
        condition=condition_body(rule.condition),
        created_at=format_time(rule.created_at),
        filters=filters_of_query(rule.query),
        id=rule_id,
        key_id=rule.key_id,
        name=rule.name,
        stands_still=stands_still,
    )


def alert_body(condition: Condition, transition: Transition) -> AlertBody:
    """The body of an alert."""
    return AlertBody(
        at=format_time(transition.at),
        causation_id=transition.cause,
        count=transition.count,
        event_ids=list(transition.event_ids),
        key=key_fields(condition.per, transition.key),
        type="fired" if transition.fired else "resolved",
    )
