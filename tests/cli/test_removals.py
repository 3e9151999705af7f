"""`retention`, `hold` and `erase`: what goes is said first, asked about, done, and said again."""

import asyncio
import re
import subprocess
import sys
from pathlib import Path

import httpx2

from tests.api.conftest import event
from tests.cli.mutants import Mutant, catches
from tests.cli.program import Cli
from tests.documents import code_of
from tests.storage.removal_work import done_by
from tests.storage.test_erasure_ledger import MALLORY, WORD, files_with, made, url_of

EVENTS = "/api/v1/events"
REASON = ("--reason", "Request 117")

NOBODY_IS_ASKED = Mutant(
    "erases_without_a_question",
    "import whence.cli.removal_progress as r\nr.confirm = lambda question, *, yes: True",
)


def store(api: httpx2.Client, **fields: object) -> str:
    """The id of a new event."""
    answer = api.post(EVENTS, json=event(payload={"a": 1}, **fields))
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


@catches(NOBODY_IS_ASKED)
def test_nothing_is_erased_without_consent(user: Cli, api: httpx2.Client, mutant: Mutant | None) -> None:
    """Where nobody can be asked, --yes is needed; the sentence says what would go."""
    store(api)
    refused = user.fails(2, "erase", "@1", *REASON)
    assert "This erases 1 payload for ever. Pass --yes" in refused
    assert user.ok("erase", "@1", *REASON, "--yes").err.endswith("Done: 1 payload erased, not sealed.\n")


def test_an_actor_is_erased_with_its_name(user: Cli, api: httpx2.Client) -> None:
    """The answer says what its id is now."""
    store(api, actorType="user", actorId="mallory smith")
    done = user.ok("erase", "--actor", "user/mallory smith", "--names", *REASON, "--yes", "--json").json
    assert (done["payloads"], done["renamedEvents"], done["state"]) == (1, 1, "done")
    listed = user.ok("list", "--json").out
    assert "mallory" not in listed and done["pseudonym"] in listed
    shown = user.ok("get", "@1").lines
    assert shown[-2:] == ["payload", "null"] and sum(line.startswith("erasedAt  ") for line in shown) == 1
    unchanged = user.ok("emit", "decision.made", "--actor", "user/ana", "--resource", "decision/x")
    assert "erasedAt" not in user.ok("get", unchanged.out.strip()).out


def test_an_actor_of_a_held_event_keeps_its_name(user: Cli, api: httpx2.Client) -> None:
    """That is said, and is a failure, although the rest of the request is done."""
    store(api, actorType="user", actorId="held person")
    hold = user.ok("hold", "add", "--actor", "user/held person", "--reason", "Case 5").out.strip()
    ran = user.run("erase", "--actor", "user/held person", "--names", *REASON, "--yes")
    assert ran.code == 1
    assert "The id of the actor was not replaced, since one of its events is held" in ran.err
    user.ok("hold", "release", hold)


ASKS_FOR_NOTHING = Mutant(
    "asks_for_nothing", "import whence.cli.erase as e\ne._refuse_without_events = lambda whence, q: None"
)


@catches(ASKS_FOR_NOTHING)
def test_an_erasure_of_nothing_is_no_success(user: Cli, api: httpx2.Client, mutant: Mutant | None) -> None:
    """A name that no event has is refused as not found; what is erased already is said, and asked for no more."""
    before = len(api.get("/api/v1/erasures").json()["erasures"])
    for names in ((), ("--names",)):
        assert "No event matches" in user.fails(3, "erase", "--actor", "user/mistyped", *names, *REASON, "--yes")
    store(api, correlationId="erased twice")
    flow = ("--flow", "erased twice")
    user.ok("erase", *flow, *REASON, "--yes")
    assert "have no payload any more" in user.ok("erase", *flow, *REASON, "--yes").err
    assert len(api.get("/api/v1/erasures").json()["erasures"]) == before + 1


def test_lists_of_nothing_say_so(user: Cli) -> None:
    """On stderr, so that a script reads no rows."""
    for group, said in (("hold", "no legal holds"), ("webhook", "no webhooks"), ("follower", "no followers")):
        ran = user.ok(group, "list")
        assert ran.out == "" and said in ran.err
    assert "no alert rules" in user.ok("alert", "list").err


