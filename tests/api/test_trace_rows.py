"""What the rows of a console are made of: traces with rows, the reach of events, and the words of sentences."""

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest

from tests.api.conftest import Served, event, problems, serving
from tests.unit.mutants import catches, replaced
from whence.api import causes
from whence.permissions import READ, WRITE
from whence.sentences import load_grammar, sentence_of
from whence.settings import Settings
from whence.wire import parameters

EVENTS = "/api/v1/events"
REACH = f"{EVENTS}/reach"
SENTENCES = "/api/v1/sentences"
IDS = [str(uuid.UUID(int=number)) for number in range(1, 9)]
ROW_KEYS = {"detail", "label", "pairedEndId", "verb"}


@pytest.fixture(scope="module")
def story(served: Served) -> Iterator[httpx2.Client]:
    """A message, which led to a call that failed, which led to a decision about something else."""
    sent = [
        event(
            id=IDS[0],
            eventType="inbound_message.received",
            resourceType="inbound_message",
            payload={"text": "Book <b>it</b>!"},
        ),
        event(
            id=IDS[1], causationId=IDS[0], eventType="action_run.started", payload={"tool": "book", "args": {"n": 1}}
        ),
        event(id=IDS[2], causationId=IDS[1], eventType="action_run.failed", payload={"error": "full " * 200}),
        event(id=IDS[3], causationId=IDS[2], eventType="decision.made", resourceType="decision", payload={"ok": False}),
    ]
    with served.client(READ, WRITE, tenant="rows") as client:
        assert client.post(f"{EVENTS}/batch", json=sent).status_code == 201
        yield client


def trace(client: httpx2.Client, number: int, **parameters: Any) -> Any:
    answer = client.get(f"{EVENTS}/{IDS[number]}/trace", params=parameters)
    assert answer.status_code == 200, answer.text
    return answer.json()


def nothing_of_payloads(event: Any, _payload: bytes, grammar: Any) -> Any:
    return sentence_of(event, b"{}", grammar)


@catches(replaced(causes, "sentence_of", nothing_of_payloads, "payloads_are_not_read"))
def test_rows_say_what_happened(story: httpx2.Client) -> None:
    """Verb, label, detail and the end of a start; without include nothing is added, and nothing else changes."""
    with_rows, plain = trace(story, 3, include="rows"), trace(story, 3)
    shown = [(node["verb"], node["label"], node["pairedEndId"]) for node in with_rows["nodes"]]
    assert shown == [
        ("wrote", "", None),
        ("called", "book", IDS[2]),
        ("failed", "book", None),
        ("made", f"decision {event()['resourceId'][:8]}", None),
    ]
    details = [node["detail"] for node in with_rows["nodes"]]
    assert details[0] == "“Book <b>it</b>!”" and details[1] == "n 1" and details[3] == "ok no"
    assert 250 < len(details[2]) <= 300
    assert not any(ROW_KEYS & node.keys() for node in plain["nodes"])
    for node in with_rows["nodes"]:
        for key in ROW_KEYS:
            del node[key]
    assert with_rows == plain


