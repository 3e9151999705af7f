"""What the commands share that work on a store directly instead of over HTTP."""

import asyncio
import os
import re
from collections.abc import Awaitable, Callable
from typing import Annotated, TypeVar

from cyclopts import Parameter

from whence.cli.profiles import profile_in_use, unknown_profile
from whence.errors import Invalid, NotFound
from whence.profiles import load_profiles
from whence.settings import FIELDS, Settings
from whence.storage import Store, backend_for, create_store

__all__ = ["LogOption", "StoreOption", "in_store", "settings_for", "settings_of_log"]

StoreOption = Annotated[
    str | None,
    Parameter(help="The store, like sqlite:///path; else WHENCE_STORE, else a file in the user's data directory."),
]

LogOption = Annotated[
    str | None,
    Parameter(
        help="The store, like sqlite:///path; else WHENCE_STORE, else that of the profile in use, else a file in the "
        "user's data directory."
    ),
]

T = TypeVar("T")

_FLAGS = {"cors_origins": "--cors-origin", "trusted_proxies": "--trusted-proxy"}
"""The flags of settings that are not named after their field."""


def settings_for(*, store_flag: str = "--store", **flags: object) -> Settings:
    """The settings from these flags, and from the environment for flags that are None.

    Raises Invalid with a sentence that names the flag or the variable with the invalid value. `store_flag` is the flag
    of the store.
    """
    try:
        return Settings.from_environment(os.environ, **flags)
    except ValueError as error:
        sentence = str(error)
    for field, value in flags.items():
        if value not in (None, (), []):
            flag = store_flag if field == "store" else _FLAGS.get(field, f"--{field.replace('_', '-')}")
            sentence = re.sub(rf"\b{FIELDS[field][0]}\b", flag, sentence)
    raise Invalid.at((), sentence)


def settings_of_log(store: str | None) -> Settings:
    """The settings for a command that reads a log or adds a key: by default for the log that other commands query.

    That is the store of the profile in use, if the flag and the environment name none. Raises Invalid, NotFound for a
    WHENCE_PROFILE that names no profile, and WhenceError for profiles that cannot be read.
    """
    if store is None and not (os.environ.get("WHENCE_STORE") or os.environ.get("WHENCE_STORE_FILE")):
        store = _store_of_profile()
    return settings_for(store=store)


def _store_of_profile() -> str | None:
    saved = load_profiles()
    name = profile_in_use(saved)
    found = saved.profiles.get(name)
    if found is None and os.environ.get("WHENCE_PROFILE"):
        raise unknown_profile("WHENCE_PROFILE")
    return (found.store or None) if found else None


def in_store(settings: Settings, act: Callable[[Store], Awaitable[T]], *, may_create: bool = True) -> T:
    """The result of `act(store)`, beside a server or not. Raises NotFound if there is no log, unless `may_create`."""
    from whence.cli.logs import log_warnings_to_stderr  # noqa: PLC0415  (needs the extra `server`)

    if not may_create and backend_for(settings.store).creates_log(settings.store):
        raise NotFound(f"There is no log at {settings.absolute_store}. Check --store or WHENCE_STORE.")

    log_warnings_to_stderr()

    async def run() -> T:
        store = create_store(
            settings.store,
            serving=False,
            unsafe_durability=settings.unsafe_durability,
            pooler=settings.postgres_pooler,
        )
        try:
            return await act(store)
        finally:
            await store.close()

    return asyncio.run(run())
