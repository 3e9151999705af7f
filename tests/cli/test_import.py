"""`import`: the result for every kind of line and file."""

import gzip
import hashlib
import os
import zlib
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx2
import msgspec
import pytest

from tests.api.conftest import event
from tests.cli import mutants
from tests.cli.mutants import catches
from tests.cli.program import Cli, ndjson
from whence.cli.import_files import Summary
from whence.wire.ids import derived_uuid

EVENTS = "/api/v1/events"
MIB = 1024 * 1024


def numbered(count: int, *, first: int = 1, ids: bool = True, **fields: Any) -> list[dict[str, Any]]:
    """Events a second apart, each with its own actor; with or without ids."""
    return [
        event(
            id=str(UUID(int=number)) if ids else None,
            actorId=f"actor-{number}",
            occurredAt=f"2026-01-02T{number // 3600:02}:{number // 60 % 60:02}:{number % 60:02}Z",
            **fields,
        )
        for number in range(first, first + count)
    ]


def stored(api: httpx2.Client) -> list[dict[str, Any]]:
    """All events of this tenant, ordered by time, which is also the order of positions here."""
    found: list[dict[str, Any]] = []
    while True:
        page = api.get(EVENTS, params={"order": "asc", "limit": 100, "offset": len(found)}).json()
        found += page["events"]
        if not page["hasNext"]:
            assert len(found) == page["total"]
            return found


def actors(api: httpx2.Client) -> list[str]:
    return [each["actorId"] for each in stored(api)]


def test_plain_and_gzipped_files_are_read(user: Cli, api: httpx2.Client, tmp_path: Path) -> None:
    """Plain and gzipped files with any names are stored in the given order; only the summary is on stdout."""
    sent = numbered(1100)
    (tmp_path / "a.txt").write_bytes(ndjson(sent[:500]))
    (tmp_path / "b").write_bytes(gzip.compress(ndjson(sent[500:1000])) + gzip.compress(ndjson(sent[1000:])))
    ran = user.ok("import", tmp_path / "a.txt", tmp_path / "b")
    assert (ran.out, ran.err) == ("1,100 stored, 0 already there, 0 refused.\n", "")
    assert actors(api) == [each["actorId"] for each in sent]
    positions = api.get(EVENTS, params={"include": "position", "order": "asc", "limit": 100}).json()["events"]
    assert [each["position"] for each in positions] == list(range(1, 101))


def test_one_event_is_no_events() -> None:
    """A summary agrees with its number."""
    assert Summary(replayed=1).sentence() == "Nothing was stored: the event was already there."
    assert Summary(replayed=2_000).sentence() == "Nothing was stored: all 2,000 events were already there."


@catches(mutants.RANDOM_IDS)
def test_a_second_import_stores_nothing_and_says_so(user: Cli, api: httpx2.Client, tmp_path: Path) -> None:
    """The same file again adds nothing, with ids and without, as a sentence and as JSON."""
    file = tmp_path / "events.ndjson"
    file.write_bytes(ndjson(numbered(20) + numbered(1010, first=21, ids=False)))
    assert user.ok("import", file, "--json").json == {"stored": 1030, "replayed": 0, "refused": 0}
    again = user.ok("import", file)
    assert (again.out, again.err) == ("Nothing was stored: all 1,030 events were already there.\n", "")
    assert user.ok("import", file, "--json").json == {"stored": 0, "replayed": 1030, "refused": 0}
    assert len(stored(api)) == 1030


@catches(mutants.PACKED_IDS)
def test_lines_without_id_get_one_of_the_file_up_to_them(user: Cli, api: httpx2.Client, tmp_path: Path) -> None:
    """The id is the UUIDv5 of the SHA-256 of the content up to the end of the line. So a gzipped or renamed copy is the
    same file, also with other line ends or without the last one.
    """
    sent = numbered(3, ids=False)
    sent[1]["id"] = None
    content = b"\n" + ndjson(sent[:2]) + b"\r\n" + ndjson(sent[2:]).strip()
    (tmp_path / "plain.ndjson").write_bytes(content)
    (tmp_path / "packed.gz").write_bytes(gzip.compress(content, 9))
    (tmp_path / "twice.gz").write_bytes(gzip.compress(content[:50], 1) + gzip.compress(content[50:], 0))
    (tmp_path / "ended.ndjson").write_bytes(content.replace(b"\r\n", b"\n") + b"\n")
    assert user.ok("import", tmp_path / "plain.ndjson", "--json").json["stored"] == 3
    lines = content.split(b"\n")
    read = [b"\n".join(lines[:2]), b"\n".join(lines[:3]), b"\n".join([*lines[:3], b"", lines[4]])]
    ids = [derived_uuid(hashlib.sha256(each).hexdigest()) for each in read]
    assert [each["id"] for each in stored(api)] == ids
    assert all(UUID(each).version == 5 for each in ids)
    copies = [tmp_path / name for name in ("packed.gz", "twice.gz", "ended.ndjson")]
    assert user.ok("import", *copies, "--json").json == {"stored": 0, "replayed": 9, "refused": 0}


