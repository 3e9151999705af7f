"""The documents are true: their links work, their code runs, and their lists are complete."""

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.conftest import Served, serving
from tests.cli.program import Cli, Serving, running
from whence.permissions import READ, WRITE
from whence.settings import FIELDS

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
CONCEPTS = ROOT / "docs" / "concepts.md"
README_LINES_MAX = 150
_LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(document: str, language: str) -> list[str]:
    """The code of one language in a document."""
    text = (ROOT / document).read_text(encoding="utf-8")
    return [code for kind, code in _BLOCK.findall(text) if kind == language]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_work(document: Path) -> None:
    """Every relative link of a document names a file that exists."""
    links = [link for link in _LINK.findall(document.read_text(encoding="utf-8")) if "://" not in link]
    assert [link for link in links if not (document.parent / link).exists()] == []


def test_the_readme_is_short() -> None:
    """The README has at most 150 lines."""
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= README_LINES_MAX


@pytest.fixture(scope="module")
def readers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Cli, Serving]]:
    """A user of `make serve`, in another terminal: nothing is set, and the profile has the server and the key."""
    cli = Cli(tmp_path_factory.mktemp("readme"))
    with running(cli, "serve", "--port", "0") as serving:
        yield cli, serving


@pytest.mark.parametrize("code", blocks("README.md", "python"))
def test_the_python_of_the_readme_runs(code: str, readers: tuple[Cli, Serving]) -> None:
    """The snippet stores a cause and its effect, and prints them as one flow in order."""
    done = subprocess.run(
        [sys.executable, "-c", code], env=readers[0].env(), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert [line.split()[1] for line in done.stdout.splitlines()] == ["inbound_message.received", "action_run.failed"]


@pytest.mark.parametrize("code", blocks("README.md", "sh"))
def test_the_curl_of_the_readme_runs(code: str, readers: tuple[Cli, Serving]) -> None:
    """The first event is stored, and the first query finds it. Only the port and the place of the program differ."""
    cli, serving = readers
    script = code.replace("127.0.0.1:8700", f"127.0.0.1:{serving.port}").replace(".venv/bin/", "")
    done = subprocess.run(["bash", "-c", script], env=cli.env(), capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.count('"eventType":"decision.approved"') == 2
    assert done.stdout.endswith('"hasNext":false,"limit":100,"offset":0,"total":1}')


@pytest.fixture(scope="module")
def demo_server() -> Iterator[Served]:
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder)) as served:
        yield served


def with_the_demo(served: Served, tenant: str, folder: Path) -> dict[str, str]:
    """Store the events of `whence demo` for a tenant; the environment of those who speak to the server."""
    recorded = ROOT / "src" / "whence" / "data" / "airline-agent-runs.ndjson.gz"
    commands = str(Path(sys.executable).parent)
    variables = {"WHENCE_URL": served.url, "WHENCE_API_KEY": served.key(READ, WRITE, tenant=tenant)}
    variables |= {"XDG_CONFIG_HOME": str(folder / "config"), "XDG_STATE_HOME": str(folder / "state")}
    variables |= {"PATH": f"{commands}:{os.environ['PATH']}", "LC_ALL": "C.UTF-8", "PYTHONUTF8": "1"}
    environment = os.environ | variables
    environment.pop("COLUMNS", None)  # where it is set, lines are cut
    subprocess.run(["whence", "import", str(recorded)], env=environment, capture_output=True, check=True)
    return environment


@pytest.fixture(scope="module")
def demonstration(demo_server: Served, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A running server with the log of `whence demo`."""
    return with_the_demo(demo_server, "default", tmp_path_factory.mktemp("demo"))


@pytest.fixture(scope="module")
def used_log(demo_server: Served, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A running server with a log that has events already, those of the demo, and gets those of the examples."""
    return with_the_demo(demo_server, "examples", tmp_path_factory.mktemp("examples"))


INTEGRATIONS = [str(page.relative_to(ROOT)) for page in sorted((ROOT / "docs" / "integrations").glob("*.md"))]
EXAMPLES = [
    pytest.param(code, id=f"{Path(page).stem}-{index}")
    for page in ("docs/sdk.md", *INTEGRATIONS)
    for index, code in enumerate(blocks(page, "python"))
]


@pytest.mark.parametrize("code", EXAMPLES)
def test_the_python_of_the_pages_runs(code: str, used_log: dict[str, str]) -> None:
    """Every block runs with the real library, in a log that has the events of the demo and of the blocks before it, and
    prints no traceback."""
    done = subprocess.run(
        [sys.executable, "-c", code], env=used_log, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr


def test_every_integration_with_a_page_has_an_example() -> None:
    """One block of Python on each page."""
    assert [page for page in INTEGRATIONS if len(blocks(page, "python")) != 1] == []


_SHOWN = re.compile(r"^```sh\n(.*?)^```\n```text\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_the_concepts_show_what_the_demo_answers(demonstration: dict[str, str]) -> None:
    """Each command of docs/concepts.md, in order, prints what stands below it, where … is any text."""
    shown = _SHOWN.findall(CONCEPTS.read_text(encoding="utf-8"))
    assert len(shown) == len(blocks("docs/concepts.md", "sh")) > 10
    for command, expected in shown:
        done = subprocess.run(
            ["bash", "-c", command], env=demonstration, capture_output=True, text=True, timeout=60, check=False
        )
        pattern = ".*".join(map(re.escape, expected.strip().split("…")))
        assert re.fullmatch(pattern, done.stdout.strip(), re.DOTALL), command + done.stdout + done.stderr


@pytest.mark.parametrize("code", blocks("docs/concepts.md", "python"))
def test_the_python_of_the_concepts_runs(code: str) -> None:
    """What the blocks assert is so."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_every_setting_is_documented() -> None:
    """docs/operations.md lists each variable that the settings read."""
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    assert [variable for variable, _ in FIELDS.values() if f"`{variable}`" not in text] == []


def test_decisions_are_numbered() -> None:
    """The pages of docs/adr are numbered without gaps, and each title begins with its number."""
    pages = sorted((ROOT / "docs" / "adr").glob("*.md"))
    assert [int(page.name[:4]) for page in pages] == list(range(1, len(pages) + 1))
    assert all(page.read_text(encoding="utf-8").startswith(f"# {int(page.name[:4])}. ") for page in pages)
