"""What the commands share that work on a store directly instead of over HTTP."""

import os
from typing import Annotated

from cyclopts import Parameter

from whence.errors import Invalid
from whence.settings import Settings

__all__ = ["StoreOption", "settings_for"]

StoreOption = Annotated[
    str | None,
    Parameter(help="The store, like sqlite:///path; else WHENCE_STORE, else a file in the user's data directory."),
]


def settings_for(**flags: object) -> Settings:
    """The settings from these flags, and from the environment for flags that are None. Raises Invalid."""
    try:
        return Settings.from_environment(os.environ, **flags)
    except ValueError as error:
        raise Invalid.at((), str(error)) from None