@catches(mutants.IDS_OF_THE_WHOLE_FILE, mutants.IDS_OF_THE_LINE_WITH_ITS_END)
def test_a_file_that_grew_adds_only_its_new_lines(user: Cli, api: httpx2.Client, tmp_path: Path) -> None:
    """Lines keep their ids when others are appended, also after a last line without an end; gzipped, with other files
    beside it.
    """
    lines = ndjson(numbered(7, ids=False)).splitlines()
    log, packed, other = tmp_path / "log.ndjson", tmp_path / "log.gz", tmp_path / "other.ndjson"
    other.write_bytes(ndjson(numbered(2, first=20, ids=False)))
    log.write_bytes(b"\n".join(lines[:5]))
    assert user.ok("import", log, other, "--json").json == {"stored": 7, "replayed": 0, "refused": 0}
    log.write_bytes(b"\n".join(lines[:6]) + b"\n")
    assert user.ok("import", other, log, "--json").json == {"stored": 1, "replayed": 7, "refused": 0}
    packed.write_bytes(gzip.compress(log.read_bytes()) + gzip.compress(lines[6]))
    assert user.ok("import", packed, "--json").json == {"stored": 1, "replayed": 6, "refused": 0}
    assert len(stored(api)) == 9


@catches(mutants.IDS_OF_THE_LINE_ALONE)
def test_equal_lines_are_different_events(user: Cli, api: httpx2.Client, tmp_path: Path) -> None:
    """A line that occurs twice in a file is two events, however often the file is imported."""
    file = tmp_path / "events.ndjson"
    file.write_bytes(ndjson(numbered(1, ids=False) * 2))
    assert user.ok("import", file, "--json").json == {"stored": 2, "replayed": 0, "refused": 0}
    assert user.ok("import", file, "--json").json == {"stored": 0, "replayed": 2, "refused": 0}
    assert len({each["id"] for each in stored(api)}) == 2


@catches(mutants.IDS_OF_THE_LINE_ALONE)
@pytest.mark.parametrize("changed", ["event", "blank", "far_into_a_long_line"])
def test_a_changed_line_changes_the_ids_from_there_on(
    user: Cli, api: httpx2.Client, tmp_path: Path, changed: str
) -> None:
    """The lines before a change keep their ids, and the line and all after it get new ones."""
    first, *rest = ndjson(numbered(3, ids=False)).splitlines()
    before, after = {
        "event": (ndjson(numbered(1, first=8, ids=False)), ndjson(numbered(1, first=9, ids=False))),
        "blank": (b"", b"\n"),
        "far_into_a_long_line": (b"z" * 12 * MIB + b"a\n", b"z" * 12 * MIB + b"b\n"),
    }[changed]
    file = tmp_path / "events.ndjson"
    file.write_bytes(b"\n".join([first, before + rest[0], rest[1]]))
    user.run("import", file)
    earlier = {each["id"] for each in stored(api)}
    file.write_bytes(b"\n".join([first, after + rest[0], rest[1]]))
    summary = user.run("import", file, "--json").json
    assert (summary["stored"], summary["replayed"]) == (2 + (changed == "event"), 1)
    assert earlier < {each["id"] for each in stored(api)}


def cloud_event(number: int, **fields: Any) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "id": f"n-{number}",
        "source": "/runs",
        "type": "action_run.completed",
        "time": f"2026-01-02T03:04:{number:02}Z",
        "subject": f"action_run/{UUID(int=7)}",
        "authtype": "app_user",
        "authid": f"user-{number}",
        "data": {"n": number},
        **fields,
    }


def test_lines_that_are_cloudevents_are_stored(user: Cli, api: httpx2.Client, tmp_path: Path) -> None:
    """A file may mix CloudEvents and plain events. Each is stored as by the API, and a repeat is harmless."""
    lines = [cloud_event(1), cloud_event(2), *numbered(1, first=15_000), cloud_event(3, id=str(UUID(int=77)))]
    file = tmp_path / "mixed.ndjson"
    file.write_bytes(ndjson(lines) + ndjson([cloud_event(4, data=[1]), cloud_event(5)]))
    ran = user.run("import", file)
    assert (ran.code, ran.out) == (1, "5 stored, 0 already there, 1 refused.\n")
    assert f"{file}:5: " in ran.err and len(ran.err.splitlines()) == 1
    found = {each["actorId"]: each for each in stored(api)}
    assert found.keys() == {"user-1", "user-2", "actor-15000", "user-3", "user-5"}
    assert found["user-3"]["id"] == str(UUID(int=77))
    same = api.post(EVENTS, json=cloud_event(1), headers={"Content-Type": "application/cloudevents+json"})
    assert same.status_code == 200 and same.json() == found["user-1"]
    assert found["user-2"]["payload"]["n"] == 2 and found["user-2"]["actorType"] == "user"
    assert user.run("import", file).out == "0 stored, 5 already there, 1 refused.\n"