def test_a_hold_from_its_making_to_its_end(user: Cli, api: httpx2.Client) -> None:
    """The id is all that `add` prints to stdout. What is held is not erased."""
    store(api, correlationId="case 4")
    made = user.ok("hold", "add", "--flow", "case 4", "--reason", "Case 2026-4")
    assert re.fullmatch(r"[0-9a-f-]{36}\n", made.out)
    hold_id = made.out.strip()
    listed = user.ok("hold", "list", env={"COLUMNS": "160"}).lines
    assert listed[1].split()[0] == hold_id
    assert 'flow:"case 4"' in listed[1] and "Case 2026-4" in listed[1]
    held = user.ok("erase", "@1", *REASON, "--yes").err
    assert "1 more is held, and stays." in user.fails(2, "erase", "@1", *REASON)
    assert "Done: 0 payloads erased, 1 kept by holds" in held
    assert user.ok("hold", "release", hold_id).err == "Released.\n"
    assert "no hold" in user.fails(3, "hold", "release", hold_id)


@catches(NOBODY_IS_ASKED)
def test_a_policy_is_set_shown_and_applied(user: Cli, api: httpx2.Client, mutant: Mutant | None) -> None:
    """Ages are in days; rules name event types. Nothing is set without consent."""
    store(api)
    assert user.ok("retention", "show").out == "Events are kept for ever: no policy.\n"
    asked = user.fails(2, "retention", "set", "365d", "--rule", "chat_thread.*=30d")
    assert asked.startswith("A run would remove 0 events and erase 0 payloads of others.") and "Pass --yes" in asked
    assert user.ok("retention", "show").out == "Events are kept for ever: no policy.\n"
    said = user.ok("retention", "set", "365d", "--rule", "chat_thread.*=30d", "--yes").err
    assert said == "Set: events are kept for 365 days.\nPayloads of chat_thread.* are erased after 30 days.\n"
    assert user.ok("retention", "show").lines == [
        "Events are kept for 365 days: the tenant's own policy.",
        "Payloads of chat_thread.* are erased after 30 days.",
    ]
    assert user.ok("retention", "preview").out.startswith("A run would remove 0 events")
    assert "Pass --yes" in user.fails(2, "retention", "apply")
    assert "Done: 0 events removed, 0 payloads erased." in user.ok("retention", "apply", "--yes").err
    assert "done" in user.ok("retention", "show").out
    assert "number of days" in user.fails(2, "retention", "set", "1y")
    assert "as in 'chat_thread.*=30d'" in user.fails(2, "retention", "set", "forever", "--rule", "chat_thread.*")
    assert user.ok("retention", "set", "forever", "--json").json["maxAgeDays"] is None


def test_options_that_do_not_say_what_is_meant(user: Cli) -> None:
    """Each is refused in a sentence, before anything is sent."""
    assert "Say which events" in user.fails(2, "hold", "add", "--reason", "r")
    assert "Pass either events" in user.fails(2, "erase", *REASON)
    assert "Pass either events" in user.fails(2, "erase", "@1", "--flow", "a", *REASON)


def test_the_python_of_the_page_runs(user: Cli, api: httpx2.Client) -> None:
    """That of docs/retention.md, which sets a policy, places a hold and asks for an erasure."""
    [code] = code_of("docs/retention.md", "python")
    ran = subprocess.run(
        [sys.executable, "-c", code], env=user.env(), capture_output=True, text=True, timeout=60, check=True
    )
    assert ran.stdout.strip() in ("requested", "announced", "removing", "cleaning", "done")
    [hold] = api.get("/api/v1/holds").json()["holds"]
    assert (hold["q"], hold["reason"]) == ("flow:order-8841", "Case 2026-4")
    assert api.get("/api/v1/retention").json()["maxAgeDays"] == 365
    assert api.delete(f"/api/v1/holds/{hold['id']}").status_code == 204


NOTHING_AGAIN = Mutant(
    "restores_what_was_erased", "import whence.cli.backup as b\nb._erase_again = lambda *_: b.asyncio.sleep(0)"
)


@catches(NOTHING_AGAIN)
def test_a_restore_erases_again(cli: Cli, tmp_path: Path, mutant: Mutant | None) -> None:
    """And says how much the backup still had."""

    async def erase() -> None:
        store = await made(tmp_path)
        await done_by(store, query=MALLORY, pseudonym="erased-1")
        await store.close()

    asyncio.run(erase())
    said = cli.ok("restore", tmp_path / "backup.db", "--store", url_of(tmp_path), "--force").err
    assert "Erased again, since the backup still had them: 4 payloads, names or tenants." in said
    assert files_with(tmp_path, WORD) == {"backup.db"}
