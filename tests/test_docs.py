"""The documents are true: their links work, their code runs, and their lists are complete."""

import asyncio
import datetime as dt
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import parse_qs, urlsplit

import pytest

import whence
from tests import databases
from tests.api.conftest import Served, serving
from tests.cli.program import Cli, Serving, running
from tests.documents import DOCUMENTS, ROOT, blocks_of, code_of, is_shown, steps_of, with_the_demo
from tests.picture import PICTURE, coloured_output, picture_of
from tests.terminals import terminal
from whence.cli import COMMANDS, INTERRUPTED
from whence.cli.app import EXIT_CODES, FAILED, USAGE, make_app
from whence.sentences import load_grammar, sentence_of
from whence.settings import FIELDS
from whence.wire.deprecation import NOTICE_DAYS_MIN, Deprecation, deprecation_headers

README_LINES_MAX = 150
PYTHON = [sys.executable, "-c"]

INTEGRATIONS = [str(page.relative_to(ROOT)) for page in sorted((ROOT / "docs" / "integrations").glob("*.md"))]
OWN_LOG = ("docs/sdk.md", *INTEGRATIONS)
"""Pages whose Python runs here, in a log that has events already."""

ALONE = ("docs/concepts.md", "docs/proof.md", "docs/stability.md")
"""Pages whose Python needs no server."""

DEVELOPERS = ("CONTRIBUTING.md", "tests/README.md", "tests/data/stores/README.md", "bench/README.md")
"""Pages for those who work on Whence. Here is checked that what their commands name exists."""

RUN_HERE = {
    *((page, "python") for page in ("README.md", *OWN_LOG, *ALONE)),
    *((page, "sh") for page in ("README.md", "docs/concepts.md")),
    *((page, "console") for page in ("docs/concepts.md", "docs/operations.md", *DEVELOPERS)),
    ("tests/README.md", "python"),
    ("docs/operations.md", "toml"),
    ("docs/operations.md", "ini"),
}
RUN_ELSEWHERE = {
    ("README.md", "console"): "tests/acceptance/test_first_minutes.py",
    ("docs/tutorial.md", "console"): "tests/acceptance/test_first_minutes.py",
    ("docs/tutorial.md", "python"): "tests/acceptance/test_first_minutes.py",
    ("docs/alerts.md", "sh"): "tests/cli/test_alerts.py",
    ("docs/alerts.md", "python"): "tests/cli/test_alerts.py",
    ("docs/importing.md", "sh"): "tests/cli/test_import_forms.py",
    ("docs/importing.md", "toml"): "tests/cli/test_import_forms.py",
    ("docs/operations.md", "sh"): "tests/test_containers.py",
    ("docs/operations.md", "yaml"): "tests/api/test_metrics.py",
    ("docs/operations.md", "zsh"): "tests/cli/test_completion.py",
    ("docs/proof.md", "console"): "tests/cli/test_witness.py",
    ("docs/retention.md", "python"): "tests/cli/test_removals.py",
    ("docs/webhooks.md", "console"): "tests/cli/test_webhooks.py",
    ("docs/webhooks.md", "python"): "tests/cli/test_webhooks.py",
    ("examples/agent/README.md", "sh"): "tests/client/test_examples.py",
}
"""The blocks of code that another module runs, by document and language."""

NO_CODE = frozenset({"text", "json"})
_LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_work(document: Path) -> None:
    """Every relative link of a document names a file that exists."""
    links = [link for link in _LINK.findall(document.read_text(encoding="utf-8")) if "://" not in link]
    assert [link for link in links if not (document.parent / link).exists()] == []


def test_the_readme_is_short() -> None:
    """The README has at most 150 lines."""
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= README_LINES_MAX


