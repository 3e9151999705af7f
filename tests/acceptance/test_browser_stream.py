"""A stream in Chromium, by the EventSource that every browser has."""

import time
from pathlib import Path

import httpx2
import pytest

from tests.acceptance.browser import CHROMIUM, browsing
from tests.api.conftest import Served, event, serving, wait_until
from tests.examples import soak
from whence.permissions import READ, WRITE

EVENTS = "/api/v1/events"
FROZEN_S = 60.0 if soak() else 1.0

SIGN_IN = "fetch('/api/v1/session', {method: 'POST', headers: {'X-API-Key': '%s'}}).then((answer) => answer.status)"
LISTEN = """
globalThis.ids = []; globalThis.opened = 0;
const source = new EventSource('/api/v1/events/stream?from=start');
source.onopen = () => { opened += 1 };
source.onmessage = (message) => ids.push(Number(message.lastEventId));
"""


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on PATH")
def test_a_page_in_the_background_misses_nothing(tmp_path: Path) -> None:
    """A frozen page handles nothing, and meanwhile the server is restarted. When the page is shown again, it goes on
    after the last event that it had: each one is there once."""

    def store(served: Served, key: str, count: int) -> None:
        large = [event(payload={"text": "x" * 100_000}) for _ in range(count)]
        headers = {"X-API-Key": key}
        assert httpx2.post(f"{served.url}{EVENTS}/batch", json=large, headers=headers).status_code == 201

    with browsing(tmp_path / "profile") as browser:
        with serving(tmp_path / "log") as served:
            key, port = served.key(READ, WRITE), served.address[1]
            tab = browser.open(f"{served.url}/livez")
            wait_until(lambda: tab.run("location.protocol") == "http:")
            assert tab.run(SIGN_IN % key) == 201
            tab.run(LISTEN)
            store(served, key, 20)
            wait_until(lambda: tab.run("ids.length") == 20)
            tab.send("Page.setWebLifecycleState", state="frozen")
            store(served, key, 30)
        with serving(tmp_path / "log", port=port) as served:
            store(served, key, 30)
            time.sleep(FROZEN_S)
            store(served, key, 10)
            assert tab.run("ids.length") == 20
            tab.send("Page.setWebLifecycleState", state="active")
            wait_until(lambda: tab.run("ids.length") >= 90, 60)
            assert tab.run("ids") == list(range(1, 91))
            assert tab.run("opened") >= 2
