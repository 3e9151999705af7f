"""`import`: other forms than NDJSON, the standard input, repeated complaints, and what an interrupted import says."""

import gzip
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.api.conftest import Served, event, serving
from tests.cli.mutants import Mutant, catches
from tests.cli.program import Cli, ndjson
from tests.cli.terminals import shown_on_a_terminal
from tests.cli.test_import import actors, numbered, stored
from whence.cli import event_files
from whence.cli.event_files import read_lines
from whence.cli.field_maps import FieldMap, load_map, parse_map, ready_maps
from whence.cli.import_files import Complaints, import_files
from whence.errors import Invalid
from whence.identities import resource_uuid
from whence.permissions import READ, WRITE

SAMPLES = Path(__file__).parents[1] / "data" / "imports"

LEDGER = """
occurredAt = "{when}"
time = "utc"
eventType = "entry.{what}"
actorType = "user"
actorId = "{who}"
resourceType = "artifact"
resourceId = "{doc}"
source = "ledger"
id = "{no}"
"""

Read = tuple[list[dict[str, Any]], list[str], list[tuple[str, str]]]


def read(file: Path, content: bytes | None = None, field_map: FieldMap | None = None) -> Read:
    """The events that are read from a file, their places, and what is refused."""
    if content is not None:
        file.write_bytes(content)
    refused: list[tuple[str, str]] = []
    lines = list(
        read_lines(file, lambda place, reason: refused.append((place, reason)), lambda _position: None, field_map)
    )
    return [json.loads(line.body) for line in lines], [line.place for line in lines], refused


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "events"


SENT = numbered(3)


@pytest.mark.parametrize(
    "content",
    [
        json.dumps(SENT).encode(),
        json.dumps(SENT, indent=2).encode(),
        "\n".join(json.dumps(each, indent=2) for each in SENT).encode(),
        b"[" + ndjson(SENT[:1]) + b"]\n" + json.dumps(SENT[1:]).encode() + b"\n",
        b"\xef\xbb\xbf" + json.dumps(SENT, indent=0).encode(),
        gzip.compress(json.dumps(SENT, indent=1).encode()),
    ],
    ids=["array", "pretty_array", "pretty_objects", "two_arrays", "mark_of_utf8", "gzipped"],
)
def test_json_documents_are_read(file: Path, content: bytes) -> None:
    """An array, JSON that is spread over lines, and several of these one after another."""
    assert read(file, content) == (SENT, ["event 1", "event 2", "event 3"], [])
    assert b"\n" not in b"".join(
        line.body for line in read_lines(file, lambda _place, _reason: None, lambda _position: None)
    )


def test_a_mark_of_utf8_before_ndjson_is_no_part_of_it(file: Path) -> None:
    """As some programs on Windows write it."""
    assert read(file, b"\xef\xbb\xbf" + ndjson(SENT)) == (SENT, ["1", "2", "3"], [])


def test_bad_items_of_a_document(file: Path) -> None:
    """Each is refused by its number, and the others are read."""
    events, places, refused = read(file, b'[7, {"eventType": "a.b", "id": "x"}, {"a": [}]')
    assert (events, places) == ([], []) and refused == [("1", refused[0][1])]
    assert "not valid in this line. No event of it was read." in refused[0][1]
    events, places, refused = read(file, b'[7, {"id": "x"},\n "y"]')
    assert (events, places) == ([{"id": "x"}], ["event 2"])
    assert [place for place, _ in refused] == ["event 1", "event 3"]


def test_a_document_that_ends_too_early(file: Path) -> None:
    """Objects before the damage are read. Its line is named."""
    whole = json.dumps(SENT[0], indent=2).encode()
    events, _, refused = read(file, whole + b"\n" + whole[:40])
    assert events == SENT[:1]
    assert refused == [("11", "The JSON is not valid in this line. Only the events before it were read.")]
    events, _, refused = read(file, gzip.compress(json.dumps(SENT * 100, indent=2).encode())[:-20])
    assert events == [] and "damaged" in refused[0][1]


