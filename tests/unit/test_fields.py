"""The rules of single fields."""

import unicodedata
from collections.abc import Callable

import pytest

from tests.unit.mutants import NEVER, catches, replaced
from whence.events import ACTOR_TYPES, EVENT_LOG, ResourceType, Vocabulary
from whence.wire import fields
from whence.wire.fields import Broken, nearest
from whence.wire.parameters import READ_PARAMETERS

UUID = "5b0c3bd0-6f5d-4ef4-8d0c-6a1a7c7f0001"
TEXTS: list[Callable[[str], str]] = [
    fields.check_actor_id,
    fields.check_correlation_id,
    fields.check_causation_id,
]


def broken(check: Callable[[str], object], text: str) -> str:
    """The rule that the text breaks, after a check that the message does not repeat the text."""
    with pytest.raises(Broken) as caught:
        check(text)
    assert len(text) < 8 or text not in str(caught.value)
    return caught.value.type


@pytest.mark.parametrize("check", TEXTS)
def test_a_text_has_1_to_255_characters(check: Callable[[str], str]) -> None:
    """Characters are counted and not bytes; the text is kept as sent, including blanks."""
    for text in (
        "x",
        " ",
        "x" * 255,
        "\U0001f600" * 255,
        " a b ",
        "a/b?c#d",
        "\u2028",
        "\u200b",
        "\u00ad",
        "Å",
        "A\u030a",
    ):
        assert check(text) == text
    assert broken(check, "") == "string_too_short"
    assert broken(check, "x" * 256) == "string_too_long"
    assert broken(check, "\U0001f600" * 256) == "string_too_long"


@catches(replaced(fields, "_CONTROL", NEVER, "control_characters_pass"))
def test_a_text_has_no_control_characters() -> None:
    """The 65 characters of Unicode's category Cc are refused at any place, and no other character by this rule."""
    control = [chr(number) for number in range(0x110000) if unicodedata.category(chr(number)) == "Cc"]
    assert len(control) == 65
    for check in TEXTS:
        for character in control:
            assert broken(check, f"ab{character}") == "string_control_character"
            assert broken(check, f"{character}ab") == "string_control_character"
        assert check("\u00a0\u0378\ue000\u061c") == "\u00a0\u0378\ue000\u061c"


@catches(replaced(fields, "canonical", lambda text: text, "uuids_stay_as_sent"))
@pytest.mark.parametrize("check", [fields.check_causation_id, fields.check_correlation_id, fields.check_actor_id])
def test_a_text_that_is_a_uuid_is_made_canonical(check: Callable[[str], str]) -> None:
    """A UUID in upper case becomes lower case; any other text of 36 characters is unchanged."""
    assert check(UUID.upper()) == UUID
    assert check("X" * 36) == "X" * 36
    assert check(UUID.upper().replace("-", "")) == UUID.upper().replace("-", "")


def test_a_uuid_field_says_its_own_rule() -> None:
    """The rule of an invalid UUID has the slug that the contract names for its 422."""
    assert fields.check_uuid(UUID.upper()) == UUID
    assert broken(fields.check_uuid, UUID + "\n") == "uuid_parsing"


@pytest.mark.parametrize(
    "text", ["a.b", "action_run.completed", "a.b.c.d.e", "a1_.b2_", "whenceforth.done", f"a.{'b' * 126}"]
)
def test_event_types_in_the_grammar(text: str) -> None:
    """Event types of two to five segments of lower-case letters, digits and underscores, up to 128 characters, are
    valid."""
    assert fields.check_event_type(text) == text


@pytest.mark.parametrize(
    "text",
    [
        *("", "a", "a.", ".a", "a..b", "a.b.c.d.e.f", "A.b", "a.B", "1a.b", "a.1b", "_a.b", "a._b", "a-b.c", "a.b\n"),
        *("a.b ", " a.b", "a.*", "\u0430.b", "a.\u00e9", f"a.{'b' * 127}"),
    ],
    ids=ascii,
)
def test_event_types_outside_the_grammar(text: str) -> None:
    """Near misses are refused too: letters of another alphabet, a line end, a sixth segment."""
    assert broken(fields.check_event_type, text) == "string_pattern_mismatch"


@catches(replaced(fields, "RESERVED_PREFIX", "whence.log.", "only_a_part_is_reserved"))
def test_the_logs_own_event_types_are_reserved() -> None:
    """Clients may not send event types that begin with `whence.`."""
    fields.check_event_type.cache_clear()  # also of what a mutant let pass
    try:
        _reserved()
    finally:
        fields.check_event_type.cache_clear()


def _reserved() -> None:
    assert broken(fields.check_event_type, "whence.erased") == "reserved"
    assert broken(fields.check_event_type, "whence.log.sealed") == "reserved"


