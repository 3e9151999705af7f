"""Runs commands in forks of one process that has imported all of them, since the imports are most of what a command
takes. Each command still has a process, an environment and pipes of its own.

`python -m tests.cli.fork_server FD all` serves the socket with this number. It gets one message for each command, with
the arguments, the environment, the working directory and the code of a mutant as JSON, and stdin, stdout and stderr. It
answers with two lines: the process id, and later the exit code. With `libraries` instead of `all` each fork imports the
modules of this package itself, after the mutant has run.
"""

import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import NoReturn

from tests.ssl_contexts import CERTIFICATES, share_ssl_context

__all__ = ["ForkServer"]

_MESSAGE_MAX = 1 << 16


class ForkServer:
    """The client's side. It serves one command at a time."""

    def __init__(self, only_libraries: bool = False) -> None:
        """`only_libraries`: the forks import this package themselves, so that a mutant may change its modules."""
        self._socket, theirs = socket.socketpair(type=socket.SOCK_SEQPACKET)
        self._answers = self._socket.makefile("r")
        kind = "libraries" if only_libraries else "all"
        command = [sys.executable, "-m", "tests.cli.fork_server", str(theirs.fileno()), kind]
        # Its files are replaced in the forks. Here they keep the interpreter from starting without a stdout.
        nothing = subprocess.DEVNULL
        self._process = subprocess.Popen(
            command, pass_fds=[theirs.fileno()], stdin=nothing, stdout=nothing, stderr=nothing
        )
        theirs.close()

    def run(
        self,
        arguments: Sequence[str],
        environ: Mapping[str, str],
        cwd: str,
        mutant: str,
        files: Sequence[int],
        timeout_s: float,
    ) -> int:
        """Run a command to its end with these three files as stdin, stdout and stderr. Returns its exit code.
        `mutant` is code that runs before.

        Raises TimeoutExpired, and ValueError for arguments and an environment of more than 64 KiB.
        """
        message = json.dumps([list(arguments), dict(environ), cwd, mutant]).encode()
        if len(message) > _MESSAGE_MAX:
            raise ValueError("The arguments are too long for one message.")
        socket.send_fds(self._socket, [message], files)
        pid = int(self._answers.readline())
        is_over, _, _ = select.select([self._socket], [], [], timeout_s)
        if not is_over:
            os.kill(pid, signal.SIGKILL)
        code = int(self._answers.readline())
        if not is_over:
            raise subprocess.TimeoutExpired(list(arguments), timeout_s)
        return code

    def close(self) -> None:
        """End the server."""
        self._answers.close()
        self._socket.close()
        self._process.wait()


def _serve(connection: socket.socket, only_libraries: bool) -> None:
    for import_path, _ in import_module("whence.cli").COMMANDS.values():
        import_module(import_path.partition(":")[0])
    if only_libraries:
        for name in [name for name in sys.modules if name.partition(".")[0] == "whence"]:
            del sys.modules[name]
    for name in CERTIFICATES:  # which the environment of a command has not
        os.environ.pop(name, None)
    share_ssl_context()
    # What is imported stays out of the collections at the end of each fork. They took four fifths of a short command.
    gc.collect()
    gc.freeze()
    while True:
        message, files, _, _ = socket.recv_fds(connection, _MESSAGE_MAX, 3)
        if not message:
            return
        pid = os.fork()
        if pid == 0:
            connection.close()
            arguments, environ, cwd, mutant = json.loads(message)
            _run(arguments, environ, cwd, mutant, files)
        for each in files:
            os.close(each)
        connection.sendall(f"{pid}\n".encode())
        _, status = os.waitpid(pid, 0)
        connection.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())


def _run(arguments: Sequence[str], environ: Mapping[str, str], cwd: str, mutant: str, files: Sequence[int]) -> NoReturn:
    for number, each in enumerate(files):
        os.dup2(each, number)
        os.close(each)
    os.environ.clear()
    os.environ.update(environ)
    os.chdir(cwd)
    sys.argv = ["whence", *arguments]
    exec(mutant, {"__name__": "__main__"})
    sys.exit(import_module("whence.cli").main())


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])), sys.argv[2] == "libraries")
