"""A stream in Chromium, by the EventSource that every browser has."""

import time
from pathlib import Path

import httpx2
import pytest

from tests.acceptance.browser import CHROMIUM, browsing
from tests.acceptance.running import soak
from tests.api.conftest import event, serving, wait_until
from whence.permissions import READ, WRITE

FROZEN_S = 60.0 if soak() else 2.0

LISTEN = """
globalThis.ids = []; globalThis.opened = 0;
const source = new EventSource('/api/v1/events/stream?from=start');
source.onopen = () => { opened += 1 };
source.onmessage = (message) => ids.push(Number(message.lastEventId));
"""


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on PATH")
def test_a_page_in_the_background_misses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A frozen page reads nothing, so the server cuts its stream. When it is shown again, it goes on after the last
    event that it had: each one is there once."""
    if not soak():
        monkeypatch.setattr("whence.api.streams._UNREAD_S", 1.0)
    with serving(tmp_path / "log") as served, browsing(tmp_path / "profile") as browser:
        key = served.key(READ, WRITE)
        tab = browser.open(f"{served.url}/livez")
        sign_in = f"fetch('/api/v1/session', {{method: 'POST', headers: {{'X-API-Key': '{key}'}}}}).then(r => r.status)"
        wait_until(lambda: tab.run("location.protocol") == "http:")
        assert tab.run(sign_in) == 201
        tab.run(LISTEN)
        with httpx2.Client(base_url=served.url, headers={"X-API-Key": key}, timeout=20) as api:

            def store(count: int) -> None:
                large = [event(payload={"text": "x" * 20_000}) for _ in range(count)]
                assert api.post("/api/v1/events/batch", json=large).status_code == 201

            store(20)
            wait_until(lambda: tab.run("ids.length") == 20)
            tab.send("Page.setWebLifecycleState", state="frozen")
            until = time.monotonic() + FROZEN_S
            stored = 20
            while time.monotonic() < until:
                store(100)  # more than the connection holds
                stored += 100
                time.sleep(0.2 if not soak() else 2.0)
            tab.send("Page.setWebLifecycleState", state="active")
            wait_until(lambda: tab.run("ids.length") >= stored, 60)
        assert tab.run("ids") == list(range(1, stored + 1))
        assert tab.run("opened") >= 2
