"""The supervisor of a server that runs as several processes: it forks them, watches them, and stops them in order.

    supervisor -- fork --> the writer       first; it ends last
               -- fork --> the acceptors    they share the port

It has no thread, no event loop and no connection, so that a fork copies nothing that is in use. Each child holds the
reading end of one pipe, its lifeline. When the supervisor ends, however that happens, the pipe is closed, and the
children end too.
"""

import contextlib
import os
import selectors
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence

import msgspec
import structlog

from whence import errors
from whence.errors import StoreRefused, WhenceError

__all__ = ["Child", "Role", "Supervisor"]

_STOP_S = 12.0  # an acceptor kills itself after less
_LAST_STOP_S = 10.0
_SOON_S = 1.0
_FAILURES_MAX = 5
_WAIT_MAX_S = 3.0

_FORK_AGAIN_S = 1.0

_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_READY = b"r"

_log = structlog.get_logger("whence.server")


class Role(msgspec.Struct, frozen=True):
    """What a process does. `main` runs in the child, and the process ends when it returns. One that is `last` is
    started before the others, and stopped after them. Without one that is not `needed` the others go on, however often
    it has to be replaced."""

    name: str
    main: Callable[["Child"], None]
    last: bool = False
    needed: bool = True


class Child:
    """What a child process knows of its supervisor. `lifeline` becomes readable when the supervisor has ended, or, for
    the last process, when it is to end. `again`: the process replaces one that ended."""

    def __init__(self, lifeline: int, status: int, *, again: bool) -> None:
        self.lifeline = lifeline
        self.again = again
        self._status = status
        self._parent = os.getppid()

    @property
    def is_orphan(self) -> bool:
        """Whether the supervisor has ended."""
        return os.getppid() != self._parent

    def ready(self) -> None:
        """Say that the process does its work now."""
        os.write(self._status, _READY)

    def refuse(self, error: BaseException) -> None:
        """Say why the process cannot do its work. It should end then."""
        kind = type(error) if isinstance(error, StoreRefused) else StoreRefused
        with contextlib.suppress(OSError):
            os.write(self._status, msgspec.msgpack.encode((kind.__name__, str(error))))


class _Process:
    """A child, as its supervisor sees it."""

    def __init__(self, role: Role, pid: int, status: int, *, again: bool) -> None:
        self.role = role
        self.again = again
        self.pid = pid
        self.status = status
        self.started_at = time.monotonic()
        self.is_ready = False
        self.refusal: WhenceError | None = None


