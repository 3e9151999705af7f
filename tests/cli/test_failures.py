"""Failures: each has its exit code and a sentence, whatever the server sends and wherever the output goes."""

import os
import pty
import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.api.conftest import RUN_ID, Served, event
from tests.cli import mutants
from tests.cli.mutants import catches
from tests.cli.program import Cli, ndjson
from whence.permissions import READ, WRITE

pytestmark = pytest.mark.slow

UNKNOWN = "0192f0c1-7c00-7000-8000-000000000000"
RESOURCE = f"action_run/{RUN_ID}"


@contextmanager
def answering(raw: bytes | None) -> Iterator[str]:
    """A server that sends this response to every request and closes; with None it reads the request and hangs."""
    listener = socket.create_server(("127.0.0.1", 0))
    ended = threading.Event()

    def serve() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection:
                    connection.recv(65_536)
                    if raw is None:
                        ended.wait()
                    with suppress(OSError):
                        connection.sendall(raw or b"")
                        connection.shutdown(socket.SHUT_WR)
                        while connection.recv(65_536):
                            pass

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        ended.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def http(body: bytes, status: str = "200 OK", *headers: str) -> bytes:
    lines = (f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers, "", "")
    return "\r\n".join(lines).encode("latin-1") + body


DEEP = b"[" * 100_000 + b"]" * 100_000

GARBAGE: dict[str, tuple[bytes, int]] = {
    "html": (http(b"<html>hello</html>"), 1),
    "empty": (http(b""), 1),
    "other_json": (http(b'{"events": 7}'), 1),
    "not_utf8": (http(b'{"events":["\xff"]}'), 1),
    "deep": (http(b'{"x":' + DEEP + b"}"), 1),
    "no_http": (b"220 mail.example ESMTP\r\n", 6),
    "closes": (b"", 6),
    "cut": (http(b"{}").replace(b"Length: 2", b"Length: 2000"), 6),
    "not_gzip": (http(b"not gzip", "200 OK", "Content-Encoding: gzip"), 1),
    "redirect": (http(b"", "302 Found", "Location: http://127.0.0.1:1/"), 1),
    "html_404": (http(b"<html>", "404 Not Found"), 3),
    "deep_500": (http(DEEP, "500 Oops"), 1),
    "steering_500": (
        http(b'{"detail":"\\u001b[31m\\u202ered\\nline","code":"x","requestId":"\\u009b"}', "500 Oops"),
        1,
    ),
    "odd_422": (http(b'{"detail":[{"loc":[[1]],"msg":2}]}', "422 No"), 2),
    "odd_409": (http(b'{"detail":null}', "409 No"), 1),
    "wait_for_ever": (http(b"{}", "429 No", "Retry-After: " + "9" * 400), 1),
    "wait_till": (http(b"{}", "503 No", "Retry-After: Fri, 31 Dec 9999 23:59:59 GMT"), 1),
    "number_status": (http(b"{}", "299 Odd"), 1),
}


@pytest.mark.parametrize("name", GARBAGE)
def test_another_program_at_the_address_is_reported(cli: Cli, name: str) -> None:
    """Whatever the server sends, the program prints one sentence and exits with the right code."""
    raw, code = GARBAGE[name]
    with answering(raw) as url:
        cli.given(url=url, api_key="whk_x").fails(code, "list")


def test_every_command_refuses_another_program(cli: Cli, tmp_path: Path) -> None:
    """Each command over HTTP rejects a response of another program."""
    (tmp_path / "one.ndjson").write_bytes(ndjson([event()]))
    odd = b'{"results":[],"keys":[{"id":"\\u001b[31m"}],"key":"\\u001b[31m"}'
    with answering(http(odd)) as url:
        user = cli.given(url=url, api_key="whk_x")
        for words in (
            ("get", UNKNOWN),
            ("stats", "--actors"),
            ("why", UNKNOWN),
            ("effects", UNKNOWN),
            ("trace", UNKNOWN, "--mermaid"),
            ("flows",),
            ("flow", "x"),
            ("map",),
            ("emit", "decision.made", "--actor", "user/ana", "--resource", RESOURCE),
            ("import", tmp_path / "one.ndjson"),
            ("key", "create", "--scope", "events:read"),
            ("key", "list"),
        ):
            user.fails(1, *words)


