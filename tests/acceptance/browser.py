"""Chromium without a window, driven by the DevTools protocol over a pipe."""

import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium")
"""The browser of this machine, or None."""

_FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--remote-debugging-pipe")


class Tab:
    """A page of the browser."""

    def __init__(self, browser: "Browser", session: str) -> None:
        self._browser = browser
        self._session = session

    def send(self, method: str, **parameters: Any) -> Any:
        """Call a method of the protocol."""
        return self._browser.send(method, self._session, **parameters)

    def run(self, script: str) -> Any:
        """The value of an expression of JavaScript, or of its promise."""
        found = self.send("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")


class Browser:
    """A running Chromium."""

    def __init__(self, to_browser: int, from_browser: int) -> None:
        self._to, self._from = to_browser, from_browser
        self._number = 0
        self._received = bytearray()

    def open(self, url: str) -> Tab:
        """A new page, whose document is loaded."""
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        tab = Tab(self, self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"])
        tab.send("Page.enable")
        tab.send("Page.navigate", url=url)
        return tab

    def send(self, method: str, session: str | None = None, **parameters: Any) -> Any:
        """Call a method of the protocol, and return its result. Events that come meanwhile are dropped."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if session is not None:
            message["sessionId"] = session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while (answer := self._receive()).get("id") != self._number:
            pass
        assert "error" not in answer, answer
        return answer["result"]

    def _receive(self) -> Any:
        while b"\0" not in self._received:
            part = os.read(self._from, 65_536)
            assert part, "the browser ended"
            self._received += part
        message, _, rest = bytes(self._received).partition(b"\0")
        self._received[:] = rest
        return json.loads(message)


@contextlib.contextmanager
def browsing(folder: Path) -> Iterator[Browser]:
    """A browser with an empty profile in this folder."""
    (read_commands, write_commands), (read_answers, write_answers) = os.pipe(), os.pipe()
    shell = f"exec {CHROMIUM} {' '.join(_FLAGS)} --user-data-dir={folder} 3<&{read_commands} 4>&{write_answers}"
    process = subprocess.Popen(
        ["/bin/bash", "-c", shell], pass_fds=(read_commands, write_answers), stderr=subprocess.DEVNULL
    )
    os.close(read_commands)
    os.close(write_answers)
    try:
        yield Browser(write_commands, read_answers)
    finally:
        os.close(write_commands)
        os.close(read_answers)
        process.terminate()
        process.wait(20)
