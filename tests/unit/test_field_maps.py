"""Field maps: from a record to an event, and what is said where that fails."""

import json
import re
import tomllib
from typing import Any

import msgspec
import pytest

from tests.unit.mutants import catches, replaced
from whence.cli import field_maps
from whence.cli.field_maps import Unmapped, load_map, parse_map, ready_maps
from whence.errors import Invalid
from whence.identities import resource_uuid
from whence.wire.ids import derived_uuid

BASIC = """
occurredAt = "{at}"
eventType = "door.{what}"
actorType = "user"
actorId = "{who.name}"
resourceType = "artifact"
resourceId = "{door}"
"""
RECORD = {"at": "2026-01-02T03:04:05Z", "what": "Opened", "who": {"name": "ana"}, "door": "north"}


def mapped(text: str, record: Any = RECORD) -> dict[str, Any]:
    """The event that a map makes of a record. Top-level keys of `text` come before those of BASIC."""
    body = record if isinstance(record, bytes) else msgspec.json.encode(record)
    given = set(tomllib.loads(text))
    rest = [line for line in BASIC.strip().splitlines() if line.split()[0] not in given]
    event: dict[str, Any] = json.loads(parse_map("\n".join([*rest, text])).event(body, lambda: "new"))
    return event


def test_a_record_becomes_an_event() -> None:
    """The payload is the whole record, and the resource's id is derived from its type and name as in the SDK."""
    assert mapped("") == {
        "id": "new",
        "occurredAt": "2026-01-02T03:04:05Z",
        "eventType": "door.opened",
        "actorType": "user",
        "actorId": "ana",
        "resourceType": "artifact",
        "resourceId": resource_uuid("artifact", "north"),
        "payload": RECORD,
    }


@pytest.mark.parametrize(
    ("template", "found"),
    [
        ("{who.name}", "ana"),
        ("{list.1.id}", "b"),
        ("{list.0}", "a"),
        ("{with.dot}", "dotted"),
        ("{deep.with.dot}", "deep"),
        ("{n}", "7"),
        ("{exact}", "1E2"),
        ("{yes}", "true"),
        ("{who.name}@{n}", "ana@7"),
        ("{long%.example.com}", "mail"),
        ("{who.name%.example.com}", "ana"),
        ("plain", "plain"),
    ],
)
def test_templates(template: str, found: str) -> None:
    """Members by path, numbers as written, an ending removed, and text as it is."""
    record = (
        b'{"at":"2026-01-02T03:04:05Z","what":"x","who":{"name":"ana"},"door":"d","list":["a",{"id":"b"}],"n":7,'
        b'"with.dot":"dotted","deep":{"with.dot":"deep"},"exact":1E2,"yes":true,"long":"mail.example.com"}'
    )
    assert mapped(f'actorId = "{template}"', record)["actorId"] == found


@pytest.mark.parametrize("missing", ["nope", "who", "list", "nothing", "blank", "list.7", "who.name.first"])
def test_what_is_not_there_is_skipped(missing: str) -> None:
    """Null, empty texts, objects and lists are not there. Of several templates the first counts that is complete."""
    record = {**RECORD, "list": [1], "nothing": None, "blank": ""}
    template = f'actorId = ["{{{missing}}}", "{{door}}/{{{missing}}}", "{{door}}", "last"]'
    assert mapped(template, record)["actorId"] == "north"
    with pytest.raises(Unmapped, match=f"finds no actorId: the record has no {missing}\\."):
        mapped(f'actorId = "{{{missing}}}"', record)


WHEN = """
outcome = "success"
[[when]]
member = "who.name"
is = ["ana", "ben"]
actorType = "agent"
[[when]]
member = "error"
outcome = "failure"
actorType = "system"
[[when]]
member = "n"
is = [7, true]
eventType = "door.{nope}"
"""


def test_conditions() -> None:
    """Each field is taken from the first block that holds and has its members, else from the top of the map."""
    assert (mapped(WHEN)["actorType"], mapped(WHEN)["outcome"]) == ("agent", "success")
    failed = {**RECORD, "error": {"code": 1}}
    assert mapped(WHEN, failed)["outcome"] == "success"  # an object is no text
    failed["error"] = "locked"
    assert (mapped(WHEN, failed)["actorType"], mapped(WHEN, failed)["outcome"]) == ("agent", "failure")
    failed["who"] = {"name": "eve"}
    assert mapped(WHEN, failed)["actorType"] == "system"
    assert mapped(WHEN, {**RECORD, "n": 7})["eventType"] == "door.opened"


@pytest.mark.parametrize(
    ("text", "event_type"),
    [
        ("PutObject", "put_object"),
        ("DescribeDBInstances", "describe_db_instances"),
        ("GetBucketV2", "get_bucket_v2"),
        ("re-opened!", "re_opened"),
        ("a.B C", "a.b_c"),
    ],
)
def test_event_types_get_the_form_of_event_types(text: str, event_type: str) -> None:
    """Words are joined by underscores, in lower case."""
    assert mapped("", {**RECORD, "what": text})["eventType"] == f"door.{event_type}"


@catches(replaced(field_maps, "derived_uuid", lambda source, text: derived_uuid("", text), "ids_without_their_source"))
def test_ids() -> None:
    """A UUID is kept, another id is derived from the source and the id; a cause in the same way."""
    uuid = "497F6ECA-6276-4993-BFEB-53CBBBBA6F08"
    text = 'source = "doors"\nid = "{id}"\ncausationId = "{parent}"\ncorrelationId = "{flow}"'
    assert mapped(text, {**RECORD, "id": uuid})["id"] == uuid.lower()
    event = mapped(text, {**RECORD, "id": 2, "parent": "1", "flow": "f"})
    assert event["id"] == derived_uuid("doors", "2") and event["causationId"] == derived_uuid("doors", "1")
    assert event["correlationId"] == "f"
    assert "causationId" not in mapped(text) and mapped(text)["id"] == "new"


