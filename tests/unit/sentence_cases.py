"""The sentences that the console must give as `whence.sentences` does, as JSON in the console's folder.

`python -m tests.unit.sentence_cases` writes them anew.
"""

import gzip
import importlib.resources
import tomllib
from collections.abc import Iterator
from pathlib import Path

import msgspec

from tests.unit.traces_made import node
from whence.sentences import load_grammar, sentence_of

FILE = Path(__file__).parents[2] / "console/src/sentences/cases.json"

_OF_A_SHAPE = 2
"""Events of one type, resource type and shape of payload that are taken."""

_EDGES = (
    r'{"tool":"n","arguments":{"a":1.0,"b":1E2,"c":-0,"d":-0.0,"e":1e16,"f":0.00001,"g":9007199254740993}}',
    r'{"tool":"n","arguments":{"a":123456789012345678901234567890,"b":123456789012345680.0,"c":0.0001,"d":2.5e-7}}',
    r'{"tool":"n","arguments":{"10":"ten","9":"nine","a_b":true,"c":false,"d":null,"e":[],"f":{}}}',
    r'{"tool":"n","arguments":{"a":[[[[[[["deep"]]]]]]],"b":[[[[[[[["too deep"]]]]]]]]}}',
    r'{"tool":"n","result":"[]"}',
    r'{"tool":"n","result":"[1,2]"}',
    r'{"tool":"n","result":" 329.0 "}',
    r'{"tool":"n","result":"{\"id\": \"G72\", \"seats\": 3, \"by\": [\"DTW\"], \"note\": \"cut o"}',
    r'{"tool":"n","result":"[[{\"id\": \"G7"}',
    r'{"tool":"n","result":"[sic] {as is}"}',
    r'{"tool":"n","result":"{\"a\":\"\\ud800\"}"}',
    r'{"tool":"n","result":{"a":1},"arguments":2}',
    r'{"tool":"n","error":"ValueError","message":"no \t\n seats left","result":7}',
    r'{"tool":"n","error":"Error: same","message":"same"}',
    r'{"kind":"tool","name":"book","note":"hello"}',
    r'{"text":"  "}',
    r'{"text":"He said \u201chi\u201d \u202e and left \ud83d\ude00"}',
    r'{"text":"<script>alert(1)</script>"}',
    r'{"title":"\u0085\u001f","subject":"taken"}',
    r'{"resources":[{"ARN":"arn:aws:s3:::b/july.csv"}],"awsRegion":"us-east-1","_otel":{"a":1}}',
    r'{"constructor":"none","__proto__":"kept"}',
    '{"tool":"n","result":"' + "begin " + "x" * 500 + ' the end"}',
    '{"tool":"n","result":"' + "\U0001f600" * 2_000 + '"}',
    '{"text":"' + "word " * 400 + '"}',
    '{"tool":"n","arguments":[' + ",".join(f'"v{number}"' for number in range(60)) + "]}",
    '{"tool":"n","arguments":[' + ",".join(map(str, range(1_200))) + "]}",
    '{"tool":"n","result":[' + ",".join(map(str, range(1_200))) + "]}",
    "[]",
    "{",
)


_ERASED = '"checkpoint":"a\\n4\\nMOye=","ranges":[[1,3]],"reason":"Request  117"'

_ABOUT_THE_LOG = {
    "whence.payload_erased": (
        f'{{"actors":0,"events":1,"pseudonym":null,{_ERASED}}}',
        f'{{"actors":0,"events":8000,"pseudonym":null,{_ERASED}}}',
        f'{{"actors":1,"events":0,"pseudonym":"erased-14c1",{_ERASED}}}',
        '{"events":"3","reason":" "}',
        '{"events":true,"reason":7}',
        '{"events":12345678901234567890,"reason":"x"}',
        '{"events":-3,"reason":"{events}"}',
        '{"events":2.0}',
        "{}",
    ),
    "whence.retention_applied": (
        '{"events":1200,"policy":{"maxAgeDays":30,"rules":[]},"reason":"scheduled"}',
        '{"events":1,"policy":{"maxAgeDays":null,"rules":[]},"reason":"asked for"}',
    ),
    "whence.hold_placed": ('{"holdId":"0192","reason":"Case 4"}',),
    "whence.hold_released": ('{"holdId":"0192"}',),
    "whence.retention_changed": ('{"maxAgeDays":1,"rules":[]}', '{"maxAgeDays":null,"rules":[]}'),
    "whence.log_restored": ('{"newKey":"log/acme/2+ab","newOrigin":"log/acme/2","signedSize":4}',),
    "whence.log_key_rotated": ('{"newOrigin":"log/acme/2"}',),
    "whence.log_key_compromised": ('{"newOrigin":"log/acme/2"}',),
}
"""Payloads of events about the log, of which only some members are shown."""


