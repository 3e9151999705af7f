"""What the commands share that work on a store of this machine instead of over HTTP."""

import os

from whence.errors import Invalid
from whence.settings import Settings

__all__ = ["settings_for"]


def settings_for(**flags: object) -> Settings:
    """The settings of these flags and, for those that are None, of the environment. Raises Invalid."""
    try:
        return Settings.from_environment(os.environ, **flags)
    except ValueError as error:
        raise Invalid.at((), str(error)) from None
