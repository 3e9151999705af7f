"""The port of a server of several processes is theirs alone."""

import os
import socket
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from whence.api.processes import run_processes
from whence.api.server import share_port
from whence.errors import StoreRefused
from whence.settings import Settings
from whence.storage import backend_for
from whence.storage.backends import StoreOptions

LINUX = pytest.mark.skipif(not os.path.exists("/proc/net/unix"), reason="elsewhere the processes share one socket")


def free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        return int(taken.getsockname()[1])


@LINUX
def test_two_servers_that_start_at_the_same_moment_do_not_share_a_port(monkeypatch: pytest.MonkeyPatch) -> None:
    """One begins while the other has seen that the port is free, and has not taken it yet."""
    settings = Settings(port=free_port())
    taken: list[socket.socket] = []
    refused: list[OSError] = []
    real = socket.create_server

    def create_server(*place: Any, reuse_port: bool = False, **given: Any) -> socket.socket:
        if reuse_port and not taken and not refused:
            monkeypatch.setattr(socket, "create_server", real)
            try:
                taken.extend(share_port(settings, 2)[0])
            except OSError as error:
                refused.append(error)
        return real(*place, reuse_port=reuse_port, **given)

    monkeypatch.setattr(socket, "create_server", create_server)
    taken.extend(share_port(settings, 2)[0])
    try:
        assert len(refused) == 1 and len(taken) == 2
    finally:
        for each in taken:
            each.close()


@LINUX
def test_a_port_that_was_refused_can_be_had_later() -> None:
    """Nothing is left of the guard."""
    settings = Settings(port=free_port())
    for _ in range(2):
        for each in share_port(settings, 2)[0]:
            each.close()


def refusal(store: Path) -> str:
    """Why a server of two processes does not start."""
    url = f"sqlite:///{store}"
    stores = backend_for(url).share(url, StoreOptions(), 2)
    try:
        with pytest.raises(StoreRefused) as caught:
            run_processes(Settings(store=url, port=0), stores, 2)
    finally:
        stores.close()
    return str(caught.value)


def test_a_server_without_temporary_folder_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("whence.api.processes.prepare", lambda _settings: None)  # it is for the whole process
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    assert "Set TMPDIR to a folder that can be written, or use --processes 1." in refusal(tmp_path / "log.db")