BAD: list[tuple[bytes, str]] = [
    (b"{bad json", "not a JSON object"),
    (b"[]", "not a JSON object"),
    (b"7", "not a JSON object"),
    (b"null", "not a JSON object"),
    (b"\xff\xfe", "not a JSON object"),
    (b'{"a":' * 100_000, "not a JSON object"),
    (b"{}", "required"),
    (b'{"id":"nope"}', "UUID"),
    (ndjson([event(eventType="Nope")]), "eventType"),
    (ndjson([event(occurredAt="2026-01-02T03:04:05")]), "occurredAt"),
    (ndjson([event(resourceType="bogus")]), "resourceType"),
    (ndjson([event(unknown=1)]), "unknown"),
    (ndjson([event(tenantId="another")]), "tenantId"),
    (ndjson([event(payload={"x": "y" * 300_000})]), "at most"),
    (ndjson([event()]).replace(b'"planner"', b'"\xff"'), "UTF-8"),
    (ndjson([event()]).replace(b"{", b'{"id":null,"id":null,', 1), "more than once"),
    (ndjson([event(id=str(UUID(int=1)), actorId="another")]), "other content"),
    (b'{"x":"' + b"y" * 6 * MIB + b'"}', "longer than a batch"),
    (b"z" * 11 * MIB, "longer than a batch"),
]


@pytest.mark.parametrize(
    ("lines", "is_hinted"), [(b'{"when":1}\n{"when":2}\n', True), (ndjson([event(eventType="Nope")]), False)]
)
def test_records_of_another_system_need_a_map(user: Cli, tmp_path: Path, lines: bytes, is_hinted: bool) -> None:
    """That is said when none of the records is an event."""
    file = tmp_path / "records.ndjson"
    file.write_bytes(lines)
    ran = user.run("import", file)
    assert (ran.code, "--map" in ran.err) == (1, is_hinted)


@catches(mutants.STOPS_AT_BAD, mutants.NUMBERS_FROM_ZERO)
def test_bad_lines_are_reported_and_the_rest_is_stored(user: Cli, api: httpx2.Client, tmp_path: Path) -> None:
    """Each bad line is reported on stderr with its number and the reason; the others are stored; the exit code is 1."""
    good = numbered(len(BAD) + 1)
    lines = [ndjson([good[0]])]
    for (bad, _), each in zip(BAD, good[1:], strict=True):
        lines += [bad.rstrip() + b"\n", ndjson([each])]
    file = tmp_path / "events.ndjson"
    file.write_bytes(b"".join(lines))
    ran = user.run("import", file)
    assert ran.code == 1 and ran.out == f"{len(good)} stored, 0 already there, {len(BAD)} refused.\n"
    told = {int(line.split(":")[1]): line for line in ran.err.splitlines()}
    assert sorted(told) == [2 * number for number in range(1, len(BAD) + 1)]
    for number, (_, words) in enumerate(BAD, 1):
        line = told[2 * number]
        assert line.startswith(f"{file}:{2 * number}: ") and words in line and len(line) < 600, line
    assert actors(api) == [each["actorId"] for each in good]


@catches(mutants.LOSES_THE_REST)
@pytest.mark.parametrize("damage", ["cut", "flipped", "appended", "no_end"])
def test_what_comes_before_damage_is_stored(user: Cli, api: httpx2.Client, tmp_path: Path, damage: str) -> None:
    """Of a damaged or truncated gzip file, every line before the damage is stored, and its place is reported."""
    sent = numbered(1500)
    for number, each in enumerate(sent):
        each["payload"] = {"x": hashlib.sha256(str(number).encode()).hexdigest()}
    packed = gzip.compress(ndjson(sent))
    middle = len(packed) // 2
    spoilt = {
        "cut": packed[:middle],
        "flipped": packed[:middle] + bytes(64) + packed[middle + 64 :],
        "appended": packed + b"garbage",
        "no_end": packed[:-8],
    }[damage]
    whole = len(sent)
    if damage in ("cut", "flipped"):
        whole = zlib.decompressobj(31).decompress(packed[:middle]).count(b"\n")
    file = tmp_path / "events.gz"
    file.write_bytes(spoilt)
    ran = user.run("import", file, "--json")
    assert ran.code == 1 and ran.json["refused"] >= 1, ran
    kept = ran.json["stored"]
    slack = 400 if damage == "flipped" else 0  # what shares a block with the damage cannot be read
    assert whole - slack <= kept <= whole + slack
    assert f"{file}:{kept + 1}: " in ran.err and "damaged" in ran.err
    assert actors(api) == [each["actorId"] for each in sent[:kept]]


