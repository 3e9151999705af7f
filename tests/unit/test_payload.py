"""Payloads: refusals, unchanged tokens, and equality, compared with Python's json module."""

import json
import math
import re
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.unit.mutants import NEVER_BYTES, PROPERTY, catches, replaced
from whence import json_decoding
from whence.errors import TooLarge
from whence.wire import payload
from whence.wire.fields import Broken

DEPTH, LITERAL, SIZE = 64, 128, 256 * 1024

# --------------------------------------------------------------------------------------------------- the reference

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[ \t\r\n]+', re.DOTALL)


class Refused(Exception):
    """The reference refuses the payload."""


def judged(raw: bytes) -> bytes:
    """The reference: the payload without white space. Raises Refused. Shares no code with the tested module."""
    try:
        text = raw.decode()
        value = json.loads(
            text, parse_constant=_refuse, parse_float=_number, parse_int=_number, object_pairs_hook=_object
        )
        json.dumps(value, ensure_ascii=False).encode()  # lone surrogates cannot be written
    except (ValueError, RecursionError) as error:
        raise Refused(str(error)) from None
    compact = _TOKEN.sub(lambda token: token[0] if token[0].startswith('"') else "", text).encode()
    if not isinstance(value, dict) or _levels(value) > DEPTH or len(compact) > SIZE:
        raise Refused("no object, too deep or too large")
    return compact


def _refuse(_: str) -> None:
    raise ValueError("a constant")


def _number(text: str) -> float:
    if len(text) > LITERAL or not math.isfinite(float(text)):
        raise ValueError("a number")
    return float(text)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({key for key, _ in pairs}) < len(pairs):
        raise ValueError("a key twice")
    return dict(pairs)


def _levels(value: object) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(_levels, inner), default=0)


def checked(raw: bytes) -> bytes | None:
    """The payload that is kept; None when it is refused for its content, b"" for its size."""
    try:
        return payload.check_payload(raw)
    except Broken:
        return None
    except TooLarge:
        return b""


def agree(raw: bytes) -> None:
    try:
        expected: bytes | None = judged(raw)
    except Refused:
        expected = None
    assert (checked(raw) or None) == expected


# -------------------------------------------------------------------------------------------- generated JSON text

# The spellings of the characters in a string.
SPELLED = [
    *("", "a", r"\u0061", "b", r"a\\", r"\\", r"\"", r"\":", r"\\\":", r"a\\\":", ":", r":\"", "é", r"\u00e9"),
    *(r"\u00E9", "\U0001f600", r"\ud83d\ude00", "/", r"\/", "{", "}", "[", "]", r"\u0000", r"\n", "\u2028", "\x7f"),
    *(",", "1" * 129, "e" * 20),
]
BAD_SPELLED = [r"\ud800", r"\udc00a", r"\ud800\u0061", r"\x", r"\u12g4", "\t", "\0", r"\u"]
NUMBERS = [
    *("0", "-0", "1E2", "1e2", "-1.50", "9007199254740993", "1e308", "1.7976931348623158e308", "1e-400", "0e99999"),
    *("9" * 128, "-" + "9" * 127, "0." + "1" * 126, "18446744073709551616"),
]
BAD_NUMBERS = [
    *("1e309", "1e400", "-1e400", "1.7976931348623159e308", "9" * 129, "-" + "9" * 128, "0." + "1" * 127, "01", "1."),
    *("-", ".5", "+1", "1e", "NaN", "Infinity", "-Infinity", "tru", "nul", "'a'", "", "0" * 200),
]


def rarely(good: list[str], bad: list[str]) -> st.SearchStrategy[str]:
    return st.integers(0, 60).flatmap(lambda draw: st.sampled_from(good if draw else bad))


space = rarely(["", "", "", " ", "\n", "\t\r"], ["\u00a0", "\v", "/**/", "\ufeff"])
strings = rarely(SPELLED, BAD_SPELLED).map(lambda spelled: f'"{spelled}"')
leaves = st.one_of(strings, rarely(NUMBERS, BAD_NUMBERS), st.sampled_from(["true", "false", "null"]))


