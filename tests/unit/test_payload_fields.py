"""What a payload path is, and which values a payload has there."""

import pytest

from tests.unit.mutants import catches, replaced
from whence import payload_fields
from whence.payload_fields import PayloadReader, is_path, is_value, split_value, values_by_path


@pytest.mark.parametrize("path", ["tool", "order.currency", "a.b.c.d", "_ce.source", "größe", "{path}", "x" * 128])
def test_what_is_a_path(path: str) -> None:
    assert is_path(path)


@pytest.mark.parametrize(
    "path", ["", ".", "a.", ".a", "a..b", "a.b.c.d.e", "x" * 129, "a b", "a:b", "a=b", 'a"', "a\\b", "a\u0085"]
)
def test_what_is_no_path(path: str) -> None:
    assert not is_path(path)


def test_what_is_a_value() -> None:
    """A text that is indexed and can be asked for."""
    assert is_value("x" * 255)
    assert is_value("a = b: c")
    assert not any(map(is_value, ("", "x" * 256, "a\x00", "a\n", "\u0085")))


PAYLOADS: dict[str, dict[str, tuple[str, ...]]] = {
    '{"tool":"search"}': {"tool": ("search",)},
    '{"tool":1E2,"a":{"b":-0}}': {"tool": ("1E2",), "a.b": ("-0",)},
    '{"tool":null,"a":true}': {"tool": ("null",), "a": ("true",)},
    '{"tool":["x",1,"x",false,["y"],{"z":1},null]}': {"tool": ("x", "1", "false", "null")},
    '{"tool":[]}': {},
    '{"tool":{"tool":"x"},"other":{"tool":"y"}}': {},
    '{"a":[{"b":1}]}': {},
    '{"a":{"b":["x"]}}': {"a.b": ("x",)},
    '{"too\\u006c":"s\\u0065arch"}': {"tool": ("search",)},
    '{"tool":"a\\u0000b"}': {},
    f'{{"tool":"{"x" * 256}"}}': {},
    f'{{"tool":[{",".join(["1"] * 100)}]}}': {"tool": ("1",)},
    f'{{"tool":[{",".join(["1"] * 101)}]}}': {},
    "{}": {},
    "no json, but with tool": {},
}


@catches(
    replaced(payload_fields, "ELEMENTS_MAX", 101, "longer_arrays"),
    replaced(payload_fields, "is_value", bool, "any_text_is_a_value"),
)
def test_which_values_a_payload_has() -> None:
    """By path, each once, as they stand in the payload."""
    reader = PayloadReader(["tool", "a", "a.b"])
    for payload, values in PAYLOADS.items():
        assert reader.values(payload.encode()) == values, payload


def test_values_of_one_path_belong_together() -> None:
    """A value may have an equals sign; a path may not."""
    assert split_value("a.b=c=d") == ("a.b", "c=d")
    assert values_by_path(("a=1", "b=x=y", "a=2", "a=1")) == {"a": ("1", "2"), "b": ("x=y",)}
