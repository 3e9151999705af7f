"""Stores that are broken in one way each, to show that the tests would see it."""

from collections.abc import Callable

import pytest

SQLITE: tuple[Callable[[pytest.MonkeyPatch], None], ...] = ()
