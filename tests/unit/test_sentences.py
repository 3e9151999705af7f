"""How events read: verbs by event type, objects and details from the payload, and the words that operators add."""

import gzip
import importlib.resources
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.mutants import PROPERTY, catches, replaced
from tests.unit.traces_made import node
from whence import sentences
from whence.errors import WhenceError
from whence.sentences import load_grammar, named_failures, sentence_of
from whence.wire.trace_bodies import NodeBody

GRAMMAR = load_grammar()
RUN = "e8692893-a658-5c4d-97d1-b9a21088cd68"


def event(event_type: str, actor_id: str = "gpt-4o", resource_type: str = "action_run") -> NodeBody:
    return node("x", None, event_type, actor_id=actor_id, resource_type=resource_type, resource_id=RUN)


def said(told: NodeBody, payload: object) -> str:
    return str(sentence_of(told, msgspec.json.encode(payload), GRAMMAR))


CALLED = event("action_run.started")
ANSWERED = event("action_run.completed", "airline-api")
FAILED = event("action_run.failed", "airline-api")


@pytest.mark.parametrize(
    ("told", "payload", "sentence"),
    [
        (
            event("inbound_message.received", "mia_li_3668", "inbound_message"),
            {"text": "Hi!\n I'd like to book a flight."},
            "mia_li_3668 wrote “Hi! I'd like to book a flight.”",
        ),
        (event("chat_thread.message_sent", resource_type="chat_thread"), {"text": "Sure."}, "gpt-4o replied “Sure.”"),
        (
            event("inbound_message.received", "ana", "inbound_message"),
            {"method": "POST", "path": "/orders"},
            "ana sent POST · /orders",
        ),
        (event("inbound_message.received", "ben", "inbound_message"), {}, "ben sent a message"),
        (CALLED, {"tool": "get_user_details", "arguments": {"user_id": "mia"}}, "gpt-4o called get_user_details mia"),
        (
            CALLED,
            {"tool": "search", "arguments": {"origin": "JFK", "to": "SFO", "seats": 2, "direct": True}},
            "gpt-4o called search JFK · SFO · seats 2 · direct yes",
        ),
        (ANSWERED, {"tool": "search", "result": "[]"}, "airline-api completed search nothing found"),
        (ANSWERED, {"tool": "search", "result": '[{"a":1}]'}, "airline-api completed search 1 item"),
        (ANSWERED, {"tool": "calculate", "result": "329.0"}, "airline-api completed calculate 329.0"),
        (ANSWERED, {"tool": "get", "result": '{"id":"G72NSF","from":"DTW"}'}, "airline-api completed get G72NSF · DTW"),
        (
            ANSWERED,
            {"tool": "get", "result": '{"id": "G72", "seats": 3, "by": ["DTW"], "note": "cut o'},
            "airline-api completed get G72 · seats 3 · DTW · …",
        ),
        (ANSWERED, {"tool": "get", "result": '[[{"id": "G7'}, "airline-api completed get a list, cut short"),
        (ANSWERED, {"tool": "get", "result": "[sic] {as is}"}, "airline-api completed get [sic] {as is}"),
        (FAILED, {"tool": "book", "result": "Error: not enough seats"}, "airline-api failed book not enough seats"),
        (
            FAILED,
            {"kind": "tool", "name": "book", "error": "ValueError", "message": "no seats"},
            "airline-api failed tool book ValueError: no seats",
        ),
        (
            event("automation_run.started", "airline-desk", "automation_run"),
            {"task": 11, "trial": 0},
            "airline-desk started automation run e8692893 task 11, trial 0",
        ),
        (event("order.lines_approved", "ana", "order"), {}, "ana lines approved order e8692893"),
        (event("order.sent", "ana", "order"), {"_otel": "hidden"}, "ana sent order e8692893"),
        (
            msgspec.structs.replace(event("signin.console_login", "Mary", "aws_resource"), outcome="failure"),
            {"eventVersion": "1.09", "eventID": "x", "errorMessage": "Failed authentication"},
            "Mary: signin.console_login failed aws resource e8692893 Failed authentication",
        ),
        (
            event("s3.put_object", "deploy", "aws_resource"),
            {"eventVersion": "1.09", "resources": [{"ARN": "arn:aws:s3:::b/july.csv"}], "awsRegion": "us-east-1"},
            "deploy: s3.put_object arn:aws:s3:::b/july.csv us-east-1",
        ),
        (event("a.schedule", "112", "decision"), {"name": "W"}, "112: a.schedule W"),
        (event("action_run.failed"), {"result": 7}, "gpt-4o failed action run e8692893 7"),
        (event("action_run.failed"), [], "gpt-4o failed action run e8692893"),
    ],
)
def test_an_event_is_a_sentence(told: NodeBody, payload: object, sentence: str) -> None:
    """Who, a verb, the object, and what the payload says of it."""
    assert said(told, payload).replace(" result 7", " 7") == sentence


