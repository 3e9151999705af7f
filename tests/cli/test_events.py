"""`emit`, `list`, `get`, `stats` and `histogram` against a real server, compared with the API byte for byte."""

import unicodedata
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx2
import msgspec
import pytest

from tests.api.conftest import Served, event
from tests.cli import mutants
from tests.cli.mutants import Mutant, catches
from tests.cli.program import Cli, Ran, ndjson
from whence.cli.histogram import bar
from whence.permissions import READ, WRITE

EVENTS = "/api/v1/events"
RUNS = [str(UUID(int=number)) for number in (101, 102)]
IDS = [str(UUID(int=number)) for number in range(1, 7)]

HOSTILE = "\x1b]0;owned\x07\x1b[2J\x1b[31mred\r\n\x9b31m\u202egnp.exe\u2066\u200b\u2028\x7f"
"""Sets the title, clears the screen, sets colours, changes the direction of text, hides text, and ends lines."""

TURNING = "\u202egnp.exe\u2066\u200b"
"""The part of it that indexed fields allow: no control characters, but changes of direction."""

FIVE = [
    {"eventType": "action_run.started", "outcome": "none", "resourceId": RUNS[0], "correlationId": "one"},
    {"eventType": "action_run.completed", "resourceId": RUNS[0], "correlationId": "one", "causationId": IDS[0]},
    {"eventType": "action_run.failed", "actorType": "user", "actorId": "ana", "resourceId": RUNS[1]},
    {"eventType": "decision.approved", "resourceType": "decision", "actorId": "judge", "resourceId": RUNS[1]},
    {"eventType": "artifact.created", "resourceType": "artifact", "actorType": "user", "actorId": "ana"},
]

FILTERS: list[tuple[list[str], dict[str, Any]]] = [
    ([], {}),
    (["--event-type", "action_run.started"], {"event_type": "action_run.started"}),
    (["--type", "action_run.*", "--type", "artifact.created"], {"event_type": ["action_run.*", "artifact.created"]}),
    (["--resource-type", "decision"], {"resource_type": "decision"}),
    (["--resource-id", RUNS[0]], {"resource_id": RUNS[0]}),
    (["--actor-type", "agent"], {"actor_type": "agent"}),
    (["--actor-id", "ana", "--actor-id", "judge"], {"actor_id": ["ana", "judge"]}),
    (["--outcome", "failure"], {"outcome": "failure"}),
    (["--correlation-id", "one"], {"correlation_id": "one"}),
    (["--causation-id", IDS[0]], {"causation_id": IDS[0]}),
    (["--from", "2026-01-02T03:00:02Z"], {"from": "2026-01-02T03:00:02Z"}),
    (
        ["--since", "2026-01-02", "--until", "2026-01-02T03:00:02Z"],
        {"from": "2026-01-02", "to": "2026-01-02T03:00:02Z"},
    ),
    (["--to", "2026-01-02T04:00:02+01:00"], {"to": "2026-01-02T04:00:02+01:00"}),
    (["--from", "-15m"], {"from": "-15m"}),
    (["-q", "-outcome:failed actor:agent/*"], {"q": "-outcome:failed actor:agent/*"}),
    (["--query", "type:*.created", "--actor-id", "ana"], {"q": "type:*.created", "actor_id": "ana"}),
]

PAGES: list[tuple[list[str], dict[str, Any]]] = [
    (["--limit", "2"], {"limit": "2"}),
    (["--limit", "2", "--offset", "2"], {"limit": "2", "offset": "2"}),
    (["--offset", "9"], {"offset": "9", "limit": "20"}),
    (["--order", "asc"], {"order": "asc", "limit": "20"}),
    (["--order", "desc", "--limit", "1"], {"order": "desc", "limit": "1"}),
]

COUNTING = [("list",), ("tail",), ("stats",), ("histogram",), ("facets",), ("export",)]
"""Commands whose output depends on the options that select events."""