@catches(mutants.ONE_FAILURE, mutants.LETS_THROUGH)
def test_every_kind_of_failure_has_its_code(cli: Cli, served: Served) -> None:
    """2 is usage, 3 not found, 4 credentials, 6 unreachable, and 1 any other failure."""
    user = cli.given(url=served.url, api_key=served.key(READ, tenant="codes"))
    writer = cli.given(url=served.url, api_key=served.key(WRITE, tenant="codes"))
    one = ("emit", "decision.made", "--actor", "user/ana", "--resource", RESOURCE, "--id", UNKNOWN)
    assert "limit" in user.fails(2, "list", "--limit", "0")
    assert "no event" in user.fails(3, "get", UNKNOWN)
    assert "events:write" in user.fails(4, *one)
    assert "--api-key" in cli.given(url=served.url).fails(4, "list")
    said = user.fails(4, "list", "--api-key", "whk_wrong")
    assert "whence key create" in said and "came from --api-key" in said
    said = user.given(api_key="whk_wrong").fails(4, "list")
    assert "came from WHENCE_API_KEY. Unset it" in said and "or WHENCE_API_KEY" not in said
    assert "whence serve" in user.fails(6, "list", "--url", "http://127.0.0.1:1")
    writer.ok(*one)
    assert "other content" in writer.fails(1, *one)
    both = cli.given(url=served.url, api_key=served.key(READ, WRITE, tenant="codes"))
    assert "occurredAt" in both.fails(1, *one)


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("ftp://127.0.0.1", 2),
        ("127.0.0.1:8700", 2),
        ("http://", 2),
        ("http://[::1", 2),
        ("http://127.0.0.1:x", 2),
        ("http://127.0.0.1/\x1b[31m", 2),
        ("http://\u202e.example", 2),
        ("http://no-such-host.invalid", 6),
        ("http://127.0.0.1:1/path", 6),
    ],
)
def test_a_wrong_address_is_reported(cli: Cli, url: str, code: int) -> None:
    """An invalid address, or one without a server, is reported in a sentence; stdout is empty."""
    cli.fails(code, "list", "--url", url)


@pytest.mark.parametrize("key", ["a\nb", "a\r\nX-Evil: 1", " whk_x ", "ä", "\x00x", "\x7f"], ids=ascii)
def test_a_key_that_cannot_be_sent_is_reported(cli: Cli, served: Served, key: str) -> None:
    """A key that cannot be sent in a header is reported without repeating it, and nothing is sent."""
    if "\x00" in key:  # no argument can hold it
        key = "\x01x"
    said = cli.given(url=served.url).fails(1, "list", "--api-key", key)
    assert "key" in said and "Evil" not in said


def test_a_path_of_another_server_is_not_found(cli: Cli, served: Served) -> None:
    """A wrong path at the right address is 'not found'. What cannot be an event is not sent."""
    user = cli.given(url=served.url, api_key=served.key(READ, tenant="paths"))
    user.fails(3, "list", "--url", f"{served.url}/other")
    for odd in ("..", "nope", "../keys", "?x", "%2e", "x/y"):
        user.fails(2, "get", odd)


def test_a_reader_that_quits_ends_the_program_quietly(user: Cli) -> None:
    """When the reader of stdout has quit, the program exits with 1 and prints nothing."""
    reader, writer = os.pipe()
    os.close(reader)
    for words in (("--help",), ("version",), ("list", "--json")):
        for unbuffered in ({}, {"PYTHONUNBUFFERED": "1"}):
            ran = user.run(*words, stdout=writer, env=unbuffered)
            assert (ran.code, ran.err) == (1, ""), (words, ran)
    os.close(writer)


def test_output_to_a_full_disk_is_reported(user: Cli) -> None:
    """A failing stdout is reported in one sentence, with exit code 1."""
    with open("/dev/full", "wb", buffering=0) as full:
        for words in (("--help",), ("version",), ("list", "--json")):
            for unbuffered in ({}, {"PYTHONUNBUFFERED": "1"}):
                ran = user.run(*words, stdout=full, env=unbuffered)
                assert ran.code == 1 and len(ran.err.splitlines()) == 1 and "No space" in ran.err, (words, ran)


