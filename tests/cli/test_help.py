"""The help texts, the version, and the packages that they need."""

import importlib.metadata
import json
import re
import shlex
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import whence
from tests.api.conftest import RUN_ID
from tests.cli import mutants
from tests.cli.mutants import Mutant, catches
from tests.cli.program import WITHOUT_CLI, WITHOUT_SERVER, Cli
from whence import __version__
from whence.cli import COMMANDS, GROUPS, overview
from whence.cli.app import make_app
from whence.cli.help_text import EXAMPLES

GROUPED = [("key", "revoke"), *(tuple(name.split()) for name in EXAMPLES if " " in name and name != "key revoke")]
ALL = [*((name,) for name in COMMANDS), *GROUPED]

OPTIONS = {
    "serve": {"--store", "--host", "--port", "--cors-origin", "--trusted-proxy", "--root-path", "--tls-cert"},
    "demo": {"--host", "--port"},
    "import": {"--json", "--url", "--api-key"},
    "emit": {"--actor", "--resource", "--payload", "--cause", "--correlation", "--outcome", "--occurred-at", "--id"},
    "relay": {"--database", "--table", "--every", "--spool", "--url", "--api-key"},
    "list": {
        "--query",
        "--event-type",
        "--resource-type",
        "--actor-id",
        "--from",
        "--to",
        "--limit",
        "--offset",
        "--order",
    },
    "tail": {"--follow", "--since", "--after", "--limit", "--columns", "--json", "--event-type"},
    "get": {"--json", "--url", "--api-key"},
    "search": {"--json", "--url", "--api-key"},
    "stats": {"--event-type", "--actors", "--json", "--from", "--to"},
    "histogram": {"--event-type", "--by", "--interval", "--top", "--json", "--from", "--to"},
    "export": {"--event-type", "--format", "--output", "--order", "--from", "--to"},
    "why": {"--last-failed", "--json", "--url", "--api-key"},
    "effects": {"--json", "--url", "--api-key"},
    "trace": {"--direction", "--depth", "--limit", "--json", "--mermaid"},
    "flows": {"--failed", "--from", "--to", "--limit", "--offset", "--json"},
    "flow": {"--full", "--columns", "--json", "--no-pager"},
    "map": {"--from", "--to", "--json"},
    "completion": set(),
    "open": {"--url"},
    "login": {"--profile"},
    "profile": set(),
    "profile list": {"--json"},
    "profile show": {"--key", "--json"},
    "key": set(),
    "migrate": {"--store"},
    "copy": {"--from", "--to"},
    "version": set(),
    "key create": {"--scope", "--tenant", "--name", "--expires", "--store", "--json"},
    "key list": {"--tenant", "--store", "--json"},
    "key revoke": {"--tenant", "--store"},
}

SERVER_PACKAGES = {
    "apsw",
    "cryptography",
    "httptools",
    "jwt",
    "litestar",
    "structlog",
    "uvicorn",
    "uvloop",
    "zstandard",
}


def loaded(code: str) -> set[str]:
    """The packages that a new interpreter has imported after this code."""
    shown = f"{code}\nimport sys, json; print('\\n' + json.dumps(list(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", shown], capture_output=True, text=True, check=True, timeout=60)
    return {name.partition(".")[0] for name in json.loads(done.stdout.splitlines()[-1])}


@pytest.mark.parametrize("command", ALL, ids=" ".join)
def test_each_command_has_help(cli: Cli, command: tuple[str, ...]) -> None:
    """`--help` of each command prints its usage and options to stdout, and exits with 0."""
    ran = cli.ok(*command, "--help")
    name = " ".join(command)
    assert ran.out.startswith(f"Usage: whence {name}")
    assert ran.err == ""
    shown = set(re.findall(r"--[a-z-]+", ran.out))
    assert shown >= OPTIONS.get(name, set())
    assert max(map(len, ran.lines)) <= 80
    joined = ran.out.replace(" \\\n     ", "").splitlines()
    assert [line for line in EXAMPLES.get(name, ()) if f"  {line}" not in joined] == []
    assert ("Examples:" in ran.lines) == (name in EXAMPLES)


def test_the_overview_says_how_causes_are_shown() -> None:
    """`why` tells them in sentences; no command draws a tree."""
    assert "sentences" in COMMANDS["why"][1]
    assert [name for name, (_, summary) in COMMANDS.items() if "tree" in summary] == []


def test_help_has_hanging_indents_at_every_width(cli: Cli) -> None:
    """Options are in one column and what they mean in another, and paragraphs fill the width."""
    narrow = cli.ok("key", "create", "--help", env={"COLUMNS": "60"}).lines
    assert max(map(len, narrow)) <= 72 and sum(len(line) > 60 for line in narrow) <= 2, "but for examples"
    assert "  --operator                  An operator's key, of no" in narrow
    assert "                              tenant. Only for a store" in narrow
    roomy = cli.ok("key", "create", "--help", env={"COLUMNS": "160"}).lines
    assert "  --operator                  An operator's key, of no tenant. Only for a store directly." in roomy
    assert [line for line in roomy if "[default" in line or "Default: False" in line] == []


