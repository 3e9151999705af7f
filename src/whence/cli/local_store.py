"""What the commands share that work on a store directly instead of over HTTP."""

import os
import re
from typing import Annotated

from cyclopts import Parameter

from whence.errors import Invalid
from whence.settings import FIELDS, Settings

__all__ = ["StoreOption", "settings_for"]

StoreOption = Annotated[
    str | None,
    Parameter(help="The store, like sqlite:///path; else WHENCE_STORE, else a file in the user's data directory."),
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
