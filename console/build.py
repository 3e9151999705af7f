"""Builds and tests the console with Node. Needs nothing but Python's own library, and runs from any folder.

    python console/build.py            builds it into src/whence/api/static/console, unless it is newer than its sources
    python console/build.py test       checks its types and that the API's types are current, and runs its tests and
                                       those of the verifier, which it uses
    python console/build.py api-types  writes src/api/schema.d.ts anew from the OpenAPI document

Without Node a sentence says what to do, and the exit code is 0, since nothing but the console needs it; with --required
it is 1. The test and api-types import whence, so they need the Python in which it is installed.
"""

import argparse
import gzip
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

CONSOLE = Path(__file__).parent
VERIFIER = CONSOLE.parent / "verifier"
TARGET = CONSOLE.parent / "src" / "whence" / "api" / "static" / "console"
NODE_MIN = (20, 19)
COMMAND_S = 600
PACKED = (".css", ".js", ".svg", ".json")
PACKED_MIN = 1024

_NO_NODE = "Node 20.19 or later, with npm, was not found"
_WITHOUT = "Whence works without its console: by its commands, its API and /docs."
_DOCUMENT = """
import sys
from whence.api.app import route_handlers
from whence.api.openapi import build_openapi
from whence.settings import Settings
import msgspec
settings = Settings()
sys.stdout.buffer.write(msgspec.json.encode(build_openapi(settings, route_handlers(settings))))
"""


class Failed(Exception):
    """A step that failed, as a sentence."""


def main() -> int:
    """Do what the arguments say, and return the exit code."""
    parser = argparse.ArgumentParser()
    parser.add_argument("task", nargs="?", choices=("build", "test", "api-types"), default="build")
    parser.add_argument("--required", action="store_true")
    given = parser.parse_args()
    try:
        if given.task == "build":
            if is_stale():
                build()
        else:
            install()
            test() if given.task == "test" else api_types()
    except Failed as failed:
        needed = given.required or (given.task != "build" and str(failed) != _NO_NODE)
        subject = {"build": "The console was not built", "test": "The tests of the console were skipped"}
        advice = "" if needed or given.task != "build" else f" {_WITHOUT}"
        print(f"{subject.get(given.task, 'The types were not written')}: {failed}.{advice}", file=sys.stderr)
        return 1 if needed else 0
    return 0


def is_stale() -> bool:
    """Whether the console is not built, or a source is newer than it."""
    page = TARGET / "index.html"
    if not page.is_file():
        return True
    built_at = page.stat().st_mtime
    return any(source.stat().st_mtime > built_at for source in sources())


def sources() -> Iterator[Path]:
    """The files that the console is built from."""
    for each in sorted(CONSOLE.iterdir()):
        if each.name in ("src", "public"):
            yield from (path for path in each.rglob("*") if path.is_file() and ".test." not in path.name)
        elif each.is_file() and (each.suffix == ".json" or each.name in ("index.html", "vite.config.ts")):
            yield each
    yield from (path for path in sorted(VERIFIER.glob("*.mjs")) if ".test." not in path.name)


def build() -> None:
    """Build the console, with the licences of what is in it, and pack its files."""
    install()
    print("Building the console (console/) …", file=sys.stderr)
    run("npm", "run", "build")
    (TARGET / "licenses.txt").write_text(licences(), encoding="utf-8")
    for path in sorted(TARGET.rglob("*")):
        if path.suffix in PACKED and path.stat().st_size >= PACKED_MIN:
            path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes(), 9, mtime=0))
            path.unlink()


def install() -> None:
    """Install the packages at their pinned versions, unless they are there. Raises Failed."""
    if not has_node():
        raise Failed(_NO_NODE)
    lock, installed = CONSOLE / "package-lock.json", CONSOLE / "node_modules" / ".package-lock.json"
    if not installed.is_file() or installed.stat().st_mtime < lock.stat().st_mtime:
        print("Installing what builds the console (console/node_modules) …", file=sys.stderr)
        run("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")


def has_node() -> bool:
    """Whether npm and a Node that is new enough are there."""
    node = shutil.which("node")
    if node is None or shutil.which("npm") is None:
        return False
    try:
        version = subprocess.run([node, "--version"], capture_output=True, text=True, timeout=60, check=True).stdout  # noqa: S603  (no shell)
    except (OSError, subprocess.SubprocessError):
        return False
    found = re.match(r"v(\d+)\.(\d+)", version)
    return found is not None and (int(found[1]), int(found[2])) >= NODE_MIN


def test() -> None:
    """Check the types, that those of the API are current, the arithmetic, and the verifier. Raises Failed."""
    run("npm", "run", "check", shown=True)
    api_types("--check")
    run("npm", "test", shown=True)
    run("node", "--test", *map(str, sorted(VERIFIER.glob("*.test.mjs"))), shown=True)


def api_types(*flags: str) -> None:
    """Write the types of the API, or with --check compare them. Raises Failed."""
    made = subprocess.run([sys.executable, "-c", _DOCUMENT], capture_output=True, timeout=COMMAND_S, check=False)  # noqa: S603  (no shell)
    if made.returncode:
        raise Failed("this Python has no whence that makes the OpenAPI document; use that of make setup")
    with tempfile.TemporaryDirectory() as folder:
        document = Path(folder) / "openapi.json"
        document.write_bytes(made.stdout)
        run("node", "scripts/api-types.mjs", str(document), *flags, shown=True)


def run(program: str, *arguments: str, shown: bool = False) -> None:
    """Run a program in the console's folder. Its output is shown at once, or only if it fails. Raises Failed."""
    command = [shutil.which(program) or program, *arguments]
    environ = {**os.environ, "NO_UPDATE_NOTIFIER": "1", "CI": "1"}  # nothing interactive
    output = None if shown else subprocess.PIPE
    try:
        done = subprocess.run(  # noqa: S603  (no shell)
            command, cwd=CONSOLE, env=environ, stdout=output, stderr=subprocess.STDOUT, timeout=COMMAND_S, check=False
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise Failed(f"'{' '.join((program, *arguments))}' did not end: {type(error).__name__}") from None
    if done.returncode:
        if done.stdout:
            sys.stderr.write(done.stdout.decode(errors="replace")[-4_000:])
        raise Failed(f"'{' '.join((program, *arguments[:2]))}' failed in console/")


def licences() -> str:
    """The names, versions and licences of the packages whose code the build may contain."""
    lock = json.loads((CONSOLE / "package-lock.json").read_text(encoding="utf-8"))
    parts = ["The console of Whence is made of its own code, under Apache-2.0, and of these packages.\n"]
    for place, package in sorted(lock["packages"].items()):
        folder = CONSOLE / place
        if not place or package.get("dev") or package.get("optional") or not folder.is_dir():
            continue
        name = place.rpartition("node_modules/")[2]
        texts = [
            path.read_text(encoding="utf-8", errors="replace")
            for path in sorted(folder.iterdir())
            if path.is_file() and path.name.lower().startswith(("license", "licence", "notice"))
        ]
        parts.append(f"{name} {package['version']} ({package.get('license', 'unknown')})\n\n" + "\n".join(texts))
    return ("\n" + "-" * 100 + "\n\n").join(parts)


if __name__ == "__main__":
    sys.exit(main())
