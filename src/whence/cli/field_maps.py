"""Field maps: which member of a record becomes which field of an event. Pure, except for reading the files.

A map is TOML; docs/importing.md describes it. Ready ones are in `data/maps`. A record is a JSON object, and becomes the
JSON of an event. Records are untrusted: sentences about them name fields and the members that a map looks for, never
what a record holds.
"""

import importlib.resources
import re
import tomllib
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import msgspec

from whence.errors import Invalid, WhenceError
from whence.identities import is_uuid, resource_uuid
from whence.wire.event import repeated_keys
from whence.wire.fields import near
from whence.wire.ids import derived_uuid
from whence.wire.times import TIME_MAX_US, TIME_MIN_US, format_time, parse_time

__all__ = ["FieldMap", "Unmapped", "load_map", "parse_map", "ready_maps"]

_REQUIRED = ("occurredAt", "eventType", "actorType", "actorId", "resourceType", "resourceId")
_OPTIONAL = ("id", "correlationId", "causationId", "outcome")
_FIELDS = (*_REQUIRED, *_OPTIONAL)

_UNIT_US = {"s": 1_000_000, "ms": 1_000, "us": 1}
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?", re.ASCII)
_WITHOUT_OFFSET = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2})(?:[T ]([0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]+)?)?))?")
_MINUTES_LENGTH = 5  # of a clock without seconds
_MEMBER = re.compile(r"\{([^{}]*)\}")
_UNKNOWN_KEY = re.compile(r"Object contains unknown field `([^`]*)`(?: - at `\$(.*)`)?", re.DOTALL)

_decode = msgspec.json.Decoder(dict[str, Any], float_hook=str).decode
_decode_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class Unmapped(Exception):
    """A record does not become an event. `str(error)` is a sentence that says why."""


class _Fields(msgspec.Struct, forbid_unknown_fields=True, rename="camel", kw_only=True):
    """The fields that a map sets: a template, or several of which the first counts whose members are all there."""

    occurred_at: str | list[str] = []
    event_type: str | list[str] = []
    actor_type: str | list[str] = []
    actor_id: str | list[str] = []
    resource_type: str | list[str] = []
    resource_id: str | list[str] = []
    id: str | list[str] = []
    correlation_id: str | list[str] = []
    causation_id: str | list[str] = []
    outcome: str | list[str] = []


class _When(_Fields, forbid_unknown_fields=True, rename="camel", kw_only=True):
    member: str
    is_: list[str | int | bool] | None = msgspec.field(default=None, name="is")


class _File(_Fields, forbid_unknown_fields=True, rename="camel", kw_only=True):
    records: str | None = None
    source: str = ""
    time: Literal["rfc3339", "utc", "s", "ms", "us"] = "rfc3339"
    payload: str | None = None
    omit: list[str] = []
    when: list[_When] = []


class _Member(msgspec.Struct, frozen=True):
    """A member by its path, and an ending that is removed from its text."""

    path: str
    ending: str = ""


class _Rule(msgspec.Struct, frozen=True):
    """How a field is found: the parts of a template, if the record has `member` with one of these texts."""

    parts: tuple[str | _Member, ...]
    member: str | None = None
    texts: frozenset[str] | None = None

    def holds(self, record: dict[str, Any]) -> bool:
        """Whether the rule is for this record."""
        if self.member is None:
            return True
        text = _text(_value_at(record, self.member))
        return text is not None and (self.texts is None or text in self.texts)

    def text(self, record: dict[str, Any]) -> str | None:
        """The field; None if a member is not there."""
        texts: list[str] = []
        for part in self.parts:
            found = part if isinstance(part, str) else _text(_value_at(record, part.path))
            if found is None:
                return None
            texts.append(found if isinstance(part, str) else found.removesuffix(part.ending))
        return "".join(texts) or None