@pytest.fixture
def five(api: httpx2.Client) -> list[dict[str, Any]]:
    """Five events of this tenant, a second apart."""
    sent = [
        event(id=IDS[number], occurredAt=f"2026-01-02T03:00:0{number}Z", **fields) for number, fields in enumerate(FIVE)
    ]
    assert api.post(f"{EVENTS}/batch", json=sent).status_code == 201
    return sent


def answer(api: httpx2.Client, path: str, **parameters: Any) -> bytes:
    found = api.get(f"{EVENTS}{path}", params=parameters)
    assert found.status_code == 200, found.text
    return found.content


def same_bytes(ran: Ran, body: bytes) -> None:
    """The output is exactly the response of the API and a line end; stderr is empty."""
    assert ran.raw_out == body + b"\n"
    assert ran.err == ""


@catches(mutants.NO_FILTER, mutants.REENCODED)
@pytest.mark.slow
def test_filters_are_sent_to_the_api(user: Cli, api: httpx2.Client, five: list[Any]) -> None:
    """`list`, `stats` and `stats --actors` send every filter, and `--json` prints exactly the response of the API."""
    seen = set()
    for number, (options, parameters) in enumerate(FILTERS):
        page = answer(api, "", limit="20", **parameters)
        seen.add(page)
        same_bytes(user.run("list", *options, "--json"), page)
        if number % 3 == 0:  # the options are the same ones, declared once
            same_bytes(user.run("stats", *options, "--json"), answer(api, "/aggregate", **parameters))
            same_bytes(user.run("stats", "--actors", *options, "--json"), answer(api, "/stats/by-actor", **parameters))
    assert len(seen) > len(FILTERS) // 2, "filters that all find the same show nothing"


def test_pages_and_order_are_sent_to_the_api(user: Cli, api: httpx2.Client, five: list[Any]) -> None:
    """`--limit`, `--offset` and `--order` are sent to the API unchanged."""
    pages = [answer(api, "", **parameters) for _, parameters in PAGES]
    assert len(set(pages)) == len(PAGES)
    for (options, _), page in zip(PAGES, pages, strict=True):
        same_bytes(user.run("list", *options, "--json"), page)


@catches(mutants.MESSAGES_ON_STDOUT)
def test_a_list_is_sentences_with_messages_on_stderr(user: Cli, five: list[Any]) -> None:
    """Rows with headings are on stdout; their number and how to continue are on stderr."""
    ran = user.ok("list", "--limit", "3")
    assert ran.lines == [
        "EVENT TIME, UTC             WHAT HAPPENED",
        "   @5 2026-01-02 03:00:04   ana created artifact 5b0c3bd0",
        "   @4 2026-01-02 03:00:03   judge approved decision 00000000",
        "   @3 2026-01-02 03:00:02 ✗ ana failed action run 00000000",
    ]
    assert ran.err == "3 of 5 events; continue with --offset 3.\n"
    last = user.ok("list", "--limit", "2", "--offset", "4")
    assert (len(last.lines), last.err) == (2, "1 of 5 events.\n")
    one = user.ok("list", "--resource-type", "decision", "--columns", "id,event_type,actor,resource")
    assert [line.split() for line in one.lines] == [
        ["ID", "EVENT", "TYPE", "ACTOR", "RESOURCE"],
        [IDS[3], "decision.approved", "agent/judge", f"decision/{RUNS[1]}"],
    ]
    assert one.err == "1 of 1 event.\n"
    assert "--columns takes these names" in user.fails(2, "list", "--columns", "id,nope")
    assert user.fails(2, "list", "--all", "--columns", "time", "--json") == "Pass either --columns or --json."


def test_a_query_selects_events(user: Cli, five: list[Any]) -> None:
    """By -q, in `list` and `tail`; a mistake in it is a sentence about its term."""
    text = "-type:*.started -actor:agent/*"
    assert [line.split()[0] for line in user.ok("list", "-q", text).lines[1:]] == ["@5", "@3"]
    assert [line.split()[0] for line in user.ok("tail", "--query", text).lines[1:]] == ["@3", "@5"]
    assert user.fails(2, "list", "-q", "type:a.b status:bad").startswith("Term 2 of the query: There is no such name")


