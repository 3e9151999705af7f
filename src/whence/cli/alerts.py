"""The commands `alert list`, `create`, `show`, `delete` and `test`: rules that watch the log."""

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from cyclopts import App, Parameter

from whence.cli.events import FieldOptions
from whence.cli.layout import style_of_stdout
from whence.cli.profiles import ServerOptions, client_for
from whence.cli.terminal import JsonFlag, out, out_json, printable, say, table_or_lines
from whence.client import AlertCondition, Whence
from whence.client.alert_rules import alerts_of_test
from whence.counting import counted
from whence.errors import Invalid
from whence.identities import is_uuid
from whence.wire.alert_bodies import AlertBody, AlertConditionBody, AlertRuleBody

__all__ = ["ConditionOptions", "app", "create", "delete", "list_rules", "show", "test"]

app = App(name="alert", help_format="plaintext", version_flags=[])

RuleId = Annotated[str, Parameter(name="ID", help="The id of the rule, from 'whence alert list'.")]

_DURATION = re.compile(r"([0-9]{1,9})([smhdw])")
_UNIT_S = {"w": 604_800, "d": 86_400, "h": 3_600, "m": 60, "s": 1}


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class ConditionOptions:
    """Options that say when a rule fires; without any, at every matching event."""

    at_least: Annotated[int | None, Parameter(help="Fire for so many events, 2 to 2000, --within a time.")] = None
    within: Annotated[str | None, Parameter(help="How far apart they may be, such as 90s, 10m, 26h or 7d.")] = None
    per: Annotated[
        Literal["actor", "resource", "correlation", "eventType"] | None,
        Parameter(help="Count each of these for itself."),
    ] = None
    first_seen: Annotated[
        Literal["actor", "resource", "eventType"] | None,
        Parameter(help="Fire for the first event in the log of each of these."),
    ] = None
    absent: Annotated[str | None, Parameter(help="Fire when no event was stored for this time, such as 26h.")] = None

    @property
    def is_given(self) -> bool:
        """Whether any of them was passed."""
        return any(each is not None for each in (self.at_least, self.within, self.per, self.first_seen, self.absent))

    def condition(self) -> AlertCondition:
        """The condition. Raises Invalid for options that do not belong together."""
        counting = (self.at_least, self.within, self.per)
        if sum((any(each is not None for each in counting), self.first_seen is not None, self.absent is not None)) > 1:
            raise Invalid.at((), "Pass either --at-least with --within, or --first-seen, or --absent.")
        if self.first_seen is not None:
            return {"kind": "first_seen", "per": self.first_seen}
        if self.absent is not None:
            return {"kind": "absence", "window_s": _seconds(self.absent, "--absent")}
        if not any(each is not None for each in counting):
            return {"kind": "match"}
        if self.at_least is None or self.within is None:
            raise Invalid.at((), "--at-least and --within are passed together, as in --at-least 5 --within 10m.")
        window_s = _seconds(self.within, "--within")
        condition: AlertCondition = {"kind": "count", "threshold": self.at_least, "window_s": window_s}
        return condition if self.per is None else {**condition, "per": self.per}


@app.command(name="list")
def list_rules(*, json: JsonFlag = False, server: ServerOptions | None = None) -> None:
    """List the alert rules, oldest first."""
    with client_for(server) as whence:
        rules = whence.alert_rules.list()
    if json:
        out_json(msgspec.json.encode(rules))
        return
    if not rules:
        say("There are no alert rules. 'whence alert create' makes one.")
        return
    rows = [
        (rule.id, rule.name, _condition_text(rule.condition), _filters_text(rule), rule.stands_still or "watches")
        for rule in rules
    ]
    style = style_of_stdout()
    lines = (line for row in rows for line in style.filled(printable(" · ".join(filter(None, row)))))
    out(table_or_lines(("ID", "NAME", "FIRES", "EVENTS", "STATE"), rows, lines, style.width))


@app.command
def create(
    name: Annotated[str, Parameter(name="NAME", help="What the rule is called.")],
    /,
    *,
    filters: FieldOptions | None = None,
    condition: ConditionOptions | None = None,
    every_event: Annotated[
        bool, Parameter(negative="", help="Fire at each event that is stored. Needed without any other option.")
    ] = False,
    json: JsonFlag = False,
    server: ServerOptions | None = None,
) -> None:
    """Make an alert rule and print its id.

    The rule watches the events that are stored from now on. It sees what the API key may read, and
    stops with that key, which needs the scopes admin and events:read.
    """
    when, filters = condition or ConditionOptions(), filters or FieldOptions()
    if every_event is (when.is_given or any(filters.parameters().values())):
        raise Invalid.at(
            (),
            "This rule would fire at every event. Say which ones, such as with --outcome failure, or when, as with "
            "--at-least 5 --within 10m; or pass --every-event."
            if not every_event
            else "--every-event is passed alone, since the other options say that not every event is meant.",
        )
    with client_for(server) as whence:
        asked: Any = filters.resolved(whence)  # the keywords of the client
        rule = whence.alert_rules.create(name, when.condition(), **asked)
    if json:
        out_json(msgspec.json.encode(rule))
        return
    out(printable(rule.id))
    say("Its alerts: whence tail -f --event-type 'whence.*'")
    say(f"Try it: whence alert test {printable(rule.id)} --over 7d")


