"""The rules of single fields, shared by bodies, CloudEvents and query strings.

Each check returns the canonical form or raises `Broken`, whose sentence never repeats the input.
"""

import re
from collections.abc import Iterable
from functools import lru_cache

from whence.events import EVENT_LOG, EVENT_TYPE_MAX, OUTCOMES, TEXT_MAX, Vocabulary, is_event_type, is_word
from whence.identities import canonical
from whence.wire.ids import parse_uuid

__all__ = [
    "Broken",
    "asked_form",
    "check_actor_id",
    "check_actor_type",
    "check_asked_resource_type",
    "check_causation_id",
    "check_cause_of",
    "check_correlation_id",
    "check_event_type",
    "check_new_actor_id",
    "check_outcome",
    "check_resource_type",
    "check_text",
    "check_uuid",
    "check_word",
    "near",
    "nearest",
]

RESERVED_PREFIX = "whence."
"""Event types that only the log itself may write."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")  # exactly the Unicode category Cc
_PSEUDONYM = re.compile(r"erased-[0-9a-f]{16}")
_NAME_MAX = 64
_EVENT_TYPES_CACHED = 4_096

_NEAR = 0.45
"""The least likeness of a name that is suggested: `type` for `event_type` has 0.46, `sort` for `cursor` 0.4."""

_ADDED_BY = {"A resource type": "WHENCE_RESOURCE_TYPES", "An actor type": "WHENCE_ACTOR_TYPES"}
"""The setting by which an operator adds to a vocabulary."""


class Broken(ValueError):
    """A field breaks its rule. `type` is the name of the rule, as in the body of a 422."""

    def __init__(self, message: str, type_: str = "value_error") -> None:
        super().__init__(message)
        self.type = type_


def check_text(text: str, noun: str, characters_max: int = TEXT_MAX) -> str:
    """Check an indexed text: 1..`characters_max` characters, none of them a control character."""
    if not text:
        raise Broken(f"{noun} must not be empty.", "string_too_short")
    if len(text) > characters_max:
        raise Broken(f"{noun} has at most {characters_max} characters.", "string_too_long")
    if not text.isprintable() and _CONTROL.search(text):
        raise Broken(f"{noun} must not contain control characters.", "string_control_character")
    return text


def check_actor_id(text: str) -> str:
    """An actorId: 1..255 characters without control characters. A hyphenated UUID is converted to lower case."""
    return canonical(check_text(text, "An actor id"))


def check_new_actor_id(text: str) -> str:
    """The actorId of a new event: one that has not the form of those that stand for erased ids. Their events cannot be
    compared with their leaves."""
    if _PSEUDONYM.fullmatch(text):
        raise Broken("An actor id of erased- and 16 hexadecimal digits stands for an erased one.", "reserved")
    return check_actor_id(text)


def check_correlation_id(text: str) -> str:
    """A correlationId: 1..255 characters without control characters. A hyphenated UUID is converted to lower case."""
    return canonical(check_text(text, "A correlation id"))


def check_causation_id(text: str) -> str:
    """A causationId: 1..255 characters without control characters. A hyphenated UUID is converted to lower case."""
    return canonical(check_text(text, "A causation id"))


def asked_form(text: str, checked: str) -> str:
    """The canonical form of a filter. A UUID in mixed case stays as it is: what an earlier release stored under that
    spelling is found by no other."""
    return checked if text in (checked, checked.upper()) else text


def check_cause_of(event_id: object, causation_id: object) -> None:
    """Refuse an event that names itself as its cause. Both are in canonical form."""
    if causation_id == event_id:
        raise Broken("An event cannot be its own cause.", "self_cause")


def check_uuid(text: str) -> str:
    """A hyphenated UUID in any case; returned in lower case."""
    try:
        return parse_uuid(text)
    except ValueError as error:
        raise Broken(str(error), "uuid_parsing") from None


@lru_cache(_EVENT_TYPES_CACHED)
def check_event_type(text: str) -> str:
    """An event type that a client may write. Those that begin with `whence.` are reserved for the log itself."""
    if not is_event_type(text):
        raise Broken(
            "An event type is 2 to 5 segments of [a-z][a-z0-9_]* joined by dots, "
            f"at most {EVENT_TYPE_MAX} characters, such as order.shipped.",
            "string_pattern_mismatch",
        )
    if text.startswith(RESERVED_PREFIX):
        raise Broken("Event types that start with whence. are reserved for the log's own record.", "reserved")
    return text


def check_resource_type(text: str, words: Vocabulary) -> str:
    """One of the resource types of this installation."""
    if words.has_resource_type(text):
        return text
    if words.any_resource_type:
        return check_word(text, "A resource type")
    return _one_of(text, words.resource_types, "A resource type")


def check_asked_resource_type(text: str, words: Vocabulary) -> str:
    """A resource type that a question may name: one that a client may write, or that of the events about the log."""
    return text if text == EVENT_LOG else check_resource_type(text, words)


def check_word(text: str, noun: str) -> str:
    """A word that some installation may have as a resource or actor type."""
    if not is_word(text):
        raise Broken(f"{noun} is a word of [a-z][a-z0-9_]*, at most 63 characters.", "string_pattern_mismatch")
    return text


def check_actor_type(text: str, known: Iterable[str]) -> str:
    """One of the actor types that this installation knows."""
    return _one_of(text, known, "An actor type")


def check_outcome(text: str) -> str:
    """success, failure or none."""
    return _one_of(text, OUTCOMES, "An outcome")


def _one_of(text: str, known: Iterable[str], noun: str) -> str:
    if text in known:
        return text
    more = f" The server's setting {_ADDED_BY[noun]} adds others." if noun in _ADDED_BY else ""
    raise Broken(f"{noun} is one of: {', '.join(known)}.{more}", "enum")


def near(name: str, known: Iterable[str]) -> str | None:
    """The known name that was probably meant by `name`; None if none looks like it. The cost is that of `nearest`."""
    found = nearest(name, known)
    return found if _likeness(_folded(name), _folded(found)) >= _NEAR else None


def nearest(name: str, known: Iterable[str]) -> str:
    """The known name that looks most like `name`, whatever its case and underscores; the first of equals.

    `known` is not empty. The cost is bounded, since only the start of a long name is compared.
    """
    wanted = _folded(name)
    return max(known, key=lambda one: _likeness(wanted, _folded(one)))


def _folded(name: str) -> str:
    return name[:_NAME_MAX].lower().replace("_", "")


def _likeness(a: str, b: str) -> float:
    """The Sørensen-Dice coefficient of the pairs of neighbouring letters, 0..1. The first letter counts as a pair.

    Measured against `difflib`, which costs as much and guesses other names.
    """
    pairs_a = {a[i : i + 2] for i in range(len(a) - 1)} | {a[:1]}
    pairs_b = {b[i : i + 2] for i in range(len(b) - 1)} | {b[:1]}
    return 2 * len(pairs_a & pairs_b) / (len(pairs_a) + len(pairs_b))
