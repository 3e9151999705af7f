"""Tells an event as a sentence: who did what, to which object, and in which detail. Pure, except for reading the words.

The words are data: `data/sentences.toml`, and a file of the same form to which `WHENCE_SENTENCES` points. Payloads are
untrusted text; what is returned here has to be escaped for where it is shown.
"""

import contextlib
import importlib.resources
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any, Protocol

import msgspec

from whence.counting import counted
from whence.errors import WhenceError
from whence.json_decoding import decode_json

__all__ = [
    "Described",
    "Grammar",
    "Sentence",
    "load_grammar",
    "named_failures",
    "sentence_of",
    "without_middle",
]

_DETAIL_MAX = 400
"""Characters of a detail. Beyond it, its middle is left out, since the end often tells two errors apart."""

_LEAVES_MAX = 40
"""Values of a payload that are looked at."""

_DEPTH_MAX = 8

_CUT_LIST = re.compile(r"\[\s*[\[{\"]")
_CUT_OBJECT = re.compile(r"\{\s*\"")
_TOKEN = re.compile(
    r""""((?:[^"\\]|\\.)*+)("\s*+:|"|\\?\Z)|(?<![\d.eE+-])(-?\d[\d.eE+-]*+|true|false)(?=[\s,\]}])""", re.DOTALL
)
"""How JSON begins of which a recorder cut off the end, and its texts, each of which may be a name, and numbers.

A search that fails must not begin again within the same text or number: with each of its quotes and digits it would
read the rest once more. So a text goes to its end, even if there is no quote there, and nothing is given back.
"""

_START = ".started"

_PLACE = re.compile(r"\{([A-Za-z0-9_.]{1,64})(?: ([a-z]{1,32}))?\}")
"""Where a text of `object_texts` or `detail_texts` has a member of the payload: its path, and a noun after a number."""


class Described(Protocol):
    """What a sentence needs of an event, beside its payload."""

    @property
    def event_type(self) -> str:
        """For example `action_run.failed`."""
        ...

    @property
    def outcome(self) -> str:
        """`success`, `failure` or `none`."""
        ...

    @property
    def actor_id(self) -> str:
        """Who did it."""
        ...

    @property
    def resource_type(self) -> str:
        """For example `action_run`."""
        ...

    @property
    def resource_id(self) -> str:
        """A UUID."""
        ...