@catches(replaced(fields, "_PSEUDONYM", NEVER, "any_actor_may_be_an_erased_one"))
def test_no_new_event_is_of_an_erased_actor() -> None:
    """Its id stands for one that was replaced, in the one form that these have."""
    assert broken(fields.check_new_actor_id, "erased-0123456789abcdef") == "reserved"
    for other in ("erased-0123456789ABCDEF", "erased-1", "ada"):
        assert fields.check_new_actor_id(other) == other


def test_words_are_of_the_vocabulary() -> None:
    """Built-in values and those of the operator are accepted; the message for any other lists the known ones."""
    words = Vocabulary.extended(["invoice"], ["robot"])
    for word in (*ResourceType, "invoice"):
        assert fields.check_resource_type(word, words) == word
    for word in (*ACTOR_TYPES, "robot"):
        assert fields.check_actor_type(word, words.actor_types) == word
    for word in ("success", "failure", "none"):
        assert fields.check_outcome(word) == word
    for word in ("Invoice", "invoice ", "", "robot", "ACTION_RUN"):
        assert broken(lambda text: fields.check_resource_type(text, words), word) == "enum"
    assert broken(fields.check_outcome, "ok") == "enum"
    with pytest.raises(Broken, match=r"one of: success, failure, none\."):
        fields.check_outcome("Success")


def only_what_clients_write(text: str, words: Vocabulary) -> str:
    return fields.check_resource_type(text, words)


@catches(replaced(fields, "check_asked_resource_type", only_what_clients_write, "only_types_that_clients_write"))
def test_questions_name_the_type_of_events_about_the_log() -> None:
    """Any server may have stored some, whatever it lets clients write; clients never write one."""
    words = Vocabulary.extended(["invoice"])
    for word in (*ResourceType, "invoice", EVENT_LOG):
        assert fields.check_asked_resource_type(word, words) == word
    for word in ("event_logs", "EVENT_LOG", "robot"):
        assert broken(lambda text: fields.check_asked_resource_type(text, words), word) == "enum"
    assert broken(lambda text: fields.check_resource_type(text, words), EVENT_LOG) == "enum"


LIST = [parameter.name for parameter in READ_PARAMETERS["list"]]


@catches(replaced(fields, "_likeness", lambda a, b: float(a == b), "only_the_same_is_near"))
def test_the_nearest_name_is_the_one_that_was_meant() -> None:
    """The suggestion ignores case and underscores, and tolerates a wrong letter; every text gets a suggestion."""
    meant = {
        "eventType": "event_type",
        "Limit": "limit",
        "limits": "limit",
        "ofset": "offset",
        "resourceid": "resource_id",
        "actor": "actor_id",
        "asOf": "as_of",
        "since_from": "from",
        "cursr": "cursor",
        "includes": "include",
        "correlation": "correlation_id",
    }
    assert {name: fields.nearest(name, LIST) for name in meant} == meant


@catches(replaced(fields, "_NAME_MAX", 10**6, "a_long_name_costs_what_it_is_long"))
def test_the_cost_of_a_long_name_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """At most 64 characters of an unknown name are compared."""
    compared: list[int] = []
    likeness = fields._likeness

    def counting(a: str, b: str) -> float:
        compared.append(len(a))
        return likeness(a, b)

    monkeypatch.setattr(fields, "_likeness", counting)
    for name in ("e" * 230, "correlation_id" * 100, "x" * 100_000):
        nearest(name, LIST)
    assert 0 < max(compared) <= 64


@catches(replaced(fields, "_NEAR", 0.0, "everything_is_near"), replaced(fields, "_NEAR", 0.5, "little_is_near"))
def test_a_name_that_looks_like_none_has_none_near() -> None:
    """What was probably meant is near; a word that shares some letters by chance is not."""
    assert [fields.near(name, LIST) for name in ("type", "ofset", "page_limit")] == ["event_type", "offset", "limit"]
    assert [fields.near(name, LIST) for name in ("foo", "x", "sort", "since", "")] == [None] * 5


def test_a_closed_vocabulary_names_its_words_and_the_setting_that_adds_to_it() -> None:
    """In the sentence of a wrong resource type and a wrong actor type. Outcomes are fixed."""
    with pytest.raises(Broken, match=r"one of: action_run, .*, template\. .* WHENCE_RESOURCE_TYPES adds others\.$"):
        fields.check_resource_type("ship", Vocabulary())
    with pytest.raises(Broken, match=r"one of: user, .*, anonymous\. .* WHENCE_ACTOR_TYPES adds others\.$"):
        fields.check_actor_type("robot", Vocabulary().actor_types)


def test_the_nearest_name_of_nonsense_is_a_known_one() -> None:
    """An empty name and a very long one also get a known name as suggestion."""
    for name in ("", "_", "\0", "x" * 100_000, "\U0001f600"):
        assert nearest(name, LIST) in LIST