def test_a_search_shows_what_a_text_names(user: Cli, api: httpx2.Client, five: list[Any]) -> None:
    """One line each; nothing is exit code 3."""
    assert [line.split() for line in user.ok("search", "user/ana").lines] == [
        ["KIND", "NAME", "EVENTS"],
        ["actor", "user/ana", "2"],
    ]
    shown = user.ok("search", "@3")
    assert shown.lines[1].split() == ["event", "@3", "action_run.failed"]
    assert "whence why @3" in shown.err
    assert user.ok("search", RUNS[1]).lines[1:] == [
        f"resource  action_run/{RUNS[1]}       1",
        f"resource  decision/{RUNS[1]}         1",
    ]
    body = api.get("/api/v1/search", params={"text": "user/ana"}).content
    same_bytes(user.run("search", "user/ana", "--json"), body)
    assert user.fails(3, "search", "nobody") == "Nothing that the log knows has this name."


def test_a_list_without_events_says_whether_there_could_be_any(user: Cli) -> None:
    """An event type outside of the grammar can match nothing; that is a message of every command with this option."""
    none = user.ok("list", "--type", "decision.made", "--type", "action_run.*")
    assert (none.out, none.err) == ("", "0 of 0 events.\n")
    for odd in ("x y", "Decision.made", "decision*"):
        assert "can match nothing" in user.ok("list", "--event-type", odd).err
    for words in (*COUNTING, ("stats", "--json"), ("list", "--json")):
        assert "can match nothing" in user.ok(*words, "--event-type", "decision").err


@catches(mutants.CAUSES_AS_THEY_ARE)
def test_a_filter_may_name_a_cause_in_short(user: Cli, api: httpx2.Client, five: list[Any]) -> None:
    """By its position, or by the first digits of its id, as with `emit --cause`. Other text is looked for as it is."""
    named = [event(id=str(UUID(int=90)), causationId=IDS[0]), event(id=str(UUID(int=91)), causationId="0b3c1b5e")]
    assert api.post(f"{EVENTS}/batch", json=named).status_code == 201
    for words in COUNTING:
        whole = user.ok(*words, "--causation-id", IDS[0])
        short = user.ok(*words, "--causation-id", "@1")
        assert (short.out, short.err) == (whole.out, whole.err)
        assert short.out != user.ok(*words, "--causation-id", "nobody").out
    assert user.ok("list", "--causation-id", "0b3c1b5e", "--columns", "id").lines == ["ID", str(UUID(int=91))]
    assert "There is no event with this position" in user.fails(3, "list", "--causation-id", "@99")


def test_a_list_of_all_events_has_every_page(user: Cli, api: httpx2.Client) -> None:
    """Each event once, in one snapshot; with `--json` one a line, as the server sent them."""
    sent = [event(id=str(UUID(int=number)), payload={"n": 1}) for number in range(1, 231)]
    assert api.post(f"{EVENTS}/batch", json=sent).status_code == 201
    ran = user.ok("list", "--all", "--columns", "id")
    assert ran.lines == ["ID", *(each["id"] for each in reversed(sent))]
    assert ran.err == "230 of 230 events.\n"
    lines = user.ok("list", "--all", "--order", "asc", "--json").lines
    whole = [
        line
        for page in range(3)
        for line in raw_events(answer(api, "", order="asc", limit="100", offset=str(page * 100)))
    ]
    assert lines == whole
    assert user.ok("list", "--all", "--json", "--actor-id", "nobody").out == ""
    for words in (("--limit", "5"), ("--offset", "5")):
        assert "--all" in user.fails(2, "list", "--all", *words)


class RawPage(msgspec.Struct):
    events: list[msgspec.Raw]


def raw_events(body: bytes) -> list[str]:
    """The events of a page as they are in its body."""
    return [bytes(each).decode() for each in msgspec.json.decode(body, type=RawPage).events]