class FieldMap(msgspec.Struct, frozen=True):
    """A map that was read. `records` names the member of a document that holds the list of records.

    `name` is the value of --map that names this map.
    """

    rules: dict[str, tuple[_Rule, ...]]
    records: str | None
    source: str
    time: str
    payload: str | None
    omit: frozenset[str]
    name: str = ""

    @property
    def resource_types(self) -> list[str]:
        """The resource types that stand in the map as they are."""
        templates = [rule.parts for rule in self.rules["resourceType"]]
        return [_snake_case(parts[0]) for parts in templates if len(parts) == 1 and isinstance(parts[0], str)]

    def event(self, record: bytes, new_id: Callable[[], str]) -> bytes:
        """The event of a record, as JSON. `new_id` makes its id if the map finds none. Raises Unmapped."""
        try:
            members = _decode(record)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            raise Unmapped("The record is not a JSON object.") from None
        fields = {name: self._found(name, members) for name in _FIELDS}
        missing = next((name for name in _REQUIRED if fields[name] is None), None)
        if missing:
            raise Unmapped(self._not_found(missing))
        event = {name: text for name, text in fields.items() if text is not None}
        event["occurredAt"] = self._time(event["occurredAt"])
        event["eventType"] = ".".join(map(_snake_case, event["eventType"].split(".")))
        for name in ("actorType", "resourceType"):
            event[name] = _snake_case(event[name])
        event["resourceId"] = resource_uuid(event["resourceType"], event["resourceId"])
        event["id"] = self._id(event["id"]) if "id" in event else new_id()
        if "causationId" in event:
            event["causationId"] = self._id(event["causationId"])
        return msgspec.json.encode({**event, "payload": msgspec.Raw(self._payload(record))})

    def _found(self, name: str, record: dict[str, Any]) -> str | None:
        texts = (rule.text(record) for rule in self.rules.get(name, ()) if rule.holds(record))
        return next((text for text in texts if text is not None), None)

    def _not_found(self, name: str) -> str:
        paths = [part.path for rule in self.rules[name] for part in rule.parts if isinstance(part, _Member)]
        looked_for = " or ".join(dict.fromkeys(paths))
        return f"The map finds no {name}: the record has no {looked_for}." if paths else f"The map finds no {name}."

    def _id(self, text: str) -> str:
        return text.lower() if is_uuid(text) else derived_uuid(self.source, text)

    def _time(self, text: str) -> str:
        if self.time in _UNIT_US:
            try:
                us = Decimal(text) * _UNIT_US[self.time]
                in_range = TIME_MIN_US <= us <= TIME_MAX_US
            except ArithmeticError:  # no number, or too large a one
                raise Unmapped(f'The map has time = "{self.time}", but occurredAt is not a number.') from None
            if not in_range:
                raise Unmapped(f'With time = "{self.time}", occurredAt is not between the years 1 and 9999.')
            return format_time(int(us))
        if _NUMBER.fullmatch(text):
            raise Unmapped('occurredAt is a number. Set time = "s", "ms" or "us" in the map.')
        parts = _WITHOUT_OFFSET.fullmatch(text)
        if parts is not None:
            if self.time != "utc":
                raise Unmapped('occurredAt has no offset. If it is UTC, set time = "utc" in the map.')
            day, clock = parts[1], parts[2] or "00:00"
            text = f"{day}T{clock}{':00' if len(clock) == _MINUTES_LENGTH else ''}Z"
        if self.time == "utc":
            try:
                parse_time(text)
            except ValueError:  # its sentence demands the offset that the map makes unnecessary
                raise Unmapped(
                    'With time = "utc", occurredAt is a date, or a date and a time, such as 2019-08-24 14:15:22, '
                    "of the years 1 to 9999."
                ) from None
        return text

    def _payload(self, record: bytes) -> bytes:
        body: bytes = record
        for name in self.payload.split(".") if self.payload else ():
            body = bytes(_decode_members(body).get(name, b"{}"))
            if not body.lstrip().startswith(b"{"):
                raise Unmapped("What the map names as payload is not an object.")
        if not self.omit:
            return body
        if repeated_keys(body):
            raise Unmapped("The record has the same key twice.")
        return msgspec.json.encode({name: raw for name, raw in _decode_members(body).items() if name not in self.omit})


def ready_maps() -> tuple[str, ...]:
    """The names of the maps that come with Whence."""
    return tuple(sorted(path.name.removesuffix(".toml") for path in _ready_folder().iterdir()))


def load_map(named: str) -> FieldMap:
    """The ready map of this name, or the map in this file. Raises Invalid and WhenceError."""
    names = ready_maps()
    try:
        if named in names:
            return parse_map((_ready_folder() / f"{named}.toml").read_text(encoding="utf-8"), named)
        return parse_map(Path(named).read_text(encoding="utf-8"), named)
    except FileNotFoundError:
        raise Invalid.at(
            (),
            f"--map names no file and no ready map. Ready maps: {', '.join(names)}. "
            "docs/importing.md says how to write one.",
        ) from None
    except OSError as error:
        raise WhenceError(f"The file of --map cannot be read: {error.strerror}.") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError, _BrokenMap) as error:
        reason = "It is not UTF-8." if isinstance(error, UnicodeDecodeError) else _with_nearest_key(str(error))
        raise Invalid.at((), f"The file of --map is not a map: {reason}") from None


