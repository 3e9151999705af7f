"""The commands `serve` and `demo`, which run a server in this process until it is stopped."""

import asyncio
import contextlib
import errno
import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, NoReturn

from cyclopts import Parameter

from whence.api.console import is_built
from whence.api.processes import run_processes
from whence.api.processors import usable_processors
from whence.api.server import run
from whence.cli.first_run import (
    ALL_SCOPES,
    DemoProfile,
    console_code,
    first_key,
    making_a_key,
    program,
    save_store_profile,
)
from whence.cli.keys import DEFAULT_TENANT, make_key
from whence.cli.local_store import StoreOption, settings_for
from whence.cli.open_page import sign_in_link
from whence.cli.terminal import on_terminal, printable, say
from whence.demo import FAILED_EVENT, fill
from whence.errors import WhenceError
from whence.settings import Settings
from whence.storage import backend_for, create_store
from whence.storage.backends import StoreOptions
from whence.witnesses import read_policy

__all__ = ["demo", "serve"]

_AUTO_MAX = 4

Host = Annotated[str | None, Parameter(help="The address to listen on; else WHENCE_HOST, else 127.0.0.1.")]
Port = Annotated[int | None, Parameter(help="The port to listen on; else WHENCE_PORT, else 8700.")]


def serve(
    *,
    store: StoreOption = None,
    host: Host = None,
    port: Port = None,
    cors_origin: Annotated[
        list[str] | None, Parameter(negative="", help="An origin whose pages may call the API. May be repeated.")
    ] = None,
    trusted_proxy: Annotated[
        list[str] | None,
        Parameter(negative="", help="An address or network whose X-Forwarded-* headers are believed. May be repeated."),
    ] = None,
    root_path: Annotated[str | None, Parameter(help="The path under which a proxy serves Whence.")] = None,
    tls_cert: Annotated[Path | None, Parameter(help="A PEM file with the certificate chain.")] = None,
    tls_key: Annotated[Path | None, Parameter(help="A PEM file with the private key of the certificate.")] = None,
    accept_rollback: Annotated[
        bool, Parameter(negative="", help="Serve a store that has lost acknowledged events, without them.")
    ] = False,
    processes: Annotated[
        str | None,
        Parameter(
            help="How many processes answer requests; else WHENCE_PROCESSES, else 'auto': one for each processor, at "
            "most 4."
        ),
    ] = None,
    unsafe_durability: Annotated[
        bool, Parameter(negative="", help="Serve from a PostgreSQL server that may lose acknowledged events.")
    ] = False,
) -> None:
    """Serve a log over HTTP until stopped. More settings are WHENCE_* variables.

    The first run on a new SQLite file makes a key for the tenant 'default' and saves it in a profile,
    which is named after the file and is the current one then. Keys of other profiles stay.
    """
    settings = settings_for(
        store=store,
        host=host,
        port=port,
        cors_origins=tuple(cors_origin or ()),
        trusted_proxies=tuple(trusted_proxy or ()),
        root_path=root_path,
        tls_cert=tls_cert,
        tls_key=tls_key,
        unsafe_durability=unsafe_durability or None,
        processes=processes,
    )
    _check_port(settings)
    if settings.witness_policy is not None:
        read_policy(settings.witness_policy)
    key = first_key(settings)
    code = console_code(settings, key)

    def ready(address: str) -> None:
        say(f"Serving {printable(settings.shown_store)} at {address}")
        save_store_profile(settings, _reachable(address), key)
        if code is not None:
            say(f"Console, signed in by this link once, within a minute:\n  {sign_in_link(_reachable(address), code)}")

    _run(settings, ready, accept_rollback=accept_rollback)


def _run(settings: Settings, ready: Callable[[str], None], *, accept_rollback: bool) -> None:
    """Serve by one process or by several, as the settings say."""
    options = StoreOptions(
        accept_rollback=accept_rollback,
        unsafe_durability=settings.unsafe_durability,
        pooler=settings.postgres_pooler,
        listen_url=settings.listen_url,
    )
    backend, number = backend_for(settings.store), settings.processes or _processes_by_default()
    if number == 1:
        store = backend.create_store(settings.store, options)
        asyncio.run(store.check_servable())
        run(settings, store, ready)
        return
    with contextlib.ExitStack() as closing:
        stores = backend.share(settings.store, options, number + 1)  # one process more, which follows the log
        closing.push(lambda _kind, error, _traceback: stores.close(error))
        asyncio.run(stores.check_servable())
        run_processes(settings, stores, number, ready)


