"""What the commands share that work on a store directly instead of over HTTP."""

import os
import re
from typing import Annotated

from cyclopts import Parameter

from whence.cli.profiles import profile_in_use, unknown_profile
from whence.errors import Invalid
from whence.profiles import load_profiles
from whence.settings import FIELDS, Settings

__all__ = ["LogOption", "StoreOption", "settings_for", "settings_of_log"]

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