class Grammar(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which members of a payload mean what, and which words are past forms; `data/sentences.toml` says it for each."""

    past: tuple[str, ...] = ()
    objects: tuple[str, ...] = ()
    without_object: tuple[str, ...] = ()
    quotes: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()
    results: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    hidden: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    verbs: Mapping[str, str] = {}
    unquoted: Mapping[str, str] = {}
    unquoted_objects: Mapping[str, str] = {}
    object_texts: Mapping[str, tuple[str, ...]] = {}
    detail_texts: Mapping[str, tuple[str, ...]] = {}


class _File(msgspec.Struct, forbid_unknown_fields=True):
    verbs: dict[str, str] = {}
    unquoted: dict[str, str] = {}
    unquoted_objects: dict[str, str] = {}
    object_texts: dict[str, tuple[str, ...]] = {}
    detail_texts: dict[str, tuple[str, ...]] = {}
    grammar: Grammar = Grammar()


_TABLES = tuple(name for name in _File.__struct_fields__ if name != "grammar")
"""The tables by event type, beside the lists of `[grammar]`."""


class Sentence(msgspec.Struct, frozen=True):
    """The parts of a sentence. `object` and `detail` may be empty; a quoted detail is what somebody said.

    An event type that no verb is known for stands in its place, with `is_verb` false.
    """

    actor: str
    verb: str
    object: str
    detail: str
    is_verb: bool = True
    is_quote: bool = False
    is_failure: bool = False
    is_named: bool = False
    """Whether a member of the payload names the object."""
    object_alone: str = ""
    """What stands as the object where there is none and no detail either, as "a message" after "sent"."""

    @property
    def shown_detail(self) -> str:
        """The detail, in quotation marks if it is a quotation."""
        return f"“{self.detail}”" if self.is_quote and self.detail else self.detail

    def __str__(self) -> str:
        actor = self.actor if self.is_verb else f"{self.actor}:"
        object_ = self.object or ("" if self.detail else self.object_alone)
        return " ".join(part for part in (actor, self.verb, object_, self.shown_detail) if part)


def load_grammar(path: Path | None = None) -> Grammar:
    """The built-in grammar, with the entries of this file before its own. Raises WhenceError for an unusable file."""
    text = (importlib.resources.files("whence") / "data/sentences.toml").read_text(encoding="utf-8")
    built_in = _parsed(text)
    if path is None:
        return built_in
    try:
        own = _parsed(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise WhenceError(f"The file of WHENCE_SENTENCES cannot be read: {error.strerror}.") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise WhenceError(f"The file of WHENCE_SENTENCES is not valid: {error}") from None
    both: dict[str, Any] = {
        name: {**getattr(built_in, name), **getattr(own, name)}
        if name in _TABLES
        else getattr(own, name) + getattr(built_in, name)
        for name in Grammar.__struct_fields__
    }
    return Grammar(**both)


def _parsed(text: str) -> Grammar:
    file = msgspec.convert(tomllib.loads(text), _File)
    return msgspec.structs.replace(file.grammar, **{name: getattr(file, name) for name in _TABLES})


def sentence_of(event: Described, payload: bytes, grammar: Grammar) -> Sentence:
    """The sentence of an event. An unreadable payload has no detail."""
    members = _members(payload)
    name, object_ = _object(event, members, grammar)
    filled_object = _filled(grammar.object_texts.get(event.event_type, ()), members)
    is_failure = event.outcome == "failure"
    if event.event_type in grammar.detail_texts:
        detail, is_quote = _filled(grammar.detail_texts[event.event_type], members), False
    else:
        detail, is_quote = _detail(
            {key: value for key, value in members.items() if key != name}, is_failure=is_failure, grammar=grammar
        )
    verb = (None if is_quote else grammar.unquoted.get(event.event_type)) or _verb(event.event_type, grammar)
    return Sentence(
        actor=event.actor_id,
        verb=verb or (f"{event.event_type} failed" if is_failure else event.event_type),
        object=filled_object or ("" if verb and event.resource_type in grammar.without_object else object_),
        detail=without_middle(detail),
        is_verb=verb is not None,
        is_quote=is_quote,
        is_failure=is_failure,
        is_named=name is not None or filled_object != "",
        object_alone="" if is_quote else grammar.unquoted_objects.get(event.event_type, ""),
    )


def named_failures(events: Mapping[str, Described], sentences: Mapping[str, Sentence]) -> dict[str, Sentence]:
    """The sentences of events, by id. That of a failure with no name for its object takes the name from the start of
    the same run, if that is among the events.
    """
    names = {
        _run(event): sentences[id_].object
        for id_, event in events.items()
        if event.event_type.endswith(_START) and sentences[id_].is_named
    }
    return {
        id_: msgspec.structs.replace(sentence, object=names[_run(events[id_])], is_named=True)
        if sentence.is_failure and sentence.object and not sentence.is_named and _run(events[id_]) in names
        else sentence
        for id_, sentence in sentences.items()
    }


def _run(event: Described) -> tuple[str, str, str]:
    return event.event_type.rpartition(".")[0], event.resource_type, event.resource_id


def _members(payload: bytes) -> dict[str, Any]:
    try:
        decoded = decode_json(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return {}
    return decoded if isinstance(decoded, dict) else {}


def _verb(event_type: str, grammar: Grammar) -> str | None:
    verb = grammar.verbs.get(event_type)
    if verb is None:
        last = event_type.rpartition(".")[2]
        word = last.rpartition("_")[2]
        if word.endswith("ed") or word in grammar.past:
            verb = last.replace("_", " ")
    return verb


def _object(event: Described, members: Mapping[str, Any], grammar: Grammar) -> tuple[str | None, str]:
    """The member that names the object, and its text; without one, the resource."""
    for name in grammar.objects:
        value = _at(members, name)
        if isinstance(value, str) and value.strip():
            kinds = [_one_line(members[kind]) for kind in grammar.kinds if isinstance(members.get(kind), str)]
            return name, " ".join([*kinds[:1], _one_line(value)])
    return None, f"{event.resource_type.replace('_', ' ')} {event.resource_id[:8]}"


def _filled(texts: Sequence[str], members: Mapping[str, Any]) -> str:
    """The first of these texts of which the payload has every member; empty if there is none."""
    for text in texts:
        values = {place[0]: _value_at(place, members) for place in _PLACE.finditer(text)}
        if all(values.values()):
            return _PLACE.sub(lambda place: values[place[0]], text)  # noqa: B023  (it is called at once)
    return ""


def _value_at(place: re.Match[str], members: Mapping[str, Any]) -> str:
    """What such a text has in this place; empty for what cannot stand there."""
    value, noun = _at(members, place[1]), place[2]
    if isinstance(value, str):
        return "" if noun else _one_line(value)
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return counted(value, noun) if noun else f"{value:,}"
    return ""


def _at(value: Any, path: str) -> Any:
    """What is at a path like `tool`, `request.name` or `resources.0.ARN`; None if nothing is."""
    for name in path.split("."):
        if isinstance(value, list) and name.isdecimal() and int(name) < len(value):
            value = value[int(name)]
        else:
            value = value.get(name) if isinstance(value, dict) else None
    return value


def _detail(members: Mapping[str, Any], *, is_failure: bool, grammar: Grammar) -> tuple[str, bool]:
    """The detail, and whether it is a quotation."""
    for name in grammar.quotes:
        if isinstance(members.get(name), str) and members[name].strip():
            return _one_line(members[name]), True
    if is_failure:
        errors = [_one_line(members[name]) for name in grammar.errors if isinstance(members.get(name), str)]
        errors = [error.removeprefix("Error: ") for error in errors if error]
        if errors:
            return ": ".join(dict.fromkeys(errors[:2])), False
    for name in (*grammar.results, *grammar.arguments):
        if name in members:
            return _value_text(members[name]), False
    shown = {
        name: value
        for name, value in members.items()
        if name not in (*grammar.hidden, *grammar.kinds) and not name.startswith("_")
    }
    return _joined(_leaves(shown)), False


def _value_text(value: Any) -> str:
    """What came out, or went in. Text that is JSON is read as such."""
    if isinstance(value, str):
        try:
            decoded = decode_json(value.encode())
        except (msgspec.MsgspecError, UnicodeEncodeError, RecursionError):
            return _cut_off(value)
        if not isinstance(decoded, dict | list):
            return _one_line(value)
        value = decoded
    if isinstance(value, list):
        return counted(len(value), "item") if value else "nothing found"
    return _joined(_leaves(value))


def _cut_off(text: str) -> str:
    """Text that is not JSON, but may have been before its end was cut off."""
    if _CUT_LIST.match(text):
        return "a list, cut short"
    if not _CUT_OBJECT.match(text):
        return _one_line(text)
    return _joined(chain(_leaves_before_the_cut(text), [_Leaf("…", is_named=False)]))


def _leaves_before_the_cut(text: str) -> Iterator["_Leaf"]:
    name = ""
    for token in islice(_TOKEN.finditer(text), _LEAVES_MAX):
        if token[2] not in (None, '"'):  # a name, or a text without its end, which is the last
            name = token[1]
            continue
        scalar = token[3] or f'"{token[1]}"'
        with contextlib.suppress(msgspec.DecodeError):
            yield from _leaves(msgspec.json.decode(scalar), name)


class _Leaf(msgspec.Struct, frozen=True):
    """A scalar of a payload. Numbers and switches are named, since they say nothing alone."""

    text: str
    is_named: bool


def _leaves(value: Any, name: str = "", depth: int = 0) -> Iterator[_Leaf]:
    """The scalars in a value, in order."""
    if isinstance(value, dict) and depth < _DEPTH_MAX:
        for key, item in value.items():
            yield from _leaves(item, key, depth + 1)
    elif isinstance(value, list) and depth < _DEPTH_MAX:
        for item in value:
            yield from _leaves(item, name, depth + 1)
    elif isinstance(value, str) and value.strip():
        yield _Leaf(_one_line(value), is_named=False)
    elif isinstance(value, bool | int | float):
        text = {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
        yield _Leaf(f"{_one_line(name.replace('_', ' '))} {text}".strip(), is_named=bool(name))


def _joined(leaves: Iterator[_Leaf]) -> str:
    found = list(islice(leaves, _LEAVES_MAX + 1))
    texts = [leaf.text for leaf in found[:_LEAVES_MAX]] + (["…"] if len(found) > _LEAVES_MAX else [])
    return (", " if all(leaf.is_named for leaf in found) else " · ").join(texts)


def _one_line(text: str) -> str:
    return " ".join(text[: 4 * _DETAIL_MAX].split())


def without_middle(text: str, most: int = _DETAIL_MAX) -> str:
    """The text, of which the middle is left out if it has more than so many characters."""
    if len(text) <= most:
        return text
    half = most // 2
    return f"{text[:half].rstrip()} … {text[-half:].lstrip()}"