def test_every_block_of_code_is_run() -> None:
    """Each block of each document has a language, and a test runs it unless that is none of code."""
    found = {(str(page.relative_to(ROOT)), block.language) for page in DOCUMENTS for block in blocks_of(page)}
    code = {(page, language) for page, language in found if language not in NO_CODE}
    assert code == RUN_HERE | RUN_ELSEWHERE.keys()
    for (page, _), module in RUN_ELSEWHERE.items():
        assert Path(page).name in (ROOT / module).read_text(encoding="utf-8"), module


@pytest.fixture(scope="module")
def readers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Cli, Serving]]:
    """A user of `make serve`, in another terminal: nothing is set, and the profile has the server and the key."""
    cli = Cli(tmp_path_factory.mktemp("readme"))
    with running(cli, "serve", "--port", "0") as serving:
        yield cli, serving


@pytest.mark.parametrize("code", code_of("README.md", "python"))
def test_the_python_of_the_readme_runs(code: str, readers: tuple[Cli, Serving]) -> None:
    """The snippet stores a cause and its effect, and prints them as one flow in order."""
    done = subprocess.run(
        [*PYTHON, code], env=readers[0].env(), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert [line.split()[1] for line in done.stdout.splitlines()] == ["inbound_message.received", "action_run.failed"]


@pytest.mark.parametrize("code", code_of("README.md", "sh"))
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


@pytest.fixture(scope="module")
def demonstration(demo_server: Served, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A running server with the log of `whence demo`."""
    return with_the_demo(demo_server, "default", tmp_path_factory.mktemp("demo"))


@pytest.fixture(scope="module")
def used_log(demo_server: Served, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A running server with a log that has events already, those of the demo, and gets those of the examples."""
    return with_the_demo(demo_server, "examples", tmp_path_factory.mktemp("examples"))


EXAMPLES = [
    pytest.param(code, id=f"{Path(page).stem}-{index}")
    for page in OWN_LOG
    for index, code in enumerate(code_of(page, "python"))
]


@pytest.mark.parametrize("code", EXAMPLES)
def test_the_python_of_the_pages_runs(code: str, used_log: dict[str, str], tmp_path: Path) -> None:
    """Every block runs with the real library, in a log that has the events of the demo and of the blocks before it, and
    prints no traceback. A block with tests is run by pytest."""
    command = [*PYTHON, code]
    if "\ndef test_" in code:
        (tmp_path / "test_example.py").write_text(code)
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    environ = used_log | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # those of the development group take seconds
    done = subprocess.run(command, env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_every_integration_has_a_page_with_an_example() -> None:
    """One block of Python on each page, and a link to a page for each module."""
    assert [page for page in INTEGRATIONS if len(code_of(page, "python")) != 1] == []
    text = (ROOT / "docs" / "sdk.md").read_text(encoding="utf-8")
    linked = set(re.findall(r"\]\(integrations/[\w-]+\.md\).* \| `(\w+)` \|", text))
    modules = {path.stem for path in (ROOT / "src" / "whence" / "integrations").glob("*.py")}
    assert linked == modules - {"__init__", "request_cause"}


@pytest.mark.slow
def test_the_concepts_show_what_the_demo_answers(demonstration: dict[str, str]) -> None:
    """Each command of docs/concepts.md, in order, prints what stands below it, where … is any text."""
    blocks = blocks_of("docs/concepts.md")
    shown = [(block, blocks[index + 1]) for index, block in enumerate(blocks) if block.language == "sh"]
    assert {below.language for _, below in shown} == {"text"} and len(shown) > 10
    for block, below in shown:
        done = subprocess.run(
            ["bash", "-c", block.code], env=demonstration, capture_output=True, text=True, timeout=60, check=False
        )
        assert is_shown(below.code.strip(), done.stdout.strip()), block.code + done.stdout + done.stderr


@pytest.mark.parametrize("code", [code for page in ALONE for code in code_of(page, "python")])
def test_the_python_of_the_other_pages_runs(code: str) -> None:
    """What the blocks assert is so, and what they import exists."""
    done = subprocess.run([*PYTHON, code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_the_servers_of_the_concepts_start(demonstration: dict[str, str], tmp_path: Path) -> None:
    """With the settings that are shown."""
    commands = [step.command for code in code_of("docs/concepts.md", "console") for step in steps_of(code)]
    places = {"HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)}
    for command in commands:
        with terminal(tmp_path, demonstration | places | {"WHENCE_PORT": "0"}) as opened:
            opened.start(command)
            opened.wait_for(r"Serving\s+\S+\s+at\s+http")
            opened.interrupt()


@pytest.mark.slow
def test_the_commands_for_postgresql_run(demonstration: dict[str, str], tmp_path: Path) -> None:
    """They make a database, its schema and a key, and serve it."""
    url, name = databases.server_url(), f"whence_docs_{os.getpid()}"
    (code,) = code_of("docs/operations.md", "console")
    parts = urlsplit(url)
    places = {"PGHOST": parts.hostname or parse_qs(parts.query)["host"][0], "PGUSER": parts.username or ""}
    places |= {"PGPASSWORD": parts.password or "", "PGPORT": str(parts.port or 5432), "WHENCE_PORT": "0"}
    places |= {"HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)}
    try:
        with terminal(tmp_path, demonstration | places) as opened:
            *before, serve = (step.command for step in steps_of(code))
            for command in before:
                shown, status = opened.run(here(command, url, name))
                assert status == 0, shown
            opened.start(here(serve, url, name))
            opened.wait_for(r"Serving\s+\S+\s+at\s+http")
            opened.interrupt()
    finally:
        asyncio.run(databases.execute(url, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"))


def here(command: str, url: str, name: str) -> str:
    """A command for a database of this name on the server of the tests."""
    shown = "postgresql://whence@db/whence"
    return command.replace(shown, f"'{databases.of_database(url, name)}'").replace("UTF8 whence", f"UTF8 {name}")


@pytest.mark.parametrize("page", [*DEVELOPERS, "README.md"])
def test_the_commands_of_developers_exist(page: str) -> None:
    """The targets of make, the modules, and the tests that these pages name."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for step in (step for code in code_of(page, "console") for step in steps_of(code)):
        words = shlex.split(step.command, comments=True)
        if words[0] == "make":
            assert set(words[1:2]) <= targets, step.command
        elif "-m" in words:
            module, named = words[words.index("-m") + 1], words[-1]
            assert find_spec(module) is not None, step.command
            if "::" in named:
                path, _, test = named.partition("::")
                assert f"def {test}(" in (ROOT / path).read_text(encoding="utf-8"), step.command


def test_the_example_of_a_mutant_is_a_real_test() -> None:
    """tests/README.md quotes a test of the contract."""
    (quoted,) = code_of("tests/README.md", "python")
    texts = [path.read_text(encoding="utf-8") for path in (ROOT / "tests" / "contract").glob("test_*.py")]
    assert any(quoted.rstrip().removesuffix(" ...") in text for text in texts)


def test_the_sentences_of_the_operations_page_are_used(tmp_path: Path) -> None:
    """An event reads as the page says with its example of WHENCE_SENTENCES."""
    (toml,) = code_of("docs/operations.md", "toml")
    (tmp_path / "sentences.toml").write_text(toml)
    grammar = load_grammar(tmp_path / "sentences.toml")
    event = SimpleNamespace(
        **{"event_type": "invoice.dunned", "actor_id": "billing", "resource_type": "invoice", "outcome": "none"},
        resource_id="497f6eca-6276-4993-bfeb-53cbbbba6f08",
    )
    sentence = str(sentence_of(event, b'{"invoice_number": "R-17"}', grammar))
    assert sentence in (ROOT / "docs" / "operations.md").read_text(encoding="utf-8"), sentence


def test_the_unit_of_the_operations_page_starts_a_server() -> None:
    """What systemd would run is a command of this program with its options, and stops later than the server may."""
    (ini,) = code_of("docs/operations.md", "ini")
    settings = dict(line.split("=", 1) for line in ini.splitlines() if "=" in line)
    make_app().parse_args(shlex.split(settings["ExecStart"])[1:], exit_on_error=False, print_error=False)
    assert settings["Type"] == "notify" and int(settings["TimeoutStopSec"]) > 25


def test_the_json_of_the_documents_is_json() -> None:
    """So an example can be copied."""
    texts = [(page.name, code) for page in DOCUMENTS for code in code_of(page, "json")]
    assert texts and all(json.loads(code) for _, code in texts)


def test_the_picture_shows_what_the_command_prints(demonstration: dict[str, str], tmp_path: Path) -> None:
    """The picture of the README is the output of `whence why`. `python -m tests.picture` makes it anew."""
    assert picture_of(coloured_output(tmp_path, demonstration)) == PICTURE.read_text(encoding="utf-8")


@pytest.mark.parametrize("page", ["README.md", "docs/tutorial.md", "docs/concepts.md", "docs/operations.md"])
def test_the_commands_of_the_pages_exist(page: str) -> None:
    """Each `whence` in a block of commands is followed by the name of a command."""
    code = "\n".join(block.code for block in blocks_of(page) if block.language in ("console", "sh"))
    named = re.findall(r"(?:^|[\s(/])whence (?!whence\b)([a-z]+)", code)
    assert named and set(named) <= COMMANDS.keys()


def test_the_readme_names_every_command() -> None:
    """In the list of its section "Commands"."""
    section = (ROOT / "README.md").read_text(encoding="utf-8").partition("## Commands\n")[2].partition("\n## ")[0]
    named = set(re.findall(r"[a-z]+", section.partition("`")[2].partition("`")[0])) - {"whence"}
    assert named == set(COMMANDS)


STABILITY = (ROOT / "docs" / "stability.md").read_text(encoding="utf-8")


def test_the_promised_exit_codes_are_those_of_the_commands() -> None:
    """Each code that a command may end with is in the table, and no other."""
    section = STABILITY.partition("## Exit codes\n")[2].partition("\n## ")[0]
    assert set(map(int, re.findall(r"^\| (\d+) \|", section, re.MULTILINE))) == {
        *(0, FAILED, USAGE, INTERRUPTED),
        *EXIT_CODES.values(),
    }


def test_every_public_name_is_promised() -> None:
    """docs/stability.md lists what `whence` exports."""
    (listed,) = code_of("docs/stability.md", "python")
    assert [name for name in whence.__all__ if name not in re.findall(r"\w+", listed)] == []


def test_the_announcement_of_a_removal_is_shown_as_it_is() -> None:
    """The headers in docs/stability.md are those that a server sends, and the days of notice those that it keeps."""
    example = Deprecation(since=dt.date(2027, 1, 1), sunset=dt.date(2027, 12, 1), instead="")
    headers = [f"{name.decode().title()}: {value.decode()}" for name, value in deprecation_headers([example], "/docs")]
    (shown,) = code_of("docs/stability.md", "text")
    assert shown.splitlines() == ["HTTP/1.1 200 OK", *headers]
    assert f"at least {NOTICE_DAYS_MIN} days" in STABILITY


def test_every_setting_is_documented() -> None:
    """docs/operations.md lists each variable that the settings read."""
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    assert [variable for variable, _ in FIELDS.values() if f"`{variable}`" not in text] == []


def test_decisions_are_numbered() -> None:
    """The pages of docs/adr are numbered without gaps, and each title begins with its number."""
    pages = sorted((ROOT / "docs" / "adr").glob("*.md"))
    assert [int(page.name[:4]) for page in pages] == list(range(1, len(pages) + 1))
    assert all(page.read_text(encoding="utf-8").startswith(f"# {int(page.name[:4])}. ") for page in pages)