def test_a_document_that_is_too_long(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is refused whole, with the way out."""
    monkeypatch.setattr(event_files, "_DOCUMENT_MAX", 100)
    assert f"jq -c '.[]' {file} | whence import -" in read(file, json.dumps(SENT).encode())[2][0][1]


def test_items_without_id_keep_theirs(file: Path) -> None:
    """When a document has grown, the items that were there get the same ids; equal items differ."""
    bare = numbered(2, ids=False)
    first = [each["id"] for each in read(file, json.dumps(bare * 2).encode())[0]]
    assert len(set(first)) == 4
    again = [each["id"] for each in read(file, json.dumps(bare * 2 + numbered(1), indent=3).encode())[0]]
    assert again[:4] == first


def test_csv_is_read_by_a_map(file: Path) -> None:
    """Quoted fields, other delimiters and a mark of UTF-8; the columns are the payload. Bad rows are refused."""
    text = 'no;when;what;who;doc\n1;2026-01-02 03:04:05;Signed;"ana; or not";d\n2;2026-01-02 03:04;Paid;ben;d;more\n3\n'
    field_map = parse_map(LEDGER)
    events, places, refused = read(file, b"\xef\xbb\xbf" + text.encode(), field_map)
    assert places == ["2"] and [place for place, _ in refused] == ["3", "4"]
    assert (events[0]["actorId"], events[0]["occurredAt"]) == ("ana; or not", "2026-01-02T03:04:05Z")
    assert events[0]["payload"]["who"] == "ana; or not"
    assert read(file, b"a,a\n1,2\n", field_map)[2] == [("1", "Two columns have the same name.")]
    named = parse_map(LEDGER, "my map.toml")
    convert = f"iconv -f LATIN1 -t UTF-8 {file} | whence import --map 'my map.toml' -"
    assert convert in read(file, b"a,b\n1,2\n" * 9000 + b"1,\xff\n", named)[2][-1][1]
    assert read(file, b"no,when,what,who,doc\n", field_map) == ([], [], [])
    with pytest.raises(Invalid, match="looks like CSV"):
        read(file, text.encode())


def test_a_record_is_one_line_or_in_a_list(file: Path) -> None:
    """CloudTrail's log files are one object with a list. Records one a line, and several files in one, are read too."""
    content = (SAMPLES / "cloudtrail.json").read_bytes()
    records = json.loads(content)["Records"]
    whole = read(file, content, load_map("cloudtrail"))
    assert len(whole[0]) == len(records) and not whole[2]
    compact = json.dumps({"Records": records[:4]}) + json.dumps({"Records": records[4:]})
    for other in (compact.encode(), gzip.compress(compact.encode()), ndjson(records), json.dumps(records).encode()):
        assert read(file, other, load_map("cloudtrail"))[0] == whole[0]
    assert read(file, b'{"Records":7}', load_map("cloudtrail"))[2][0][0] == "event 1"
    assert read(file, b'{"Records":[]}', load_map("cloudtrail")) == ([], [], [])


def test_the_same_complaint_is_made_five_times_and_then_counted(capsys: pytest.CaptureFixture[str]) -> None:
    """By its reason, wherever it comes from. Reasons without end are counted together."""
    complaints = Complaints()
    for number in range(1, 1008):
        complaints.add(f"f:{number}", "It is bad.")
        complaints.add(f"g:{number}", f"It is bad as {number}.")
    complaints.close()
    said = capsys.readouterr().err.splitlines()
    assert [line for line in said if line.startswith("f:")] == [f"f:{number}: It is bad." for number in range(1, 6)]
    assert said[-2:] == ["1,002 more: It is bad.", "8 more, for other reasons."]
    assert len(said) == 5 + 999 + 2


def test_bad_lines_are_not_all_listed(user: Cli, file: Path) -> None:
    """Refused lines are all counted in the summary, whether the server or the command refuses them."""
    file.write_bytes(b"nothing\n" * 12 + ndjson([event(actorType="cat")] * 7 + numbered(2)))
    ran = user.run("import", file, "--json")
    assert (ran.code, ran.json) == (1, {"stored": 2, "replayed": 0, "refused": 19})
    said = ran.err.splitlines()
    assert len(said) == 12
    assert said[:5] == [f"{file}:{n}: The line is not a JSON object: it is not valid JSON." for n in range(1, 6)]
    assert said[10].startswith("7 more: The line is not") and said[11].startswith("2 more: actorType: ")


NOT_COMPLETED = Mutant(
    "reasons_as_they_are_listed",
    """
import whence.cli.import_files as import_files
import whence.client as client
import_files._reasons = lambda results: map(client.refusal, results)
""",
)


@catches(NOT_COMPLETED)
def test_a_complaint_that_the_server_cuts_short_is_counted_with_the_whole_one(user: Cli, file: Path) -> None:
    """The server lists at most 100 problems of a request: those of each event here are seven, until no more fit."""
    file.write_bytes(b'{"eventType":"nope"}\n' * 40)
    ran = user.run("import", file)
    said = ran.err.splitlines()
    assert [line.partition(" ")[0] for line in said[:6]] == [*(f"{file}:{n}:" for n in range(1, 6)), "35"]
    assert said[5] == f"35 more: {said[0].removeprefix(f'{file}:1: ')}"
    assert "not listed" not in ran.err and ran.code == 1


def test_the_standard_input_is_read(user: Cli, api: httpx2.Client, file: Path) -> None:
    """Gzipped or not, as a file of its content is: repeated, nothing is stored twice."""
    content = ndjson(numbered(1100)) + ndjson(numbered(2, first=1101, ids=False)) + b"bad\n"
    ran = user.run("import", "-", stdin=gzip.compress(content))
    assert (ran.code, ran.out) == (1, "1,102 stored, 0 already there, 1 refused.\n")
    assert ran.err == "(standard input):1103: The line is not a JSON object: it is not valid JSON.\n"
    file.write_bytes(content[:-4])
    assert user.ok("import", file, "--json").json == {"stored": 0, "replayed": 1102, "refused": 0}
    assert len(stored(api)) == 1102


def test_one_ctrl_d_ends_the_input_of_a_terminal(user: Cli) -> None:
    """Whether something was typed before it or not."""
    for typed, stored_events in ((b"", 0), (ndjson(SENT), 3)):
        code, shown = shown_on_a_terminal(user, "import", "-", typed=typed + b"\x04", TERM="dumb")
        assert code == 0 and f"{stored_events} stored" in shown


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (["-", "-"], "only once"),
        (["x", "--nope"], "Unknown option"),
        ([], "- for the standard"),
        (["x", ""], "is empty"),
    ],
)
def test_misuse_is_a_sentence(files: list[str], words: str) -> None:
    """Of the standard input, and of options, which look like files to the parser."""
    with pytest.raises(Invalid, match=words):
        import_files(*files)


