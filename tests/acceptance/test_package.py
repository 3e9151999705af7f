"""The package as users install it: the wheel has the console, and serves it where there is no Node."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import httpx2
import pytest

from tests.acceptance.tools import missing
from tests.documents import ROOT

PAGE = "whence/api/static/console/index.html"
BUILD_S = 900


def build(kind: str, source: Path, target: Path, path: str) -> Path:
    """Build the package of this source tree; `path` is where programs are found. Returns the file."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(target)]
    environ = {**os.environ, "PATH": path}
    done = subprocess.run(
        command, cwd=source, env=environ, capture_output=True, text=True, timeout=BUILD_S, check=False
    )
    assert done.returncode == 0, done.stderr
    (made,) = target.iterdir()
    return made


@pytest.fixture(scope="module")
def path_without_node(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A PATH on which there is neither node nor npm."""
    folder = tmp_path_factory.mktemp("bin")
    for program in ("node", "npm"):
        (folder / program).write_text("#!/bin/sh\nexit 127\n")
        (folder / program).chmod(0o755)
    return f"{folder}{os.pathsep}{os.environ['PATH']}"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory, path_without_node: str) -> Path:
    """The wheel as an installer makes it: from an sdist, and where there is no Node."""
    if shutil.which("npm") is None:
        missing("npm")
    folder = tmp_path_factory.mktemp("package")
    packed = build("sdist", ROOT, folder / "sdist", os.environ["PATH"])
    with tarfile.open(packed) as files:
        files.extractall(folder, filter="data")
    (source,) = folder.glob("whence-*")
    return build("wheel", source, folder / "wheel", path_without_node)


def test_the_wheel_has_the_console_and_serves_it_without_node(
    wheel: Path, tmp_path: Path, path_without_node: str
) -> None:
    """Its page and each of its files, from the installed package alone."""
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as files:
        names = files.namelist()
        files.extractall(site)
    assert PAGE in names and any(re.search(r"console/assets/index-\S+\.js\.gz$", name) for name in names)
    assert "whence/api/static/console/licenses.txt" in names and not any("node_modules" in name for name in names)
    assert "whence/data/whence-verify.html" in names
    environ = {"PATH": path_without_node, "HOME": str(tmp_path), "PYTHONPATH": str(site), "LANG": "C.UTF-8"}
    program = [sys.executable, "-c", "import sys, whence.cli; print(whence.__file__); sys.exit(whence.cli.main())"]
    flags = ["serve", "--port", "0", "--processes", "1", "--store", f"sqlite:///{tmp_path / 'log.db'}"]
    with subprocess.Popen(
        [*program, *flags], env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path
    ) as server:
        try:
            assert server.stdout is not None and server.stderr is not None
            found = next(filter(None, (re.search(r"at (http://\S+)$", line) for line in server.stderr)))
            page = httpx2.get(f"{found[1]}/explore")
            assert page.status_code == 200 and '<base href="/">' in page.text
            for name in re.findall(r'(?:src|href)="\./([^"]+)"', page.text):
                asset = httpx2.get(f"{found[1]}/{name}")
                assert asset.status_code == 200 and asset.content, name
        finally:
            server.terminate()
        assert server.stdout.read().strip().startswith(str(site))