def test_a_failure_is_named_like_the_start_of_its_run() -> None:
    """If it has no name itself; one of another run is not."""
    other = node("z", None, "action_run.failed", resource_type="action_run", resource_id="other")
    events = {"x": CALLED, "y": FAILED, "z": other}
    sentences = {"x": sentence_of(CALLED, b'{"tool":"refund"}', GRAMMAR)}
    sentences |= {id_: sentence_of(events[id_], b'{"error":"declined"}', GRAMMAR) for id_ in "yz"}
    named = {id_: str(sentence) for id_, sentence in named_failures(events, sentences).items()}
    assert named["y"] == "airline-api failed refund declined"
    assert named["z"] == "ada failed action run other declined"


@pytest.mark.parametrize("payload", [b"", b"\xff", b"[" * 100_000, b'{"a":'])
def test_an_unreadable_payload_has_no_detail(payload: bytes) -> None:
    assert str(sentence_of(CALLED, payload, GRAMMAR)) == "gpt-4o called action run e8692893"


@catches(replaced(sentences, "without_middle", lambda text, most=400: text[:most], "the_end_is_lost"))
def test_a_long_error_loses_its_middle() -> None:
    """Its end often tells it from others."""
    detail = sentence_of(FAILED, msgspec.json.encode({"error": "begin " + "x" * 2_000}), GRAMMAR).detail
    assert len(detail) < 420 and detail.startswith("begin ")
    told = sentence_of(FAILED, msgspec.json.encode({"error": "a" * 500 + " the end"}), GRAMMAR).detail
    assert told.endswith("the end") and " … " in told


@PROPERTY
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    ),
    st.sampled_from(["tool", "text", "error", "result", "arguments", "any"]),
)
def test_any_payload_gives_one_line_of_bounded_length(value: object, member: str) -> None:
    for told in (CALLED, FAILED, event("inbound_message.received", resource_type="inbound_message")):
        line = said(told, {member: value})
        assert len(line) < 6_000 and "\n" not in line and line


def test_every_event_type_of_the_recording_has_a_verb() -> None:
    """No event of the demo stands with its bare type."""
    file = importlib.resources.files("whence") / "data/airline-agent-runs.ndjson.gz"
    types = {
        (told["eventType"], told["resourceType"], msgspec.json.encode(told["payload"]))
        for told in map(msgspec.json.decode, gzip.decompress(file.read_bytes()).splitlines())
    }
    for event_type, resource_type, payload in types:
        assert sentence_of(event(event_type, "a", resource_type), payload, GRAMMAR).is_verb, event_type