def test_every_example_is_accepted_by_its_command() -> None:
    """Its options exist, and their values have the right form. Commands without options need no example."""
    app = make_app()
    for name, examples in EXAMPLES.items():
        for example in examples:
            assert len(example) <= 90
            words = shlex.split(example.partition(" > ")[0])
            assert (words[0] == "whence" and example.startswith(f"whence {name} ")) or example == f"whence {name}", (
                example
            )
            app.parse_args(words[1:], exit_on_error=False, print_error=False)
    assert set(COMMANDS) - set(EXAMPLES) == {"version"}


def test_each_command_is_in_one_group_of_the_overview() -> None:
    assert sorted(name for names in GROUPS.values() for name in names) == sorted(COMMANDS)


@pytest.mark.parametrize("columns", ["50", "80", "200"])
def test_the_overview_fits_the_terminal(monkeypatch: pytest.MonkeyPatch, columns: str) -> None:
    """The text of a command that does not fit goes on below its beginning."""
    monkeypatch.setenv("COLUMNS", columns)
    lines = overview().splitlines()
    assert max(map(len, lines)) <= int(columns)
    at = next(number for number, line in enumerate(lines) if line.startswith("  demo "))
    assert lines[at + 1].startswith("              ") == (columns == "50")


@pytest.mark.parametrize("arguments", [(), ("--help",), ("-h",), ("help",)], ids=" ".join)
def test_the_overview_names_every_command(cli: Cli, arguments: tuple[str, ...]) -> None:
    """Without a command, or with --help, the program lists its commands with their summaries, and the exit codes."""
    ran = cli.ok(*arguments)
    assert ran.err == ""
    for name, (_, summary) in COMMANDS.items():
        assert f"  {name.ljust(max(map(len, COMMANDS)))}  {summary}" in ran.lines
    text = " ".join(ran.out.split())
    assert "0 ok, 1 failed, 2 usage, 3 not found, 4 credentials, 5 verification failed, 6 unreachable" in text


@pytest.mark.parametrize("how", [("--version",), ("version",)], ids=" ".join)
def test_version_prints_the_version_alone(cli: Cli, how: tuple[str, ...]) -> None:
    """`--version` and `version` print the version and nothing else."""
    ran = cli.ok(*how)
    assert (ran.out, ran.err) == (f"{__version__}\n", "")


def test_a_fork_for_mutants_is_the_same_program(user: Cli) -> None:
    """Where nothing is broken, it answers as the others do. So a test fails on a mutant because of what that breaks."""
    same = replace(user, mutant="import whence.cli.app")
    for arguments in (["--version"], ["list", "--bogus"], ["list", "--json"], ["stats", "--json"]):
        ran, again = user.run(*arguments), same.run(*arguments)
        assert (again.code, again.raw_out, again.err) == (ran.code, ran.raw_out, ran.err), arguments


def test_the_module_is_the_program_too(cli: Cli) -> None:
    """`python -m whence` is the same as `whence`."""
    command = [sys.executable, "-m", "whence"]
    for arguments, code in ((["--version"], 0), (["list", "--bogus"], 2)):
        done = subprocess.run([*command, *arguments], capture_output=True, env=cli.env(), check=False, timeout=60)
        same = cli.run(*arguments)
        assert (done.returncode, done.stdout, done.stderr.decode()) == (code, same.raw_out, same.err)


@catches(mutants.EAGER)
def test_the_overview_loads_no_command(mutant: Mutant | None) -> None:
    """The overview imports no package of the server, and no parser of options."""
    names = loaded(f"{mutant.code if mutant else ''}\nfrom whence.cli import main; main(['--help'])")
    assert not names & (SERVER_PACKAGES | {"cyclopts", "httpx2", "rich", "msgspec"})