def _processes_by_default() -> int:
    """One for each processor, up to a few. Outside of Linux one: there the kernel does not spread connections, and the
    libraries of macOS do not expect to be forked."""
    return min(usable_processors(), _AUTO_MAX) if sys.platform == "linux" else 1


def demo(*, host: Host = None, port: Port = None) -> None:
    """Serve a fresh log of recorded runs of an airline's service agent, and print commands to try.

    The log is in a temporary directory, which is removed when the demo stops. The key is saved in a
    profile, and shown if stderr is a terminal.
    """
    _check_port(settings_for(host=host, port=port))
    # Remove the directory also after a SIGTERM before the server handles it, and when the terminal is closed.
    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGHUP, lambda _number, _frame: os.kill(os.getpid(), signal.SIGTERM))
    with tempfile.TemporaryDirectory(prefix="whence-demo-") as directory:
        settings = settings_for(
            store=f"sqlite:///{Path(directory) / 'demo.db'}", host=host, port=port, payload_fields=("tool",)
        )
        count = asyncio.run(_fill(settings))
        key = make_key(settings, DEFAULT_TENANT, ALL_SCOPES, time.time_ns() // 1_000, name="demo").key
        saved = DemoProfile(settings, key)
        code = console_code(settings, key)

        def ready(address: str) -> None:
            url = _reachable(address)
            saved.save(url)
            say(_welcome(settings, url, key, saved.name, count, code))

        try:
            run(settings, create_store(settings.store), ready)
        finally:
            saved.remove()


def _welcome(settings: Settings, url: str, key: str, profile: str | None, count: int, code: str | None) -> str:
    """What to try. `profile` is the name of the profile that has the key, or None if it could not be saved. `code` is
    that of a link to the console, if there is one."""
    whence = program()
    console = f"\n  Console   {url}/  ('{whence} open' signs in)" if settings.console and is_built() else ""
    if code is not None:
        console = (
            f"\n  Console   {sign_in_link(url, code)}\n            (works once, within a minute; then '{whence} open')"
        )
    if on_terminal():
        where, header = key, f"'X-API-Key: {key}'"
    else:
        kept = "" if profile is None else f"saved in the profile '{profile}', and "
        where = f"{kept}not shown, since this is no terminal. To make another:\n            {making_a_key(settings)}"
        header = '"X-API-Key: $WHENCE_API_KEY"'
        if profile is not None:
            header = f'"X-API-Key: $({whence} profile show {profile} --key)"'
    return f"""
{count:,} events: what an airline's service agent did, message by message and call by call.

  Address   {url}{console}
  API docs  {url}/docs
  Key       {where}

Try, in another terminal:

  {whence} list --event-type action_run.failed --limit 5
  {whence} get {FAILED_EVENT}
  {whence} why {FAILED_EVENT}
  {whence} flows --failed --limit 5
  {whence} map
  curl -H {header} '{url}/api/v1/events/aggregate'
  {whence} why --last-failed

Stop with Ctrl-C. The log is then removed.
"""


async def _fill(settings: Settings) -> int:
    store = create_store(settings.store)
    try:
        return await fill(store, DEFAULT_TENANT)
    finally:
        await store.close()


def _reachable(address: str) -> str:
    """The address that clients on this machine use, also for a server that listens on all addresses."""
    return address.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:")


def _check_port(settings: Settings) -> None:
    """Raise WhenceError if a port cannot be used, before anything is created or printed."""
    _check_address(settings.host, settings.port, "--host", "--port")
    if settings.metrics_port is not None:
        _check_address(settings.metrics_host, settings.metrics_port, "WHENCE_METRICS_HOST", "WHENCE_METRICS_PORT")


def _check_address(host: str, port: int, host_setting: str, port_setting: str) -> None:
    """Raise WhenceError if the port of this host cannot be used, and name the settings with which to choose others."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except PermissionError:
            raise WhenceError(
                f"This user may not listen on port {port}. Choose one above 1023 with {port_setting}."
            ) from None
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise WhenceError(
                    f"Another program listens on port {port} of {printable(host)}. Choose another with {port_setting}."
                ) from None
            raise WhenceError(
                f"This machine cannot listen on {printable(host)}. Choose one of its addresses with {host_setting}."
            ) from None


def _stop(number: int, _frame: object) -> NoReturn:
    raise SystemExit(128 + number)