def test_the_cause_of_an_event_may_be_unknown(user: Cli, five: list[Any], served: Served, tenant: str) -> None:
    """The event is stored, and a message says so. Eight first digits of an id name the cause; fewer are text."""
    options = ["emit", "a.noted", "--actor", "user/ana", "--resource", f"decision/{RUNS[0]}", "--json"]
    unknown = str(UUID(int=99))
    ran = user.ok(*options, "--cause", unknown)
    assert ran.json["causationId"] == unknown and "The cause is not in the log, or not yet." in ran.err
    ran = user.ok(*options, "--cause", "00000000-0000-0000-0000-000000000001")
    assert (ran.json["causationId"], ran.err) == (IDS[0], "")
    found = user.ok(*options, "--id", "0b3c1b5e-6d0c-4b7a-9c53-2f2d1f6f7a31").json
    assert user.ok(*options, "--cause", "0b3c1b5e").json["causationId"] == found["id"]
    ran = user.ok(*options, "--cause", "0b3c1b5")
    assert ran.json["causationId"] == "0b3c1b5" and "links to no event" in ran.err
    assert "Several ids begin so" in user.fails(2, *options, "--cause", "00000000")
    writer = user.given(api_key=served.key(WRITE, tenant=tenant))
    for cause in (unknown, "0b3c1b5e"):
        assert writer.ok(*options, "--cause", cause).json["causationId"] == cause


@catches(mutants.NO_FILTER, mutants.REENCODED)
def test_a_histogram_has_a_bar_for_each_span_of_time(user: Cli, api: httpx2.Client, five: list[Any]) -> None:
    """A row for each bucket, empty ones too; `--json` prints exactly the response, and every filter is sent."""
    asked = ("histogram", "--interval", "2s", "--resource-type", "action_run", "--resource-type", "decision")
    ran = user.ok(*asked)
    assert ran.lines[0].split() == ["TIME,", "UTC", "EVENTS"]
    assert [line.split()[:3] for line in ran.lines[1:4]] == [
        ["2026-01-02", "03:00:00", "2"],
        ["2026-01-02", "03:00:02", "2"],
        ["2026-01-02", "03:00:04", "0"],
    ]
    bars = [line.split()[3] for line in ran.lines[1:3]]
    assert set(bars[1]) == {"x", "="} and len(bars[0]) == len(bars[1])
    assert "x failure 1" in ran.lines
    assert ran.lines[-1] == "4 events, 2s a row"
    parameters = {"interval": "2s", "by": "event_type", "top": "1", "resource_type": "action_run"}
    body = answer(api, "/histogram", **parameters)
    options = [word for name, value in parameters.items() for word in (f"--{name.replace('_', '-')}", value)]
    same_bytes(user.run("histogram", *options, "--json"), body)
    assert user.ok("histogram", *options).lines[-3].startswith("- other ")


@pytest.mark.parametrize(
    ("counts", "most", "drawn"),
    [
        ([0, 0], 9, ""),
        ([1, 0], 1_000, "="),
        ([3, 1], 4, "======xx"),
        ([1, 1], 8, "=x"),
        ([4, 4], 8, "====xxxx"),
        ([0, 8], 8, "xxxxxxxx"),
    ],
)
def test_a_bar_is_a_share_of_the_longest(counts: list[int], most: int, drawn: str) -> None:
    """Eight characters stand for the most; any event is at least one."""
    assert bar(counts, ["=", "x"], most, 8) == drawn


def test_a_log_without_events_has_no_rows(user: Cli) -> None:
    assert user.ok("histogram").out == "0 events\n"


def test_statistics_are_tables(user: Cli, five: list[Any]) -> None:
    """`stats` shows three counts and the total, `stats --actors` what each actor did."""
    rows = [line.split() for line in user.ok("stats").lines]
    for row in (["action_run.failed", "1"], ["action_run", "3"], ["user", "2"], ["agent", "3"], ["5", "events"]):
        assert row in rows
    ran = user.ok("stats", "--actors", "--resource-type", "action_run")
    assert [line.split() for line in ran.lines] == [
        ["ACTOR", "TOTAL", "SUCCESSES", "FAILURES"],
        ["agent/planner", "2", "1", "0"],
        ["user/ana", "1", "0", "1"],
    ]
    assert ran.err == ""