def test_operators_add_words(tmp_path: Path) -> None:
    """Entries of their file come first; the built-in ones stay."""
    own = tmp_path / "sentences.toml"
    own.write_text(
        '[verbs]\n"a.schedule" = "planned"\n"action_run.started" = "ran"\n[grammar]\nobjects = ["order_no"]\n',
        encoding="utf-8",
    )
    grammar = load_grammar(own)
    payload = msgspec.json.encode({"order_no": "A-7", "name": "W"})
    assert str(sentence_of(event("a.schedule", "112", "decision"), payload, grammar)) == "112 planned A-7 W"
    assert str(sentence_of(CALLED, b'{"tool":"t"}', grammar)) == "gpt-4o ran t"
    assert sentence_of(event("action_run.paid"), b"{}", grammar).verb == "paid"


@catches(
    replaced(sentences, "_filled", lambda texts, members: "", "fills_no_text"),
    replaced(sentences, "_filled", lambda texts, members: texts[0] if texts else "", "fills_without_members"),
)
def test_events_about_the_log_say_what_happened() -> None:
    """In numbers and reasons, and without positions and checkpoints. Another shape of payload claims nothing."""
    noise = {"checkpoint": "log/acme/1\n4\nMOye=", "ranges": [[1, 3]], "request": RUN, "policy": None}
    of_log = event("whence.payload_erased", "key_1", "event_log")
    erased = {"actors": 0, "events": 3, "pseudonym": None, "reason": "Request 117", **noise}
    assert said(of_log, erased) == "key_1 erased 3 payloads (Request 117)"
    renamed = {**erased, "actors": 1, "events": 0, "pseudonym": "erased-14c1"}
    assert said(of_log, renamed) == "key_1 erased the id of 1 actor (Request 117; now erased-14c1)"
    assert said(of_log, {}) == "key_1 erased event log e8692893"
    policy = {"maxAgeDays": 30, "rules": []}
    purged = {**erased, "events": 1, "policy": policy, "reason": "scheduled"}
    applied = event("whence.retention_applied", "whence", "event_log")
    assert said(applied, purged) == "whence removed 1 event (scheduled; older than 30 days)"


def test_operators_tell_their_own_types(tmp_path: Path) -> None:
    """In texts with members of the payload, the first whose members are all there."""
    own = tmp_path / "sentences.toml"
    own.write_text(
        '[object_texts]\n"invoice.sent" = ["{lines line} to {customer.name}", "an invoice"]\n'
        '[detail_texts]\n"invoice.sent" = []\n'
    )
    sent, grammar = event("invoice.sent", "billing", "invoice"), load_grammar(own)
    payload = b'{"lines":2,"customer":{"name":"Ana"},"secret":"x"}'
    assert str(sentence_of(sent, payload, grammar)) == "billing sent 2 lines to Ana"
    assert str(sentence_of(sent, b'{"lines":0,"customer":{"name":"Ana"}}', grammar)) == "billing sent an invoice"


@pytest.mark.parametrize("text", ["[verbs", "[verb]\na = 1", "[verbs]\na = 1", '[grammar]\nquote = ["a"]'])
def test_a_file_that_is_no_grammar_is_refused(tmp_path: Path, text: str) -> None:
    own = tmp_path / "sentences.toml"
    own.write_text(text, encoding="utf-8")
    with pytest.raises(WhenceError, match="WHENCE_SENTENCES"):
        load_grammar(own)
    with pytest.raises(WhenceError, match="cannot be read"):
        load_grammar(tmp_path / "none.toml")


def test_the_words_of_the_documentation(tmp_path: Path) -> None:
    """The example of docs/operations.md is a file of WHENCE_SENTENCES, and makes the sentence that stands below it."""
    page = (Path(__file__).parents[2] / "docs" / "operations.md").read_text(encoding="utf-8")
    section = page.partition("## Sentences of your own")[2].partition("\n## ")[0]
    own = tmp_path / "sentences.toml"
    own.write_text(section.partition("```toml\n")[2].partition("```")[0])
    dunned = event("invoice.dunned", "billing", "invoice")
    sentence = sentence_of(dunned, b'{"invoice_number": "R-17", "internal_note": "x"}', load_grammar(own))
    assert f'"{sentence}"' in section
