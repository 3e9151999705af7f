"""Another commit of this repository as a further server: its source, in the environment of this one.

Its store is made by its own commands and filled over HTTP, because the schemas of the two may differ.
"""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec

from bench.build_store import TENANT
from bench.servers import Running, own_environment, started
from whence.permissions import ADMIN, READ, WRITE

__all__ = ["Earlier", "checkout"]


class Earlier(msgspec.Struct, frozen=True):
    """A checkout of another commit, and how to name that commit."""

    path: Path
    name: str

    @contextlib.contextmanager
    def serving(self, store: Path, url: str = "") -> Iterator[Running]:
        """Run its `whence serve` with default settings, as `servers.whence` does with the present one."""
        environment = self._environment(store)
        if url:
            self._run(environment, "migrate", "--store", url)
        url = url or f"sqlite:///{store}"
        scopes = [word for scope in (READ, WRITE, ADMIN) for word in ("--scope", scope)]
        key = self._run(environment, "key", "create", "--store", url, "--tenant", TENANT, *scopes).strip()
        command = [sys.executable, "-m", "whence", "serve", "--store", url, "--port", "0"]
        log = store.with_name(store.name + ".log")
        with started(command, log, environment, key, self.path, stop_one=True) as running:
            yield running

    def _environment(self, store: Path) -> dict[str, str]:
        return own_environment(store) | {"PYTHONPATH": str(self.path / "src")}

    def _run(self, environment: dict[str, str], *arguments: str) -> str:
        command = [sys.executable, "-m", "whence", *arguments]
        done = subprocess.run(command, cwd=self.path, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"`whence {arguments[0]}` of {self.name} failed:\n{done.stderr[-2_000:]}")
        return done.stdout


def checkout(path: Path) -> Earlier:
    """The commit that is checked out in this folder. Raises ValueError when its source cannot be used."""
    path = path.resolve()
    program = "import os, whence; print(os.path.dirname(whence.__file__))"
    environment = os.environ | {"PYTHONPATH": str(path / "src")}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=path, env=environment, capture_output=True, text=True, check=False
    )
    if done.stdout.strip() != str(path / "src" / "whence"):
        raise ValueError(f"{path} is no checkout of this repository whose source runs here.\n{done.stderr[-500:]}")
    log = ["git", "log", "-1", "--abbrev=10", "--format=%h of %cs"]
    named = subprocess.run(log, cwd=path, capture_output=True, text=True, check=False).stdout.strip()
    return Earlier(path, named or path.name)