class _BrokenMap(ValueError):
    """What is wrong with a map, as a sentence."""


def _with_nearest_key(reason: str) -> str:
    """The reason, and the known key that an unknown one looks like."""
    unknown = _UNKNOWN_KEY.fullmatch(reason)
    if unknown is None:
        return reason
    meant = near(unknown[1], (_When if unknown[2] else _File).__struct_encode_fields__)
    return f"{reason}. Did you mean `{meant}`?" if meant else reason


def parse_map(text: str, name: str = "") -> FieldMap:
    """A map from TOML. `name` is the value of --map that names it.

    Raises TOMLDecodeError, ValidationError or another ValueError, with a reason for the author.
    """
    file = msgspec.convert(tomllib.loads(text), _File)
    rules: dict[str, tuple[_Rule, ...]] = {}
    for when in file.when:
        _check_path("member of [[when]]", when.member)
    for field, attribute in zip(_File.__struct_encode_fields__, _File.__struct_fields__, strict=True):
        if field not in _FIELDS:
            continue
        given = [rule for when in file.when for rule in _rules(field, getattr(when, attribute), when)]
        given += _rules(field, getattr(file, attribute), None)
        if given:
            rules[field] = tuple(given)
        elif field in _REQUIRED:
            raise _BrokenMap(f"It does not say what {field} is.")
    payload = _parsed("payload", file.payload) if file.payload is not None else ()
    if file.payload is not None and not (len(payload) == 1 and isinstance(payload[0], _Member)):
        raise _BrokenMap('payload names one member, like payload = "{detail}".')
    path = next((part.path for part in payload if isinstance(part, _Member)), None)
    return FieldMap(rules, file.records, file.source, file.time, path, frozenset(file.omit), name)


def _rules(name: str, given: str | list[str], when: _When | None) -> Iterator[_Rule]:
    for template in [given] if isinstance(given, str) else given:
        parts = _parsed(name, template)
        if when is None:
            yield _Rule(parts)
        else:
            texts = None if when.is_ is None else frozenset(filter(None, map(_text, when.is_)))
            yield _Rule(parts, when.member, texts)


def _parsed(name: str, template: str) -> tuple[str | _Member, ...]:
    """The parts of a template: texts, and members in braces."""
    parts: list[str | _Member] = []
    end = 0
    for found in _MEMBER.finditer(template):
        parts += [template[end : found.start()], _member(name, found[1])]
        end = found.end()
    parts.append(template[end:])
    if any(brace in part for part in parts if isinstance(part, str) for brace in "{}"):
        raise _BrokenMap(f'A brace of {name} has no pair. A member is written like "{{user.name}}".')
    return tuple(part for part in parts if part)


def _member(name: str, text: str) -> _Member:
    """What stands in braces: the path of a member, and perhaps a percent sign and an ending."""
    path, percent, ending = text.partition("%")
    _check_path(name, path)
    if percent and (not ending or "%" in ending):
        raise _BrokenMap(f'A member of {name} has no ending after its %. One is written like "{{host%.example.com}}".')
    return _Member(path, ending)


def _check_path(name: str, path: str) -> None:
    if not all(path.split(".")):
        raise _BrokenMap(f'The name of a member is empty in {name}. A member is written like "{{user.name}}".')


def _value_at(value: Any, path: str) -> Any:
    """What is at a path like `user.name` or `resources.0.ARN`; None if nothing is. A member's name may have dots."""
    if isinstance(value, dict) and path in value:
        return value[path]
    head, dot, rest = path.partition(".")
    if isinstance(value, list) and head.isascii() and head.isdigit():
        if int(head) >= len(value):
            return None
        return _value_at(value[int(head)], rest) if dot else value[int(head)]
    return _value_at(value[head], rest) if isinstance(value, dict) and dot and head in value else None


def _text(value: Any) -> str | None:
    """A scalar as text; None for null, an empty text, lists and objects."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | str):
        return str(value) or None
    return None


def _snake_case(text: str) -> str:
    """`PutObject` and `put-object` as `put_object`."""
    parted = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", text)
    return re.sub(r"[^a-z0-9]+", "_", parted.lower()).strip("_")


def _ready_folder() -> Any:
    return importlib.resources.files("whence") / "data" / "maps"
