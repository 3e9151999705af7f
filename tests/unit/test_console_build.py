"""`console/build.py`: when it builds, what it says without Node, and what it does with the built files."""

import gzip
import importlib.util
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.documents import ROOT
from tests.unit.mutants import catches, replaced

SCRIPT = ROOT / "console" / "build.py"


def _load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("console_build", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


build: Any = _load()


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A console with one source, whose build is done by a function of this test."""
    console = tmp_path / "console"
    for name in ("src/main.ts", "index.html", "package.json", "package-lock.json", "node_modules/.package-lock.json"):
        (console / name).parent.mkdir(parents=True, exist_ok=True)
        (console / name).write_text('{"packages": {}}')
    (tmp_path / "verifier").mkdir()
    (tmp_path / "verifier" / "verify.mjs").write_text("")
    monkeypatch.setattr(build, "CONSOLE", console)
    monkeypatch.setattr(build, "VERIFIER", tmp_path / "verifier")
    monkeypatch.setattr(build, "TARGET", tmp_path / "static")
    monkeypatch.setattr(build, "has_node", lambda: True)
    return console


def vite(target: Path) -> Callable[..., None]:
    """What `npm run build` does."""

    def run(*command: str, **_options: Any) -> None:
        if command == ("npm", "run", "build"):
            (target / "assets").mkdir(parents=True, exist_ok=True)
            (target / "index.html").write_text("<html>")
            (target / "assets" / "index-a1B2c3D4.js").write_text("x" * 5000)

    return run


def older(path: Path, than: Path) -> None:
    before = than.stat().st_mtime - 10
    os.utime(path, (before, before))


@catches(replaced(build, "is_stale", lambda: not (build.TARGET / "index.html").is_file(), "built_only_once"))
def test_it_builds_when_a_source_is_newer(
    tree: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """And only then. A test is no source. The files are packed for the server."""
    monkeypatch.setattr(build, "run", vite(build.TARGET))
    monkeypatch.setattr(sys, "argv", ["build.py"])
    script = build.TARGET / "assets" / "index-a1B2c3D4.js.gz"
    assert build.main() == 0 and gzip.decompress(script.read_bytes()) == b"x" * 5000
    assert not script.with_suffix("").exists() and (build.TARGET / "licenses.txt").is_file()
    for source in build.sources():
        older(source, build.TARGET / "index.html")
    (tree / "src" / "main.test.ts").write_text("")
    script.unlink()
    assert build.main() == 0 and not script.exists()
    os.utime(build.TARGET / "index.html", (1, 1))
    assert build.main() == 0 and script.exists()
    assert "Building the console" in capfd.readouterr().err


@catches(replaced(build, "has_node", lambda: True, "node_is_not_looked_for"))
@pytest.mark.parametrize("version", ["v18.20.4", "v20.18.3", ""], ids=["older", "a little older", "none"])
def test_without_node_one_line_says_how_to_go_without(
    version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """It is an error only where the console is required. The tests are skipped by name."""
    for program in ("node", "npm") if version else ():
        (tmp_path / program).write_text(f"#!/bin/sh\necho {version}\n")
        (tmp_path / program).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "static").mkdir()
    monkeypatch.setattr(build, "TARGET", tmp_path / "static")
    monkeypatch.setattr(build, "run", lambda *_command, **_options: None)
    monkeypatch.setattr(build, "licences", lambda: "")
    for arguments, expected, subject in (
        (["build"], 0, "The console was not built"),
        (["build", "--required"], 1, "The console was not built"),
        (["test"], 0, "The tests of the console were skipped"),
        (["test", "--required"], 1, "The tests of the console were skipped"),
    ):
        monkeypatch.setattr(sys, "argv", ["build.py", *arguments])
        code, said = build.main(), capfd.readouterr()
        assert (code, said.out) == (expected, "")
        assert said.err.startswith(f"{subject}: Node 20.19 or later, with npm, was not found.")
        assert said.err.count("\n") == 1
        is_complete = said.err.endswith("Whence works without its console: by its commands, its API and /docs.\n")
        assert is_complete == (arguments == ["build"])


def test_a_build_that_fails_keeps_the_server_going(
    tree: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """`make serve` goes on after a line about it, and `make console` fails. What npm said comes before."""

    def failing(*_command: str, **_options: Any) -> None:
        raise build.Failed("'npm run build' failed in console/")

    monkeypatch.setattr(build, "run", failing)
    for argv, expected in (([], 0), (["--required"], 1)):
        monkeypatch.setattr(sys, "argv", ["build.py", *argv])
        assert build.main() == expected
        assert "The console was not built: 'npm run build' failed in console/." in capfd.readouterr().err
