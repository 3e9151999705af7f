"""`open`, and the links of `serve` and `demo`: they sign a browser in once, and are written to no file."""

import os
import pty
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest

from tests.api.conftest import Served, event, serving
from tests.api.test_console import put_console
from tests.cli import mutants
from tests.cli.mutants import Mutant, catches
from tests.cli.program import Cli, running
from whence.api import console
from whence.permissions import READ, WRITE

BROWSER = {"BROWSER": "true"}
HAS_A_CONSOLE = """
import pathlib, tempfile
import whence.api.console as console
folder = pathlib.Path(tempfile.mkdtemp())
(folder / "index.html").write_text("<!doctype html><title>Whence</title>")
console._built = lambda: folder
"""
PATH_OF_ANY_KIND = Mutant(
    "open_takes_any_path", "import re\nimport whence.cli.open_page as page\npage._PATH = re.compile('.*')"
)


@pytest.fixture(scope="module")
def with_console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server that has a console."""
    built = put_console(tmp_path_factory.mktemp("built"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(console, "_built", lambda: built)
        with serving(tmp_path_factory.mktemp("served")) as served:
            yield served


@pytest.fixture
def visitor(cli: Cli, with_console: Served) -> Cli:
    """The program of a user of that server."""
    return cli.given(url=with_console.url, api_key=with_console.key(READ, WRITE, tenant="open"))


def signed_in(link: str) -> tuple[int, str | None]:
    """What the page makes of a link: the status of redeeming its code, and the path that it then shows."""
    parts = urlsplit(link)
    assert parts.path == "/login"
    code = parse_qs(parts.fragment)["code"][0]
    answer = httpx2.post(f"{parts.scheme}://{parts.netloc}/api/v1/session/redeem", json={"code": code})
    return answer.status_code, parse_qs(parts.query).get("back", [None])[0]


def test_open_signs_the_browser_in(visitor: Cli) -> None:
    """By a link that works once, printed on stdout and opened in the browser that BROWSER names."""
    ran = visitor.ok("open", env=BROWSER)
    assert (ran.err, len(ran.lines)) == ("", 1)
    assert signed_in(ran.lines[0]) == (201, None)
    assert signed_in(ran.lines[0]) == (401, None)
    ran = visitor.run("open", env={"BROWSER": "false"})
    assert ran.code == 1 and "Open the address in one yourself, within a minute." in ran.err
    assert signed_in(ran.lines[0]) == (201, None)


@catches(PATH_OF_ANY_KIND)
def test_open_shows_an_event_or_a_path(visitor: Cli, with_console: Served) -> None:
    """An event by its position, its id or the first digits of it; a path with its search. Nothing of another site."""
    with with_console.client(READ, WRITE, tenant="open") as client:
        id_ = client.post("/api/v1/events", json=event()).json()["id"]
    for what, path in (
        ("@1", f"/e/{id_}"),
        (id_, f"/e/{id_}"),
        (id_[:13], f"/e/{id_}"),
        ("/explore?q=outcome:failed&live=1#x", "/explore?q=outcome:failed&live=1#x"),
    ):
        assert signed_in(visitor.ok("open", what, env=BROWSER).lines[0]) == (201, path)
    for what in ("//evil.example/", "/\\evil.example", "/a b"):
        assert "begins with one slash" in visitor.fails(2, "open", what, env=BROWSER)
    assert "There is no event" in visitor.fails(3, "open", "@99", env=BROWSER)


def test_open_without_a_link_opens_the_page_that_asks_for_a_key(visitor: Cli, with_console: Served) -> None:
    """Where there is no key, or one that makes no link. Without a console it opens the reference."""
    root = f"{with_console.url}/\n"
    ran = visitor.given(api_key=None).ok("open", "--url", with_console.url, env=BROWSER)
    assert (ran.out, ran.err) == (root, "")
    for key in (with_console.operator_key(READ), "whk_x"):
        ran = visitor.given(api_key=key).ok("open", env=BROWSER)
        assert ran.out == root and "the page asks for a key" in ran.err


def test_open_opens_the_reference_of_a_server_without_a_console(user: Cli) -> None:
    """In the browser, and the address is printed too."""
    url = user.environ["WHENCE_URL"]
    ran = user.ok("open", env=BROWSER)
    assert (ran.out, ran.err) == (f"{url}/docs\n", "")
    ran = user.run("open", env={"BROWSER": "false"})
    assert (ran.code, ran.out) == (1, f"{url}/docs\n") and "No browser was found here." in ran.err
    assert "has no console" in user.fails(3, "open", "@1", env=BROWSER)
    assert "whence serve" in user.fails(6, "open", "--url", "http://127.0.0.1:1")


def on_a_terminal(cli: Cli, *arguments: str, until: str) -> tuple[str, str]:
    """What it writes to a terminal up to this, and the link in it, after it was redeemed once."""
    ours, theirs = pty.openpty()
    process = cli.given(log_level="error").start(*arguments, stderr=theirs)
    os.close(theirs)
    written = ""
    try:
        while until not in written:
            written += os.read(ours, 65_536).decode()
        link = re.search(r"http\S+/login#code=whl_\w+", written)
        assert link is not None and [signed_in(link[0])[0] for _ in range(2)] == [201, 401]
    finally:
        process.terminate()
        process.wait()
        os.close(ours)
    return written, link[0]


@pytest.mark.parametrize("command", ["serve", "demo"])
def test_a_server_on_a_terminal_prints_a_link(tmp_path: Path, command: str) -> None:
    """Also of a log that is there already, by the key of its profile."""
    cli = Cli(tmp_path, prelude=HAS_A_CONSOLE)
    until = {"serve": "within a minute:\r\n  http", "demo": "Stop with Ctrl-C"}[command]
    runs = [on_a_terminal(cli, command, "--port", "0", until=until) for _ in range(2 if command == "serve" else 1)]
    assert len({link for _, link in runs}) == len(runs)
    if command == "demo":
        assert re.search(r"Console   http\S+\r?\n +\(works once, within a minute; then '.*whence open'\)", runs[0][0])


@catches(mutants.KEY_IN_THE_JOURNAL)
def test_no_link_is_written_to_a_file(tmp_path: Path, mutant: Mutant | None) -> None:
    """Where stderr is a file or a journal, which others may read before the minute is over."""
    cli = Cli(tmp_path, prelude=f"{HAS_A_CONSOLE}\n{mutant.code if mutant else ''}")
    with running(cli, "serve", "--port", "0") as serving_one:
        serving_one.wait_for("export WHENCE_URL")
        httpx2.get(f"{serving_one.url}/livez")
        assert "whl_" not in serving_one.said
