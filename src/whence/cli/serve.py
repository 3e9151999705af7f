"""The commands `serve` and `demo`, which run a server in this process until it is stopped."""

import asyncio
import contextlib
import os
import shlex
import shutil
import signal
import socket
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, NoReturn

import msgspec
from cyclopts import Parameter

from whence.api.server import run
from whence.cli.keys import DEFAULT_TENANT, make_key
from whence.cli.local_store import StoreOption, settings_for
from whence.cli.terminal import on_terminal, printable, say
from whence.demo import FAILED_EVENT, fill
from whence.errors import WhenceError
from whence.permissions import ADMIN, READ, WRITE
from whence.profiles import Profile, drop_profile, load_profiles, save_profile
from whence.settings import Settings
from whence.storage import backend_for, create_store

__all__ = ["demo", "serve"]

_SERVE_PROFILE = "default"
_DEMO_PROFILE = "demo"
_ALL_SCOPES = [READ, WRITE, ADMIN]

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
    unsafe_durability: Annotated[
        bool, Parameter(negative="", help="Serve from a PostgreSQL server that may lose acknowledged events.")
    ] = False,
) -> None:
    """Serve a log over HTTP until stopped. More settings are WHENCE_* variables.

    The first run on a new SQLite file makes a key for the tenant 'default', saves it in a profile
    and shows it once if stderr is a terminal.
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
    )
    _check_port(settings)
    key = _first_key(settings)
    log_store = create_store(
        settings.store,
        accept_rollback=accept_rollback,
        unsafe_durability=settings.unsafe_durability,
        pooler=settings.postgres_pooler,
        listen_url=settings.listen_url,
    )
    asyncio.run(log_store.check_servable())

    def ready(address: str) -> None:
        say(f"Serving {printable(settings.shown_store)} at {address}")
        _save_serve_profile(settings, _reachable(address), key)

    run(settings, log_store, ready)


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
        settings = settings_for(store=f"sqlite:///{Path(directory) / 'demo.db'}", host=host, port=port)
        count = asyncio.run(_fill(settings))
        key = make_key(settings, DEFAULT_TENANT, _ALL_SCOPES, time.time_ns() // 1_000, name="demo").key

        before = _current_profile()
        saved: list[Profile] = []

        def ready(address: str) -> None:
            url = _reachable(address)
            saved.append(Profile(url=url, api_key=key, store=settings.store))
            _save_profile(_DEMO_PROFILE, saved[0])
            say(_welcome(settings, url, key if on_terminal() else None, count))

        try:
            run(settings, create_store(settings.store), ready)
        finally:
            for profile in saved:  # its server has stopped
                with contextlib.suppress(OSError, WhenceError):
                    drop_profile(_DEMO_PROFILE, profile, before)


def _welcome(settings: Settings, url: str, key: str | None, count: int) -> str:
    """What to try. `key` is None where it must not be shown."""
    whence = _program()
    header = '"X-API-Key: $WHENCE_API_KEY"' if key is None else f"'X-API-Key: {key}'"
    return f"""
{count:,} events: what an airline's service agent did, message by message and call by call.

  Address   {url}
  API docs  {url}/docs
  Key       {_where_the_key_is(settings) if key is None else key}

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


def _where_the_key_is(settings: Settings) -> str:
    return (
        f"saved in the profile '{_DEMO_PROFILE}', and not shown, since this is no terminal. To make another:\n"
        f"            {_making_a_key(settings)}"
    )


def _making_a_key(settings: Settings) -> str:
    scopes = " ".join(f"--scope {scope}" for scope in _ALL_SCOPES)
    return f"whence key create --store {_quoted(settings.store)} {scopes}"


def _program() -> str:
    """What to type to run this program: its name if the shell finds it, else its path as given."""
    given = Path(sys.argv[0])
    found = shutil.which("whence")
    if found is not None and Path(found).resolve() == given.resolve():
        return "whence"
    return shlex.quote(str(given)) if given.name == "whence" else f"{shlex.quote(sys.executable)} -m whence"


async def _fill(settings: Settings) -> int:
    store = create_store(settings.store)
    try:
        return await fill(store, DEFAULT_TENANT)
    finally:
        await store.close()


def _first_key(settings: Settings) -> str | None:
    """Make a key for a log that is about to be created; None for an existing log. Only a terminal shows the key."""
    if not backend_for(settings.store).creates_log(settings.store):
        return None
    key = make_key(settings, DEFAULT_TENANT, _ALL_SCOPES, time.time_ns() // 1_000, name="first run").key
    if on_terminal():
        say(f"A new log. Its first key, for the tenant '{DEFAULT_TENANT}', is shown only once:\n\n  {key}\n")
    else:
        say(
            f"A new log. Its first key, for the tenant '{DEFAULT_TENANT}', is saved in a profile. It is not shown, "
            f"since this is no terminal.\nTo make another: {_making_a_key(settings)}"
        )
    return key


def _quoted(text: str) -> str:
    return printable(shlex.quote(text))


def _save_serve_profile(settings: Settings, url: str, key: str | None) -> None:
    """Make the profile of this server current: a new one for a new key, else the saved one for the same store."""
    if key is not None:
        _save_profile(_SERVE_PROFILE, Profile(url=url, api_key=key, store=settings.store))
        return
    try:
        saved = load_profiles().profiles.get(_SERVE_PROFILE)
    except WhenceError:
        return
    if saved is not None and saved.store == settings.store:
        _save_profile(_SERVE_PROFILE, msgspec.structs.replace(saved, url=url))


def _current_profile() -> str:
    try:
        return load_profiles().current
    except WhenceError:
        return ""


def _save_profile(name: str, profile: Profile) -> None:
    try:
        path = save_profile(name, profile)
    except (OSError, WhenceError) as error:
        say(f"Cannot save the profile, so pass a key with WHENCE_API_KEY: {printable(str(error))}")
    else:
        say(f"Commands now use this server: profile '{name}' in {printable(str(path))}")


def _reachable(address: str) -> str:
    """The address that clients on this machine use, also for a server that listens on all addresses."""
    return address.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:")


def _check_port(settings: Settings) -> None:
    """Raise WhenceError if the port cannot be used, before anything is created or printed."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except PermissionError:
            raise WhenceError(
                f"This user may not listen on port {settings.port}. Choose one above 1023 with --port."
            ) from None
        except OSError:
            raise WhenceError(
                f"Cannot listen on port {settings.port} of {printable(settings.host)}. Choose another with --port."
            ) from None


def _stop(number: int, _frame: object) -> NoReturn:
    raise SystemExit(128 + number)
