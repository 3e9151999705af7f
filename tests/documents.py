"""The documents as tests read them: their blocks of code, the commands in them, and the log that they speak of."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.api.conftest import Served
from whence.permissions import READ, WRITE

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "examples/**/*.md", "tests/**/*.md", "bench/**/*.md")
    for path in ROOT.glob(pattern)
    if not any(part.startswith(".") for part in path.relative_to(ROOT).parts)
)

_BLOCK = re.compile(r"^(?P<indent> *)```(?P<language>\w*)\n(?P<code>.*?)^ *```$", re.MULTILINE | re.DOTALL)
_PROMPT = "$ "


@dataclass(frozen=True)
class Block:
    """A block of code in a document, and the number of the line above it."""

    language: str
    code: str
    line: int


@dataclass(frozen=True)
class Step:
    """A command as it is typed, and what is shown then; `…` stands for any text."""

    command: str
    shown: str


def blocks_of(document: str | Path) -> list[Block]:
    """Every block of a document, which is named by its path within the repository."""
    text = (ROOT / document).read_text(encoding="utf-8")
    return [
        Block(found["language"], found["code"], text.count("\n", 0, found.start()) + 1)
        for found in _BLOCK.finditer(text)
    ]


def code_of(document: str | Path, language: str) -> list[str]:
    """The blocks of one language."""
    return [block.code for block in blocks_of(document) if block.language == language]


def steps_of(code: str) -> Iterator[Step]:
    """The steps of a `console` block: lines after a prompt are commands, and the others are what is shown."""
    for part in re.split(rf"^{re.escape(_PROMPT)}", code, flags=re.MULTILINE)[1:]:
        command, shown = "", part
        while not command or command.endswith("\\\n"):
            line, _, shown = shown.partition("\n")
            command += line + "\n"
        yield Step(command.strip(), shown.strip("\n"))


def is_shown(expected: str, shown: str) -> bool:
    """Whether a text is what a document shows, where `…` is any text. A document that shows nothing is always right."""
    lines = "\n".join(line.rstrip() for line in shown.strip("\n").splitlines())
    pattern = ".*".join(map(re.escape, expected.split("…")))
    return not expected or re.fullmatch(pattern, lines, re.DOTALL) is not None


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