def test_many_rows_are_read_in_parts(story: httpx2.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of one node make the same answer as one part."""
    whole = trace(story, 0, include="rows")
    monkeypatch.setattr(causes, "_PART", 1)
    assert trace(story, 0, include="rows") == whole


def test_rows_that_take_too_long_are_refused(story: httpx2.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """A 503 says so; nothing is left out."""
    monkeypatch.setattr(causes, "QUERY_SECONDS_MAX", -1.0)
    answer = story.get(f"{EVENTS}/{IDS[0]}/trace?include=rows")
    assert (answer.status_code, answer.json()["code"]) == (503, "query_too_expensive")


def test_a_narrowed_key_gets_rows_of_what_it_may_read(served: Served, story: httpx2.Client) -> None:
    """The start and its end, and nothing of the message and the decision."""
    with served.client(f"{READ}:action_run", tenant="rows") as narrowed:
        graph = trace(narrowed, 2, include="rows")
        assert [node["id"] for node in graph["nodes"]] == IDS[1:3] and graph["missing"] == [IDS[0]]
        assert [node["label"] for node in graph["nodes"]] == ["book", "book"]
        found = narrowed.get(REACH, params={"id": IDS[:4]}).json()["reach"]
    assert found == [
        {"atLeast": False, "causes": 0, "effects": 1, "failedEffects": 1, "id": IDS[1]},
        {"atLeast": False, "causes": 1, "effects": 0, "failedEffects": 0, "id": IDS[2]},
    ]


def test_reach_is_in_the_order_asked(served: Served, story: httpx2.Client) -> None:
    """Unknown ids are left out, also those of another tenant, and each id counts once, in either case."""
    ids = [IDS[2], str(uuid.uuid4()), IDS[0].upper(), IDS[2], IDS[3]]
    found = story.get(REACH, params={"id": ids}).json()
    assert found == {
        "reach": [
            {"atLeast": False, "causes": 2, "effects": 1, "failedEffects": 0, "id": IDS[2]},
            {"atLeast": False, "causes": 0, "effects": 3, "failedEffects": 1, "id": IDS[0]},
            {"atLeast": False, "causes": 3, "effects": 0, "failedEffects": 0, "id": IDS[3]},
        ]
    }
    with served.client(READ, tenant="other") as other:
        assert other.get(REACH, params={"id": ids}).json() == {"reach": []}


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("", ("id", "missing")),
        ("id=x", ("id", "uuid_parsing")),
        ("id=", ("id", "string_too_short")),
        ("&".join([f"id={IDS[0]}"] * 101), ("id", "too_many_values")),
        (f"id={IDS[0]}&limit=3", ("limit", "extra_forbidden")),
    ],
)
def test_a_bad_question_about_reach_is_refused(story: httpx2.Client, query: str, wanted: tuple[str, str]) -> None:
    """Each problem by the name of its parameter; a hundred ids are answered."""
    assert problems(story.get(f"{REACH}?{query}")) == [(["query", wanted[0]], wanted[1])]
    assert story.get(f"{REACH}?{'&'.join(f'id={uuid.uuid4()}' for _ in range(100))}").json() == {"reach": []}


def test_filters_are_still_repeated_at_most_twenty_times(story: httpx2.Client) -> None:
    """The larger number is that of ids alone."""
    query = "&".join(f"actor_id={number}" for number in range(parameters.VALUES_MAX + 1))
    assert problems(story.get(f"{EVENTS}?{query}")) == [(["query", "actor_id"], "too_many_values")]


def test_the_words_in_force_are_served(tmp_path: Path) -> None:
    """In the form of the file, with the operator's words before the built-in ones, and rows are made by them."""
    own = tmp_path / "own.toml"
    own.write_text('[verbs]\n"invoice.dunned" = "reminded"\n[grammar]\nobjects = ["invoice_number"]\n')
    with serving(tmp_path, sentences=own) as served, served.client(READ, WRITE) as client:
        answer = client.get(SENTENCES)
        words, grammar = answer.json(), load_grammar(own)
        assert answer.headers["cache-control"] == "private, max-age=300"
        assert client.get(SENTENCES, headers={"If-None-Match": answer.headers["etag"]}).status_code == 304
        assert words["grammar"]["objects"][:2] == ["invoice_number", "tool"]
        assert (words["verbs"]["invoice.dunned"], words["verbs"]["action_run.started"]) == ("reminded", "called")
        assert words.keys() == {"grammar", "detail_texts", "object_texts", "unquoted", "unquoted_objects", "verbs"}
        for name in grammar.__struct_fields__:
            served_words = words["grammar"].get(name) if name in words["grammar"] else words[name]
            wanted = getattr(grammar, name)
            assert served_words == msgspec.json.decode(msgspec.json.encode(wanted))
        client.post(EVENTS, json=event(id=IDS[0], eventType="invoice.dunned", payload={"invoice_number": "R-17"}))
        (node,) = trace(client, 0, include="rows")["nodes"]
        assert (node["verb"], node["label"]) == ("reminded", "R-17")
        assert problems(client.get(f"{SENTENCES}?lang=de")) == [(["query", "lang"], "extra_forbidden")]


def test_words_that_cannot_be_read_stop_the_start(tmp_path: Path) -> None:
    """The sentence names the setting."""
    bad = tmp_path / "bad.toml"
    bad.write_text("[verbs]\nx = 1\n")
    for path in (bad, tmp_path / "none.toml"):
        with pytest.raises(ValueError, match="WHENCE_SENTENCES"):
            Settings(sentences=path)