def test_a_command_ends_without_collecting_what_it_imported() -> None:
    """What it imported is frozen by then. Handlers of exits run in reverse order, so the one here is the last."""
    shown = "import atexit, gc; atexit.register(lambda: print(gc.get_freeze_count() > 1000))"
    run = f"{shown}\nfrom whence.cli import main; main(['list', '--help'])"
    done = subprocess.run([sys.executable, "-c", run], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "True"


def test_commands_of_the_client_load_no_server() -> None:
    """The commands over HTTP import no package of the server."""
    commands = "import whence.cli.events, whence.cli.import_files, whence.cli.keys, whence.cli.app"
    names = loaded(f"{commands}, whence; whence.Whence('http://127.0.0.1:1', 'key')")
    assert "httpx2" in names
    assert not names & SERVER_PACKAGES


def test_the_client_works_without_a_server_installed(user: Cli, tmp_path: Path) -> None:
    """Without the extra `server`, every command over HTTP works, and the others name what to install."""
    bare = Cli(user.home, WITHOUT_SERVER, user.environ)
    bare.ok("--help")
    stored = bare.ok("emit", "decision.made", "--actor", "user/ana", "--resource", f"action_run/{RUN_ID}").out.strip()
    file = tmp_path / "none.ndjson"
    file.write_bytes(b"")
    for arguments in (("list",), ("get", stored), ("stats",), ("import", file), ("key", "list"), ("key", "--help")):
        bare.ok(*arguments)
    bare.ok("key", "create", "--scope", "events:read")
    for arguments in (("serve",), ("demo",), ("key", "list", "--store", f"sqlite:///{tmp_path}/log.db")):
        assert "pip install 'whence[server]'" in bare.fails(1, *arguments)


def test_without_the_extra_cli_a_command_says_what_to_install(cli: Cli) -> None:
    """In one sentence. The overview and the version are printed all the same."""
    bare = Cli(cli.home, WITHOUT_CLI)
    for arguments in (("list",), ("emit", "--help"), ("serve",), ("bogus",)):
        assert bare.fails(1, *arguments) == "The commands are not installed. Run: pip install 'whence[cli]'"
    bare.ok("--help")
    bare.ok("--version")


def test_the_client_needs_three_packages() -> None:
    """As pyproject.toml says: with these and what they need, and nothing else on its path, it works. `server` includes
    `cli`."""
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needed = [re.split(r"[^a-z0-9-]", line)[0] for line in project["dependencies"]]
    assert needed == ["httpx2", "msgspec", "platformdirs"]
    assert "whence[cli]" in project["optional-dependencies"]["server"]


def test_the_client_works_alone(tmp_path: Path) -> None:
    """With its three packages and what these need on the path, and nothing else."""
    waiting, linked = ["httpx2", "msgspec", "platformdirs"], set[str]()
    while waiting:
        distribution = importlib.metadata.distribution(waiting.pop())
        if distribution.name in linked:
            continue
        linked.add(distribution.name)
        for file in {path.parts[0] for path in distribution.files or () if path.parts[0] not in ("..", "__pycache__")}:
            (tmp_path / file).symlink_to(distribution.locate_file(file))
        needed = map(Requirement, distribution.requires or ())
        waiting += [each.name for each in needed if each.marker is None or each.marker.evaluate({"extra": ""})]
    (tmp_path / "whence").symlink_to(Path(whence.__file__).parent)
    code = f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})
import asyncio, uuid
from whence import AsyncWhence, Whence
log = Whence("http://127.0.0.1:1", "whk_x", spool={str(tmp_path / "spool")!r}, exit_timeout_s=0.1, retries=0)
log.emit("a.b", actor=("user", "ana"), resource=("order", "8841"))
try:
    log.list()
except Exception as error:
    print(type(error).__name__)
log.close()
asyncio.run(AsyncWhence("http://127.0.0.1:1", disabled=True).emit("a.b", actor=("u", "a"), resource=("order", "1")))
from whence.cli import main
sys.exit(main(["list"]))
"""
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "Unreachable\n"), done.stderr
    assert done.stderr.splitlines()[-1] == "The commands are not installed. Run: pip install 'whence[cli]'"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("bogus",), "bogus"),
        (("list", "--bogus"), "--bogus"),
        (("list", "stray"), "takes no such argument"),
        (("list", "--limit", "x"), "--limit"),
        (("list", "--order", "sideways"), "--order"),
        (("get",), "ID"),
        (("emit", "decision.made", "--actor", "ana", "--resource", "x/y"), "--actor"),
        (("emit", "decision.made", "--actor", "user/ana", "--resource", "run"), "--resource"),
        (("import",), "file"),
        (("key", "bogus"), "bogus"),
        (("key", "create"), "--scope"),
        (("key", "create", "--scope", "admin", "--expires", "soon"), "--expires"),
        (("key", "create", "--scope", "admin", "--expires", "2001-01-01T00:00:00Z"), "--expires"),
        (("key", "create", "--scope", "admin", "--tenant", "a b"), "tenant"),
        (("key", "list", "--store", "file.db"), "--store"),
        (("serve", "--port", "99999999"), "--port"),
        (("serve", "--tls-cert", "/nowhere"), "WHENCE_TLS"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_wrong_usage_is_reported_in_a_sentence(cli: Cli, arguments: tuple[str, ...], words: str) -> None:
    """Wrong arguments end with 2 and one sentence that names them, before any request is sent."""
    assert words in cli.fails(2, *arguments)