def test_closed_outputs_are_no_error(user: Cli) -> None:
    """A command succeeds with a closed stdout. With a closed stderr its messages do not go to stdout."""
    without_out = f'"{user.command()[0]}" list >&-; "{user.command()[0]}" list --json >&-'
    done = subprocess.run(without_out, shell=True, env=user.env(), capture_output=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, b"0 of 0 events.\n")
    without_err = f'"{user.command()[0]}" list 2>&-'
    done = subprocess.run(without_err, shell=True, env=user.env(), capture_output=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (0, b"")


def test_debug_shows_a_traceback(cli: Cli) -> None:
    """WHENCE_DEBUG shows the traceback."""
    ran = cli.given(debug="1").run("list", "--url", "http://127.0.0.1:1")
    assert ran.code == 1 and "Traceback" in ran.err and "Unreachable" in ran.err


def interrupted(cli: Cli, url: str, *words: Any, when: Callable[[], bool] = lambda: True) -> tuple[int, bytes]:
    """Send Ctrl-C to a command that waits for a response. Returns its exit code and its output."""
    process = cli.given(url=url, api_key="whk_x").start(*words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    until = time.monotonic() + 30
    while not (when() and Path(f"/proc/{process.pid}/wchan").exists()):
        assert time.monotonic() < until
        time.sleep(0.01)
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    written, _ = process.communicate(timeout=30)
    return process.returncode, written


def test_ctrl_c_ends_with_130(cli: Cli, tmp_path: Path) -> None:
    """Ctrl-C while the program waits for a server, or between retries, ends it with 130 and no message."""
    (tmp_path / "one.ndjson").write_bytes(ndjson([event()]))
    for words in (("list",), ("import", tmp_path / "one.ndjson"), ("key", "list")):
        asked = threading.Event()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            held: list[socket.socket] = []

            def accept(listener: socket.socket = listener, held: Any = held, asked: threading.Event = asked) -> None:
                held.append(listener.accept()[0])
                held[0].recv(1)
                asked.set()

            threading.Thread(target=accept, daemon=True).start()
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            assert interrupted(cli, url, *words, when=asked.is_set) == (130, b"")
            held[0].close()


def test_ctrl_c_while_it_starts_ends_with_130(cli: Cli) -> None:
    """Ctrl-C while a command is being imported prints no traceback either."""
    comes = """
import os, signal, sys
class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == "cyclopts":
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupting())
"""
    ran = Cli(cli.home, comes).run("list")
    assert (ran.code, ran.out, ran.err) == (130, "", "")


def on_a_terminal(cli: Cli, *words: Any, env: dict[str, str]) -> str:
    """What a command prints when stderr is a terminal."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        cli.command(*words), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=theirs, env=cli.env() | env
    )
    os.close(theirs)
    written = b""
    with suppress(OSError):  # the end of a terminal is an error
        while chunk := os.read(ours, 65_536):
            written += chunk
    os.close(ours)
    assert process.wait(60) == 0, written
    return written.decode()


@pytest.mark.parametrize("no_color", ["", "1"], ids=["colours", "no_color"])
def test_the_servers_log_keeps_no_color(cli: Cli, no_color: str) -> None:
    """On a terminal the server's log is coloured, unless NO_COLOR is set."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        cli.command("serve", "--port", "0"),
        stdin=subprocess.DEVNULL,
        stderr=theirs,
        env=cli.env() | {"NO_COLOR": no_color},
    )
    os.close(theirs)
    written = b""
    try:
        while b"now use this server" not in written:
            written += os.read(ours, 65_536)
        url = re.search(rb" at (http://\S+)", written)
        assert url is not None
        assert cli.run("list", "--url", url[1].decode(), "--api-key", "whk_wrong").code == 4
        process.terminate()
        with suppress(OSError):
            while chunk := os.read(ours, 65_536):
                written += chunk
        assert process.wait(30) == 0
    finally:
        process.kill()
        os.close(ours)
    assert b"401" in written
    assert (b"\x1b[" in written) == (not no_color)


def test_no_color_is_kept_on_a_terminal(user: Cli, tmp_path: Path) -> None:
    """On a terminal the import shows a progress bar, coloured unless NO_COLOR is set or the terminal has no colours."""
    file = tmp_path / "some.ndjson"
    file.write_bytes(ndjson([event(id=f"00000000-0000-0000-0000-{number:012}") for number in range(2000)]))
    colours = re.compile(r"\x1b\[[0-9;]*[1-9][0-9;]*m")
    coloured = on_a_terminal(user, "import", file, env={"TERM": "xterm-256color"})
    plain = on_a_terminal(user, "import", file, env={"TERM": "xterm-256color", "NO_COLOR": "1"})
    dumb = on_a_terminal(user, "import", file, env={"TERM": "dumb"})
    assert "importing" in coloured and colours.search(coloured)
    assert "importing" in plain and not re.search(r"\x1b\[(?:[0-9]+;)*[349][0-9]", plain)
    assert "\x1b" not in dumb