class Case(msgspec.Struct, rename="camel"):
    """An event, and its sentence in parts and as a whole."""

    event_type: str
    outcome: str
    actor_id: str
    resource_type: str
    resource_id: str
    payload: str
    sentence: dict[str, str | bool]
    text: str


class _Recorded(msgspec.Struct, rename="camel"):
    event_type: str
    actor_id: str
    resource_type: str
    resource_id: str
    payload: msgspec.Raw
    outcome: str = ""


def written() -> str:
    """The file's text: the built-in words, and the cases."""
    words = (importlib.resources.files("whence") / "data/sentences.toml").read_text(encoding="utf-8")
    document = {"words": tomllib.loads(words), "cases": list(_cases())}
    return msgspec.json.format(msgspec.json.encode(document), indent=1).decode() + "\n"


def _cases() -> Iterator[Case]:
    seen: dict[tuple[str, ...], int] = {}
    for event in _recorded():
        payload = bytes(event.payload)
        keys = ",".join(sorted(msgspec.json.decode(payload, type=dict[str, object])))
        result = msgspec.json.decode(payload, type=dict[str, object]).get("result")
        shape = (event.event_type, event.resource_type, keys, str(result)[:1] if isinstance(result, str) else "")
        seen[shape] = seen.get(shape, 0) + 1
        if seen[shape] <= _OF_A_SHAPE:
            yield _case(event, payload)
    for event_type in ("action_run.started", "action_run.completed", "action_run.failed", "inbound_message.received"):
        for edge in _EDGES:
            made = _Recorded(event_type, "ana", event_type.partition(".")[0], "e8692893-a658", msgspec.Raw(b""))
            yield _case(made, edge.encode())
    for event_type, payloads in _ABOUT_THE_LOG.items():
        for text in payloads:
            made = _Recorded(event_type, "whence", "event_log", "5028fca4-5938", msgspec.Raw(b""))
            yield _case(made, text.encode())
    for event_type in ("order.lines_approved", "s3.put_object", "signin.login_failed", "a.rerun"):
        yield _case(_Recorded(event_type, "ana", "aws_resource", "e8692893-a658", msgspec.Raw(b"")), b'{"a":1}')


def _recorded() -> Iterator[_Recorded]:
    for file in (
        Path(str(importlib.resources.files("whence"))) / "data/airline-agent-runs.ndjson.gz",
        Path(__file__).parents[1] / "data/loan-applications-sample.ndjson.gz",
    ):
        yield from msgspec.json.Decoder(_Recorded).decode_lines(gzip.decompress(file.read_bytes()))


def _case(event: _Recorded, payload: bytes) -> Case:
    outcome = event.outcome or ("failure" if event.event_type.endswith("failed") else "none")
    described = msgspec.structs.replace(
        node("x", None, event.event_type, actor_id=event.actor_id, resource_type=event.resource_type),
        resource_id=event.resource_id,
        outcome=outcome,
    )
    sentence = sentence_of(described, payload, load_grammar())
    return Case(
        event_type=event.event_type,
        outcome=outcome,
        actor_id=event.actor_id,
        resource_type=event.resource_type,
        resource_id=event.resource_id,
        payload=payload.decode(),
        sentence={_camel(name): value for name, value in msgspec.structs.asdict(sentence).items()},
        text=str(sentence),
    )


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(word.title() for word in others)


if __name__ == "__main__":
    FILE.write_text(written(), encoding="utf-8")