def test_get_shows_one_event(user: Cli, api: httpx2.Client, five: list[Any]) -> None:
    """`get --json` prints exactly the response of the API. Without it every field has a line, the payload comes last,
    and the command on stderr for the flow works as printed.
    """
    same_bytes(user.run("get", IDS[1], "--json"), answer(api, f"/{IDS[1]}"))
    ran = user.ok("get", IDS[1])
    fields = {line.split()[0]: line.split()[1:] for line in ran.lines}
    assert fields["id"] == [IDS[1]] and fields["causationId"] == [IDS[0]] and fields["outcome"] == ["success"]
    assert fields["position"] == ["2"] and fields["recordedAt"]
    assert ran.lines[-2:] == ["payload", "{}"]
    assert ran.err == "Why it happened: whence why @2   Its flow: whence flow @2\n"
    assert user.ok("why", "@2").lines and user.ok("flow", "@2").lines


@catches(mutants.MESSAGES_ON_STDOUT)
def test_emit_prints_the_id_alone(user: Cli, api: httpx2.Client) -> None:
    """Prints the id of the stored event. A repeat prints the same id, reports that on stderr, and stores nothing."""
    options = ["--actor", "agent/planner/2", "--resource", f"action_run/{RUNS[0]}", "--correlation", "flow 1"]
    more = ["--id", IDS[0], "--occurred-at", "2026-01-02T03:04:05+01:00", "--outcome", "failure", "--cause", "c 1"]
    first = user.ok("emit", "decision.made", *options, *more, "--payload", '{"a": 1E2}')
    assert first.out == f"{IDS[0]}\n"
    assert (
        first.err == "The cause is not an event's id, which is a UUID. It was stored as it is, and links to no event.\n"
    )
    again = user.ok("emit", "decision.made", *options, *more, "--payload", '{"a":1E2}')
    assert again.out == first.out and "nothing was added" in again.err
    stored = api.get(f"{EVENTS}/{IDS[0]}", params={}).json()
    listed = api.get(EVENTS, params={"include": "outcome"}).json()
    assert listed["total"] == 1 and listed["events"][0]["outcome"] == "failure"
    assert stored["actorType"] == "agent" and stored["actorId"] == "planner/2"
    assert stored["correlationId"] == "flow 1" and stored["causationId"] == "c 1"
    assert stored["occurredAt"] == "2026-01-02T02:04:05Z"
    same_bytes(user.run("get", IDS[0], "--json"), answer(api, f"/{IDS[0]}"))
    assert "occurredAt" in user.fails(1, "emit", "decision.made", *options, "--id", IDS[0])
    said = user.fails(2, "emit", "decision.made", *options, "--occurred-at", "yesterday")
    assert said.startswith("--occurred-at is not such a time. A time is RFC 3339 with an offset")


MASKED_UNSAID = Mutant(
    "masked_unsaid",
    "import whence.client.responses as r\nparse = r.parse_stored\n"
    "import whence.client.clients as c\nimport msgspec\n"
    "c.parse_stored = lambda response: msgspec.structs.replace(parse(response), redacted=())",
)


@catches(MASKED_UNSAID)
def test_what_the_server_masked_is_said(user: Cli, tmp_path: Path, mutant: Mutant | None) -> None:
    """Of one event by its paths, of an import by the number of payloads."""
    options = ("--actor", "user/ana", "--resource", f"decision/{RUNS[0]}")
    masked = user.ok("emit", "decision.made", *options, "--payload", '{"card": {"number": "4111", "kind": "x"}}')
    assert masked.err == "The server masked values of the payload: card.number.\n"
    assert user.ok("emit", "decision.made", *options, "--payload", '{"card": {"kind": "x"}}').err == ""
    (tmp_path / "a.ndjson").write_bytes(ndjson([event(payload={"card": {"number": 4111}}), event()]))
    imported = user.ok("import", str(tmp_path / "a.ndjson")).out
    assert imported == "2 stored, 0 already there, 0 refused. The server masked values in 1 payload.\n"