def test_a_file_in_another_form_stops_an_import_before_it_begins(user: Cli, api: httpx2.Client, file: Path) -> None:
    """It is named, with the command that helps, and nothing of the other files is stored."""
    file.write_bytes(ndjson(SENT))
    packed = file.with_name("my events.zip")
    packed.write_bytes(b"PK\x03\x04...")
    sentence = f"{packed}: This is a ZIP archive. Unpack it: unzip -p '{packed}' | whence import -"
    assert user.fails(2, "import", file, packed) == sentence
    assert stored(api) == []


INTERRUPTED = """
import os, signal
import whence.client as client
from whence.client import Unreachable
signal.signal(signal.SIGINT, signal.default_int_handler)
send, batches = client.Whence.send, []
def interrupted(self, request):
    answer = send(self, request)
    batches.extend([1] * request.path.endswith("/batch"))
    if len(batches) == 3:
        HAPPENS
    return answer
client.Whence.send = interrupted
"""
"""At the third batch, after it was stored and before its answer is read, something happens."""

CTRL_C = INTERRUPTED.replace("HAPPENS", "os.kill(os.getpid(), signal.SIGINT)")
SERVER_GONE = INTERRUPTED.replace("HAPPENS", 'raise Unreachable("Nothing answers.")')

SILENT = Mutant(
    "silent_when_interrupted",
    "import whence.cli.import_files as importing\nimporting.Summary.unfinished = lambda self: ''",
)