@pytest.mark.parametrize(
    ("unit", "given", "time"),
    [
        ("rfc3339", "2026-01-02T03:04:05+01:00", "2026-01-02T03:04:05+01:00"),
        ("utc", "2026-01-02 03:04:05.5", "2026-01-02T03:04:05.5Z"),
        ("utc", "2026-01-02 03:04", "2026-01-02T03:04:00Z"),
        ("utc", "2026-01-02", "2026-01-02T00:00:00Z"),
        ("utc", "2026-01-02T03:04:05-02:00", "2026-01-02T03:04:05-02:00"),
        ("s", 1767323045, "2026-01-02T03:04:05Z"),
        ("s", "1767323045.25", "2026-01-02T03:04:05.250000Z"),
        ("ms", 1767323045001, "2026-01-02T03:04:05.001000Z"),
        ("us", "1767323045000001", "2026-01-02T03:04:05.000001Z"),
        ("ms", "-1", "1969-12-31T23:59:59.999000Z"),
    ],
)
def test_times(unit: str, given: object, time: str) -> None:
    """RFC 3339 is passed on; other forms are named by the map."""
    assert mapped(f'time = "{unit}"', {**RECORD, "at": given})["occurredAt"] == time


@pytest.mark.parametrize(
    ("unit", "given", "words"),
    [
        ("rfc3339", 1767323045, 'Set time = "s"'),
        ("rfc3339", "2026-01-02 03:04:05", 'set time = "utc"'),
        ("utc", "yesterday", 'With time = "utc", occurredAt is a date'),
        ("utc", "2026-02-30", 'With time = "utc", occurredAt is a date'),
        ("s", "soon", "not a number"),
        ("s", "NaN", "not a number"),
        ("s", "1e99999999", "not "),
        ("s", 1767323045001, "between the years"),
    ],
)
def test_times_that_do_not_fit(unit: str, given: object, words: str) -> None:
    """The sentence says what to change in the map."""
    with pytest.raises(Unmapped, match=words):
        mapped(f'time = "{unit}"', {**RECORD, "at": given})


def test_payloads() -> None:
    """The record without some members, or an object in it. Its number literals stay as they are."""
    assert "who" not in mapped('omit = ["who", "nope"]')["payload"]
    record = msgspec.json.encode({**RECORD, "detail": {"secret": 1, "n": msgspec.Raw(b"1E2")}})
    text = f'{BASIC}\npayload = "{{detail}}"\nomit = ["secret"]'
    assert parse_map(text).event(record, lambda: "new").endswith(b'"payload":{"n":1E2}}')
    assert mapped('payload = "{detail}"')["payload"] == {}
    with pytest.raises(Unmapped, match="not an object"):
        mapped('payload = "{what}"')
    with pytest.raises(Unmapped, match="same key twice"):
        mapped('omit = ["x"]', msgspec.json.encode(RECORD)[:-1] + b',"a":1,"a":2}')


@pytest.mark.parametrize("record", [b"[]", b"7", b"{", b'{"a":"\xff"}', b'{"a":' * 5000])
def test_what_is_no_record(record: bytes) -> None:
    """Anything but a JSON object."""
    with pytest.raises(Unmapped, match="not a JSON object"):
        mapped("", record)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("occurredAt = ", "Invalid value"),
        ('actor = "x"', "unknown field `actor`"),
        ('occuredAt = "x"', "unknown field `occuredAt`. Did you mean `occurredAt`?"),
        (BASIC + "[[when]]\nmember = 'a'\noutcom = 'failure'", "Did you mean `outcome`?"),
        ('eventType = "x"', "does not say what occurredAt is"),
        (BASIC + "[[when]]\nmember = 'a'\noutcom = 'x'", "Did you mean `outcome`?"),
        (BASIC + 'id = "{a"', "A brace of id has no pair"),
        (BASIC + 'id = "a{}"', "name of a member is empty in id"),
        (BASIC + 'id = "{a..b}"', "name of a member is empty in id"),
        (BASIC + 'id = "{%b}"', "name of a member is empty in id"),
        (BASIC + 'id = "{a%}"', "A member of id has no ending"),
        (BASIC + 'id = "{a%%}"', "A member of id has no ending"),
        (BASIC + "[[when]]\nmember = 'a.'", "empty in member of"),
        (BASIC + 'payload = "x"', "payload names one member"),
        (BASIC + 'time = "days"', "'days'"),
        (BASIC + "[[when]]\noutcome = 'failure'", "missing required field `member`"),
    ],
)
def test_broken_maps(text: str, words: str, tmp_path: Any) -> None:
    """A map that cannot be used says why."""
    file = tmp_path / "my.toml"
    file.write_text(text)
    with pytest.raises(Invalid, match=re.escape(words)):
        load_map(str(file))


def test_maps_that_are_not_there(tmp_path: Any) -> None:
    """The ready ones are named. A path is a file, whatever its name."""
    assert ready_maps() == ("cloudtrail", "github-audit")
    for name in ("cloud-trail", str(tmp_path / "cloudtrail")):
        with pytest.raises(Invalid, match="Ready maps: cloudtrail, github-audit"):
            load_map(name)
    (tmp_path / "latin.toml").write_bytes(b"# \xe9")
    with pytest.raises(Invalid, match="not UTF-8"):
        load_map(str(tmp_path / "latin.toml"))
