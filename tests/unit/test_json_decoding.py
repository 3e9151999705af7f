"""JSON from anybody is decoded in a time that depends on its size only, wherever a server decodes it."""

import json
import re
from collections.abc import Callable

import msgspec
import pytest

from tests.unit.mutants import catches, replaced
from tests.unit.traces_made import node
from whence import json_decoding, sentences
from whence.api.credentials import parse_new_key
from whence.api.sessions import text_member
from whence.errors import Invalid, TooLarge
from whence.events import Vocabulary
from whence.json_decoding import decode_json
from whence.sentences import load_grammar, sentence_of
from whence.wire import alerts, payload, problems
from whence.wire.alerts import parse_test
from whence.wire.epochs import parse_epoch_reason
from whence.wire.filters import parse_filters
from whence.wire.problems import MORE_PROBLEMS, PROBLEMS_MAX, json_object
from whence.wire.removals import parse_erasure, parse_hold, parse_policy
from whence.wire.views import parse_view
from whence.wire.webhooks import parse_webhook

LONG_EXPONENTS = ("9e307", "-9e307", "1e-310", "9E+307", "1.7976931348623157e308", "0.1e0308", "9e-0310")
GRAMMAR, VOCABULARY = load_grammar(), Vocabulary.extended((), ())


def say(data: bytes) -> None:
    """The sentences of events whose payload is this, or has it as a text."""
    event = node("x", None, "action_run.completed", resource_type="action_run", resource_id="r")
    sentence_of(event, data, GRAMMAR)
    sentence_of(event, msgspec.json.encode({"result": data.decode()}), GRAMMAR)


def try_rule(data: bytes) -> None:
    with pytest.raises(Invalid):
        parse_test(data, VOCABULARY)


def plainly(data: bytes) -> object:
    """Mutant: all numbers are left to msgspec."""
    return json_decoding._decode(data)


@catches(
    replaced(json_decoding, "_may_have_long_exponents", lambda data: False, "msgspec_decodes_long_exponents"),
    replaced(payload, "decode_json", plainly, "of_payloads"),
    replaced(problems, "decode_json", plainly, "of_objects"),
    replaced(alerts, "decode_json", plainly, "of_rules"),
    replaced(sentences, "decode_json", plainly, "of_sentences"),
)
def test_no_number_takes_long_to_decode(monkeypatch: pytest.MonkeyPatch) -> None:
    """Msgspec takes 10 µs and more for a number of this size, so Python's own parser reads it, in a fraction of one."""
    plain = json_decoding._decode

    def refuse(data: bytes) -> object:
        assert b"?" not in data, "msgspec was given a number with a long exponent"
        return plain(data)

    monkeypatch.setattr(json_decoding, "_decode", refuse)
    for decode in (payload.check_compact, json_object, try_rule, say):
        for literal in LONG_EXPONENTS:
            decode(f'{{"?":[0,{literal},{{"b":{literal}}}]}}'.encode())


def test_long_exponents_are_the_same_numbers() -> None:
    for literal in LONG_EXPONENTS:
        assert decode_json(literal.encode()) == float(literal)
    with pytest.raises(msgspec.ValidationError):
        decode_json(b"1e309")


AS_BEFORE = re.compile(r'"((?:[^"\\]|\\.)*)"(\s*:)?|(-?\d[\d.eE+-]*|true|false)(?=[\s,\]}])')
"""The pattern that began again at each quote of a text without an end, and at each digit of a number without one."""


@catches(replaced(sentences, "_TOKEN", AS_BEFORE, "searching_again"))
def test_a_text_that_is_cut_off_is_read_once() -> None:
    r"""However many quotes, line breaks and backslashes are in it. A search within it, or within a number, would read
    its rest again each time: 64,000 quotes took minutes."""
    for text in ('{"' + '\\"' * 50, '{"' + '\\"' * 50 + "\\", '{"' + "\\\n" * 50, '{"a'):
        [token] = sentences._TOKEN.finditer(text)
        assert token.span() == (1, len(text))
    for at in range(2, 6):
        assert sentences._TOKEN.match("[-1.5e7,", at) is None
    event = node("x", None, "action_run.completed", actor_id="a", resource_type="action_run", resource_id="12345678")
    cut_off = msgspec.json.encode({"tool": "get", "result": '{"id":"G72","seats":3,"note":"say \\"hello\\" and'})
    assert str(sentence_of(event, cut_off, GRAMMAR)) == "a completed get G72 · seats 3 · …"


def refusal_free(body: bytes) -> None:
    """Mutant: a test may have any size beside its continuation."""


@catches(replaced(alerts, "_check_rest", refusal_free, "any_size"))
def test_only_the_continuation_of_a_test_may_be_long() -> None:
    """All else is refused before it is decoded: by its size, whatever stands for the continuation."""
    long = "x" * 70_000
    rule = {"name": "n", "condition": {"kind": "match"}}
    asked = parse_test(msgspec.json.encode({"rule": rule, "over": "7d", "continuation": long}), VOCABULARY)
    assert asked.continuation == long
    for body in (
        {"rule": rule, "over": "7d", "continuation": None, "more": long},
        {"rule": rule, "over": "7d", "continuation": [0] * 40_000},
        [0] * 40_000,
        {str(number): 1 for number in range(9_000)},
    ):
        with pytest.raises(TooLarge):
            parse_test(json.dumps(body).encode(), VOCABULARY)
    with pytest.raises(TooLarge):
        parse_test(b"{" + b" " * 70_000, VOCABULARY)


@catches(replaced(problems, "PROBLEMS_MAX", 10**9, "every_name_is_listed"))
@pytest.mark.parametrize(
    "parse",
    [
        lambda body: alerts.parse_rule(body, VOCABULARY, new=True),
        lambda body: parse_webhook(body, VOCABULARY, new=True),
        lambda body: parse_new_key(body, VOCABULARY, 0),
        lambda body: parse_hold(body, now=0, vocabulary=VOCABULARY),
        lambda body: parse_erasure(body, now=0, vocabulary=VOCABULARY),
        lambda body: text_member(body, "code"),
        parse_policy,
        parse_view,
        parse_epoch_reason,
    ],
)
def test_a_hundred_unknown_names_are_listed_and_the_others_counted(parse: Callable[[bytes], object]) -> None:
    """In the order in which they were sent, whatever else is wrong with the body."""
    names = [f"unknown{number}" for number in range(PROBLEMS_MAX + 50)]
    with pytest.raises(Invalid) as caught:
        parse(json.dumps(dict.fromkeys(names, 1)).encode())
    listed = [each.loc[1] for each in caught.value.problems if each.type == "extra_forbidden"]
    assert listed == names[:PROBLEMS_MAX]
    [more] = [each.msg for each in caught.value.problems if each.type == MORE_PROBLEMS]
    assert more == "50 more problems are not listed."


@catches(replaced(problems, "PROBLEMS_MAX", 10**9, "every_name_is_listed"))
def test_a_hundred_unknown_filters_are_listed_and_the_others_counted() -> None:
    found: list[problems.Problem] = []
    parse_filters({f"unknown{number}": "a" for number in range(PROBLEMS_MAX + 1)}, VOCABULARY, found)
    assert [each.type for each in found] == ["extra_forbidden"] * PROBLEMS_MAX + [MORE_PROBLEMS]