class Supervisor:
    """Runs one process for each role until it is stopped by SIGTERM, SIGINT or the end of its terminal.

    A process that ends is replaced. If the first of a role cannot do its work, or several replacements soon end too,
    all of them are stopped.
    """

    def __init__(self, roles: Sequence[Role], stopping: Callable[[], None]) -> None:
        """`stopping` is called before the processes are stopped."""
        self._roles = roles
        self._stopping = stopping
        self._processes: dict[int, _Process] = {}
        self._due: dict[str, float] = {}  # when the process of a role is to be replaced
        self._failures: dict[str, int] = {}  # processes of a role in a row that soon ended
        self._failure: WhenceError | None = None
        self._stops = 0  # how often it was asked to stop
        self._selector = selectors.DefaultSelector()
        self._lifeline, self._lifeline_end = os.pipe()
        self._signal_read, self._signal_write = os.pipe()

    def run(self, ready: Callable[[], None]) -> None:
        """Start the processes, call `ready` once all of them are, and return when all have ended.

        Raises the StoreRefused of a process that could not start, and StoreRefused when one cannot be replaced.
        """
        with self._handling_signals():
            try:
                for last in (True, False):
                    self._start([role for role in self._roles if role.last is last])
                if not self._is_stopping:
                    ready()
                while not self._is_stopping:
                    self._step()
            finally:
                self._stop()
        if self._failure is not None:
            raise self._failure

    @property
    def _is_stopping(self) -> bool:
        return self._stops > 0 or self._failure is not None

    @contextlib.contextmanager
    def _handling_signals(self) -> Iterator[None]:
        """Note signals while the block runs. Each writes a byte into a pipe, which ends the wait for something to
        happen."""
        os.set_blocking(self._signal_read, False)
        os.set_blocking(self._signal_write, False)
        self._selector.register(self._signal_read, selectors.EVENT_READ)
        ignored = {signal.SIGHUP} if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else set()  # by nohup
        numbers = {*_STOP_SIGNALS, signal.SIGCHLD} - ignored
        before = {number: signal.signal(number, self._note) for number in numbers}
        wakeup = signal.set_wakeup_fd(self._signal_write, warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(wakeup)
            for number, handler in before.items():
                signal.signal(number, handler)
            self._selector.close()
            for fd in (self._lifeline, self._signal_read, self._signal_write):
                os.close(fd)

    def _note(self, number: int, _frame: object) -> None:
        if number == signal.SIGINT or (number in _STOP_SIGNALS and not self._stops):
            self._stops += 1

    def _start(self, roles: Sequence[Role]) -> None:
        """Start processes, and wait until they are ready."""
        if self._is_stopping:
            return
        for role in roles:
            self._fork(role, again=False)
        names = {role.name for role in roles}
        while not self._is_stopping:
            waited_for = [each for each in self._processes.values() if each.role.name in names and not each.is_ready]
            if not waited_for and not self._due:
                return
            self._step()

    def _fork(self, role: Role, *, again: bool) -> None:
        """Start a process. Raises OSError when the system has no room for another."""
        for stream in filter(None, (sys.stdout, sys.stderr)):
            with contextlib.suppress(OSError, ValueError):  # its reader has gone, or the disk is full
                stream.flush()
        status_read, status_write = os.pipe()
        signal.pthread_sigmask(signal.SIG_BLOCK, _STOP_SIGNALS)  # until the child has handlers of its own
        try:
            pid = os.fork()
            if pid == 0:
                os.close(status_read)
                self._be_child(role, Child(self._lifeline, status_write, again=again))
        except OSError:
            os.close(status_read)
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOP_SIGNALS)
            os.close(status_write)
        self._due.pop(role.name, None)
        os.set_blocking(status_read, False)
        process = _Process(role, pid, status_read, again=again)
        self._processes[pid] = process
        self._selector.register(status_read, selectors.EVENT_READ, process)

    def _be_child(self, role: Role, child: Child) -> None:
        """Run in a forked process, and end it."""
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            for number in (signal.SIGINT, signal.SIGHUP):  # a terminal sends them to all; the supervisor stops them
                signal.signal(number, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOP_SIGNALS)
            self._selector.close()
            for fd in (self._lifeline_end, self._signal_read, self._signal_write):
                os.close(fd)
            for other in self._processes.values():
                os.close(other.status)
            role.main(child)
            code = 0
        except (WhenceError, OSError) as error:
            child.refuse(error)
        except BaseException as error:
            _log.error("process_failed", role=role.name, error=type(error).__name__, exc_info=True)
        finally:
            os._exit(code)

    def _step(self, timeout_s: float = _WAIT_MAX_S) -> None:
        """Wait until something happens, or a replacement is due, and act on it."""
        if self._due:
            timeout_s = max(0.0, min(timeout_s, min(self._due.values()) - time.monotonic()))
        for key, _ in self._selector.select(timeout_s):
            if key.data is None:
                with contextlib.suppress(BlockingIOError):
                    os.read(self._signal_read, 4096)
            else:
                self._read_status(key.data)
        self._reap()
        for role in self._roles:
            if not self._is_stopping and self._due.get(role.name, float("inf")) <= time.monotonic():
                self._fork_again(role)

    def _fork_again(self, role: Role) -> None:
        """Start a replacement, or try again later: the other processes go on meanwhile."""
        try:
            self._fork(role, again=True)
        except OSError as error:
            _log.error("process_not_started", role=role.name, error=error.strerror)
            self._due[role.name] = time.monotonic() + _FORK_AGAIN_S

    def _read_status(self, process: _Process) -> None:
        with contextlib.suppress(BlockingIOError):
            said = os.read(process.status, 65_536)
            if not said:  # the process has ended, or is about to
                self._unregister(process)
            if said.startswith(_READY):
                process.is_ready = True
            if said.removeprefix(_READY):
                process.refusal = _refusal_in(said.removeprefix(_READY))

    def _reap(self) -> None:
        for process in list(self._processes.values()):
            pid, status = os.waitpid(process.pid, os.WNOHANG)
            if pid:
                self._forget(process)
                if not self._is_stopping:
                    self._replace(process, os.waitstatus_to_exitcode(status))

    def _forget(self, process: _Process) -> None:
        self._read_status(process)
        self._unregister(process)
        os.close(process.status)
        del self._processes[process.pid]

    def _unregister(self, process: _Process) -> None:
        with contextlib.suppress(KeyError):  # it was already
            self._selector.unregister(process.status)

    def _replace(self, process: _Process, code: int) -> None:
        """Arrange for another process in place of one that ended, or for the end of all."""
        name = process.role.name
        if process.refusal is not None and not process.again and not process.is_ready:
            self._failure = process.refusal
            return
        why = {} if process.refusal is None else {"error": str(process.refusal)}
        _log.error("process_ended", role=name, ended_pid=process.pid, code=code, was_ready=process.is_ready, **why)
        lasted = process.is_ready and time.monotonic() - process.started_at > _SOON_S
        failures = self._failures[name] = 0 if lasted else self._failures.get(name, 0) + 1
        if failures > _FAILURES_MAX and process.role.needed:
            self._failure = process.refusal or StoreRefused(
                f"The process {name} of this server ends again and again. The log says why."
            )
        wait_s = 0.05 * 2 ** min(failures, _FAILURES_MAX + 4) if failures else 0.0
        self._due[name] = time.monotonic() + wait_s

    def _stop(self) -> None:
        """Stop all processes, those that are last after the others."""
        self._stopping()
        self._end([each for each in self._processes.values() if not each.role.last], signal.SIGTERM, _STOP_S)
        os.close(self._lifeline_end)
        self._end(list(self._processes.values()), None, _LAST_STOP_S)

    def _end(self, processes: Sequence[_Process], number: int | None, seconds: float) -> None:
        """Ask processes to end, and kill those that have not within some seconds, or when a stop is asked for again."""
        for process in processes if number is not None else ():
            os.kill(process.pid, number or 0)
        stops, deadline = self._stops, time.monotonic() + seconds
        self._stops = max(1, self._stops)  # from now on none is replaced
        killed = False
        while any(process.pid in self._processes for process in processes):
            if not killed and (time.monotonic() > deadline or self._stops > max(1, stops)):
                killed = True
                for process in processes:
                    if process.pid in self._processes:
                        _log.error("process_killed", role=process.role.name, killed_pid=process.pid)
                        os.kill(process.pid, signal.SIGKILL)
            self._step(0.2)


def _refusal_in(said: bytes) -> WhenceError:
    kind, message = msgspec.msgpack.decode(said, type=tuple[str, str])
    refusal: WhenceError = getattr(errors, kind)(message)
    return refusal