@pytest.mark.parametrize("way", ["argument", "file", "stdin"])
def test_a_payload_arrives_as_written(user: Cli, api: httpx2.Client, tmp_path: Path, way: str) -> None:
    """A payload is read from the argument, @FILE or stdin; its number literals and escapes stay as written."""
    text = '{"n": 1E2, "big": 9007199254740993, "zero": -0, "nul": "\\u0000", "ä": "😀"}'
    file = tmp_path / "payload.json"
    file.write_text(text, encoding="utf-8")
    given = {"argument": text, "file": f"@{file}", "stdin": "-"}[way]
    options = ["--actor", "user/ana", "--resource", f"action_run/{RUNS[0]}", "--payload", given]
    ran = user.ok("emit", "decision.made", *options, "--json", stdin=text.encode() + b"\n")
    assert text.replace(": ", ":").replace(", ", ",") in ran.out
    same_bytes(ran, answer(api, f"/{ran.json['id']}"))


@pytest.mark.parametrize(
    ("given", "code", "words"),
    [
        ("{bad", 2, "not JSON"),
        ("", 2, "not JSON"),
        ('{"a":1} x', 2, "not JSON"),
        ("[1]", 2, "payload"),
        ('{"a":NaN}', 2, "not JSON"),
        ('{"a":1,"a":2}', 2, "payload"),
        ("[" * 50_000 + "]" * 50_000, 2, "deep"),
        ('{"a":' * 70 + "1" + "}" * 70, 2, "payload"),
        (b'{"a":"\xff"}', 2, "payload"),
        ("@/nowhere/at/all", 1, "/nowhere/at/all: No such file"),
        ("@.", 1, "Is a directory"),
        ('{"a":"' + "x" * 100_000 + '"}', 0, ""),
        ('{"a":"' + "x" * 300_000 + '"}', 1, "at most"),
    ],
    ids=range(13),
)
def test_a_bad_payload_is_reported(user: Cli, tmp_path: Path, given: str | bytes, code: int, words: str) -> None:
    """An invalid, too deep, too large or unreadable payload is reported in one sentence."""
    if len(given) > 100_000:  # more than an argument may hold
        (tmp_path / "large.json").write_text(str(given))
        given = f"@{tmp_path}/large.json"
    options = ["--actor", "user/ana", "--resource", f"action_run/{RUNS[0]}", "--payload", given]
    ran = user.run("emit", "decision.made", *options, cwd=tmp_path)
    assert ran.code == code and words in ran.err and len(ran.err) < 500, ran
    assert code == 0 or (ran.out == "" and len(ran.err.splitlines()) == 1)


def harmless(text: str) -> None:
    """Nothing in the text controls a terminal or changes the direction of text; line ends are allowed."""
    for found in text:
        assert found == "\n" or unicodedata.category(found) not in ("Cc", "Zl", "Zp"), repr(found)
        assert unicodedata.bidirectional(found) not in ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")


@catches(mutants.AS_IT_IS)
def test_hostile_text_is_printed_harmlessly(user: Cli, api: httpx2.Client) -> None:
    """Every form of output escapes control sequences, line ends and direction marks of an event; `--json` keeps the
    value.
    """
    sent = event(id=IDS[0], actorId=TURNING, correlationId=f"flow{TURNING}", payload={HOSTILE: [HOSTILE]})
    assert api.post(EVENTS, json=sent).status_code == 201
    runs = [
        user.ok(*words)
        for words in (
            ("list",),
            ("list", "--json"),
            ("get", IDS[0]),
            ("get", IDS[0], "--json"),
            ("stats", "--actors"),
            ("stats", "--actors", "--json"),
            ("list", "--actor-id", TURNING),
        )
    ]
    for ran in runs:
        harmless(ran.out)
        harmless(ran.err)
    assert len(runs[0].lines) == 2 and "\\u202egnp.exe" in runs[0].out
    assert runs[1].json["events"][0]["payload"] == runs[3].json["payload"] == {HOSTILE: [HOSTILE]}
    assert runs[3].json["actorId"] == runs[5].json["actors"][0]["actorId"] == TURNING
    assert runs[6].out == runs[0].out