def objects(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    member = st.builds(lambda key, gap, value: f"{key}{gap}:{gap}{value}", strings, space, values)
    return st.builds(
        lambda members, gap: "{" + f"{gap},".join(members) + gap + "}", st.lists(member, max_size=4), space
    )


def arrays(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.builds(lambda items, gap: "[" + f",{gap}".join(items) + "]", st.lists(values, max_size=3), space)


values = st.recursive(leaves, lambda inner: objects(inner) | arrays(inner), max_leaves=10)
documents = st.builds(
    lambda text, layers, gap: f'{gap}{{"p":' * layers + text + "}" * layers + gap,
    objects(values),
    st.sampled_from([0, 0, 0, 1, 62, 63, 64]),
    space,
)
DAMAGE = [
    b"{",
    b"}",
    b"[",
    b"]",
    b'"',
    b":",
    b",",
    b"\\",
    b"0",
    b"e",
    b"-",
    b".",
    b"\xff",
    b"\xc3",
    b"\x00",
    b"\xed\xa0\x80",
]


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    raw = draw(documents).encode()
    at = draw(st.integers(0, len(raw)))
    return raw[:at] + draw(st.sampled_from(DAMAGE)) + raw[at + draw(st.integers(0, 1)) :]


def no_duplicates_found(compact: bytes, keys: int) -> bool:
    return True


def hasty_count(compact: bytes, keys: int) -> bool:
    """Mutant: a quote after a backslash always counts as part of the string."""
    colons = compact.count(b'":')
    return keys in (colons, colons - compact.count(b'\\":'))


def lenient_decode(compact: bytes) -> object:
    return json.loads(compact.decode("utf-8", "replace"))


@catches(
    replaced(payload, "decode_json", lenient_decode, "python_decodes"),
    replaced(json_decoding, "_decode_exponents", lenient_decode, "python_decodes_exponents"),
    replaced(payload, "has_keys", no_duplicates_found, "no_duplicate_is_found"),
    replaced(payload, "_depth", lambda compact: 1, "any_depth_passes"),
    replaced(payload, "DEPTH_MAX", 63, "a_level_less"),
    replaced(payload, "DEPTH_MAX", 65, "a_level_more"),
    replaced(payload, "compact_json", lambda raw: json.dumps(json.loads(raw)).encode(), "payloads_are_written_anew"),
)
@PROPERTY
@given(text=documents)
@example(text='{"a": 1e999}')
@example(text='{"a": "\\ud800"}')
def test_python_agrees_on_made_up_payloads(text: str) -> None:
    """A payload that the reference accepts is kept without white space and with every token unchanged; all others are
    refused. A kept payload is accepted again, byte for byte."""
    agree(text.encode())
    if kept := checked(text.encode()):
        assert checked(kept) == kept


@PROPERTY
@given(raw=damaged())
def test_python_agrees_on_damaged_payloads(raw: bytes) -> None:
    """The reference agrees on payloads with one byte inserted or overwritten, including broken UTF-8."""
    agree(raw)


@PROPERTY
@given(raw=st.binary(max_size=40))
def test_no_bytes_lead_to_another_error(raw: bytes) -> None:
    """Any bytes are either accepted or refused with the expected error."""
    agree(raw)
    agree(b'{"a":' + raw + b"}")
    agree(b'{"' + raw + b'":1}')


# ------------------------------------------------------------------------------------------------- rules one by one


def rule(raw: bytes) -> str:
    """The rule that a payload breaks, after a check that the message does not repeat the payload."""
    with pytest.raises(Broken) as caught:
        payload.check_payload(raw)
    assert raw[5:-1].decode("latin-1") not in str(caught.value) or len(raw) < 9
    return caught.value.type


@pytest.mark.parametrize(
    "raw",
    [
        b'{"a":"\\u0000"}',
        b'{"\\u0000":1}',
        b'{"a":9007199254740993}',
        b'{"a":1E2,"b":-0,"c":1.0,"d":0.10,"e":1e-400,"f":-0.0e+00}',
        b'{"a":"\\ud83d\\ude00","b":"\xf0\x9f\x98\x80","c":"\\/","d":"\\u002f"}',
        b'{"a":"\x7f","b":"\xe2\x80\xa8"}',
        b'{"":{"":[]}}',
        b'{"b":1,"a":2}',
        b"{}",
    ],
)
def test_every_token_survives(raw: bytes) -> None:
    """Escapes, number literals and the order of keys are kept as they were sent."""
    assert payload.check_payload(raw) == raw
    assert payload.check_payload(msgspec.Raw(raw)) == raw


def test_white_space_is_taken_out_between_tokens_alone() -> None:
    """White space is removed between tokens and kept inside strings."""
    assert payload.check_payload(b' {\n"a b" :\t[ 1 , "c\\td  " ]\r}\n') == b'{"a b":[1,"c\\td  "]}'


@pytest.mark.parametrize("number", BAD_NUMBERS)
def test_numbers_that_are_refused(number: str) -> None:
    """Constants such as NaN, overflows, long literals and spellings outside of JSON's grammar are refused."""
    assert checked(f'{{"a":{number}}}'.encode()) is None
    assert checked(f'{{"b":[[1,{number}]]}}'.encode()) is None


def test_numbers_break_their_own_rules() -> None:
    """Overflow and length have different rules."""
    assert rule(b'{"a":1e400}') == rule(b'{"a":-1e309}') == "number_out_of_range"
    assert rule(b'{"a":%s}' % (b"9" * 129)) == "number_too_long"


@catches(
    replaced(payload, "_LONG_LITERAL", NEVER_BYTES, "long_literals_pass"),
    replaced(payload, "_MAYBE_LONG_LITERAL", re.compile(rb"[0-9+\-.eE]{9}"), "a_look_at_too_few"),
    replaced(payload, "_STRIDE", 17, "steps_too_wide"),
    replaced(payload, "LITERAL_MAX", 129, "shown_limit_differs"),
)
def test_a_long_literal_is_found_wherever_it_stands() -> None:
    """129 characters are refused at each of 32 places and 128 are accepted; inside a string any number of digits is."""
    for blanks in range(32):
        key = b"k" * blanks
        assert payload.check_payload(b'{"%s":%s}' % (key, b"9" * 128))
        assert payload.check_payload(b'{"%s":"%s"}' % (key, b"9" * 500))
        with pytest.raises(Broken, match="at most 128 characters"):
            payload.check_payload(b'{"%s":%s}' % (key, b"9" * 129))
        with pytest.raises(Broken, match="at most 128 characters"):
            payload.check_payload(b'{"%s":[-0.%se-9]}' % (key, b"1" * 123))


@pytest.mark.parametrize(
    "raw",
    [
        b'{"a":"\xff"}',
        b'{"\xff":1}',
        b'{"a":["\xc3"]}',
        b'{"a":"\xed\xa0\x80"}',
        b'{"a":"\xc0\x80"}',
        b'{"a":"\xf4\x90\x80\x80"}',
    ],
)
def test_bad_utf_8_is_refused(raw: bytes) -> None:
    """Truncated and overlong sequences, code points out of range and surrogates are refused, in keys and in values."""
    assert rule(raw) == "string_unicode"


@pytest.mark.parametrize("spelled", [r"\ud800", r"\udfff", r"a\ud800b", r"\ud800\ud800", r"\udc00\ud800"])
def test_lone_surrogates_are_refused(spelled: str) -> None:
    """Lone surrogates are refused in a value, in a key, and in nested objects."""
    for raw in (f'{{"a":"{spelled}"}}', f'{{"{spelled}":1}}', f'{{"a":[{{"b":"{spelled}"}}]}}'):
        assert rule(raw.encode()) == "json_invalid"


DUPLICATES = [
    r'{"a":1,"a":1}',
    r'{"a":1,"\u0061":2}',
    r'{"\u0061":1,"\u0061":2}',
    r'{"x":{"a":1,"a":2}}',
    r'{"x":[[{"a":{"b":{},"b":{}}}]]}',
    r'{"a\\":1,"a\\":2}',
    r'{"a\\":1,"a\u005c":2}',
    r'{"a\\\\":1,"a\\\\":2}',
    r'{"a\"":1,"a\"":2}',
    r'{"a\":":1,"a\":":2}',
    r'{"":1,"":2}',
    r'{"/":1,"\/":2}',
    r'{"é":1,"\u00e9":2}',
    '{"\U0001f600":1,"\\ud83d\\ude00":2}',
    r'{"a":":","a":":"}',
    r'{"a":"\":","a":"\":"}',
    r'{"a\\":"\":","a\\":1}',
]
LOOK_ALIKES = [
    r'{"a":1,"A":1}',
    r'{"a":{"a":{"a":1}}}',
    r'{"x":[{"a":1},{"a":1}]}',
    r'{"a":"\":","b":"\":\":"}',
    r'{":":":",":a":":"}',
    r'{"a\\":1,"a":2}',
    r'{"a\\":"\":","b\\":"\\\":"}',
    r'{"a\":":1,"a":2}',
    '{"\u00e9":1,"e\u0301":2}',
    r'{"\u0000":1,"":2}',
]


@catches(
    replaced(payload, "has_keys", no_duplicates_found, "no_duplicate_is_found"),
    replaced(payload, "has_keys", hasty_count, "keys_that_end_in_a_backslash"),
    replaced(payload, "_has_duplicates", lambda compact: False, "no_closer_look"),
)
def test_no_key_stands_twice_in_one_object() -> None:
    """Duplicate keys in one object are refused at any depth, in any spelling, and with any last character."""
    for text in DUPLICATES:
        assert rule(text.encode()) == "duplicate_key", text
    for text in LOOK_ALIKES:
        assert payload.check_payload(text.encode()) == text.encode()


def nested(levels: int, opening: str, closing: str) -> bytes:
    inner = levels - 1
    return ('{"a":' + opening * inner + "1" + closing * inner + "}").encode()


@catches(
    replaced(payload, "DEPTH_MAX", 65, "a_level_more"),
    replaced(payload, "DEPTH_MAX", 63, "a_level_less"),
    replaced(payload, "_STRING", NEVER_BYTES, "brackets_in_strings_count"),
    replaced(payload, "_STRING", re.compile(rb'"[^"]*"'), "escaped_quotes_end_a_string"),
)
def test_a_payload_has_at_most_64_levels() -> None:
    """Objects and arrays count, including the payload itself; brackets in strings and sibling values do not."""
    for opening, closing in (('{"b":', "}"), ("[", "]"), ('["]}\\"]",', "]")):
        assert checked(nested(64, opening, closing)) == nested(64, opening, closing)
        assert rule(nested(65, opening, closing)) == "json_depth"
    flat = b'{"a":[%s],"b":"%s"}' % (b",".join([b"[]"] * 500), b"[{" * 500)
    assert checked(flat) == flat


@pytest.mark.parametrize("levels", [300, 1_000, 5_000, 50_000])
def test_any_depth_is_refused_as_depth(levels: int) -> None:
    """A depth beyond the interpreter's recursion limit is refused like 65 levels."""
    assert rule(nested(levels, "[", "]")) == "json_depth"
    assert rule(nested(levels, '{"b":', "}")) == "json_depth"


@catches(
    replaced(payload, "PAYLOAD_MAX", 256 * 1024 - 1, "a_byte_less"),
    replaced(payload, "PAYLOAD_MAX", 256 * 1024 + 1, "a_byte_more"),
)
def test_a_payload_has_at_most_256_kib() -> None:
    """The limit is 256 KiB, counted in bytes without white space."""
    fill = SIZE - len('{"a":""}')
    assert checked(b'{"a" :\n"%s"}' % (b"x" * fill)) == b'{"a":"%s"}' % (b"x" * fill)
    with pytest.raises(TooLarge, match="at most 262144 bytes"):
        payload.check_payload(b'{"a":"%s"}' % (b"x" * (fill + 1)))
    with pytest.raises(TooLarge, match="at most 262144 bytes"):
        payload.check_payload(b'{"a":"%s"}' % ("é".encode() * (fill // 2 + 1)))


@pytest.mark.parametrize("raw", [b"[]", b"[{}]", b'"{}"', b"1", b"null", b"true"])
def test_a_payload_is_an_object(raw: bytes) -> None:
    """JSON values other than objects are refused."""
    assert rule(raw) == "dict_type"


@pytest.mark.parametrize("raw", [b"", b" ", b"{", b"{}{}", b'{"a":1,}', b"{a:1}", b"\xef\xbb\xbf{}", b"{}\0", b"{}#"])
def test_what_is_not_json_is_refused(raw: bytes) -> None:
    """Empty, truncated and trailing text, a byte order mark and comments are refused."""
    assert rule(raw) == "json_invalid"


# ------------------------------------------------------------------------------------------------------ the same JSON


SAME = [
    ('{"a":1,"b":2}', '{"b":2,"a":1}', True),
    (r'{"a":"\u0041\/"}', '{"a":"A/"}', True),
    (r'{"\u0061":[{}]}', '{"a":[{}]}', True),
    ('{"a":1}', '{"a":1.0}', False),
    ('{"a":1E2}', '{"a":100}', False),
    ('{"a":1e2}', '{"a":1E2}', False),
    ('{"a":0}', '{"a":-0}', False),
    ('{"a":9007199254740993}', '{"a":9007199254740992}', False),
    ('{"a":1}', '{"a":true}', False),
    ('{"a":0}', '{"a":false}', False),
    ('{"a":1}', '{"a":"1"}', False),
    ('{"a":null}', "{}", False),
    ('{"a":""}', '{"a":null}', False),
    ('{"a":[]}', '{"a":{}}', False),
    ('{"a":[1,2]}', '{"a":[2,1]}', False),
    ('{"a":"é"}', '{"a":"e\u0301"}', False),
]


@catches(
    replaced(payload, "_exact", json.loads, "numbers_by_value"),
    replaced(payload, "_exact", lambda data: data, "by_bytes"),
)
def test_equal_by_value_with_numbers_as_text() -> None:
    """Payloads are equal regardless of key order and string escapes; numbers are equal only as literals."""
    for a, b, same in SAME:
        assert payload.same_json(a.encode(), b.encode()) is same, (a, b)
        assert payload.same_json(b.encode(), a.encode()) is same, (b, a)


trees = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from([0.0, 1.0, -0.0]) | st.text('a\\"é', max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", max_size=2), inner, max_size=3),
    max_leaves=6,
)


def written(value: object, *, backwards: bool, escaped: bool) -> bytes:
    if backwards:
        value = turned(value)
    return json.dumps(value, ensure_ascii=escaped, separators=(",", ":")).encode()


def turned(value: Any) -> Any:
    """The same value with the keys of every object reversed."""
    if isinstance(value, dict):
        return {key: turned(value[key]) for key in reversed(value)}
    return [turned(item) for item in value] if isinstance(value, list) else value


def as_text(value: Any) -> Any:
    """A value whose numbers compare by their text and type."""
    if isinstance(value, dict):
        return {key: as_text(inner) for key, inner in value.items()}
    return [as_text(item) for item in value] if isinstance(value, list) else (type(value).__name__, repr(value))


@catches(replaced(payload, "_exact", lambda data: data, "by_bytes"))
@PROPERTY
@given(a=trees, b=trees)
def test_sameness_is_that_of_the_values(a: object, b: object) -> None:
    """A payload equals itself in any spelling, and another payload only if their values are equal."""
    spelled = written({"k": a}, backwards=False, escaped=True)
    assert payload.same_json(spelled, written({"k": a}, backwards=True, escaped=False))
    expected = as_text(a) == as_text(b)
    assert payload.same_json(spelled, written({"k": b}, backwards=True, escaped=False)) is expected


@catches(
    replaced(json_decoding, "_decode_exponents", msgspec.json.Decoder(float_hook=float).decode, "infinity_passes"),
)
def test_a_number_with_a_long_exponent_is_a_double() -> None:
    """Written in any way: the greatest passes, the next power of ten does not."""
    for literal in ("9e307", "1.7976931348623157e308", "0.1e0308", "1e-400", "0e999", "-0E-999"):
        payload.check_compact(f'{{"e123":{literal}}}'.encode())
    for literal in ("1e309", "-1e309", "1E+0309", "1.8e308", "179769313486231580794e288"):
        with pytest.raises(payload.Broken) as caught:
            payload.check_compact(f'{{"a":{literal}}}'.encode())
        assert caught.value.type == "number_out_of_range"