def test_lines_without_id_before_damage_are_stored_once(user: Cli, api: httpx2.Client, tmp_path: Path) -> None:
    """Lines without an id that come before the damage are stored, with the ids that they have in the whole file."""
    content = ndjson(numbered(2) + numbered(3, first=3, ids=False))
    packed = gzip.compress(content) + gzip.compress(ndjson(numbered(2, first=6, ids=False)))
    file = tmp_path / "events.gz"
    file.write_bytes(packed[:-9])
    ran = user.run("import", file, "--json")
    kept = ran.json["stored"]
    assert ran.code == 1 and kept >= 5 and ran.json == {"stored": kept, "replayed": 0, "refused": 1}
    assert f"{file}:{kept + 1}: " in ran.err and "damaged" in ran.err
    file.write_bytes(packed)
    assert user.ok("import", file, "--json").json == {"stored": 7 - kept, "replayed": kept, "refused": 0}
    assert len(stored(api)) == 7


def test_large_events_are_sent_in_batches_that_fit(user: Cli, api: httpx2.Client, tmp_path: Path) -> None:
    """Events close to the size limit, together more than a request may hold, are all stored."""
    sent = numbered(45, payload={"x": "y" * 250_000})
    file = tmp_path / "large.ndjson.gz"
    file.write_bytes(gzip.compress(ndjson(sent), 1))
    assert user.ok("import", file, "--json").json == {"stored": 45, "replayed": 0, "refused": 0}
    assert api.get(EVENTS, params={"limit": 1}).json()["total"] == 45


def test_unreadable_files_are_reported_before_anything_is_stored(user: Cli, api: httpx2.Client, tmp_path: Path) -> None:
    """A missing file, a folder or a pipe among the files is reported, and no event of the others is stored."""
    good, pipe = tmp_path / "good.ndjson", tmp_path / "pipe"
    good.write_bytes(ndjson(numbered(1)))
    os.mkfifo(pipe)
    assert "missing: No such file" in user.fails(1, "import", good, tmp_path / "missing")
    assert "directory" in user.fails(1, "import", good, tmp_path)
    assert "not a regular file" in user.fails(2, "import", good, pipe)
    user.fails(1, "import", "/proc/self/mem")  # opens, and cannot be read
    if os.geteuid():  # no mode keeps root out
        good.chmod(0)
        assert "Permission denied" in user.fails(1, "import", good)
    assert stored(api) == []


def test_empty_files_are_fine(user: Cli, tmp_path: Path) -> None:
    """Of an empty file, or one with blank lines only, nothing is stored and nothing refused; a message says so."""
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "blank").write_bytes(b"\n \r\n\t\n")
    (tmp_path / "packed").write_bytes(gzip.compress(b""))
    files = [tmp_path / name for name in ("empty", "blank", "packed")]
    ran = user.ok("import", *files)
    assert ran.out == "0 stored, 0 already there, 0 refused.\n"
    assert ran.err == "".join(f"{file} is empty: no events were found in it.\n" for file in files)
    none = tmp_path / "none.json"
    none.write_bytes(b'{"Records":[]}')
    assert "none.json holds no records" in user.ok("import", none, "--map", "cloudtrail").err


def test_a_wrong_key_or_no_server_ends_an_import(user: Cli, tmp_path: Path) -> None:
    """Without permission to write, or without a server, the import ends at once with the right exit code."""
    file = tmp_path / "events.ndjson"
    file.write_bytes(ndjson(numbered(3)))
    user.fails(4, "import", file, "--api-key", "whk_wrong")
    user.fails(6, "import", file, "--url", "http://127.0.0.1:1")


def test_the_content_of_a_line_is_not_rewritten(user: Cli, api: httpx2.Client, tmp_path: Path) -> None:
    """Number literals and escapes of a payload are stored as written, with and without an id."""
    payload = b'{"n": 1E2, "big": 9007199254740993, "nul": "\\u0000", "\\u00e4": -0}'
    file = tmp_path / "events.ndjson"
    with file.open("wb") as lines:
        for fields in (numbered(1)[0], numbered(1, first=2, ids=False)[0], {**numbered(1, first=3)[0], "id": None}):
            lines.write(msgspec.json.encode({**fields, "payload": msgspec.Raw(payload)}) + b"\n")
    user.ok("import", file)
    for each in stored(api):
        assert payload.replace(b": ", b":").replace(b", ", b",") in api.get(f"{EVENTS}/{each['id']}").content
    assert len(stored(api)) == 3