@catches(SILENT)
def test_an_interrupted_import_says_how_to_go_on(user: Cli, file: Path) -> None:
    """After Ctrl-C, what is stored is said, and the same command stores the rest."""
    file.write_bytes(ndjson(numbered(3200)))
    ran = user.prepared(CTRL_C).run("import", file)
    assert (ran.code, ran.out) == (130, "")
    assert ran.err == "Interrupted. 2,000 stored; run the same command to go on.\n"
    assert user.ok("import", file, "--json").json == {"stored": 200, "replayed": 3000, "refused": 0}


@catches(SILENT)
def test_an_import_without_a_server_says_how_to_go_on(user: Cli, file: Path) -> None:
    """When the server is gone for good, in the middle, the sentence says what was stored."""
    file.write_bytes(b"bad\n" + ndjson(numbered(2100)))
    ran = user.prepared(SERVER_GONE).run("import", file, "--json")
    assert (ran.code, ran.out) == (6, "")
    assert "(2,000 stored, 1 refused; run the same command to go on)" in ran.err


# ------------------------------------------------------------------------------------------------------- ready maps


@pytest.fixture(scope="module")
def mapping_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server with the resource types of the ready maps."""
    types = ("aws_resource", "repository", "team", "organization", "enterprise", "account")
    with serving(tmp_path_factory.mktemp("mapping"), resource_types=types) as running:
        yield running


@pytest.fixture
def mapper(cli: Cli, mapping_server: Served, tenant: str) -> Cli:
    """The program of a user of this server."""
    return cli.given(url=mapping_server.url, api_key=mapping_server.key(READ, WRITE, tenant=tenant))


def short(events: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    return [(e["eventType"], e["actorType"], e["actorId"], e["resourceId"], e["outcome"]) for e in events]


def imported(mapper: Cli, name: str) -> list[dict[str, Any]]:
    """The events of a sample, oldest first. They are imported twice, and stored once."""
    sample = SAMPLES / f"{name}.json"
    summary = mapper.ok("import", sample, sample, "--map", name, "--json").json
    headers = {"X-API-Key": mapper.environ["WHENCE_API_KEY"]}
    page = httpx2.get(f"{mapper.environ['WHENCE_URL']}/api/v1/events?order=asc&include=outcome", headers=headers).json()
    assert summary == {"stored": page["total"], "replayed": page["total"], "refused": 0}
    events: list[dict[str, Any]] = page["events"]
    return events


def test_cloudtrail(mapper: Cli) -> None:
    """Actors by their ARN, failures by their error code, resources by their ARN or by what the request names."""
    account, names = "123456789012", json.loads((SAMPLES / "cloudtrail.json").read_bytes())["Records"]
    mary, role = f"arn:aws:iam::{account}:user/Mary_Major", f"arn:aws:sts::{account}:assumed-role/Deployer/deploy"
    events = imported(mapper, "cloudtrail")

    def aws(name: str) -> str:
        return resource_uuid("aws_resource", name)

    assert short(events) == [
        ("ec2.start_instances", "service", role, aws("ec2.amazonaws.com/i-0123456789abcdef0"), "success"),
        ("cloudtrail.start_logging", "user", mary, aws("cloudtrail.amazonaws.com/myTrail"), "success"),
        ("cloudtrail.update_trail", "user", mary, aws("cloudtrail.amazonaws.com/myTrail2"), "failure"),
        ("s3.put_object", "service", role, aws("arn:aws:s3:::amzn-s3-demo-bucket/reports/july.csv"), "success"),
        ("sts.assume_role", "system", "ec2.amazonaws.com", aws(f"arn:aws:iam::{account}:role/Worker"), "success"),
        ("signin.console_login", "user", "Mary_Major", aws(f"signin.amazonaws.com/{account}"), "failure"),
    ]
    assert events[1]["payload"] == names[0] and events[1]["correlationId"] == names[0]["requestID"]
    assert events[1]["occurredAt"] == names[0]["eventTime"]


def test_github_audit(mapper: Cli) -> None:
    """Bots are automations, and a resource is the most exact thing that an entry names."""
    events = imported(mapper, "github-audit")
    ids = [
        resource_uuid(*named)
        for named in (
            ("team", "example-corp/platform"),
            ("organization", "example-lab"),
            ("repository", "example-corp/old-site"),
            ("repository", "example-corp/billing"),
            ("repository", "example-corp/billing"),
            ("enterprise", "example"),
        )
    ]
    assert short(events) == [
        ("team.add_member", "user", "ana-lim", ids[0], "none"),
        ("org.create", "user", "ana-lim", ids[1], "none"),
        ("repo.destroy", "user", "ben-ode", ids[2], "none"),
        ("pull_request.merge", "user", "ana-lim", ids[3], "none"),
        ("workflows.completed_workflow_run", "automation", "dependabot[bot]", ids[4], "failure"),
        ("business.set_actions_retention_limit", "system", "github", ids[5], "none"),
    ]
    assert events[0]["occurredAt"] == "2026-01-05T11:00:00.123000Z"
    assert events[3]["correlationId"] == "7c1e0a52" and events[3]["payload"]["actor_location"]["city"] == "Porto"


def test_a_server_without_the_resource_types_of_a_map(user: Cli) -> None:
    """What it has to be set to is said once, after the complaints."""
    ran = user.run("import", SAMPLES / "github-audit.json", "--map", "github-audit")
    assert ran.code == 1
    assert ran.err.splitlines()[-1].endswith("WHENCE_RESOURCE_TYPES=account,enterprise,organization,repository,team")


def test_csv_with_a_map(user: Cli, api: httpx2.Client, file: Path) -> None:
    """From a file and from the standard input, the same events."""
    text = "no,when,what,who,doc\n1,2026-01-02 03:04:05,Signed,ana,d1\n2,2026-01-02 03:05:05,Signed,ben,d1\n"
    file.write_text(text)
    (file.parent / "ledger.toml").write_text(LEDGER)
    named = ("--map", file.parent / "ledger.toml", "--json")
    assert user.ok("import", file, *named).json == {"stored": 2, "replayed": 0, "refused": 0}
    ran = user.ok("import", "-", *named, stdin=text.encode())
    assert ran.json == {"stored": 0, "replayed": 2, "refused": 0}
    assert actors(api) == ["ana", "ben"]
    file.write_text(text.splitlines()[0])
    none = user.ok("import", file, *named)
    assert none.json["refused"] == 0 and none.err == f"{file} holds no records: no events were found in it.\n"


# ------------------------------------------------------------------------------------------------- docs/importing.md

PAGE = (Path(__file__).parents[2] / "docs" / "importing.md").read_text(encoding="utf-8")


def test_the_examples_of_the_page_run(user: Cli, tmp_path: Path) -> None:
    """Each block of commands, in order, prints what stands below it."""
    shown = re.findall(r"^```sh\n(.*?)^```\n\n```text\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert len(shown) == PAGE.count("```sh\n") == 3
    folder = tmp_path / "examples"
    folder.mkdir()
    for commands, expected in shown:
        done = subprocess.run(
            ["bash", "-e", "-c", commands],
            cwd=folder,
            env=user.env(),
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.stdout == expected, done


def test_the_maps_of_the_page_are_maps() -> None:
    """The example of conditions, and the resource types that the ready maps are said to need."""
    (example,) = re.findall(r"^```toml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert parse_map(example).resource_types == ["artifact"]
    needed = dict(re.findall(r"^\| `([a-z-]+)` \|.*`WHENCE_RESOURCE_TYPES=([a-z_,]+)` \|$", PAGE, re.MULTILINE))
    assert needed.keys() == set(ready_maps())
    for name, types in needed.items():
        assert sorted(types.split(",")) == sorted(load_map(name).resource_types)