HIDDEN = "a\u00ad\u180e\u3164\ufff9\ufffb\u115f\U000e0001\U000e007f\U000e0100z"
"""Characters that a terminal shows as nothing, or that hide a text; two UTF-16 units beyond U+FFFF."""


@catches(mutants.ONLY_THE_FORMER_CHARACTERS)
def test_text_that_hides_is_escaped(user: Cli, api: httpx2.Client) -> None:
    """Soft hyphens, fillers, annotations and tag characters are visible as escapes, and JSON keeps their value."""
    assert api.post(EVENTS, json=event(id=IDS[0], actorId=HIDDEN, payload={HIDDEN: HIDDEN})).status_code == 201
    shown = user.ok("list").out
    assert "a\\xad\\u180e\\u3164\\ufff9\\ufffb\\u115f\\U000e0001\\U000e007f\\U000e0100z" in shown
    ran = user.ok("get", IDS[0], "--json")
    assert ran.out.isascii()
    assert ran.json["actorId"] == HIDDEN and ran.json["payload"] == {HIDDEN: HIDDEN}


def test_hostile_arguments_are_reported_harmlessly(user: Cli, tmp_path: Path) -> None:
    """Error messages escape control characters in wrong arguments."""
    for words in (("list", f"--{HOSTILE}"), ("get", HOSTILE), ("list", "--limit", HOSTILE), (HOSTILE,)):
        ran = user.run(*words)
        assert ran.code in (2, 3), ran
        harmless(ran.err)
    file = tmp_path / f"x{TURNING}\x1b[31m.ndjson"
    file.write_bytes(ndjson([{"eventType": HOSTILE}]) + b"\x1b[31m\n")
    ran = user.run("import", file)
    assert ran.code == 1 and len(ran.err.splitlines()) == 2, ran
    harmless(ran.out + ran.err)


@pytest.mark.parametrize(
    "words",
    [
        ("list", "--actor-id", b"\xff"),
        ("get", b"\xff"),
        ("emit", "decision.made", "--actor", b"user/\xff", "--resource", f"action_run/{RUNS[0]}"),
        ("key", "create", "--scope", "events:read", "--tenant", "acme", "--name", b"\xff"),
        ("key", "revoke", b"\xff"),
    ],
    ids=range(5),
)
def test_arguments_that_are_not_text_are_refused(user: Cli, words: tuple[Any, ...]) -> None:
    """Arguments that are not UTF-8 are a usage error in every place."""
    user.fails(2, *words)


def test_commands_work_on_a_terminal_without_unicode(user: Cli, api: httpx2.Client) -> None:
    """With ASCII output, tables escape other letters, and JSON is still UTF-8."""
    sent = event(id=IDS[0], actorId="añá😀", payload={"ä": "€"})
    assert api.post(EVENTS, json=sent).status_code == 201
    ascii_only = {"PYTHONIOENCODING": "ascii", "LANG": "C"}
    ran = user.ok("list", env=ascii_only)
    assert "a\\xf1\\xe1\\U0001f600 completed" in ran.out
    same_bytes(user.run("list", "--json", env=ascii_only), answer(api, "", limit="20"))
    assert "a\\xf1\\xe1\\U0001f600" in user.ok("stats", "--actors", env=ascii_only).out


def test_a_narrowed_key_sees_only_its_part(served: Served, user: Cli, five: list[Any], tenant: str) -> None:
    """Every command shows only what the key may read."""
    narrow = user.given(api_key=served.key(f"{READ}:decision", tenant=tenant))
    assert [line.split()[0] for line in narrow.ok("list").lines[1:]] == [IDS[3]]
    assert narrow.ok("stats", "--json").json["total"] == 1
    narrow.fails(3, "get", IDS[0])
