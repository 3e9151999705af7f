"""Which values of a payload are masked, and that all others stay as they are."""

from tests.unit.mutants import catches, replaced
from whence import payload_masking
from whence.payload_masking import PayloadMask

PAYLOADS: dict[str, tuple[str, tuple[str, ...]]] = {
    '{"password":"x","n":1E2}': ('{"password":"[redacted]","n":1E2}', ("password",)),
    '{"card":{"number":1,"name":"\\u0000"}}': ('{"card":{"number":"[redacted]","name":"\\u0000"}}', ("card.number",)),
    '{"card":[{"number":[1,2]},{"name":-0},[{"number":null}],7,[]]}': (
        '{"card":[{"number":"[redacted]"},{"name":-0},[{"number":"[redacted]"}],7,[]]}',
        ("card.number",),
    ),
    '{"p\\u0061ssword":{"a":1}}': ('{"password":"[redacted]"}', ("password",)),
    '{"password":"[redacted]","card":{"number":2}}': (
        '{"password":"[redacted]","card":{"number":"[redacted]"}}',
        ("card.number", "password"),
    ),
    '{"deep":{"er":{"a":1}}}': ('{"deep":"[redacted]"}', ("deep",)),
    '{"card":"password","other":{"number":1}}': ('{"card":"password","other":{"number":1}}', ()),
    '{"a":1.0,"b":"\\u00e4"}': ('{"a":1.0,"b":"\\u00e4"}', ()),
    "{}": ("{}", ()),
}


@catches(replaced(payload_masking, "MARKER", b"null", "another_marker"))
def test_what_is_masked() -> None:
    """A value of any kind, in each element of an array; of a path within another, the shorter one."""
    mask = PayloadMask(["password", "card.number", "deep.er.a", "deep"])
    for payload, (masked, paths) in PAYLOADS.items():
        assert mask.apply(payload.encode()) == (masked.encode(), paths), payload
        assert mask.apply(masked.encode())[0] == masked.encode(), "a replay has the same payload"


def test_nothing_is_masked_without_paths() -> None:
    assert PayloadMask([]).apply(b'{"password":"\\n"}') == (b'{"password":"\\n"}', ())
