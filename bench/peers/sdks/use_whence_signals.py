"""Whence with `flush_on_signals`, which is off by default."""

from typing import Any, ClassVar

import use_whence


class Adapter(use_whence.Adapter):
    """One client for the whole program."""

    OPTIONS: ClassVar[dict[str, Any]] = {"flush_on_signals": True}
