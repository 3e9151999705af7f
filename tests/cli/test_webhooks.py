"""`webhook …`: what each command prints, and a receiver on this machine, as docs/webhooks.md shows it."""

import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator

import httpx2
import pytest

from tests.api.conftest import Served, event, serving, wait_until
from tests.cli import mutants
from tests.cli.mutants import Mutant, catches
from tests.cli.program import Cli
from tests.cli.test_tail import Tailing
from tests.delivery.receivers import Receiver, answering, receiving_beside
from tests.documents import code_of

EVENTS = "/api/v1/events"
PAGE = "docs/webhooks.md"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server that may call this machine."""
    with serving(tmp_path_factory.mktemp("served"), webhook_allow=("127.0.0.0/8",)) as running:
        yield running


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving_beside() as made:
        yield made


@catches(mutants.MESSAGES_ON_STDOUT)
def test_a_webhook_from_its_creation_to_its_end(user: Cli, api: httpx2.Client, receiver: Receiver) -> None:
    """Create prints the secret alone; test, show, deliveries, resend and replay say what came of it."""
    created = user.ok("webhook", "create", receiver.url, "--type", "order.*", "--outcome", "failure", "--fifo")
    assert re.fullmatch(r"whsec_[A-Za-z0-9+/=]+\n", created.out)
    [made] = api.get("/api/v1/webhooks").json()["webhooks"]
    assert made["filters"] == {"eventType": ["order.*"], "outcome": ["failure"]} and made["fifo"]
    assert made["id"] in created.err and made["url"] in user.ok("webhook", "list").out
    assert re.search(r"1\. \S+  200 in \d+ ms  ok", user.ok("webhook", "test", made["id"]).out)
    receiver.behaviour = answering(500, b"\x1b[2J\nno")
    failed = user.run("webhook", "test", made["id"])
    assert failed.code == 1 and "500" in failed.out and "\x1b" not in failed.out
    receiver.behaviour = answering(204)
    stored = api.post(EVENTS, json=event(eventType="order.failed")).json()
    wait_until(lambda: api.get(f"/api/v1/webhooks/{made['id']}").json()["deliveries"]["delivered"] == 1)
    shown = user.ok("webhook", "show", made["id"]).lines
    assert "deliveries    0 pending, 1 delivered, 0 failed" in shown
    rows = user.ok("webhook", "deliveries", made["id"]).lines
    assert rows[0].split() == ["POSITION", "STATE", "ATTEMPTS", "CHANGED", "DUE"]
    assert rows[1].split()[:3] == ["@1", "delivered", "1"]
    assert " 204 in " in user.ok("webhook", "deliveries", made["id"], "@1").out
    none = user.ok("webhook", "deliveries", made["id"], "--state", "failed", "--json").json
    assert none == {"deliveries": [], "nextAfter": None}
    user.ok("webhook", "resend", made["id"], "@1")
    wait_until(lambda: receiver.ids.count(stored["id"]) == 2)
    user.ok("webhook", "replay", made["id"], "--since", "-1h", "--all")
    wait_until(lambda: receiver.ids.count(stored["id"]) == 3)
    rotated = user.ok("webhook", "rotate", made["id"])
    assert rotated.out.startswith("whsec_") and rotated.out != created.out and "old secret" in rotated.err
    user.ok("webhook", "update", made["id"], "--disable", "--format", "slack", "--no-fifo", "--type", "a.b")
    shown = api.get(f"/api/v1/webhooks/{made['id']}").json()
    assert (shown["enabled"], shown["format"], shown["fifo"]) == (False, "slack", False)
    assert shown["filters"] == {"eventType": ["a.b"]}
    assert user.ok("webhook", "show", made["id"], "--json").json == shown
    user.ok("webhook", "delete", made["id"])
    assert user.run("webhook", "show", made["id"]).code == 3


def test_what_is_refused_is_a_sentence(user: Cli) -> None:
    """With the code for it, and nothing is made."""
    for url in ("https://user@example.com/", "https://10.0.0.1/"):
        ran = user.run("webhook", "create", url)
        assert ran.code == 2 and ran.out == "" and url not in ran.err
    assert user.run("webhook", "replay", "x").code == 2
    assert user.run("webhook", "listen", "--forward", "http://example.com/").code == 2
    assert user.run("webhook", "listen", "--forward", "http://localhost:1/", "--secret", "short").code == 1
    assert user.ok("webhook", "list", "--json").json == {"webhooks": []}


UNSIGNED = Mutant("sent_with_another_secret", "import whence.cli.webhooks as w; w.signed_headers = lambda *_: {}")


@catches(UNSIGNED)
def test_the_receiver_of_the_page_listens(user: Cli, api: httpx2.Client, mutant: Mutant | None, port: int) -> None:
    """The Python of docs/webhooks.md takes what `webhook listen` sends, and refuses a bad signature."""
    [code] = code_of(PAGE, "python")
    [listen] = [block for block in code_of(PAGE, "console") if "listen" in block]
    found = re.search(r"WEBHOOK_SECRET=(\S+)", listen)
    assert found is not None
    receiver = subprocess.Popen(
        [sys.executable, "-c", code.replace("3000", str(port))],
        env=user.env() | {"WEBHOOK_SECRET": found[1]},
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until(lambda: answers(port))
        asked = ("webhook", "listen", "--forward", f"http://127.0.0.1:{port}/", "--secret", found[1], "--after", "0")
        process = user.start(*asked, "--type", "order.*", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            listening = Tailing(process)
            for kind in ("order.placed", "invoice.sent", "order.paid"):
                api.post(EVENTS, json=event(eventType=kind))
            first, second = listening.wait_for(2, mutant)[:2]
            assert re.fullmatch(r"@1  order\.placed  200 in \d+ ms  thanks for order\.placed", first)
            assert re.fullmatch(r"@3  order\.paid  200 in \d+ ms  thanks for order\.paid", second)
            process.send_signal(signal.SIGINT)
            assert process.wait(10) == 130
        finally:
            process.kill()
            process.communicate()
        assert httpx2.post(f"http://127.0.0.1:{port}/", content=b"{}").status_code == 400
    finally:
        receiver.kill()
        receiver.wait()


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_the_commands_of_the_page_are_commands(user: Cli, api: httpx2.Client, receiver: Receiver) -> None:
    """Those of its quick start run, for a real URL and a real id."""
    [commands] = [block for block in code_of(PAGE, "console") if "webhook create" in block]
    webhook_id = ""
    for line in commands.splitlines():
        words = line.replace("'", "").removeprefix("$ whence ").split()
        words = [receiver.url if word.startswith("https://") else word for word in words]
        user.ok(*(webhook_id if word == "ID" else word for word in words))
        if not webhook_id:
            webhook_id = api.get("/api/v1/webhooks").json()["webhooks"][0]["id"]