@app.command
def show(rule_id: RuleId, /, *, json: JsonFlag = False, server: ServerOptions | None = None) -> None:
    """Show an alert rule, how far it has judged the log, and which of its alerts fire."""
    with client_for(server) as whence:
        rule = whence.alert_rules.get(rule_id)
    if json:
        out_json(msgspec.json.encode(rule))
        return
    rows = {
        "name": rule.name,
        "fires": _condition_text(rule.condition),
        "events": _filters_text(rule),
        "state": rule.stands_still or "watches",
        "key": rule.key_id,
        "created": rule.created_at,
        "changed": rule.changed_at,
        "judged up to": None if rule.read_to is None else str(rule.read_to),
        "forgotten keys": str(rule.dropped_keys) if rule.dropped_keys else None,
        "refused alerts": str(rule.refused_alerts) if rule.refused_alerts else None,
        "missed before": None if rule.missed_before is None else str(rule.missed_before),
    }
    width = max(map(len, rows))
    for label, text in rows.items():
        if text is not None:
            out(f"{label.ljust(width)}  {printable(text)}")
    for alert in rule.firing or ():
        out(f"{'fires now'.ljust(width)}  {printable(_key_text(alert.key) or 'the rule')}  {printable(alert.alert_id)}")
    if rule.firing_total and rule.firing is not None and rule.firing_total > len(rule.firing):
        say(f"And {rule.firing_total - len(rule.firing):,} more that fire now.")


@app.command
def delete(rule_id: RuleId, /, *, server: ServerOptions | None = None) -> None:
    """Delete an alert rule. Its alerts stay in the log; those that fire do not resolve."""
    with client_for(server) as whence:
        whence.alert_rules.delete(rule_id)
    say("Deleted.")


@app.command
def test(
    rule: Annotated[
        str | None,
        Parameter(name="RULE", help="The id of a rule, a file with filters and condition as JSON, or - for stdin."),
    ] = None,
    /,
    *,
    over: Annotated[str, Parameter(help="How far back to begin, such as 90m, 24h or 7d.")],
    filters: FieldOptions | None = None,
    condition: ConditionOptions | None = None,
    json: Annotated[bool, Parameter(name="--json", negative="", help="Print each alert as JSON, one a line.")] = False,
    server: ServerOptions | None = None,
) -> None:
    """Try a rule on the past: print when it would have fired and resolved. Nothing is stored.

    Without RULE, the options say which rule is tried, as those of 'whence alert create'.
    """
    filters = filters or FieldOptions()
    if rule is not None and (any(filters.parameters().values()) or (condition is not None and condition.is_given)):
        raise Invalid.at((), "Pass either RULE, or the options of a rule.")
    fired = resolved = 0
    with client_for(server) as whence:
        for alert in _alerts(whence, rule, over, filters.resolved(whence), condition or ConditionOptions()):
            fired, resolved = fired + (alert.type == "fired"), resolved + (alert.type == "resolved")
            if json:
                out_json(msgspec.json.encode(alert))
            else:
                out(printable(_alert_text(alert)))
    say(f"{counted(fired, 'alert')} would have fired in the last {printable(over)}, and {resolved:,} resolved.")


def _alerts(
    whence: Whence, rule: str | None, over: str, asked: dict[str, Any], condition: ConditionOptions
) -> Iterator[AlertBody]:
    if rule is None:
        return whence.alert_rules.test(condition.condition(), over=over, **asked)
    if is_uuid(rule):
        return whence.alert_rules.test(rule, over=over)
    body = sys.stdin.buffer.read() if rule == "-" else Path(rule).read_bytes()
    try:
        return alerts_of_test(whence.send, {"rule": msgspec.json.decode(body), "over": over})
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise Invalid.at((), "The file of the rule is not JSON.") from None


def _seconds(text: str, flag: str) -> int:
    found = _DURATION.fullmatch(text)
    if found is None:
        raise Invalid.at((), f"{flag} needs a time such as 90s, 10m, 26h or 7d.")
    return int(found[1]) * _UNIT_S[found[2]]


def _condition_text(condition: AlertConditionBody) -> str:
    """When a rule fires, in words."""
    window = "" if condition.window_s is None else _duration(condition.window_s)
    match condition.kind:
        case "count":
            per = "" if condition.per is None else f" per {condition.per}"
            return f"{condition.threshold} events within {window}{per}"
        case "first_seen":
            return f"first event of each {condition.per}"
        case "absence":
            return f"no event for {window}"
    return "every event"


def _duration(seconds: int) -> str:
    """A time in the largest unit that divides it."""
    return next(f"{seconds // size}{unit}" for unit, size in _UNIT_S.items() if seconds % size == 0)


def _filters_text(rule: AlertRuleBody) -> str:
    return " ".join(f"{name}={','.join(values)}" for name, values in rule.filters.items()) or "all"


def _key_text(key: dict[str, str]) -> str:
    return " ".join(key.values())


def _alert_text(alert: AlertBody) -> str:
    """A line about an alert."""
    count = f"{counted(alert.count, 'event')}" if alert.count else ""
    cause = "" if alert.causation_id is None else f"because of {alert.causation_id}"
    parts = (alert.at, alert.type.ljust(8), _key_text(alert.key), count, cause)
    return "  ".join(part for part in parts if part)
